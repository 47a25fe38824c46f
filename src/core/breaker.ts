/**
 * A connector whose runs fail in a row is left in peace for a while: its source may be in trouble, and an account
 * can be locked out by a schedule that tries a wrong password every minute. Pure; the store keeps it, and writes it in
 * the transaction that ends a run.
 *
 * closed ── `failures` runs failed in a row, or one with refused credentials ──► open, until a moment
 * open ── the moment has come, or a test of the connector passed ──► half open: the next scheduled run is the probe
 * half open ── the probe failed ──► open again
 * any ── a run that got something, or a change of the connector ──► closed
 *
 * Only the schedule is held back: a run that somebody asks for is carried out, and counts. One over some streams closes it
 * too: what is left in peace is the source, and that has answered; streams that are still behind are a matter of health.
 */

import type { ErrorCode, ErrorView } from './errors.ts';
import type { RunStatus } from './model.ts';

export interface BreakerRules {
  /** So many failed runs in a row open it. */
  readonly failures: number;
  /** How long it stays open. */
  readonly openMs: number;
}

/** Where nobody says otherwise. */
export const BREAKER_RULES: BreakerRules = { failures: 5, openMs: 300_000 };

/** Times are milliseconds since 1970. Null instead of a breaker: closed, and nothing failed since the last success. */
export interface Breaker {
  /** Failed runs in a row. */
  readonly failures: number;
  /** Absent while closed. */
  readonly open?: { readonly since: number; readonly until: number };
  /** What the last of them failed with. */
  readonly error: ErrorView;
}

export type BreakerState = 'closed' | 'open' | 'half_open';

/** A refused login doubles the rest each time, up to this: the strictest lockouts count within a day. */
const authRestMsMax = 24 * 60 * 60 * 1000;

/** Failures that are not the source's: it was not asked, or it answered and we stumbled. They neither open nor close. */
const OUR_OWN: ReadonlySet<ErrorCode> = new Set([
  'secret_missing',
  'secret_refused',
  'host_not_allowed',
  'connector_not_found',
  'destination_failed',
  'destination_busy',
  'disk_full',
  'data_dir_unusable',
  'read_only',
  'run_lost',
  'cancelled',
  'internal',
]);

/** What a run came to, as far as it says something about the source. */
export interface RunEnd {
  readonly status: Exclude<RunStatus, 'queued' | 'running'>;
  /** Of the run and of its streams. */
  readonly errors: readonly ErrorView[];
}

/** The breaker after a run has ended. */
export function afterRun(
  before: Breaker | null,
  end: RunEnd,
  { rules, now }: { readonly rules: BreakerRules; readonly now: number },
): Breaker | null {
  if (end.status === 'cancelled') return before;
  if (end.status !== 'failed') return null;
  const error = end.errors.find(isRefusedLogin) ?? end.errors.find(({ code }) => !OUR_OWN.has(code));
  if (error === undefined) return before;
  const failures = (before?.failures ?? 0) + 1;
  const opens = isRefusedLogin(error) || before?.open !== undefined || failures >= rules.failures;
  if (!opens) return { failures, error };
  // A failure never makes the rest shorter: that of a refused login may be hours.
  const until = Math.max(before?.open?.until ?? 0, now + restMs(before, error, rules));
  return { failures, open: { since: now, until }, error };
}

/** The breaker after a test of the connector has passed: the next scheduled run finds out whether all is well. */
export function afterPassedTest(before: Breaker | null, now: number): Breaker | null {
  if (before?.open === undefined || before.open.until <= now) return before;
  return { ...before, open: { ...before.open, until: now } };
}

/** Half open from `until` on, until a run has ended. */
export function stateOf(breaker: Breaker | null, now: number): BreakerState {
  if (breaker?.open === undefined) return 'closed';
  return now < breaker.open.until ? 'open' : 'half_open';
}

function restMs(before: Breaker | null, error: ErrorView, { openMs }: BreakerRules): number {
  if (!isRefusedLogin(error) || before?.open === undefined || !isRefusedLogin(before.error)) return openMs;
  const last = before.open.until - before.open.since;
  return Math.max(openMs, Math.min(2 * last, authRestMsMax));
}

function isRefusedLogin(error: ErrorView): boolean {
  return error.code === 'auth_failed';
}
