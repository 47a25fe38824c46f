import { sql, type Transaction } from 'kysely';
import type { Database } from './database.ts';

export interface SetBack {
  /** What the clock shows now. */
  readonly now: Date;
  /** The longest that a retry may wait from now. */
  readonly retryMaxMs: number;
}

/**
 * The clock was put back by hours: what was written ahead of it would wait until it gets there again. Everything is
 * planned from now on but what waits for a run to end, which has nothing to do with the clock; due times that lie ahead and have
 * run come again, as new ones; retries and breakers wait no longer than they were to wait when they were written.
 */
export async function moveClock(trx: Transaction<Database>, { now, retryMaxMs }: SetBack): Promise<void> {
  const at = now.getTime();
  await trx
    .updateTable('schedules')
    .set({ spec: null, due_at: null, start_at: at })
    .where(({ eb, or }) => or([eb('due_at', 'is', null), eb('due_at', '>', at)]))
    .execute();
  await trx.updateTable('schedules').set({ start_at: at }).where('start_at', '>', at).execute();
  await trx
    .updateTable('runs')
    .set({ before_set_back: 1 })
    .where('due_at', '>', at)
    .where('before_set_back', '=', 0)
    .execute();
  await trx
    .updateTable('runs')
    .set({ retry_at: at + retryMaxMs })
    .where(sql<boolean>`status in ('queued', 'running')`)
    .where('retry_at', '>', at + retryMaxMs)
    .execute();
  await trx
    .updateTable('breakers')
    .set({ open_until: sql<number>`${at} + open_until - opened_at`, opened_at: at })
    .where('opened_at', '>', at)
    .execute();
}
