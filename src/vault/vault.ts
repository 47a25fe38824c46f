import { MillraceError } from '../core/errors.ts';
import { Secret } from '../core/redact.ts';
import { askedField } from './asked.ts';
import { type KeyRing, readKeyRing } from './key-ring.ts';
import { type RotateOptions, type Rotation, rotateKey } from './rotation.ts';
import { openValue, type SealedValue, sealValue } from './seal.ts';

/** Where sealed values are kept; the store's SecretStore is one. */
export interface SealedValues {
  put(value: SealedValue): Promise<void>;
  get(owner: string): Promise<SealedValue | null>;
  list(prefix: string): Promise<readonly { readonly owner: string; readonly created_at: string }[]>;
  remove(owner: string): Promise<boolean>;
  keyIds(): Promise<readonly { readonly keyId: string; readonly secrets: number }[]>;
  /** Up to `limit` values that other keys than this one sealed, in order of owner, behind `after`. */
  sealedByOthers(
    keyId: string,
    page: { readonly after: string; readonly limit: number },
  ): Promise<readonly SealedValue[]>;
  /** Puts each `to` in the place of exactly its `from`, in one transaction; how many: another value may stand there by now. */
  exchange(pairs: readonly { readonly from: SealedValue; readonly to: SealedValue }[]): Promise<number>;
  /** From now on nothing sealed by this key is taken in; false, and nothing changed, while something is stored that needs it. */
  retire(keyId: string): Promise<boolean>;
}

/** Seals and opens secrets. Owners are `secret/NAME`, `connector/<name>/<path>`, `kept/<name>/<field>`. */
export interface Vault {
  /** No reference may read a file in it. */
  readonly dataDir: string;
  /** Seals a value without storing it: for what is stored together with its connector. Throws `secret_missing` without a key. */
  seal(owner: string, value: string): SealedValue;
  /** Seals and stores. */
  put(owner: string, value: string): Promise<void>;
  /** Throws `secret_missing`: not there, its key is not there, or it was changed or moved. */
  open(owner: string): Promise<Secret>;
  /** False when there was none. */
  remove(owner: string): Promise<boolean>;
  list(prefix: string): Promise<readonly { readonly owner: string; readonly created_at: string }[]>;
  /** A new key for everything that is stored, while processes work on. Safe to interrupt: called again it goes on. */
  rotate(options: RotateOptions): Promise<Rotation>;
  /** Keys that stored values need and that are not there, for `doctor` and `get_health`. */
  missingKeys(): Promise<readonly { readonly keyId: string; readonly secrets: number }[]>;
}

export interface VaultOptions {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly secrets: SealedValues;
}

/**
 * Opens the vault; makes `master.key` on the first start. When secrets are stored and no key is there, none is made: the
 * vault opens, what needs the lost key says which one, and a key that is put back finds everything as it was (a new key
 * made in silence would split the secrets between two keys, n8n-io/n8n#22478). Throws `data_dir_unusable`, `invalid_config`.
 */
export async function openVault({ dataDir, env, secrets }: VaultOptions): Promise<Vault> {
  const used = await secrets.keyIds();
  const ring = readKeyRing({ dataDir, env, make: used.length === 0 });

  const seal = (owner: string, value: string): SealedValue => {
    const key = ring.active();
    if (!key) throw noKey(used.map(({ keyId }) => keyId));
    return sealValue(key, owner, value);
  };

  /** Between sealing and storing another process may have retired the key: then the store refuses, and the new key seals. */
  const put = async (owner: string, value: string): Promise<void> => {
    const sealed = seal(owner, value);
    try {
      await secrets.put(sealed);
    } catch (error) {
      if (ring.active()?.id === sealed.keyId) throw error;
      await secrets.put(seal(owner, value));
    }
  };

  return {
    dataDir,
    seal,
    put,
    open: async (owner) => openSealed(ring, owner, await secrets.get(owner)),
    remove: (owner) => secrets.remove(owner),
    list: (prefix) => secrets.list(prefix),
    rotate: (options) => rotateKey({ ring, secrets, ...options }),
    missingKeys: async () => (await secrets.keyIds()).filter(({ keyId }) => ring.key(keyId) === undefined),
  };
}

function openSealed(ring: KeyRing, owner: string, found: SealedValue | null): Secret {
  if (!found) {
    throw notStored(owner);
  }
  const key = ring.key(found.keyId);
  if (!key) {
    throw new MillraceError(
      'secret_missing',
      `The secret of ${ownerName(owner)} was sealed with key ${found.keyId}, which is not here.`,
      {
        hint: `Put the master.key that holds key ${found.keyId} back into the data folder, or set MILLRACE_MASTER_KEY to that key, and restart. If it is lost: ${storeAgain(owner)}`,
        who: 'administrator',
      },
    );
  }
  const value = openValue(key, { ...found, owner });
  if (value === null) {
    throw new MillraceError(
      'secret_missing',
      `The stored secret of ${ownerName(owner)} does not open: it was changed or moved in store.db.`,
      {
        hint: storeAgain(owner),
      },
    );
  }
  return new Secret(value);
}

function notStored(owner: string): MillraceError {
  const isAsked = askedField(owner) !== null;
  return isAsked
    ? new MillraceError('secret_missing', `Nobody has typed ${ownerName(owner)} yet.`, {
        hint: `Ask the person to type it on the page whose link they were given. If it is lost or expired: ${storeAgain(owner)}`,
      })
    : new MillraceError('secret_missing', `No secret is stored for ${ownerName(owner)}.`, {
        hint: storeAgain(owner),
      });
}

function noKey(needed: readonly string[]): MillraceError {
  return new MillraceError(
    'secret_missing',
    `Secrets are stored, but their key is not here (${needed.join(', ')}), so nothing can be sealed.`,
    {
      hint: 'Put master.key back into the data folder from a backup and restart. If it is lost, set MILLRACE_MASTER_KEY to a new key (`openssl rand -base64 32`), restart, and store the secrets again.',
      who: 'administrator',
    },
  );
}

function ownerName(owner: string): string {
  const [kind, name, ...path] = (askedField(owner) ?? owner).split('/');
  if (kind === 'kept') return `the tokens of connector "${name ?? ''}"`;
  return kind === 'secret' ? `\${secret:${name ?? ''}}` : `"${path.join('/')}" of connector "${name ?? ''}"`;
}

function storeAgain(owner: string): string {
  const asked = askedField(owner);
  const [kind, name, ...path] = (asked ?? owner).split('/');
  if (asked !== null)
    return `\`update_connector\` (or \`rotate_secret\`) of "${name ?? ''}" with "\${ask}" for "${path.join('/')}" answers a new link.`;
  if (kind === 'secret')
    return `\`millrace secret set ${name ?? ''}\` stores it; it reads the value from the terminal or from stdin.`;
  if (kind === 'kept')
    return `connect "${name ?? ''}" anew: a person signs in at the API, and \`update_connector\` takes the new refresh token.`;
  return `give "${path.join('/')}" again with \`update_connector\` {"connector": "${name ?? ''}", "config": {…}}, best as a reference such as "\${secret:NAME}".`;
}
