/** What a stream's table looks like in SQLite: names, storage classes, DDL. Pure. */

import type { ResolvedStream } from '../../core/model.ts';
import type { LogicalType } from '../../core/types.ts';

export type Storage = 'INTEGER' | 'REAL' | 'TEXT' | 'BLOB';

export interface LandedColumn {
  /** At the source. */
  readonly name: string;
  /** In the landed table. */
  readonly landedAs: string;
  readonly storage: Storage;
  readonly type: LogicalType;
  readonly sourceType: string;
  /** Gone at the source; stays here. */
  readonly dropped: boolean;
}

export interface Layout {
  readonly table: string;
  readonly columns: readonly LandedColumn[];
  /** Landed names of the key's columns; empty without a key. */
  readonly key: readonly string[];
  /** Whether rows can be marked as deleted. */
  readonly marksDeletions: boolean;
}

/** The storage class that holds a logical type exactly. */
export const storageOf: Readonly<Record<LogicalType, Storage>> = {
  boolean: 'INTEGER',
  integer: 'INTEGER',
  float: 'REAL',
  decimal: 'TEXT',
  text: 'TEXT',
  date: 'TEXT',
  timestamp: 'TEXT',
  timestamptz: 'TEXT',
  json: 'TEXT',
  bytes: 'BLOB',
};

/** Ours, and not to be taken by a source's column. */
const reserved = ['_mr_run', '_mr_deleted_at', '_mr_valid_from', '_mr_valid_to'];

/** The table of a stream: `<connector>__<stream>`. */
export function tableName(connector: string, stream: string): string {
  return `${connector}__${stream}`;
}

/** Where a new table is built until it is whole. */
export function buildName(table: string): string {
  return `_millrace_build_${table}`;
}

/** The layout of a stream that has not landed yet. */
export function freshLayout(connector: string, stream: ResolvedStream): Layout {
  return layoutOver(connector, stream, []);
}

/**
 * The layout of a stream over the columns that its table already has: those keep their landed names and places, new
 * ones come behind, and what is gone at the source is marked. Storage is what the source needs now; the caller decides
 * what becomes of a column that has another.
 */
export function layoutOver(
  connector: string,
  stream: ResolvedStream,
  landed: readonly LandedColumn[],
): Layout {
  const taken = new Set([...reserved, ...landed.map((column) => column.landedAs.toLowerCase())]);
  const bySource = new Map(stream.columns.map((column) => [column.name, column]));
  const kept = landed.map((column): LandedColumn => {
    const now = bySource.get(column.name);
    if (now === undefined) return { ...column, dropped: true };
    bySource.delete(column.name);
    return {
      ...column,
      storage: storageOf[now.type],
      type: now.type,
      sourceType: now.sourceType,
      dropped: false,
    };
  });
  const added = stream.columns
    .filter((column) => bySource.has(column.name))
    .map(
      (column): LandedColumn => ({
        name: column.name,
        landedAs: freeName(column.name, taken),
        storage: storageOf[column.type],
        type: column.type,
        sourceType: column.sourceType,
        dropped: false,
      }),
    );
  const columns = [...kept, ...added];
  const landedName = new Map(columns.map((column) => [column.name, column.landedAs]));
  return {
    table: tableName(connector, stream.name),
    columns,
    key: stream.mode === 'append' ? [] : stream.primaryKey.map((name) => landedName.get(name) ?? name),
    marksDeletions: stream.mode === 'merge',
  };
}

/** SQLite does not tell "A" from "a": the second one gets a number. */
function freeName(name: string, taken: Set<string>): string {
  let free = name;
  for (let number = 2; taken.has(free.toLowerCase()); number += 1) free = `${name}_${number}`;
  taken.add(free.toLowerCase());
  return free;
}

/** `CREATE TABLE` for a layout, under a name of its own or another one. */
export function createTable(layout: Layout, table = layout.table): string {
  const [only] = layout.key;
  const rowid =
    layout.key.length === 1 &&
    layout.columns.some((column) => column.landedAs === only && column.storage === 'INTEGER');
  const columns = layout.columns.map((column) => {
    const isKey = layout.key.includes(column.landedAs);
    return `${quote(column.landedAs)} ${column.storage}${isKey ? (rowid ? ' PRIMARY KEY' : ' NOT NULL') : ''}`;
  });
  const ours = ['"_mr_run" TEXT', ...(layout.marksDeletions ? ['"_mr_deleted_at" TEXT'] : [])];
  const key = layout.key.length > 0 && !rowid ? [`PRIMARY KEY (${layout.key.map(quote).join(', ')})`] : [];
  return `CREATE TABLE ${quote(table)} (\n  ${[...columns, ...ours, ...key].join(',\n  ')}\n)`;
}

/** A name of the rowid of a table without a key; null when columns have taken all three. */
export function rowidName({ columns }: Layout): string | null {
  const taken = new Set(columns.map(({ landedAs }) => landedAs.toLowerCase()));
  return ['rowid', '_rowid_', 'oid'].find((name) => !taken.has(name)) ?? null;
}

/** An identifier as SQL text. */
export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
