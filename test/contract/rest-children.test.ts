import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import { freshWarehouse, type Warehouse } from '../support/landed.ts';
import { answer, serve, type TestApi } from '../support/rest-apis.ts';

/** Lists of parents of which nothing was declared: no list may be judged by what another one is like. */

type Answer = (url: URL, response: ServerResponse) => void;

let api: TestApi;
let warehouse: Warehouse;
/** Of each parent, in order. */
let lists: Answer[];
let parents: () => unknown;
beforeEach(async () => {
  parents = () => lists.map((_, at) => ({ id: at + 1 }));
  api = await serve((request, response) => {
    const url = new URL(request.url ?? '/', api.url);
    if (url.pathname === '/orders') return answer(response, 200, parents());
    lists[Number(url.pathname.split('/')[2]) - 1]?.(url, response);
  });
  warehouse = freshWarehouse();
});
afterEach(async () => {
  warehouse[Symbol.dispose]();
  await api[Symbol.asyncDispose]();
});

const orders = { name: 'orders', path: '/orders', rest: { records: '@', pagination: { type: 'none' } } };

function land(rest: object = {}, signal?: AbortSignal): ReturnType<Warehouse['sync']> {
  return warehouse.sync({ ...request(rest), ...(signal === undefined ? {} : { signal }) });
}

function request(rest: object = {}): Parameters<Warehouse['sync']>[0] {
  return {
    url: api.url,
    streams: [orders],
    stream: {
      name: 'lines',
      path: '/orders/{order}/lines',
      primary_key: ['orders_id', 'line'],
      mode: 'merge',
      rest: { parent: { stream: 'orders', field: 'id', param: 'order' }, ...rest },
    },
  };
}

function landed(): readonly number[][] {
  return warehouse
    .query('SELECT orders_id, line FROM api__lines ORDER BY orders_id, line')
    .map(({ orders_id, line }) => [Number(orders_id), Number(line)]);
}

function rows(...counts: readonly number[]): readonly number[][] {
  return counts.flatMap((count, at) => Array.from({ length: count }, (_, line) => [at + 1, line + 1]));
}

function linesOf(count: number): readonly { readonly line: number }[] {
  return Array.from({ length: count }, (_, at) => ({ line: at + 1 }));
}

/** What was asked of the lists beyond one request for each. */
function extra(): number {
  const asked = api.requests.filter((line) => line.includes('/lines'));
  return asked.length - lists.length;
}

interface List {
  readonly all: readonly object[];
  readonly size: number;
}

/** A list of so many lines, so many a page, in one of the ways in which APIs page. */
function paged(way: keyof typeof ways, count: number, size = 3): Answer {
  return (url, response) => ways[way](url, response, { all: linesOf(count), size });
}

const ways = {
  link(url: URL, response: ServerResponse, { all, size }: List): void {
    const page = Number(url.searchParams.get('page') ?? 1);
    const more = page * size < all.length;
    url.searchParams.set('page', String(page + 1));
    const data = all.slice((page - 1) * size, page * size);
    answer(response, 200, data, more ? { link: `<${url.href}>; rel="next"` } : {});
  },
  cursor(url: URL, response: ServerResponse, { all, size }: List): void {
    const from = Number(url.searchParams.get('after') ?? 0);
    const more = from + size < all.length;
    answer(response, 200, {
      items: all.slice(from, from + size),
      next_cursor: more ? String(from + size) : null,
    });
  },
  page(url: URL, response: ServerResponse, { all, size }: List): void {
    const page = Number(url.searchParams.get('page') ?? 1);
    answer(response, 200, { data: all.slice((page - 1) * size, page * size) });
  },
  counted(url: URL, response: ServerResponse, { all, size }: List): void {
    const page = Number(url.searchParams.get('page') ?? 1);
    answer(response, 200, { data: all.slice((page - 1) * size, page * size), page, total: all.length });
  },
  /** Asked for from 0, answered from 1. */
  counted0(url: URL, response: ServerResponse, { all, size }: List): void {
    const page = Number(url.searchParams.get('page') ?? 0);
    answer(response, 200, {
      data: all.slice(page * size, (page + 1) * size),
      page: page + 1,
      total: all.length,
    });
  },
  /** The total is the page's own. */
  countedPage(url: URL, response: ServerResponse, { all, size }: List): void {
    const page = Number(url.searchParams.get('page') ?? 1);
    const data = all.slice((page - 1) * size, page * size);
    answer(response, 200, { data, page, total: data.length });
  },
  offset(url: URL, response: ServerResponse, { all, size }: List): void {
    const offset = Number(url.searchParams.get('offset') ?? 0);
    const most = Math.min(size, Number(url.searchParams.get('limit') ?? size));
    answer(response, 200, { data: all.slice(offset, offset + most), offset });
  },
  /** All at once, whatever is asked for. */
  whole(_: URL, response: ServerResponse, { all }: List): void {
    answer(response, 200, { data: all });
  },
};

describe('the first list has one page, and others have more', () => {
  test.each([
    ['link', 3],
    ['cursor', 3],
    ['page', 5],
    ['counted', 3],
    ['counted0', 3],
    ['countedPage', 3],
    ['offset', 3],
  ] as const)('by %s', async (way, size) => {
    lists = [2, 3 * size + 1, size, 0, 2 * size, 1].map((count) => paged(way, count, size));
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(2, 3 * size + 1, size, 0, 2 * size, 1));
  });

  test('or one that is exactly full', async () => {
    lists = [5, 5, 5, 5, 12, 4].map((count) => paged('page', count, 5));
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(5, 5, 5, 5, 12, 4));
  });

  test('and no way to the rest is found: that is an error, with what landed before', async () => {
    lists = [
      paged('whole', 2),
      (_, response) => answer(response, 200, { data: linesOf(3), total: 7 }),
      paged('whole', 1),
    ];
    const { error } = await land();
    expect(error).toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('7 records'),
      hint: expect.stringContaining('rest.pagination'),
    });
    expect(landed()).toEqual(rows(2));
  });
});

describe('the first list is not there, or empty', () => {
  const nothing: readonly [string, Answer][] = [
    ['404', (_, response) => answer(response, 404, { error: 'none' })],
    ['204', (_, response) => void response.writeHead(204).end()],
    ['an empty list', (_, response) => answer(response, 200, { data: [] })],
    ['null for a list', (_, response) => answer(response, 200, { data: null, total: 0 })],
  ];

  test.each(nothing)('%s: the next one with lines decides', async (_, none) => {
    lists = [none, none, paged('page', 12, 5), none, paged('page', 2, 5)];
    const result = await land();
    expect(result.error).toBeUndefined();
    expect(landed()).toEqual(rows(0, 0, 12, 0, 2));
  });

  test('where nothing is said at all, an error says so, and no row is made of it', async () => {
    lists = [(_, response) => answer(response, 200, {}), paged('page', 2)];
    expect((await land()).error).toMatchObject({ code: 'response_invalid' });
    expect(warehouse.query('SELECT count(*) AS n FROM api__lines')).toEqual([{ n: 0 }]);
    lists = [(_, response) => answer(response, 200, {}), (_, response) => answer(response, 200, {})];
    expect(await land()).toMatchObject({ status: 'succeeded', rows_read: 0 });
  });

  test('and so are as many as are looked at: the reading decides', async () => {
    const empty = nothing[0]?.[1] as Answer;
    lists = [...Array.from({ length: 25 }, () => empty), paged('page', 12, 5), empty, paged('page', 2, 5)];
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(...Array.from({ length: 25 }, () => 0), 12, 0, 2));
    // A look asks for so many at most.
    expect(extra()).toBeLessThan(20 + 10);
  });

  test('and no parent is there while it is looked', async () => {
    let asked = 0;
    parents = () => (++asked === 1 ? [] : [{ id: 1 }, { id: 2 }]);
    lists = [paged('page', 7, 5), paged('page', 1, 5)];
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(7, 1));
  });

  test('in another format than the others', async () => {
    const csv: Answer = (_, response) =>
      void response.writeHead(200, { 'content-type': 'text/csv' }).end('line;text\n1;a\n2;b\n');
    lists = [nothing[0]?.[1] as Answer, csv, csv];
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(0, 2, 2));
  });
});

describe('lists that all have one page', () => {
  test('need no declaration, and hardly a request more', async () => {
    const counts = Array.from({ length: 60 }, (_, at) => 1 + (at % 5));
    lists = counts.map((count) => paged('whole', count));
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(...counts));
    // One for the look, and some where five lines could have been a full page.
    expect(extra()).toBeLessThanOrEqual(20);
  });

  test('and say where they begin: little is asked for what follows', async () => {
    const counts = [1, 2, 3, 1, 3, 2, 1, 3];
    const each = { counted: 2, offset: 2, counted0: 3 };
    for (const way of ['counted', 'offset', 'counted0'] as const) {
      using own = freshWarehouse();
      lists = counts.map((count) => paged(way, count, 50));
      const before = api.requests.length;
      expect((await own.sync(request())).error).toBeUndefined();
      expect(own.query('SELECT count(*) AS n FROM api__lines')).toEqual([{ n: 16 }]);
      // The look asks for one list, and both find out how lists are paged.
      expect(api.requests.length - before, way).toBeLessThanOrEqual(each[way] * counts.length + 10);
    }
  });
});

describe('lists in XML', () => {
  test('of two, of one and of none', async () => {
    const counts = [0, 1, 2, 0, 1];
    lists = counts.map((count) => (_, response) => {
      const body = linesOf(count).map(({ line }) => `<line><line>${line}</line></line>`);
      response.writeHead(200, { 'content-type': 'text/xml' }).end(`<lines>${body.join('')}</lines>`);
    });
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(...counts));
  });
});

describe('not lists, but one record for each parent', () => {
  test('land as such, whatever the first one answers', async () => {
    const detail =
      (line: number): Answer =>
      (_, response) =>
        answer(response, 200, { line, note: null, page: 1 });
    lists = [(_, response) => answer(response, 404, { error: 'none' }), detail(1), detail(1), detail(1)];
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(0, 1, 1, 1));
  });
});

describe('lists too large to be kept waiting', () => {
  const text = 'x'.repeat(100_000);
  const large =
    (count: number): Answer =>
    (_, response) =>
      answer(response, 200, { data: linesOf(count).map((line) => ({ ...line, text })) });

  test('are judged when their turn has come, also where there is one turn at a time', async () => {
    lists = [2, 23, 22, 21].map(large);
    const result = await warehouse.sync({ ...request(), config: { rate_limit: { concurrency: 1 } } });
    expect(result.error).toBeUndefined();
    expect(landed()).toEqual(rows(2, 23, 22, 21));
  });

  test('or to be judged at all: somebody has to say it', async () => {
    lists = [2, 90].map(large);
    expect((await land({ records: 'data' })).error).toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('what follows it was not looked at'),
    });
    expect((await land({ records: 'data', pagination: { type: 'none' } })).error).toBeUndefined();
    expect(landed()).toEqual(rows(2, 90));
  });
});

describe('cut off in the middle of a list', () => {
  test.each(['link', 'cursor', 'page'] as const)('by %s, it goes on there', async (way) => {
    lists = [2, 14, 2, 11].map((count) => paged(way, count, 5));
    const stop = new AbortController();
    const second = lists[1] as Answer;
    let asked = 0;
    lists[1] = (url, response) => {
      // The last page of that list: the one before has landed.
      if (/(page=3|after=10)/.test(url.search) && ++asked === 1)
        stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
      second(url, response);
    };
    expect((await land({}, stop.signal)).status).toBe('cancelled');
    const before = api.requests.length;
    expect((await land()).error).toBeUndefined();
    expect(landed()).toEqual(rows(2, 14, 2, 11));
    const own = api.requests.slice(before).filter((line) => line.includes('orders/1/lines'));
    // The look; the list itself was done.
    expect(own).toHaveLength(1);
  });
});
