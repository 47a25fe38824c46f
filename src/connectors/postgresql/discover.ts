import type { Page, PageRequest, Stream, StreamInfo, StreamKind } from '../../core/model.ts';
import { type ColumnFacts, cursorCandidates, suggestedCursor } from '../sql/cursor-candidates.ts';
import { streamName } from '../sql/names.ts';
import { decodePageCursor, encodePageCursor } from '../sql/page-cursor.ts';
import { type CatalogueColumn, columnFacts } from './candidates.ts';
import { newestInFuture } from './newest.ts';
import type { TextRow } from './session.ts';
import type { ShapeContext } from './shape.ts';
import { learnTypes, travelOf } from './types.ts';

const pageMax = 200;

/**
 * One page of what could become a stream: what the login may read, in order of schema and name, partitions
 * as their one table. Told from the catalogue and its statistics alone, so that ten thousand tables cost no more
 * than ten; the rows themselves are asked for nothing but the newest entry of an index.
 */
export async function discoverStreams(
  context: ShapeContext,
  request: PageRequest & { readonly search?: string },
): Promise<Page<StreamInfo>> {
  const { session, types, schemas, signal } = context;
  const limit = Math.max(1, Math.min(pageMax, Math.floor(request.limit)));
  const after = decodePageCursor(request.cursor);
  const rows = await session.query(
    tablesSql,
    [
      after?.[0] ?? null,
      after?.[1] ?? null,
      likePattern(request.search),
      textArray(schemas),
      String(limit + 1),
    ],
    { signal },
  );
  const tables = rows.slice(0, limit).map(toTable);
  const catalogue = await catalogueColumns(
    context,
    tables.map(({ oid }) => oid),
  );
  await learnTypes(
    session,
    [...catalogue.values()].flatMap((columns) => columns.map(({ type }) => type)),
    types,
  );
  const facts = new Map<number, readonly ColumnFacts[]>(
    tables.map(({ oid, estimatedRows }) => [
      oid,
      (catalogue.get(oid) ?? []).map((column) => columnFacts(column, estimatedRows)),
    ]),
  );
  const future = await newestInFuture(context, tables, facts);

  const taken = new Set<string>();
  const items = tables.map((table): StreamInfo => {
    const columns = catalogue.get(table.oid) ?? [];
    const known = facts.get(table.oid) ?? [];
    const name = streamName(table.schema === 'public' ? table.name : `${table.schema}_${table.name}`, taken);
    taken.add(name);
    const candidates = cursorCandidates(known, {
      estimatedRows: table.estimatedRows,
      future: future.get(table.oid) ?? new Set(),
      isTable: table.isTable,
    });
    const cursor = suggestedCursor(known, table.key);
    const suggested: Stream = { name, table: table.sql, ...(cursor === null ? {} : { cursor }) };
    return {
      name,
      table: table.sql,
      kind: table.kind,
      columns: columns.map((column) => ({
        name: column.name,
        type: travelOf(column.type, types).type,
        source_type: column.typeName,
        nullable: !column.notNull,
      })),
      primary_key: table.key,
      ...(table.estimatedRows === null ? {} : { estimated_rows: table.estimatedRows }),
      cursor_candidates: candidates,
      suggested,
    };
  });
  const last = tables.at(-1);
  return {
    items,
    ...(rows.length > limit && last ? { next_cursor: encodePageCursor(last.schema, last.name) } : {}),
  };
}

/** A table of the page. */
export interface DiscoveredTable {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly sql: string;
  readonly kind: StreamKind;
  readonly estimatedRows: number | null;
  readonly key: readonly string[];
  readonly isTable: boolean;
}

/** First the page by names alone, then what costs something, for its rows only. */
const tablesSql = `
WITH page AS MATERIALIZED (
  SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples, c.relpages, c.relhassubclass
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(temp|toast)_'
    AND ($4::text[] = '{}' OR n.nspname = ANY ($4::text[]))
    AND ($1::text IS NULL OR (n.nspname, c.relname) > ($1::name, $2::name))
    AND ($3::text IS NULL OR n.nspname || '.' || c.relname ILIKE $3 OR EXISTS (
      SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname ILIKE $3))
    AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND (pg_catalog.has_table_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT'))
  ORDER BY n.nspname, c.relname LIMIT $5::int
)
SELECT p.oid, p.nspname, p.relname, pg_catalog.quote_ident(p.nspname) || '.' || pg_catalog.quote_ident(p.relname), p.relkind,
  CASE p.relkind
    WHEN 'v' THEN NULL
    WHEN 'p' THEN (SELECT sum(greatest(l.reltuples, 0))::bigint FROM pg_catalog.pg_partition_tree(p.oid) t JOIN pg_catalog.pg_class l ON l.oid = t.relid WHERE t.isleaf)
    ELSE CASE WHEN p.reltuples < 0 OR (p.reltuples = 0 AND p.relpages = 0) THEN NULL ELSE p.reltuples::bigint END
  END,
  (SELECT k.names FROM pg_catalog.pg_index i CROSS JOIN LATERAL (
     SELECT pg_catalog.json_agg(a.attname ORDER BY u.n)::text AS names, pg_catalog.bool_and(a.attnotnull) AS present, count(*) AS found
     FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, n)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum WHERE u.n <= i.indnkeyatts) AS k
   WHERE i.indrelid = p.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.present
     AND NOT (p.relkind = 'r' AND p.relhassubclass)
   ORDER BY i.indisprimary DESC, k.found, i.indexrelid LIMIT 1)
FROM page p ORDER BY p.nspname, p.relname`;

const kinds: Readonly<Record<string, StreamKind>> = {
  r: 'table',
  v: 'view',
  m: 'materialized_view',
  p: 'partitioned_table',
  f: 'foreign_table',
};

function toTable([oid, schema, name, sql, kind, estimate, key]: TextRow): DiscoveredTable {
  return {
    oid: Number(oid),
    schema: schema ?? '',
    name: name ?? '',
    sql: sql ?? '',
    kind: kinds[kind ?? ''] ?? 'table',
    estimatedRows: estimate === null || estimate === undefined ? null : Number(estimate),
    key: key ? (JSON.parse(key) as string[]) : [],
    isTable: kind === 'r' || kind === 'p',
  };
}

interface TypedColumn extends CatalogueColumn {
  readonly type: number;
}

async function catalogueColumns(
  { session, signal }: ShapeContext,
  oids: readonly number[],
): Promise<ReadonlyMap<number, readonly TypedColumn[]>> {
  const found = new Map<number, TypedColumn[]>();
  if (oids.length === 0) return found;
  const rows = await session.query(columnsSql, [`{${oids.join(',')}}`], { signal });
  for (const [
    table,
    name,
    type,
    typeName,
    notNull,
    fill,
    indexed,
    unique,
    trigger,
    nulls,
    distinct,
  ] of rows) {
    const column: TypedColumn = {
      name: name ?? '',
      type: Number(type),
      typeName: typeName ?? '',
      notNull: notNull === 't',
      fill: fill ?? '',
      indexed: indexed === 't',
      unique: unique === 't',
      trigger: trigger ?? null,
      nullShare: number(nulls),
      distinct: number(distinct),
    };
    const known = found.get(Number(table));
    if (known) known.push(column);
    else found.set(Number(table), [column]);
  }
  return found;
}

/** `indexed`: leads an index that covers every row. `trigger`: one BEFORE UPDATE whose function speaks of the column. */
const columnsSql = `
SELECT a.attrelid, a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
  CASE WHEN a.attidentity <> '' THEN 'identity' ELSE pg_catalog.left(pg_catalog.pg_get_expr(d.adbin, d.adrelid), 200) END,
  EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum),
  EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisvalid AND i.indisunique AND i.indpred IS NULL
    AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
  (SELECT t.tgname FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
   WHERE t.tgrelid = a.attrelid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 19 = 19
     AND pg_catalog.strpos(p.prosrc, a.attname) > 0 LIMIT 1),
  s.null_frac, s.n_distinct
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN LATERAL (
  SELECT st.null_frac, st.n_distinct FROM pg_catalog.pg_stats st
  WHERE st.schemaname = n.nspname AND st.tablename = c.relname AND st.attname = a.attname
    AND (pg_catalog.format_type(a.atttypid, a.atttypmod) ~ '^(timestamp|date|bigint|integer)')
  ORDER BY st.inherited DESC LIMIT 1) AS s ON true
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
ORDER BY a.attrelid, a.attnum`;

function number(text: string | null | undefined): number | null {
  return text === null || text === undefined ? null : Number(text);
}

/** The search as a substring: `%` and `_` in it mean themselves. */
function likePattern(search: string | undefined): string | null {
  if (search === undefined || search.trim() === '') return null;
  return `%${search
    .trim()
    .slice(0, 200)
    .replaceAll(/[\\%_]/g, '\\$&')}%`;
}

function textArray(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`;
}
