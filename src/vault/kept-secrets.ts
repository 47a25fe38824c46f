import { setTimeout as sleep } from 'node:timers/promises';
import type { Vault } from './vault.ts';

/** What locks need of the store: its LeaseStore is one. */
export interface Leases {
  acquire(
    name: string,
    holder: string,
    leaseMs: number,
  ): Promise<{ readonly name: string; readonly epoch: number } | null>;
  renew(lease: { readonly name: string; readonly epoch: number }, leaseMs: number): Promise<boolean>;
  release(lease: { readonly name: string; readonly epoch: number }): Promise<void>;
}

export interface KeptSecretsOptions {
  readonly vault: Pick<Vault, 'open' | 'put' | 'list'>;
  readonly leases: Leases;
  /** Names this process, for who looks into the store. */
  readonly holder: string;
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

/** Renewed at a third of it. A holder that died is waited for this long, and its refresh token is then perhaps spent. */
const LEASE_MS = 15_000;
const POLL_MS = 100;

/** A connector's kept secrets: sealed by the vault, locked by leases of the store. */
export function createKeptSecrets(connector: string, options: KeptSecretsOptions): ConnectorSecrets {
  const { vault, leases, holder } = options;
  return {
    async load(field) {
      const owner = keptOwner(connector, field);
      const stored = await vault.list(owner);
      // What is there and does not open is an error: begun anew from the config, a refresh token that was spent long
      // ago would be sent, and some servers then revoke all that came of it.
      return stored.some((entry) => entry.owner === owner) ? (await vault.open(owner)).expose() : null;
    },
    save: (field, value) => vault.put(keptOwner(connector, field), value),
    async lock(field, signal) {
      const name = `kept/${connector}/${field}`;
      for (;;) {
        signal.throwIfAborted();
        const lease = await leases.acquire(name, holder, LEASE_MS);
        if (lease !== null) return hold(lease, leases);
        await sleep(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    },
  };
}

function hold(lease: { readonly name: string; readonly epoch: number }, leases: Leases): () => void {
  const renewal = setInterval(() => void leases.renew(lease, LEASE_MS).catch(ignore), LEASE_MS / 3);
  renewal.unref();
  return () => {
    clearInterval(renewal);
    void leases.release(lease).catch(ignore);
  };
}

/** The store is busy or full: the lease then ends by itself. */
function ignore(): void {}
