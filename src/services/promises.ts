import { type CronTimes, parseCron } from '../core/cron.ts';
import type { StoredFacts } from '../store/store.ts';

/** By when a connector's schedule promised newer data than it has; null without a schedule. Milliseconds since 1970. */
export type Promises = (facts: StoredFacts) => number | null;

/**
 * The first time of the schedule after the last success was queued, and after the schedule took effect: nobody was promised
 * anything before. Remembered, because it only moves with one of them: computing ten thousand of them each minute would
 * take a second of it.
 */
export function createPromises(timezone: string): Promises {
  const times = new Map<string, CronTimes | null>();
  const known = new Map<string, { readonly of: string; readonly at: number | null }>();

  const timesOf = (spec: string, schedule: string, zone: string): CronTimes | null => {
    const before = times.get(spec);
    if (before !== undefined) return before;
    const parsed = parsedOrNull(schedule, zone);
    times.set(spec, parsed);
    return parsed;
  };

  return (facts) => {
    const { connector, schedule } = facts;
    if (schedule === undefined) {
      known.delete(connector);
      return null;
    }
    const zone = facts.timezone ?? timezone;
    const spec = `${schedule}|${zone}`;
    const from = promisedFrom(facts);
    const of = `${spec}|${from}`;
    const before = known.get(connector);
    if (before?.of === of) return before.at;
    const at = timesOf(spec, schedule, zone)?.nextAfter(new Date(from))?.getTime() ?? null;
    known.set(connector, { of, at });
    return at;
  };
}

/** A schedule from before it was kept when it took effect counts from the last success, or from the last change. */
function promisedFrom({ succeededFrom, scheduledAt, changedAt }: StoredFacts): number {
  if (succeededFrom === undefined) return scheduledAt ?? changedAt;
  return Math.max(succeededFrom, scheduledAt ?? 0);
}

/** One that cannot be read was kept by an earlier version; the scheduler says so, and it promises nothing. */
function parsedOrNull(schedule: string, zone: string): CronTimes | null {
  try {
    return parseCron(schedule, zone);
  } catch {
    return null;
  }
}
