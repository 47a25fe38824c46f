import { type Kysely, sql } from 'kysely';
import type { AlertState } from '../core/alerts.ts';
import type { Health } from '../core/health.ts';
import type { Database } from './database.ts';
import { prepared } from './prepared.ts';
import type { AlertStore } from './store.ts';

const undelivered = prepared((db) =>
  db
    .selectFrom('alerts')
    .select(({ fn }) => [fn.countAll<number>().as('alerts'), fn.max('error').as('error')])
    .where('attempts', '>', 0),
);

/** Which states people know of, and what is on its way to them. */
export function alertStore(db: Kysely<Database>, now: () => Date): AlertStore {
  return {
    states: async () => {
      const rows = await db.selectFrom('alert_states').selectAll().execute();
      return rows.map((row): AlertState => ({ ...row, told: row.told as Health, seen: row.seen as Health }));
    },

    remember: (states, alerts) =>
      db.transaction().execute(async (trx) => {
        for (const state of states) {
          const { subject, ...rest } = state;
          await trx
            .insertInto('alert_states')
            .values(state)
            .onConflict((conflict) => conflict.column('subject').doUpdateSet(rest))
            .execute();
        }
        const at = now().getTime();
        for (const { subject, id, body } of alerts) {
          const fresh = { id, at, body: JSON.stringify(body), attempts: 0, next_at: at, error: null };
          await trx
            .insertInto('alerts')
            .values({ subject, ...fresh })
            .onConflict((conflict) => conflict.column('subject').doUpdateSet(fresh))
            .execute();
        }
      }),

    forget: async () => {
      const gone = sql<boolean>`subject <> '' and subject not in (select name from connectors)`;
      await db.deleteFrom('alert_states').where(gone).execute();
    },

    due: async (limit) => {
      const rows = await db
        .selectFrom('alerts')
        .select(['id', 'at', 'body', 'attempts'])
        .where('next_at', '<=', now().getTime())
        .orderBy('next_at')
        .limit(limit)
        .execute();
      return rows.map((row) => ({ ...row, at: new Date(row.at) }));
    },

    postpone: async (id, to, error) => {
      await db
        .updateTable('alerts')
        .set(({ eb }) => ({ attempts: eb('attempts', '+', 1), next_at: to.getTime(), error }))
        .where('id', '=', id)
        .execute();
    },

    remove: async (id) => {
      await db.deleteFrom('alerts').where('id', '=', id).execute();
    },

    undelivered: async () => {
      const [row] = await undelivered(db);
      return { alerts: row?.alerts ?? 0, ...(row?.error == null ? {} : { error: row.error }) };
    },
  };
}
