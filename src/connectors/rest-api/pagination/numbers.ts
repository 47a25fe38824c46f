/** Pages and offsets: where the answer repeats them, and where nothing says so but the size of a page. */

import type { PaginationConfig } from '../../../core/rest.ts';
import { atPath } from '../jmespath.ts';
import { jmesPathOf } from '../records-found.ts';
import { type PageNumbers, type Probe, type Probed, startOf } from './page-start.ts';
import type { RawPage } from './pager.ts';
import { type AutoOptions, moreNames, type PaginationFound, roots, unsure } from './signs.ts';
import { totalOf, usualSizes } from './totals.ts';

const none: PaginationConfig = { type: 'none' };
/** That one list comes again may be its last page, which some APIs repeat; that so many do is an unknown parameter. */
const sameMax = 3;

const pageNames: readonly (readonly [string, string, number])[] = [
  ['page', 'page', 1],
  ['current_page', 'page', 1],
  ['currentPage', 'page', 1],
  ['page_number', 'page_number', 1],
  ['pageNumber', 'pageNumber', 1],
  ['number', 'page', 0],
  ['_page', '_page', 1],
];
const offsetNames: readonly string[] = [
  'offset',
  'skip',
  'start',
  'startAt',
  'start_index',
  'startIndex',
  'from',
];
const limitNames: readonly string[] = [
  'limit',
  'take',
  'maxResults',
  'max_results',
  'page_size',
  'pageSize',
  'per_page',
  'perPage',
  'size',
  'count',
  '_limit',
];

/** Answers that repeat a page number or an offset. */
export async function findNumbers(options: AutoOptions, envelope: unknown): Promise<PaginationFound | null> {
  for (const root of roots) {
    for (const [name, page_param, usual] of pageNames) {
      const value = atPath(envelope, [...root, name]);
      if (value !== 0 && value !== 1) continue;
      // A bare "number" is a page only where pages are counted.
      if (name === 'number' && atPath(envelope, [...root, 'totalPages']) === undefined) continue;
      const start = value === 0 ? 0 : usual;
      const found = await proven(
        options,
        { type: 'page', page_param, ...(start === 1 ? {} : { start }) },
        `"${jmesPathOf([...root, name])}" counts pages`,
      );
      if (found !== null) return found;
    }
    for (const name of offsetNames) {
      const value = atPath(envelope, [...root, name]);
      if (typeof value !== 'number' || value > 1) continue;
      const limitName = limitNames.find(
        (candidate) => typeof atPath(envelope, [...root, candidate]) === 'number',
      );
      const limit = Math.max(
        1,
        Number(limitName === undefined ? options.page.records : atPath(envelope, [...root, limitName])),
      );
      const found = await proven(
        options,
        { type: 'offset', offset_param: name, limit_param: limitName ?? 'limit', limit },
        `"${jmesPathOf([...root, name])}" repeats an offset`,
      );
      if (found !== null) return found;
    }
  }
  return null;
}

async function proven(
  { probe, mayProbe, page, seen }: AutoOptions,
  pagination: PaginationConfig,
  why: string,
): Promise<PaginationFound | null> {
  // Of one list, the parameter is taken at its word: records may have come by the time it is read.
  const once: PaginationFound = {
    pagination: seen === null ? pagination : none,
    why: `${why}; there is one page now`,
    sure: true,
    proven: false,
  };
  if (page.records === 0) return { ...once, why };
  if (!mayProbe) return { ...once, pagination, why };
  const { is: answer } = await probe(pagination);
  if (answer === 'same' || (answer === 'refused' && !isAll(page))) return null;
  const start =
    pagination.type === 'page' && pagination.start === undefined ? await startOf(probe, pagination) : 1;
  // Some ask from 0 and answer from 1.
  if (start === 0)
    return {
      pagination: { ...pagination, start } as PaginationConfig,
      why: `${why}, and page 0 is the first`,
      sure: true,
      proven: true,
    };
  if (answer === 'other')
    return { pagination, why: `${why}, and the second page is another one`, sure: true, proven: true };
  // Counted from 0, a list of one page has neither a page 1 nor a page 2: asked for from 1, it would be empty.
  if (start === null) return { ...once, pagination: none };
  if (answer === 'refused') return once;
  // Others may be asked for in larger pages than this one is.
  const isSized = pagination.type !== 'offset' || pagination.limit > page.records;
  return isSized ? { ...once, pagination, proven: true } : once;
}

function isAll(page: RawPage): boolean {
  const total = totalOf(page);
  return total !== null && total <= page.records;
}

/** No sign of how: the usual parameters are tried where the page looks like a part of something. */
export async function findBlind(
  { page, params, probe, mayProbe, seen }: AutoOptions,
  envelope: unknown,
): Promise<PaginationFound> {
  const total = totalOf(page);
  const more = roots.some((root) => moreNames.some((name) => atPath(envelope, [...root, name]) === true));
  const signs =
    total !== null && total > page.records
      ? `the API says there are ${total} records and the page has ${page.records}`
      : more
        ? 'the API says there is more'
        : null;
  const mayBeFull = usualSizes.has(page.records) && page.records >= (seen?.longest ?? 0);
  if (signs === null && !mayBeFull)
    return {
      pagination: none,
      why:
        total === null
          ? `nothing in the answer points to another page, and ${page.records} is no usual page size`
          : `the page has all ${total} records`,
      sure: true,
      proven: false,
    };
  const size = limitNames.find((name) => Object.hasOwn(params, name));
  const limit = page.records;
  const guesses: readonly (PageNumbers | Offsets)[] = [
    { type: 'page', page_param: 'page' },
    { type: 'offset', offset_param: 'offset', limit_param: size ?? 'limit', limit },
    { type: 'offset', offset_param: 'skip', limit_param: size ?? 'limit', limit },
    { type: 'page', page_param: '_page' },
  ];
  for (const guess of mayProbe && page.records > 0 ? guesses : []) {
    const way = guess.type === 'page' ? guess.page_param : guess.offset_param;
    const same = seen?.same.get(way) ?? 0;
    if (signs === null && same >= sameMax) continue;
    const first = await probe(guess);
    if (first.is === 'same') seen?.same.set(way, same + 1);
    const found = guess.type === 'page' ? await triedNumbers(probe, guess, first) : tried(guess, first);
    if (found !== null) return found;
  }
  if (signs !== null) return unsure(`${signs}, and none of the usual parameters leads on`);
  return {
    pagination: none,
    why: `nothing in the answer points to another page${mayProbe && page.records > 0 ? ', and the usual parameters made no difference' : ''}`,
    sure: true,
    proven: false,
  };
}

type Offsets = Extract<PaginationConfig, { readonly type: 'offset' }>;

function tried(guess: Offsets, { is }: Probed): PaginationFound | null {
  if (is !== 'other') return null;
  return {
    pagination: guess,
    why: `"${guess.offset_param}" was tried and leads to another page`,
    sure: true,
    proven: true,
  };
}

async function triedNumbers(
  probe: Probe,
  guess: PageNumbers,
  { is: second }: Probed,
): Promise<PaginationFound | null> {
  if (second === 'same') return null;
  const start = await startOf(probe, guess);
  // Counted from 0, a list of two pages has no page 2. Counted from 1, one that has none is full and at its end.
  if (second !== 'other' && start !== 0 && !(second === 'empty' && start === 1)) return null;
  if (start === null)
    return unsure(
      `"${guess.page_param}" leads to other pages, and neither 0 nor 1 is the one that comes without it`,
    );
  const why = `"${guess.page_param}" was tried and leads to another page`;
  return start === 0
    ? {
        pagination: { ...guess, start },
        why: `${why}; page 0 is the first`,
        sure: true,
        proven: true,
      }
    : { pagination: guess, why, sure: true, proven: true };
}
