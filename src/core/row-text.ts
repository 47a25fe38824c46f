import type { Value } from './types.ts';

/**
 * A row as JSON text, for people to look at and for replaying: bytes as `\x…`, big integers with all their digits. When it
 * would be very long its values are cut, each with its size behind it.
 */
export function rowText(columns: readonly string[], row: readonly Value[]): string {
  const size = row.reduce<number>((sum, value) => sum + lengthOf(value ?? null), 0);
  const most = size <= rejectChars ? rejectChars : Math.max(40, Math.floor(rejectChars / row.length));
  const parts = columns.map((name, at) => `${JSON.stringify(name)}:${valueText(row[at] ?? null, most)}`);
  return `{${parts.join(',')}}`;
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
