/** What an incremental reading asks the API for: from where, and up to where. */

import { countedMs, formatMark, type Mark, type MarkKind, markAt, markMs, numberMs } from './marks.ts';
import type { StreamPlan } from './plan.ts';

/** Seconds since 1970 have more digits. */
const YEAR = /^\d{4}$/;

/** The beginning that was declared, as a mark; null without one. */
export function startMark({ cursorStart, cursorFormat }: StreamPlan): Mark | null {
  if (cursorStart === null) return null;
  const start = String(cursorStart);
  // What is sent as it was written may be a number that counts something else.
  return YEAR.test(start) && !/^value$|\{value\}/.test(cursorFormat) ? `${start}-01-01` : start;
}

/**
 * A declared beginning in the form of the column's own values, to be compared with them: a person writes a time in any
 * zone, or a day. Null where it cannot be compared, and leaves nothing out.
 */
export function startAs(
  declared: Mark,
  kind: MarkKind,
  { format, zoned }: { readonly format: string; readonly zoned: boolean },
): Mark | null {
  const isYear = YEAR.test(declared) && (kind === 'time' || kind === 'date');
  const start = isYear ? `${declared}-01-01` : declared;
  const like = kindOfText(start);
  if (kind === 'text' || (kind === 'number' && like === 'number')) return start;
  const unit = countedMs(null, format);
  if (kind === 'number' && unit === null) return null;
  const ms = markMs(start, like, format) ?? (like === 'number' ? numberMs(start) : null);
  return ms === null || Number.isNaN(ms) ? null : markAt(ms, kind, { unit, zoned });
}

/**
 * The parameters for a beginning and an end. A mark that came from a person is written in the form they wrote it in, unless
 * the format asks for another. `to` in milliseconds.
 */
export function boundParams(
  plan: StreamPlan,
  { from, to, kind }: { readonly from: Mark | null; readonly to: number | null; readonly kind?: MarkKind },
): Readonly<Record<string, string>> {
  const { cursorParam, cursorEndParam, cursorFormat } = plan;
  const params: Record<string, string> = {};
  if (cursorParam !== null && from !== null)
    params[cursorParam] = formatMark(from, kind ?? kindOfText(from), cursorFormat);
  if (cursorEndParam !== null && to !== null) {
    const like = kind ?? kindOfText(from ?? '2000-01-01T00:00:00Z');
    const unit = countedMs(from, cursorFormat);
    // Numbers that nobody says to be moments, and that are later than the end, are none.
    const open =
      like === 'number' &&
      /^value$|\{value\}/.test(cursorFormat) &&
      (unit === null || Number(from) * unit > to);
    // Text that only sorts has no end that could be computed.
    if (like !== 'text' && !open) {
      // A day is precise enough for an end only where the API is sent days.
      const as = like === 'date' && cursorFormat !== 'value' ? 'time' : like;
      params[cursorEndParam] = formatMark(markAt(to, as, { unit, zoned: true }), as, cursorFormat);
    }
  }
  return params;
}

/** What a declared beginning is. */
export function kindOfText(text: Mark): MarkKind {
  if (/^-?\d+(\.\d+)?$/.test(text)) return 'number';
  if (/^\d{4}-\d\d-\d\d$/.test(text)) return 'date';
  return Number.isNaN(Date.parse(text)) ? 'text' : 'time';
}
