import type { Transaction } from 'kysely';
import { type ErrorView, MillraceError } from '../core/errors.ts';
import type { Database, RunRow } from './database.ts';

/** Why a due time comes to nothing while a run of the connector is queued or running. */
export function stillRunning(
  run: RunRow,
  { dueAt, next }: { readonly dueAt: Date; readonly next: Date | null },
): ErrorView {
  const state =
    run.status === 'running'
      ? 'was still running'
      : run.retry_at === null
        ? 'was still waiting to start'
        : `was waiting for its next attempt at ${iso(run.retry_at)}`;
  const then = next === null ? '' : ` The next time is ${next.toISOString()}.`;
  return new MillraceError(
    'run_in_progress',
    `The time ${dueAt.toISOString()} was skipped: run ${run.run_id} ${state}.${then}`,
    {
      hint: 'When this happens often, a run takes longer than the schedule leaves it: give the connector a wider one with `update_connector`, or set scheduler.overlap to "queue" in the config file, so that the time is made up for.',
      nextActions: [
        { tool: 'get_run', arguments: { run_id: run.run_id }, why: 'shows the run that was in the way' },
      ],
    },
  ).toView();
}

/** Why a due time comes to nothing while the connector's breaker is open; null when it is not, and a run may try. */
export async function circuitOpen(
  trx: Transaction<Database>,
  connector: string,
  at: Date,
): Promise<ErrorView | null> {
  const breaker = await trx
    .selectFrom('breakers')
    .select(['failures', 'open_until', 'error'])
    .where('connector', '=', connector)
    .where('open_until', '>', at.getTime())
    .executeTakeFirst();
  if (breaker?.open_until == null) return null;
  const cause = breaker.error === null ? null : (JSON.parse(breaker.error) as ErrorView);
  const times = breaker.failures === 1 ? 'a run failed' : `${breaker.failures} runs failed in a row`;
  const why = cause === null ? '' : ` (${cause.code}: ${cause.message.replace(/\.$/, '')})`;
  return new MillraceError(
    'circuit_open',
    `Scheduled runs of "${connector}" rest until ${iso(breaker.open_until)}: ${times}${why}.`,
    {
      hint:
        cause?.hint ??
        'Look at the source with `test_connector`; the first scheduled time after that tries again.',
      ...(cause === null ? {} : { who: cause.who }),
      nextActions: [
        { tool: 'test_connector', arguments: { connector }, why: 'shows what is wrong with the source now' },
        { tool: 'sync_connector', arguments: { connector }, why: 'tries now; a success ends the rest' },
      ],
    },
  ).toView();
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
