/** A reply that fits, and what had to be left out of it: empty when nothing was. */
export interface Shortened {
  readonly value: Readonly<Record<string, unknown>>;
  readonly left: readonly string[];
}

/** First the longest texts are cut, then lists; texts harder only when lists of one are still too much. */
const textChars = [2_000, 200] as const;

/**
 * A JSON object cut to at most `charsMax` characters of JSON. Every list keeps its first n items, with the greatest
 * n that fits, so that lists that belong together (columns and the cells of each row) stay in step.
 */
export function shorten(value: Readonly<Record<string, unknown>>, charsMax: number): Shortened {
  if (chars(value) <= charsMax) return { value, left: [] };
  for (const text of textChars) {
    const cutTexts = cut(value, { text, items: Number.MAX_SAFE_INTEGER });
    if (chars(cutTexts.value) <= charsMax) return cutTexts;
    const items = greatest(longest(value), (n) => chars(cut(value, { text, items: n }).value) <= charsMax);
    if (items > 0) return cut(value, { text, items });
  }
  return withoutLargest(value, charsMax);
}

/** The greatest n in 1…max for which it fits, fitting being monotone; 0 when none does. */
function greatest(max: number, fits: (n: number) => boolean): number {
  let low = 0;
  let high = max;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function cut(
  value: Readonly<Record<string, unknown>>,
  caps: { readonly text: number; readonly items: number },
): Shortened {
  const lengths = new Map<string, number>();
  const note = (path: string, length: number): void => {
    lengths.set(path, Math.max(length, lengths.get(path) ?? 0));
  };
  const walk = (at: unknown, path: string): unknown => {
    if (typeof at === 'string') {
      if (at.length <= caps.text) return at;
      note(`${path}: text cut to ${caps.text} of`, at.length);
      return `${at.slice(0, caps.text)}…`;
    }
    if (Array.isArray(at)) {
      if (at.length > caps.items) note(`${path}: ${caps.items} of`, at.length);
      return at.slice(0, caps.items).map((item) => walk(item, `${path}[]`));
    }
    if (typeof at !== 'object' || at === null) return at;
    return Object.fromEntries(
      Object.entries(at).map(([key, inner]) => [key, walk(inner, path === '' ? key : `${path}.${key}`)]),
    );
  };
  const shown = walk(value, '') as Readonly<Record<string, unknown>>;
  return { value: shown, left: [...lengths].map(([what, length]) => `${what} ${length}`) };
}

/** For objects that are wide and not long: whole fields go, the largest first. */
function withoutLargest(value: Readonly<Record<string, unknown>>, charsMax: number): Shortened {
  const fields = Object.entries(value).sort(([, a], [, b]) => chars(a) - chars(b));
  const left: string[] = [];
  while (fields.length > 0 && chars(Object.fromEntries(fields)) > charsMax)
    left.push(`${fields.pop()?.[0]}: left out`);
  return { value: Object.fromEntries(fields), left };
}

function longest(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const own = Array.isArray(value) ? value.length : 0;
  return Object.values(value).reduce<number>((most, inner) => Math.max(most, longest(inner)), own);
}

/** How many characters a value takes as JSON. */
export function chars(value: unknown): number {
  return JSON.stringify(value)?.length ?? 0;
}
