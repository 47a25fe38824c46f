import type { Page, PageRequest, Stream, StreamInfo } from '../../core/model.ts';
import { type ColumnFacts, cursorCandidates, suggestedCursor } from '../sql/cursor-candidates.ts';
import { streamName } from '../sql/names.ts';
import { decodePageCursor, encodePageCursor } from '../sql/page-cursor.ts';
import { columnFacts, type UpdateTrigger } from './candidates.ts';
import {
  type CatalogueColumn,
  type CatalogueIndex,
  type CatalogueTable,
  catalogueColumns,
  catalogueIndexes,
  catalogueTables,
  readableTypes,
  type TablesOf,
} from './catalogue.ts';
import { uniqueKeys } from './keys.ts';
import { type LookedAt, newestInFuture } from './newest.ts';
import type { ShapeContext } from './shape.ts';
import { writtenName } from './table-name.ts';
import { travelOf } from './types.ts';

const pageMax = 200;

/**
 * One page of what could become a stream: what the login may read, in order of database and name. First the page by
 * names alone, then what costs something, for its tables only, so that ten thousand tables cost little more than ten;
 * the rows themselves are asked for nothing but the newest entry of an index.
 */
export async function discoverStreams(
  context: ShapeContext,
  request: PageRequest & { readonly search?: string },
): Promise<Page<StreamInfo>> {
  const limit = Math.max(1, Math.min(pageMax, Math.floor(request.limit)));
  const after = decodePageCursor(request.cursor);
  const found = await readableTables(context, { after, search: likePattern(request.search), limit });
  const page = found.slice(0, limit);
  const looked = await lookAt(context, page);
  const future = await newestInFuture(context, looked);

  const taken = new Set<string>();
  const items = looked.map(({ table, facts, columns, key }): StreamInfo => {
    const own = table.schema === context.databases[0];
    const name = streamName(own ? table.name : `${table.schema}_${table.name}`, taken);
    taken.add(name);
    const written = own ? writtenName(table.name) : writtenName(table.schema, table.name);
    const cursor = suggestedCursor(facts, key);
    const suggested: Stream = { name, table: written, ...(cursor === null ? {} : { cursor }) };
    return {
      name,
      table: written,
      kind: table.kind,
      columns: columns.map((column) => ({
        name: column.name,
        type: travelOf(column.type).type,
        source_type: column.type.sql,
        nullable: !column.notNull,
      })),
      primary_key: key,
      ...(table.estimatedRows === null ? {} : { estimated_rows: table.estimatedRows }),
      cursor_candidates: cursorCandidates(facts, {
        estimatedRows: table.estimatedRows,
        future: future.get(table) ?? new Set(),
        isTable: table.kind !== 'view',
        triggersHidden: true,
      }),
      suggested,
    };
  });
  const last = page.at(-1);
  return {
    items,
    ...(found.length > limit && last ? { next_cursor: encodePageCursor(last.schema, last.name) } : {}),
  };
}

/** A table that the login may read at least one column of. */
interface Readable {
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly CatalogueColumn[];
}

interface Wanted {
  readonly after: readonly [string, string] | null;
  /** For LIKE with `|` as its escape; null for everything. */
  readonly search: string | null;
  readonly limit: number;
}

/** Names are asked for in such numbers at least: a login may be shown many tables that it may not read. */
const namesMin = 100;

/** The page's tables, and one more when there is one. */
async function readableTables(
  context: ShapeContext,
  { after, search, limit }: Wanted,
): Promise<readonly Readable[]> {
  const found: Readable[] = [];
  for (const schema of [...context.databases].sort(byBytes)) {
    if (after && byBytes(schema, after[0]) < 0) continue;
    let from = after?.[0] === schema ? after[1] : null;
    for (let more = true; more && found.length <= limit; ) {
      const count = Math.max(namesMin, limit + 1 - found.length);
      const names = await namesOf(context, { schema, from, search, count });
      const columns = await catalogueColumns(context, { schema, names });
      for (const name of names) {
        const readable = (columns.get(name) ?? []).filter(({ mayRead }) => mayRead);
        if (readable.length > 0) found.push({ schema, name, columns: readable });
      }
      more = names.length === count;
      from = names.at(-1) ?? null;
    }
  }
  return found.slice(0, limit + 1);
}

interface NamesWanted {
  readonly schema: string;
  readonly from: string | null;
  readonly search: string | null;
  readonly count: number;
}

/** Compared without case and accents, whatever the collation of the catalogue is; both servers have this one. */
const foldingCollation = 'COLLATE utf8mb4_general_ci';

/**
 * The next names of a database, in the order of their bytes: in any other, two tables that differ by case only would
 * stand at one place. Columns are searched apart: as a condition on each table they would be looked up one by one.
 */
async function namesOf(
  { session, signal }: ShapeContext,
  { schema, from, search, count }: NamesWanted,
): Promise<readonly string[]> {
  const behind = from === null ? '' : 'AND CAST(table_name AS BINARY) > CAST(? AS BINARY)';
  const place = from === null ? [schema] : [schema, from];
  const order = `ORDER BY CAST(table_name AS BINARY) LIMIT ${count}`;
  const types = `table_type IN (${readableTypes.map((type) => `'${type}'`).join(', ')})`;
  const like = (name: string): string =>
    `AND CONVERT(${name} USING utf8mb4) ${foldingCollation} LIKE ? ESCAPE '|'`;
  const named = search === null ? '' : like("CONCAT(table_schema, '.', table_name)");
  const tables = await session.query(
    `SELECT table_name FROM information_schema.tables WHERE table_schema = ? ${behind} AND ${types} ${named} ${order}`,
    search === null ? place : [...place, search],
    { signal },
  );
  const found = new Set(tables.map(([name]) => name ?? ''));
  if (search === null) return [...found];
  const byColumn = await session.query(
    `SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = ? ${behind} ${like('column_name')} ${order}`,
    [...place, search],
    { signal },
  );
  for (const [name] of byColumn) found.add(name ?? '');
  return [...found].sort(byBytes).slice(0, count);
}

interface Discovered extends LookedAt {
  readonly table: CatalogueTable;
  readonly facts: readonly ColumnFacts[];
  readonly columns: readonly CatalogueColumn[];
  readonly key: readonly string[];
}

/** What the catalogue says about these tables, database by database; those that are gone meanwhile are left out. */
async function lookAt(context: ShapeContext, found: readonly Readable[]): Promise<readonly Discovered[]> {
  const looked: Discovered[] = [];
  for (const schema of new Set(found.map((table) => table.schema))) {
    const here = found.filter((table) => table.schema === schema);
    const names = here.map(({ name }) => name);
    const tables = await catalogueTables(context, { schema, names });
    const indexes = await catalogueIndexes(context, { schema, names });
    const triggers = await updateTriggers(context, { schema, names });
    for (const { name, columns } of here) {
      const table = tables.get(name);
      if (!table) continue;
      const known: readonly CatalogueIndex[] = indexes.get(name) ?? [];
      const facts = columns.map((column) =>
        columnFacts(column, { indexes: known, triggers: triggers.get(name) ?? [] }),
      );
      const key = uniqueKeys(known, columns)[0]?.columns ?? [];
      looked.push({ table, facts, columns, key });
    }
  }
  return looked;
}

/** What runs before an UPDATE of these tables: shown only to a login that may make triggers itself. */
async function updateTriggers(
  { session, signal }: ShapeContext,
  { schema, names }: TablesOf,
): Promise<ReadonlyMap<string, readonly UpdateTrigger[]>> {
  const rows = await session.query(
    `SELECT event_object_table, trigger_name, action_statement FROM information_schema.triggers
     WHERE event_object_schema = ? AND event_object_table IN (${names.map(() => '?').join(', ')})
       AND event_manipulation = 'UPDATE' AND action_timing = 'BEFORE'`,
    [schema, ...names],
    { signal },
  );
  const found = new Map<string, UpdateTrigger[]>();
  for (const [table, name, body] of rows) {
    const trigger = { name: name ?? '', body: body ?? '' };
    found.set(table ?? '', [...(found.get(table ?? '') ?? []), trigger]);
  }
  return found;
}

/** The search as a substring: `%` and `_` in it mean themselves. */
function likePattern(search: string | undefined): string | null {
  if (search === undefined || search.trim() === '') return null;
  return `%${search.trim().slice(0, 200).replaceAll(/[|%_]/g, '|$&')}%`;
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
