import type { Database } from './driver.ts';
import { type Layout, quote } from './layout.ts';
import { indexDeleted, rememberColumns } from './table.ts';

/**
 * Puts a table that was built aside in the place of the one that readers see, with everything kept about its columns and
 * rejects. Called inside a transaction. Returns what could not be taken along, as sentences.
 */
export function swapIn(
  db: Database,
  { layout, build }: { readonly layout: Layout; readonly build: string },
  owner: { readonly connector: string; readonly stream: string },
): readonly string[] {
  const indexes = indexesOf(db, layout.table);
  replaceTable(db, layout.table, build);
  indexDeleted(db, layout);
  const lost = remakeIndexes(db, indexes);
  rememberColumns(db, owner, layout.columns);
  db.prepare('DELETE FROM _millrace_rejects WHERE connector = ? AND stream = ? AND of_build = 0').run(
    owner.connector,
    owner.stream,
  );
  db.prepare('UPDATE _millrace_rejects SET of_build = 0 WHERE connector = ? AND stream = ?').run(
    owner.connector,
    owner.stream,
  );
  return lost.map(
    (name) => `index "${name}" was made by hand and does not fit the table any more: it is gone`,
  );
}

/** Drops `table`, when it is there, and gives its name to `build`. */
function replaceTable(db: Database, table: string, build: string): void {
  // A view that somebody made over the table would stop the renaming, because what it reads is gone for a moment.
  db.pragma('legacy_alter_table = ON');
  try {
    db.exec(`DROP TABLE IF EXISTS ${quote(table)}`);
    db.exec(`ALTER TABLE ${quote(build)} RENAME TO ${quote(table)}`);
  } finally {
    db.pragma('legacy_alter_table = OFF');
  }
}

interface Index {
  readonly name: string;
  readonly sql: string;
}

/** The indexes that people made on a table; ours and those of its key come with the table. */
function indexesOf(db: Database, table: string): readonly Index[] {
  return db
    .prepare(
      `SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? COLLATE NOCASE
       AND sql IS NOT NULL AND name NOT LIKE '\\_millrace\\_%' ESCAPE '\\'`,
    )
    .all(table) as Index[];
}

function remakeIndexes(db: Database, indexes: readonly Index[]): readonly string[] {
  return indexes.flatMap(({ name, sql }) => {
    try {
      db.exec(sql);
      return [];
    } catch (error) {
      // Its column is gone, or its rows are not unique any more. A full disk is another matter.
      if (!/no such column|UNIQUE/.test(String(error))) throw error;
      return [name];
    }
  });
}
