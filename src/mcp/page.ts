import type { Page } from '../core/model.ts';
import { clean } from './clean.ts';
import { replyCharsMax } from './reply.ts';
import { chars } from './shorten.ts';

/** Beside the items a reply holds only the cursor and a little more. */
const itemChars = replyCharsMax - 2_000;
const turnsMax = 4;

/**
 * A page that fits into one reply. Where the wanted one does not, a shorter one is asked for: cutting it would lose
 * the place at which the next page begins. A single item that is too large is left to be cut.
 */
export async function fittingPage<T>(
  limit: number,
  ask: (limit: number) => Promise<Page<T>>,
): Promise<Page<T>> {
  let page = await ask(limit);
  for (let turn = 0; turn < turnsMax && page.items.length > 1; turn += 1) {
    const fitting = countThatFits(page.items);
    if (fitting === page.items.length) return page;
    page = await ask(fitting);
  }
  return page;
}

/** How every list says whether there is more. */
export function pageMarks(page: Page<unknown>): {
  readonly has_more: boolean;
  readonly next_cursor?: string;
} {
  return page.next_cursor === undefined
    ? { has_more: false }
    : { has_more: true, next_cursor: page.next_cursor };
}

/** At least one: a page has to move on. */
function countThatFits(items: readonly unknown[]): number {
  let sum = 0;
  const over = items.findIndex((item) => {
    sum += chars(clean(item)) + 1;
    return sum > itemChars;
  });
  return over === -1 ? items.length : Math.max(1, over);
}
