import type { PaginationConfig } from '../../../core/rest.ts';
import { type Brakes, repeated } from './brakes.ts';
import type { Missing, Next, PagePosition, PageRequest, Pager, PagerOptions, RawPage } from './pager.ts';
import { endsPassedOver, nothingBehind, passedOver, type Told, teller, totalOf } from './totals.ts';

type OffsetConfig = Extract<PaginationConfig, { readonly type: 'offset' }>;
type OffsetPosition = Extract<PagePosition, { readonly at: 'offset' }>;

/** Keys of a page's end that are stored: one of them is enough to find the place again. */
const tailStored = 8;
/** So many steps back without getting further: then the order changes with every request, and no place can be found. */
const backMax = 20;

/**
 * `?limit=100&offset=200`. Rows that are deleted in front of the place of reading pull the rest towards the beginning, and
 * what stood at the edge of the page is never answered. So, where rows have keys, each page begins one row early: when it
 * holds a row that was read, nothing can be missing before it; when it does not, the reading goes back until it meets
 * rows it knows. Rows that come twice are merged by their key.
 */
export function offsetPager(config: OffsetConfig, brakes: Brakes, { keyed }: PagerOptions): Pager {
  return new OffsetPager(config, brakes, keyed);
}

class OffsetPager implements Pager {
  readonly first: PagePosition = { at: 'first' };
  readonly wantsKeys: boolean;
  readonly #config: OffsetConfig;
  readonly #brakes: Brakes;
  readonly #tell: ReturnType<typeof teller>;
  readonly #notices = new Set<string>();
  #overlaps: boolean;
  /** Keys of the rows read last; null: nothing is known of them. */
  #known: ReadonlySet<string> | null = null;
  #before: RawPage | null = null;
  #beforeFrom = 0;
  #largest = 0;
  #furthest = 0;
  #backs = 0;
  /** Whether the API takes any offset: unknown, being asked, or known. */
  #anyOffset: boolean | 'asked' | null = null;
  #told: Told = null;

  constructor(config: OffsetConfig, brakes: Brakes, keyed: boolean) {
    this.#config = config;
    this.#brakes = brakes;
    this.#tell = teller(config.has_more);
    this.#overlaps = keyed;
    this.wantsKeys = keyed;
  }

  request(position: PagePosition): PageRequest {
    const { limit_param, limit, offset_param } = this.#config;
    return {
      params: { [limit_param]: limit, [offset_param]: this.#asked(position) },
      in: this.#config.in ?? 'query',
    };
  }

  after(position: PagePosition, page: RawPage): Next {
    const again = this.#brakes.seen(page) !== null;
    if (page.skipped !== null) return this.#skip(this.#asked(position), page, page.skipped);
    this.#largest = Math.max(this.#largest, page.records);
    if (this.#anyOffset === 'asked') return this.#learnt(position, page);
    const from = this.#asked(position);
    const overlapping = this.#isEarly(position);
    const isBefore = again && this.#before?.fingerprint === page.fingerprint;
    // Where offsets are taken in whole pages only, the same page stands for no further rows.
    this.#told = this.#tell(page, { rows: (isBefore ? this.#beforeFrom : from) + this.#largest });
    if (again) {
      if (overlapping && isBefore) return this.#ask(position);
      if (isBefore && (page.records < this.#largest || this.#told === 'all')) {
        if (this.#told !== 'more') return { end: 'the last page came again' };
        // What a filter of the API left of the one is what it left of the other, as long as both stand for some row.
        const behind = this.#beforeFrom + this.#largest;
        if (from < behind) return offsetNext(behind);
      }
      if (!overlapping) throw repeated();
    }
    this.#brakes.echo(page, this.#config.offset_param, from);
    // Nothing has moved towards the beginning where there is still more behind.
    if (page.records === 0 && this.#told === 'more') return this.#passOver(from);
    if (overlapping && position.at === 'offset') {
      const familiar = this.#known ?? new Set(position.tail);
      const last = page.keys.findLastIndex((key) => key !== null && familiar.has(key));
      if (last === -1 && from > 0) return this.#back(position, page, familiar);
      if (from > 0) this.#anyOffset = true;
      if (last === page.records - 1 && page.records < this.#largest)
        return this.#told === 'more' ? this.#passOver(from) : { end: 'a page without further records' };
    }
    return this.#onwards(from, page);
  }

  missing(position: PagePosition, status: number): Missing {
    // Of a place that an interrupted reading left, nothing is known yet.
    return offsetOf(position) > 0 && this.#brakes.pages > 0 ? nothingBehind(this.#told, status) : null;
  }

  notices(): readonly string[] {
    return [...this.#notices];
  }

  resume(position: PagePosition): PagePosition | null {
    if (position.at === 'first') return position;
    if (position.at !== 'offset') return null;
    if (!this.#overlaps || position.tail.length > 0) return position;
    return { ...position, offset: Math.max(0, position.offset - this.#config.limit) };
  }

  #onwards(from: number, page: RawPage): Next {
    if (page.records === 0) return { end: 'a page without records' };
    if (this.#told === 'end') return { end: `"${this.#config.has_more}" says so` };
    // In whole pages, what would follow a short one is that page again.
    if (this.#anyOffset === false && page.records < this.#largest)
      return this.#told === 'more' ? this.#passOver(from) : { end: 'a short page' };
    const total = totalOf(page);
    // What comes is the measure where a server gives less than it is asked for.
    const short = page.records < (this.#before === null ? this.#config.limit : this.#largest);
    if (short && this.#told === 'all' && from + page.records === total)
      return { end: `all ${total} records have come` };
    return this.#on(from + page.records, page);
  }

  #on(offset: number, page: RawPage): Next {
    if (offset > this.#furthest) this.#backs = 0;
    this.#furthest = Math.max(this.#furthest, offset);
    const keys = page.keys.filter((key) => key !== null);
    this.#known = keys.length > 0 ? new Set(keys) : null;
    this.#before = page;
    this.#beforeFrom = offset - page.records;
    return { next: { at: 'offset', offset, tail: keys.slice(-tailStored) } };
  }

  /** Back until rows are met that were read: nothing between them and here can be missing then. */
  #back(position: OffsetPosition, page: RawPage, familiar: ReadonlySet<string>): Next {
    this.#brakes.forget();
    this.#backs += 1;
    if (this.#backs > backMax) {
      this.#overlaps = false;
      this.#notices.add(
        'The API answers in another order each time: rows can be missed. Ask it to sort by something that stays, with "rest": {"params": …}.',
      );
      return this.#onwards(position.offset - 1, page);
    }
    this.#notices.add(
      'Rows moved between pages while they were read; the reading went back, and none is missing that stayed.',
    );
    this.#known = familiar;
    const offset = Math.max(0, position.offset - Math.max(page.records, this.#config.limit));
    return { next: { at: 'offset', offset, tail: position.tail } };
  }

  /**
   * The page before came again, one row early. Either so many rows were added in front of it, or the API takes offsets in
   * whole pages only: the page that begins with the second row tells, and the present position is kept until then.
   */
  #ask(position: PagePosition): Next {
    this.#anyOffset = 'asked';
    return { next: position };
  }

  #learnt(position: PagePosition, page: RawPage): Next {
    const same = this.#before !== null && page.fingerprint === this.#before.fingerprint;
    // One row at a time leaves no room to overlap.
    const single = this.#largest <= 1;
    // That says nothing of the size of pages where there is but one row: without overlap, rows that come now would be missed.
    if (single && page.records === 0) return { end: 'a page without records' };
    this.#anyOffset = single ? null : !same;
    this.#brakes.forget();
    if (!same && !single) {
      const offset = offsetOf(position) - 1 + (this.#before?.records ?? 0);
      return { next: { at: 'offset', offset, tail: position.at === 'offset' ? position.tail : [] } };
    }
    this.#overlaps = false;
    if (!single) {
      this.#notices.add(
        'The API takes offsets in steps of its page size only: rows that move between pages while they are read can be missed.',
      );
    }
    return { next: position };
  }

  #skip(from: number, page: RawPage, status: number): Next {
    const nth = from / this.#config.limit + 1;
    if (this.#tell(page, { rows: 0 }) === 'more') this.#told = 'more';
    const come = this.#largest > 0 || this.#brakes.pages < nth;
    return endsPassedOver(status, { told: this.#told, nth, come })
      ? { end: passedOver }
      : this.#passOver(from);
  }

  /** Behind a page that says nothing of its rows. How many an API gives at most is told by those that came. */
  #passOver(from: number): Next {
    this.#known = null;
    return offsetNext(from + (this.#largest || this.#config.limit));
  }

  #isEarly(position: PagePosition): boolean {
    if (!this.#overlaps || position.at !== 'offset' || position.offset === 0) return false;
    return this.#known !== null || position.tail.length > 0;
  }

  #asked(position: PagePosition): number {
    if (this.#anyOffset === 'asked') return 1;
    return offsetOf(position) - (this.#isEarly(position) ? 1 : 0);
  }
}

/** An offset that nothing is known in front of. */
function offsetNext(offset: number): Next {
  return { next: { at: 'offset', offset, tail: [] } };
}

function offsetOf(position: PagePosition): number {
  return position.at === 'offset' ? position.offset : 0;
}
