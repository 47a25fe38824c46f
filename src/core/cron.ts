import { Cron } from 'croner';
import { MillraceError } from './errors.ts';
import { suggestion } from './nearest.ts';

/**
 * The times of a schedule: local times of one zone. Where clocks change, two rules, told apart by how the schedule is
 * written. One that *names* its times (no `*` and no `/` in hour, minute and second: `30 2 * * *`) runs each of them once:
 * a time that the clocks jump over comes right after the jump, one that they repeat comes the first time only. One that
 * is an *interval* (a `*` or a `/` there) runs in real time: the hour jumped over is not there, the repeated one is there
 * twice. So nothing that was meant once a day runs twice or not at all, and nothing that was meant each quarter of an hour
 * rests for an hour.
 */
export interface CronTimes {
  readonly isInterval: boolean;
  /** The first one after `after`; null when there is none any more. */
  nextAfter(after: Date): Date | null;
  /** The newest one at or before `at`, in the same time for every schedule; null when there is none. */
  latestUpTo(at: Date): Date | null;
}

/** The times that `schedule` names in `timezone`. Throws `invalid_config`. */
export function parseCron(schedule: string, timezone: string): CronTimes {
  assertTimezone(timezone);
  const cron = cronOf(schedule, { timezone });
  return {
    isInterval: isInterval(schedule),
    nextAfter: (after) => cron.nextRun(after),
    // croner: strictly before, in whole seconds.
    latestUpTo: (at) =>
      cron.previousRuns(1, new Date(Math.floor(at.getTime() / 1_000) * 1_000 + 1_000))[0] ?? null,
  };
}

/** The same fields read as times of a zone that is always so many minutes ahead of UTC, from `from` on and before `until`. */
export function nominalTimes(
  schedule: string,
  {
    offsetMinutes,
    from,
    until,
  }: { readonly offsetMinutes: number; readonly from: Date; readonly until: Date },
): readonly Date[] {
  const cron = cronOf(schedule, { utcOffset: offsetMinutes });
  const times: Date[] = [];
  let next = cron.nextRun(new Date(from.getTime() - 1_000));
  while (next !== null && next < until && times.length < NOMINAL_MAX) {
    times.push(next);
    next = cron.nextRun(next);
  }
  return times;
}

/** As many as are told. */
const NOMINAL_MAX = 5;

function cronOf(
  schedule: string,
  zone: { readonly timezone: string } | { readonly utcOffset: number },
): Cron {
  const fields = schedule.trim().split(/\s+/);
  if (![1, 5, 6].includes(fields.length) || (fields.length === 1 && !schedule.trim().startsWith('@')))
    throw badSchedule(schedule, 'has not five or six fields');
  try {
    // Nameless and paused: croner keeps named jobs in a list of the process, and starts timers of its own.
    return new Cron(schedule, { ...zone, paused: true, mode: '5-or-6-parts', fixedTimeRule: 'no-wildcard' });
  } catch (error) {
    const said = error instanceof Error ? error.message.replace(/^[A-Za-z]+: /, '').replace(/\.$/, '') : '';
    throw badSchedule(schedule, `does not hold: ${said}`);
  }
}

/** As croner tells them apart; nicknames have one time each but for `@hourly`. */
function isInterval(schedule: string): boolean {
  const fields = schedule.trim().split(/\s+/);
  if (fields.length === 1) return fields[0]?.toLowerCase() === '@hourly';
  return /[*?/]/.test(fields.slice(0, fields.length - 3).join(' '));
}

function badSchedule(schedule: string, what: string): MillraceError {
  return new MillraceError('invalid_config', `The schedule "${schedule.slice(0, 100)}" ${what}.`, {
    hint: 'Give five fields (minute hour day month weekday), e.g. "*/15 * * * *" for every quarter of an hour or "30 2 * * MON-FRI" for 02:30 on weekdays; six with seconds first, e.g. "*/10 * * * * *"; or @hourly, @daily, @weekly, @monthly.',
  });
}

/** Throws `invalid_config` for a schedule whose time never comes, such as 31 February. */
export function assertComes(times: CronTimes, schedule: string, now: Date): void {
  if (times.nextAfter(now) === null) throw badSchedule(schedule, 'names a time that never comes');
}

/** Throws `invalid_config`, with the nearest names in the hint. */
function assertTimezone(timezone: string): void {
  try {
    // Intl takes "+02:00" too: not a zone, and it would hide that such a schedule knows no summer time.
    if (/^[A-Za-z]/.test(timezone)) {
      new Intl.DateTimeFormat('en', { timeZone: timezone });
      return;
    }
  } catch {}
  throw new MillraceError('invalid_config', `There is no time zone "${timezone.slice(0, 60)}".`, {
    hint: `${suggestion(timezone, [...Intl.supportedValuesOf('timeZone'), 'UTC'])} Zones have IANA names, e.g. "Europe/Berlin" or "UTC".`,
  });
}

/** The most that a start may lie behind its due time: longer would hide that the time has come. */
export const SPREAD_MAX_MS = 3_600_000;
