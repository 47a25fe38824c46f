/**
 * When the next attempt may start: exponential backoff with full jitter (AWS Architecture Blog, "Exponential
 * Backoff and Jitter"), so that a hundred runs that failed together do not come back together.
 * `attempt` is the one that failed, from 1; `random` gives numbers in [0, 1). Milliseconds.
 */
export function backoffMs(
  attempt: number,
  [base, cap]: readonly [number, number],
  random: () => number,
): number {
  const ceiling = Math.min(cap, base * 2 ** Math.min(attempt - 1, 30));
  return Math.round(random() * ceiling);
}
