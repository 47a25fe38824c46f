/** Names and texts of a source in sentences and stream names of ours. */

/**
 * Text from a source as it may stand in a sentence of ours: no control or bidirectional characters, on one line,
 * at most `max` characters.
 */
export function plain(text: string, max: number): string {
  const clean = text
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .trim()
    .replace(/[.\s]+$/, '');
  return clean.length > max ? `${clean.slice(0, max - 1).trimEnd()}…` : clean;
}

/** A valid stream name made from a table's: letters, digits and `_`, at most 63, not in `taken`. */
export function streamName(table: string, taken: ReadonlySet<string> = new Set()): string {
  const base =
    table
      .normalize('NFKD')
      .replaceAll(/\p{M}+/gu, '')
      .toLowerCase()
      .replaceAll(/[^a-z0-9_]+/g, '_')
      .replace(/^[^a-z]+/, '')
      .replace(/_+$/, '')
      .slice(0, 63) || 'stream';
  if (!taken.has(base)) return base;
  for (let n = 2; ; n++) {
    const name = `${base.slice(0, 62 - String(n).length)}_${n}`;
    if (!taken.has(name)) return name;
  }
}
