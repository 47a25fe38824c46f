/** When requests under one rate may leave. Times in milliseconds of one monotonic clock. */
export interface Timetable {
  /** 0 when one may leave now, else how long that takes at least. */
  waitMs(now: number): number;
  /** One leaves now that has waited since then, perhaps without having asked here. */
  leave(now: number, since: number): void;
  /** Whether the past still holds anything back. */
  isIdle(now: number): boolean;
}

/**
 * A server counts arrivals, and two that left a second apart may arrive closer together: the window is this much longer
 * than the rate says.
 */
const WINDOW_MARGIN_MS = 15;
/** What is not used is lost but for so much: whoever asks in bursts leaves a tenth of a second's worth at once. */
const SAVED_MS = 100;

/**
 * Two rules. In no window of a second leave more than the rate says, exactly: that is the promise. And they leave evenly,
 * not all at the window's beginning, for some servers count in tenths of a second; time lost while somebody waited (a
 * timer that fired late) is caught up with as far as the first rule allows. Even spacing alone was tried: on a busy machine each late timer cost its lateness,
 * 12% of a rate of 200.
 */
export function createTimetable(requestsPerSecond: number): Timetable {
  const most = Math.max(1, Math.floor(requestsPerSecond));
  const windowMs = (most / requestsPerSecond) * 1000 + WINDOW_MARGIN_MS;
  const spaceMs = 1000 / requestsPerSecond;
  /** When the last `most` left, a ring: the one to be overwritten next is the oldest. */
  const left = new Float64Array(most).fill(Number.NEGATIVE_INFINITY);
  let next = 0;
  let due = Number.NEGATIVE_INFINITY;

  const waitMs = (now: number): number => Math.max(0, (left[next] ?? 0) + windowMs - now, due - now);
  return {
    waitMs,
    leave(now, since) {
      left[next] = now;
      next = (next + 1) % most;
      // Those that leave under another rate do not push the next one out of sight.
      due = Math.min(Math.max(due, since - SAVED_MS), now) + spaceMs;
    },
    // The youngest decides: what is older is out of the window before it.
    isIdle: (now) => (left[(next + most - 1) % most] ?? 0) + windowMs <= now && due <= now,
  };
}
