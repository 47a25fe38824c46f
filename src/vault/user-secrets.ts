import { MillraceError } from '../core/errors.ts';
import type { Vault } from './vault.ts';

/** Secrets that people store by name, for `${secret:NAME}`: `millrace secret set | list | remove`. */
export interface UserSecrets {
  /** Stores or replaces. Throws `invalid_config` on a malformed name or an empty value. */
  set(name: string, value: string): Promise<void>;
  list(): Promise<readonly { readonly name: string; readonly created_at: string }[]>;
  /** Throws `secret_missing` when there is none of that name. */
  remove(name: string): Promise<void>;
}

/** The named secrets of a vault. */
export function userSecrets(vault: Vault): UserSecrets {
  return {
    set: async (name, value) => {
      assertSecretName(name);
      if (value === '')
        throw new MillraceError('invalid_config', `The value of "${name}" is empty.`, {
          hint: `Pipe it in: \`printf %s "$VALUE" | millrace secret set ${name}\`.`,
        });
      await vault.put(userOwner(name), value);
    },
    list: async () =>
      (await vault.list(PREFIX)).map(({ owner, created_at }) => ({
        name: owner.slice(PREFIX.length),
        created_at,
      })),
    remove: async (name) => {
      assertSecretName(name);
      if (await vault.remove(userOwner(name))) return;
      throw new MillraceError('secret_missing', `There is no stored secret "${name}".`, {
        hint: '`millrace secret list` shows the names there are.',
      });
    },
  };
}

/** No dot: a dotted name is a connector's own (`${secret:shop.password}`). */
export const SECRET_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;

/** The owner under which a named secret is sealed. */
export function userOwner(name: string): string {
  return `${PREFIX}${name}`;
}

const PREFIX = 'secret/';

function assertSecretName(name: string): void {
  if (SECRET_NAME.test(name)) return;
  throw new MillraceError('invalid_config', 'That is not a name for a secret.', {
    hint: 'Use letters, digits, "_" and "-", beginning with a letter, at most 64 characters: `millrace secret set shop_password`.',
  });
}
