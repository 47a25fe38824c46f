/** What a page says about how much there is. */

import { MillraceError } from '../../../core/errors.ts';
import { atPath, type Expression, expression, truthy } from '../jmespath.ts';
import type { Missing, RawPage } from './pager.ts';

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

/** What the API says of what is behind a page. `all`: so many have come as it says there are; null: it says nothing. */
export type Told = 'more' | 'all' | 'end' | null;

/**
 * Asks a page what is behind it. `has_more` decides alone where it is declared. A total is held against the rows that the
 * pages so far stand for, which are more than have come where the API filters what it has cut; beside an empty first page
 * it counts something else than this list.
 */
export function teller(hasMore: string | undefined): (page: RawPage, rows: number | null) => Told {
  const ask: Expression | null = hasMore === undefined ? null : expression(hasMore);
  return (page, rows) => {
    if (ask !== null) return truthy(ask(page.envelope())) ? 'more' : 'end';
    const total = totalOf(page);
    if (total === null || rows === null || rows === 0) return null;
    return total > rows ? 'more' : 'all';
  };
}

/** What an API means that answers 404 behind a page: no end where the page said that there is more. */
export function nothingBehind(told: Told, status: number): Missing {
  if (status !== 404 && status !== 410) return null;
  if (told !== 'more') return 'the API has no further page';
  return new MillraceError(
    'not_found_at_source',
    `The API says that there is more, and answered with status ${status} where it should stand.`,
    {
      hint: 'Rows may have been deleted meanwhile: run it again. If the list ends there, set "has_more" in "pagination" to what is false or empty on its last page.',
    },
  );
}
