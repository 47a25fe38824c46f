import type { Kysely, Transaction } from 'kysely';
import { afterPassedTest, afterRun, type Breaker, type BreakerRules, type RunEnd } from '../core/breaker.ts';
import type { ErrorView } from '../core/errors.ts';
import type { BreakerRow, Database } from './database.ts';
import { prepared } from './prepared.ts';
import type { BreakerStore } from './store.ts';

const every = prepared((db) => db.selectFrom('breakers').selectAll());

/** Breakers of connectors that failed since they last succeeded; what becomes of them is decided in core/breaker.ts. */
export function breakerStore(db: Kysely<Database>, now: () => Date): BreakerStore {
  return {
    get: (connector) => breakerOf(db, connector),

    all: async () => {
      const rows = await every(db);
      return new Map(rows.map((row) => [row.connector, fromRow(row)]));
    },

    testPassed: (connector) =>
      db.transaction().execute(async (trx) => {
        const before = await breakerOf(trx, connector);
        const after = afterPassedTest(before, now().getTime());
        if (after === before) return false;
        await keep(trx, connector, after);
        return true;
      }),

    close: (connector) => closeBreaker(db, connector),
  };
}

/** The breaker of one connector; null when nothing failed since it last succeeded. */
async function breakerOf(db: Kysely<Database>, connector: string): Promise<Breaker | null> {
  const row = await db
    .selectFrom('breakers')
    .selectAll()
    .where('connector', '=', connector)
    .executeTakeFirst();
  return row === undefined ? null : fromRow(row);
}

/** As if nothing had ever failed. */
export async function closeBreaker(db: Kysely<Database>, connector: string): Promise<void> {
  await db.deleteFrom('breakers').where('connector', '=', connector).execute();
}

/** Takes the end of a run into account, in the transaction that ends it. Returns the breaker when this run opened it. */
export async function countRun(
  trx: Transaction<Database>,
  connector: string,
  { end, rules, now }: { readonly end: RunEnd; readonly rules: BreakerRules; readonly now: number },
): Promise<Breaker | null> {
  const before = await breakerOf(trx, connector);
  const after = afterRun(before, end, { rules, now });
  if (after === before) return null;
  await keep(trx, connector, after);
  return after?.open === undefined ? null : after;
}

async function keep(trx: Transaction<Database>, connector: string, breaker: Breaker | null): Promise<void> {
  if (breaker === null) return await closeBreaker(trx, connector);
  // A run may end after its connector was deleted: then there is nothing to hold back.
  const known = await trx
    .selectFrom('connectors')
    .select('name')
    .where('name', '=', connector)
    .executeTakeFirst();
  if (known === undefined) return;
  const values = {
    failures: breaker.failures,
    opened_at: breaker.open?.since ?? null,
    open_until: breaker.open?.until ?? null,
    error: JSON.stringify(breaker.error),
  };
  await trx
    .insertInto('breakers')
    .values({ connector, ...values })
    .onConflict((conflict) => conflict.column('connector').doUpdateSet(values))
    .execute();
}

function fromRow({ failures, opened_at, open_until, error }: BreakerRow): Breaker {
  return {
    failures,
    ...(opened_at === null || open_until === null ? {} : { open: { since: opened_at, until: open_until } }),
    error: JSON.parse(error) as ErrorView,
  };
}
