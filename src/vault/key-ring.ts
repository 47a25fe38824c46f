import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { MillraceError } from '../core/errors.ts';
import { KEY_BYTES, keyId, type MasterKey } from './seal.ts';

/** The keys there are. `active` seals; it is null when there is none and making one would orphan what is stored. */
export interface KeyRing {
  readonly active: MasterKey | null;
  readonly keys: ReadonlyMap<string, MasterKey>;
}

export interface KeyRingOptions {
  readonly dataDir: string;
  /** `MILLRACE_MASTER_KEY`: 32 bytes as base64 or hex. Seals from now on; the file's keys still open what they sealed. */
  readonly masterKey: string | undefined;
  /** Whether a key may be made when there is none. */
  readonly make: boolean;
}

/** Name of the file in the data folder; 0600. */
const KEY_FILE = 'master.key';

/**
 * Reads `master.key`, makes it on the first start. Two processes that start at once agree on one key: it is written
 * aside and linked into place, which succeeds for one of them. Throws `data_dir_unusable`, `invalid_config`.
 */
export function readKeyRing({ dataDir, masterKey, make }: KeyRingOptions): KeyRing {
  const file = join(dataDir, KEY_FILE);
  const given = masterKey === undefined || masterKey === '' ? null : fromEnvironment(masterKey);
  let kept = readKeyFile(file);
  if (!kept && !given && make) {
    makeKeyFile(file);
    kept = readKeyFile(file);
  }
  const keys = new Map(kept?.keys);
  if (given) keys.set(given.id, given);
  return { active: given ?? kept?.active ?? null, keys };
}

function fromEnvironment(text: string): MasterKey {
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64');
  if (bytes.length === KEY_BYTES) return { id: keyId(bytes), bytes };
  throw new MillraceError('invalid_config', `MILLRACE_MASTER_KEY is not a key of ${KEY_BYTES} bytes.`, {
    hint: 'Make one with `openssl rand -base64 32` and set MILLRACE_MASTER_KEY to what it prints, or unset it to use master.key of the data folder.',
    who: 'administrator',
  });
}

const FILE_VERSION = 1;

/** The contents of `master.key`, JSON: room for the keys that a rotation leaves behind. */
interface KeyFile {
  readonly version: typeof FILE_VERSION;
  readonly active: string;
  /** base64 by key id. */
  readonly keys: Readonly<Record<string, string>>;
}

function readKeyFile(
  file: string,
): { readonly active: MasterKey; readonly keys: ReadonlyMap<string, MasterKey> } | null {
  const text = readText(file);
  if (text === null) return null;
  const ring = parseKeyFile(text);
  const version = (ring as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version > FILE_VERSION) {
    throw unusable(
      file,
      `was written by a newer Millrace (version ${version})`,
      'Run the newer version: `npx -y millrace@latest`.',
    );
  }
  const keys = new Map<string, MasterKey>();
  for (const [id, encoded] of Object.entries(ring?.keys ?? {})) {
    const bytes = Buffer.from(String(encoded), 'base64');
    if (bytes.length === KEY_BYTES) keys.set(id, { id, bytes });
  }
  const active = ring ? keys.get(ring.active) : undefined;
  if (!active) {
    throw unusable(
      file,
      'cannot be read as a key',
      'Put a backup of master.key in its place. Without one the stored secrets are lost: move the file away, set MILLRACE_MASTER_KEY to a new key (`openssl rand -base64 32`) and store the secrets again.',
    );
  }
  return { active, keys };
}

function readText(file: string): string | null {
  try {
    const text = readFileSync(file, 'utf8');
    // Copied from a backup it may have got a wider mode; it is ours, so it is put right. Windows has no such modes.
    if (process.platform !== 'win32' && (statSync(file).mode & 0o077) !== 0) chmodSync(file, 0o600);
    return text;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    if (code === 'ENOENT') return null;
    throw unusable(
      file,
      `cannot be read (${code})`,
      `Make it readable for this user alone: \`chown "$(id -un)" '${file}' && chmod 600 '${file}'\`.`,
    );
  }
}

function parseKeyFile(text: string): KeyFile | null {
  try {
    return JSON.parse(text) as KeyFile | null;
  } catch {
    return null;
  }
}

function makeKeyFile(file: string): void {
  const bytes = randomBytes(KEY_BYTES);
  const id = keyId(bytes);
  const ring = {
    version: FILE_VERSION,
    active: id,
    keys: { [id]: bytes.toString('base64') },
  } satisfies KeyFile;
  const aside = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    writeDurably(aside, `${JSON.stringify(ring, null, 2)}\n`);
    linkSync(aside, file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    if (code === 'EEXIST') return; // the other process was first: its key is the one
    if (!LINKS_UNKNOWN.has(code))
      throw unusable(
        file,
        `cannot be written (${code})`,
        'Give this user write permission on the data folder, or name another with `--data-dir`.',
      );
    makeWithoutLink(file, ring);
  } finally {
    rmSync(aside, { force: true });
  }
}

/** Answers of file systems that know no hard links (FAT, some network and container mounts). */
const LINKS_UNKNOWN = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** Exclusive too, but a process that starts within the same millisecond could read it half written, and would say so. */
function makeWithoutLink(file: string, ring: KeyFile): void {
  try {
    writeDurably(file, `${JSON.stringify(ring, null, 2)}\n`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Before a secret is sealed with it, the key has to be on the disk: a power cut may not take it alone. */
function writeDurably(file: string, text: string): void {
  const handle = openSync(file, 'wx', 0o600);
  try {
    writeSync(handle, text);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function unusable(file: string, what: string, hint: string): MillraceError {
  return new MillraceError('data_dir_unusable', `${file} ${what}.`, { hint });
}
