import { type Kysely, sql, type Transaction } from 'kysely';
import type { Breaker, BreakerRules } from '../core/breaker.ts';
import type { ErrorView } from '../core/errors.ts';
import type { RunStatus, StreamResult } from '../core/model.ts';
import { countRun } from './breakers.ts';
import type { Database, RunRow } from './database.ts';
import { lightly } from './driver.ts';
import { endCancelled, isActive, leaseOf } from './run-end.ts';
import { addLine } from './run-log.ts';
import { askedOf } from './run-view.ts';
import { keepStanding } from './standings.ts';
import type { Claim, Outcome, RunStore } from './store.ts';

type ClaimStore = Pick<
  RunStore,
  'claim' | 'release' | 'heartbeat' | 'finish' | 'retry' | 'handBack' | 'nextStart'
>;

/**
 * Who may work on which run. A claim is a lease on the connector and an epoch; the epoch in the run's row decides
 * whose run it is, so a holder whose lease ran out keeps it until somebody else takes it, and not a moment longer.
 */
export function claimStore(
  db: Kysely<Database>,
  { now, breaker }: { readonly now: () => Date; readonly breaker: BreakerRules },
): ClaimStore {
  return {
    claim: (holder, leaseMs, only) =>
      db.transaction().execute(async (trx) => {
        const at = now();
        for (;;) {
          const run = await claimable(trx, at, only);
          if (!run) return null;
          if (run.cancel_requested === 0) return take(trx, run, { holder, leaseMs, at });
          await endCancelled(trx, run, at); // one claimable run fewer: the loop ends
        }
      }),

    release: (isGone) => db.transaction().execute((trx) => releaseGone(trx, isGone, now())),

    heartbeat: (claim, leaseMs, streams) =>
      lightly(db, async (trx) => {
        const run = await trx
          .updateTable('runs')
          .set({ streams: JSON.stringify(streams) })
          .where('run_id', '=', claim.run_id)
          .where('epoch', '=', claim.epoch)
          .where('status', '=', 'running')
          .returning('cancel_requested')
          .executeTakeFirst();
        if (!run) return 'lost';
        await trx
          .updateTable('leases')
          .set({ expires_at: now().getTime() + leaseMs })
          .where('name', '=', leaseOf(claim.connector))
          .execute();
        return run.cancel_requested === 1 ? 'cancelled' : 'held';
      }),

    finish: (claim, outcome) =>
      db.transaction().execute(async (trx) => {
        const at = now();
        const { status, streams, error = null } = outcome;
        const left = await leave(trx, claim, {
          status,
          streams: JSON.stringify(streams),
          error,
          finished_at: at.getTime(),
          retry_at: null,
        });
        if (!left) return false;
        await tellBreaker(trx, claim, { outcome, rules: breaker, at });
        await keepStanding(trx, claim, { outcome, at });
        return true;
      }),

    retry: (claim, at, outcome) =>
      db
        .transaction()
        .execute((trx) => putBack(trx, claim, { ...outcome, more: 1, retry_at: at.getTime(), at: now() })),

    handBack: (claim, streams) =>
      db.transaction().execute((trx) => putBack(trx, claim, { streams, more: 0, retry_at: null, at: now() })),

    nextStart: async () => {
      const { at } = await db
        .selectFrom('runs')
        .leftJoin('leases', (join) => join.on('leases.name', '=', sql<string>`'run/' || runs.connector`))
        .select(
          sql<number | null>`min(max(
            case status when 'queued' then coalesce(retry_at, queued_at) else 0 end,
            coalesce(leases.expires_at, 0)
          ))`.as('at'),
        )
        .where(isActive)
        .executeTakeFirstOrThrow();
      return at === null ? null : new Date(at);
    },
  };
}

/**
 * A lease that ends further ahead is from before the clock was put back, and would be waited for until it gets there again.
 * A holder that lives is not harmed more than by any other that takes over: its epoch is no longer the latest.
 */
const LEASE_MAX_MS = 600_000;

/** The oldest run that may start now and whose connector nobody holds; that one or none when one is named. */
async function claimable(
  trx: Transaction<Database>,
  at: Date,
  only: string | undefined,
): Promise<RunRow | undefined> {
  const runs = trx
    .selectFrom('runs')
    .selectAll('runs')
    .leftJoin('leases', (join) => join.on('leases.name', '=', sql<string>`'run/' || runs.connector`))
    .where(isActive)
    .where(({ eb, or }) =>
      or([eb('status', '=', 'running'), eb('retry_at', 'is', null), eb('retry_at', '<=', at.getTime())]),
    )
    .where(({ eb, or }) =>
      or([
        eb('leases.expires_at', 'is', null),
        eb('leases.expires_at', '<=', at.getTime()),
        eb('leases.expires_at', '>', at.getTime() + LEASE_MAX_MS),
      ]),
    )
    .orderBy('run_id')
    .limit(1);
  return await (only === undefined ? runs : runs.where('run_id', '=', only)).executeTakeFirst();
}

interface Taking {
  readonly holder: string;
  readonly leaseMs: number;
  readonly at: Date;
}

async function take(
  trx: Transaction<Database>,
  run: RunRow,
  { holder, leaseMs, at }: Taking,
): Promise<Claim> {
  const epoch = await nextEpoch(trx, run.connector, at);
  const lease = { holder, epoch, expires_at: at.getTime() + leaseMs };
  await trx
    .insertInto('leases')
    .values({ name: leaseOf(run.connector), ...lease })
    .onConflict((conflict) => conflict.column('name').doUpdateSet(lease))
    .execute();
  const recovered = run.status === 'running';
  const attempt = run.attempt + (recovered ? 1 : 0);
  await trx
    .updateTable('runs')
    .set({
      status: 'running',
      attempt,
      epoch,
      started_at: run.started_at ?? at.getTime(),
      retry_at: null,
    })
    .where('run_id', '=', run.run_id)
    .execute();
  return {
    run_id: run.run_id,
    connector: run.connector,
    attempt,
    epoch,
    ...askedOf(run),
    recovered,
    ...(run.error === null ? {} : { failure: JSON.parse(run.error) as ErrorView }),
  };
}

/**
 * One more than the last, and never below the clock: the destination remembers the latest epoch too, and would
 * refuse every claim after `store.db` was put back from a backup if epochs only counted up from what is in here.
 */
export async function nextEpoch(trx: Transaction<Database>, connector: string, at: Date): Promise<number> {
  const lease = await trx
    .selectFrom('leases')
    .select('epoch')
    .where('name', '=', leaseOf(connector))
    .executeTakeFirst();
  return Math.max((lease?.epoch ?? 0) + 1, at.getTime());
}

async function releaseGone(
  trx: Transaction<Database>,
  isGone: (holder: string) => boolean,
  at: Date,
): Promise<readonly string[]> {
  const held = await trx
    .selectFrom('runs')
    .innerJoin('leases', (join) => join.on('leases.name', '=', sql<string>`'run/' || runs.connector`))
    .select(['run_id', 'leases.name as lease', 'leases.holder as holder'])
    .where(isActive)
    .where('status', '=', 'running')
    .where('leases.expires_at', '>', at.getTime())
    .orderBy('run_id')
    .execute();
  const gone = held.filter(({ holder }) => holder !== null && isGone(holder));
  for (const { lease } of gone) {
    // The holder stays named: one that was taken for gone and renews its lease after all can be released again.
    await trx.updateTable('leases').set({ expires_at: 0 }).where('name', '=', lease).execute();
  }
  return gone.map(({ run_id }) => run_id);
}

async function heldRun(trx: Transaction<Database>, claim: Claim): Promise<RunRow | undefined> {
  return trx
    .selectFrom('runs')
    .selectAll()
    .where('run_id', '=', claim.run_id)
    .where('epoch', '=', claim.epoch)
    .where('status', '=', 'running')
    .executeTakeFirst();
}

interface PuttingBack {
  readonly streams: readonly StreamResult[];
  readonly error?: ErrorView;
  /** Attempts used up by it. */
  readonly more: 0 | 1;
  readonly retry_at: number | null;
  readonly at: Date;
}

/** Back into the queue, unless somebody asked for the run to stop: then it has ended. */
async function putBack(
  trx: Transaction<Database>,
  claim: Claim,
  { streams: results, error, more, retry_at, at }: PuttingBack,
): Promise<boolean> {
  const run = await heldRun(trx, claim);
  if (!run) return false;
  const streams = JSON.stringify(results);
  const before = run.error === null ? null : (JSON.parse(run.error) as ErrorView);
  const queued = { status: 'queued', streams, error: error ?? before } as const;
  if (run.cancel_requested === 0)
    return leave(trx, claim, { ...queued, attempt: run.attempt + more, retry_at });
  const left = await leave(trx, claim, queued);
  await endCancelled(trx, { ...run, streams }, at);
  return left;
}

interface Leaving {
  readonly status: RunStatus;
  /** StreamResult[], JSON. */
  readonly streams: string;
  readonly error: ErrorView | null;
  readonly attempt?: number;
  readonly finished_at?: number;
  readonly retry_at?: number | null;
}

/** Writes how the holder leaves the run and gives the lease back; false and nothing written when it is no longer the holder's. */
async function leave(
  trx: Transaction<Database>,
  claim: Claim,
  { error, ...values }: Leaving,
): Promise<boolean> {
  const { numUpdatedRows } = await trx
    .updateTable('runs')
    .set({ ...values, error: error === null ? null : JSON.stringify(error) })
    .where('run_id', '=', claim.run_id)
    .where('epoch', '=', claim.epoch)
    .where('status', '=', 'running')
    .executeTakeFirst();
  if (numUpdatedRows === 0n) return false;
  await trx
    .updateTable('leases')
    .set({ holder: null, expires_at: 0 })
    .where('name', '=', leaseOf(claim.connector))
    .where('epoch', '=', claim.epoch)
    .execute();
  return true;
}

/** Whether the connector is to be left in peace from now on; the run that makes it so says it in its log. */
async function tellBreaker(
  trx: Transaction<Database>,
  { run_id, connector }: Claim,
  { outcome, rules, at }: { readonly outcome: Outcome; readonly rules: BreakerRules; readonly at: Date },
): Promise<void> {
  const { status, error, streams } = outcome;
  const errors = [error, ...streams.map((stream) => stream.error)].filter((one) => one !== undefined);
  const opened = await countRun(trx, connector, { end: { status, errors }, rules, now: at.getTime() });
  if (opened !== null) await addLine(trx, { runId: run_id, level: 'warn', message: restingLine(opened), at });
}

function restingLine({ failures, open, error }: Breaker): string {
  const why = failures === 1 ? 'This run failed' : `${failures} runs in a row have failed`;
  const until = open === undefined ? '' : ` until ${new Date(open.until).toISOString()}`;
  return `${why} (${error.code}): no scheduled run starts${until}. sync_connector starts one at any time.`;
}
