import type { Stream } from '../../core/model.ts';
import { findColumn, notOrderable } from '../sql/choices.ts';
import { nullsInKey, sharedKey, twice, type UniqueKey, uniqueServes } from '../sql/unique.ts';
import { fromWhere } from './plan.ts';
import type { Shape, ShapeContext, SourceColumn } from './shape.ts';
import { isOrderable } from './types.ts';

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
  const indexes = shape.relation ? await uniqueKeys(context, shape.relation.oid) : [];
  const trusted = shape.relation?.hasChildren ? [] : indexes;
  if (stream.primary_key !== undefined) {
    const key = stream.primary_key.map((name) => findColumn(shape, name, 'primary_key'));
    const names = new Set(key.map((column) => column.name));
    if (names.size !== key.length) throw twice(stream.primary_key);
    for (const column of key) {
      if (!isOrderable(column.type, context.types)) throw notOrderable(column, 'primary_key');
    }
    const backed = trusted.some((index) => index.columns.every((column) => names.has(column)));
    if (!backed) await refuseDuplicates(context, shape, key);
    return key;
  }
  if (shape.relation?.hasChildren && indexes.length > 0) {
    notes.push(
      'The table has child tables, and its primary key does not cover their rows: declare `primary_key` if the rows are unique all the same.',
    );
  }
  const best = trusted.find((index) => index.primary) ?? trusted[0];
  if (!best) return [];
  if (!best.primary) notes.push(uniqueServes(best));
  return best.columns.map((name) => findColumn(shape, name, 'key'));
}

/** Keys that no two rows can share and no row can lack, primary first, then the shortest. */
async function uniqueKeys(
  { session, signal }: ShapeContext,
  relation: number,
): Promise<readonly UniqueKey[]> {
  const rows = await session.query(
    `SELECT i.indisprimary, k.names
     FROM pg_catalog.pg_index i CROSS JOIN LATERAL (
       SELECT pg_catalog.json_agg(a.attname ORDER BY u.n)::text AS names, pg_catalog.bool_and(a.attnotnull) AS present, count(*) AS found
       FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, n)
       JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
       WHERE u.n <= i.indnkeyatts) AS k
     WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.present
     ORDER BY i.indisprimary DESC, k.found, i.indexrelid`,
    [String(relation)],
    { signal },
  );
  return rows.map(([primary, names]) => ({
    primary: primary === 't',
    columns: JSON.parse(names ?? '[]') as string[],
  }));
}

/** A scan of everything, when no index promises it; beyond this we cannot tell, and the run would not start. */
const duplicatesTimeoutMs = 120_000;

async function refuseDuplicates(
  { session, signal }: ShapeContext,
  shape: Shape,
  key: readonly SourceColumn[],
): Promise<void> {
  const refs = key.map((column) => column.ref).join(', ');
  const options = { signal, timeoutMs: duplicatesTimeoutMs };
  const empty = key.map((column) => `${column.ref} IS NULL`).join(' OR ');
  const [nulls] = await session.query(`SELECT count(*)${fromWhere(shape, [`(${empty})`])}`, [], options);
  if (nulls?.[0] !== '0') throw nullsInKey(shape, key, nulls?.[0] ?? '');
  const shown = key.map((column) => `pg_catalog.left(${column.ref}::text, 40)`).join(" || ', ' || ");
  const rows = await session.query(
    `SELECT count(*), coalesce(sum(d.n), 0), min(d.sample) FROM (
       SELECT count(*) AS n, min(${shown}) AS sample${fromWhere(shape)} GROUP BY ${refs} HAVING count(*) > 1) AS d`,
    [],
    options,
  );
  const [groups, sharing, sample] = rows[0] ?? [];
  if (groups === '0') return;
  throw sharedKey(shape, key, { rows: sharing ?? '', keys: groups ?? '', sample: sample ?? '' });
}
