/** Windows of time: for APIs that cap what they answer, a reading asks for one after the other. */

import { MillraceError } from '../../core/errors.ts';
import { plain } from '../sql/names.ts';
import { kindOfText, startMark } from './bounds.ts';
import { countedMs, lowerBound, type Mark, type MarkKind, markAt, markMs, type Unit } from './marks.ts';
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

/** Windows from the beginning on, or one without ends. Throws `invalid_config` for numbers that nobody says to be moments. */
export function* windowsOf(
  plan: StreamPlan,
  { lower, lowerKind, at, until }: Beginning,
): Generator<Window, void, void> {
  const since = plan.windowMs === null || lower === null ? null : sinceMs(lower, lowerKind, plan);
  if (plan.windowMs === null || since === null) {
    yield { lower, lowerKind, from: null, to: null, next: null, again: null };
    return;
  }
  const unit = countedMs(lower, plan.cursorFormat);
  for (let from = at ?? since; ; ) {
    const asked = from === since ? { lower, lowerKind } : askedFrom(from, { lowerKind, unit }, plan);
    const next = nextFrom(from, asked, plan, plan.windowMs);
    if (next >= until()) {
      yield { ...asked, from, to: until(), next: null, again: null };
      return;
    }
    yield { ...asked, from, to: next, next, again: againFrom(next, { lowerKind, unit }, plan) };
    from = next;
  }
}

/** Throws `invalid_config` for windows whose declared beginning is no moment: better than one request for all there is. */
export function assertWindows(plan: StreamPlan): void {
  const start = startMark(plan);
  if (plan.windowMs === null || start === null) return;
  if (sinceMs(start, kindOfText(start), plan) === null) throw noMoment(start);
}

/** Where the first window begins; null for texts, which only sort. */
function sinceMs(lower: Mark, kind: MarkKind, { cursorFormat }: StreamPlan): number | null {
  const ms = markMs(lower, kind, cursorFormat);
  if (ms !== null && !Number.isNaN(ms)) return ms;
  if (kind === 'text') return null;
  throw noMoment(lower);
}

function noMoment(mark: Mark): MillraceError {
  return new MillraceError(
    'invalid_config',
    `"window" slices time, and ${plain(mark, 60)}, where it begins, is no moment that could be told.`,
    {
      hint: 'Write rest.cursor_start as "2020-01-01", or, where the cursor counts time since 1970, declare rest.cursor_format as "epoch_s" or "epoch_ms". If it is no time, leave rest.window out.',
    },
  );
}

type Asked = Pick<Window, 'lowerKind'> & { readonly lower: Mark };

/** How all windows of a reading are asked for. */
interface Form extends Pick<Window, 'lowerKind'> {
  readonly unit: Unit | null;
}

/** A step before the end of the window before: some APIs leave out what is equal to an end, on both sides of it. */
function askedFrom(ms: number, { lowerKind: kind, unit }: Form, { cursorFormat: format }: StreamPlan): Asked {
  // A day that somebody declared as the beginning says nothing of how long the windows are.
  const lowerKind = kind === 'date' && format !== 'value' ? 'time' : kind;
  const mark = markAt(floorTo(stepOf(lowerKind, format), ms), lowerKind, { unit, zoned: true });
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

function againFrom(ms: number, form: Form, plan: StreamPlan): number {
  const { lower, lowerKind } = askedFrom(ms, form, plan);
  const exact = /^(value|iso|epoch_s|epoch_ms)$/.test(plan.cursorFormat);
  return (markMs(lower, lowerKind, plan.cursorFormat) ?? ms) - (exact ? 0 : zonesMs);
}
