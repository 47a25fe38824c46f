import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run, Stream } from '../../src/core/model.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { answer, queryOf, serve, type TestApi } from '../support/rest-apis.ts';

/** What an API answers once, and wrongly: nothing that has landed may go by it, and what was chosen before is remembered. */

let api: TestApi;
let millrace: MillraceProcess;
const directory = temporaryDirectory();
/** What the API answers, by path. */
const pages: Record<string, unknown> = {};
let count = 0;

beforeAll(async () => {
  api = await serve((request, response) => {
    if (request.url?.startsWith('/filtered')) return answerSlice(request, response);
    const since = queryOf(request).get('since');
    const asked = pages[new URL(request.url ?? '', 'http://x').pathname];
    if (since !== null && Array.isArray(asked))
      return answer(
        response,
        200,
        asked.filter(({ at }) => at >= since),
      );
    answer(response, 200, pages[new URL(request.url ?? '', 'http://x').pathname] ?? []);
  });
  millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: { network: { allowPrivateHttp: ['127.0.0.1'] } },
  });
});
afterAll(async () => {
  await millrace?.kill();
  await api?.[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

interface Started {
  readonly connector: string;
  readonly path: string;
  readonly sync: (input?: object) => Promise<Run>;
  readonly ids: (stream?: string) => unknown[];
}

async function start(
  stream: Partial<Stream>,
  records: unknown,
  more: readonly Stream[] = [],
): Promise<Started> {
  count += 1;
  const connector = `api${count}`;
  const path = `/list${count}`;
  pages[path] = records;
  await millrace.must('register_connector', {
    name: connector,
    type: 'rest_api',
    config: { base_url: api.url },
    streams: [...more, { name: 'a', path, ...stream }],
    test: false,
  });
  return {
    connector,
    path,
    sync: (input = {}) => syncToEnd(millrace, { connector, ...input }),
    ids(name = 'a') {
      const db = new Database(join(directory.dataDir, 'warehouse.db'), { readonly: true });
      try {
        return db.prepare(`SELECT id FROM ${connector}__${name} ORDER BY id`).pluck().all();
      } finally {
        db.close();
      }
    },
  };
}

/** 50 records, 10 a page, of which the third and the last page have none that is ok; every way of paging. */
const all = Array.from({ length: 50 }, (_, at) => ({
  id: at + 1,
  ok: at % 3 !== 0 && ![2, 4].includes(Math.floor(at / 10)),
}));
function answerSlice(request: IncomingMessage, response: ServerResponse): void {
  const query = queryOf(request);
  const after = query.get('after');
  const from =
    after === null
      ? Number(query.get('offset') ?? (Number(query.get('page') ?? 1) - 1) * 10)
      : all.findIndex(({ id }) => id > Number(after));
  const items = from < 0 ? [] : all.slice(from, from + Number(query.get('limit') ?? 10));
  answer(response, 200, request.url?.startsWith('/filtered-bare') ? items : { items });
}

const many = (rows: number): { readonly id: number; readonly at: string }[] =>
  Array.from({ length: rows }, (_, id) => ({
    id,
    at: new Date(Date.UTC(2024, 0, 1) + id * 60_000).toISOString(),
  }));

test.each([
  ['an empty answer', []],
  ['two records that share the key that was found', [{ id: 1 }, { id: 1 }]],
])('%s does not empty a table that is replaced, and nobody has declared a key', async (_, wrong) => {
  const { path, sync, ids } = await start({}, many(1_000));
  await sync();
  expect(ids()).toHaveLength(1_000);
  pages[path] = wrong;
  const [stream] = (await sync()).streams;
  expect(stream, JSON.stringify(stream)).toMatchObject({ status: 'failed' });
  expect(['shrink_refused', 'key_not_unique']).toContain(stream?.error?.code);
  expect(ids()).toHaveLength(1_000);
  pages[path] = many(1_001);
  expect(await sync()).toMatchObject({ status: 'succeeded' });
  expect(ids()).toHaveLength(1_001);
});

test('a key and a mode that were found once hold when an answer is empty', async () => {
  const { path, sync, ids } = await start({ cursor: 'at' }, many(20));
  expect((await sync()).streams[0]).toMatchObject({ mode: 'merge' });
  pages[path] = [];
  expect((await sync()).streams[0]).toMatchObject({ mode: 'merge', status: 'succeeded', rows_written: 0 });
  pages[path] = many(22);
  expect((await sync()).streams[0]).toMatchObject({ mode: 'merge', status: 'succeeded', rows_written: 2 });
  expect(ids()).toHaveLength(22);
});

test('what an empty answer left open is chosen when records come', async () => {
  const { path, sync, ids } = await start({ cursor: 'at' }, []);
  expect((await sync()).streams[0]).toMatchObject({ status: 'succeeded' });
  pages[path] = many(3);
  expect((await sync()).streams[0]).toMatchObject({ status: 'succeeded', mode: 'merge', rows_written: 3 });
  expect(ids()).toEqual([0, 1, 2]);
});

test('a stream that asks otherwise may be smaller', async () => {
  const { connector, sync, ids } = await start({}, many(500));
  await sync();
  pages['/few'] = many(3);
  await millrace.must('update_connector', { connector, streams: [{ name: 'a', path: '/few' }] });
  expect(await sync()).toMatchObject({ status: 'succeeded' });
  expect(ids()).toEqual([0, 1, 2]);
});

test('a key that a later page shares is said, and a row that came twice is counted once', async () => {
  const { path, sync, ids } = await start({ rest: { pagination: { type: 'next_url', next: 'next' } } }, {});
  pages[path] = {
    data: [
      { id: 1, v: 'a' },
      { id: 2, v: 'b' },
    ],
    next: `${api.url}/second`,
  };
  pages['/second'] = {
    data: [
      { id: 1, v: 'c' },
      { id: 2, v: 'b' },
      { id: 3, v: 'd' },
    ],
  };
  const [stream] = (await sync()).streams;
  expect(stream).toMatchObject({ status: 'succeeded', rows_read: 5, rows_written: 3 });
  expect(stream?.warnings?.join()).toMatch(/1 records had the key \(id\) of another record.*primary_key/);
  expect(ids()).toEqual([1, 2, 3]);
  expect((await sync()).streams[0]).toMatchObject({ rows_written: 3 });
});

test("children whose declared key leaves their parent out are said to take each other's place", async () => {
  const { sync, connector } = await start(
    {
      path: '/kids/{id}',
      primary_key: ['id'],
      rest: { parent: { stream: 'parents', field: 'id', param: 'id' } },
    },
    [],
    [{ name: 'parents', path: '/parents' }],
  );
  pages['/parents'] = [{ id: 1 }, { id: 2 }];
  pages['/kids/1'] = [{ id: 1, v: 'a' }];
  pages['/kids/2'] = [{ id: 1, v: 'b' }];
  const { streams } = await sync();
  const kid = streams.find(({ stream }) => stream === 'a');
  expect(kid, connector).toMatchObject({ rows_read: 2, rows_written: 1 });
  expect(kid?.warnings?.join()).toMatch(/column of the parent/);
});

const paginations = {
  offset: { type: 'offset', offset_param: 'offset', limit_param: 'limit', limit: 10 },
  page: { type: 'page', page_param: 'page' },
  keyset: { type: 'keyset', param: 'after', field: 'id' },
  auto: { type: 'auto' },
} as const;

describe.each(Object.entries(paginations))('pages by %s are judged as they came', (_, pagination) => {
  test.each([
    ['items[?ok]', '/filtered', undefined],
    ['items[?ok]', '/filtered', ['id']],
    ['items[?ok].{id: id, twice: id}', '/filtered', undefined],
    ['items[?ok] | [0:100]', '/filtered', ['id']],
    ['[?ok]', '/filtered-bare', undefined],
    ['sort_by(items, &id)[?ok]', '/filtered', undefined],
    ['reverse(reverse(items))[?ok]', '/filtered', ['id']],
    ['items[?id > `1000`]', '/filtered', undefined],
  ])('before records are filtered: %s from %s by %s', async (records, path, primary_key) => {
    const { sync, ids } = await start(
      { path, ...(primary_key === undefined ? {} : { primary_key }), rest: { records, pagination } },
      [],
    );
    const run = await sync();
    expect(run, JSON.stringify(run)).toMatchObject({ status: 'succeeded' });
    if (records.includes('1000')) return expect(run.totals.rows_read).toBe(0);
    expect(ids()).toEqual(all.filter(({ ok }) => ok).map(({ id }) => id));
  });
});

test('rows at the boundary of an append are here once, also when one answer lacked them', async () => {
  const { path, sync, ids } = await start({ cursor: 'at', mode: 'append' }, many(5));
  await sync();
  const lacking = many(5).slice(0, 4);
  for (const answer of [[], [], many(5), lacking, many(5), many(7), [], many(7)]) {
    pages[path] = answer;
    expect(await sync()).toMatchObject({ status: 'succeeded' });
  }
  expect(ids()).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

describe.each([
  ['merge', 'asked for newer records', { cursor_param: 'since', cursor_format: 'iso' }],
  ['append', 'asked for newer records', { cursor_param: 'since', cursor_format: 'iso' }],
  ['merge', 'which sends all', {}],
  ['append', 'which sends all', {}],
] as const)('children by %s of an API that is %s', (mode, _, asks) => {
  const at = (year: number): string => `${year}-01-01T00:00:00Z`;
  const streamOf = (name: string): Partial<Stream> => ({
    path: `/of-${name}/{id}`,
    mode,
    cursor: 'at',
    primary_key: ['parents_id', 'id'],
    rest: { parent: { stream: 'parents', field: 'id', param: 'id' }, ...asks },
  });

  test('of a parent that is new, all are read; of one that was there, what is newer', async () => {
    const name = `n${count + 1}`;
    pages[`/parents-${name}`] = [{ id: 1 }, { id: 3 }];
    pages[`/of-${name}/1`] = [
      { id: 10, at: at(2023) },
      { id: 11, at: at(2024) },
    ];
    pages[`/of-${name}/2`] = [
      { id: 20, at: at(2020) },
      { id: 21, at: at(2024) },
    ];
    const { sync, ids } = await start(streamOf(name), [], [{ name: 'parents', path: `/parents-${name}` }]);
    await sync();
    expect(ids()).toEqual([10, 11]);
    const before = api.requests.length;
    pages[`/parents-${name}`] = [{ id: 1 }, { id: 2 }, { id: 3 }];
    // One that had no child yet has an old one now.
    pages[`/of-${name}/3`] = [{ id: 30, at: at(2019) }];
    pages[`/of-${name}/1`] = [
      { id: 10, at: at(2023) },
      { id: 11, at: at(2024) },
      { id: 12, at: at(2025) },
    ];
    expect(await sync()).toMatchObject({ status: 'succeeded' });
    expect(ids()).toEqual([10, 11, 12, 20, 21, 30]);
    expect(await sync()).toMatchObject({ status: 'succeeded' });
    expect(ids()).toEqual([10, 11, 12, 20, 21, 30]);
    if ('cursor_param' in asks) {
      const asked = api.requests.slice(before).filter((request) => request.includes(`/of-${name}/`));
      expect(asked.filter((request) => request.includes('/1?since='))).toHaveLength(2);
      expect(asked.filter((request) => /\/2$/.test(request))).toHaveLength(1);
    }
  });
});

test('records that are declared where none are, beside a list that has them, are said', async () => {
  const { connector, path, sync, ids } = await start(
    { rest: { records: 'dat' } },
    { data: many(3), total: 3 },
  );
  expect((await sync()).streams[0]).toMatchObject({
    status: 'failed',
    error: { code: 'response_invalid', hint: expect.stringContaining('"data"') },
  });
  await millrace.must('update_connector', {
    connector,
    streams: [{ name: 'a', path, rest: { records: 'data' } }],
  });
  expect(await sync()).toMatchObject({ status: 'succeeded' });
  expect(ids()).toEqual([0, 1, 2]);
  // A list that is left out while there is nothing is an empty one.
  pages[path] = { total: 0, facets: [{ name: 'x' }] };
  expect(await sync()).toMatchObject({ status: 'succeeded' });
  expect(ids()).toEqual([]);
});

test('times finer than a microsecond are read in the order of time, and kept as they came', async () => {
  const at = (text: string, id: number) => ({ id, at: text });
  const first = [at('2024-01-01T00:00:00.1234567Z', 1), at('2024-01-03T00:00:00Z', 2)];
  const { path, sync, ids } = await start({ cursor: 'at', primary_key: ['id'] }, first);
  await sync();
  await sync();
  pages[path] = [...first, at('2024-01-03T00:00:00.7654321Z', 3), at('2024-01-03T02:30:00.7654321+02:00', 4)];
  expect(await sync()).toMatchObject({ status: 'succeeded' });
  expect(ids()).toEqual([1, 2, 3, 4]);
});

test('an expression that takes one record of a page reads on where a page has none for it', async () => {
  const { sync, ids } = await start(
    { path: '/filtered', rest: { records: 'items[?ok] | [0]', pagination: paginations.page } },
    [],
  );
  expect(await sync()).toMatchObject({ status: 'succeeded' });
  expect(ids()).toEqual([2, 11, 32]);
});
