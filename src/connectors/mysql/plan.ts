/** The SQL of reading: what is selected, from where on, in which order. Values only ever stand in it as literals. */

import type { ResolvedStream } from '../../core/model.ts';
import type { Lookback } from '../sql/lookback.ts';
import { layOver } from '../sql/plan.ts';
import type { CatalogueIndex } from './catalogue.ts';
import { identifier } from './session.ts';
import type { Shape, SourceColumn } from './shape.ts';
import { type SourceType, type Travel, travelOf } from './types.ts';

export interface PlannedColumn extends SourceColumn {
  readonly travel: Travel;
  /** The column itself. `ref` is what follows its order and is compared: for most the same. */
  readonly own: string;
  /** Its place among the columns that land. */
  readonly index: number;
}

/** How one stream is read, once its shape is known. */
export interface ReadPlan {
  readonly shape: Shape;
  readonly columns: readonly PlannedColumn[];
  readonly key: readonly PlannedColumn[];
  readonly cursor: PlannedColumn | null;
  /** Which cursor and key positions belong to. */
  readonly of: string;
}

/** Lays the resolved stream over the shape. Throws `schema_changed` when the two no longer agree. */
export function planRead(stream: ResolvedStream, shape: Shape): ReadPlan {
  const laid = layOver(stream, shape.columns, (column, index): PlannedColumn => {
    const travel = travelOf(column.type);
    return { ...column, travel, own: column.ref, ref: travel.compared(column.ref), index };
  });
  const { cursor, key } = laid;
  const type = cursor === null ? null : `${cursor.type.name}${cursor.type.unsigned ? ' unsigned' : ''}`;
  const of = JSON.stringify([cursor?.name ?? null, type, ...key.map((column) => column.name)]);
  return { shape, ...laid, of };
}

interface SelectParts {
  readonly hidden?: readonly string[];
  readonly conditions?: readonly string[];
  readonly order?: readonly PlannedColumn[];
  readonly limit?: number | null;
  /** The index that gives the order. */
  readonly index?: string | null;
}

/** A SELECT of the stream's rows. `hidden` are expressions behind the columns that land. */
export function selectRows(plan: ReadPlan, parts: SelectParts): string {
  const list = [...plan.columns.map(({ travel, own }) => travel.select(own)), ...(parts.hidden ?? [])];
  const order = (parts.order ?? []).map(({ ref }) => ref);
  const orderBy = order.length === 0 ? '' : ` ORDER BY ${order.join(', ')}`;
  const limit = parts.limit == null ? '' : ` LIMIT ${parts.limit}`;
  return `SELECT ${list.join(', ')}${fromWhere(plan.shape, parts.conditions, parts.index)}${orderBy}${limit}`;
}

/** ` FROM … WHERE …`, the stream's own condition and these. */
export function fromWhere(
  shape: Shape,
  conditions: readonly string[] = [],
  index: string | null = null,
): string {
  const from = ` FROM ${shape.from}${index === null ? '' : ` FORCE INDEX (${identifier(index)})`}`;
  if (conditions.length === 0) return `${from}${shape.where}`;
  return `${from}${shape.where === '' ? ' WHERE ' : `${shape.where} AND `}${conditions.join(' AND ')}`;
}

/** A position's text as a value to compare the column with, in SQL. */
export function asValue(column: PlannedColumn, text: string): string {
  return column.travel.sql(text);
}

/**
 * Rows strictly behind these values in the order of these columns. Written out: `(a, b) > (x, y)` means the same and
 * uses no index, on both servers (10 rows behind the 90,000th: 90,009 index entries read instead of 9).
 */
export function strictlyAfter(columns: readonly PlannedColumn[], texts: readonly string[]): string {
  const [column, ...others] = columns;
  if (column === undefined) return 'TRUE';
  const { ref } = column;
  const value = asValue(column, texts[0] ?? '');
  if (others.length === 0) return `${ref} > ${value}`;
  const rest = strictlyAfter(others, texts.slice(1));
  return `(${ref} >= ${value} AND (${ref} > ${value} OR (${ref} = ${value} AND ${rest})))`;
}

/** Rows at or before these values in the order of these columns. */
export function notAfter(columns: readonly PlannedColumn[], texts: readonly string[]): string {
  const [column, ...others] = columns;
  if (column === undefined) return 'TRUE';
  const { ref } = column;
  const value = asValue(column, texts[0] ?? '');
  if (others.length === 0) return `${ref} <= ${value}`;
  const rest = notAfter(others, texts.slice(1));
  return `(${ref} <= ${value} AND (${ref} < ${value} OR (${ref} = ${value} AND ${rest})))`;
}

/** Bytes of each integer type. */
const integerBytes: Readonly<Record<string, number>> = {
  tinyint: 1,
  smallint: 2,
  mediumint: 3,
  int: 4,
  bigint: 8,
};

/** The least value of an integer type; null for other numbers. */
function integerFloor({ name, unsigned }: SourceType): bigint | null {
  if (name === 'bit' || name === 'year') return 0n;
  const bytes = integerBytes[name];
  if (bytes === undefined) return null;
  return unsigned ? 0n : -(1n << BigInt(8 * bytes - 1));
}

/**
 * A mark, less the look-back window, in the cursor's own type so that its index still serves. Integers are
 * subtracted here: BIGINT UNSIGNED below zero is an error in SQL, and a sum of them would be a DECIMAL.
 */
export function lessLookback(cursor: PlannedColumn, mark: string, lookback: Lookback | null): string {
  const value = asValue(cursor, mark);
  if (!lookback) return value;
  const { type } = cursor;
  if (lookback.kind === 'time') {
    const isDate = type.name === 'date';
    const back = `CAST(${value} AS ${isDate ? 'DATE' : 'DATETIME(6)'}) - INTERVAL ${Math.round(lookback.ms * 1_000)} MICROSECOND`;
    // No date that no calendar has, nor one before the year 1, has another before it: NULL.
    return `COALESCE(${isDate ? `CAST(${back} AS DATE)` : back}, ${value})`;
  }
  const floor = integerFloor(type);
  if (floor !== null && /^-?\d+$/.test(mark)) {
    const less = BigInt(mark) - BigInt(Math.ceil(Number(lookback.by)));
    // A YEAR is compared with 24 as with 2024.
    const least = type.name === 'year' && less < 1901n ? 0n : less;
    return asValue(cursor, String(least < floor ? floor : least));
  }
  if (cursor.travel.type === 'float') return asValue(cursor, String(Number(mark) - Number(lookback.by)));
  return `(${value} - ${asValue(cursor, lookback.by)})`;
}

const numbers = new Set(['bit', 'year', 'decimal', 'float', 'double', ...Object.keys(integerBytes)]);

/** What kind of look-back window fits a cursor of this type. */
export function cursorKind({ name }: SourceType): 'time' | 'number' | 'other' {
  if (name === 'date' || name === 'datetime' || name === 'timestamp') return 'time';
  return numbers.has(name) ? 'number' : 'other';
}

/** Whether the cursor counts by whole numbers. */
export function isInteger({ name }: SourceType): boolean {
  return integerBytes[name] !== undefined;
}

/**
 * The index that gives rows in this order without sorting them; null when none does. InnoDB appends the primary key
 * to every other index, and both servers make use of it.
 */
export function orderIndex(
  indexes: readonly CatalogueIndex[],
  order: readonly PlannedColumn[],
  engine: string,
): string | null {
  if (order.some(({ ref, own }) => ref !== own)) return null;
  const wanted = [...new Set(order.map(({ name }) => name))];
  const primary = indexes.find(({ name }) => name === 'PRIMARY');
  const serving = indexes.find((index) => {
    if (!index.serves) return false;
    const appended = engine === 'InnoDB' && index !== primary ? (primary?.parts ?? []) : [];
    const names = index.parts.map(({ column, prefix }) => (prefix ? null : column));
    const more = appended.map(({ column }) => column).filter((column) => !names.includes(column));
    return wanted.every((name, i) => [...names, ...more][i] === name);
  });
  return serving?.name ?? null;
}
