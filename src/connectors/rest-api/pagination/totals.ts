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

const totalHeaders: readonly string[] = ['x-total-count', 'x-wp-total', 'x-total'];
const pageCounts: readonly string[] = [
  'total_pages',
  'totalPages',
  'page_count',
  'pageCount',
  'last_page',
  'lastPage',
];
const pageCountHeaders: readonly string[] = ['x-wp-totalpages', 'x-total-pages'];

/** The number of records in the whole list, where the page or its headers say it. */
export function totalOf(page: RawPage): number | null {
  return countIn(page, totalHeaders, totals);
}

function countIn(page: RawPage, headers: readonly string[], names: readonly string[]): number | null {
  const envelope = page.envelope();
  const said = [
    ...headers.map((name) => page.header(name)),
    ...places.flatMap((place) => names.map((name) => atPath(envelope, [...place, name]))),
  ];
  return said.map(wholeNumber).find((value) => value !== null) ?? null;
}

/** A count, also where it comes as a text, as in a header; null for what is none. */
export function wholeNumber(value: unknown): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : null;
  return typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : null;
}

/** Sizes that lists stop at when nobody asks for another. */
export const usualSizes: ReadonlySet<number> = new Set([
  5, 10, 12, 15, 16, 20, 24, 25, 30, 32, 40, 50, 60, 64, 80, 90, 100, 120, 128, 150, 200, 250, 256, 300, 400,
  500, 512, 1000, 1024, 2000, 2500, 5000, 10000,
]);

/** What the API says of what is behind a page. `all`: so many have come as it says there are; null: it says nothing. */
export type Told = 'more' | 'all' | 'end' | null;

/** What the pages so far stand for: more than have come where the API filters what it has cut. */
export interface Reach {
  /** Null: not known. */
  readonly rows: number | null;
  readonly pages?: number;
}

/**
 * Asks a page what is behind it. `has_more` decides alone where it is declared; then the number of pages, which needs no
 * guess how many rows one stands for; then a total. Beside an empty first page they count something else than this list.
 */
export function teller(hasMore: string | undefined): (page: RawPage, reach: Reach) => Told {
  const ask: Expression | null = hasMore === undefined ? null : expression(hasMore);
  return (page, { rows, pages }) => {
    if (ask !== null) return denies(ask(page.envelope())) ? 'end' : 'more';
    if (rows === 0) return null;
    const last = pages === undefined ? null : countIn(page, pageCountHeaders, pageCounts);
    if (last !== null && pages !== undefined) return last > pages ? 'more' : 'all';
    const total = totalOf(page);
    if (total === null || rows === null) return null;
    return total > rows ? 'more' : 'all';
  };
}

/** Whether a value says that there is nothing: XML has texts only, some APIs count truth, and 0 is where no list goes on. */
export function denies(value: unknown): boolean {
  return (
    !truthy(value) || value === 0 || (typeof value === 'string' && /^\s*(false|no|0|null)?\s*$/i.test(value))
  );
}

/** How APIs refuse to ask beyond what there is. */
const refusals: ReadonlySet<number> = new Set([400, 416, 422]);

/**
 * What an API means that answers so behind a page: 404 is no end where the page said that there is more, and a refusal only
 * where as many have come as it says there are. So a full last page can be asked beyond: a total may be capped, or old.
 */
export function nothingBehind(told: Told, status: number): Missing {
  const gone = isGone(status);
  if (told === 'more' && gone) {
    return new MillraceError(
      'not_found_at_source',
      `The API says that there is more, and answered with status ${status} where it should stand.`,
      {
        hint: 'Rows may have been deleted meanwhile: run it again. If the list ends there, set "has_more" in "pagination" to what is false or empty on its last page.',
      },
    );
  }
  return gone || (told === 'all' && refusals.has(status)) ? 'the API has nothing further' : null;
}

/** Why such a list ends. */
export const passedOver = 'a rule of the stream passes over what is not there';

/**
 * Whether a list ends with a page that a rule passes over, by its status. A first page that is refused is a list that there
 * is not; one that fails may be a fault of that page, and the second one tells. What is gone has nothing behind it, as long
 * as nothing else was said. Elsewhere, a page is passed over, and the list goes on.
 */
export function endsPassedOver(
  status: number,
  { told, nth, come }: { readonly told: Told; readonly nth: number; readonly come: boolean },
): boolean {
  if (told === 'more') return false;
  return isGone(status) || (!come && (nth === 2 || (nth === 1 && status >= 400 && status < 500)));
}

function isGone(status: number): boolean {
  return status === 404 || status === 410;
}
