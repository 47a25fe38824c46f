import type { StreamState, TableInfo } from '../../core/model.ts';
import type { LogicalType } from '../../core/types.ts';
import type { Database } from './driver.ts';
import { quote, type Storage, storageOf } from './layout.ts';

interface CursorRow {
  readonly connector: string;
  readonly stream: string;
  readonly table_name: string;
  readonly mode: string;
  readonly cursor: string | null;
  readonly row_count: number;
  readonly last_synced_at: string | null;
  /** The file is open to other programs: 0 where one has dropped the table. The next run makes it anew. */
  readonly present: number;
}

interface ColumnRow {
  readonly landed_as: string;
  readonly storage: Storage;
  readonly type: LogicalType;
  readonly source_type: string;
}

/** A number that lands in a column that was text before, or was widened to it, is text: `<` compares letters there. */
function landedType({ type, storage }: ColumnRow): string {
  if (storageOf[type] === storage) return type;
  return storage === 'BLOB' ? 'bytes' : 'text';
}

/** The landed tables with their columns; rows marked as deleted are not counted. */
export function readTables(
  db: Database,
  filter: { readonly connector?: string; readonly table?: string },
): readonly TableInfo[] {
  const columns = db.prepare(
    'SELECT landed_as, storage, type, source_type FROM _millrace_columns WHERE connector = ? AND stream = ? ORDER BY position',
  );
  return landed(db)
    .filter(
      (row) =>
        row.present === 1 &&
        (filter.connector ?? row.connector) === row.connector &&
        (filter.table ?? row.table_name) === row.table_name,
    )
    .map((row) => ({
      table: row.table_name,
      connector: row.connector,
      stream: row.stream,
      rows: liveRows(db, row),
      columns: (columns.all(row.connector, row.stream) as ColumnRow[]).map((column) => ({
        name: column.landed_as,
        type: landedType(column),
        source_type: column.source_type,
      })),
      ...(row.last_synced_at === null ? {} : { last_synced_at: row.last_synced_at }),
    }));
}

/** Where each stream of a connector stands. */
export function readStates(db: Database, connector: string): readonly StreamState[] {
  return landed(db)
    .filter((row) => row.connector === connector)
    .map((row) => ({
      stream: row.stream,
      table: row.table_name,
      cursor: row.present === 1 ? row.cursor : null,
      rows: liveRows(db, row),
      ...(row.last_synced_at === null ? {} : { last_synced_at: row.last_synced_at }),
    }));
}

function landed(db: Database): readonly CursorRow[] {
  return db
    .prepare(
      `SELECT connector, stream, table_name, mode, cursor, row_count, last_synced_at,
         table_name COLLATE NOCASE IN (SELECT name FROM sqlite_schema) AS present
       FROM _millrace_cursors WHERE landed = 1 ORDER BY connector, stream`,
    )
    .all() as CursorRow[];
}

/** An index holds the marked rows alone, so that this does not scan. */
function liveRows(db: Database, row: CursorRow): number {
  if (row.present === 0) return 0;
  if (row.mode !== 'merge') return row.row_count;
  const { n } = db
    .prepare(`SELECT count(*) AS n FROM ${quote(row.table_name)} WHERE "_mr_deleted_at" IS NOT NULL`)
    .get() as { n: number };
  return row.row_count - n;
}
