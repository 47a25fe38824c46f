/** Making a landed table, and bringing one up to what the source has become. */

import { MillraceError } from '../../core/errors.ts';
import type { ResolvedStream } from '../../core/model.ts';
import type { Column, LogicalType, Value } from '../../core/types.ts';
import { type Database, defineFunction } from './driver.ts';
import {
  createTable,
  freshLayout,
  type LandedColumn,
  type Layout,
  layoutOver,
  quote,
  rowidName,
  type Storage,
} from './layout.ts';
import { replaceTable } from './replace-table.ts';

export interface Prepared {
  readonly layout: Layout;
  /** What was changed, as sentences. */
  readonly changes: readonly string[];
}

/** Columns of a landed stream from the catalogue, in table order; empty when it has not landed. */
function landedColumns(db: Database, connector: string, stream: string): readonly LandedColumn[] {
  const rows = db
    .prepare(
      'SELECT name, landed_as, storage, type, source_type, dropped FROM _millrace_columns WHERE connector = ? AND stream = ? ORDER BY position',
    )
    .all(connector, stream) as {
    name: string;
    landed_as: string;
    storage: Storage;
    type: LogicalType;
    source_type: string;
    dropped: number;
  }[];
  return rows.map((row) => ({
    name: row.name,
    landedAs: row.landed_as,
    storage: row.storage,
    type: row.type,
    sourceType: row.source_type,
    dropped: row.dropped === 1,
  }));
}

/** Writes the catalogue of a stream anew. */
export function rememberColumns(
  db: Database,
  owner: { readonly connector: string; readonly stream: string },
  columns: readonly LandedColumn[],
): void {
  db.prepare('DELETE FROM _millrace_columns WHERE connector = ? AND stream = ?').run(
    owner.connector,
    owner.stream,
  );
  const insert = db.prepare(
    'INSERT INTO _millrace_columns (connector, stream, position, name, landed_as, storage, type, source_type, dropped) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  for (const [position, column] of columns.entries()) {
    insert.run(
      owner.connector,
      owner.stream,
      position,
      column.name,
      column.landedAs,
      column.storage,
      column.type,
      column.sourceType,
      column.dropped ? 1 : 0,
    );
  }
}

/** Makes the table of a stream that has none. Called inside a transaction. */
export function makeTable(db: Database, connector: string, stream: ResolvedStream): Prepared {
  const layout = freshLayout(connector, stream);
  assertFits(connector, stream, layout);
  db.exec(`DROP TABLE IF EXISTS ${quote(layout.table)}`);
  db.exec(createTable(layout));
  indexDeleted(db, layout);
  rememberColumns(db, { connector, stream: stream.name }, layout.columns);
  return { layout, changes: renamed(layout.columns) };
}

/** Holds the rows that are marked as deleted and no other, so that counting them costs nothing at any size. */
export function indexDeleted(db: Database, layout: Layout): void {
  if (!layout.marksDeletions) return;
  db.exec(
    `CREATE INDEX ${quote(`_millrace_deleted_${layout.table}`)} ON ${quote(layout.table)} ("_mr_deleted_at") WHERE "_mr_deleted_at" IS NOT NULL`,
  );
}

/**
 * Brings the landed table up to the stream: new columns are added, a column whose new type its storage cannot hold
 * exactly is widened, what is gone stays. Called inside a transaction. `key` is the landed key, by source name.
 */
export function adaptTable(
  db: Database,
  connector: string,
  { stream, key }: { readonly stream: ResolvedStream; readonly key: readonly string[] },
): Prepared {
  const before = landedColumns(db, connector, stream.name);
  if (JSON.stringify(key) !== JSON.stringify(stream.mode === 'append' ? [] : stream.primaryKey))
    throw keyChanged(connector, stream, key);
  // Of a stream that grows, a look has seen a part: what has landed says more.
  const known = stream.columnsGrow === true ? { ...stream, columns: asColumns(before) } : stream;
  const { layout, changes } = growTable(db, connector, { stream: known, before });
  const back = stream.columns.filter(({ name }) => before.some((one) => one.dropped && one.name === name));
  const told = [...changes, ...back.map(({ name }) => `column "${name}" is read again`)];
  // Of an append, rows that come again are judged where they are recognised (overlap.ts).
  if (told.length === 0 || stream.columnsGrow === true || stream.mode === 'append')
    return { layout, changes: told };
  const unread =
    'rows that nobody changed since keep the columns as they were read: full_refresh: true reads them again';
  return { layout, changes: [...told, unread] };
}

/** The same over the columns that a table has now; `build`: the table of that name, which nobody sees yet. */
export function growTable(db: Database, connector: string, { stream, before, build }: GrowOptions): Prepared {
  const wanted = layoutOver(connector, stream, before);
  assertFits(connector, stream, wanted);
  const table = build ?? wanted.table;
  const beforeByName = new Map(before.map((column) => [column.landedAs, column]));
  const columns = wanted.columns.map((column) => ({
    ...column,
    storage: storageFor(db, table, { before: beforeByName.get(column.landedAs), now: column }),
  }));
  const layout = { ...wanted, columns };
  const added = columns.filter((column) => !beforeByName.has(column.landedAs));
  const widened = columns.filter(
    (column) =>
      beforeByName.has(column.landedAs) && beforeByName.get(column.landedAs)?.storage !== column.storage,
  );
  const gone = columns.filter(
    (column) => column.dropped && beforeByName.get(column.landedAs)?.dropped === false,
  );

  const lost =
    widened.length > 0
      ? rewrite(db, layout, {
          table,
          before: beforeByName,
          widened: new Set(widened.map((column) => column.landedAs)),
        })
      : [];
  if (widened.length === 0)
    for (const column of added)
      db.exec(`ALTER TABLE ${quote(table)} ADD COLUMN ${quote(column.landedAs)} ${column.storage}`);
  if (build === undefined && JSON.stringify(columns) !== JSON.stringify(before))
    rememberColumns(db, { connector, stream: stream.name }, columns);
  return {
    layout,
    changes: [
      ...added.map(
        (column) =>
          `column "${column.name}" (${column.sourceType}) is new at the source or in the stream, and is added here`,
      ),
      ...renamed(added),
      ...widened.map(
        (column) =>
          `column "${column.name}" became ${column.sourceType} at the source and is ${column.storage === 'TEXT' ? 'widened to TEXT' : column.storage} here`,
      ),
      ...columns.flatMap((column) => retyped(beforeByName.get(column.landedAs), column)),
      ...gone.map(
        (column) =>
          `column "${column.name}" is gone at the source or from the stream; it stays here, empty in new rows`,
      ),
      ...lost,
    ],
  };
}

interface GrowOptions {
  readonly stream: ResolvedStream;
  readonly before: readonly LandedColumn[];
  readonly build?: string | undefined;
}

/** Columns of a table as a source knows them; without those that are gone there. */
export function asColumns(columns: readonly LandedColumn[]): readonly Column[] {
  return columns
    .filter((column) => !column.dropped)
    .map(({ name, type, sourceType }) => ({ name, type, sourceType, nullable: true }));
}

interface ColumnChange {
  readonly before: LandedColumn | undefined;
  readonly now: LandedColumn;
}

/**
 * The storage a column has from now on. TEXT and BLOB columns hold everything exactly (SQLite keeps a blob in a TEXT
 * column as it is, and anything in a BLOB column); INTEGER and REAL columns would change what looks like a number. Where
 * there is no value yet, or only integers that a double holds, nothing can be changed.
 */
function storageFor(db: Database, table: string, { before, now }: ColumnChange): Storage {
  if (before === undefined || before.storage === now.storage || now.dropped)
    return before?.storage ?? now.storage;
  if (holdsNothing(db, table, before)) return now.storage;
  if (before.type === 'integer' && now.type === 'float' && before.storage === 'INTEGER')
    return fitsDouble(db, table, before) ? 'REAL' : 'TEXT';
  return before.storage === 'INTEGER' || before.storage === 'REAL' ? 'TEXT' : before.storage;
}

function holdsNothing(db: Database, table: string, { landedAs }: LandedColumn): boolean {
  return (
    db.prepare(`SELECT 1 FROM ${quote(table)} WHERE ${quote(landedAs)} IS NOT NULL LIMIT 1`).get() ===
    undefined
  );
}

function fitsDouble(db: Database, table: string, { landedAs }: LandedColumn): boolean {
  const outside = `${quote(landedAs)} NOT BETWEEN -9007199254740992 AND 9007199254740992`;
  return db.prepare(`SELECT 1 FROM ${quote(table)} WHERE ${outside} LIMIT 1`).get() === undefined;
}

/** What to say of a column that keeps its storage although its type is another one now. */
function retyped(before: LandedColumn | undefined, now: LandedColumn): readonly string[] {
  if (before === undefined || now.dropped || before.storage !== now.storage || before.type === now.type)
    return [];
  return [
    `column "${now.name}" was ${before.sourceType} and is ${now.sourceType} at the source now; it stays ${now.storage} here`,
  ];
}

/** The table again with other storage, its values exact. SQLite cannot change a column's type in place. */
function rewrite(db: Database, layout: Layout, { table, before, widened }: Rewrite): readonly string[] {
  const rewritten = '_millrace_rewrite';
  defineFunction(db, 'mr_exact_text', (value) => exactText(value) as string);
  db.exec(createTable(layout, rewritten));
  const ours = ['_mr_run', ...(layout.marksDeletions ? ['_mr_deleted_at'] : [])].map(quote);
  const kept = layout.columns.filter((column) => before.has(column.landedAs));
  const values = kept.map((column) => {
    const name = quote(column.landedAs);
    if (!widened.has(column.landedAs) || column.storage !== 'TEXT') return name;
    // What the source itself makes of a boolean that becomes text.
    const wasBoolean = before.get(column.landedAs)?.type === 'boolean' && !isNumeric(column.type);
    return wasBoolean
      ? `CASE ${name} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE ${name} END`
      : `mr_exact_text(${name})`;
  });
  const names = kept.map((column) => quote(column.landedAs));
  // Rows without a key are known by their rowid (changed-rows.ts).
  const rowid = layout.key.length === 0 ? rowidName(layout) : null;
  if (rowid !== null) {
    names.push(rowid);
    values.push(rowid);
  }
  db.exec(
    `INSERT INTO ${quote(rewritten)} (${[...names, ...ours].join(', ')}) SELECT ${[...values, ...ours].join(', ')} FROM ${quote(table)}`,
  );
  const lost = replaceTable(db, table, rewritten);
  if (table === layout.table) indexDeleted(db, layout);
  return lost;
}

interface Rewrite {
  /** The landed one, or one that is built aside. */
  readonly table: string;
  readonly before: ReadonlyMap<string, LandedColumn>;
  readonly widened: ReadonlySet<string>;
}

function isNumeric(type: LogicalType): boolean {
  return type === 'integer' || type === 'float' || type === 'decimal';
}

/** A number as the shortest text that is the same number; everything else as it is. */
function exactText(value: unknown): unknown {
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : value;
}

/**
 * How a source's value has to be changed for a landed column, or null when SQLite takes it as it is: most columns, so
 * that the hot loop touches only those that need it.
 */
export function converterFor(column: LandedColumn): ((value: Value) => Value) | null {
  const { type, storage } = column;
  if (type === 'boolean')
    return storage === 'TEXT'
      ? (value) => (typeof value === 'boolean' ? String(value) : value)
      : (value) => (typeof value === 'boolean' ? Number(value) : value);
  // A JavaScript number is bound as a double: under TEXT affinity 5 would become '5.0'.
  if ((type === 'integer' || type === 'float') && storage === 'TEXT')
    return (value) => exactText(value) as Value;
  if (type === 'integer' && storage === 'BLOB')
    return (value) => (typeof value === 'number' ? BigInt(value) : value);
  return null;
}

function renamed(columns: readonly LandedColumn[]): readonly string[] {
  return columns
    .filter((column) => column.landedAs !== column.name)
    .map(
      (column) =>
        `column "${column.name}" lands as "${column.landedAs}": SQLite does not tell upper from lower case, and names with _mr_ are ours`,
    );
}

/** SQLite's limit, as the library is compiled. */
const columnsMax = 2_000;

/** Throws `invalid_config` when the columns, with ours, are more than a table can have. */
export function assertFits(connector: string, stream: ResolvedStream, layout: Layout): void {
  const count = layout.columns.length + (layout.marksDeletions ? 2 : 1);
  if (count <= columnsMax) return;
  const gone = layout.columns.filter((column) => column.dropped).length;
  throw new MillraceError(
    'invalid_config',
    `The table of "${stream.name}" would have ${count} columns, and SQLite ends at ${columnsMax}${gone > 0 ? `; ${gone} of them are gone at the source` : ''}.`,
    gone === 0
      ? { hint: 'Leave some out: "columns": {"exclude": […]} in the stream, with update_connector.' }
      : {
          hint: `Run sync_connector with {"connector": "${connector}", "streams": ["${stream.name}"], "full_refresh": true}: the new table has only the columns that the source has.`,
          nextActions: [
            {
              tool: 'sync_connector',
              arguments: { connector, streams: [stream.name], full_refresh: true },
              why: 'makes the table anew, without the columns that are gone',
            },
          ],
        },
  );
}

function keyChanged(connector: string, stream: ResolvedStream, key: readonly string[]): MillraceError {
  const shown = (names: readonly string[]): string => (names.length === 0 ? 'none' : names.join(', '));
  return new MillraceError(
    'invalid_config',
    `The key of "${stream.name}" was ${shown(key)} and is now ${shown(stream.primaryKey)}: the landed table cannot follow row by row.`,
    {
      hint: `Run sync_connector with {"connector": "${connector}", "streams": ["${stream.name}"], "full_refresh": true} to read it anew.`,
      nextActions: [
        {
          tool: 'sync_connector',
          arguments: { connector, streams: [stream.name], full_refresh: true },
          why: 'reads the stream anew under its new key',
        },
      ],
    },
  );
}
