import { createHash } from 'node:crypto';
import { type Kysely, type Selectable, sql } from 'kysely';
import { pageFetch, pageOf, pageStart } from '../core/paging.ts';
import { redact } from '../core/redact.ts';
import type { AuditRow, Database } from './database.ts';
import type { AuditStore } from './store.ts';

/**
 * Who changed what, newest first. Append-only: triggers of the schema refuse a change, whoever makes it through SQLite.
 * Whoever edits the file itself is found out: each entry carries a hash of itself and of all before it.
 */
export function auditStore(db: Kysely<Database>, now: () => Date): AuditStore {
  return {
    append: ({ actor, action, subject, detail }) =>
      db.transaction().execute(async (trx) => {
        const entry = { at: now().getTime(), actor, action, subject, detail: JSON.stringify(redact(detail)) };
        const before = await lastHash(trx);
        await trx
          .insertInto('audit')
          .values({ ...entry, hash: hashOf(before, entry) })
          .execute();
      }),

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

    has: async (action, subject) =>
      (await db
        .selectFrom('audit')
        .select('id')
        .where('action', '=', action)
        .where('subject', '=', subject)
        .limit(1)
        .executeTakeFirst()) !== undefined,

    verify: async () => {
      let hash = START;
      let entries = 0;
      let chained = false;
      for await (const row of allEntries(db)) {
        hash = hashOf(hash, row);
        entries += 1;
        // Entries of version 1 have none, and stand before all others.
        const isEarlier = row.hash === null && !chained;
        if (!isEarlier && row.hash !== hash)
          return { entries, problem: `entry ${row.id} or one before it is not as it was written` };
        chained ||= row.hash !== null;
      }
      const given = await highestId(db);
      if (given > entries)
        return { entries, problem: `${given - entries} of ${given} entries are not there any more` };
      return { entries, problem: null };
    },
  };
}

/** The hash before the first entry. */
const START = '';

type Entry = Omit<Selectable<AuditRow>, 'id' | 'hash'>;

/** Over JSON, so that no two different entries have the same text. */
function hashOf(before: string, { at, actor, action, subject, detail }: Entry): string {
  return createHash('sha256')
    .update(JSON.stringify([before, at, actor, action, subject, detail]))
    .digest('hex');
}

/** Of the newest entry; where that is of version 1, over all of them. */
async function lastHash(db: Kysely<Database>): Promise<string> {
  const last = await db.selectFrom('audit').select('hash').orderBy('id', 'desc').limit(1).executeTakeFirst();
  if (last === undefined) return START;
  if (last.hash !== null) return last.hash;
  let hash = START;
  for await (const row of allEntries(db)) hash = hashOf(hash, row);
  return hash;
}

const PAGE = 1_000;

async function* allEntries(db: Kysely<Database>): AsyncGenerator<Selectable<AuditRow>> {
  for (let after = 0; ; ) {
    const rows = await db
      .selectFrom('audit')
      .selectAll()
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE)
      .execute();
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.id;
  }
}

/** SQLite's own count of ids given out: entries cut off at the end leave it behind. */
async function highestId(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{
    readonly seq: number;
  }>`SELECT seq FROM sqlite_sequence WHERE name = 'audit'`.execute(db);
  return rows[0]?.seq ?? 0;
}
