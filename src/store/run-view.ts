import type { ErrorView } from '../core/errors.ts';
import type { Counts, Run, RunStatus, StreamResult, Trigger } from '../core/model.ts';
import type { RunRow } from './database.ts';
import type { RunRequest } from './store.ts';

/** A row of `runs` as the outside sees it. */
export function runView(row: RunRow): Run {
  const streams = JSON.parse(row.streams) as readonly StreamResult[];
  return {
    run_id: row.run_id,
    connector: row.connector,
    trigger: row.trigger as Trigger,
    status: row.status as RunStatus,
    ...(row.skipped === 1 ? { skipped: true as const } : {}),
    attempt: row.attempt,
    ...(row.due_at === null ? {} : { due_at: iso(row.due_at) }),
    queued_at: iso(row.queued_at),
    ...(row.started_at === null ? {} : { started_at: iso(row.started_at) }),
    ...(row.finished_at === null ? {} : { finished_at: iso(row.finished_at) }),
    ...(row.started_at === null || row.finished_at === null
      ? {}
      : { duration_ms: row.finished_at - row.started_at }),
    ...(row.retry_at === null ? {} : { retry_at: iso(row.retry_at) }),
    totals: totalsOf(streams),
    streams,
    // Of an attempt before: one that is under way has none yet.
    ...(row.error === null || row.status === 'running' ? {} : { error: JSON.parse(row.error) as ErrorView }),
  };
}

/** What the run was asked for. */
export function askedOf(row: RunRow): Pick<RunRequest, 'streams' | 'fullRefresh'> {
  return {
    ...(row.only_streams === null ? {} : { streams: JSON.parse(row.only_streams) as readonly string[] }),
    fullRefresh: row.full_refresh === 1,
  };
}

/** The counts of all streams together. */
function totalsOf(streams: readonly StreamResult[]): Counts {
  const totals = { rows_read: 0, rows_written: 0, rows_deleted: 0, rejects: 0, bytes_read: 0 };
  for (const stream of streams) {
    totals.rows_read += stream.rows_read;
    totals.rows_written += stream.rows_written;
    totals.rows_deleted += stream.rows_deleted;
    totals.rejects += stream.rejects;
    totals.bytes_read += stream.bytes_read;
  }
  return totals;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
