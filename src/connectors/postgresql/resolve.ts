import { MillraceError } from '../../core/errors.ts';
import type { Mode, ResolvedStream, Stream } from '../../core/model.ts';
import { parseLookback } from '../sql/lookback.ts';
import { plain } from '../sql/names.ts';
import { candidateNames } from './candidates.ts';
import { chooseKey, described, findColumn, notOrderable } from './keys.ts';
import { cursorKind, fromWhere } from './plan.ts';
import { loadShape, type Shape, type ShapeContext, type SourceColumn } from './shape.ts';
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
  checkLookback(stream, cursor, context.types);
  const mode = chooseMode({ stream, key, cursor, shape }, notes);
  const usedCursor = mode === 'replace' ? null : cursor;
  const columns = chooseColumns(
    stream,
    shape,
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
    notes,
  };
}

function refuseUnorderable(cursor: SourceColumn, shape: Shape, types: TypeCache): void {
  if (!isOrderable(cursor.type, types)) throw notOrderable(cursor, 'cursor', candidateHint(shape, cursor));
}

function checkLookback(stream: Stream, cursor: SourceColumn | null, types: TypeCache): void {
  if (stream.lookback === undefined) return;
  const lookback = parseLookback(stream.lookback);
  const kind = cursor ? cursorKind(baseType(cursor.type, types).oid) : null;
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

interface Choice {
  readonly stream: Stream;
  readonly key: readonly SourceColumn[];
  readonly cursor: SourceColumn | null;
  readonly shape: Shape;
}

function chooseMode({ stream, key, cursor, shape }: Choice, notes: string[]): Mode {
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
      return modeFor(key, cursor, shape, notes);
    default:
      throw stream.mode satisfies never;
  }
}

function modeFor(
  key: readonly SourceColumn[],
  cursor: SourceColumn | null,
  shape: Shape,
  notes: string[],
): Mode {
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
  const candidates = candidateNames(shape.columns);
  const advice =
    candidates.length > 0
      ? ` With a cursor only changed rows are read; candidates: ${candidates.map((name) => `"${plain(name, 63)}"`).join(', ')}.`
      : '';
  notes.push(`Mode "replace" was chosen: there is no cursor, so every run reads everything.${advice}`);
  return 'replace';
}

function chooseColumns(
  stream: Stream,
  shape: Shape,
  needed: readonly SourceColumn[],
  notes: string[],
): readonly SourceColumn[] {
  const { include, exclude = [] } = stream.columns ?? {};
  const wanted = new Set(include?.map((name) => findColumn(shape, name, 'included')) ?? shape.columns);
  for (const name of exclude) wanted.delete(findColumn(shape, name, 'excluded'));
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
      throw new MillraceError(
        'cursor_invalid',
        `The cursor column "${name}" is NULL in every row of ${described(shape)}.`,
        {
          hint: `Choose a column that is filled${candidateHint(shape, cursor)}, or use mode "replace".`,
        },
      );
    }
  }
  const notes: string[] = [];
  if (cursorKind(baseType(cursor.type, context.types).oid) === 'other') {
    notes.push(
      `New rows are found only if their "${name}" (${plain(cursor.typeName, 60)}) sorts behind all earlier ones.`,
    );
  }
  const cache = await sequenceCache(context, shape, cursor);
  if (cache > 1) {
    notes.push(
      `The sequence behind "${name}" has CACHE ${cache}: sessions give out their numbers out of order, and rows can be missed. Give the stream a lookback, such as ${cache * 100}.`,
    );
  }
  return notes;
}

function nullNotes(mode: Mode, cursor: SourceColumn): readonly string[] {
  if (mode !== 'append' || cursor.notNull) return [];
  return [
    `Rows whose "${plain(cursor.name, 63)}" is NULL are read in the first load only: without a key nothing tells new ones apart.`,
  ];
}

function candidateHint(shape: Shape, cursor: SourceColumn): string {
  const names = candidateNames(shape.columns.filter((column) => column !== cursor));
  return names.length === 0 ? '' : `, perhaps ${names.map((name) => `"${plain(name, 63)}"`).join(' or ')}`;
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
