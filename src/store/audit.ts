import type { Kysely } from 'kysely';
import { pageFetch, pageOf, pageStart } from '../core/paging.ts';
import { redact } from '../core/redact.ts';
import type { Database } from './database.ts';
import type { AuditStore } from './store.ts';

/** Who changed what, newest first. Append-only: triggers of the schema refuse a change, whoever makes it. */
export function auditStore(db: Kysely<Database>, now: () => Date): AuditStore {
  return {
    append: async ({ actor, action, subject, detail }) => {
      const entry = { at: now().getTime(), actor, action, subject, detail: JSON.stringify(redact(detail)) };
      await db.insertInto('audit').values(entry).execute();
    },

    list: async (page) => {
      const before = pageStart(page);
      let query = db.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(pageFetch(page));
      if (before !== null) query = query.where('id', '<', Number(before));
      const rows = await query.execute();
      return pageOf(rows, page, {
        item: (row) => ({
          at: new Date(row.at).toISOString(),
          actor: row.actor,
          action: row.action,
          subject: row.subject,
          detail: JSON.parse(row.detail) as Readonly<Record<string, unknown>>,
        }),
        key: (row) => String(row.id),
      });
    },
  };
}
