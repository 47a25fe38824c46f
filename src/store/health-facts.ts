import { type Kysely, sql } from 'kysely';
import type { ErrorView } from '../core/errors.ts';
import type { ActiveRun, EndedRun } from '../core/health.ts';
import type { StreamResult } from '../core/model.ts';
import { type KeptCheck, keptCheck } from './checks.ts';
import type { Database } from './database.ts';
import { prepared } from './prepared.ts';
import type { HealthFactStore, StoredFacts } from './store.ts';

/**
 * What the store knows of connectors' health, many at a time: two statements a page, whose every row is the end of an
 * index, so that ten thousand connectors with a long history each are no more work than their number.
 */
export function healthFactStore(db: Kysely<Database>): HealthFactStore {
  return {
    page: async (after, limit) => factsOf(db, await following(db, after, limit)),
    of: async (names) => factsOf(db, await withNames(db, JSON.stringify(names))),
    scheduled: async () => (await scheduled(db))[0]?.connectors ?? 0,
  };
}

/** The newest run of each kind of end: a history of ten thousand skipped ones is not walked through. */
function newest(status: 'succeeded' | 'partial' | 'failed') {
  return sql<
    string | null
  >`(select run_id from runs where connector = connectors.name and status = ${sql.lit(status)}
    order by run_id desc limit 1)`;
}

function connectors(db: Kysely<Database>) {
  return db
    .selectFrom('connectors')
    .leftJoin('breakers', 'breakers.connector', 'connectors.name')
    .leftJoin('checks', 'checks.connector', 'connectors.name')
    .select([
      'name',
      'enabled',
      'schedule',
      'timezone',
      'updated_at',
      'breakers.failures',
      'breakers.open_until',
      'breakers.error as breaker_error',
      'checks.at as checked_at',
      'checks.report',
      newest('succeeded').as('succeeded'),
      newest('partial').as('partial'),
      newest('failed').as('failed'),
      sql<
        string | null
      >`(select run_id from runs where connector = connectors.name and status in ('queued', 'running'))`.as(
        'active',
      ),
    ]);
}

const following = prepared((db, after: string, limit: number) =>
  connectors(db).where('name', '>', after).orderBy('name').limit(limit),
);

const withNames = prepared((db, names: string) =>
  connectors(db).where('name', 'in', sql<string>`(select value from json_each(${names}))`),
);

const scheduled = prepared((db) =>
  db.selectFrom('schedules').select(({ fn }) => fn.countAll<number>().as('connectors')),
);

type Row = Awaited<ReturnType<typeof withNames>>[number];

async function factsOf(db: Kysely<Database>, rows: readonly Row[]): Promise<readonly StoredFacts[]> {
  const ids = rows.flatMap((row) => [row.succeeded, endedOf(row), row.active].filter((id) => id !== null));
  const runs = new Map((await runsOf(db, JSON.stringify([...new Set(ids)]))).map((run) => [run.run_id, run]));
  return rows.map((row) => {
    const ended = runs.get(endedOf(row) ?? '');
    const active = runs.get(row.active ?? '');
    const succeeded = runs.get(row.succeeded ?? '');
    return {
      connector: row.name,
      enabled: row.enabled === 1,
      changedAt: row.updated_at,
      ...(row.schedule === null ? {} : { schedule: row.schedule }),
      ...(row.timezone === null ? {} : { timezone: row.timezone }),
      ...(ended === undefined ? {} : { ended: endedRun(ended) }),
      ...(active === undefined ? {} : { active: activeRun(active) }),
      ...(succeeded === undefined
        ? {}
        : { succeededAt: succeeded.finished_at ?? 0, succeededFrom: succeeded.queued_at }),
      ...breakerOf(row),
      ...(row.checked_at === null || row.report === null
        ? {}
        : { check: { at: row.checked_at, ...keptCheck(row.report) } satisfies KeptCheck & { at: number } }),
    };
  });
}

/** Ids grow with time. */
function endedOf({ succeeded, partial, failed }: Row): string | null {
  return [succeeded, partial, failed].reduce((last, id) => ((id ?? '') > (last ?? '') ? id : last), null);
}

/** Results of streams only where they are asked about: a connector may have a thousand. */
const runsOf = prepared((db, ids: string) =>
  db
    .selectFrom('runs')
    .select(['run_id', 'status', 'attempt', 'queued_at', 'finished_at', 'retry_at', 'error'])
    .select(sql<string | null>`case status when 'partial' then streams end`.as('streams'))
    .where('run_id', 'in', sql<string>`(select value from json_each(${ids}))`),
);

type RunPart = Awaited<ReturnType<typeof runsOf>>[number];

function endedRun(run: RunPart): EndedRun {
  const streams = JSON.parse(run.streams ?? '[]') as readonly StreamResult[];
  return {
    run_id: run.run_id,
    status: run.status as EndedRun['status'],
    at: run.finished_at ?? run.queued_at,
    failedStreams: streams.filter(({ status }) => status !== 'succeeded').map(({ stream }) => stream),
    ...errorOf(run.error),
  };
}

function activeRun(run: RunPart): ActiveRun {
  return {
    run_id: run.run_id,
    status: run.status as ActiveRun['status'],
    attempt: run.attempt,
    queuedAt: run.queued_at,
    ...(run.retry_at === null ? {} : { retryAt: run.retry_at }),
    ...errorOf(run.error),
  };
}

function breakerOf({ failures, open_until, breaker_error }: Row): Pick<StoredFacts, 'breaker'> {
  if (failures === null) return {};
  return {
    breaker: {
      failures,
      ...(open_until === null ? {} : { openUntil: open_until }),
      ...errorOf(breaker_error),
    },
  };
}

function errorOf(json: string | null): { readonly error?: ErrorView } {
  return json === null ? {} : { error: JSON.parse(json) as ErrorView };
}
