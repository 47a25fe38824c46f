import { clockNotes } from '../core/clock-changes.ts';
import { assertComes, type CronTimes, parseCron } from '../core/cron.ts';
import { asMillraceError } from '../core/errors.ts';
import type { Connector } from '../core/model.ts';
import type { Context } from './context.ts';
import type { ConnectorDetail } from './services.ts';

type Scheduled = Pick<Connector, 'name' | 'enabled' | 'streams'> & {
  readonly schedule?: string | undefined;
  readonly timezone?: string | undefined;
};

/** Throws `invalid_config` when the schedule or the zone cannot be read, or its time never comes. */
export function assertSchedule(
  context: Context,
  { schedule, timezone }: Pick<Scheduled, 'schedule' | 'timezone'>,
): void {
  const zone = timezone || context.settings.scheduler.timezone;
  const times = parseCron(schedule || '@daily', zone);
  if (schedule) assertComes(times, schedule, context.now());
}

/** The next time of the connector's schedule; null without one, when it is disabled or cannot be read. */
export function nextRunAt(context: Context, connector: Scheduled): Date | null {
  const times = timesOf(context, connector);
  return connector.enabled && times !== null && typeof times !== 'string'
    ? times.nextAfter(context.now())
    : null;
}

/** The next five times, and in words what is to be known of them. */
export async function scheduleView(
  context: Context,
  connector: Scheduled,
): Promise<NonNullable<ConnectorDetail['schedule']>> {
  const { schedule } = connector;
  const times = timesOf(context, connector);
  if (schedule === undefined || times === null) return { next_runs: [], notes: [] };
  if (typeof times === 'string') return { next_runs: [], notes: [times] };
  const next = upcoming(times, context.now());
  return {
    next_runs: next.map((at) => at.toISOString()),
    notes: [
      ...idleNotes(context, connector),
      ...clockNotes(schedule, zoneOf(context, connector), context.now()),
      ...(await durationNotes(context, connector.name, next)),
      ...(await neighbourNotes(context, connector.name, next[0])),
    ],
  };
}

/** What somebody who has just set a schedule should hear at once. */
export async function scheduleWarnings(context: Context, connector: Scheduled): Promise<readonly string[]> {
  if (connector.schedule === undefined) return [];
  const { next_runs, notes } = await scheduleView(context, connector);
  const first = next_runs[0];
  return first === undefined
    ? notes
    : [`Scheduled in ${zoneOf(context, connector)}: the next run is at ${first}.`, ...notes];
}

const SHOWN = 5;
/** Runs that say how long one takes lately. */
const LATELY = 5;
const NEIGHBOURS = 5;

function zoneOf(context: Context, { timezone }: Scheduled): string {
  return timezone ?? context.settings.scheduler.timezone;
}

/** The reason in words when it cannot be read: kept by an earlier version, which did not look at it. */
function timesOf(context: Context, connector: Scheduled): CronTimes | string | null {
  if (connector.schedule === undefined) return null;
  try {
    return parseCron(connector.schedule, zoneOf(context, connector));
  } catch (error) {
    const { message, hint } = asMillraceError(error);
    return `Nothing runs by it: ${message} ${hint}`;
  }
}

function upcoming(times: CronTimes, from: Date): readonly Date[] {
  const next: Date[] = [];
  for (let at = times.nextAfter(from); at !== null && next.length < SHOWN; at = times.nextAfter(at))
    next.push(at);
  return next;
}

function idleNotes({ settings }: Context, connector: Scheduled): readonly string[] {
  return [
    ...(connector.enabled ? [] : ['The connector is disabled: nothing runs until it is enabled.']),
    ...(connector.streams.length > 0 ? [] : ['It has no streams yet: a run brings nothing.']),
    ...(settings.readOnly ? ['This server is read-only and starts no runs; another may.'] : []),
    ...(settings.scheduler.enabled || settings.readOnly
      ? []
      : ['scheduler.enabled is false here: this server starts no scheduled runs; another may.']),
  ];
}

/** How long a run has lately taken, and whether the schedule leaves it the time. */
async function durationNotes(
  context: Context,
  connector: string,
  next: readonly Date[],
): Promise<readonly string[]> {
  const { items } = await context.runs.list({ connector, status: 'succeeded' }, { limit: LATELY });
  const took = items.flatMap(({ duration_ms }) => duration_ms ?? []).toSorted((a, b) => a - b);
  const median = took[Math.floor(took.length / 2)];
  if (median === undefined) return [];
  const told = `A run has lately taken ${inWords(median)} (median of the last ${took.length}).`;
  const shortest = Math.min(
    ...next.slice(1).map((at, index) => at.getTime() - (next[index]?.getTime() ?? 0)),
  );
  if (median <= shortest) return [told];
  const then =
    context.settings.scheduler.overlap === 'skip'
      ? 'times that come meanwhile are skipped'
      : 'times that come meanwhile wait for its end, and one run stands for them';
  return [`${told} That is longer than the ${inWords(shortest)} between its times: ${then}.`];
}

async function neighbourNotes(
  context: Context,
  connector: string,
  next: Date | undefined,
): Promise<readonly string[]> {
  if (next === undefined) return [];
  const minute = new Date(Math.floor(next.getTime() / 60_000) * 60_000);
  const until = new Date(minute.getTime() + 60_000);
  const due = await context.schedules.dueBetween(minute, until, NEIGHBOURS + 1);
  const others = due.filter((name) => name !== connector);
  if (others.length === 0) return [];
  const names = others.slice(0, NEIGHBOURS).join(', ');
  const more = others.length > NEIGHBOURS ? ' and more' : '';
  return [`Due in the same minute as its next run: ${names}${more}.`];
}

function inWords(ms: number): string {
  if (ms < 1_000) return `${ms} ms`;
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}
