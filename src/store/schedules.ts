import { type Kysely, sql, type Transaction } from 'kysely';
import { SPREAD_MAX_MS } from '../core/cron.ts';
import type { ErrorView } from '../core/errors.ts';
import type { Database } from './database.ts';
import { prepared } from './prepared.ts';
import { activeRun } from './run-end.ts';
import { runId } from './run-id.ts';
import { newRow, type RunStoreOptions, scheduledRun } from './runs.ts';
import { moveClock, type SetBack } from './set-back.ts';
import { circuitOpen, stillRunning } from './skips.ts';

/** A connector's place in the timetable, as it was read. Whoever moves it on says what it read. */
export interface ScheduleEntry {
  readonly connector: string;
  readonly schedule: string;
  readonly timezone: string | null;
  /** What it was planned by; null before. */
  readonly spec: string | null;
  /** The due time that it waits for; null before it was planned. */
  readonly dueAt: Date | null;
  /** When to act on that. Before it was planned: from when on its times count, 1970 for now. */
  readonly startAt: Date;
}

/** One entry moved on, and what comes of the times that have passed. */
export interface Step {
  readonly entry: ScheduleEntry;
  readonly next: { readonly spec: string; readonly dueAt: Date | null; readonly startAt: Date };
  /** The due time that is to run, and the first line of its log where there is something to say. */
  readonly run?: { readonly dueAt: Date; readonly log?: string };
  /** Times that no run comes of: one entry of the history, under the newest of them. */
  readonly missed?: { readonly dueAt: Date; readonly error: ErrorView };
  /** While a run of the connector is queued or running: `skip` goes into the history; `queue` waits until then. */
  readonly overlap: { readonly kind: 'skip' } | { readonly kind: 'queue'; readonly again: Date };
}

/** `lost`: somebody else has moved it, or its schedule has changed; nothing was written. */
export type Moved = 'queued' | 'skipped' | 'waiting' | 'moved' | 'lost';

export interface ScheduleStore {
  /** Entries to act on at that time, the one that has waited longest first. */
  due(at: Date, limit: number): Promise<readonly ScheduleEntry[]>;
  /** All steps in one transaction, each only where the entry is still as it was read. */
  advance(steps: readonly Step[]): Promise<readonly Moved[]>;
  /** When `due` finds something next; null when nothing is scheduled. */
  nextStart(): Promise<Date | null>;
  /** What is due next. */
  nextDue(): Promise<{ readonly connector: string; readonly dueAt: Date } | null>;
  /** Who else is due from `from` on and before `until`; one more than `limit` when there are more. */
  dueBetween(from: Date, until: Date, limit: number): Promise<readonly string[]>;
  /** Entries that were planned for another default zone are planned anew from now on. */
  replan(defaultTimezone: string): Promise<void>;
  /** What the clock itself said before it was put back is made to fit the time it shows now. */
  setBack(to: SetBack): Promise<void>;
}

/** By what an entry is planned: text, so that a changed default zone is seen by comparing. */
export function specOf(schedule: string, timezone: string): string {
  return `${schedule}|${timezone}`;
}

const firstStart = prepared((db) =>
  db.selectFrom('schedules').select('start_at').orderBy('start_at').limit(1),
);

const firstDue = prepared((db) =>
  db
    .selectFrom('schedules')
    .select(['connector', 'due_at'])
    .where('due_at', 'is not', null)
    .orderBy('start_at')
    .limit(1),
);

/**
 * When which connector is due. Moving an entry on and making its run are one transaction that begins by comparing what
 * was read, so that a due time comes to exactly one entry of the history, whoever believes to be the scheduler.
 */
export function scheduleStore(db: Kysely<Database>, options: RunStoreOptions): ScheduleStore {
  return {
    due: (at, limit) => dueEntries(db, at, limit),

    advance: (steps) =>
      db.transaction().execute(async (trx) => {
        const moved: Moved[] = [];
        for (const step of steps) moved.push(await advanceOne(trx, step, options));
        return moved;
      }),

    nextStart: async () => {
      const [row] = await firstStart(db);
      return row === undefined ? null : new Date(row.start_at);
    },

    nextDue: async () => {
      const [row] = await firstDue(db);
      return row?.due_at == null ? null : { connector: row.connector, dueAt: new Date(row.due_at) };
    },

    dueBetween: async (from, until, limit) => {
      const rows = await db
        .selectFrom('schedules')
        .select('connector')
        .where('start_at', '>=', from.getTime())
        .where('start_at', '<', until.getTime() + SPREAD_MAX_MS)
        .where('due_at', '>=', from.getTime())
        .where('due_at', '<', until.getTime())
        .orderBy('start_at')
        .limit(limit + 1)
        .execute();
      return rows.map(({ connector }) => connector);
    },

    replan: async (defaultTimezone) => {
      const spec = sql<string>`(select schedule || '|' || coalesce(timezone, ${defaultTimezone}) from connectors where name = connector)`;
      await db
        .updateTable('schedules')
        .set({ spec: null, due_at: null, start_at: 0, scheduled_at: options.now().getTime() })
        .where('spec', 'is not', null)
        .where('spec', '<>', spec)
        .execute();
    },

    setBack: (to) =>
      db.transaction().execute(async (trx) => {
        await moveClock(trx, to);
        const at = to.now.getTime();
        // Or nothing would count as promised until the clock gets there again.
        await trx.updateTable('schedules').set({ scheduled_at: at }).where('scheduled_at', '>', at).execute();
      }),
  };
}

async function dueEntries(db: Kysely<Database>, at: Date, limit: number): Promise<readonly ScheduleEntry[]> {
  const rows = await db
    .selectFrom('schedules')
    .innerJoin('connectors', 'connectors.name', 'schedules.connector')
    .select(['connector', 'schedule', 'timezone', 'spec', 'due_at', 'start_at'])
    .where('start_at', '<=', at.getTime())
    .orderBy('start_at')
    .limit(limit)
    .execute();
  return rows.map((row) => ({
    connector: row.connector,
    schedule: row.schedule ?? '',
    timezone: row.timezone,
    spec: row.spec,
    dueAt: row.due_at === null ? null : new Date(row.due_at),
    startAt: new Date(row.start_at),
  }));
}

async function advanceOne(
  trx: Transaction<Database>,
  step: Step,
  { now, random }: RunStoreOptions,
): Promise<Moved> {
  const { entry, next, run, missed, overlap } = step;
  const active = run === undefined ? undefined : await activeRun(trx, entry.connector);
  const waits = active !== undefined && overlap.kind === 'queue';
  const place = waits
    ? { start_at: overlap.again.getTime() }
    : { spec: next.spec, due_at: next.dueAt?.getTime() ?? null, start_at: next.startAt.getTime() };
  if (!(await compareAndSet(trx, entry, place))) return 'lost';
  if (waits) return 'waiting';
  const at = now();
  const add = async (dueAt: Date, error: ErrorView | null): Promise<string | null> => {
    const request = {
      connector: entry.connector,
      trigger: 'schedule' as const,
      fullRefresh: false,
      dueAt,
    };
    if (await scheduledRun(trx, request)) return null; // the clock went back a little, and the time came again
    const row = newRow(request, runId(at, random), at);
    const ended = {
      status: 'cancelled',
      skipped: 1,
      finished_at: at.getTime(),
      error: JSON.stringify(error),
    };
    await trx
      .insertInto('runs')
      .values(error === null ? row : { ...row, ...ended })
      .execute();
    return row.run_id;
  };
  if (missed !== undefined) await add(missed.dueAt, missed.error);
  if (run === undefined) return missed === undefined ? 'moved' : 'skipped';
  const skip =
    active === undefined
      ? await circuitOpen(trx, entry.connector, at)
      : stillRunning(active, { dueAt: run.dueAt, next: next.dueAt });
  const id = await add(run.dueAt, skip);
  if (id === null) return 'moved';
  if (run.log !== undefined) {
    const line = { run_id: id, line: 1, at: at.getTime(), level: 'warn', message: run.log };
    await trx.insertInto('run_log').values(line).execute();
  }
  return skip === null ? 'queued' : 'skipped';
}

/** Moves the entry when it is what was read, and of a schedule that is what was read. */
async function compareAndSet(
  trx: Transaction<Database>,
  entry: ScheduleEntry,
  place: {
    readonly spec?: string;
    readonly due_at?: number | null;
    readonly start_at: number;
  },
): Promise<boolean> {
  const { numUpdatedRows } = await trx
    .updateTable('schedules')
    .set(place)
    .where('connector', '=', entry.connector)
    .where('due_at', 'is', entry.dueAt?.getTime() ?? null)
    .where('start_at', '=', entry.startAt.getTime())
    .where(({ exists, selectFrom }) =>
      exists(
        selectFrom('connectors')
          .select('name')
          .where('name', '=', entry.connector)
          .where('schedule', '=', entry.schedule)
          .where('timezone', 'is', entry.timezone),
      ),
    )
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}
