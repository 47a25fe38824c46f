/**
 * What information_schema says about tables, asked for a handful of tables at a time: MariaDB has no catalogue but the
 * tables' own files, and opens one for every table that the names and the database do not rule out.
 */

import type { StreamKind } from '../../core/model.ts';
import { identifier, type Session, type TextRow } from './session.ts';
import { type SourceType, sourceType } from './types.ts';

export interface CatalogueColumn {
  readonly name: string;
  readonly type: SourceType;
  readonly notNull: boolean;
  readonly mayRead: boolean;
  readonly mayWrite: boolean;
  /** Its default as SQL; empty when it has none. */
  readonly fill: string;
  /** In the server's own words: `auto_increment`, `on update CURRENT_TIMESTAMP`, `VIRTUAL GENERATED`, `INVISIBLE`. */
  readonly extra: string;
  /** Of a generated column its expression; `ROW START` and `ROW END` for the times of a version. */
  readonly expression: string;
  /** Digits of a second. */
  readonly fraction: number;
}

export interface IndexPart {
  /** Null for an expression. */
  readonly column: string | null;
  /** Only the beginning of the values is in it. */
  readonly prefix: boolean;
  /** About how many different values there are up to here; null when nobody has counted. */
  readonly distinct: number | null;
}

export interface CatalogueIndex {
  readonly name: string;
  readonly unique: boolean;
  /** Ordered, and not hidden from the optimizer: rows can be found by it. */
  readonly serves: boolean;
  readonly parts: readonly IndexPart[];
}

export interface CatalogueTable {
  readonly schema: string;
  readonly name: string;
  /** Schema and name as SQL. */
  readonly sql: string;
  readonly kind: StreamKind;
  /** MariaDB keeps the earlier versions of its rows. */
  readonly versioned: boolean;
  /** `InnoDB`, `MyISAM`, …; empty for a view. */
  readonly engine: string;
  readonly estimatedRows: number | null;
}

/** The session, and who may stop the question. */
export interface Asking {
  readonly session: Session;
  readonly signal: AbortSignal;
}

/** Tables of one database. */
export interface TablesOf {
  readonly schema: string;
  readonly names: readonly string[];
}

/** Types of table that rows are read from: sequences and temporary tables are not. */
export const readableTypes = ['BASE TABLE', 'VIEW', 'SYSTEM VERSIONED', 'SYSTEM VIEW'] as const;

/** These tables, by name; what is not there is not in it. */
export async function catalogueTables(
  { session, signal }: Asking,
  { schema, names }: TablesOf,
): Promise<ReadonlyMap<string, CatalogueTable>> {
  if (names.length === 0) return new Map();
  // MySQL otherwise answers with what it counted at most a day ago, or never.
  if (session.server.kind === 'mysql')
    await session.command('SET SESSION information_schema_stats_expiry = 0', { signal });
  const rows = await session.query(
    `SELECT table_name, table_type, engine, table_rows, create_options FROM information_schema.tables
     WHERE table_schema = ? AND table_name IN (${places(names)})`,
    [schema, ...names],
    { signal },
  );
  const wanted = new Set(names);
  const found = new Map<string, CatalogueTable>();
  for (const [name, type, engine, estimate, options] of rows) {
    // The catalogue of MariaDB compares without case, whatever the server does.
    if (name === null || name === undefined || !wanted.has(name) || !isReadable(type)) continue;
    found.set(name, {
      schema,
      name,
      sql: tableSql(schema, name),
      kind: /VIEW/.test(type ?? '')
        ? 'view'
        : /\bpartitioned\b/.test(options ?? '')
          ? 'partitioned_table'
          : 'table',
      versioned: type === 'SYSTEM VERSIONED',
      engine: engine ?? '',
      estimatedRows:
        /VIEW/.test(type ?? '') || estimate === null || estimate === undefined ? null : Number(estimate),
    });
  }
  return found;
}

function isReadable(type: string | null | undefined): boolean {
  return readableTypes.some((known) => known === type);
}

/** A table of a database as SQL. */
function tableSql(schema: string, name: string): string {
  return `${identifier(schema)}.${identifier(name)}`;
}

/** The columns of these tables that the login is shown, in their order: those on which it has any right. */
export async function catalogueColumns(
  asking: Asking,
  { schema, names }: TablesOf,
): Promise<ReadonlyMap<string, readonly CatalogueColumn[]>> {
  if (names.length === 0) return new Map();
  const rows = await asking.session.query(
    `SELECT table_name, column_name, column_type, character_set_name, is_nullable, privileges, column_default, extra,
       generation_expression, datetime_precision
     FROM information_schema.columns WHERE table_schema = ? AND table_name IN (${places(names)}) ORDER BY ordinal_position`,
    [schema, ...names],
    { signal: asking.signal },
  );
  const found = grouped(rows, names, toColumn);
  return asking.session.server.kind === 'mariadb' ? await withJson(asking, schema, found) : found;
}

function toColumn(row: TextRow): CatalogueColumn {
  const [, name, type, charset, nullable, privileges, fill, extra, expression, fraction] = row;
  const rights = new Set((privileges ?? '').split(','));
  return {
    name: name ?? '',
    type: sourceType(type ?? '', charset ?? null),
    notNull: nullable === 'NO',
    mayRead: rights.has('select'),
    mayWrite: rights.has('insert') || rights.has('update'),
    fill: fill ?? '',
    extra: extra ?? '',
    expression: expression ?? '',
    fraction: Number(fraction ?? 0),
  };
}

/** A cross join of more tables is refused. */
const joinMax = 50;

/**
 * MariaDB's json is a longtext that is checked: the catalogue calls it longtext and shows the check to those only who
 * may change the table. The description of a result has it, so one is asked for, of many tables at once and of no row.
 */
async function withJson(
  { session, signal }: Asking,
  schema: string,
  tables: ReadonlyMap<string, readonly CatalogueColumn[]>,
): Promise<ReadonlyMap<string, readonly CatalogueColumn[]>> {
  const asked = [...tables].flatMap(([table, columns]) => {
    const texts = columns.filter(({ type, mayRead }) => mayRead && type.name === 'longtext');
    return texts.length === 0 ? [] : [{ table, texts }];
  });
  const found = new Map(tables);
  for (let from = 0; from < asked.length; from += joinMax) {
    const part = asked.slice(from, from + joinMax);
    const list = part.flatMap(({ texts }, i) => texts.map(({ name }) => `t${i}.${identifier(name)}`));
    const joined = part.map(({ table }, i) => `${tableSql(schema, table)} AS t${i}`);
    const sql = `SELECT ${list.join(', ')} FROM ${joined.join(' JOIN ')} LIMIT 0`;
    // A table may be gone, or locked, or a view broken: then they are the texts they also are.
    const { fields } = await session.describe(sql, { signal }).catch((error: unknown) => {
      if (!session.usable || signal.aborted) throw error;
      return { fields: [] };
    });
    let next = 0;
    for (const { table, texts } of part) {
      const json = new Set(texts.filter(() => fields[next++]?.format === 'json').map(({ name }) => name));
      const columns = tables.get(table) ?? [];
      found.set(
        table,
        columns.map((column) =>
          json.has(column.name) ? { ...column, type: sourceType('json', column.type.charset) } : column,
        ),
      );
    }
  }
  return found;
}

/** The indexes of these tables, the primary one first, then by name. */
export async function catalogueIndexes(
  { session, signal }: Asking,
  { schema, names }: TablesOf,
): Promise<ReadonlyMap<string, readonly CatalogueIndex[]>> {
  if (names.length === 0) return new Map();
  const hidden = hiddenColumn(session);
  const rows = await session.query(
    `SELECT table_name, index_name, non_unique, column_name, sub_part, cardinality, index_type, ${hidden}
     FROM information_schema.statistics WHERE table_schema = ? AND table_name IN (${places(names)})
     ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index`,
    [schema, ...names],
    { signal },
  );
  const found = new Map<string, CatalogueIndex[]>();
  for (const [table, parts] of grouped(rows, names, (row) => row)) {
    const indexes = new Map<string, TextRow[]>();
    for (const row of parts) indexes.set(row[1] ?? '', [...(indexes.get(row[1] ?? '') ?? []), row]);
    found.set(
      table,
      [...indexes].map(([name, list]) => toIndex(name, list)),
    );
  }
  return found;
}

/** Both can hide an index from the optimizer, each in its own words. */
function hiddenColumn({ server }: Session): string {
  if (server.kind === 'mysql') return "is_visible = 'NO'";
  return server.number >= 100_600 ? "ignored = 'YES'" : '0';
}

function toIndex(name: string, rows: readonly TextRow[]): CatalogueIndex {
  const [first] = rows;
  return {
    name,
    unique: first?.[2] === '0',
    serves: first?.[6] === 'BTREE' && first[7] !== '1',
    parts: rows.map((row) => ({
      column: row[3] ?? null,
      prefix: row[4] !== null,
      distinct: row[5] === null || row[5] === undefined ? null : Number(row[5]),
    })),
  };
}

function grouped<T>(
  rows: readonly TextRow[],
  names: readonly string[],
  read: (row: TextRow) => T,
): ReadonlyMap<string, readonly T[]> {
  const wanted = new Set(names);
  const found = new Map<string, T[]>();
  for (const row of rows) {
    const table = row[0] ?? '';
    if (!wanted.has(table)) continue;
    const known = found.get(table);
    if (known) known.push(read(row));
    else found.set(table, [read(row)]);
  }
  return found;
}

function places(values: readonly unknown[]): string {
  return values.map(() => '?').join(', ');
}
