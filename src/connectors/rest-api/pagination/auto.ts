/**
 * How a list is paged, found by looking at its first page. Signs are tried from the surest to the vaguest; a parameter that
 * was only guessed is proven by asking for the second page, which has to be another one. Where signs of more pages are left
 * and nothing works, it says so instead of reading a part for the whole.
 */

import type { PaginationConfig } from '../../../core/rest.ts';
import { plain } from '../../sql/names.ts';
import { atPath } from '../jmespath.ts';
import { jmesPathOf } from '../records-found.ts';
import { type PageNumbers, type Probe, startOf } from './page-start.ts';
import type { RawPage } from './pager.ts';
import { totalOf } from './totals.ts';

export interface PaginationFound {
  readonly pagination: PaginationConfig;
  readonly why: string;
  /** False: there are signs of more, and no way to it was found. */
  readonly sure: boolean;
}

export interface AutoOptions {
  readonly page: RawPage;
  /** Parameters that the stream sends already: a size among them is the page's. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly probe: Probe;
  /** No request may be sent to try a guess: a POST, or a page too large to compare. */
  readonly mayProbe: boolean;
}

const none: PaginationConfig = { type: 'none' };
const roots: readonly (readonly string[])[] = [
  [],
  ['meta'],
  ['pagination'],
  ['paging'],
  ['page'],
  ['page_info'],
  ['pageInfo'],
  ['links'],
  ['_links'],
  ['cursor'],
  ['cursors'],
  ['paging', 'cursors'],
  ['meta', 'pagination'],
  ['meta', 'page'],
  ['meta', 'cursor'],
  ['response_metadata'],
];

/** Finds the pagination. Sends at most a few requests, each for a second page. */
export async function findPagination(options: AutoOptions): Promise<PaginationFound> {
  const { page } = options;
  const link = page.header('link');
  if (link !== null && /rel\s*=\s*"?(next|prev|first|last)\b/i.test(link))
    return { pagination: { type: 'link_header' }, why: 'the answer has a Link header', sure: true };
  const envelope = page.envelope();
  return (
    findUrl(envelope) ??
    (await findCursor(options, envelope)) ??
    (await findKeyset(options, envelope)) ??
    (await findNumbers(options, envelope)) ??
    (await findBlind(options, envelope))
  );
}

const urlNames: readonly string[] = [
  'next',
  'next_url',
  'nextUrl',
  'next_page_url',
  'nextPageUrl',
  'next_link',
  'nextLink',
  'next_page',
  'nextPage',
  'next_uri',
  '@odata.nextLink',
  'odata.nextLink',
  '@nextLink',
];

function findUrl(envelope: unknown): PaginationFound | null {
  for (const root of roots) {
    for (const name of urlNames) {
      for (const path of [
        [...root, name],
        [...root, name, 'href'],
        [...root, name, 'url'],
      ]) {
        const value = atPath(envelope, path);
        const isUrl = typeof value === 'string' && /^(https?:\/\/|\/|\?)/.test(value);
        const ended =
          value === null && (root.at(-1)?.includes('links') === true || hasUrlBeside(envelope, root, name));
        if (!isUrl && !ended) continue;
        const next = jmesPathOf(path);
        return {
          pagination: { type: 'next_url', next },
          why: `"${plain(next, 80)}" is ${isUrl ? 'the address of the next page' : 'where the address of a next page stands'}`,
          sure: true,
        };
      }
    }
  }
  return null;
}

/** `{"count": 3, "next": null, "previous": null}`: a list of one page, as Django's framework writes it. */
function hasUrlBeside(envelope: unknown, root: readonly string[], name: string): boolean {
  return (
    name === 'next' && ['previous', 'prev'].some((other) => atPath(envelope, [...root, other]) !== undefined)
  );
}

/** Where a cursor stands, and the parameters that take it, the likeliest first. */
const cursorNames: readonly (readonly [string, readonly string[]])[] = [
  ['next_cursor', ['cursor', 'next_cursor', 'after']],
  ['nextCursor', ['cursor', 'nextCursor', 'after']],
  ['next_page_token', ['page_token', 'pageToken', 'next_page_token']],
  ['nextPageToken', ['pageToken', 'page_token', 'nextPageToken']],
  ['next_token', ['next_token', 'token', 'pagination_token']],
  ['nextToken', ['nextToken', 'token']],
  ['continuation_token', ['continuation_token', 'continuationToken']],
  ['continuationToken', ['continuationToken', 'continuation_token']],
  ['next_page_cursor', ['page_cursor', 'cursor']],
  ['end_cursor', ['after', 'cursor']],
  ['endCursor', ['after', 'cursor']],
  ['starting_after', ['starting_after']],
  ['after', ['after', 'cursor']],
  ['next', ['cursor', 'next', 'after', 'page_token']],
  ['next_page', ['page', 'cursor', 'page_token']],
  ['scroll_id', ['scroll_id']],
  ['offset', ['offset']],
];

async function findCursor(
  { probe, mayProbe }: AutoOptions,
  envelope: unknown,
): Promise<PaginationFound | null> {
  for (const root of roots) {
    for (const [name, params] of cursorNames) {
      const path = [...root, name];
      const value = atPath(envelope, path);
      const next = jmesPathOf(path);
      // A number under "offset" repeats what was asked for; a text is a cursor.
      const isCursor =
        typeof value === 'string' ? value !== '' : typeof value === 'number' && name.startsWith('next');
      const isEnd = (value === null || value === '') && /^next_?(cursor|page_?token|token)$/i.test(name);
      const config = (cursor_param: string): PaginationConfig => ({ type: 'cursor', cursor_param, next });
      if (isEnd)
        return {
          pagination: config(params[0] ?? 'cursor'),
          why: `"${next}" is where a next cursor stands; there is no second page yet to prove that "${params[0]}" takes it`,
          sure: true,
        };
      if (!isCursor) continue;
      if (!mayProbe) return unsure(`"${next}" holds a cursor, and which parameter takes it is not known`);
      for (const param of params) {
        const { is } = await probe(config(param));
        if (is === 'other' || is === 'empty')
          return {
            pagination: config(param),
            why: `"${next}" holds a cursor, and "${param}" leads to another page`,
            sure: true,
          };
      }
      return unsure(`"${next}" holds a cursor, and none of the parameters ${params.join(', ')} takes it`);
    }
  }
  return null;
}

const moreNames: readonly string[] = [
  'has_more',
  'hasMore',
  'has_next',
  'hasNext',
  'has_next_page',
  'hasNextPage',
  'more',
];

async function findKeyset(
  { page, probe, mayProbe }: AutoOptions,
  envelope: unknown,
): Promise<PaginationFound | null> {
  const more = roots
    .map((root) =>
      moreNames.map((name) => [...root, name]).find((path) => typeof atPath(envelope, path) === 'boolean'),
    )
    .find((path) => path !== undefined);
  if (more === undefined) return null;
  const has_more = jmesPathOf(more);
  if (typeof atPath(page.last, ['id']) !== 'string' && typeof atPath(page.last, ['id']) !== 'number')
    return null;
  const config = (param: string): PaginationConfig => ({ type: 'keyset', param, field: 'id', has_more });
  if (atPath(envelope, more) === false) return null;
  for (const param of mayProbe ? ['starting_after', 'after', 'since_id', 'after_id'] : []) {
    if ((await probe(config(param))).is === 'other')
      return {
        pagination: config(param),
        why: `"${has_more}" says that there is more, and "${param}" with the last id leads there`,
        sure: true,
      };
  }
  return null;
}

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
async function findNumbers(options: AutoOptions, envelope: unknown): Promise<PaginationFound | null> {
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
  { probe, mayProbe, page }: AutoOptions,
  pagination: PaginationConfig,
  why: string,
): Promise<PaginationFound | null> {
  if (page.records === 0 || !mayProbe) return { pagination, why, sure: true };
  const { is: answer } = await probe(pagination);
  const leadsOn = answer === 'other' || answer === 'empty';
  if (leadsOn && pagination.type === 'page' && pagination.start === undefined && !isAll(page)) {
    // Some ask from 0 and answer from 1.
    if ((await startOf(probe, pagination)) === 0)
      return { pagination: { ...pagination, start: 0 }, why: `${why}, and page 0 is the first`, sure: true };
  }
  if (answer === 'other')
    return { pagination, why: `${why}, and the second page is another one`, sure: true };
  return answer === 'empty' || (answer === 'refused' && isAll(page))
    ? { pagination, why: `${why}; there is one page now`, sure: true }
    : null;
}

function isAll(page: RawPage): boolean {
  const total = totalOf(page);
  return total !== null && total <= page.records;
}

/** Sizes that lists stop at when nobody asks for another. */
const usualSizes: ReadonlySet<number> = new Set([
  5, 10, 12, 15, 16, 20, 24, 25, 30, 32, 40, 50, 60, 64, 80, 90, 100, 120, 128, 150, 200, 250, 256, 300, 400,
  500, 512, 1000, 1024, 2000, 2500, 5000, 10000,
]);

/** No sign of how: the usual parameters are tried where the page looks like a part of something. */
async function findBlind(
  { page, params, probe, mayProbe }: AutoOptions,
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
  if (signs === null && !usualSizes.has(page.records))
    return {
      pagination: none,
      why:
        total === null
          ? `nothing in the answer points to another page, and ${page.records} is no usual page size`
          : `the page has all ${total} records`,
      sure: true,
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
    const found = guess.type === 'page' ? await triedNumbers(probe, guess) : await tried(probe, guess);
    if (found !== null) return found;
  }
  if (signs !== null) return unsure(`${signs}, and none of the usual parameters leads on`);
  return {
    pagination: none,
    why: `nothing in the answer points to another page${mayProbe && page.records > 0 ? ', and the usual parameters made no difference' : ''}`,
    sure: true,
  };
}

type Offsets = Extract<PaginationConfig, { readonly type: 'offset' }>;

async function tried(probe: Probe, guess: Offsets): Promise<PaginationFound | null> {
  if ((await probe(guess)).is !== 'other') return null;
  return {
    pagination: guess,
    why: `"${guess.offset_param}" was tried and leads to another page`,
    sure: true,
  };
}

async function triedNumbers(probe: Probe, guess: PageNumbers): Promise<PaginationFound | null> {
  const { is: second } = await probe(guess);
  if (second === 'same') return null;
  const start = await startOf(probe, guess);
  // Counted from 0, a list of two pages has no page 2.
  if (second !== 'other' && start !== 0) return null;
  if (start === null)
    return unsure(
      `"${guess.page_param}" leads to other pages, and neither 0 nor 1 is the one that comes without it`,
    );
  const why = `"${guess.page_param}" was tried and leads to another page`;
  return start === 0
    ? { pagination: { ...guess, start }, why: `${why}; page 0 is the first`, sure: true }
    : { pagination: guess, why, sure: true };
}

function unsure(why: string): PaginationFound {
  return { pagination: none, why, sure: false };
}
