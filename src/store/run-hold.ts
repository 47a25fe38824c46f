import type { Kysely } from 'kysely';
import { MillraceError } from '../core/errors.ts';
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
  const state = run.status === 'running' ? 'is running' : 'waits to start';
  return new MillraceError(
    'run_in_progress',
    `The connector "${run.connector}" is already syncing: run ${run.run_id} ${state}.`,
    {
      hint: `Follow it with \`get_run\` {"run_id": "${run.run_id}", "wait_seconds": 10}, or stop it with \`cancel_run\` {"run_id": "${run.run_id}"} and call again.`,
      nextActions: [
        {
          tool: 'get_run',
          arguments: { run_id: run.run_id, wait_seconds: 10 },
          why: 'waits for the run under way',
        },
        { tool: 'cancel_run', arguments: { run_id: run.run_id }, why: 'stops it, so that another can start' },
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
