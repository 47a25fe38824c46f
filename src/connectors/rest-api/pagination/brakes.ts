/**
 * What ends a reading that would never end: APIs ignore parameters they do not know, and page one comes for ever
 * (amp-labs/connectors#3387). Three brakes: a page seen before, a position that the answer contradicts, a ceiling.
 */

import { MillraceError } from '../../../core/errors.ts';
import { atPath } from '../jmespath.ts';
import type { RawPage } from './pager.ts';
import { type Told, wholeNumber } from './totals.ts';

export interface Brakes {
  /** Counts a page. Says when the one before it had the same records, or an earlier one; throws at the ceiling. */
  seen(page: RawPage): 'before' | 'earlier' | null;
  /** Forgets what was seen: pages are asked for again on purpose. */
  forget(): void;
  /**
   * Throws when a position comes again that has been asked for. With the page that leads there: only when it has no rows of
   * its own, for one word can lead to other rows each time, as that of a scroll does.
   */
  asked(position: string, page?: RawPage): void;
  /** Goes on from what an interrupted reading left: the page before, or no more than that pages had differed. */
  left(before: string | null, moved: boolean): void;
  /** The last page with records. */
  readonly last: string | null;
  /** Pages have differed: the API follows what it is asked for. */
  readonly moved: boolean;
  /** Throws when the answer says that it is another page than was asked for. `param`: the parameter's own name. */
  echo(page: RawPage, param: string, wanted: number): void;
  /** Pages so far. */
  readonly pages: number;
}

/**
 * So many pages without a record, one after the other, are no list any more. A cursor leads through what a filter of the
 * API leaves out; where pages are counted, the next one is only a guess.
 */
const emptyMax = { led: 1_000, counted: 100 } as const;
/** Where answers repeat what was asked. */
const echoPlaces: readonly (readonly string[])[] = [
  [],
  ['meta'],
  ['pagination'],
  ['paging'],
  ['page'],
  ['meta', 'pagination'],
  ['meta', 'page'],
];

/** The brakes of one way through a list: `led` from page to page by the API, or `counted` by the pager. */
export function createBrakes(maxPages: number, way: keyof typeof emptyMax): Brakes {
  const fingerprints = new Set<string>();
  const positions = new Set<string>();
  let last: string | null = null;
  let moved = false;
  let pages = 0;
  let empty = 0;
  /** Which echo was right on the first page: only that one can be wrong on a later one. */
  let trusted: readonly string[] | null | undefined;
  return {
    get pages() {
      return pages;
    },
    get last() {
      return last;
    },
    get moved() {
      return moved;
    },
    left(before, differed) {
      last = before;
      moved = differed;
    },
    seen(page) {
      pages += 1;
      empty = page.records === 0 ? empty + 1 : 0;
      if (pages > maxPages) {
        throw loop(
          `The list did not end after ${maxPages} pages`,
          'If it really is that long, set "rest": {"max_pages": …}, or ask for larger pages.',
        );
      }
      if (empty > emptyMax[way])
        throw loop(`${emptyMax[way]} pages without a record came one after the other`, hints.end);
      if (page.records === 0) return null;
      const before = last;
      last = page.fingerprint;
      // Pages of records that are all alike look alike: that says nothing.
      const again = saysNothing(page)
        ? null
        : page.fingerprint === before
          ? 'before'
          : fingerprints.has(page.fingerprint)
            ? 'earlier'
            : null;
      fingerprints.add(page.fingerprint);
      moved ||= again === null && before !== null && before !== page.fingerprint;
      return again;
    },
    forget() {
      fingerprints.clear();
      last = null;
    },
    asked(position, page) {
      if (positions.has(position) && (page === undefined || saysNothing(page)))
        throw loop('The API sends to a page that was read already', hints.next);
      positions.add(position);
    },
    echo(page, param, wanted) {
      if (trusted === null) return;
      const envelope = page.envelope();
      trusted ??=
        echoPlaces.map((place) => [...place, param]).find((place) => echoed(envelope, place) !== null) ??
        null;
      if (trusted === null) return;
      const said = echoed(envelope, trusted);
      if (said === null || said === wanted) return;
      if (pages <= 1) {
        // It counts otherwise, or means something else.
        trusted = null;
        return;
      }
      throw loop(
        `"${param}" was ${wanted} and the answer says ${said}: the API does not follow it`,
        hints.param,
      );
    },
  };
}

const hints = {
  end: 'If the list ends where they begin, set "has_more" in "pagination" to where the records stand, e.g. "data": a page without them is then the last one. A rule of "responses" ends it with "stop", where "skip" goes on.',
  next: 'Look at "pagination" with preview_stream: "next" may lead to the present page instead of the next one.',
  param:
    'The parameter may have another name, or the API wants another kind of "pagination": its documentation says which.',
} as const;

/** Whether a page tells nothing of where the reading is. */
function saysNothing(page: RawPage): boolean {
  return page.records === 0 || (page.uniform && page.records > 1);
}

/**
 * Whether a page that came again is the last one. Behind it an API may answer with it once more, or send from it to itself.
 * That pages differed until then, or that as many have come as it says there are, tells it from an API which does not follow
 * what it is asked for; that it says there is more contradicts it: then rows would be missing without a word.
 */
export function cameAgain(again: 'before' | 'earlier', told: Told, moved: boolean): boolean {
  return again === 'before' && told !== 'more' && (moved || told === 'all');
}

/** The same records came again. */
export function repeated(): MillraceError {
  return loop('The same page came twice', hints.param);
}

function loop(message: string, hint: string): MillraceError {
  return new MillraceError('pagination_loop', `${message}.`, { hint });
}

function echoed(envelope: unknown, place: readonly string[]): number | null {
  return wholeNumber(atPath(envelope, place));
}
