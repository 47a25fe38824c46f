import { MillraceError } from '../../core/errors.ts';
import type { Value } from '../../core/types.ts';
import { type Database, type Statement, transaction } from './driver.ts';
import { type Layout, quote } from './layout.ts';
import { converterFor } from './table.ts';

/** Finding rows that are gone at the source by comparing keys, and marking them. */
export interface Deletions {
  /** Rows marked as deleted now. */
  marked(): number;
  see(keys: readonly Value[], rows: number): void;
  /** Marks what was not seen; inside a transaction. Returns how many. */
  mark(options: {
    readonly ceiling: number;
    readonly at: string;
    readonly connector: string;
    readonly stream: string;
  }): number;
  forget(): void;
}

/** So few missing rows are believed whatever share of the table they are. */
const believed = 100;

/** The deletions of one stream in one run; the table must exist. */
export function createDeletions(
  db: Database,
  { layout, runId }: { readonly layout: Layout; readonly runId: string },
): Deletions {
  const table = quote(layout.table);
  const keys = layout.key.map(quote);
  const columns = new Map(layout.columns.map((column) => [column.landedAs, column]));
  // A key is compared in its landed form: 5 for an INTEGER column, '5' for one that was widened to TEXT.
  const converters = layout.key.map((name) => {
    const column = columns.get(name);
    return column === undefined ? null : converterFor(column);
  });
  let insert: Statement | undefined;

  const begin = (): Statement => {
    // SQLite keeps temporary tables in a file of their own beyond its cache: memory stays flat for any number of keys.
    db.exec('DROP TABLE IF EXISTS temp."_millrace_seen"');
    db.exec(
      `CREATE TEMP TABLE "_millrace_seen" (${layout.key.map((name) => `${quote(name)} ${columns.get(name)?.storage ?? 'TEXT'} NOT NULL`).join(', ')}, PRIMARY KEY (${keys.join(', ')})) WITHOUT ROWID`,
    );
    return db.prepare(
      `INSERT OR IGNORE INTO temp."_millrace_seen" VALUES (${keys.map(() => '?').join(', ')})`,
    );
  };

  return {
    marked() {
      if (!layout.marksDeletions) return 0;
      return (
        db.prepare(`SELECT count(*) AS n FROM ${table} WHERE "_mr_deleted_at" IS NOT NULL`).get() as {
          n: number;
        }
      ).n;
    },
    see(values, rows) {
      insert ??= begin();
      const width = keys.length;
      const statement = insert;
      transaction(db, () => {
        for (let row = 0; row < rows; row += 1)
          statement.run(
            ...values
              .slice(row * width, (row + 1) * width)
              .map((value, at) => converters[at]?.(value) ?? value),
          );
      });
    },
    mark({ ceiling, at, connector, stream }) {
      insert ??= begin();
      const unseen = `"_mr_deleted_at" IS NULL AND NOT EXISTS (SELECT 1 FROM temp."_millrace_seen" AS seen WHERE ${keys.map((key) => `seen.${key} = ${table}.${key}`).join(' AND ')})`;
      const { missing, live } = db
        .prepare(
          `SELECT count(*) FILTER (WHERE ${unseen}) AS missing, count(*) FILTER (WHERE "_mr_deleted_at" IS NULL) AS live FROM ${table}`,
        )
        .get() as { missing: number; live: number };
      if (missing > believed && missing > live * ceiling) throw tooMany({ connector, stream }, missing, live);
      const changed = db
        .prepare(`UPDATE ${table} SET "_mr_deleted_at" = ?, "_mr_run" = ? WHERE ${unseen}`)
        .run(at, runId).changes;
      this.forget();
      return changed;
    },
    forget() {
      if (insert === undefined) return;
      db.exec('DROP TABLE IF EXISTS temp."_millrace_seen"');
      insert = undefined;
    },
  };
}

function tooMany(
  { connector, stream }: { readonly connector: string; readonly stream: string },
  missing: number,
  live: number,
): MillraceError {
  return new MillraceError(
    'shrink_refused',
    `${missing} of ${live} rows of "${stream}" are not at the source any more: too many to believe; nothing was marked, the rows that were read have landed.`,
    {
      hint: 'Look whether the source is whole. If the deletions are real, run sync_connector with full_refresh: true; to stop looking for deletions, give the stream "deletes": "ignore".',
      nextActions: [
        {
          tool: 'sync_connector',
          arguments: { connector, streams: [stream], full_refresh: true },
          why: 'reads the stream anew and accepts what is gone',
        },
      ],
    },
  );
}
