/** Windows of time: for APIs that cap what they answer, a reading asks for one after the other. */

import { lowerBound, type Mark, type MarkKind, markAt, markMs } from './marks.ts';
import type { StreamPlan } from './plan.ts';

export interface Window {
  readonly lower: Mark | null;
  readonly lowerKind: MarkKind;
  /** Its ends in ms; null without windows. */
  readonly from: number | null;
  readonly to: number | null;
  /** Where the next one begins; null for the last. */
  readonly next: number | null;
  /** From here on, in ms, the next one may answer rows of this one again; null for the last. */
  readonly again: number | null;
}

export interface Beginning {
  /** What the first is asked from. */
  readonly lower: Mark | null;
  readonly lowerKind: MarkKind;
  /** Where an interrupted reading stands, in ms. */
  readonly at: number | null;
  /** Where the last ends; may move while windows are read. */
  readonly until: () => number;
}

/** What is said by days is a day somewhere on earth. */
const zonesMs = 2 * 86_400_000;

/** Windows from the beginning on, or one without ends. */
export function* windowsOf(
  plan: StreamPlan,
  { lower, lowerKind, at, until }: Beginning,
): Generator<Window, void, void> {
  const since = lower === null ? null : markMs(lower, lowerKind, plan.cursorFormat);
  if (plan.windowMs === null || since === null || Number.isNaN(since)) {
    yield { lower, lowerKind, from: null, to: null, next: null, again: null };
    return;
  }
  for (let from = at ?? since; ; ) {
    const next = from + plan.windowMs;
    const last = next >= until();
    const asked = from === since ? { lower, lowerKind } : askedFrom(from, lowerKind, plan);
    if (last) {
      yield { ...asked, from, to: until(), next: null, again: null };
      return;
    }
    yield { ...asked, from, to: next, next, again: againFrom(next, lowerKind, plan) };
    from = next;
  }
}

/** A step before the end of the window before: some APIs leave out what is equal to an end, on both sides of it. */
function askedFrom(
  ms: number,
  kind: MarkKind,
  { cursorFormat: format }: StreamPlan,
): { readonly lower: Mark; readonly lowerKind: MarkKind } {
  // A day that somebody declared as the beginning says nothing of how long the windows are.
  const lowerKind = kind === 'date' && format !== 'value' ? 'time' : kind;
  const mark = markAt(ms, lowerKind, { format, zoned: true });
  return { lower: lowerBound(mark, lowerKind, { lookback: null, zoned: true, format }), lowerKind };
}

function againFrom(ms: number, kind: MarkKind, plan: StreamPlan): number {
  const { lower, lowerKind } = askedFrom(ms, kind, plan);
  const exact = /^(value|iso|epoch_s|epoch_ms)$/.test(plan.cursorFormat);
  return (markMs(lower, lowerKind, plan.cursorFormat) ?? ms) - (exact ? 0 : zonesMs);
}
