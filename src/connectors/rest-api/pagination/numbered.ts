import type { PaginationConfig } from '../../../core/rest.ts';
import { type Brakes, repeated } from './brakes.ts';
import type { Next, PagePosition, Pager, PagerOptions, RawPage } from './pager.ts';
import { saysEnd, totalOf } from './totals.ts';

type OffsetConfig = Extract<PaginationConfig, { readonly type: 'offset' }>;
type PageConfig = Extract<PaginationConfig, { readonly type: 'page' }>;
type OffsetPosition = Extract<PagePosition, { readonly at: 'offset' }>;

/** Keys of a page's end that are stored: one of them is enough to find the place again. */
const tailStored = 8;
/** So many steps back without getting further: then the order changes with every request, and no place can be found. */
const backMax = 20;

/**
 * `?limit=100&offset=200`. Rows that are deleted in front of the place of reading pull the rest towards the beginning, and
 * what stood at the edge of the page is never answered. So, where rows have keys, each page begins one row early: when
 * that row is one that was read, nothing has moved; when it is not, the reading goes back until it meets rows it knows.
 * Rows that come twice are merged by their key.
 */
export function offsetPager(config: OffsetConfig, brakes: Brakes, { keyed }: PagerOptions): Pager {
  const ended = saysEnd(config.has_more);
  const notices = new Set<string>();
  let overlaps = keyed;
  /** Keys of the page before; null: nothing is known of it. */
  let known: ReadonlySet<string> | null = null;
  let before: RawPage | null = null;
  let furthest = 0;
  let backs = 0;

  const offsetOf = (position: PagePosition): number => (position.at === 'offset' ? position.offset : 0);
  const early = (position: PagePosition): boolean =>
    overlaps && offsetOf(position) > 0 && (known !== null || (position as OffsetPosition).tail.length > 0);
  const asked = (position: PagePosition): number => offsetOf(position) - (early(position) ? 1 : 0);

  const on = (offset: number, page: RawPage): Next => {
    if (offset > furthest) backs = 0;
    furthest = Math.max(furthest, offset);
    const keys = page.keys.filter((key) => key !== null);
    known = keys.length > 0 ? new Set(keys) : null;
    before = page;
    return { next: { at: 'offset', offset, tail: keys.slice(-tailStored) } };
  };

  /** Back until rows are met that were read: nothing between them and here can be missing then. */
  const back = (position: OffsetPosition, page: RawPage, familiar: ReadonlySet<string>): Next => {
    brakes.forget();
    backs += 1;
    if (backs > backMax) {
      overlaps = false;
      notices.add(
        'The API answers in another order each time: rows can be missed. Ask it to sort by something that stays, with "rest": {"params": …}.',
      );
      return page.records === 0
        ? { end: 'a page without records' }
        : on(position.offset - 1 + page.records, page);
    }
    notices.add(
      'Rows moved between pages while they were read; the reading went back, and none is missing that stayed.',
    );
    known = familiar;
    const offset = Math.max(0, position.offset - Math.max(page.records, config.limit));
    return { next: { at: 'offset', offset, tail: position.tail } };
  };

  return {
    first: { at: 'first' },
    wantsKeys: keyed,
    request: (position) => ({
      params: {
        [config.limit_param]: config.limit,
        [config.offset_param]: asked(position),
      },
      in: config.in ?? 'query',
    }),
    after(position, page) {
      const from = asked(position);
      const overlapping = early(position);
      if (page.skipped === true) {
        brakes.seen(page);
        known = null;
        return { next: { at: 'offset', offset: offsetOf(position) + config.limit, tail: [] } };
      }
      const again = brakes.seen(page);
      if (overlapping && again && before?.fingerprint === page.fingerprint) {
        // It takes offsets in whole pages only, and answered with the page before.
        overlaps = false;
        notices.add(
          'The API takes offsets in steps of its page size only: rows that move between pages while they are read can be missed.',
        );
        return { next: position };
      }
      if (again) throw repeated();
      brakes.echo(page, config.offset_param, from);
      const familiar = known ?? new Set(position.at === 'offset' ? position.tail : []);
      if (
        overlapping &&
        position.at === 'offset' &&
        from > 0 &&
        !page.keys.some((key) => key !== null && familiar.has(key))
      )
        return back(position, page, familiar);
      const fresh = page.records - (overlapping ? 1 : 0);
      if (fresh <= 0) return { end: 'a page without further records' };
      if (ended(page)) return { end: `"${config.has_more}" says so` };
      const total = totalOf(page);
      if (page.records < config.limit && total !== null && from + page.records >= total)
        return { end: `all ${total} records have come` };
      return on(from + page.records, page);
    },
    missing: (position) => (offsetOf(position) > 0 ? 'the API has nothing at the next offset' : null),
    notices: () => [...notices],
    resume(position) {
      if (position.at === 'first') return position;
      if (position.at !== 'offset') return null;
      if (keyed && position.tail.length > 0) return position;
      return { ...position, offset: Math.max(0, position.offset - (keyed ? config.limit : 0)) };
    },
  };
}

/** `?page=3&per_page=100`. */
export function pagePager(config: PageConfig, brakes: Brakes): Pager {
  const start = config.start ?? 1;
  const ended = saysEnd(config.has_more);
  const notices = new Set<string>();
  let previous: string | null = null;
  let different = false;
  let largest = 0;
  let read = 0;
  const pageOf = (position: PagePosition): number => (position.at === 'page' ? position.page : start);
  return {
    first: { at: 'first' },
    wantsKeys: false,
    request: (position) => ({
      params: {
        [config.page_param]: pageOf(position),
        ...(config.size_param === undefined || config.size === undefined
          ? {}
          : { [config.size_param]: config.size }),
      },
      in: config.in ?? 'query',
    }),
    after(position, page) {
      const number = pageOf(position);
      if (page.skipped === true) {
        brakes.seen(page);
        return { next: { at: 'page', page: number + 1 } };
      }
      if (brakes.seen(page)) {
        // Behind its last page an API may answer with the last one again; that earlier pages differed tells it from one
        // that does not know the parameter.
        if (page.fingerprint === previous && different) return { end: 'the last page came again' };
        throw repeated();
      }
      brakes.echo(page, config.page_param, number);
      different ||= previous !== null;
      previous = page.fingerprint;
      read += page.records;
      if (page.records === 0) return { end: 'a page without records' };
      if (ended(page)) return { end: `"${config.has_more}" says so` };
      const total = totalOf(page);
      const short = page.records < Math.max(largest, config.size ?? 0);
      largest = Math.max(largest, page.records);
      if (
        short &&
        total !== null &&
        (number - start) * largest + page.records >= total &&
        read >= page.records
      )
        return { end: `all ${total} records have come` };
      return { next: { at: 'page', page: number + 1 } };
    },
    missing: (position) => (pageOf(position) > start ? 'the API has no further page' : null),
    notices: () => [...notices],
    resume(position) {
      if (position.at === 'first') return position;
      // Rows may have moved to the page before meanwhile.
      return position.at === 'page' ? { at: 'page', page: Math.max(start, position.page - 1) } : null;
    },
  };
}
