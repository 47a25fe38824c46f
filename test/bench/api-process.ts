import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { apiRow, firstSince } from './api-rows.ts';
import { TABLE_NAMES, type TableName } from './tables.ts';

/**
 * The API that is moved from, in a process of its own. `GET /narrow?after=2000&since=2026-01-01T00:00:00Z` answers
 * `{"data": […], "next": "3000"}`, oldest first. The pages of a whole table are made when it is filled and only sent
 * while the clock runs, so that no contender pays for what its server does.
 */
interface Held {
  readonly rows: number;
  /** Prepared pages; where one is missing it is made when it is asked for. */
  readonly pages: (Buffer | undefined)[];
  readonly touchedAt: number;
  /** Touched rows as they are now, by id. */
  readonly touched: ReadonlyMap<number, string>;
}

/** What `source-rest.ts` asks of this process. */
export interface ApiCall {
  readonly op: 'fill' | 'touch' | 'drop';
  readonly table: TableName;
  /** How many, to `fill`. */
  readonly rows?: number;
}

const pageRows = 1000;
const nothing: Held = { rows: 0, pages: [], touchedAt: 0, touched: new Map() };
const tables = new Map<TableName, Held>();

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://api');
  const table = TABLE_NAMES.find((name) => pathname === `/${name}`);
  if (table === undefined) return void response.writeHead(404).end();
  const after = Number(searchParams.get('after') ?? 0);
  const since = searchParams.get('since');
  const body = since === null ? wholePage(table, after) : newPage(table, { after, since: Date.parse(since) });
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body);
});
// `port` first: the address is what the benchmark waits for.
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('message', (call: ApiCall) => process.send?.(carryOut(call)));
process.on('disconnect', () => process.exit());

/** How many rows it was about. */
function carryOut({ op, table, rows = 0 }: ApiCall): number {
  switch (op) {
    case 'fill':
      tables.set(table, { ...nothing, rows, pages: [] });
      for (let after = 0; after < rows; after += pageRows) wholePage(table, after);
      return rows;
    case 'touch':
      return touch(table);
    case 'drop':
      return tables.delete(table) ? 1 : 0;
    default:
      throw op satisfies never;
  }
}

/** Changes every hundredth row, now. */
function touch(table: TableName): number {
  const { rows } = tables.get(table) ?? nothing;
  const touchedAt = Date.now();
  const touched = new Map<number, string>();
  for (let id = 100; id <= rows; id += 100) touched.set(id, JSON.stringify(apiRow(table, id, touchedAt)));
  tables.set(table, { rows, pages: [], touchedAt, touched });
  return touched.size;
}

function wholePage(table: TableName, after: number): Buffer {
  const { rows, pages } = tables.get(table) ?? nothing;
  const prepared = pages[after / pageRows];
  if (prepared !== undefined) return prepared;
  const ids = range(after + 1, Math.min(after + pageRows, rows));
  const made = page(table, ids, after + pageRows < rows ? after + pageRows : null);
  pages[after / pageRows] = made;
  return made;
}

/** What is new since then: rows that were made later, then those that were touched. `after` counts rows of this list. */
function newPage(
  table: TableName,
  { after, since }: { readonly after: number; readonly since: number },
): Buffer {
  const { rows, touched, touchedAt } = tables.get(table) ?? nothing;
  const made = range(firstSince(since), rows).filter((id) => !touched.has(id));
  const ids = [...made, ...(touchedAt >= since ? touched.keys() : [])];
  const next = after + pageRows < ids.length ? after + pageRows : null;
  return page(table, ids.slice(after, after + pageRows), next);
}

function page(table: TableName, ids: readonly number[], next: number | null): Buffer {
  const { touched } = tables.get(table) ?? nothing;
  const texts = ids.map((id) => touched.get(id) ?? JSON.stringify(apiRow(table, id, null)));
  return Buffer.from(`{"data":[${texts.join(',')}],"next":${next === null ? null : `"${next}"`}}`);
}

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, at) => from + at);
}
