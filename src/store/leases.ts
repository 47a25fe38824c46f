import type { Kysely } from 'kysely';
import type { Database, LeaseRow } from './database.ts';
import { lightly } from './driver.ts';
import { prepared } from './prepared.ts';
import type { LeaseStore } from './store.ts';

const named = prepared((db, name: string) => db.selectFrom('leases').selectAll().where('name', '=', name));

/**
 * Leases by name, each held by one at a time in all processes. A row stays when it is given back, as the runs' do: the
 * epoch says whose it is, so that one who slept through his lease gives nothing back that another holds.
 */
export function leaseStore(db: Kysely<Database>, now: () => Date): LeaseStore {
  const rowOf = async (from: Kysely<Database>, name: string): Promise<LeaseRow | undefined> =>
    (await named(from, name))[0];

  return {
    acquire: (name, holder, leaseMs) =>
      db.transaction().execute(async (trx) => {
        const at = now().getTime();
        const lease = await rowOf(trx, name);
        if (lease !== undefined && isHeld(lease, at, leaseMs)) return null;
        const taken = { holder, epoch: (lease?.epoch ?? 0) + 1, expires_at: at + leaseMs };
        await trx
          .insertInto('leases')
          .values({ name, ...taken })
          .onConflict((conflict) => conflict.column('name').doUpdateSet(taken))
          .execute();
        return { name, epoch: taken.epoch };
      }),

    renew: async ({ name, epoch }, leaseMs, seenAt) => {
      const { numUpdatedRows } = await lightly(db, (trx) =>
        trx
          .updateTable('leases')
          .set({
            expires_at: now().getTime() + leaseMs,
            ...(seenAt === undefined ? {} : { seen_at: seenAt.getTime() }),
          })
          .where('name', '=', name)
          .where('epoch', '=', epoch)
          .where('expires_at', '>', 0)
          .executeTakeFirstOrThrow(),
      );
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

    look: async (name) => {
      const lease = await rowOf(db, name);
      if (lease === undefined) return null;
      return {
        holder: lease.expires_at > now().getTime() ? lease.holder : null,
        seenAt: lease.seen_at === null ? null : new Date(lease.seen_at),
      };
    },

    free: async (name, isGone) => {
      const lease = await rowOf(db, name);
      if (lease === undefined || lease.holder === null || lease.expires_at === 0) return false;
      if (!isGone(lease.holder)) return false;
      const { numUpdatedRows } = await db
        .updateTable('leases')
        .set({ expires_at: 0 })
        .where('name', '=', name)
        .where('epoch', '=', lease.epoch)
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    },
  };
}

/**
 * A lease that ends further ahead than one taken now would, twice over, was taken before the clock was put back: it
 * would be waited for as long as the clock went back, hours perhaps. Once over could be a clock that is merely corrected.
 */
function isHeld({ expires_at }: LeaseRow, at: number, leaseMs: number): boolean {
  return expires_at > at && expires_at <= at + 2 * leaseMs;
}
