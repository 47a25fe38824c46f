import { type Kysely, sql } from 'kysely';
import type { ErrorView } from '../core/errors.ts';
import type { ActiveRun, EndedRun } from '../core/health.ts';
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

/** A stream that was removed since it was left behind is nobody's trouble any more. */
const behind = sql`json_each(standings.behind) where exists
  (select 1 from streams where streams.connector = connectors.name and streams.name = value ->> '$.stream')`;

function connectors(db: Kysely<Database>) {
  return db
    .selectFrom('connectors')
    .leftJoin('breakers', 'breakers.connector', 'connectors.name')
    .leftJoin('checks', 'checks.connector', 'connectors.name')
    .leftJoin('standings', 'standings.connector', 'connectors.name')
    .leftJoin('schedules', 'schedules.connector', 'connectors.name')
    .select([
      'connectors.name',
      'enabled',
      'schedule',
      'timezone',
      'updated_at',
      'schedules.scheduled_at',
      'breakers.failures',
      'breakers.open_until',
      'breakers.error as breaker_error',
      'checks.at as checked_at',
      'checks.report',
      'standings.queued_at as full_queued_at',
      'standings.finished_at as full_finished_at',
      'standings.whole_queued_at',
      'standings.whole_finished_at',
      'standings.error as standing_error',
      sql<string>`(select json_group_array(value ->> '$.stream') from ${behind})`.as('behind'),
      sql<
        string | null
      >`(select value ->> '$.error' from ${behind} and value ->> '$.error' is not null limit 1)`.as(
        'behind_error',
      ),
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
  const ids = rows.flatMap((row) => [endedOf(row), row.active].filter((id) => id !== null));
  const runs = new Map((await runsOf(db, JSON.stringify([...new Set(ids)]))).map((run) => [run.run_id, run]));
  return rows.map((row) => {
    const ended = runs.get(endedOf(row) ?? '');
    const active = runs.get(row.active ?? '');
    return {
      connector: row.name,
      enabled: row.enabled === 1,
      changedAt: row.updated_at,
      ...(row.schedule === null ? {} : { schedule: row.schedule }),
      ...(row.timezone === null ? {} : { timezone: row.timezone }),
      ...(row.scheduled_at === null ? {} : { scheduledAt: row.scheduled_at }),
      ...(ended === undefined ? {} : { ended: endedRun(ended, row) }),
      ...(active === undefined ? {} : { active: activeRun(active) }),
      ...freshnessOf(row),
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

const runsOf = prepared((db, ids: string) =>
  db
    .selectFrom('runs')
    .select(['run_id', 'status', 'attempt', 'queued_at', 'finished_at', 'retry_at', 'error'])
    .where('run_id', 'in', sql<string>`(select value from json_each(${ids}))`),
);

type RunPart = Awaited<ReturnType<typeof runsOf>>[number];

/** The newest run, and as its failed streams also those that a run before it left behind and that have not landed since. */
function endedRun(run: RunPart, row: Row): EndedRun {
  const failedStreams = JSON.parse(row.behind) as readonly string[];
  const status = run.status === 'failed' ? 'failed' : failedStreams.length === 0 ? 'succeeded' : 'partial';
  return {
    run_id: run.run_id,
    status,
    at: run.finished_at ?? run.queued_at,
    failedStreams,
    ...errorOf(status === 'succeeded' ? null : (run.error ?? row.behind_error ?? row.standing_error)),
  };
}

/** What has landed is as new as the last time that nothing was left behind. */
function freshnessOf(row: Row): Pick<StoredFacts, 'succeededAt' | 'succeededFrom'> {
  const [from, at] =
    row.behind === '[]'
      ? [row.full_queued_at, row.full_finished_at]
      : [row.whole_queued_at, row.whole_finished_at];
  return from === null || at === null ? {} : { succeededAt: at, succeededFrom: from };
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
