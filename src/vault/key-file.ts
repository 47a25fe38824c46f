import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { MillraceError } from '../core/errors.ts';
import { KEY_BYTES, keyId, type MasterKey } from './seal.ts';

/** What `master.key` holds: the key that seals, and those that a rotation has not finished with. */
export interface KeptKeys {
  readonly active: MasterKey;
  readonly keys: ReadonlyMap<string, MasterKey>;
}

/** `master.key` in the data folder; 0600. */
export function keyFileOf(dataDir: string): string {
  return join(dataDir, 'master.key');
}

/** A fresh key of chance. */
export function newKey(): MasterKey {
  const bytes = randomBytes(KEY_BYTES);
  return { id: keyId(bytes), bytes };
}

/** The keys of the file; null without one. Throws `data_dir_unusable`. */
export function readKeyFile(file: string): KeptKeys | null {
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

/**
 * Makes the file with a first key. Two processes that start at once agree on one: it is written aside and linked into
 * place, which succeeds for one of them.
 */
export function makeKeyFile(file: string): void {
  const key = newKey();
  const text = textOf({ active: key, keys: new Map([[key.id, key]]) });
  const aside = asideOf(file);
  try {
    writeDurably(aside, text);
    linkSync(aside, file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    if (code === 'EEXIST') return; // the other process was first: its key is the one
    if (!LINKS_UNKNOWN.has(code)) throw unwritable(file, code);
    makeWithoutLink(file, text);
  } finally {
    rmSync(aside, { force: true });
  }
}

/** Puts these keys in the place of the file's, whole or not at all; durable when it returns. */
export function replaceKeyFile(file: string, keys: KeptKeys): void {
  const aside = asideOf(file);
  try {
    writeDurably(aside, textOf(keys));
    renameSync(aside, file);
    syncFolder(dirname(file));
  } catch (error) {
    rmSync(aside, { force: true });
    throw unwritable(file, (error as NodeJS.ErrnoException).code ?? 'unknown');
  }
}

/** Changes with every replacement of the file, and costs one look at its name. Empty without a file. */
export function keyFileStamp(file: string): string {
  const found = statSync(file, { throwIfNoEntry: false, bigint: true });
  return found === undefined ? '' : `${found.ino}/${found.mtimeNs}/${found.size}`;
}

const FILE_VERSION = 1;

/** The contents of `master.key`, JSON. */
interface KeyFile {
  readonly version: typeof FILE_VERSION;
  readonly active: string;
  /** base64 by key id. */
  readonly keys: Readonly<Record<string, string>>;
}

function textOf({ active, keys }: KeptKeys): string {
  const encoded = [...keys].map(([id, { bytes }]) => [id, Buffer.from(bytes).toString('base64')]);
  const file = {
    version: FILE_VERSION,
    active: active.id,
    keys: Object.fromEntries(encoded),
  } satisfies KeyFile;
  return `${JSON.stringify(file, null, 2)}\n`;
}

function asideOf(file: string): string {
  return `${file}.${randomBytes(6).toString('hex')}`;
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

/** Answers of file systems that know no hard links (FAT, some network and container mounts). */
const LINKS_UNKNOWN = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** Exclusive too, but a process that starts within the same millisecond could read it half written, and would say so. */
function makeWithoutLink(file: string, text: string): void {
  try {
    writeDurably(file, text);
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

/** The new name has to be on the disk before the old key is needed no more. Windows opens no folders. */
function syncFolder(dir: string): void {
  if (process.platform === 'win32') return;
  const handle = openSync(dir, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function unwritable(file: string, code: string): MillraceError {
  return unusable(
    file,
    `cannot be written (${code})`,
    'Give this user write permission on the data folder, or name another with `--data-dir`.',
  );
}

function unusable(file: string, what: string, hint: string): MillraceError {
  return new MillraceError('data_dir_unusable', `${file} ${what}.`, { hint });
}
