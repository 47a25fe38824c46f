import type { QueryResult } from '../../core/model.ts';
import type { QueryCaps } from '../warehouse.ts';
import type { Statement } from './driver.ts';

/** A cell shows at most so many characters. */
const cellChars = 4_000;
const columnsMax = 2_000;

/** Reads rows until a cap is met. Integers beyond 2^53 become text, bytes `\x…`, long texts are cut and say so. */
export function shapeRows(statement: Statement, caps: QueryCaps): Omit<QueryResult, 'elapsed_ms'> {
  const columns = statement
    .columns()
    .slice(0, columnsMax)
    .map((column) => cut(column.name, 200));
  const rows: (string | number | null)[][] = [];
  let bytes = JSON.stringify(columns).length;
  let truncated = false;
  for (const row of statement.iterate() as IterableIterator<unknown[]>) {
    if (rows.length >= caps.maxRows) {
      truncated = true;
      break;
    }
    const shown = row.slice(0, columnsMax).map(cell);
    bytes += JSON.stringify(shown).length + 1;
    if (bytes > caps.maxBytes && rows.length > 0) {
      truncated = true;
      break;
    }
    rows.push(shown);
  }
  return { columns, rows, row_count: rows.length, truncated };
}

function cell(value: unknown): string | number | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint')
    return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (value instanceof Uint8Array) {
    const shown = Buffer.from(value.subarray(0, cellChars / 2)).toString('hex');
    return value.length * 2 > cellChars ? `\\x${shown}…[cut, ${value.length} bytes]` : `\\x${shown}`;
  }
  return cut(String(value), cellChars);
}

function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)}…[cut, ${text.length} characters]`;
}
