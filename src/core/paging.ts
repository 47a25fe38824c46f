import { MillraceError } from './errors.ts';
import type { Page, PageRequest } from './model.ts';

/** The most rows one page can hold, whatever is asked for. */
const PAGE_ROWS_MAX = 1_000;

/** The key after which a page begins, as `pageOf` wrote it; null for the first page. Throws `invalid_config`. */
export function pageStart(page: PageRequest): string | null {
  if (page.cursor === undefined) return null;
  const key = Buffer.from(page.cursor, 'base64url').toString('utf8');
  if (key.startsWith(MARK)) return key.slice(MARK.length);
  throw notAPage();
}

/** Of a cursor that no page of this list returned: a client keeps it and sends it back, so that it may be any. */
export function notAPage(): MillraceError {
  return new MillraceError('invalid_config', 'The page cursor is not one that an earlier page returned.', {
    hint: 'Pass `next_cursor` of the page before unchanged, or leave `cursor` out to begin again.',
  });
}

/** Rows to ask for: one more than the page, to see whether there is another. */
export function pageFetch(page: PageRequest): number {
  return pageSize(page) + 1;
}

/** The page made of what was fetched; `key` gives what the next page begins after. */
export function pageOf<Row, T>(
  fetched: readonly Row[],
  page: PageRequest,
  { item, key }: { readonly item: (row: Row) => T; readonly key: (row: Row) => string },
): Page<T> {
  const shown = fetched.slice(0, pageSize(page));
  const last = shown.at(-1);
  const more = fetched.length > shown.length && last !== undefined;
  return {
    items: shown.map(item),
    ...(more ? { next_cursor: Buffer.from(`${MARK}${key(last)}`).toString('base64url') } : {}),
  };
}

function pageSize(page: PageRequest): number {
  return Math.max(1, Math.min(Math.floor(page.limit), PAGE_ROWS_MAX));
}

const MARK = 'after:';
