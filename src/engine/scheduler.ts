import { setImmediate as breathe } from 'node:timers/promises';
import { type CronTimes, parseCron } from '../core/cron.ts';
import { asMillraceError } from '../core/errors.ts';
import { type ScheduleEntry, type ScheduleStore, type Step, specOf } from '../store/schedules.ts';
import { dueTimes } from './due-times.ts';
import type { Turn } from './tenure.ts';

/** The lease of whoever starts scheduled runs. */
export const SCHEDULER = 'scheduler';

/** Turns due times into queued runs, for whoever has the duty. */
export interface Scheduler {
  /** Acts on all that is due. Returns how long until the next is, in milliseconds. */
  act(turn: Turn): Promise<number | undefined>;
}

export interface SchedulerParts {
  readonly schedules: ScheduleStore;
  readonly settings: {
    /** Of connectors without one. */
    readonly timezone: string;
    readonly catchUp: 'once' | 'none';
    readonly overlap: 'skip' | 'queue';
    readonly spreadMs: number;
    /** The longest wait for a retry. */
    readonly retryMaxMs: number;
  };
  readonly now: () => Date;
  /** A run was queued. */
  readonly onQueued: () => void;
  readonly onFault: (detail: string) => void;
}

/** Schedules kept read: most connectors share a few. */
const PARSED_MAX = 200;
/** Entries read at once. */
const ENTRIES = 25;
/** Ten thousand connectors are planned in slices: between them everybody else has the thread and the store. */
const sliceMs = 8;
/** After so long the turn ends, and the next follows at once: the lease has to be renewed. */
const turnMaxMs = 2_000;
/** A due time that waits for a run to end is looked at again so often. */
const againMs = 1_000;
/** A schedule that cannot be read (by this version, on this machine) is looked at again so often. */
const unreadableMs = 3_600_000;
const NEVER = new Date(8_640_000_000_000_000);

/** A scheduler over the store's timetable; all that it knows between two turns is there. */
export function createScheduler(parts: SchedulerParts): Scheduler {
  const { schedules, settings, now } = parts;
  const parsed = new Map<string, CronTimes>();

  const timesOf = (schedule: string, timezone: string): CronTimes => {
    const spec = specOf(schedule, timezone);
    const times = parsed.get(spec) ?? parseCron(schedule, timezone);
    if (parsed.size >= PARSED_MAX) parsed.clear();
    parsed.set(spec, times);
    return times;
  };

  const decide = (entry: ScheduleEntry): Step => {
    const timezone = entry.timezone ?? settings.timezone;
    const spec = specOf(entry.schedule, timezone);
    const overlap =
      settings.overlap === 'skip'
        ? ({ kind: 'skip' } as const)
        : ({ kind: 'queue', again: new Date(now().getTime() + againMs) } as const);
    try {
      const times = timesOf(entry.schedule, timezone);
      const at = now();
      const { dueAt } = entry;
      if (dueAt === null || entry.spec !== spec) {
        const from = dueAt === null && entry.startAt.getTime() > 0 ? entry.startAt : at;
        return { entry, overlap, next: { spec, ...place(entry.connector, times, from) } };
      }
      return {
        entry,
        overlap,
        ...dueTimes({ ...entry, dueAt }, times, { now: at, catchUp: settings.catchUp }),
        next: { spec, ...place(entry.connector, times, at) },
      };
    } catch (error) {
      parts.onFault(`schedule of ${entry.connector}: ${asMillraceError(error).message}`);
      return {
        entry,
        overlap,
        next: { spec, dueAt: null, startAt: new Date(now().getTime() + unreadableMs) },
      };
    }
  };

  /** The first due time after `from`, and when to act on it. */
  const place = (connector: string, times: CronTimes, from: Date): { dueAt: Date | null; startAt: Date } => {
    const dueAt = times.nextAfter(from);
    if (dueAt === null) return { dueAt, startAt: NEVER };
    const following = times.nextAfter(dueAt);
    const gapMs = following === null ? settings.spreadMs * 10 : following.getTime() - dueAt.getTime();
    const shareMs = Math.floor(Math.min(settings.spreadMs, gapMs / 10));
    return { dueAt, startAt: new Date(dueAt.getTime() + (shareMs > 0 ? hash(connector) % shareMs : 0)) };
  };

  const slice = async (): Promise<boolean> => {
    const entries = await schedules.due(now(), ENTRIES);
    if (entries.length === 0) return false;
    const begun = performance.now();
    const steps: Step[] = [];
    for (const entry of entries) {
      steps.push(decide(entry));
      if (performance.now() - begun > sliceMs) break;
    }
    const moved = await schedules.advance(steps);
    if (moved.includes('queued')) parts.onQueued();
    return true;
  };

  return {
    async act({ first, setBack, signal }) {
      if (setBack) await schedules.setBack({ now: now(), retryMaxMs: settings.retryMaxMs });
      if (first) await schedules.replan(settings.timezone);
      const end = performance.now() + turnMaxMs;
      while (!signal.aborted && (await slice())) {
        if (performance.now() > end) return 0;
        await breathe();
      }
      const next = await schedules.nextStart();
      return next === null ? undefined : next.getTime() - now().getTime();
    },
  };
}

/** FNV-1a: the same share of the spread for a connector each time, and near names far apart. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1)
    value = Math.imul(value ^ text.charCodeAt(at), 0x01000193) >>> 0;
  return value;
}
