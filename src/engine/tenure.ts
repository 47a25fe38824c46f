import type { Lease, LeaseStore } from '../store/store.ts';
import { isGone } from './holder.ts';

/**
 * Who has a duty: a lease of the store, taken when it is free, kept as long as the holder says so in time, and with it what
 * the clock showed when something was last done under it. When to look is [duty.ts](duty.ts)'s.
 */
export interface Tenure {
  isHeld(): boolean;
  /** Takes the lease or renews it, acts while it is held, and says how long the next turn may wait. Rejects with nothing. */
  turn(): Promise<number>;
  /** What is under way is asked to end, and no turn acts any more. */
  stop(): void;
  /** Gives the lease back. */
  leave(): Promise<void>;
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

export interface TenureParts {
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

/** A tenure that nobody has yet. */
export function createTenure(parts: TenureParts): Tenure {
  let lease: Lease | null = null;
  let lost = new AbortController();
  let renewedAt = Number.NEGATIVE_INFINITY;
  /** What the clock said at the last turn that succeeded, whoever's. */
  let seenAt: Date | null = null;
  let first = true;
  let stopped = false;

  const take = async (): Promise<void> => {
    await parts.leases.free(parts.name, isGone);
    lease = await parts.leases.acquire(parts.name, parts.holder, leaseMs);
    if (lease === null) return;
    lost = new AbortController();
    first = true;
    renewedAt = Number.NEGATIVE_INFINITY;
    seenAt = (await parts.leases.look(parts.name))?.seenAt ?? null;
  };

  const isSetBack = (at: Date): boolean => seenAt !== null && at.getTime() < seenAt.getTime() - setBackMs;

  /**
   * Says before the turn by what time it acts: whoever acts may be gone a moment later, and nobody would see that the clock was
   * put back since. A time that was put back is not said before somebody has acted on that.
   */
  const renew = async (held: Lease): Promise<void> => {
    const at = parts.now();
    if (Math.abs(at.getTime() - renewedAt) < renewMs) return;
    const seen = seenAt !== null && isSetBack(at) ? seenAt : at;
    if (await parts.leases.renew(held, leaseMs, seen)) renewedAt = at.getTime();
    else {
      lease = null;
      lost.abort();
    }
  };

  const turn = async (): Promise<number> => {
    if (lease === null) await take();
    if (lease !== null) await renew(lease);
    if (lease === null || stopped) return turnMs;
    const at = parts.now();
    const waitMs = await parts.act({ first, setBack: isSetBack(at), signal: lost.signal });
    // It may have slept meanwhile, and acted by a later time.
    seenAt = new Date(Math.max(at.getTime(), parts.now().getTime()));
    first = false;
    return Math.max(0, Math.min(waitMs ?? turnMs, turnMs));
  };

  return {
    isHeld: () => lease !== null,
    turn: () =>
      turn().catch((error: unknown) => {
        if (!lost.signal.aborted) parts.onFault(`${parts.name}: ${String(error)}`);
        return turnMs;
      }),
    stop() {
      stopped = true;
      lost.abort();
    },
    async leave() {
      if (lease !== null) await parts.leases.release(lease).catch(() => undefined); // full or busy: it ends by itself
      lease = null;
    },
  };
}
