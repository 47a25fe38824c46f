/** What a page says about how much there is. */

import { atPath, type Expression, expression, truthy } from '../jmespath.ts';
import type { RawPage } from './pager.ts';

const places: readonly (readonly string[])[] = [
  [],
  ['meta'],
  ['pagination'],
  ['paging'],
  ['page'],
  ['meta', 'pagination'],
  ['meta', 'page'],
];
const totals: readonly string[] = [
  'total',
  'total_count',
  'totalCount',
  'total_items',
  'totalItems',
  'total_records',
  'totalRecords',
  'totalElements',
  'total_results',
  'totalResults',
];

/** The number of records in the whole list, where the page or its headers say it. */
export function totalOf(page: RawPage): number | null {
  const header = page.header('x-total-count');
  if (header !== null && /^\d{1,15}$/.test(header)) return Number(header);
  const envelope = page.envelope();
  for (const place of places) {
    for (const name of totals) {
      const value = atPath(envelope, [...place, name]);
      if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
    }
  }
  return null;
}

/** Whether the API itself says that there is nothing more; always false without an expression. */
export function saysEnd(hasMore: string | undefined): (page: RawPage) => boolean {
  if (hasMore === undefined) return () => false;
  const ask: Expression = expression(hasMore);
  return (page) => !truthy(ask(page.envelope()));
}
