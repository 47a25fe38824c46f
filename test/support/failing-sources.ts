import { setTimeout as sleep } from 'node:timers/promises';
import { type ChaosProxy, startChaosProxy } from './chaos-proxy.ts';
import { freshDatabaseOn, serverKinds } from './databases.ts';
import type { ServerKind } from './dialects.ts';
import { serve } from './http-support.ts';

export type SourceKind = ServerKind | 'rest_api';

export const sourceKinds: readonly SourceKind[] = [...serverKinds, 'rest_api'];

/** What holds the same things, behind any number of proxies: a connector of each type and what it takes to break it. */
export interface FailingSource extends AsyncDisposable {
  readonly type: string;
  /** A proxy in front of it. */
  proxy(): Promise<ChaosProxy>;
  /** A connector's config through a proxy. */
  config(proxy: ChaosProxy): Readonly<Record<string, unknown>>;
  /** The fields of its config that hold a credential which is not the right one, and the right one. */
  readonly credentials: Readonly<Record<'wrong' | 'right', Readonly<Record<string, unknown>>>>;
  /** The fields of its config that say how long it waits: for a connection that speaks, and for an answer. */
  readonly patience: Readonly<Record<'connection' | 'answer', string>>;
  /** `THINGS` rows, more than `thingsBytes` on the wire: in one piece, or read in order so that a run can go on. */
  readonly things: Readonly<Record<string, unknown>>;
  /** One row, after a silence of so long. */
  slow(ms: number): Readonly<Record<string, unknown>>;
}

/** How many rows `things` has. */
export const THINGS = 3_000;
/** On the wire `things` is more than this. */
export const thingsBytes = 200_000;
const body = 'a thing and what there is to say of it, so that it is not too small';

/** A source of that kind, filled. */
export function failingSource(kind: SourceKind): Promise<FailingSource> {
  return kind === 'rest_api' ? failingApi() : failingDatabase(kind);
}

async function failingDatabase(kind: ServerKind): Promise<FailingSource> {
  const database = await freshDatabaseOn(kind);
  const { types, series, silence, connector } = database.dialect;
  await database.run(
    `CREATE TABLE things (id ${types.integer} PRIMARY KEY, body ${types.text})`,
    `INSERT INTO things SELECT n, '${body}' FROM ${series(THINGS)}`,
  );
  const { username, password } = await database.login({ reads: true });
  return {
    type: connector,
    proxy: () => startChaosProxy(database.config),
    config: ({ port }) => ({ ...database.config, username, password, port }),
    credentials: { wrong: { password: `not ${password}` }, right: { password } },
    patience: { connection: 'connect_timeout_ms', answer: 'statement_timeout_ms' },
    things: { name: 'things', table: 'things', mode: 'merge', primary_key: ['id'], cursor: 'id' },
    slow: (ms) => ({ name: 'slow', query: silence(ms / 1000), mode: 'replace' }),
    [Symbol.asyncDispose]: () => database.drop(),
  };
}

async function failingApi(): Promise<FailingSource> {
  const token = 'a-token-that-is-known';
  const things = Array.from({ length: THINGS }, (_, index) => ({ id: index + 1, body }));
  const api = await serve(async (request, response) => {
    if (request.headers['authorization'] !== `Bearer ${token}`)
      return void response.writeHead(401).end('who are you?');
    const [path, query] = request.url.split('?');
    if (path === '/slow') await sleep(Number(new URLSearchParams(query).get('ms')));
    const records = path === '/slow' ? [{ id: 1 }] : things;
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(records));
  });
  const auth = (known: string): Readonly<Record<string, unknown>> => ({
    auth: { type: 'bearer', token: known },
  });
  const rest = { pagination: { type: 'none' } };
  return {
    type: 'rest_api',
    proxy: () => startChaosProxy({ host: '127.0.0.1', port: api.port }),
    config: ({ port }) => ({ base_url: `http://127.0.0.1:${port}`, ...auth(token) }),
    credentials: { wrong: auth('another-token'), right: auth(token) },
    patience: { connection: 'timeout_ms', answer: 'timeout_ms' },
    things: { name: 'things', path: '/things', primary_key: ['id'], rest },
    slow: (ms) => ({ name: 'slow', path: '/slow', primary_key: ['id'], rest: { ...rest, params: { ms } } }),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}
