import type { CronTimes } from '../core/cron.ts';
import { type ErrorView, MillraceError } from '../core/errors.ts';

/** What is to come of the times of a schedule that have passed. */
export interface DueTimes {
  readonly run?: { readonly dueAt: Date; readonly log?: string };
  readonly missed?: { readonly dueAt: Date; readonly error: ErrorView };
}

export interface Waiting {
  readonly connector: string;
  /** The oldest due time that nothing has come of yet, not after `now`. */
  readonly dueAt: Date;
  /** When it was to be acted on: later than `dueAt` by the spread, or because it waited for a run to end. */
  readonly startAt: Date;
}

/**
 * However many times have passed, at most one run comes of them: `once` always one, for the newest; `none` only for times
 * that nobody could have acted on in time, so that a process that takes over within half a minute leaves none out.
 */
export function dueTimes(
  waiting: Waiting,
  times: CronTimes,
  { now, catchUp }: { readonly now: Date; readonly catchUp: 'once' | 'none' },
): DueTimes {
  const { dueAt, startAt } = waiting;
  const latest = newer(times.latestUpTo(now), dueAt);
  if (now.getTime() - startAt.getTime() <= GRACE_MS) return { run: runFor(dueAt, latest) };
  if (catchUp === 'once') {
    const log = `makes up for the scheduled times since ${dueAt.toISOString()}, when no server was running`;
    return { run: { dueAt: latest, log } };
  }
  const isRecent = now.getTime() - latest.getTime() <= GRACE_MS;
  const newest = isRecent ? newer(times.latestUpTo(new Date(now.getTime() - GRACE_MS - 1)), dueAt) : latest;
  const after = times.nextAfter(newest);
  return {
    missed: { dueAt: newest, error: missedTimes(waiting, newest, times) },
    ...(isRecent && after !== null && after <= latest ? { run: runFor(after, latest) } : {}),
  };
}

function runFor(oldest: Date, latest: Date): NonNullable<DueTimes['run']> {
  const log = `stands for the scheduled times since ${oldest.toISOString()}`;
  return { dueAt: latest, ...(latest > oldest ? { log } : {}) };
}

/** Times younger than this are made up for whatever the policy: a holder that died is replaced within it. */
const GRACE_MS = 60_000;
const COUNTED_MAX = 20;

function newer(one: Date | null, other: Date): Date {
  return one !== null && one > other ? one : other;
}

function missedTimes({ connector, dueAt }: Waiting, newest: Date, times: CronTimes): ErrorView {
  let count = 1;
  for (let at = times.nextAfter(dueAt); at !== null && at <= newest && count <= COUNTED_MAX; count += 1)
    at = times.nextAfter(at);
  const which =
    count === 1
      ? `The scheduled time ${dueAt.toISOString()}`
      : `${count > COUNTED_MAX ? `More than ${COUNTED_MAX}` : count} scheduled times, from ${dueAt.toISOString()} to ${newest.toISOString()},`;
  return new MillraceError('time_missed', `${which} passed while no server was running.`, {
    hint: 'scheduler.catchUp is "none", so they are not made up for: `sync_connector` runs the connector now, "once" in the config file makes one run for all that was missed.',
    nextActions: [
      { tool: 'sync_connector', arguments: { connector }, why: 'runs it now instead of at its next time' },
    ],
  }).toView();
}
