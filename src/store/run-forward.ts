import type { Transaction } from 'kysely';
import type { StreamResult } from '../core/model.ts';
import type { Database, RunRow } from './database.ts';
import type { RunRequest } from './store.ts';

/**
 * Whether a run that waits for its next attempt is what somebody asks for now. A run of the schedule is not: its retries
 * have the time they were given.
 */
export function isWaitingFor(run: RunRow, { trigger, streams, fullRefresh }: RunRequest): boolean {
  const waits = run.status === 'queued' && run.retry_at !== null;
  if (!waits || (trigger !== 'manual' && trigger !== 'cli')) return false;
  return (run.full_refresh === 1 || !fullRefresh) && isSame(run.only_streams, streams);
}

/**
 * Its next attempt may start at once. By itself it would leave out what no second attempt can mend; whoever asks may
 * have mended it, so every stream that failed is tried again.
 */
export async function bringForward(trx: Transaction<Database>, run: RunRow): Promise<RunRow> {
  const streams = (JSON.parse(run.streams) as readonly StreamResult[]).map(anew);
  const changed = { streams: JSON.stringify(streams), retry_at: null };
  await trx.updateTable('runs').set(changed).where('run_id', '=', run.run_id).execute();
  return { ...run, ...changed };
}

function isSame(kept: string | null, asked: readonly string[] | undefined): boolean {
  if (kept === null || asked === undefined) return kept === null && asked === undefined;
  const names = new Set(JSON.parse(kept) as readonly string[]);
  return names.size === new Set(asked).size && asked.every((name) => names.has(name));
}

function anew(result: StreamResult): StreamResult {
  if (result.status !== 'failed') return result;
  const { error: _error, ...rest } = result;
  return { ...rest, status: 'pending' };
}
