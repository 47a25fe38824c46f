/** Values of a cursor column: compared, moved back, and written the way the API wants to be asked. */

import type { Value } from '../../core/types.ts';
import type { Lookback } from '../sql/lookback.ts';
import { type Kind, normalTime } from './kinds.ts';

/** A cursor value as text, in the form in which it lands. */
export type Mark = string;

export type MarkKind = 'time' | 'date' | 'number' | 'text';

/** How values of a column compare; null where they have no order. */
export function markKind(kind: Kind): MarkKind | null {
  switch (kind) {
    case 'date-time':
    case 'local date-time':
      return 'time';
    case 'date':
      return 'date';
    case 'integer':
    case 'integer64':
    case 'number':
    case 'decimal':
      return 'number';
    case 'string':
    case 'null':
      return 'text';
    case 'boolean':
    case 'json':
      return null;
    default:
      throw kind satisfies never;
  }
}

/** The mark of a landed value; null for NULL. */
export function markOf(value: Value): Mark | null {
  return value === null ? null : String(value);
}

/** Negative when the first comes before the second. */
export function compareMarks(one: Mark, other: Mark, kind: MarkKind): number {
  if (kind === 'text') return compareMoments(one, other) ?? compareTexts(one, other);
  if (kind !== 'number') return compareTexts(one, other);
  const [a, b] = [Number(one), Number(other)];
  // Doubles of long integers can be the same where the integers are not.
  if (a !== b && !(Number.isNaN(a) || Number.isNaN(b))) return a - b;
  const whole = /^-?\d+$/;
  if (!whole.test(one) || !whole.test(other)) return 0;
  const [x, y] = [BigInt(one), BigInt(other)];
  return x < y ? -1 : x > y ? 1 : 0;
}

function compareTexts(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Times that are kept as texts, because they are finer than a microsecond, in the order of time; null for other texts. */
function compareMoments(one: string, other: string): number | null {
  const [a, b] = [momentOf(one), momentOf(other)];
  if (a === null || b === null) return null;
  const digits = Math.max(a.fraction.length, b.fraction.length);
  return a.ms - b.ms || compareTexts(a.fraction.padEnd(digits, '0'), b.fraction.padEnd(digits, '0'));
}

const momentText =
  /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:Z|([+-])(\d\d)(?::?(\d\d))?)?$/;

/** The whole seconds of a time in milliseconds, and the digits behind them. */
function momentOf(text: string): { readonly ms: number; readonly fraction: string } | null {
  const match = momentText.exec(text);
  if (match === null) return null;
  const [, day, time, second = '00', fraction = '', sign, hours = '0', minutes = '0'] = match;
  const offset = (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000;
  const ms = Date.parse(`${day}T${time}:${second}Z`) - offset;
  return Number.isNaN(ms) ? null : { ms, fraction };
}

/** Milliseconds of a time mark, and of a number that counts seconds or milliseconds; null for others, NaN for no time. */
export function markMs(mark: Mark, kind: MarkKind, format: string): number | null {
  if (kind === 'time') {
    const time = normalTime(mark);
    return Date.parse(/(Z|[+-]\d\d:\d\d)$/.test(time) ? time : `${time}Z`);
  }
  if (kind === 'date') return Date.parse(`${mark}T00:00:00Z`);
  if (kind !== 'number') {
    const ms = Date.parse(mark);
    return format === 'value' || Number.isNaN(ms) ? null : ms;
  }
  const unit = countedMs(mark, format);
  return unit === null ? null : Number(mark) * unit;
}

/** A moment as a mark of that kind. `unit`: what a number counts; seconds where that is not known. */
export function markAt(
  ms: number,
  kind: MarkKind,
  { unit, zoned }: { readonly unit: Unit | null; readonly zoned: boolean },
): Mark {
  if (kind === 'number') return String(Math.floor(ms / (unit ?? 1_000)));
  const text = new Date(ms).toISOString();
  return kind === 'date' ? text.slice(0, 10) : `${text.slice(0, 23)}000${zoned ? 'Z' : ''}`;
}

/**
 * Where to ask from, so that nothing at the mark itself is missed: a step before it, since some APIs answer with what is
 * later than the value and not with what is equal, or compare in whole seconds; and the look-back window before that.
 */
export function lowerBound(
  mark: Mark,
  kind: MarkKind,
  {
    lookback,
    zoned,
    format,
  }: { readonly lookback: Lookback | null; readonly zoned: boolean; readonly format: string },
): Mark {
  switch (kind) {
    case 'time':
    case 'date': {
      const step = kind === 'date' ? 86_400_000 : 1_000;
      const ms = Date.parse(
        kind === 'date' || !zoned ? (kind === 'date' ? `${mark}T00:00:00Z` : `${mark}Z`) : mark,
      );
      if (Number.isNaN(ms)) return mark;
      const back = lookback?.kind === 'time' ? lookback.ms : 0;
      return markAt(ms - Math.max(step, back), kind, { unit: null, zoned });
    }
    case 'number': {
      const by = numberBack(lookback, countedMs(mark, format) ?? 1);
      if (/^-?\d+$/.test(mark)) return String(BigInt(mark) - BigInt(Math.max(1, Math.ceil(Number(by)))));
      return String(Number(mark) - Number(by));
    }
    case 'text':
      return mark;
    default:
      throw kind satisfies never;
  }
}

function numberBack(lookback: Lookback | null, unitMs: number): string {
  if (lookback === null) return '1';
  return lookback.kind === 'number' ? lookback.by : String(lookback.ms / unitMs);
}

/** A mark as the API wants to see it: `value`, `iso`, `date`, `epoch_s`, `epoch_ms`, or a text with those in braces. */
export function formatMark(mark: Mark, kind: MarkKind, format: string): string {
  if (!format.includes('{')) return part(format, mark, kind);
  return format.replaceAll(/\{([^{}]*)\}/g, (_, name: string) => part(name, mark, kind));
}

function part(name: string, mark: Mark, kind: MarkKind): string {
  if (name === 'value') return kind === 'time' ? shortTime(mark) : mark;
  const ms = markMs(mark, kind, 'epoch_s' === name || 'epoch_ms' === name ? name : 'iso') ?? numberMs(mark);
  if (ms === null || Number.isNaN(ms)) return mark;
  const text = new Date(ms).toISOString();
  switch (name) {
    case 'iso':
      return shortTime(text);
    case 'date':
      return text.slice(0, 10);
    case 'epoch_s':
      return String(Math.floor(ms / 1_000));
    case 'epoch_ms':
      return String(ms);
    case 'YYYY':
      return text.slice(0, 4);
    case 'MM':
      return text.slice(5, 7);
    case 'DD':
      return text.slice(8, 10);
    case 'HH':
      return text.slice(11, 13);
    case 'mm':
      return text.slice(14, 16);
    case 'ss':
      return text.slice(17, 19);
    case 'SSS':
      return text.slice(20, 23);
    default:
      return mark;
  }
}

/** How many milliseconds a number counts by one. */
export type Unit = 1 | 1_000;

/**
 * How many milliseconds a number counts by one: as the format says; else by its size, where that can only be a moment
 * between 1973 and 5138. Null for other numbers.
 */
export function countedMs(mark: Mark | null, format: string): Unit | null {
  if (format.includes('epoch_ms')) return 1;
  if (format.includes('epoch_s')) return 1_000;
  const value = mark === null ? Number.NaN : Number(mark);
  if (value > 1e8 && value <= 1e11) return 1_000;
  return value > 1e11 && value <= 1e14 ? 1 : null;
}

/** A bare number as a moment: milliseconds when it is too large for seconds of this millennium. */
export function numberMs(mark: Mark): number | null {
  const value = Number(mark);
  if (!Number.isFinite(value)) return null;
  return value > 1e11 ? value : value * 1_000;
}

/** Without a fraction that says nothing: many APIs know whole seconds only. */
function shortTime(mark: string): string {
  return mark.replace(/\.(\d*?)0+(?=Z|$)/, (_, digits: string) => (digits === '' ? '' : `.${digits}`));
}
