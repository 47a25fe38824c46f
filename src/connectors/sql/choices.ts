/** What resolving a declared stream chooses and refuses in the same way, and with the same words, for every SQL database. */

import { MillraceError } from '../../core/errors.ts';
import type { Mode, Stream } from '../../core/model.ts';
import { suggestion } from '../../core/nearest.ts';
import { type CandidateColumn, candidateNames } from './candidates.ts';
import { parseLookback } from './lookback.ts';
import { plain } from './names.ts';

/** A column, as far as choosing needs to know it. */
export interface ChoiceColumn {
  readonly name: string;
  readonly typeName: string;
  readonly notNull: boolean;
}

/** What a stream is at the source, as far as choosing needs to know it. */
export interface ChoiceShape<C extends ChoiceColumn> {
  /** Null for a query. */
  readonly relation: { readonly schema: string; readonly name: string } | null;
  /** What to call it where it is neither table nor query. */
  readonly called?: string;
  readonly columns: readonly C[];
}

/** The stream's table or query in a sentence. */
export function described(shape: ChoiceShape<ChoiceColumn>): string {
  if (shape.called !== undefined) return plain(shape.called, 130);
  return shape.relation ? plain(`${shape.relation.schema}.${shape.relation.name}`, 130) : 'the query';
}

/** The column of that name. Throws `not_found_at_source` with the nearest names. */
export function findColumn<C extends ChoiceColumn>(
  shape: ChoiceShape<C>,
  name: string,
  what: string,
  { foldsCase = false }: { readonly foldsCase?: boolean } = {},
): C {
  const folded = name.toLowerCase();
  const column =
    shape.columns.find((candidate) => candidate.name === name) ??
    (foldsCase ? shape.columns.find((candidate) => candidate.name.toLowerCase() === folded) : undefined);
  if (column) return column;
  const names = shape.columns.map((candidate) => plain(candidate.name, 63));
  throw new MillraceError(
    'not_found_at_source',
    `The ${what} column "${plain(name, 63)}" is not in ${described(shape)}.`,
    {
      hint: `${suggestion(name, names)} Column names are ${foldsCase ? '' : 'case-sensitive here and '}written without quotes.`,
    },
  );
}

/** Why a column of this type cannot be a key or cursor. */
export function notOrderable(column: ChoiceColumn, what: string, better = ''): MillraceError {
  return new MillraceError(
    'cursor_invalid',
    `The ${what} column "${plain(column.name, 63)}" is of type ${plain(column.typeName, 60)}, which has no order.`,
    {
      hint: `Choose a timestamp, a number or another type that can be sorted${better}.`,
    },
  );
}

/** `, perhaps "a" or "b"`: other columns that could be the cursor; empty when there are none. */
export function perhaps(candidates: readonly CandidateColumn[]): string {
  const names = candidateNames(candidates);
  return names.length === 0 ? '' : `, perhaps ${names.map((name) => `"${plain(name, 63)}"`).join(' or ')}`;
}

/** Refuses a look-back window of another kind than the cursor, or without one. */
export function checkLookback(
  stream: Stream,
  cursor: ChoiceColumn | null,
  kind: 'time' | 'number' | 'other' | null,
): void {
  if (stream.lookback === undefined) return;
  const lookback = parseLookback(stream.lookback);
  if (kind === lookback.kind) return;
  throw new MillraceError(
    'invalid_config',
    cursor
      ? `A lookback of ${JSON.stringify(stream.lookback)} does not fit the cursor "${plain(cursor.name, 63)}" of type ${plain(cursor.typeName, 60)}.`
      : 'A lookback needs a cursor.',
    {
      hint: 'Use a duration such as "5m" with a time cursor and a number such as 1000 with a numeric one; other cursors have none.',
    },
  );
}

/** What the mode is chosen by. */
export interface ModeChoice<C extends ChoiceColumn> {
  readonly stream: Stream;
  readonly key: readonly C[];
  readonly cursor: C | null;
  readonly shape: ChoiceShape<C>;
  /** The columns, as far as one of them may serve as a cursor. */
  readonly candidates: readonly CandidateColumn[];
}

/** The declared mode, refused where it cannot work, or the best that can; what was chosen is noted. */
export function chooseMode<C extends ChoiceColumn>(choice: ModeChoice<C>, notes: string[]): Mode {
  const { stream, key, cursor, shape } = choice;
  switch (stream.mode) {
    case 'merge':
      if (key.length > 0) return 'merge';
      throw new MillraceError(
        'invalid_config',
        `Mode "merge" needs a key, and ${described(shape)} has none.`,
        {
          hint: 'Declare `primary_key` with the columns that identify a row, or use mode "append" with a cursor, or "replace".',
        },
      );
    case 'append':
      if (cursor) return 'append';
      throw new MillraceError(
        'invalid_config',
        'Mode "append" needs a cursor: without one every run would add all rows again.',
        {
          hint: 'Declare `cursor` with a column that grows with every new row, or use mode "replace".',
        },
      );
    case 'replace':
      if (cursor) notes.push('Mode "replace" reads everything each time: the cursor is not used.');
      return 'replace';
    case undefined:
      return modeFor(choice, notes);
    default:
      throw stream.mode satisfies never;
  }
}

function modeFor<C extends ChoiceColumn>({ key, cursor, candidates }: ModeChoice<C>, notes: string[]): Mode {
  const names = key.map((column) => plain(column.name, 63)).join(', ');
  if (key.length > 0 && cursor) {
    notes.push(
      `Mode "merge" was chosen: rows changed since the last run are found by "${plain(cursor.name, 63)}" and merged by (${names}).`,
    );
    return 'merge';
  }
  if (cursor) {
    notes.push(
      `Mode "append" was chosen: there is a cursor and no key. Changed rows come as new rows; declare primary_key to merge them.`,
    );
    return 'append';
  }
  const found = candidateNames(candidates);
  const advice =
    found.length > 0
      ? ` With a cursor only changed rows are read; candidates: ${found.map((name) => `"${plain(name, 63)}"`).join(', ')}.`
      : '';
  notes.push(`Mode "replace" was chosen: there is no cursor, so every run reads everything.${advice}`);
  return 'replace';
}

/** The columns to read, in the source's order: those asked for, and those without which rows are not found again. */
export function chooseColumns<C extends ChoiceColumn>(
  { stream, shape, find }: ColumnChoice<C>,
  needed: readonly C[],
  notes: string[],
): readonly C[] {
  const { include, exclude = [] } = stream.columns ?? {};
  const wanted = new Set(include?.map((name) => find(name, 'included')) ?? shape.columns);
  for (const name of exclude) wanted.delete(find(name, 'excluded'));
  const added = needed.filter((column) => !wanted.has(column));
  if (added.length > 0) {
    notes.push(
      `Read although not asked for, since rows are found again by it: ${[...new Set(added)].map((column) => `"${plain(column.name, 63)}"`).join(', ')}.`,
    );
  }
  const columns = shape.columns.filter((column) => wanted.has(column) || needed.includes(column));
  if (columns.length > 0) return columns;
  throw new MillraceError('invalid_config', `No column of ${described(shape)} is left to read.`, {
    hint:
      shape.columns.length === 0
        ? 'The table has no columns.'
        : 'Correct `columns`: include some, or exclude fewer.',
  });
}

export interface ColumnChoice<C extends ChoiceColumn> {
  readonly stream: Stream;
  readonly shape: ChoiceShape<C>;
  /** The column of that name; throws when there is none. The second text says what it was named for. */
  readonly find: (name: string, what: string) => C;
}

/** A cursor that is NULL in every row finds nothing. */
export function neverFilled(
  shape: ChoiceShape<ChoiceColumn>,
  cursor: ChoiceColumn,
  better: string,
): MillraceError {
  return new MillraceError(
    'cursor_invalid',
    `The cursor column "${plain(cursor.name, 63)}" is NULL in every row of ${described(shape)}.`,
    {
      hint: `Choose a column that is filled${better}, or use mode "replace".`,
    },
  );
}

/** What a cursor that is neither a time nor a number can promise. */
export function sortsBehind(cursor: ChoiceColumn): string {
  return `New rows are found only if their "${plain(cursor.name, 63)}" (${plain(cursor.typeName, 60)}) sorts behind all earlier ones.`;
}

/** What becomes of rows without a cursor where nothing tells them apart. */
export function nullNotes(mode: Mode, cursor: ChoiceColumn): readonly string[] {
  if (mode !== 'append' || cursor.notNull) return [];
  return [
    `Rows whose "${plain(cursor.name, 63)}" is NULL are read in the first load only: without a key nothing tells new ones apart.`,
  ];
}
