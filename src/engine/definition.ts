/** What a stream is, as text: its position and what it chose belong to that, and to nothing else. */

import type { Mode, ResolvedStream, Stream } from '../core/model.ts';
import type { RestStream } from '../core/rest.ts';
import type { Column } from '../core/types.ts';
import type { Landed } from '../destinations/destination.ts';

/**
 * A position belongs to what was asked of the source: another table, filter, key or cursor makes it mean nothing. The
 * table is the one that the name led to, which `schemas` and the login's search path decide. Pure.
 */
export function definitionsOf(
  stream: ResolvedStream,
  source: string,
): { readonly definition: string; readonly formerly?: string } {
  const parts = definitionOf(stream, source);
  const formerly = JSON.stringify(parts);
  const { relation } = stream;
  return relation === undefined
    ? { definition: formerly }
    : { definition: JSON.stringify([...parts, { relation }]), formerly };
}

function definitionOf(stream: ResolvedStream, source: string): readonly unknown[] {
  const { table, query, where, path, rest } = stream.declared;
  return [
    source,
    table ?? null,
    query ?? null,
    where ?? null,
    stream.cursor,
    stream.primaryKey,
    stream.mode,
    ...(path === undefined ? keyForms(stream) : [path, askedFor(rest ?? {})]),
  ];
}

/**
 * In which form the values of a key land, where that depends on more than its kind: after numeric(10,0) has become
 * numeric(10,2), `1` and `1.00` are one row at the source and two keys here. Integers, and texts without a form of their
 * own, stay the same texts however they are widened.
 */
function keyForms({ mode, primaryKey, columns }: ResolvedStream): readonly string[] {
  if (mode !== 'merge') return [];
  const forms = primaryKey.map((name) => {
    const column = columns.find((one) => one.name === name);
    return column === undefined || column.type === 'integer' || isPlainText(column) ? '' : column.sourceType;
  });
  return forms.some((form) => form !== '') ? forms : [];
}

function isPlainText({ sourceType }: Column): boolean {
  const isText = /^(character varying|varchar|(tiny|medium|long)?text|citext|enum|set)\b/i.test(sourceType);
  // 'a' in text is '{a}' in text[].
  return isText && !sourceType.endsWith('[]');
}

/** The parts of a declaration that decide which records an API answers with and what becomes of them; not how it is paged. */
function askedFor(rest: RestStream): RestStream {
  const {
    pagination: _p,
    responses: _r,
    max_pages: _m,
    repeatable: _a,
    headers: _h,
    window: _w,
    ...decides
  } = rest;
  return decides;
}

/**
 * The stream of an API with what an earlier run chose: key, mode and cursor were found by looking at a page, and a page
 * without a record, or with the same one twice, says nothing of them. A full refresh chooses anew. Pure.
 */
export function asFound(stream: Stream, landed: Landed | null, source: string): Stream {
  if (stream.path === undefined || landed === null || landed.rows === 0) return stream;
  const { asked, primaryKey, mode, cursor: found } = partsOf(landed.definition);
  const now = [source, stream.where ?? null, stream.path, askedFor(stream.rest ?? {})];
  if (asked !== JSON.stringify(now)) return stream;
  // Where no parameter asks for newer records, a cursor is only what somebody declared.
  const cursor = stream.cursor ?? (stream.rest?.cursor_param === undefined ? null : found);
  return {
    ...stream,
    mode: stream.mode ?? mode,
    ...(primaryKey.length > 0 ? { primary_key: stream.primary_key ?? primaryKey } : {}),
    ...(cursor === null ? {} : { cursor }),
  };
}

/**
 * Whether what has landed was another question to the source, so that its size says nothing about what comes now. Another
 * key, cursor or mode is none: the rows are the same. Pure.
 */
export function asksOtherwise(
  landed: Landed,
  { definition, formerly = definition }: { readonly definition: string; readonly formerly?: string },
): boolean {
  const { asked } = partsOf(landed.definition);
  return ![definition, formerly].some((text) => partsOf(text).asked === asked);
}

interface DefinitionParts {
  /** What was asked of the source, as text: of a definition, what decides which rows there are. */
  readonly asked: string;
  readonly cursor: string | null;
  readonly primaryKey: readonly string[];
  readonly mode: Mode;
}

/** A definition as `definitionsOf` makes it, taken apart. */
function partsOf(definition: string): DefinitionParts {
  const parts = JSON.parse(definition) as readonly unknown[];
  const [source, table, query, where, cursor, primaryKey, mode, ...more] = parts;
  const isApi = table === null && query === null;
  // Behind those of a table stand the forms of its key, which decide no row, and the relation.
  const asked = isApi
    ? [source, where, ...more]
    : [source, table, query, where, ...more.filter((part) => typeof part !== 'string')];
  return {
    asked: JSON.stringify(asked),
    cursor: cursor as string | null,
    primaryKey: primaryKey as readonly string[],
    mode: mode as Mode,
  };
}
