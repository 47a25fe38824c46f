/** The highest cursor value of a reading, and the order in which values came. */

import { compareMarks, type Mark, type MarkKind } from './marks.ts';

/** Values so far: none or all alike, growing, falling, or neither. */
export type SeenOrder = 'same' | 'asc' | 'desc' | 'none';

/** What is stored of it, so that a reading that was cut off goes on with what it knew. */
export interface SeenMarks {
  readonly high: Mark | null;
  readonly last: Mark | null;
  readonly order: SeenOrder;
  /** Whether rows that came one after the other had the same value. */
  readonly tied: boolean;
  /** The lowest value that a page ended at, of those that are not below the highest of the reading before. */
  readonly edge: Mark | null;
}

export const nothingSeen: SeenMarks = { high: null, last: null, order: 'same', tied: false, edge: null };

/** Notes one more value. */
export function seeMark(seen: SeenMarks, mark: Mark, kind: MarkKind): SeenMarks {
  const step = seen.last === null ? 0 : compareMarks(mark, seen.last, kind);
  // Where values come in their order, as most do, the last is the highest: one comparison a row, not two.
  const above = seen.last === seen.high ? step : compareMarks(mark, seen.high ?? mark, kind);
  const high = seen.high === null || above > 0 ? mark : seen.high;
  return {
    high,
    last: mark,
    order: step === 0 ? seen.order : together(seen.order, step > 0 ? 'asc' : 'desc'),
    tied: seen.tied || (step === 0 && seen.last !== null),
    edge: seen.edge,
  };
}

/** Notes that a page ended, and others follow. */
export function endPage(seen: SeenMarks, kind: MarkKind, highBefore: Mark | null): SeenMarks {
  const { last, edge } = seen;
  const isLower = (mark: Mark | null): boolean =>
    last !== null && mark !== null && compareMarks(last, mark, kind) < 0;
  return last === null || isLower(highBefore) || (edge !== null && !isLower(edge))
    ? seen
    : { ...seen, edge: last };
}

function together(before: SeenOrder, now: 'asc' | 'desc'): SeenOrder {
  return before === 'same' || before === now ? now : 'none';
}

export interface Settling {
  readonly seen: SeenMarks;
  readonly kind: MarkKind;
  /** The mark so far. */
  readonly mark: Mark | null;
  /** The highest value of the complete reading before this one. */
  readonly highBefore: Mark | null;
  /** The stream declares that the API sorts by the cursor; that values came in order by themselves says nothing of the next ones. */
  readonly sorted: boolean;
  /** The latest moment that nothing can appear behind any more, as a mark; null where the cursor is no time. */
  readonly latest: Mark | null;
}

/**
 * The mark that holds once all that was asked for has landed; never before the present one.
 *
 * A row that changes while pages are read, behind the place of reading, is not seen, and the highest value seen may be
 * higher than its new one: a mark there would lose it. A time is safe up to shortly before the reading began. A number is
 * safe where the API sorts by it, since what changes moves to an end that is still to come, or that the mark does not
 * pass. Where rows share a value that end may be behind the place of reading: the value was the last one there was, and a
 * page had ended among its rows; what came after it came later. So the mark then passes no value that a page ended at, but
 * for those that were passed by the reading before: they are below what changes have. Elsewhere the highest value of the reading before is: whatever changed since has a higher one. Values that came
 * in order by chance are no proof: a row that was passed already may have changed before the last one was inserted.
 */
export function settledMark({ seen, kind, mark, highBefore, latest, sorted }: Settling): Mark | null {
  const later = (one: Mark | null, other: Mark | null): Mark | null =>
    one === null || (other !== null && compareMarks(other, one, kind) > 0) ? other : one;
  if (seen.high === null) return mark;
  if (latest !== null) {
    const safe = compareMarks(latest, seen.high, kind) < 0 ? latest : seen.high;
    return later(mark, safe);
  }
  if (!sorted || seen.order === 'none') return later(mark, highBefore);
  return later(mark, seen.tied && seen.order !== 'desc' ? (seen.edge ?? seen.high) : seen.high);
}
