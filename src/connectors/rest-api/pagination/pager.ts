/**
 * How the pages of one list follow each other. A pager is a state machine without I/O: a position goes into a request, what
 * came back is judged, and out comes the next position, or the end. It judges the raw page, before any filter: a page that
 * a filter made short is not the last one (airbytehq/airbyte-python-cdk#1073).
 */

import { MillraceError } from '../../../core/errors.ts';
import type { PaginationConfig, PositionPlace } from '../../../core/rest.ts';
import { createBrakes } from './brakes.ts';
import { keysetPager } from './keyset.ts';
import { cursorPager, linkHeaderPager, nextUrlPager } from './linked.ts';
import { offsetPager } from './offset.ts';
import { pagePager } from './page.ts';

/** Where a page stands. Small and plain: it is stored with the rows. */
export type PagePosition =
  | { readonly at: 'first' }
  | { readonly at: 'offset'; readonly offset: number; readonly tail: readonly string[] }
  /** `read`: rows in front of the page before, which a resumed reading begins with; null where that is not known. */
  | { readonly at: 'page'; readonly page: number; readonly read: number | null }
  | ({ readonly at: 'cursor'; readonly cursor: string } & Led)
  | ({ readonly at: 'url'; readonly url: string } & Led)
  | { readonly at: 'after'; readonly after: string };

/** What a page that comes again is told by. */
export interface Led {
  /** The fingerprint of the page that led here; null where that is not known. */
  readonly before: string | null;
  /** Pages had differed until then. */
  readonly moved: boolean;
  /** The word that leads on is that of a scroll, where the API keeps the place: nothing can be asked for twice. */
  readonly scroll: boolean;
}

/** What asking for a position adds to the request. */
export interface PageRequest {
  /** Numbers are numbers in a JSON body. */
  readonly params: Readonly<Record<string, string | number>>;
  readonly in: PositionPlace;
  /** Replaces the address and its query. */
  readonly url?: string;
}

/** One page as it came. */
export interface RawPage {
  readonly records: number;
  readonly first: unknown;
  readonly last: unknown;
  /** Of each record, in order, when the pager asked for them; null for a record without. */
  readonly keys: readonly (string | null)[];
  readonly envelope: () => unknown;
  readonly header: (name: string) => string | null;
  /** Where it came from, after redirects. */
  readonly url: URL;
  readonly fingerprint: string;
  /** All records of the page are the same. */
  readonly uniform: boolean;
  /** The status of a page that a rule of the stream passes over: that it has no records need be no end. Else null. */
  readonly skipped: number | null;
}

export type Next = { readonly next: PagePosition } | { readonly end: string };

/** A word on the end of a list that has nothing further; an error that knows more than the status does; null: neither. */
export type Missing = string | MillraceError | null;

export interface Pager {
  readonly first: PagePosition;
  /** Whether pages need the keys of their records. */
  readonly wantsKeys: boolean;
  request(position: PagePosition): PageRequest;
  /** The position after a page. Throws `pagination_loop`. */
  after(position: PagePosition, page: RawPage): Next;
  /** What an API means that answers with a status of 400 and above at a position. */
  missing(position: PagePosition, status: number): Missing;
  /** Sentences for the run. */
  notices(): readonly string[];
  /** A stored position as one to go on from: where pages can shift, a step before it. Null when it is of another kind. */
  resume(position: PagePosition): PagePosition | null;
}

export interface PagerOptions {
  readonly maxPages: number;
  /** Rows are found again by a key: pages may overlap, and what shifted is read again instead of lost. */
  readonly keyed: boolean;
  /** Where the list is asked for: addresses of next pages must not lead away from it. */
  readonly url: URL;
  /** Makes an address of the API one that may be stored. Absent: none of them can hold a credential. */
  readonly withoutCredentials?: (url: URL) => URL;
}

/** The pager of a stream. `auto` must have been decided before. */
export function createPager(config: PaginationConfig, options: PagerOptions): Pager {
  const brakes = createBrakes(
    options.maxPages,
    config.type === 'offset' || config.type === 'page' ? 'counted' : 'led',
  );
  switch (config.type) {
    case 'none':
      return singlePage();
    case 'offset':
      return offsetPager(config, brakes, options);
    case 'page':
      return pagePager(config, brakes);
    case 'cursor':
      return cursorPager(config, brakes);
    case 'link_header':
      return linkHeaderPager(brakes, options);
    case 'next_url':
      return nextUrlPager(config, brakes, options);
    case 'keyset':
      return keysetPager(config, brakes);
    case 'auto':
      throw new MillraceError('internal', 'Pagination was not decided.', { hint: 'Run `millrace doctor`.' });
    default:
      throw config satisfies never;
  }
}

function singlePage(): Pager {
  return {
    first: { at: 'first' },
    wantsKeys: false,
    request: () => ({ params: {}, in: 'query' }),
    after: () => ({ end: 'one answer holds everything' }),
    missing: () => null,
    notices: () => [],
    resume: (position) => (position.at === 'first' ? position : null),
  };
}
