import { MillraceError } from '../../core/errors.ts';
import type { ResolvedStream, Stream } from '../../core/model.ts';
import { suggestion } from '../../core/nearest.ts';
import type { LogicalType } from '../../core/types.ts';
import type { CandidateColumn } from '../sql/candidates.ts';
import {
  checkLookback,
  chooseColumns,
  chooseMode,
  described,
  neverFilled,
  notOrderable,
  nullNotes,
  perhaps,
  sortsBehind,
} from '../sql/choices.ts';
import { plain } from '../sql/names.ts';
import { candidateOf } from './candidates.ts';
import type { ZeroDatePolicy } from './config.ts';
import { chooseKey, columnOf } from './keys.ts';
import { cursorKind, fromWhere } from './plan.ts';
import { readingNotes } from './reading-notes.ts';
import type { Shape, ShapeContext, SourceColumn } from './shape.ts';
import { travelOf } from './types.ts';

export interface ResolveContext extends ShapeContext {
  readonly zeroDates: ZeroDatePolicy;
}

/**
 * Asks the source about a declared stream, over its shape, and chooses what was left open. Throws a coded error with a
 * hint for everything that could not work: better now than after an hour of reading.
 */
export async function resolveOver(
  context: ResolveContext,
  declared: Stream,
  shape: Shape,
): Promise<ResolvedStream> {
  const notes: string[] = [];
  const refusal = await partlyClosed(context, shape);
  const stream = refusal ? withinGrants(shape, declared, refusal) : declared;
  if (refusal) notes.push(leftOut(shape, refusal));
  const key = await chooseKey(context, stream, shape, notes);
  const cursor = stream.cursor === undefined ? null : columnOf(shape, stream.cursor, 'cursor');
  if (cursor) refuseUnorderable(cursor, shape);
  checkLookback(stream, cursor, cursor && cursorKind(cursor.type));
  const mode = chooseMode({ stream, key, cursor, shape, candidates: candidates(shape) }, notes);
  const usedCursor = mode === 'replace' ? null : cursor;
  const columns = chooseColumns(
    { stream, shape, find: (name, what) => columnOf(shape, name, what) },
    [...(mode === 'merge' ? key : []), ...(usedCursor ? [usedCursor] : [])],
    notes,
  );
  const usedKey = mode !== 'append' && key.every((column) => columns.includes(column)) ? key : [];
  await probe(context, shape, columns);
  if (usedCursor)
    notes.push(...(await lookAtCursor(context, shape, usedCursor)), ...nullNotes(mode, usedCursor));
  notes.push(...(await readingNotes(context, { shape, columns, cursor: usedCursor })));
  return {
    name: stream.name,
    declared,
    mode,
    columns: columns.map((column) => {
      const { type } = travelOf(column.type);
      return {
        name: column.name,
        type,
        sourceType: column.typeName,
        nullable: mayLandNull(column, type, context.zeroDates) && !usedKey.includes(column),
      };
    }),
    primaryKey: usedKey.map((column) => column.name),
    cursor: usedCursor?.name ?? null,
    detectDeletes: mode === 'merge' && stream.deletes !== 'ignore',
    notes,
  };
}

/** A date that no calendar has can stand in a column that is NOT NULL, and lands as NULL when that is the policy. */
function mayLandNull({ notNull }: SourceColumn, type: LogicalType, zeroDates: ZeroDatePolicy): boolean {
  const isDate = type === 'date' || type === 'timestamp' || type === 'timestamptz';
  return !notNull || (isDate && zeroDates === 'null');
}

/**
 * Why the login may not read every column of the table; null when it may. A server shows nobody the columns that are
 * closed to him, so it is asked for all of them: what refuses that is a grant on some columns only.
 */
async function partlyClosed(
  { session, signal }: ShapeContext,
  { relation }: Shape,
): Promise<MillraceError | null> {
  if (!relation) return null;
  try {
    await session.describe(`SELECT * FROM ${relation.sql} LIMIT 0`, { signal });
    return null;
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'permission_denied') return error;
    throw error;
  }
}

function leftOut(shape: Shape, { hint }: MillraceError): string {
  const known = shape.relation?.unreadable.map((name) => `"${plain(name, 64)}"`) ?? [];
  const such = known.length > 0 ? ` (${known.slice(0, 10).join(', ')})` : '';
  return `The login may read only some columns of ${described(shape)}, and those are read; others${such} do not land. ${hint}`;
}

/** The stream less what it leaves out anyway. Throws for a column that it needs and that is closed, or not there. */
function withinGrants(shape: Shape, stream: Stream, refusal: MillraceError): Stream {
  const readable = new Set(shape.columns.map(({ name }) => name.toLowerCase()));
  const { include = [], exclude } = stream.columns ?? {};
  const needed = [
    ...(stream.cursor === undefined ? [] : [stream.cursor]),
    ...(stream.primary_key ?? []),
    ...include,
  ];
  for (const name of needed) {
    if (readable.has(name.toLowerCase())) continue;
    const names = shape.columns.map((column) => plain(column.name, 64));
    throw new MillraceError(
      'permission_denied',
      `The login may not read the column "${plain(name, 64)}" of ${described(shape)}, or there is none of that name.`,
      { hint: `${refusal.hint} ${suggestion(name, names)}`.trim(), cause: refusal },
    );
  }
  if (exclude === undefined) return stream;
  const columns = { ...stream.columns, exclude: exclude.filter((name) => readable.has(name.toLowerCase())) };
  return { ...stream, columns };
}

function refuseUnorderable(cursor: SourceColumn, shape: Shape): void {
  if (!travelOf(cursor.type).orderable)
    throw notOrderable(cursor, 'cursor', perhaps(candidates(shape, cursor)));
  if (cursor.type.name !== 'float') return;
  throw new MillraceError(
    'cursor_invalid',
    `The cursor column "${plain(cursor.name, 64)}" is of type ${plain(cursor.typeName, 60)}, which keeps some seven digits: values that grow by less become the same.`,
    { hint: `Choose a timestamp, an integer, a decimal or a double${perhaps(candidates(shape, cursor))}.` },
  );
}

function candidates(shape: Shape, but: SourceColumn | null = null): readonly CandidateColumn[] {
  return shape.columns
    .filter((column) => column !== but)
    .map(({ name, type, catalogue }) => candidateOf(name, type, catalogue));
}

/** Lets the server prepare exactly what will be read: it knows best what is wrong with a condition or a grant. */
async function probe(
  { session, signal }: ShapeContext,
  shape: Shape,
  columns: readonly SourceColumn[],
): Promise<void> {
  const list = columns.map(({ type, ref }) => travelOf(type).select(ref)).join(', ');
  await session.describe(`SELECT ${list}${fromWhere(shape)} LIMIT 0`, { signal });
}

async function lookAtCursor(
  { session, signal }: ShapeContext,
  shape: Shape,
  cursor: SourceColumn,
): Promise<readonly string[]> {
  if (!cursor.notNull) {
    const [row] = await session.query(
      `SELECT EXISTS (SELECT 1${fromWhere(shape, [`${cursor.ref} IS NOT NULL`])}), EXISTS (SELECT 1${fromWhere(shape)})`,
      [],
      { signal },
    );
    if (row?.[0] === '0' && row[1] === '1')
      throw neverFilled(shape, cursor, perhaps(candidates(shape, cursor)));
  }
  return cursorKind(cursor.type) === 'other' ? [sortsBehind(cursor)] : [];
}
