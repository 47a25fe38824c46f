import type { Kysely, Transaction } from 'kysely';
import type { ErrorView } from '../core/errors.ts';
import type { Database, StandingRow } from './database.ts';
import type { Claim, Outcome } from './store.ts';

/** A stream that has not landed since a run left it behind. */
interface Behind {
  readonly stream: string;
  /** Of its own; a run that got nowhere has one for all. */
  readonly error?: ErrorView | null;
}

/**
 * Takes the end of a run into account, in the transaction that ends it. One over all streams says how each of them is;
 * one over some says nothing of the others: what a run before left behind stays behind until it has landed.
 */
export async function keepStanding(
  trx: Transaction<Database>,
  claim: Claim,
  { outcome, at }: { readonly outcome: Outcome; readonly at: Date },
): Promise<void> {
  // Like health, which looks at the runs that came to an end of their own.
  if (outcome.status === 'cancelled') return;
  const declared = await streamNames(trx, claim.connector);
  const before = await standingOf(trx, claim.connector);
  const left = (JSON.parse(before?.behind ?? '[]') as readonly Behind[]).filter(({ stream }) =>
    declared.includes(stream),
  );
  const all = claim.streams === undefined || declared.every((name) => claim.streams?.includes(name));
  const met = outcome.streams.map(({ stream }) => stream);
  const asked = claim.streams ?? declared;
  const unmet = outcome.status === 'failed' ? asked.filter((name) => !met.includes(name)) : [];
  const kept = all ? [] : left.filter(({ stream }) => !met.includes(stream) && !unmet.includes(stream));
  const behind: readonly Behind[] = [
    ...kept,
    ...outcome.streams
      .filter(({ status }) => status !== 'succeeded')
      .map(({ stream, error }) => ({ stream, ...(error === undefined ? {} : { error }) })),
    ...unmet.map((stream) => ({ stream })),
  ];
  const full = { queued_at: before?.queued_at ?? null, finished_at: before?.finished_at ?? null };
  const whole =
    left.length === 0
      ? { whole_queued_at: full.queued_at, whole_finished_at: full.finished_at }
      : {
          whole_queued_at: before?.whole_queued_at ?? null,
          whole_finished_at: before?.whole_finished_at ?? null,
        };
  await put(trx, {
    connector: claim.connector,
    ...(all ? { queued_at: await queuedAt(trx, claim.run_id), finished_at: at.getTime() } : full),
    behind: JSON.stringify(behind),
    error: outcome.error === undefined ? (before?.error ?? null) : JSON.stringify(outcome.error),
    ...whole,
  });
}

async function standingOf(db: Kysely<Database>, connector: string): Promise<StandingRow | undefined> {
  return db.selectFrom('standings').selectAll().where('connector', '=', connector).executeTakeFirst();
}

async function streamNames(db: Kysely<Database>, connector: string): Promise<readonly string[]> {
  const rows = await db.selectFrom('streams').select('name').where('connector', '=', connector).execute();
  return rows.map(({ name }) => name);
}

async function queuedAt(db: Kysely<Database>, runId: string): Promise<number> {
  const run = await db
    .selectFrom('runs')
    .select('queued_at')
    .where('run_id', '=', runId)
    .executeTakeFirstOrThrow();
  return run.queued_at;
}

async function put(trx: Transaction<Database>, { connector, ...values }: StandingRow): Promise<void> {
  // A run may end after its connector was deleted: then there is nothing to remember.
  const known = await trx
    .selectFrom('connectors')
    .select('name')
    .where('name', '=', connector)
    .executeTakeFirst();
  if (known === undefined) return;
  await trx
    .insertInto('standings')
    .values({ connector, ...values })
    .onConflict((conflict) => conflict.column('connector').doUpdateSet(values))
    .execute();
}
