/** What resolving a stream of an API chooses: its key and its cursor, by what a look at its first page showed. */

import { MillraceError } from '../../core/errors.ts';
import type { ResolvedStream, Stream } from '../../core/model.ts';
import type { Column, Value } from '../../core/types.ts';
import { type CandidateColumn, candidateScore } from '../sql/candidates.ts';
import { type ChoiceShape, checkLookback, findColumn, notOrderable, perhaps } from '../sql/choices.ts';
import { plain } from '../sql/names.ts';
import { twice } from '../sql/unique.ts';
import type { StreamPlan } from './plan.ts';
import type { PageSample } from './sample.ts';

/** A column of a stream, as the choices that all sources share know it. */
export interface RestColumn extends Column {
  readonly typeName: string;
  readonly notNull: boolean;
}

export interface ChoiceContext {
  readonly stream: Stream;
  readonly plan: StreamPlan;
  readonly sample: PageSample;
  readonly shape: ChoiceShape<RestColumn>;
}

/** The columns that the look found, and those that were declared and that no record had yet. */
export function shapeOf(stream: Stream, sample: PageSample): ChoiceShape<RestColumn> {
  const known = new Set(sample.columns.map(({ name }) => name));
  const declared = [...(stream.primary_key ?? []), ...(stream.cursor === undefined ? [] : [stream.cursor])];
  // Only where there was nothing to look at: with records at hand a name that is in none of them is a mistake.
  const missing = sample.rows.length > 0 ? [] : [...new Set(declared)].filter((name) => !known.has(name));
  const columns = [
    ...sample.columns,
    ...missing.map((name): Column => ({ name, type: 'text', sourceType: 'unknown', nullable: true })),
  ];
  return {
    relation: null,
    called: `the records of ${stream.path ?? stream.name}`,
    columns: columns.map((column) => ({ ...column, typeName: column.sourceType, notNull: !column.nullable })),
  };
}

/** Names that identify a record wherever they stand. */
const keyNames: ReadonlySet<string> = new Set(['id', '_id', 'uuid', 'guid']);

/** The declared key, or one that the page shows to be one; empty when there is none. */
export function chooseKey(
  { stream, plan, sample, shape }: ChoiceContext,
  notes: string[],
): readonly RestColumn[] {
  if (stream.primary_key !== undefined) {
    if (new Set(stream.primary_key).size < stream.primary_key.length) throw twice(stream.primary_key);
    const key = stream.primary_key.map((name) => findColumn(shape, name, 'key'));
    const problem = keyProblem(key, { stream, shape, sample });
    if (problem === null) return key;
    throw new MillraceError('key_not_unique', problem, {
      hint: 'Declare in `primary_key` the fields that tell records apart, or use mode "append" or "replace". A key that Millrace chose is chosen anew by sync_connector with full_refresh: true.',
    });
  }
  const own = shape.columns.find(
    ({ name }) => keyNames.has(name.toLowerCase()) || isNamedAfter(stream, name),
  );
  if (own === undefined || sample.rows.length === 0) return [];
  const above = new Set([
    ...(plan.parent === null ? [] : [plan.parent.column]),
    ...Object.keys(plan.explode?.keep ?? {}),
  ]);
  const key = [...shape.columns.filter(({ name }) => above.has(name)), own];
  const { shared, without } = lookAtKey(key, shape, sample);
  if (key.some(({ type }) => type === 'json') || shared !== null || without > 0) return [];
  notes.push(
    `Key (${listed(key)}) was chosen: by its name, and no two of the first ${sample.rows.length} records share it. Declare primary_key if it is another.`,
  );
  return key;
}

/** `order_id` in `orders`. */
function isNamedAfter({ name: stream }: Stream, column: string): boolean {
  const singular = stream.replace(/ies$/, 'y').replace(/s$/, '');
  return column.toLowerCase() === `${singular}_id` || column.toLowerCase() === `${singular}id`;
}

/** What the page says against a declared key, as a sentence. A record without a value stands aside when it comes, alone. */
function keyProblem(
  key: readonly RestColumn[],
  { stream, shape, sample }: Pick<ChoiceContext, 'stream' | 'shape' | 'sample'>,
): string | null {
  const { shared, without } = lookAtKey(key, shape, sample);
  const page = `on the first page of ${plain(stream.path ?? '', 100)}`;
  if (shared !== null) return `Two records ${page} share ${shared}, so (${listed(key)}) is no key.`;
  return without > 0 && without === sample.rows.length
    ? `No record ${page} has a value for all of (${listed(key)}), so that is no key.`
    : null;
}

interface KeyLook {
  /** Values that two of the rows share; null when all that have values can be told apart. */
  readonly shared: string | null;
  /** How many rows lack one. */
  readonly without: number;
}

function lookAtKey(
  key: readonly RestColumn[],
  shape: ChoiceShape<RestColumn>,
  { rows }: PageSample,
): KeyLook {
  const places = key.map((column) => shape.columns.indexOf(column));
  const seen = new Set<string>();
  let without = 0;
  for (const row of rows) {
    const values = places.map((place) => row[place] ?? null);
    const text = values.map(shown).join(', ');
    if (values.includes(null)) without += 1;
    else if (seen.has(text)) return { shared: plain(text, 80), without };
    seen.add(text);
  }
  return { shared: null, without };
}

function shown(value: Value): string {
  return value === null ? 'null' : typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/** The declared cursor; where the API can be asked for newer records and none was declared, the field that follows changes. */
export function chooseCursor({ stream, plan, shape }: ChoiceContext, notes: string[]): RestColumn | null {
  const cursor =
    stream.cursor === undefined
      ? guessedCursor({ stream, plan, shape }, notes)
      : findColumn(shape, stream.cursor, 'cursor');
  if (cursor !== null && ['json', 'bytes', 'boolean'].includes(cursor.type))
    throw notOrderable(cursor, 'cursor', perhaps(candidates(shape, cursor)));
  checkLookback(stream, cursor, cursor && kindOf(cursor, plan));
  if (cursor !== null && plan.cursorParam === null) {
    notes.push(
      `The API is not asked for newer records only: every run reads all pages and keeps those whose "${plain(cursor.name, 63)}" is newer. If it has a parameter for that, declare it as rest.cursor_param.`,
    );
  }
  return cursor;
}

function guessedCursor(
  { stream, plan, shape }: Pick<ChoiceContext, 'stream' | 'plan' | 'shape'>,
  notes: string[],
): RestColumn | null {
  if (plan.cursorParam === null || stream.mode === 'replace') return null;
  const best = shape.columns
    .map((column) => ({ column, score: candidateScore(candidateOf(column)) }))
    .sort((a, b) => b.score - a.score)[0];
  if (best !== undefined && best.score >= 2) {
    notes.push(
      `Cursor "${plain(best.column.name, 63)}" was chosen: its newest value is what "${plan.cursorParam}" will be sent. Declare cursor if it is another field.`,
    );
    return best.column;
  }
  throw new MillraceError(
    'invalid_config',
    `Stream "${stream.name}" has a cursor_param and no cursor, and none of its fields looks like one.`,
    { hint: 'Declare `cursor` with the field whose newest value the API wants in that parameter.' },
  );
}

/** The columns, as far as one of them may serve as a cursor. */
export function candidates(
  shape: ChoiceShape<RestColumn>,
  but: RestColumn | null = null,
): readonly CandidateColumn[] {
  return shape.columns.filter((column) => column !== but).map(candidateOf);
}

function candidateOf({ name, type }: RestColumn): CandidateColumn {
  const isTime = type === 'timestamp' || type === 'timestamptz' || type === 'date';
  return { name, kind: isTime ? 'time' : type === 'integer' ? 'integer' : 'other' };
}

/** Seconds since 1970 are numbers here and times to the API: a window fits in either form. */
function kindOf({ type }: RestColumn, plan: StreamPlan): 'time' | 'number' | 'other' {
  if (type === 'timestamp' || type === 'timestamptz' || type === 'date') return 'time';
  if (type !== 'integer' && type !== 'float' && type !== 'decimal') return 'other';
  return plan.cursorFormat.startsWith('epoch_') && plan.lookback !== null ? plan.lookback.kind : 'number';
}

function listed(columns: readonly RestColumn[]): string {
  return columns.map(({ name }) => plain(name, 63)).join(', ');
}

/** The fields to land: those asked for, and those without which rows are not found again. */
export function wantedOf({
  declared,
  primaryKey,
  cursor,
}: ResolvedStream): ((name: string) => boolean) | undefined {
  const { include, exclude } = declared.columns ?? {};
  if (include === undefined && exclude === undefined) return undefined;
  const needed = new Set([...primaryKey, ...(cursor === null ? [] : [cursor])]);
  const included = include === undefined ? null : new Set(include);
  const excluded = new Set(exclude);
  return (name) => needed.has(name) || ((included === null || included.has(name)) && !excluded.has(name));
}
