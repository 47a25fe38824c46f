import type { Kysely } from 'kysely';
import type { BreakerRules } from '../core/breaker.ts';
import { MillraceError } from '../core/errors.ts';
import type { RunStatus } from '../core/model.ts';
import { pageFetch, pageOf, pageStart } from '../core/paging.ts';
import { assertConnector } from './connectors.ts';
import type { Database, RunRow } from './database.ts';
import { prepared } from './prepared.ts';
import { claimStore } from './run-claims.ts';
import { activeRun, isReal, requestEnd } from './run-end.ts';
import { bringForward, isWaitingFor } from './run-forward.ts';
import { holdStore, inProgress } from './run-hold.ts';
import { runId } from './run-id.ts';
import { matching } from './run-list.ts';
import { logStore } from './run-log.ts';
import { sweepStore } from './run-sweep.ts';
import { askedOf, runView } from './run-view.ts';
import type { RunRequest, RunStore } from './store.ts';

/** The world the runs live in, as arguments. */
export interface RunStoreOptions {
  readonly now: () => Date;
  readonly random: (bytes: number) => Uint8Array;
  readonly breaker: BreakerRules;
}

/** Runs: queued, claimed, watched, ended and remembered. */
export function runStore(db: Kysely<Database>, { now, random, breaker }: RunStoreOptions): RunStore {
  return {
    ...claimStore(db, { now, breaker }),
    ...logStore(db, now),
    ...holdStore(db, now),
    ...sweepStore(db),

    enqueue: (request) =>
      db.transaction().execute(async (trx) => {
        await assertConnector(trx, request.connector);
        const known = await scheduledRun(trx, request);
        if (known) return runView(known);
        const active = await activeRun(trx, request.connector);
        if (active && isWaitingFor(active, request)) return runView(await bringForward(trx, active));
        if (active) throw inProgress(active);
        const row = newRow(request, runId(now(), random), now());
        await trx.insertInto('runs').values(row).execute();
        return runView(row);
      }),

    cancel: (id) =>
      db.transaction().execute(async (trx) => {
        const run = await rowOf(trx, id);
        if (run.status === 'queued' || run.status === 'running') await requestEnd(trx, run, now());
        return runView(await rowOf(trx, id));
      }),

    active: async (connector) => {
      const row = await activeRun(db, connector);
      return row === undefined ? null : { run: runView(row), ...askedOf(row) };
    },

    latest: async (connector) => {
      const [row] = await latestOf(db, connector);
      return row === undefined ? null : runView(row);
    },

    get: async (id) => runView(await rowOf(db, id)),

    list: async (filter, page) => {
      const rows = await matching(db, filter, pageStart(page)).limit(pageFetch(page)).execute();
      return pageOf(rows, page, { item: runView, key: (row) => row.run_id });
    },

    counts: async () => {
      const rows = await counts(db);
      return Object.fromEntries(rows.map(({ status, runs }) => [status, runs])) as Record<RunStatus, number>;
    },
  };
}

/** The run that another process made for the same due time, if there is one. */
export async function scheduledRun(
  trx: Kysely<Database>,
  { connector, dueAt }: Pick<RunRequest, 'connector' | 'dueAt'>,
): Promise<RunRow | undefined> {
  if (!dueAt) return undefined;
  return trx
    .selectFrom('runs')
    .selectAll()
    .where('connector', '=', connector)
    .where('due_at', '=', dueAt.getTime())
    .where('before_set_back', '=', 0)
    .executeTakeFirst();
}

/** A run as it is queued. */
export function newRow(request: RunRequest, id: string, at: Date): RunRow {
  return {
    run_id: id,
    connector: request.connector,
    trigger: request.trigger,
    status: 'queued',
    attempt: 1,
    only_streams: request.streams ? JSON.stringify(request.streams) : null,
    full_refresh: request.fullRefresh ? 1 : 0,
    due_at: request.dueAt?.getTime() ?? null,
    before_set_back: 0,
    skipped: 0,
    queued_at: at.getTime(),
    started_at: null,
    finished_at: null,
    retry_at: null,
    cancel_requested: 0,
    epoch: null,
    streams: '[]',
    error: null,
  };
}

const withId = prepared((db, id: string) => db.selectFrom('runs').selectAll().where('run_id', '=', id));

const latestOf = prepared((db, connector: string) =>
  db
    .selectFrom('runs')
    .selectAll()
    .where('connector', '=', connector)
    .where(isReal)
    .orderBy('run_id', 'desc')
    .limit(1),
);

const counts = prepared((db) => db.selectFrom('run_counts').selectAll());

async function rowOf(db: Kysely<Database>, id: string): Promise<RunRow> {
  const [row] = await withId(db, id);
  if (row) return row;
  throw new MillraceError('run_not_found', `There is no run "${id.slice(0, 60)}".`, {
    hint: '`list_runs` shows the runs there are, newest first.',
    nextActions: [{ tool: 'list_runs', arguments: {}, why: 'shows the ids that exist' }],
  });
}
