import type { Kysely } from 'kysely';
import { MillraceError, type NextAction } from '../core/errors.ts';
import type { Database, RunRow } from './database.ts';
import { nextEpoch } from './run-claims.ts';
import { activeRun, leaseOf } from './run-end.ts';
import type { RunStore } from './store.ts';

/** Holding a connector without a run: its lease, under the next epoch of its runs. */
export function holdStore(db: Kysely<Database>, now: () => Date): Pick<RunStore, 'hold'> {
  return {
    hold: (connector, { holder, leaseMs, isGone }) =>
      db.transaction().execute(async (trx) => {
        const at = now();
        const active = await activeRun(trx, connector);
        if (active !== undefined) throw inProgress(active);
        const name = leaseOf(connector);
        const held = await trx
          .selectFrom('leases')
          .select(['holder', 'expires_at'])
          .where('name', '=', name)
          .executeTakeFirst();
        if (
          held !== undefined &&
          held.expires_at > at.getTime() &&
          !(held.holder !== null && isGone(held.holder))
        )
          throw heldBySomebody(connector);
        const epoch = await nextEpoch(trx, connector, at);
        const lease = { holder, epoch, expires_at: at.getTime() + leaseMs };
        await trx
          .insertInto('leases')
          .values({ name, ...lease })
          .onConflict((conflict) => conflict.column('name').doUpdateSet(lease))
          .execute();
        return { name, epoch };
      }),
  };
}

/** Names the run under way, and how to follow or stop it. */
export function inProgress(run: RunRow): MillraceError {
  const { connector, run_id, retry_at, only_streams } = run;
  const state =
    run.status === 'running'
      ? 'is running'
      : retry_at === null
        ? 'waits to start'
        : `waits for its next attempt at ${new Date(retry_at).toISOString()}`;
  const streams: unknown = only_streams === null ? undefined : JSON.parse(only_streams);
  const now: NextAction = {
    tool: 'sync_connector',
    arguments: { connector, streams },
    why: 'starts the attempt that it waits for now',
  };
  return new MillraceError(
    'run_in_progress',
    `The connector "${connector}" is already syncing: run ${run_id} ${state}.`,
    {
      hint: `Follow it with \`get_run\` {"run_id": "${run_id}", "wait_seconds": 10}, or stop it with \`cancel_run\` {"run_id": "${run_id}"} and call again.`,
      nextActions: [
        ...(retry_at === null ? [] : [now]),
        { tool: 'get_run', arguments: { run_id, wait_seconds: 10 }, why: 'waits for the run under way' },
        { tool: 'cancel_run', arguments: { run_id }, why: 'stops it, so that another can start' },
      ],
    },
  );
}

function heldBySomebody(connector: string): MillraceError {
  return new MillraceError(
    'run_in_progress',
    `Rejects of "${connector}" are being replayed, or a run of it has just been lost.`,
    {
      hint: 'Call again in some seconds.',
    },
  );
}
