import type { JsonRecord } from './infer.ts';
import { type Kind, kindOf, widen } from './kinds.ts';

/** Fields whose column has to give up what some of their values are: a number beside texts lands as a text. */
export function mixedKinds(
  records: readonly JsonRecord[],
  textual: boolean,
): readonly { readonly name: string; readonly kinds: readonly string[] }[] {
  const seen = new Map<string, Set<Kind>>();
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) {
      const kinds = seen.get(name) ?? new Set<Kind>();
      seen.set(name, kinds.add(kindOf(value, textual)));
    }
  }
  return [...seen]
    .map(([name, kinds]) => ({ name, kinds: [...kinds].filter((kind) => kind !== 'null') }))
    .filter(({ kinds }) => kinds.length > 1 && isLossy(kinds))
    .map(({ name, kinds }) => ({ name, kinds: kinds.toSorted() }));
}

/** Numbers of several widths stay numbers. */
function isLossy(kinds: readonly Kind[]): boolean {
  const landing = kinds.reduce(widen);
  return landing === 'string' || landing === 'json';
}
