import { createHash } from 'node:crypto';
import type { TableName } from './tables.ts';

/**
 * The rows of the other sources as an API shows them: a decimal is a number, bytes are base64, an array is a list.
 * `touched`: when the row was changed, ms.
 */
export function apiRow(table: TableName, id: number, touched: number | null): Record<string, unknown> {
  const updated_at = touched === null ? isoMicros(updatedAtMicros(id)) : isoMicros(touched * 1000);
  const more = touched === null ? 0 : 1;
  if (table === 'narrow')
    return { id, n: ((id * 7919) % 1_000_003) + more, label: `label ${id % 5000}`, updated_at };
  const md5 = createHash('md5').update(String(id)).digest();
  return {
    id,
    uid: md5.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    name: `Customer Näme ${id}`,
    amount: ((id * 104_729) % 10_000_000_000) / 100,
    flag: id % 3 === 0,
    updated_at,
    doc: id % 10 > 0 ? { id, tags: ['a', 'b'], note: `text ${id % 100}` } : null,
    numbers: id % 7 > 0 ? [id, id % 100, -id] : null,
    day: new Date(Date.UTC(2020, 0, 1 + (id % 2000))).toISOString().slice(0, 10),
    bin: id % 5 > 0 ? md5.toString('base64') : null,
    optional: id % 5 === 0 ? id : null,
    status: ['new', 'paid', 'shipped', 'returned'][id % 4],
    small: (id % 100) + more,
  };
}

const began = Date.UTC(2026, 0, 1) * 1000;
const stepMicros = 1_000_123;

/** The first row that was made at that time or later, ms. */
export function firstSince(ms: number): number {
  return Math.max(1, Math.ceil((ms * 1000 - began) / stepMicros));
}

function updatedAtMicros(id: number): number {
  return began + id * stepMicros;
}

function isoMicros(micros: number): string {
  const ms = Math.floor(micros / 1000);
  return `${new Date(ms).toISOString().slice(0, 23)}${String(micros - ms * 1000).padStart(3, '0')}Z`;
}
