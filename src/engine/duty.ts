import type { Lease, LeaseStore } from '../store/store.ts';
import { isGone } from './holder.ts';

/**
 * What one process at a time does for all: it holds a lease of the store, and acts about once a second while it does.
 * Clients start the program several times and kill it without a word, so the others look every second whether the lease
 * is free; of a holder on their own machine they see at once that it is gone.
 */
export interface Duty extends AsyncDisposable {
  start(): void;
  /** Acts now and not at the next turn. */
  wake(): void;
  isHeld(): boolean;
}

/** One turn of the holder. */
export interface Turn {
  /** Nothing was done yet since this process has the duty. */
  readonly first: boolean;
  /** The clock shows a time well before the last turn's, this process's or another's. Said until a turn has succeeded. */
  readonly setBack: boolean;
  /** Aborted when the duty is lost or the process leaves. */
  readonly signal: AbortSignal;
}

export interface DutyParts {
  /** Of the lease. */
  readonly name: string;
  readonly holder: string;
  readonly leases: LeaseStore;
  readonly now: () => Date;
  /** Returns how long the next turn may wait, a second when it says nothing. Takes no longer than some seconds. */
  readonly act: (turn: Turn) => Promise<number | undefined>;
  readonly onFault: (detail: string) => void;
}

/** Without a word for this long the holder is taken to be gone; others take over well within 30 s. */
const leaseMs = 20_000;
const renewMs = 5_000;
const turnMs = 1_000;
/** A clock may be corrected by less than this; what is more was set. */
const setBackMs = 60_000;

/** A duty that waits to be started. Closing it gives the lease back. */
export function createDuty(parts: DutyParts): Duty {
  let lease: Lease | null = null;
  let lost = new AbortController();
  let renewedAt = 0;
  /** What the clock said at the last turn that succeeded, whoever's. */
  let seenAt: Date | null = null;
  let first = true;
  let timer: NodeJS.Timeout | undefined;
  let turning: Promise<void> | undefined;
  let again = false;
  let started = false;
  let closed = false;

  const take = async (): Promise<void> => {
    await parts.leases.free(parts.name, isGone);
    lease = await parts.leases.acquire(parts.name, parts.holder, leaseMs);
    if (lease === null) return;
    lost = new AbortController();
    first = true;
    renewedAt = parts.now().getTime();
    seenAt = (await parts.leases.look(parts.name))?.seenAt ?? null;
  };

  const renew = async (held: Lease): Promise<void> => {
    const at = parts.now().getTime();
    if (Math.abs(at - renewedAt) < renewMs) return;
    if (await parts.leases.renew(held, leaseMs, seenAt ?? undefined)) renewedAt = at;
    else {
      lease = null;
      lost.abort();
    }
  };

  const turn = async (): Promise<number> => {
    if (lease === null) await take();
    else await renew(lease);
    if (lease === null || closed) return turnMs;
    const at = parts.now();
    const setBack = seenAt !== null && at.getTime() < seenAt.getTime() - setBackMs;
    const waitMs = await parts.act({ first, setBack, signal: lost.signal });
    seenAt = at;
    first = false;
    return Math.max(0, Math.min(waitMs ?? turnMs, turnMs));
  };

  const look = (): void => {
    clearTimeout(timer);
    if (turning !== undefined) {
      again = true;
      return;
    }
    again = false;
    turning = turn()
      .catch((error: unknown) => {
        if (!lost.signal.aborted) parts.onFault(`${parts.name}: ${String(error)}`);
        return turnMs;
      })
      .then((waitMs) => {
        turning = undefined;
        if (closed) return;
        timer = setTimeout(look, again ? 0 : waitMs);
        timer.unref();
      });
  };

  return {
    start() {
      started = true;
      look();
    },
    wake() {
      if (started && lease !== null && !closed) look();
    },
    isHeld: () => lease !== null,
    async [Symbol.asyncDispose]() {
      closed = true;
      clearTimeout(timer);
      lost.abort();
      await turning;
      if (lease !== null) await parts.leases.release(lease).catch(() => undefined); // full or busy: it ends by itself
      lease = null;
    },
  };
}
