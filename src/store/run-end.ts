import { type Kysely, sql, type Transaction } from 'kysely';
import type { StreamResult } from '../core/model.ts';
import type { Database, RunRow } from './database.ts';

/** Literals and not parameters: only so does SQLite see that this is the condition of the index of active runs. */
export const isActive = sql<boolean>`status in ('queued', 'running')`;

/** The same for the index of runs that are more than a skipped due time. */
export const isReal = sql<boolean>`skipped = 0`;

/** The run of a connector that is queued or running; there is at most one. */
export async function activeRun(db: Kysely<Database>, connector: string): Promise<RunRow | undefined> {
  return db
    .selectFrom('runs')
    .selectAll()
    .where('connector', '=', connector)
    .where(isActive)
    .executeTakeFirst();
}

/** The lease that a claim of this connector's runs holds. */
export function leaseOf(connector: string): string {
  return `run/${connector}`;
}

/** Whether somebody holds the connector now. */
async function isHeld(db: Kysely<Database>, connector: string, now: Date): Promise<boolean> {
  const lease = await db
    .selectFrom('leases')
    .select('name')
    .where('name', '=', leaseOf(connector))
    .where('expires_at', '>', now.getTime())
    .executeTakeFirst();
  return lease !== undefined;
}

/** Ends a run that nobody holds as cancelled: its streams that had not ended say so too. */
export async function endCancelled(trx: Transaction<Database>, run: RunRow, now: Date): Promise<void> {
  const streams = (JSON.parse(run.streams) as readonly StreamResult[]).map((stream) =>
    stream.status === 'pending' || stream.status === 'running'
      ? { ...stream, status: 'cancelled' as const }
      : stream,
  );
  await trx
    .updateTable('runs')
    .set({
      status: 'cancelled',
      streams: JSON.stringify(streams),
      finished_at: now.getTime(),
      retry_at: null,
      cancel_requested: 1,
    })
    .where('run_id', '=', run.run_id)
    .execute();
}

/** Somebody wants the run to stop: ended at once when nobody holds it, else its holder hears of it with the next heartbeat. */
export async function requestEnd(trx: Transaction<Database>, run: RunRow, now: Date): Promise<void> {
  if (run.status === 'running' && (await isHeld(trx, run.connector, now))) {
    await trx.updateTable('runs').set({ cancel_requested: 1 }).where('run_id', '=', run.run_id).execute();
  } else {
    await endCancelled(trx, run, now);
  }
}

/** Before a connector goes: its active run, if any, is asked to stop. */
export async function endRunsOf(trx: Transaction<Database>, connector: string, now: Date): Promise<void> {
  const run = await activeRun(trx, connector);
  if (run) await requestEnd(trx, run, now);
}
