import type { ServerResponse } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import { freshWarehouse, type Warehouse } from '../support/landed.ts';
import { answer, queryOf, serve, type TestApi } from '../support/rest-apis.ts';

/** Lists that are asked for once for each row of another stream. */

interface Order {
  readonly id: number | string;
  readonly lines: number;
}

let orders: Order[];
let api: TestApi;
let warehouse: Warehouse;
let before: (url: URL) => Promise<void> | void;
let most: number;
let now: number;

beforeEach(async () => {
  orders = Array.from({ length: 23 }, (_, at) => ({ id: at + 1, lines: (at * 7) % 13 }));
  before = () => undefined;
  most = 0;
  now = 0;
  api = await serve((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    void (async () => {
      now += 1;
      most = Math.max(most, now);
      await before(url);
      now -= 1;
      const query = queryOf(request);
      const offset = Number(query.get('offset') ?? 0);
      if (url.pathname === '/orders')
        return answer(response, 200, { data: orders.slice(offset, offset + 5) });
      const named = /^\/orders\/([^/]+)\/lines$/.exec(url.pathname)?.[1] ?? query.get('order') ?? '';
      const order = orders.find(({ id }) => String(id) === decodeURIComponent(named));
      if (order === undefined) return answer(response, 404, { error: 'no such order' });
      const lines = Array.from({ length: order.lines }, (_, at) => ({
        line: at + 1,
        text: `${order.id}/${at + 1}`,
      }));
      return answer(response, 200, { data: lines.slice(offset, offset + 5) });
    })();
  });
  warehouse = freshWarehouse();
});
afterEach(async () => {
  warehouse[Symbol.dispose]();
  await api[Symbol.asyncDispose]();
});

const pagination = { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 5 };
const parent = { name: 'orders', path: '/orders', primary_key: ['id'], rest: { pagination } };

function lines(more: object = {}, rest: object = {}): object {
  return {
    name: 'lines',
    path: '/orders/{order}/lines',
    primary_key: ['orders_id', 'line'],
    mode: 'merge',
    ...more,
    rest: { records: 'data', pagination, parent: { stream: 'orders', field: 'id', param: 'order' }, ...rest },
  };
}

function expected(): unknown[] {
  return orders.flatMap(({ id, lines: count }) =>
    Array.from({ length: count }, (_, at) => ({ orders_id: id, line: at + 1, text: `${id}/${at + 1}` })),
  );
}

function landed(): unknown[] {
  return warehouse.query('SELECT orders_id, line, text FROM api__lines ORDER BY orders_id, line');
}

describe('a list for each row of another', () => {
  test('with the value in the path', async () => {
    const result = await warehouse.sync({ url: api.url, stream: lines(), streams: [parent] });
    expect(result.error).toBeUndefined();
    expect(landed()).toEqual(expected());
    expect(await warehouse.sync({ url: api.url, stream: lines(), streams: [parent] })).toMatchObject({
      rows_written: 0,
    });
  });

  describe('where some have none, and a rule passes over what the API says then', () => {
    const ways = {
      offset: pagination,
      page: { type: 'page', page_param: 'page', size_param: 'limit', size: 5 },
    } as const;
    const none = [
      [404, { error: 'none' }, { status: 404, do: 'skip' }, 1],
      [403, { error: 'not yours' }, { status: [403, 404], do: 'skip' }, 1],
      [200, { error: 'none' }, { when: 'error', do: 'skip' }, 2],
      // A fault may be of one page.
      [500, { error: 'fault' }, { status: 500, do: 'skip' }, 2],
    ] as const;
    test.each((['offset', 'page'] as const).flatMap((way) => none.map((one) => [way, ...one] as const)))(
      'by %s: %i %o',
      async (...[way, status, body, rule, requests]) => {
        await using lists = await serve((request, response) => {
          const query = queryOf(request);
          const from = Number(query.get('offset') ?? (Number(query.get('page') ?? 1) - 1) * 5);
          const path = request.url?.split('?')[0];
          if (path === '/orders') return answer(response, 200, { data: orders.slice(0, 4) });
          if (path !== '/orders/2/lines') return answer(response, status, body);
          const text = Array.from({ length: 8 }, (_, at) => ({ line: at + 1, text: `2/${at + 1}` }));
          return from >= 8 && status === 404
            ? answer(response, status, body)
            : answer(response, 200, { data: text.slice(from, from + 5) });
        });
        const own = { ...parent, rest: { pagination: { type: 'none' } } };
        const stream = lines({}, { pagination: ways[way], responses: [rule] });
        const result = await warehouse.sync({ url: lists.url, stream, streams: [own] });
        expect(result.error).toBeUndefined();
        expect(result.rows_written).toBe(8);
        const asked = (order: number): number =>
          lists.requests.filter((line) => line.includes(`/orders/${order}/lines`)).length;
        expect([asked(3), asked(4)]).toEqual([requests, requests]);
      },
    );
  });

  test('in the query, and by replace', async () => {
    const stream = lines({ path: '/lines', mode: 'replace' });
    expect((await warehouse.sync({ url: api.url, stream, streams: [parent] })).error).toBeUndefined();
    expect(landed()).toEqual(expected());
  });

  test('several at one time, and no more than that', async () => {
    before = () => sleep(5);
    const stream = lines({}, { parent: { stream: 'orders', field: 'id', param: 'order', concurrency: 3 } });
    await warehouse.sync({ url: api.url, stream, streams: [parent] });
    expect(landed()).toEqual(expected());
    expect(most).toBe(3);
  });

  test('one request at a time is enough', async () => {
    const config = { rate_limit: { concurrency: 1 } };
    expect(
      (await warehouse.sync({ url: api.url, stream: lines(), streams: [parent], config })).error,
    ).toBeUndefined();
    expect(landed()).toEqual(expected());
    expect(most).toBe(1);
  });

  test('a parent that is gone meanwhile has no rows, and values are sent as they are', async () => {
    orders = [
      { id: 'a/b c?', lines: 2 },
      { id: 'ü', lines: 1 },
      { id: 'x', lines: 3 },
    ];
    before = (url) => {
      if (url.pathname.includes('%C3%BC')) orders = orders.filter(({ id }) => id !== 'x');
    };
    const result = await warehouse.sync({ url: api.url, stream: lines(), streams: [parent] });
    expect(result.error).toBeUndefined();
    expect(landed()).toEqual(expected());
  });

  test('a value that would walk through paths is refused', async () => {
    orders = [{ id: '..', lines: 2 }];
    const result = await warehouse.sync({ url: api.url, stream: lines(), streams: [parent] });
    expect(result.error).toMatchObject({ code: 'response_invalid' });
    expect(api.requests.filter((line) => !line.startsWith('GET /orders')).length).toBe(0);
  });

  test('no parents, no rows', async () => {
    orders = [];
    expect(await warehouse.sync({ url: api.url, stream: lines(), streams: [parent] })).toMatchObject({
      status: 'succeeded',
      rows_written: 0,
    });
  });

  test.each([
    [[], 'is not a stream of this connector'],
    [
      [{ ...parent, rest: { ...parent.rest, parent: { stream: 'x', field: 'y', param: 'z' } } }],
      'has a parent itself',
    ],
  ])('says what is wrong with the parent', async (streams, message) => {
    const result = await warehouse.sync({ url: api.url, stream: lines(), streams });
    expect(result.error).toMatchObject({ code: 'invalid_config', message: expect.stringContaining(message) });
  });
});

describe('cut off at any request', () => {
  test('it goes on behind the parents that are done, and nothing is lost or doubled', async () => {
    await warehouse.sync({ url: api.url, stream: lines(), streams: [parent] });
    const whole = api.requests.length;
    for (let cut = 4; cut < whole; cut += 3) {
      using own = freshWarehouse();
      const stop = new AbortController();
      const base = api.requests.length;
      before = () => {
        if (api.requests.length - base === cut)
          stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
      };
      await own.sync({ url: api.url, stream: lines(), streams: [parent], signal: stop.signal });
      before = () => undefined;
      const from = api.requests.length;
      expect((await own.sync({ url: api.url, stream: lines(), streams: [parent] })).error).toBeUndefined();
      expect(
        own.query('SELECT orders_id, line, text FROM api__lines ORDER BY orders_id, line'),
        `cut at ${cut}`,
      ).toEqual(expected());
      // Late cuts leave little to do.
      if (cut > whole * 0.8) expect(api.requests.length - from).toBeLessThan(whole * 0.5);
    }
  });

  test('parents that were added or removed meanwhile are seen or passed over', async () => {
    const stop = new AbortController();
    before = () => {
      if (api.requests.length === 25) stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
    };
    await warehouse.sync({ url: api.url, stream: lines(), streams: [parent], signal: stop.signal });
    before = () => undefined;
    const gone = orders.splice(3, 2);
    orders.push({ id: 99, lines: 4 });
    expect(
      (await warehouse.sync({ url: api.url, stream: lines(), streams: [parent] })).error,
    ).toBeUndefined();
    const kept = landed().filter(
      (row) => !gone.some(({ id }) => id === (row as { orders_id: number }).orders_id),
    );
    expect(kept).toEqual(expected());
  });
});

describe('the list of one parent, by cursor', () => {
  const orders1 = {
    name: 'orders',
    path: '/orders',
    primary_key: ['id'],
    rest: { pagination: { type: 'none' } },
  };
  const byCursor = lines({}, { pagination: { type: 'cursor', cursor_param: 'at', next: 'next' } });

  test('whose cursor expires in the middle does not end there; the next run begins that list anew', async () => {
    const asked: string[] = [];
    let generation = 'a';
    await using cursors = await serve((request, response) => {
      const url = new URL(request.url ?? '/', 'http://localhost');
      if (url.pathname === '/orders') return answer(response, 200, { data: [{ id: 4 }] });
      const at = url.searchParams.get('at') ?? `${generation}0`;
      asked.push(at);
      if (!at.startsWith(generation)) return answer(response, 410, { error: 'cursor expired' });
      const from = Number(at.slice(1));
      const data = [from + 1, from + 2].map((line) => ({ line, text: `4/${line}` }));
      answer(response, 200, { data, next: from < 6 ? `${generation}${from + 2}` : null });
      if (at === 'a2') generation = 'b';
      return undefined;
    });
    const sync = (): ReturnType<Warehouse['sync']> =>
      warehouse.sync({ url: cursors.url, stream: byCursor, streams: [orders1] });
    expect((await sync()).error).toMatchObject({
      code: 'not_found_at_source',
      message: expect.stringContaining('cursor expired'),
    });
    asked.length = 0;
    const second = await sync();
    expect(second.error).toBeUndefined();
    expect(second.warnings?.join()).toContain('read from its beginning');
    // The first is what a look asks for.
    expect(asked.slice(1)).toEqual(['a4', 'b0', 'b2', 'b4', 'b6']);
    expect(warehouse.query('SELECT line FROM api__lines ORDER BY line')).toEqual(
      Array.from({ length: 8 }, (_, at) => ({ line: at + 1 })),
    );
  });
});

describe('cut off in the middle of a list', () => {
  /** Two parents a page; each list has `last` pages, one row on each. */
  interface Shelves {
    ids: number[];
    last: number;
    parents: 'page' | 'cursor' | 'all';
    children: 'link_header' | 'page';
    /** Cursors of the parents begin with it; others are refused. */
    token: string;
    hook: (url: URL) => void;
  }
  let shelves: Shelves;
  let shop: TestApi;
  beforeEach(async () => {
    shelves = { ids: [1, 2, 3, 4], last: 3, parents: 'page', children: 'page', token: 'old', hook: () => {} };
    shop = await serve((request, response) => {
      const url = new URL(request.url ?? '/', shop.url);
      shelves.hook(url);
      if (url.pathname === '/shelves') return shelvesOf(url, response);
      const id = Number(url.pathname.split('/')[2]);
      const page = Number(url.searchParams.get('page') ?? 1);
      if (page > shelves.last) return answer(response, 200, []);
      url.searchParams.set('page', String(page + 1));
      const more = shelves.children === 'link_header' && page < shelves.last;
      const link = more ? { link: `<${url.href}>; rel="next"` } : {};
      return answer(response, 200, [{ sku: `${id}/${page}` }], link);
    });
  });
  afterEach(() => shop[Symbol.asyncDispose]());

  function shelvesOf(url: URL, response: ServerResponse): void {
    const { ids, parents, token } = shelves;
    const all = ids.map((id) => ({ id }));
    const asked = url.searchParams.get('cursor');
    const known = asked === null || asked.startsWith(token);
    const page = Number(url.searchParams.get('page') ?? asked?.slice(token.length) ?? 1);
    const data = parents === 'all' ? all : all.slice(page * 2 - 2, page * 2);
    const next = page * 2 < all.length ? `${token}${page + 1}` : null;
    answer(response, known ? 200 : 400, known ? { data, next } : { error: 'no such cursor' });
  }

  const ways = {
    page: { type: 'page', page_param: 'page' },
    cursor: { type: 'cursor', cursor_param: 'cursor', next: 'next' },
    all: { type: 'none' },
    link_header: { type: 'link_header' },
  };

  function run(): { url: string; stream: object; streams: object[] } {
    const rest = { records: 'data', pagination: ways[shelves.parents] };
    const of = { stream: 'shelves', field: 'id', param: 'id' };
    return {
      url: shop.url,
      streams: [{ name: 'shelves', path: '/shelves', primary_key: ['id'], rest }],
      stream: {
        name: 'goods',
        path: '/shelves/{id}/goods',
        primary_key: ['shelves_id', 'sku'],
        mode: 'merge',
        rest: { pagination: ways[shelves.children], parent: of },
      },
    };
  }

  /** Stops when a page is asked for: the position in front of it has landed. */
  async function stopAt(path: string, page: number): Promise<Record<string, unknown>> {
    const stop = new AbortController();
    shelves.hook = (url) => {
      if (url.pathname === path && url.searchParams.get('page') === String(page))
        stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
    };
    expect((await warehouse.sync({ ...run(), signal: stop.signal })).status).toBe('cancelled');
    shelves.hook = () => {};
    return JSON.parse(String(warehouse.query('SELECT cursor FROM _millrace_cursors')[0]?.['cursor'])).run;
  }

  function goods(ids = shelves.ids): unknown[] {
    return ids.flatMap((id) => Array.from({ length: shelves.last }, (_, at) => [id, `${id}/${at + 1}`]));
  }

  function landedGoods(): unknown[] {
    return warehouse
      .query('SELECT shelves_id, sku FROM api__goods ORDER BY shelves_id, sku')
      .map(({ shelves_id, sku }) => [shelves_id, sku]);
  }

  test('its page is gone on with for its own parent only, where the page of parents before is read again', async () => {
    shelves.children = 'link_header';
    const { at, parent } = (await stopAt('/shelves/3/goods', 3)) as { at: object; parent: object };
    expect(at).toMatchObject({ at: 'url', url: `${shop.url}/shelves/3/goods?page=3` });
    expect(parent).toMatchObject({ page: { page: 2 }, done: 0, now: '3' });
    const before = shop.requests.length;
    expect((await warehouse.sync(run())).error).toBeUndefined();
    expect(landedGoods()).toEqual(goods());
    const asked = shop.requests.slice(before);
    expect(asked.filter((line) => /3.goods.page=/.test(line))).toEqual(['GET /shelves/3/goods?page=3']);
    expect(asked).not.toContain('GET /shelves/1/goods?page=4');
  });

  test('and its parent is gone meanwhile: the next one is read from its beginning', async () => {
    shelves.parents = 'all';
    expect(await stopAt('/shelves/2/goods', 4)).toMatchObject({
      at: { page: 4 },
      parent: { done: 1, now: '2' },
    });
    shelves.ids = [1, 3, 4];
    expect((await warehouse.sync(run())).error).toBeUndefined();
    expect(landedGoods().filter((row) => (row as unknown[])[0] !== 2)).toEqual(goods());
  });

  test('by a version that did not say of which parent it was: that list is read again', async () => {
    shelves.parents = 'all';
    await stopAt('/shelves/2/goods', 4);
    using db = new DatabaseSync(warehouse.file);
    db.exec(`UPDATE _millrace_cursors SET cursor = json_remove(cursor, '$.run.parent.now')`);
    db.close();
    shelves.ids = [1, 3, 4];
    const before = shop.requests.length;
    expect((await warehouse.sync(run())).error).toBeUndefined();
    expect(landedGoods().filter((row) => (row as unknown[])[0] !== 2)).toEqual(goods());
    // The first was done.
    expect(shop.requests.slice(before).filter((line) => line.includes('/1/goods?page=2'))).toEqual([]);
  });

  test('and the page of parents has expired: they are gone through from the first, and that is said', async () => {
    shelves.parents = 'cursor';
    expect(await stopAt('/shelves/4/goods', 3)).toMatchObject({
      parent: { page: { cursor: 'old2' }, now: '4' },
    });
    shelves.token = 'new';
    const result = await warehouse.sync(run());
    expect(result.error).toBeUndefined();
    expect(result.warnings?.join()).toContain('did not take the position');
    expect(landedGoods()).toEqual(goods());
  });
});
