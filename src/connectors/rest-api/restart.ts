/** A list from a position that an interrupted reading left, which the API may not know any more. */

import { MillraceError } from '../../core/errors.ts';
import { type ListContext, type ListEvent, type ListStart, readList } from './pages.ts';
import type { PagePosition, Pager } from './pagination/pager.ts';

export interface Restart extends Omit<ListStart, 'pager' | 'from'> {
  /** A pager that has seen nothing yet. */
  readonly newPager: () => Pager;
  /** Null: from the beginning. */
  readonly from: PagePosition | null;
  readonly notice: (sentence: string) => void;
  /** Hears at which page the reading begins; a second time when it begins anew. */
  readonly begins?: (at: PagePosition) => void;
}

/** What an API says to a cursor it has forgotten, or an address that has expired. */
const expired: ReadonlySet<string> = new Set([
  'invalid_config',
  'not_found_at_source',
  'response_invalid',
  'cursor_invalid',
]);

/** The list from a stored position, or from its beginning where the API does not know that position any more. */
export async function* restartable(
  list: ListContext,
  { newPager, from, notice, begins, ...start }: Restart,
): AsyncGenerator<ListEvent, void, void> {
  let pager = newPager();
  const resumed = from === null || from.at === 'first' ? null : pager.resume(from);
  let begun = false;
  try {
    begins?.(resumed ?? pager.first);
    for await (const event of readList(list, { ...start, pager, from: resumed ?? pager.first })) {
      begun = true;
      yield event;
    }
  } catch (error) {
    if (begun || resumed === null || !(error instanceof MillraceError) || !expired.has(error.code))
      throw error;
    notice(
      'The API did not take the position that an interrupted reading had left; the list was read from its beginning.',
    );
    pager = newPager();
    begins?.(pager.first);
    // What was asked for, or looked at, before was the answer at the position.
    yield* readList(list, { ...start, first: undefined, looked: null, pager, from: pager.first });
  } finally {
    for (const sentence of pager.notices()) notice(sentence);
  }
}
