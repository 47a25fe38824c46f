import { distance } from 'fastest-levenshtein';

/**
 * The names most like `wanted`, best first, at most `limit`; empty when nothing is near enough to be what was
 * meant (more than half of its letters would have to change).
 */
export function nearest(wanted: string, known: readonly string[], limit = 3): readonly string[] {
  const target = wanted.toLowerCase();
  return known
    .map((name) => ({ name, edits: closeness(target, name.toLowerCase()) }))
    .filter(({ name, edits }) => edits <= Math.max(2, Math.floor(Math.min(name.length, target.length) / 2)))
    .sort((a, b) => a.edits - b.edits)
    .slice(0, limit)
    .map(({ name }) => name);
}

/** A name that contains the wanted one counts as one edit away: `orders` for `shop_orders`. */
function closeness(target: string, name: string): number {
  const edits = distance(target, name);
  return target.length >= 3 && (name.includes(target) || target.includes(name)) ? Math.min(edits, 1) : edits;
}

/** `Did you mean "a" or "b"?`, or what there is at all, or nothing when there is nothing. */
export function suggestion(wanted: string, known: readonly string[]): string {
  const near = nearest(wanted, known);
  if (near.length > 0) return `Did you mean ${near.map((name) => `"${name}"`).join(' or ')}?`;
  if (known.length === 0) return '';
  const shown = known.slice(0, 12).map((name) => `"${name}"`);
  return `Known: ${shown.join(', ')}${known.length > shown.length ? `, … (${known.length} in all)` : ''}.`;
}
