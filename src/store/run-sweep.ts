import { type Kysely, sql } from 'kysely';
import type { Database } from './database.ts';
import { isReal } from './run-end.ts';
import { runIdFloor } from './run-id.ts';
import type { RunStore, SweepRules } from './store.ts';

/** What one step looks at and removes: a transaction of some milliseconds, whatever the runs have said. */
const stepRuns = 50;
const stepLogLines = 2_000;

/**
 * Old runs leave the history, a few at a time. Of each connector the newest run and the newest that brought rows stay
 * however old they are: they say how it is and since when.
 */
export function sweepStore(db: Kysely<Database>): Pick<RunStore, 'sweep'> {
  return {
    sweep: (rules, connector) =>
      db.transaction().execute(async (trx) => {
        const removed = connector === '' ? 0 : await removeSome(trx, rules, connector);
        if (removed > 0) return { connector, removed };
        return { connector: await connectorAfter(trx, connector), removed };
      }),
  };
}

/** Steps from name to name along the index, also of connectors that were deleted: their runs stay for as long as others. */
async function connectorAfter(trx: Kysely<Database>, connector: string): Promise<string | null> {
  const row = await trx
    .selectFrom('runs')
    .select('connector')
    .where('connector', '>', connector)
    .orderBy('connector')
    .limit(1)
    .executeTakeFirst();
  return row?.connector ?? null;
}

async function removeSome(trx: Kysely<Database>, rules: SweepRules, connector: string): Promise<number> {
  const below = await boundary(trx, rules, connector);
  const staying = await lasting(trx, connector);
  const old = await trx
    .selectFrom('runs')
    .select(({ selectFrom, fn }) => [
      'run_id',
      selectFrom('run_log')
        .select(fn.countAll<number>().as('lines'))
        .whereRef('run_log.run_id', '=', 'runs.run_id')
        .as('lines'),
    ])
    .where('connector', '=', connector)
    .where('run_id', '<', below)
    .where('run_id', 'not in', staying)
    .where(sql<boolean>`status not in ('queued', 'running')`)
    .orderBy('run_id')
    .limit(stepRuns)
    .execute();
  let lines = 0;
  const step = old.filter((run, at) => {
    lines += run.lines ?? 0;
    return at === 0 || lines <= stepLogLines;
  });
  if (step.length === 0) return 0;
  // Log lines go with their run.
  await trx
    .deleteFrom('runs')
    .where(
      'run_id',
      'in',
      step.map(({ run_id }) => run_id),
    )
    .execute();
  return step.length;
}

/** Ids grow with time, so both rules are a bound on them. */
async function boundary(
  trx: Kysely<Database>,
  { olderThan, keepRuns }: SweepRules,
  connector: string,
): Promise<string> {
  const newest = await trx
    .selectFrom('runs')
    .select('run_id')
    .where('connector', '=', connector)
    .orderBy('run_id', 'desc')
    .offset(keepRuns - 1)
    .limit(1)
    .executeTakeFirst();
  const byAge = runIdFloor(olderThan);
  return newest !== undefined && newest.run_id > byAge ? newest.run_id : byAge;
}

async function lasting(trx: Kysely<Database>, connector: string): Promise<readonly string[]> {
  const newest = trx
    .selectFrom('runs')
    .select('run_id')
    .where('connector', '=', connector)
    .orderBy('run_id', 'desc')
    .limit(1);
  const found = await Promise.all([
    newest.where(isReal).execute(),
    newest.where('status', '=', 'succeeded').execute(),
    newest.where('status', '=', 'partial').execute(),
  ]);
  return ['', ...found.flat().map(({ run_id }) => run_id)];
}
