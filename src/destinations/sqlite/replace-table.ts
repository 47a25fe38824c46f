import { type Database, pragma } from './driver.ts';
import { quote } from './layout.ts';

/**
 * Drops `table`, when it is there, and gives its name to `build`. Views over it and indexes that people made stay in
 * force. Called inside a transaction. Returns what could not be taken along, as sentences.
 */
export function replaceTable(db: Database, table: string, build: string): readonly string[] {
  const indexes = indexesOf(db, table);
  // A view that somebody made over the table would stop the renaming, because what it reads is gone for a moment.
  pragma(db, 'legacy_alter_table = ON');
  try {
    db.exec(`DROP TABLE IF EXISTS ${quote(table)}`);
    db.exec(`ALTER TABLE ${quote(build)} RENAME TO ${quote(table)}`);
  } finally {
    pragma(db, 'legacy_alter_table = OFF');
  }
  return remakeIndexes(db, indexes).map(
    (name) => `index "${name}" was made by hand and does not fit the table any more: it is gone`,
  );
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
