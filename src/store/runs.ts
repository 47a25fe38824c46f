import type { Kysely } from 'kysely';
import type { BreakerRules } from '../core/breaker.ts';
import { MillraceError, type NextAction } from '../core/errors.ts';
import type { RunStatus } from '../core/model.ts';
import { assertConnector } from './connectors.ts';
import type { Database, RunRow } from './database.ts';
import { pageFetch, pageOf, pageStart } from './paging.ts';
import { claimStore } from './run-claims.ts';
import { isActive, requestEnd } from './run-end.ts';
import { bringForward, isWaitingFor } from './run-forward.ts';
import { runId, runIdFloor } from './run-id.ts';
import { logStore } from './run-log.ts';
import { runView } from './run-view.ts';
import type { RunFilter, RunRequest, RunStore } from './store.ts';

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

    enqueue: (request) =>
      db.transaction().execute(async (trx) => {
        await assertConnector(trx, request.connector);
        const known = await scheduledRun(trx, request);
        if (known) return runView(known);
        const active = await trx
          .selectFrom('runs')
          .selectAll()
          .where('connector', '=', request.connector)
          .where(isActive)
          .executeTakeFirst();
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

    get: async (id) => runView(await rowOf(db, id)),

    list: async (filter, page) => {
      const rows = await matching(db, filter, pageStart(page)).limit(pageFetch(page)).execute();
      return pageOf(rows, page, { item: runView, key: (row) => row.run_id });
    },

    counts: async () => {
      const rows = await db.selectFrom('run_counts').selectAll().execute();
      return Object.fromEntries(rows.map(({ status, runs }) => [status, runs])) as Record<RunStatus, number>;
    },
  };
}

/** The run that another process made for the same due time, if there is one. */
async function scheduledRun(
  trx: Kysely<Database>,
  { connector, dueAt }: RunRequest,
): Promise<RunRow | undefined> {
  if (!dueAt) return undefined;
  return trx
    .selectFrom('runs')
    .selectAll()
    .where('connector', '=', connector)
    .where('due_at', '=', dueAt.getTime())
    .executeTakeFirst();
}

function newRow(request: RunRequest, id: string, at: Date): RunRow {
  return {
    run_id: id,
    connector: request.connector,
    trigger: request.trigger,
    status: 'queued',
    attempt: 1,
    only_streams: request.streams ? JSON.stringify(request.streams) : null,
    full_refresh: request.fullRefresh ? 1 : 0,
    due_at: request.dueAt?.getTime() ?? null,
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

function inProgress(run: RunRow): MillraceError {
  const { connector, run_id, retry_at, only_streams } = run;
  const state =
    run.status === 'running'
      ? 'is running'
      : retry_at === null
        ? 'waits to start'
        : `waits for its next attempt at ${new Date(retry_at).toISOString()}`;
  const streams: unknown = only_streams === null ? undefined : JSON.parse(only_streams);
  const now: NextAction = {
    tool: 'sync_connector',
    arguments: { connector, streams },
    why: 'starts the attempt that it waits for now',
  };
  return new MillraceError(
    'run_in_progress',
    `The connector "${connector}" is already syncing: run ${run_id} ${state}.`,
    {
      hint: `Follow it with \`get_run\` {"run_id": "${run_id}", "wait_seconds": 10}, or stop it with \`cancel_run\` {"run_id": "${run_id}"} and call again.`,
      nextActions: [
        ...(retry_at === null ? [] : [now]),
        { tool: 'get_run', arguments: { run_id, wait_seconds: 10 }, why: 'waits for the run under way' },
        { tool: 'cancel_run', arguments: { run_id }, why: 'stops it, so that another can start' },
      ],
    },
  );
}

async function rowOf(db: Kysely<Database>, id: string): Promise<RunRow> {
  const row = await db.selectFrom('runs').selectAll().where('run_id', '=', id).executeTakeFirst();
  if (row) return row;
  throw new MillraceError('run_not_found', `There is no run "${id.slice(0, 60)}".`, {
    hint: '`list_runs` shows the runs there are, newest first.',
    nextActions: [{ tool: 'list_runs', arguments: {}, why: 'shows the ids that exist' }],
  });
}

/** Newest first. `since` becomes a range of ids, which every index ends with. */
function matching(db: Kysely<Database>, { connector, status, since }: RunFilter, before: string | null) {
  let query = db.selectFrom('runs').selectAll().orderBy('run_id', 'desc');
  if (connector !== undefined) query = query.where('connector', '=', connector);
  if (status !== undefined) query = query.where('status', '=', status);
  if (since !== undefined) query = query.where('run_id', '>=', runIdFloor(sinceDate(since)));
  if (before !== null) query = query.where('run_id', '<', before);
  return query;
}

function sinceDate(since: string): Date {
  const at = new Date(since);
  if (!Number.isNaN(at.getTime())) return at;
  throw new MillraceError('invalid_config', '`since` is not a time.', {
    hint: 'Give it as ISO 8601, e.g. "2026-11-02T08:00:00Z".',
  });
}
