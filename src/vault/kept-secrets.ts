import { type LockOptions, lockByLease } from './lease-lock.ts';
import type { Vault } from './vault.ts';

export interface KeptSecretsOptions extends LockOptions {
  readonly vault: Pick<Vault, 'open' | 'put' | 'list'>;
}

/** Secrets that a connector gets while it works: the shape that connectors ask for. */
export interface ConnectorSecrets {
  load(field: string): Promise<string | null>;
  save(field: string, value: string): Promise<void>;
  lock(field: string, signal: AbortSignal): Promise<() => void>;
}

/** The owner under which a connector's field is sealed. */
function keptOwner(connector: string, field: string): string {
  return `kept/${connector}/${field}`;
}

/** A connector's kept secrets: sealed by the vault, locked by leases of the store. */
export function createKeptSecrets(connector: string, options: KeptSecretsOptions): ConnectorSecrets {
  const { vault } = options;
  return {
    async load(field) {
      const owner = keptOwner(connector, field);
      const stored = await vault.list(owner);
      // What is there and does not open is an error: begun anew from the config, a refresh token that was spent long
      // ago would be sent, and some servers then revoke all that came of it.
      return stored.some((entry) => entry.owner === owner) ? (await vault.open(owner)).expose() : null;
    },
    save: (field, value) => vault.put(keptOwner(connector, field), value),
    lock: (field, signal) => lockByLease(`kept/${connector}/${field}`, options, signal),
  };
}
