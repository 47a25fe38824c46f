import type { Stream } from '../../core/model.ts';
import { findColumn, notOrderable } from '../sql/choices.ts';
import { nullsInKey, sharedKey, twice, type UniqueKey, uniqueServes } from '../sql/unique.ts';
import { type CatalogueColumn, type CatalogueIndex, catalogueIndexes } from './catalogue.ts';
import { fromWhere } from './plan.ts';
import type { Shape, ShapeContext, SourceColumn } from './shape.ts';
import { travelOf } from './types.ts';

/**
 * The columns that identify a row: the declared ones, checked against the rows where no index promises it, or those
 * of a unique index; empty when there is none. Throws `key_not_unique` for a key that some rows share or lack.
 */
export async function chooseKey(
  context: ShapeContext,
  stream: Stream,
  shape: Shape,
  notes: string[],
): Promise<readonly SourceColumn[]> {
  const keys = await keysOf(context, shape);
  if (stream.primary_key !== undefined) {
    const key = stream.primary_key.map((name) => columnOf(shape, name, 'primary_key'));
    const names = new Set(key.map((column) => column.name));
    if (names.size !== key.length) throw twice(stream.primary_key);
    for (const column of key) if (!travelOf(column.type).orderable) throw notOrderable(column, 'primary_key');
    const backed = keys.some((index) => index.columns.every((column) => names.has(column)));
    if (!backed) await refuseDuplicates(context, shape, key);
    return key;
  }
  const [best] = keys;
  if (!best) return [];
  if (!best.primary) notes.push(uniqueServes(best));
  return best.columns.map((name) => columnOf(shape, name, 'key'));
}

/** The column of that name; upper and lower case are the same in names of columns, on every server. */
export function columnOf(shape: Shape, name: string, what: string): SourceColumn {
  return findColumn(shape, name, what, { foldsCase: true });
}

async function keysOf(context: ShapeContext, { relation, columns }: Shape): Promise<readonly UniqueKey[]> {
  if (!relation || relation.kind === 'view') return [];
  const { schema, name } = relation;
  const indexes = await catalogueIndexes(context, { schema, names: [name] });
  const known = columns.flatMap(({ catalogue }) => (catalogue === null ? [] : [catalogue]));
  return uniqueKeys(indexes.get(name) ?? [], known);
}

/**
 * Keys that no two rows can share and no row can lack, best first: the primary one, those that rows can be found by,
 * the shortest. Columns that the login may not read make none.
 */
export function uniqueKeys(
  indexes: readonly CatalogueIndex[],
  columns: readonly CatalogueColumn[],
): readonly UniqueKey[] {
  const known = new Map(columns.filter(({ mayRead }) => mayRead).map((column) => [column.name, column]));
  return indexes
    .filter(({ unique }) => unique)
    .flatMap((index) => {
      // The end of a version is the same for every row that is current.
      const names = index.parts
        .map(({ column }) => column)
        .filter((name) => name === null || known.get(name)?.expression !== 'ROW END');
      const present = names.filter(
        (name): name is string =>
          name !== null && known.get(name)?.notNull === true && orderable(known.get(name)),
      );
      if (present.length === 0 || present.length < names.length) return [];
      return [{ primary: index.name === 'PRIMARY', columns: present, rank: rank(index) }];
    })
    .sort((a, b) => a.rank - b.rank)
    .map(({ primary, columns: names }) => ({ primary, columns: names }));
}

function orderable(column: CatalogueColumn | undefined): boolean {
  return column !== undefined && travelOf(column.type).orderable;
}

function rank({ name, serves, parts }: CatalogueIndex): number {
  if (name === 'PRIMARY') return 0;
  const found = serves && parts.every(({ prefix }) => !prefix);
  return (found ? 100 : 200) + parts.length;
}

/** A scan of everything, when no index promises it; beyond this we cannot tell, and the run would not start. */
const duplicatesTimeoutMs = 120_000;

async function refuseDuplicates(
  { session, signal }: ShapeContext,
  shape: Shape,
  key: readonly SourceColumn[],
): Promise<void> {
  const options = { signal, timeoutMs: duplicatesTimeoutMs };
  // Of a NOT NULL date both servers say that 0000-00-00 IS NULL, for ODBC's sake.
  const empty = key.filter(({ notNull }) => !notNull).map((column) => `${column.ref} IS NULL`);
  if (empty.length > 0) {
    const missing = fromWhere(shape, [`(${empty.join(' OR ')})`]);
    const [nulls] = await session.query(`SELECT COUNT(*)${missing}`, [], options);
    if (nulls?.[0] !== '0') throw nullsInKey(shape, key, nulls?.[0] ?? '');
  }
  const refs = key.map((column) => column.ref).join(', ');
  const shown = key.map(sampled).join(', ');
  const rows = await session.query(
    `SELECT COUNT(*), COALESCE(SUM(d.n), 0), MIN(d.sample) FROM (
       SELECT COUNT(*) AS n, MIN(CONCAT_WS(', ', ${shown})) AS sample${fromWhere(shape)}
       GROUP BY ${refs} HAVING COUNT(*) > 1) AS d`,
    [],
    options,
  );
  const [groups, sharing, sample] = rows[0] ?? [];
  if (groups === '0') return;
  throw sharedKey(shape, key, { rows: sharing ?? '', keys: groups ?? '', sample: sample ?? '' });
}

function sampled({ type, ref }: SourceColumn): string {
  return travelOf(type).type === 'bytes'
    ? `HEX(SUBSTRING(${ref}, 1, 20))`
    : `LEFT(CONVERT(${ref} USING utf8mb4), 40)`;
}
