import { type Kysely, sql } from 'kysely';
import type { CheckFacts } from '../core/health.ts';
import type { CheckReport } from '../core/model.ts';
import type { Database } from './database.ts';
import { isActive } from './run-end.ts';
import type { CheckStore } from './store.ts';

/** What of a report is kept. */
export type KeptCheck = Omit<CheckFacts, 'at'>;

/** After a refused login nobody looks again for a day, unless the connector was changed: looking is a login too. */
const refusedRestMs = 24 * 60 * 60_000;

/** The last look at each connector's source, and whose turn is next. */
export function checkStore(db: Kysely<Database>, now: () => Date): CheckStore {
  return {
    put: async (connector, report) => {
      const row = { at: now().getTime(), ok: report.ok ? 1 : 0, report: JSON.stringify(kept(report)) };
      // Selected, not given: a connector that was deleted meanwhile keeps no row.
      await db
        .insertInto('checks')
        .columns(['connector', 'at', 'ok', 'report'])
        .expression((build) =>
          build
            .selectFrom('connectors')
            .select(({ val }) => [
              'name',
              val(row.at).as('at'),
              val(row.ok).as('ok'),
              val(row.report).as('report'),
            ])
            .where('name', '=', connector),
        )
        .onConflict((conflict) => conflict.column('connector').doUpdateSet(row))
        .execute();
    },

    due: async (since, limit) => {
      const refusedSince = now().getTime() - refusedRestMs;
      const rows = await db
        .selectFrom('connectors')
        .leftJoin('checks', 'checks.connector', 'connectors.name')
        .leftJoin('breakers', 'breakers.connector', 'connectors.name')
        .select('name')
        .where('enabled', '=', 1)
        .where(({ eb, or }) => or([eb('checks.at', 'is', null), eb('checks.at', '<=', since.getTime())]))
        .where(
          sql<boolean>`not exists (select 1 from runs where connector = connectors.name and ${isActive})`,
        )
        .where(sql<boolean>`coalesce((select finished_at from runs where connector = connectors.name and status = 'succeeded'
          order by run_id desc limit 1), 0) <= ${since.getTime()}`)
        .where(
          sql<boolean>`not (breakers.open_until is not null and coalesce(breakers.error ->> '$.code', '') = 'auth_failed')`,
        )
        .where(
          sql<boolean>`(checks.at is null or not (checks.at > ${refusedSince} and checks.at >= connectors.updated_at
            and coalesce(checks.report ->> '$.error.code', '') = 'auth_failed'))`,
        )
        .orderBy(sql`coalesce(checks.at, 0)`)
        .orderBy('name')
        .limit(limit)
        .execute();
      return rows.map(({ name }) => name);
    },
  };
}

/** The kept part of a report from its row. */
export function keptCheck(json: string): KeptCheck {
  return JSON.parse(json) as KeptCheck;
}

/** Not the single checks: a connector with a thousand streams has a thousand, and `test_connector` makes them anew. */
function kept({ ok, checks, error, clock_skew_ms }: CheckReport): KeptCheck {
  const failed = checks.filter((check) => !check.ok);
  return {
    ok,
    streamsOnly: failed.length > 0 && failed.every(({ name }) => name.startsWith('stream ')),
    ...(error === undefined ? {} : { error }),
    ...(clock_skew_ms === undefined ? {} : { clockSkewMs: clock_skew_ms }),
  };
}
