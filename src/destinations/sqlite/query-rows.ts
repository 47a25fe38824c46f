import type { QueryResult } from '../../core/model.ts';
import type { QueryCaps } from '../warehouse.ts';
import type { Reading } from './query-library.ts';
import type { QueryOutcome } from './query-process.ts';

/** A cell shows at most so many characters, and at least so many when a single row would not fit otherwise. */
const cellCharsMax = 4_000;
const cellCharsMin = 30;
const nameChars = 200;

type Cell = string | number | null;
type Caps = Pick<QueryCaps, 'maxRows' | 'maxBytes'>;

/**
 * Reads rows until a cap is met. Integers beyond 2^53 become text, bytes `\x…`, long texts are cut and say so. The first
 * row is always shown, with cells cut as short as it takes; refused when even that is larger than a result may be.
 */
export function shapeRows(reading: Reading, { maxRows, maxBytes }: Caps): QueryOutcome {
  const columns = reading.columns.map((name) => cut(name, nameChars));
  const rows: (readonly Cell[])[] = [];
  const result = (truncated: boolean): Omit<QueryResult, 'elapsed_ms'> => ({
    columns,
    rows,
    row_count: rows.length,
    truncated,
  });
  let bytes = jsonBytes(columns);
  for (const row of reading.rows()) {
    if (rows.length >= maxRows) return result(true);
    let shown = row.map((value) => cell(value, cellCharsMax));
    for (let chars = cellCharsMax; rows.length === 0 && bytes + jsonBytes(shown) > maxBytes; chars >>= 1) {
      if (chars < cellCharsMin) return tooWide(columns.length, maxBytes);
      shown = row.map((value) => cell(value, chars));
    }
    bytes += jsonBytes(shown);
    if (bytes > maxBytes) return result(true);
    rows.push(shown);
  }
  return result(false);
}

/** With the comma behind it. */
function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value)) + 1;
}

function cell(value: unknown, chars: number): Cell {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint')
    return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (value instanceof Uint8Array) {
    const shown = Buffer.from(value.subarray(0, chars >> 1)).toString('hex');
    return value.length * 2 > chars ? `\\x${shown}…[cut, ${value.length} bytes]` : `\\x${shown}`;
  }
  return cut(String(value), chars);
}

function cut(text: string, chars: number): string {
  if (text.length <= chars) return text;
  // Not between the two halves of a character beyond U+FFFF.
  const last = text.charCodeAt(chars - 1);
  const whole = text.slice(0, last >= 0xd800 && last <= 0xdbff ? chars - 1 : chars);
  return `${whole}…[cut, ${Buffer.byteLength(text)} bytes]`;
}

function tooWide(columns: number, maxBytes: number): QueryOutcome {
  return {
    refused: `One row of these ${columns} columns is larger than a result may be (${maxBytes} bytes).`,
    hint: 'Name fewer columns instead of *, or cut long ones: substr(column, 1, 200).',
  };
}
