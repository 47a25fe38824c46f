import { MillraceError } from '../../core/errors.ts';
import { type Database, defineFunction, pragma, transaction } from './driver.ts';
import { contentIdentity } from './reject-identity.ts';

/**
 * The `_millrace_*` tables, one step a version: step n takes a file from version n to n + 1. A step that was released is
 * never edited. The file's `user_version` holds the version.
 */
const steps: readonly ((db: Database) => void)[] = [
  (db) => db.exec(firstTables),
  (db) => {
    defineFunction(db, 'mr_content_identity', (text) => contentIdentity(String(text)));
    db.exec(countedRejects);
  },
  (db) => db.exec(definedBuilds),
  (db) => db.exec(changedRows),
];

/** Makes the tables that are ours, or brings them up to date; any number of processes may do so at once. Throws `data_dir_unusable` for a newer file. */
export function prepareWarehouse(db: Database, file: string): void {
  if (versionOf(db, file) === steps.length) return;
  transaction(db, () => {
    for (const step of steps.slice(versionOf(db, file))) step(db);
    pragma(db, `user_version = ${steps.length}`);
  });
}

/** True when `_millrace_*` tables of this version are those of this program. */
export function isCurrent(version: number): boolean {
  return version === steps.length;
}

/** The version of the file's `_millrace_*` tables; 0 when it has none yet. Throws `data_dir_unusable` for a newer one. */
export function versionOf(db: Database, file: string): number {
  const found = Number(pragma(db, 'user_version'));
  if (found <= steps.length) return found;
  throw new MillraceError(
    'data_dir_unusable',
    `${file} was written by a newer Millrace (format ${found}; this one knows ${steps.length}).`,
    {
      hint: 'Update millrace, or start with --data-dir naming another folder.',
    },
  );
}

/**
 * `_millrace_cursors`: one row a stream. `build_*` belong to a table that is being built aside. `row_count` counts every
 * row of the landed table, those marked as deleted included. Rejects `of_build` belong to the table built aside.
 */
const firstTables = `
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

/**
 * A reject that is met again is counted, not kept again: `identity` (reject-identity.ts) says which one it is. Nobody
 * knows of rejects of before whether a newer version of their row has landed, so they get the identity of rows without a
 * key. An id is never given twice: whoever was shown one means that row. `*_unkept`: met when there was no room any more.
 */
const countedRejects = `
  ALTER TABLE _millrace_cursors ADD COLUMN rejects_unkept INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE _millrace_cursors ADD COLUMN build_unkept INTEGER NOT NULL DEFAULT 0;
  DROP INDEX _millrace_rejects_by_stream;
  ALTER TABLE _millrace_rejects RENAME TO _millrace_rejects_before;
  CREATE TABLE _millrace_rejects (
    id INTEGER PRIMARY KEY AUTOINCREMENT, connector TEXT NOT NULL, stream TEXT NOT NULL, of_build INTEGER NOT NULL,
    identity TEXT NOT NULL, run_id TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL, cut INTEGER NOT NULL, of_source INTEGER NOT NULL, row TEXT NOT NULL);
  INSERT INTO _millrace_rejects (id, connector, stream, of_build, identity, run_id, reason, count, first_seen, last_seen, cut, of_source, row)
    SELECT min(id), connector, stream, of_build, mr_content_identity(reason || char(0) || row) AS identity, max(run_id), reason,
      count(*), min(rejected_at), max(rejected_at), row GLOB '*… ([0-9]* bytes)"*' OR row GLOB '*… ([0-9]* characters)"*', 0, row
    FROM _millrace_rejects_before GROUP BY connector, stream, of_build, reason, row;
  DROP TABLE _millrace_rejects_before;
  CREATE UNIQUE INDEX _millrace_rejects_known ON _millrace_rejects (connector, stream, of_build, identity);
  CREATE INDEX _millrace_rejects_by_stream ON _millrace_rejects (connector, of_build, stream);
  CREATE INDEX _millrace_rejects_by_run ON _millrace_rejects (connector, run_id, stream);
`;

/** A table built aside goes on only under the definition that it was begun under; one of before is begun anew. */
const definedBuilds = 'ALTER TABLE _millrace_cursors ADD COLUMN build_definition TEXT';

/**
 * `overlap_columns`: of which columns the hashes in `_millrace_overlap` are made; of before, those that the catalogue has.
 * `_millrace_changed_rows`: rows that may come again and whose columns changed since (changed-rows.ts), by their rowid
 * and a hash of `stayed_columns`.
 */
const changedRows = `
  ALTER TABLE _millrace_cursors ADD COLUMN overlap_columns TEXT;
  ALTER TABLE _millrace_cursors ADD COLUMN stayed_columns TEXT;
  CREATE TABLE _millrace_changed_rows (
    connector TEXT NOT NULL, stream TEXT NOT NULL, hash BLOB NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY (connector, stream, place)) WITHOUT ROWID;
  CREATE INDEX _millrace_changed_rows_by_hash ON _millrace_changed_rows (connector, stream, hash);
  UPDATE _millrace_cursors SET overlap_columns = (
    SELECT json_group_array(json_object('name', name, 'type', type, 'sourceType', source_type) ORDER BY position)
    FROM _millrace_columns AS c WHERE c.connector = _millrace_cursors.connector AND c.stream = _millrace_cursors.stream AND dropped = 0)
  WHERE mode = 'append' AND landed = 1;
`;
