import { MillraceError } from '../../core/errors.ts';
import type { ResolvedStream, Stream } from '../../core/model.ts';
import type { CandidateColumn } from '../sql/candidates.ts';
import {
  checkLookback,
  chooseColumns,
  chooseMode,
  findColumn,
  neverFilled,
  notOrderable,
  nullNotes,
  perhaps,
  sortsBehind,
} from '../sql/choices.ts';
import { plain } from '../sql/names.ts';
import { candidateKind } from './candidates.ts';
import { chooseKey } from './keys.ts';
import { cursorKind, fromWhere } from './plan.ts';
import { isUnqualified, loadShape, type Shape, type ShapeContext, type SourceColumn } from './shape.ts';
import { baseType, isOrderable, type TypeCache, travelOf } from './types.ts';

/**
 * Asks the source about a declared stream and chooses what was left open. Throws a coded error with a hint for
 * everything that could not work: better now than after an hour of reading.
 */
export async function resolveStream(
  context: ShapeContext & { readonly username: string },
  stream: Stream,
): Promise<ResolvedStream> {
  return await resolveOver(context, stream, await loadShape(context, stream));
}

/** The same over a shape that was looked at already. */
export async function resolveOver(
  context: ShapeContext & { readonly username: string },
  stream: Stream,
  shape: Shape,
): Promise<ResolvedStream> {
  const notes: string[] = [];
  const key = await chooseKey(context, stream, shape, notes);
  const cursor = stream.cursor === undefined ? null : findColumn(shape, stream.cursor, 'cursor');
  if (cursor) refuseUnorderable(cursor, shape, context.types);
  checkLookback(stream, cursor, cursor && cursorKind(baseType(cursor.type, context.types).oid));
  const mode = chooseMode({ stream, key, cursor, shape, candidates: candidates(shape) }, notes);
  const usedCursor = mode === 'replace' ? null : cursor;
  const columns = chooseColumns(
    { stream, shape, find: (name, what) => findColumn(shape, name, what) },
    [...(mode === 'merge' ? key : []), ...(usedCursor ? [usedCursor] : [])],
    notes,
  );
  const usedKey = mode !== 'append' && key.every((column) => columns.includes(column)) ? key : [];
  refuseUnreadable(context.username, shape, columns);
  await probe(context, shape, columns);
  if (usedCursor)
    notes.push(...(await lookAtCursor(context, shape, usedCursor)), ...nullNotes(mode, usedCursor));
  return {
    name: stream.name,
    declared: stream,
    mode,
    columns: columns.map((column) => ({
      name: column.name,
      type: travelOf(column.type, context.types).type,
      sourceType: column.typeName,
      nullable: !column.notNull && !usedKey.includes(column),
    })),
    primaryKey: usedKey.map((column) => column.name),
    cursor: usedCursor?.name ?? null,
    detectDeletes: mode === 'merge' && stream.deletes !== 'ignore',
    ...(shape.relation !== null && isUnqualified(stream.table ?? '') ? { relation: shape.relation.sql } : {}),
    notes,
  };
}

function refuseUnorderable(cursor: SourceColumn, shape: Shape, types: TypeCache): void {
  if (!isOrderable(cursor.type, types))
    throw notOrderable(cursor, 'cursor', perhaps(candidates(shape, cursor)));
}

function refuseUnreadable(
  username: string,
  { relation, columns }: Shape,
  wanted: readonly SourceColumn[],
): void {
  if (!relation || relation.mayRead) return;
  const missing = wanted.filter((column) => !column.mayRead);
  if (missing.length === 0) return;
  const grant = `GRANT SELECT ON ${relation.sql} TO "${username.replaceAll('"', '""')}";`;
  const allowed = columns.filter((column) => column.mayRead);
  throw new MillraceError(
    'permission_denied',
    `The login "${plain(username, 63)}" may not read ${plain(`${relation.schema}.${relation.name}`, 130)}.`,
    {
      hint:
        allowed.length === 0
          ? `As the owner or an administrator: ${grant}`
          : `As the owner or an administrator: ${grant} Or read only what is granted: "columns": {"include": ${JSON.stringify(allowed.slice(0, 50).map((column) => column.name))}}.`,
    },
  );
}

/** Lets the server plan exactly what will be read: it knows best what is wrong with a condition or a grant. */
async function probe(
  { session, types, signal }: ShapeContext,
  shape: Shape,
  columns: readonly SourceColumn[],
): Promise<void> {
  const list = columns.map((column) => travelOf(column.type, types).select(column.ref)).join(', ');
  await session.query(`SELECT ${list}${fromWhere(shape)} LIMIT 0`, [], { signal });
}

async function lookAtCursor(
  context: ShapeContext,
  shape: Shape,
  cursor: SourceColumn,
): Promise<readonly string[]> {
  const name = plain(cursor.name, 63);
  if (!cursor.notNull) {
    const [row] = await context.session.query(
      `SELECT EXISTS (SELECT${fromWhere(shape, [`${cursor.ref} IS NOT NULL`])}), EXISTS (SELECT${fromWhere(shape)})`,
      [],
      { signal: context.signal },
    );
    if (row?.[0] === 'f' && row[1] === 't') {
      throw neverFilled(shape, cursor, perhaps(candidates(shape, cursor)));
    }
  }
  const notes: string[] = [];
  if (cursorKind(baseType(cursor.type, context.types).oid) === 'other') {
    notes.push(sortsBehind(cursor));
  }
  const cache = await sequenceCache(context, shape, cursor);
  if (cache > 1) {
    notes.push(
      `The sequence behind "${name}" has CACHE ${cache}: sessions give out their numbers out of order, and rows can be missed. Give the stream a lookback, such as ${cache * 100}.`,
    );
  }
  return notes;
}

function candidates(shape: Shape, but: SourceColumn | null = null): readonly CandidateColumn[] {
  return shape.columns
    .filter((column) => column !== but)
    .map(({ name, typeName }) => ({ name, kind: candidateKind(typeName) }));
}

/** How many numbers each session takes ahead from the sequence that fills the column; 1 when there is none. */
async function sequenceCache(
  { session, signal }: ShapeContext,
  { relation }: Shape,
  cursor: SourceColumn,
): Promise<number> {
  if (!relation || (relation.kind !== 'table' && relation.kind !== 'partitioned_table')) return 1;
  const [row] = await session.query(
    `SELECT max(s.seqcache) FROM pg_catalog.pg_attribute a
     JOIN pg_catalog.pg_depend own ON own.refclassid = 'pg_catalog.pg_class'::regclass AND own.refobjid = a.attrelid AND own.refobjsubid = a.attnum
     JOIN pg_catalog.pg_sequence s ON s.seqrelid = own.objid
     WHERE own.classid = 'pg_catalog.pg_class'::regclass AND a.attrelid = $1 AND a.attname = $2`,
    [String(relation.oid), cursor.name],
    { signal },
  );
  return Number(row?.[0] ?? 1);
}
