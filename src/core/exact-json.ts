/**
 * JSON without loss. `JSON.parse` rounds integers beyond 2^53 and decimals of many digits; the reviver of newer engines
 * hands out a number's own text, at several times the cost. So a text is looked at first, and only one that holds a
 * number which could be rounded takes the slow way.
 */

/** A number that a double does not hold: its own text. What `JSON.rawJSON` makes, so that `JSON.stringify` writes it as it came. */
export interface RawNumber {
  readonly rawJSON: string;
}

interface ExactJson {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): RawNumber;
  isRawJSON(value: unknown): value is RawNumber;
}

/** ECMAScript's "JSON.parse source text access", in Node since 21; TypeScript's library does not name it yet. */
const json = JSON as unknown as ExactJson;

/** What has fewer characters than this, and no exponent, a double holds as it is written. */
export const doubtfulLength = 16;

/**
 * Numbers that may not survive: sixteen characters of digits and point, or an exponent. A number stands behind one of
 * these characters or at the beginning; a string that looks like it only costs time.
 */
const mayRound = /(?:^|[:,[\s])-?(?:[\d.]{16}|\d[\d.]*[eE])/;

/**
 * The value of a JSON text; numbers that a double would change are `RawNumber`. Throws a SyntaxError. `doubtful`: whether
 * such a number may be in it, where somebody has looked already.
 */
export function parseExact(text: string, doubtful = mayRound.test(text)): unknown {
  return doubtful ? json.parse(text, keepNumber) : JSON.parse(text);
}

/** True for a number that is kept as its text. */
export function isRaw(value: unknown): value is RawNumber {
  return typeof value === 'object' && value !== null && json.isRawJSON(value);
}

function keepNumber(_: string, value: unknown, { source }: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || source === undefined) return value;
  const written = String(value);
  if (written === source)
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? json.rawJSON(source) : value;
  // All integers beyond 2^53, so that a column of long ids is not now a double and now a text.
  if (/^-?\d+$/.test(source)) return Number.isSafeInteger(value) ? value : json.rawJSON(source);
  return Number.isFinite(value) && sameDecimal(source, written) ? value : json.rawJSON(source);
}

/** Whether two texts are the same decimal number. */
function sameDecimal(one: string, other: string): boolean {
  const a = decimalParts(one);
  const b = decimalParts(other);
  return (
    a.digits === b.digits && (a.digits === '' || (a.exponent === b.exponent && a.negative === b.negative))
  );
}

/** 0.digits × 10^exponent, without zeros at either end. */
function decimalParts(text: string): {
  readonly negative: boolean;
  readonly digits: string;
  readonly exponent: number;
} {
  const match = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text);
  const whole = match?.[2] ?? '';
  const all = whole + (match?.[3] ?? '');
  const stripped = all.replace(/^0+/, '');
  const exponent = whole.length - (all.length - stripped.length) + Number(match?.[4] ?? 0);
  return { negative: match?.[1] === '-', digits: stripped.replace(/0+$/, ''), exponent };
}
