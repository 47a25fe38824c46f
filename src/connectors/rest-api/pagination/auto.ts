/**
 * How a list is paged, found by looking at its first page. Signs are tried from the surest to the vaguest; a parameter that
 * was only guessed is proven by asking for the second page, which has to be another one. Where signs of more pages are left
 * and nothing works, it says so instead of reading a part for the whole.
 */

import type { PaginationConfig } from '../../../core/rest.ts';
import { plain } from '../../sql/names.ts';
import { atPath } from '../jmespath.ts';
import { jmesPathOf } from '../records-found.ts';
import { findBlind, findNumbers } from './numbers.ts';
import { type AutoOptions, moreNames, type PaginationFound, roots, unsure } from './signs.ts';
import { denies } from './totals.ts';

/** Finds the pagination. Sends at most a few requests, each for a second page. */
export async function findPagination(options: AutoOptions): Promise<PaginationFound> {
  const { page } = options;
  const link = page.header('link');
  if (link !== null && /rel\s*=\s*"?(next|prev|first|last)\b/i.test(link))
    return {
      pagination: { type: 'link_header' },
      why: 'the answer has a Link header',
      sure: true,
      proven: true,
    };
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
          proven: true,
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
        !denies(value) &&
        (typeof value === 'string' || (typeof value === 'number' && name.startsWith('next')));
      const isEnd = value !== undefined && denies(value) && /^next_?(cursor|page_?token|token)$/i.test(name);
      const config = (cursor_param: string): PaginationConfig => ({ type: 'cursor', cursor_param, next });
      if (isEnd)
        return {
          pagination: config(params[0] ?? 'cursor'),
          why: `"${next}" is where a next cursor stands; there is no second page yet to prove that "${params[0]}" takes it`,
          sure: true,
          proven: false,
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
            proven: is === 'other',
          };
      }
      return unsure(`"${next}" holds a cursor, and none of the parameters ${params.join(', ')} takes it`);
    }
  }
  return null;
}

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
        proven: true,
      };
  }
  return null;
}
