/** The SQL of reading: what is selected, from where on, in which order. Values only ever stand in it as quoted text with a cast. */

import type { ResolvedStream } from '../../core/model.ts';
import type { Lookback } from '../sql/lookback.ts';
import { layOver } from '../sql/plan.ts';
import { literal, type Shape, type SourceColumn } from './shape.ts';
import { baseType, type Travel, type TypeCache, travelOf } from './types.ts';

export interface PlannedColumn extends SourceColumn {
  readonly travel: Travel;
  /** The type to cast a text to before comparing: what a domain stands on. */
  readonly castTo: string;
  /** Its base type's oid. */
  readonly base: number;
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
export function planRead(stream: ResolvedStream, shape: Shape, types: TypeCache): ReadPlan {
  const { columns, key, cursor } = layOver(stream, shape.columns, (column, index): PlannedColumn => {
    const base = baseType(column.type, types);
    return { ...column, travel: travelOf(column.type, types), castTo: base.sql, base: base.oid, index };
  });
  const of = JSON.stringify([
    cursor?.name ?? null,
    cursor?.castTo ?? null,
    ...key.map((column) => column.name),
  ]);
  return { shape, columns, key, cursor, of };
}

/** A SELECT of the stream's rows. `hidden` are expressions behind the columns that land. */
export function selectRows(
  plan: ReadPlan,
  parts: {
    readonly hidden?: readonly string[];
    readonly conditions?: readonly string[];
    readonly order?: readonly string[];
  },
): string {
  const list = [...plan.columns.map(({ travel, ref }) => travel.select(ref)), ...(parts.hidden ?? [])];
  return `SELECT ${list.join(', ')}${fromWhere(plan.shape, parts.conditions)}${orderBy(parts.order)}`;
}

/** ` FROM … WHERE …`, the stream's own condition and these. */
export function fromWhere(shape: Shape, conditions: readonly string[] = []): string {
  if (conditions.length === 0) return ` FROM ${shape.from}${shape.where}`;
  return ` FROM ${shape.from}${shape.where === '' ? ' WHERE ' : `${shape.where} AND `}${conditions.join(' AND ')}`;
}

function orderBy(order: readonly string[] = []): string {
  return order.length === 0 ? '' : ` ORDER BY ${order.join(', ')}`;
}

/** A text as a value of the column's type, in SQL. */
export function asValue(column: PlannedColumn, text: string): string {
  return `${literal(text)}::${column.castTo}`;
}

/** Rows strictly behind these values in the order of these columns. */
export function strictlyAfter(columns: readonly PlannedColumn[], texts: readonly string[]): string {
  const left = columns.map((column) => column.ref).join(', ');
  const right = columns.map((column, i) => asValue(column, texts[i] ?? '')).join(', ');
  return columns.length === 1 ? `${left} > ${right}` : `(${left}) > (${right})`;
}

const integerFloor: Readonly<Record<number, string>> = {
  20: '-9223372036854775808',
  21: '-32768',
  23: '-2147483648',
  26: '0',
};

/** A mark, less the look-back window, in the cursor's own type so that its index still serves. */
export function lessLookback(cursor: PlannedColumn, mark: string, lookback: Lookback | null): string {
  const value = asValue(cursor, mark);
  if (!lookback) return value;
  if (lookback.kind === 'time')
    return `(${value} - interval '${lookback.ms} milliseconds')::${cursor.castTo}`;
  const floor = integerFloor[cursor.base];
  if (floor === undefined) return `(${value} - ${lookback.by}::${cursor.castTo})`;
  // There is no cast between oid and numeric (pg_cast), and no oid that a bigint does not hold.
  const wide = cursor.base === 26 ? 'bigint' : 'numeric';
  return `greatest(${value}::${wide} - ${lookback.by}::${wide}, ${floor})::${cursor.castTo}`;
}

/** What kind of look-back window fits the cursor. */
export function cursorKind(base: number): 'time' | 'number' | 'other' {
  if (base === 1082 || base === 1114 || base === 1184) return 'time';
  return [20, 21, 23, 26, 700, 701, 1700].includes(base) ? 'number' : 'other';
}
