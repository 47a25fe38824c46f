/** What finding a pagination is asked with and answers, and where in an answer it looks. */

import type { PaginationConfig } from '../../../core/rest.ts';
import type { Probe } from './page-start.ts';
import type { RawPage } from './pager.ts';

/** What looking at a first page found. */
export interface PaginationFound {
  readonly pagination: PaginationConfig;
  readonly why: string;
  /** False: there are signs of more, and no way to it was found. */
  readonly sure: boolean;
  /** False: good for this list; another one of the stream may go on in a way that this one does not show. */
  readonly proven: boolean;
}

/** What other lists of a stream have shown. Added to. */
export interface ListsSeen {
  /** Records of the longest first page: a shorter one is not full. */
  longest: number;
  /** How many lists came the same again under a parameter that was only tried. */
  readonly same: Map<string, number>;
}

/** Before any list has been seen. */
export function noListsSeen(): ListsSeen {
  return { longest: 0, same: new Map() };
}

export interface AutoOptions {
  readonly page: RawPage;
  /** Parameters that the stream sends already: a size among them is the page's. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly probe: Probe;
  /** No request may be sent to try a guess: a POST, or a page too large to compare. */
  readonly mayProbe: boolean;
  /** Null: the list is the only one of its stream. */
  readonly seen: ListsSeen | null;
}

/** Signs of more, and no way to it. */
export function unsure(why: string): PaginationFound {
  return { pagination: { type: 'none' }, why, sure: false, proven: false };
}

/** The objects around the records in which APIs say how a list goes on. */
export const roots: readonly (readonly string[])[] = [
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

/** What they call it that there is more. */
export const moreNames: readonly string[] = [
  'has_more',
  'hasMore',
  'has_next',
  'hasNext',
  'has_next_page',
  'hasNextPage',
  'more',
];
