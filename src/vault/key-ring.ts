import { MillraceError } from '../core/errors.ts';
import {
  type KeptKeys,
  keyFileOf,
  keyFileStamp,
  makeKeyFile,
  readKeyFile,
  replaceKeyFile,
} from './key-file.ts';
import { KEY_BYTES, keyId, type MasterKey } from './seal.ts';

/** The keys there are, as they are at this moment: another process may rotate them. */
export interface KeyRing {
  /** The key that seals; null when there is none and making one would orphan what is stored. */
  active(): MasterKey | null;
  key(id: string): MasterKey | undefined;
  /** What the file holds, and how to put others there. */
  readonly file: { read(): KeptKeys | null; replace(keys: KeptKeys): void };
  /** Set by `MILLRACE_MASTER_KEY`; null when the file's key seals. */
  readonly given: MasterKey | null;
}

export interface KeyRingOptions {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a key may be made when there is none. */
  readonly make: boolean;
}

/**
 * Reads `master.key`, makes it on the first start. `MILLRACE_MASTER_KEY` (32 bytes as base64 or hex) seals in its place;
 * the file's keys and `MILLRACE_MASTER_KEY_PREVIOUS` still open what they sealed. Throws `data_dir_unusable`,
 * `invalid_config`.
 */
export function readKeyRing({ dataDir, env, make }: KeyRingOptions): KeyRing {
  const path = keyFileOf(dataDir);
  const given = fromEnvironment(env, 'MILLRACE_MASTER_KEY');
  const previous = fromEnvironment(env, 'MILLRACE_MASTER_KEY_PREVIOUS');
  let kept = readKeyFile(path);
  if (!kept && !given && make) {
    makeKeyFile(path);
    kept = readKeyFile(path);
  }
  let stamp = keyFileStamp(path);

  const current = (): KeptKeys | null => {
    const now = keyFileStamp(path);
    // A file that was taken away is no reason to forget the keys: what they sealed still has to open.
    if (now !== stamp && now !== '') {
      kept = readKeyFile(path);
      stamp = now;
    }
    return kept;
  };

  return {
    active: () => given ?? current()?.active ?? null,
    key: (id) => [given, previous].find((key) => key?.id === id) ?? current()?.keys.get(id),
    file: { read: () => readKeyFile(path), replace: (keys) => replaceKeyFile(path, keys) },
    given,
  };
}

function fromEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  name: 'MILLRACE_MASTER_KEY' | 'MILLRACE_MASTER_KEY_PREVIOUS',
): MasterKey | null {
  const text = env[name];
  if (text === undefined || text === '') return null;
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64');
  if (bytes.length === KEY_BYTES) return { id: keyId(bytes), bytes };
  throw new MillraceError('invalid_config', `${name} is not a key of ${KEY_BYTES} bytes.`, {
    hint: `Make one with \`openssl rand -base64 32\` and set ${name} to what it prints, or unset it to use master.key of the data folder.`,
    who: 'administrator',
  });
}
