import { MillraceError } from '../../core/errors.ts';

/** A look-back window: a span of time, or a distance between numbers as its decimal text. */
export type Lookback =
  | { readonly kind: 'time'; readonly ms: number }
  | { readonly kind: 'number'; readonly by: string };

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `"5m"` or `500` as a window. Throws `invalid_config`. */
export function parseLookback(value: string | number): Lookback {
  if (typeof value === 'number') {
    if (Number.isFinite(value) && value >= 0) return { kind: 'number', by: decimalText(value) };
  } else {
    const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$/.exec(value);
    const unit = unitMs[match?.[2] ?? ''];
    if (match && unit !== undefined) return { kind: 'time', ms: Math.round(Number(match[1]) * unit) };
  }
  throw new MillraceError(
    'invalid_config',
    `The lookback ${JSON.stringify(value).slice(0, 60)} cannot be used.`,
    {
      hint: 'Write a duration such as "5m", "2h" or "1d" for time cursors, or a number such as 1000 for numeric ones.',
    },
  );
}

function decimalText(value: number): string {
  const text = String(value);
  return text.includes('e') ? BigInt(Math.round(value)).toString() : text;
}

/** A window in words, for the guard of a run. */
export function shownLookback(lookback: Lookback): string {
  return lookback.kind === 'time' ? `${lookback.ms / 1000} s` : lookback.by;
}
