import { isRaw, parseExact } from './exact-json.ts';
import type { Reject } from './model.ts';
import type { Column, LogicalType, Value } from './types.ts';

/**
 * A row that cannot be stored, with the reason: as JSON text, for people to look at and for replaying, bytes as `\x…`, big
 * integers with all their digits. When it would be very long its values are cut, each with its size behind it.
 */
export function rejectOf(columns: readonly string[], row: readonly Value[], reason: string): Reject {
  const size = row.reduce<number>((sum, value) => sum + lengthOf(value ?? null), 0);
  const most = size <= rejectChars ? rejectChars : Math.max(40, Math.floor(rejectChars / row.length));
  const parts = columns.map((name, at) => `${JSON.stringify(name)}:${valueText(row[at] ?? null, most)}`);
  const cut = row.some((value) => lengthOf(value ?? null) > most);
  return { row: `{${parts.join(',')}}`, reason, ...(cut ? { cut } : {}) };
}

const rejectChars = 64 * 1024;

function lengthOf(value: Value): number {
  return typeof value === 'string' || value instanceof Uint8Array ? value.length : 20;
}

/** Cut before it is written out: a value can be longer than JavaScript's longest text. */
function valueText(value: Value, most: number): string {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) {
    const hex = `\\x${Buffer.from(value.subarray(0, most)).toString('hex')}`;
    return JSON.stringify(value.length > most ? `${hex}… (${value.length} bytes)` : hex);
  }
  if (typeof value === 'string' && value.length > most)
    return JSON.stringify(`${value.slice(0, most)}… (${value.length} characters)`);
  return JSON.stringify(value);
}

/** A value that `valueText` has cut. */
const cutValue = /… \(\d+ (?:bytes|characters)\)$/;

/** A kept row by its columns' names; null when the text is none: a line that an API sent and nobody could read. */
export function keptRow(text: string): ReadonlyMap<string, unknown> | null {
  try {
    const row = parseExact(text);
    if (typeof row !== 'object' || row === null || Array.isArray(row)) return null;
    return new Map(Object.entries(row));
  } catch (error) {
    // The start of a very long text, cut in the middle of a value.
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** The values of a kept row in the order of these columns. One that the row has none of is NULL. */
export function keptValues(row: ReadonlyMap<string, unknown>, columns: readonly Column[]): Value[] {
  return columns.map(({ name, type }) => {
    const value = row.get(name) ?? null;
    if (isRaw(value)) return numberOf(value.rawJSON, type);
    if (typeof value === 'string' && type === 'bytes' && value.startsWith('\\x'))
      return Buffer.from(value.slice(2), 'hex');
    return value as Value;
  });
}

/** A number that may be more than a double holds. */
function numberOf(text: string, type: LogicalType): Value {
  if (type === 'float') return Number(text);
  return type === 'integer' && /^-?\d+$/.test(text) ? BigInt(text) : text;
}

/** The key of a kept row as `keyText` writes it; null when a column of it is NULL, cut or not there. */
export function keptKey(row: ReadonlyMap<string, unknown>, key: readonly string[]): string | null {
  const values = key.map((name) => {
    const value = row.get(name) ?? null;
    return isRaw(value) ? value.rawJSON : (value as Value);
  });
  const unknown = values.some(
    (value) => value === null || (typeof value === 'string' && cutValue.test(value)),
  );
  return unknown ? null : keyText(values);
}

/** A key as one text, the same for the values that a source gives and for those of a kept row. */
export function keyText(values: readonly Value[]): string {
  return values
    .map((value) => {
      const text = value instanceof Uint8Array ? `\\x${Buffer.from(value).toString('hex')}` : String(value);
      return `${text.length}:${text}`;
    })
    .join('');
}
