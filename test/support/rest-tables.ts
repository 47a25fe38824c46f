/** An API over tables that can change their rows and their shape at any moment: what a service in front of a database is. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type ApiTable, createTable } from './rest-table.ts';

/** The tables, and doors to them; each table a list below its name. */
export interface TablesApi extends AsyncDisposable {
  readonly tables: Map<string, ApiTable>;
  /** Lists that take a question and never answer it. */
  readonly silent: Set<string>;
  /** Lists that cannot be read from their n-th record on. */
  readonly broken: Map<string, number>;
  make(name: string, table: Parameters<typeof createTable>[0]): ApiTable;
  /** One more address of the same API, with connections of its own. */
  door(): Promise<Door>;
}

export interface Door {
  readonly host: string;
  readonly port: number;
  /** Connections, and requests that are being answered. */
  readonly sessions: () => { readonly open: number; readonly busy: number };
  /** Resets every connection. */
  readonly cut: () => void;
}

export interface ApiRights {
  readonly token: string;
  /** A token that is known and may read nothing. */
  readonly barred: string;
}

/** Records a page at most. */
const pageMax = 400;

/**
 * `GET /<table>?by=<column>&since=<value>&page=<token>`: the records in order of the key, or of `by` and then the key; with
 * `since` those whose `by` is no less, and so none where it is null. `GET /openapi.json` describes it all.
 */
export function serveTables(rights: ApiRights): TablesApi {
  const servers: Server[] = [];
  const api: TablesApi = {
    tables: new Map(),
    silent: new Set(),
    broken: new Map(),
    make(name, spec) {
      const table = createTable(spec);
      api.tables.set(name, table);
      return table;
    },
    door: () =>
      openDoor(servers, (request, response) => {
        const status = statusFor(rights, request.headers.authorization);
        if (status === null) answer(api, request, response);
        else send(response, status, '{"error":"not for you"}');
      }),
    async [Symbol.asyncDispose]() {
      for (const server of servers) server.closeAllConnections();
      await Promise.all(servers.map((server) => new Promise((settle) => server.close(settle))));
    },
  };
  return api;
}

function statusFor({ token, barred }: ApiRights, authorization: string | undefined): 401 | 403 | null {
  if (authorization === `Bearer ${barred}`) return 403;
  return authorization === `Bearer ${token}` ? null : 401;
}

async function openDoor(
  servers: Server[],
  listen: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Door> {
  const sockets = new Set<Socket>();
  let busy = 0;
  const server = createServer((request, response) => {
    busy += 1;
    response.on('close', () => {
      busy -= 1;
    });
    listen(request, response);
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
  });
  servers.push(server);
  await new Promise<void>((settle, fail) => server.once('error', fail).listen(0, '127.0.0.1', settle));
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    sessions: () => ({ open: sockets.size, busy }),
    cut: () => {
      for (const socket of sockets) socket.resetAndDestroy();
    },
  };
}

function answer(api: TablesApi, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const name = decodeURIComponent(url.pathname.slice(1));
  const table = api.tables.get(name);
  if (name === 'openapi.json') send(response, 200, JSON.stringify(documentOf(api.tables)));
  else if (table === undefined) send(response, 404, '{"error":"no such list"}');
  else if (!api.silent.has(name))
    send(response, 200, pageOf(table, url.searchParams, api.broken.get(name) ?? Number.POSITIVE_INFINITY));
}

function pageOf(table: ApiTable, asked: URLSearchParams, broken: number): string {
  const { texts, next, seen } = table.page({
    by: asked.get('by'),
    since: asked.get('since'),
    after: asked.get('page'),
    limit: pageMax,
  });
  const data = seen > broken ? `${texts[0]},{"id":` : texts.join(',');
  return `{"data":[${data}],"next":${JSON.stringify(next)}}`;
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body);
}

/** OpenAPI 3, its lists in the order of their names. */
function documentOf(tables: ReadonlyMap<string, ApiTable>): object {
  const paths = [...tables]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, table]) => {
      const list = {
        type: 'object',
        properties: { data: { type: 'array', items: table.schema() }, next: { type: 'string' } },
      };
      const content = { 'application/json': { schema: list } };
      const get = { parameters: [], responses: { 200: { description: 'a page', content } } };
      return [`/${encodeURIComponent(name)}`, { get }];
    });
  return {
    openapi: '3.0.3',
    info: { title: 'Tables', version: '1' },
    servers: [{ url: '/' }],
    paths: Object.fromEntries(paths),
  };
}
