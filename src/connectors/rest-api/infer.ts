/** Records become rows of columns that are learnt from them. */

import { MillraceError } from '../../core/errors.ts';
import { isRaw } from '../../core/exact-json.ts';
import type { Column, Value } from '../../core/types.ts';
import { columnOf, type Kind, kindOf, kindOfColumn, normalTime, widen } from './kinds.ts';

/** A destination's table ends at 2,000, ours among them. */
const columnsMax = 1_900;

export type JsonRecord = Readonly<Record<string, unknown>>;

export interface RowsOptions {
  /** Columns that are known already: of the table, or of a look at the first page. */
  readonly columns: readonly Column[];
  /** Which fields are wanted; all when absent. */
  readonly wanted?: ((name: string) => boolean) | undefined;
  /** Never null, such as the key: said of the column, not checked here. */
  readonly required?: readonly string[];
}

/** Some rows, flat, under the columns as they are now. */
export interface Rows {
  readonly values: Value[];
  readonly rows: number;
}

/** Learns columns from records, and makes rows of them. */
export interface RowMaker {
  /** The columns after the last `rows`: in the order in which they were first seen. */
  readonly columns: readonly Column[];
  /** True once for each time that they changed. */
  takeChanged(): boolean;
  rows(records: readonly JsonRecord[], textual: boolean): Rows;
}

/**
 * Columns start from what is known, get a place when a field is first seen, and widen when a value does not fit. Records
 * are converted in one go; only when one does not fit is the whole group looked at first, and converted again.
 */
export function createRowMaker({ columns, wanted, required = [] }: RowsOptions): RowMaker {
  const names: string[] = columns.map((column) => column.name);
  const kinds: Kind[] = columns.map(kindOfColumn);
  const places = new Map(names.map((name, at) => [name, at]));
  const ignored = new Set<string>();
  let changed = false;

  const placeOf = (name: string): number | undefined => {
    const place = places.get(name);
    if (place !== undefined || ignored.has(name)) return place;
    if (wanted !== undefined && !wanted(name)) {
      if (ignored.size < columnsMax) ignored.add(name);
      return undefined;
    }
    if (names.length >= columnsMax) throw tooManyColumns(names);
    places.set(name, names.length);
    names.push(name);
    kinds.push('null');
    changed = true;
    return names.length - 1;
  };

  const learn = (records: readonly JsonRecord[], textual: boolean): void => {
    for (const record of records) {
      for (const name in record) {
        const place = placeOf(name);
        if (place === undefined) continue;
        const kind = kinds[place] ?? 'null';
        const wider = kind === 'string' ? kind : widen(kind, kindOf(record[name], textual));
        if (wider === kind) continue;
        kinds[place] = wider;
        changed = true;
      }
    }
  };

  /** Fields mostly come in the order of their columns: then no name is looked up, and no place is filled twice. */
  const placeAfter = (expected: number, name: string): number | undefined => {
    if (names[expected] === name) return expected;
    const place = places.get(name);
    // The same text, but the one that the engine's parser gives all fields of that name: those are told apart at once.
    if (place !== undefined) names[place] = name;
    return place;
  };

  /** Null when a value does not fit its column as it is now, or has none. */
  const convert = (records: readonly JsonRecord[], textual: boolean): Value[] | null => {
    const width = names.length;
    const values: Value[] = [];
    for (const record of records) {
      const row = values.length;
      let expected = 0;
      for (const name in record) {
        const place = placeAfter(expected, name);
        if (place === undefined) {
          if (placeOf(name) === undefined) continue;
          return null;
        }
        expected = place + 1;
        const value = record[name] ?? null;
        const converted = value === null ? null : landedValue(value, kinds[place] ?? 'null', textual);
        if (converted === undefined) return null;
        while (values.length < row + place) values.push(null);
        if (values.length === row + place) values.push(converted);
        else values[row + place] = converted;
      }
      while (values.length < row + width) values.push(null);
    }
    return values;
  };

  return {
    get columns() {
      return names.map((name, at) => {
        const column = columnOf(name, kinds[at] ?? 'null');
        return required.includes(name) ? { ...column, nullable: false } : column;
      });
    },
    takeChanged() {
      const was = changed;
      changed = false;
      return was;
    },
    rows(records, textual) {
      const first = convert(records, textual);
      if (first !== null) return { values: first, rows: records.length };
      learn(records, textual);
      const second = convert(records, textual);
      if (second === null) throw new Error('a value does not fit the column it widened');
      return { values: second, rows: records.length };
    },
  };
}

/** A value as its column lands it; undefined when it does not fit. Never null: that is told apart before. */
function landedValue(value: unknown, kind: Kind, textual: boolean): Value | undefined {
  switch (kind) {
    case 'string':
      return asText(value);
    case 'json':
      if (typeof value !== 'string') return JSON.stringify(value);
      // In textual formats a text that stands for a number or a boolean is one, and is JSON as it is.
      return widen(kind, kindOf(value, textual)) === kind ? value : undefined;
    case 'integer':
      if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined;
      break;
    case 'number':
      if (typeof value === 'number') return value;
      break;
    case 'boolean':
      if (typeof value === 'boolean') return value;
      break;
    default:
  }
  // A date, a long number, a text that stands for one: looked at more closely.
  const own = kindOf(value, textual);
  if (widen(kind, own) !== kind) return undefined;
  switch (kind) {
    case 'boolean':
      return value === 'true';
    case 'integer':
    case 'integer64':
      return asInteger(value);
    case 'number':
      return Number(asText(value));
    case 'decimal':
      return asText(value);
    case 'date':
      return String(value);
    case 'local date-time':
    case 'date-time':
      return normalTime(String(value));
    default:
      return undefined;
  }
}

function asText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object') return String(value);
  return isRaw(value) ? value.rawJSON : JSON.stringify(value);
}

function asInteger(value: unknown): number | bigint {
  if (typeof value === 'number') return value;
  const big = BigInt(asText(value));
  return big >= Number.MIN_SAFE_INTEGER && big <= Number.MAX_SAFE_INTEGER ? Number(big) : big;
}

function tooManyColumns(names: readonly string[]): MillraceError {
  const last = names
    .slice(-3)
    .map((name) => `"${name.slice(0, 40)}"`)
    .join(', ');
  return new MillraceError(
    'invalid_config',
    `The records have more than ${columnsMax} different fields, lately ${last}: these look like keys, not like names of fields.`,
    {
      hint: 'Set "records" so that each entry becomes a record, e.g. "values(@)"; lower "flatten"; or leave fields out with "columns": {"exclude": […]}.',
    },
  );
}
