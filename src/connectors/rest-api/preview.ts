import type { Value } from '../../core/types.ts';
import { plain } from '../sql/names.ts';
import { canMissMoved } from './guard.ts';
import type { ResolvedRest } from './resolve.ts';
import type { PageSample } from './sample.ts';

const rowsMax = 100;
/** A look must not carry 100 MB. */
const cellCharsMax = 2_000;
const namesMax = 8;

/** The first rows of what the look found, in the columns that would land, long values cut. No further request. */
export function previewRest({ stream, sample }: ResolvedRest, limit: number): readonly (readonly Value[])[] {
  const places = stream.columns.map(({ name }) => sample.columns.findIndex((column) => column.name === name));
  const rows = Math.max(0, Math.min(rowsMax, Math.floor(limit)));
  return sample.rows.slice(0, rows).map((row) => places.map((place) => cut(row[place] ?? null)));
}

/** What a preview says besides the notes of every run: what would be asked next, and what of the answer would not land as it is. */
export function previewRemarks({ stream, plan, sample }: ResolvedRest): readonly string[] {
  const columns = stream.columns;
  const nested = columns.filter(({ type }) => type === 'json').map(({ name }) => name);
  const empty = columns
    .filter((_, index) => onlyNulls({ stream, plan, sample }, index))
    .map(({ name }) => name);
  const left = sample.columns.filter((column) => !columns.some(({ name }) => name === column.name));
  return [
    ...nextRemark(sample),
    ...(nested.length === 0
      ? []
      : [
          `Nested values stay JSON in ${listed(nested)}: query them with json_extract, or declare rest.flatten for columns of their own${plan.explode === null ? ', or rest.explode for a list as rows' : ''}.`,
        ]),
    ...(empty.length === 0 || sample.rows.length === 0
      ? []
      : [`Nothing but null in ${listed(empty)} so far: the type follows the first value.`]),
    ...(left.length === 0 ? [] : [`Would not land: ${listed(left.map(({ name }) => name))}.`]),
    ...mixedRemark(sample),
    ...movedRemark({ stream, plan, sample }),
  ];
}

function movedRemark({ stream, plan, sample }: ResolvedRest): readonly string[] {
  const onlyOne = sample.next === null && sample.whole;
  if (onlyOne || !canMissMoved(stream, plan)) return [];
  const better =
    plan.pagination.type === 'page'
      ? 'cursor, keyset or offset pagination where the API has one'
      : 'a primary_key, by which pages are compared';
  return [
    `A row that is removed, or moves, while pages are read pulls another over the edge of a page: that one is missed, without a sign, until it changes or all is read again (full_refresh). What helps: a sort order in which rows keep their places, such as by id, in rest.params; ${better}.`,
  ];
}

function nextRemark({ next, whole }: PageSample): readonly string[] {
  if (next !== null) return [`The next request would be ${plain(next, 500)}.`];
  return whole ? ['The first page is the last one, by what it says.'] : [];
}

function mixedRemark({ mixed, columns }: PageSample): readonly string[] {
  if (mixed.length === 0) return [];
  const names = mixed.slice(0, namesMax).map(({ name, kinds }) => {
    const type = columns.find((column) => column.name === name)?.type ?? 'text';
    return `"${plain(name, 63)}" (${kinds.join(' and ')}, lands as ${type})`;
  });
  return [`Values of several kinds: ${names.join(', ')}.`];
}

function onlyNulls({ stream, sample }: ResolvedRest, index: number): boolean {
  const name = stream.columns[index]?.name;
  const place = sample.columns.findIndex((column) => column.name === name);
  return sample.rows.every((row) => (row[place] ?? null) === null);
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, namesMax).map((name) => `"${plain(name, 63)}"`);
  return names.length > namesMax
    ? `${shown.join(', ')} and ${names.length - namesMax} more`
    : shown.join(', ');
}

function cut(value: Value): Value {
  if (typeof value === 'string' && value.length > cellCharsMax) return value.slice(0, cellCharsMax);
  return value instanceof Uint8Array && value.length > cellCharsMax ? value.subarray(0, cellCharsMax) : value;
}
