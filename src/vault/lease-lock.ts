import { setTimeout as sleep } from 'node:timers/promises';

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

export interface LockOptions {
  readonly leases: Leases;
  /** Names this process, for who looks into the store. */
  readonly holder: string;
}

/** Renewed at a third of it. A holder that died is waited for this long, and its refresh token is then perhaps spent. */
const LEASE_MS = 15_000;
const POLL_MS = 100;

/** Waits until nobody else in any process has the lock of this name; the function that gives it back. */
export async function lockByLease(
  name: string,
  { leases, holder }: LockOptions,
  signal: AbortSignal,
): Promise<() => void> {
  for (;;) {
    signal.throwIfAborted();
    const lease = await leases.acquire(name, holder, LEASE_MS);
    if (lease !== null) return hold(lease, leases);
    await sleep(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
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
