/** The records of a page: found by the plan, and brought into the shape of rows. */

import { isRaw } from '../../core/exact-json.ts';
import { flattened, isRecord } from './flatten.ts';
import { csvPage } from './formats/csv.ts';
import type { KnownFormat } from './formats/detect.ts';
import { jsonPage } from './formats/json.ts';
import { ndjsonPage } from './formats/ndjson.ts';
import type { PageParser } from './formats/page.ts';
import { type Pick, wholePage } from './formats/whole.ts';
import { xmlPage } from './formats/xml.ts';
import type { JsonRecord } from './infer.ts';
import { atPath, expression, listIn, onlyFilters, plainPath } from './jmespath.ts';
import type { StreamPlan } from './plan.ts';
import type { Rules } from './rules.ts';

/** Looks at a whole page before its records are taken; true: they are not to be taken. */
export type Inspect = (page: unknown) => boolean;

/**
 * The parser for one page. It reads as a stream unless something has to see the page as a whole: `records` that is more
 * than a path, a pagination that looks into the records, a rule on the body.
 */
export function parserFor(
  plan: StreamPlan,
  format: KnownFormat,
  { rules, inspect }: { readonly rules: Rules; readonly inspect: Inspect },
): PageParser {
  switch (format) {
    case 'csv':
      return csvPage(plan.csv);
    case 'ndjson':
      return ndjsonPage(plan.records === null ? null : expression(plan.records));
    case 'json':
    case 'xml': {
      const path = plan.records === null ? [] : plainPath(plan.records);
      if (path !== null && !rules.lookInto && !looksInto(plan, path))
        return format === 'json' ? jsonPage(path) : xmlPage(path);
      return wholePage(format, picker(plan, inspect));
    }
    default:
      throw format satisfies never;
  }
}

/** Whether records come as they stand in the page, so that a key that is found in one is found in the other. */
export function keepsRecords({ records, explode }: StreamPlan): boolean {
  return explode === null && (records === null || plainPath(records) !== null || onlyFilters(records));
}

/** Whether the pagination asks for something inside of the records, which a stream has let go by then. */
function looksInto({ pagination }: StreamPlan, records: readonly string[]): boolean {
  const asked = [
    'next' in pagination ? pagination.next : undefined,
    'has_more' in pagination ? pagination.has_more : undefined,
  ];
  return asked.some((text) => {
    if (text === undefined) return false;
    const path = plainPath(text);
    return path === null || records.every((name, at) => path[at] === name);
  });
}

function picker({ records }: StreamPlan, inspect: Inspect): Pick {
  const path = records === null ? [] : plainPath(records);
  const find = records === null || path !== null ? null : expression(records);
  const list = records === null || path !== null ? null : listIn(records);
  return (page) => {
    if (inspect(page)) return { records: [], found: true };
    const value = find === null ? atPath(page, path ?? []) : find(page);
    if (value === undefined) return { records: [], found: false };
    const listed = list?.(page) ?? null;
    // Of more than a path, nothing is also what comes of a page that has no place for it.
    if (value === null) return { records: [], found: path !== null || listed !== null, listed };
    if (Array.isArray(value)) return { records: value, found: true, listed };
    return typeof value === 'object' && !isRaw(value)
      ? { records: [value], found: true, listed }
      : { records: [], found: false };
  };
}

/** Makes rows-to-be of raw records: one an element where a list explodes, nested objects as fields of their own, the parent's value beside. */
export function shaper(
  plan: StreamPlan,
  parent: unknown,
): (records: readonly unknown[]) => readonly JsonRecord[] {
  const { explode, flatten } = plan;
  const column = parent === null || plan.parent === null ? null : plan.parent.column;
  const simple = explode === null && flatten === 0 && column === null;
  const finish = (record: JsonRecord): JsonRecord => {
    // Defines, as a spread does: a field may be called `__proto__`.
    const own = column === null ? record : { [column]: parent, ...record };
    return flatten === 0 ? own : flattened(own, flatten);
  };
  return (records) => {
    if (simple) return records.every(isRecord) ? records : records.map(asRecord);
    const whole =
      explode === null
        ? records.map(asRecord)
        : records.flatMap((record) => exploded(asRecord(record), explode));
    return whole.map(finish);
  };
}

function exploded(
  record: JsonRecord,
  { field, keep }: NonNullable<StreamPlan['explode']>,
): readonly JsonRecord[] {
  const list = Object.hasOwn(record, field) ? record[field] : atPath(record, field.split('.'));
  if (list === null || list === undefined) return [];
  const kept = Object.entries(keep).map(([column, from]) => [
    column,
    Object.hasOwn(record, from) ? record[from] : (atPath(record, from.split('.')) ?? null),
  ]);
  return (Array.isArray(list) ? list : [list]).map((element) => ({
    ...Object.fromEntries(kept),
    ...asRecord(element),
    ...Object.fromEntries(kept),
  }));
}

/** A list of plain values is a list of rows with one column. */
function asRecord(value: unknown): JsonRecord {
  return isRecord(value) ? value : { value };
}
