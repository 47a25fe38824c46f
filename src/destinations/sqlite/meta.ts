import { MillraceError } from '../../core/errors.ts';
import { type Database, pragma, transaction } from './driver.ts';

/** The version of the `_millrace_*` tables, kept as the file's `user_version`. */
const version = 1;

/** Makes the tables that are ours; any number of processes may do so at once. Throws `data_dir_unusable` for a newer file. */
export function prepareWarehouse(db: Database, file: string): void {
  if (versionOf(db, file) === version) return;
  transaction(db, () => {
    if (Number(pragma(db, 'user_version')) !== 0) return;
    db.exec(tables);
    pragma(db, `user_version = ${version}`);
  });
}

/** The version of the file's `_millrace_*` tables; 0 when it has none yet. Throws `data_dir_unusable` for a newer one. */
export function versionOf(db: Database, file: string): number {
  const found = Number(pragma(db, 'user_version'));
  if (found <= version) return found;
  throw new MillraceError(
    'data_dir_unusable',
    `${file} was written by a newer Millrace (format ${found}; this one knows ${version}).`,
    {
      hint: 'Update millrace, or start with --data-dir naming another folder.',
    },
  );
}

/**
 * `_millrace_cursors`: one row a stream. `build_*` belong to a table that is being built aside. `row_count` counts every
 * row of the landed table, those marked as deleted included. Rejects `of_build` belong to the table built aside.
 */
const tables = `
  CREATE TABLE _millrace_cursors (
    connector TEXT NOT NULL, stream TEXT NOT NULL, table_name TEXT NOT NULL, mode TEXT NOT NULL, primary_key TEXT NOT NULL,
    definition TEXT NOT NULL, epoch INTEGER NOT NULL, cursor TEXT, row_count INTEGER NOT NULL DEFAULT 0, landed INTEGER NOT NULL DEFAULT 0,
    last_synced_at TEXT, build_run TEXT, build_layout TEXT, build_cursor TEXT, build_rows INTEGER NOT NULL DEFAULT 0,
    build_rejects INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (connector, stream)) WITHOUT ROWID;
  CREATE TABLE _millrace_columns (
    connector TEXT NOT NULL, stream TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, landed_as TEXT NOT NULL,
    storage TEXT NOT NULL, type TEXT NOT NULL, source_type TEXT NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (connector, stream, landed_as)) WITHOUT ROWID;
  CREATE TABLE _millrace_rejects (
    id INTEGER PRIMARY KEY, connector TEXT NOT NULL, stream TEXT NOT NULL, run_id TEXT NOT NULL, row TEXT NOT NULL,
    reason TEXT NOT NULL, rejected_at TEXT NOT NULL, of_build INTEGER NOT NULL DEFAULT 0);
  CREATE INDEX _millrace_rejects_by_stream ON _millrace_rejects (connector, stream);
  CREATE TABLE _millrace_loads (
    run_id TEXT NOT NULL, connector TEXT NOT NULL, stream TEXT NOT NULL, rows_read INTEGER NOT NULL, rows_written INTEGER NOT NULL,
    rows_deleted INTEGER NOT NULL, rejects INTEGER NOT NULL, bytes_read INTEGER NOT NULL, first_at TEXT NOT NULL, last_at TEXT NOT NULL,
    PRIMARY KEY (connector, stream, run_id)) WITHOUT ROWID;
  CREATE TABLE _millrace_overlap (
    connector TEXT NOT NULL, stream TEXT NOT NULL, part INTEGER NOT NULL, hash BLOB NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (connector, stream, part, hash)) WITHOUT ROWID;
`;
