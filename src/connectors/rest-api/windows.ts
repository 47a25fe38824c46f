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

const dayMs = 86_400_000;
/** What is said by days is a day somewhere on earth. */
const zonesMs = 2 * dayMs;

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
    const asked = from === since ? { lower, lowerKind } : askedFrom(from, lowerKind, plan);
    const next = nextFrom(from, asked, plan, plan.windowMs);
    if (next >= until()) {
      yield { ...asked, from, to: until(), next: null, again: null };
      return;
    }
    yield { ...asked, from, to: next, next, again: againFrom(next, lowerKind, plan) };
    from = next;
  }
}

type Asked = Pick<Window, 'lowerKind'> & { readonly lower: Mark };

/** A step before the end of the window before: some APIs leave out what is equal to an end, on both sides of it. */
function askedFrom(ms: number, kind: MarkKind, { cursorFormat: format }: StreamPlan): Asked {
  // A day that somebody declared as the beginning says nothing of how long the windows are.
  const lowerKind = kind === 'date' && format !== 'value' ? 'time' : kind;
  const mark = markAt(floorTo(stepOf(lowerKind, format), ms), lowerKind, { format, zoned: true });
  return { lower: lowerBound(mark, lowerKind, { lookback: null, zoned: true, format }), lowerKind };
}

/**
 * The end of a window, whose width is that of what is asked: an API that caps it counts the step before too. Where the
 * step is as long as the window it would never go on, and one is wider.
 */
function nextFrom(
  from: number,
  { lower, lowerKind }: { readonly lower: Mark | null; readonly lowerKind: MarkKind },
  { cursorFormat }: StreamPlan,
  windowMs: number,
): number {
  const step = stepOf(lowerKind, cursorFormat);
  const asked = lower === null ? null : markMs(lower, lowerKind, cursorFormat);
  const next = floorTo(step, floorTo(step, asked ?? from) + windowMs);
  return next > from ? next : floorTo(step, from + Math.max(step, windowMs));
}

/** By what the API is asked, in ms: an end within a day would be asked for as that day, and not be its end. */
function stepOf(kind: MarkKind, format: string): number {
  const asDay = /^date$|\{(date|DD)\}/.test(format) && !/\{HH\}/.test(format);
  const byDays = asDay || (kind === 'date' && format === 'value');
  return byDays ? dayMs : 1;
}

function floorTo(step: number, ms: number): number {
  return Math.floor(ms / step) * step;
}

function againFrom(ms: number, kind: MarkKind, plan: StreamPlan): number {
  const { lower, lowerKind } = askedFrom(ms, kind, plan);
  const exact = /^(value|iso|epoch_s|epoch_ms)$/.test(plan.cursorFormat);
  return (markMs(lower, lowerKind, plan.cursorFormat) ?? ms) - (exact ? 0 : zonesMs);
}
