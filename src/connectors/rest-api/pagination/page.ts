import type { PaginationConfig } from '../../../core/rest.ts';
import { type Brakes, cameAgain, repeated } from './brakes.ts';
import type { PagePosition, Pager } from './pager.ts';
import {
  endsPassedOver,
  nothingBehind,
  passedOver,
  type Reach,
  type Told,
  teller,
  totalOf,
} from './totals.ts';

type PageConfig = Extract<PaginationConfig, { readonly type: 'page' }>;

/** `?page=3&per_page=100`. */
export function pagePager(config: PageConfig, brakes: Brakes): Pager {
  const start = config.start ?? 1;
  const tell = teller(config.has_more);
  let told: Told = null;
  const notices = new Set<string>();
  let largest = 0;
  /** Null: unknown, as in a position that a former version stored. */
  let read: number | null = 0;
  /** What the pages up to a number stand for. */
  const reach = (number: number): Reach => ({
    rows: read === null ? null : Math.max(read, (number - start + 1) * largest),
    pages: number - start + 1,
  });
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
      if (page.skipped !== null) {
        brakes.seen(page);
        const nth = number - start + 1;
        if (tell(page, { rows: 0 }) === 'more') told = 'more';
        if (endsPassedOver(page.skipped, { told, nth, come: largest > 0 || brakes.pages < nth }))
          return { end: passedOver };
        const before = read;
        // What the API says of the whole counts its rows too; how many a page has is told by one that came.
        read = read === null || largest === 0 ? null : read + largest;
        return { next: { at: 'page', page: number + 1, read: before } };
      }
      const again = brakes.seen(page);
      if (again !== null) {
        told = tell(page, reach(number - 1));
        if (!cameAgain(again, told, brakes.moved)) throw repeated();
        if (told === null && page.records >= largest)
          notices.add(
            `Behind page ${number - 1} the API answered with that page again, which was taken for the last one.`,
          );
        return { end: 'the last page came again' };
      }
      brakes.echo(page, config.page_param, number);
      const before = read;
      if (read !== null) read += page.records;
      const total = totalOf(page);
      // What comes is the measure where a server gives less than it is asked for.
      const short = page.records < (largest || (config.size ?? 0));
      largest = Math.max(largest, page.records);
      told = tell(page, reach(number));
      if (told === 'end') return { end: `"${config.has_more}" says so` };
      if (page.records === 0 && told !== 'more') return { end: 'a page without records' };
      const come = read ?? (number - start) * largest + page.records;
      if (short && told === 'all' && come === total) return { end: `all ${total} records have come` };
      return { next: { at: 'page', page: number + 1, read: before } };
    },
    // Of a place that an interrupted reading left, nothing is known yet.
    missing: (position, status) =>
      pageOf(position) > start && brakes.pages > 0 ? nothingBehind(told, status) : null,
    notices: () => [...notices],
    resume(position) {
      if (position.at === 'first') return position;
      if (position.at !== 'page') return null;
      // Whoever came that far had pages that differ: the last one may come again.
      brakes.left(null, position.page > start + 1);
      read = position.read;
      // Rows may have moved to the page before meanwhile.
      return { ...position, page: Math.max(start, position.page - 1) };
    },
  };
}
