import type { Kysely } from 'kysely';
import type { Database } from './database.ts';
import type { LeaseStore } from './store.ts';

/**
 * Leases by name, each held by one at a time in all processes. A row stays when it is given back, as the runs' do: the
 * epoch says whose it is, so that one who slept through his lease gives nothing back that another holds.
 */
export function leaseStore(db: Kysely<Database>, now: () => Date): LeaseStore {
  return {
    acquire: (name, holder, leaseMs) =>
      db.transaction().execute(async (trx) => {
        const at = now().getTime();
        const lease = await trx
          .selectFrom('leases')
          .select(['epoch', 'expires_at'])
          .where('name', '=', name)
          .executeTakeFirst();
        if (lease !== undefined && lease.expires_at > at) return null;
        const taken = { holder, epoch: (lease?.epoch ?? 0) + 1, expires_at: at + leaseMs };
        await trx
          .insertInto('leases')
          .values({ name, ...taken })
          .onConflict((conflict) => conflict.column('name').doUpdateSet(taken))
          .execute();
        return { name, epoch: taken.epoch };
      }),

    renew: async ({ name, epoch }, leaseMs) => {
      const { numUpdatedRows } = await db
        .updateTable('leases')
        .set({ expires_at: now().getTime() + leaseMs })
        .where('name', '=', name)
        .where('epoch', '=', epoch)
        .where('expires_at', '>', 0)
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    },

    release: async ({ name, epoch }) => {
      await db
        .updateTable('leases')
        .set({ holder: null, expires_at: 0 })
        .where('name', '=', name)
        .where('epoch', '=', epoch)
        .execute();
    },
  };
}
