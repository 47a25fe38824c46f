import { isRaw } from '../../core/exact-json.ts';
import type { JsonRecord } from './infer.ts';

interface Field {
  /** The fields that it stands in. */
  readonly above: readonly string[];
  readonly own: string;
  readonly name: string;
  readonly value: unknown;
}

/**
 * Nested objects as fields of their own, so many levels deep: `a_b`. What a record becomes depends on nothing but what it
 * holds, or the same record would land otherwise when it is read again.
 */
export function flattened(record: JsonRecord, depth: number): JsonRecord {
  const fields: Field[] = [];
  const walk = (object: JsonRecord, above: readonly string[], prefix: string): void => {
    for (const [own, value] of Object.entries(object)) {
      const name = prefix + own;
      if (above.length < depth && isRecord(value) && Object.keys(value).length > 0)
        walk(value, [...above, own], `${name}_`);
      else fields.push({ above, own, name, value });
    }
  };
  walk(record, [], '');
  const names = new Set(fields.map(({ name }) => name));
  const others = names.size === fields.length ? null : otherNames(fields, names);
  return Object.fromEntries(fields.map((field) => [others?.get(field) ?? field.name, field.value]));
}

/** `{"a":{"b":1},"a_b":2}`: names for all but one of the fields that have the same; none of them is anybody else's. */
function otherNames(fields: readonly Field[], names: ReadonlySet<string>): ReadonlyMap<Field, string> {
  const others = new Map<Field, string>();
  for (const [name, same] of Map.groupBy(fields, (field) => field.name)) {
    let number = 1;
    for (const field of same.toSorted(byPath).slice(1)) {
      do number += 1;
      while (names.has(`${name}_${number}`));
      others.set(field, `${name}_${number}`);
    }
  }
  return others;
}

/** What stands higher keeps its name, a field of the record itself first of all. The order in which fields come says nothing. */
function byPath(one: Field, other: Field): number {
  if (one.above.length !== other.above.length) return one.above.length - other.above.length;
  const text = ({ above, own }: Field): string => JSON.stringify([...above, own]);
  return text(one) < text(other) ? -1 : 1;
}

/** An object with fields: no list, no number of many digits. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isRaw(value);
}
