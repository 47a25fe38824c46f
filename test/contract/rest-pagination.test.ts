import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { freshWarehouse, type Warehouse } from '../support/landed.ts';
import { answer, queryOf, serveLists, type TestApi } from '../support/rest-apis.ts';
import { type ListApi, serveList, type Thing, thing } from '../support/rest-list.ts';

/** Every way of paging in every format, over the wire and into a table. */

const count = 47;
const things = Array.from({ length: count }, (_, at) => thing(at + 1));
const ways = {
  offset: { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 10 },
  page: { type: 'page', page_param: 'page', size_param: 'limit', size: 10 },
  cursor: { type: 'cursor', cursor_param: 'cursor', next: 'meta.next_cursor' },
  'cursor-header': { type: 'cursor', cursor_param: 'cursor', next_header: 'X-Next' },
  link: { type: 'link_header' },
  next: { type: 'next_url', next: 'links.next' },
  keyset: { type: 'keyset', param: 'after', field: 'id' },
  all: { type: 'none' },
} as const;
type Way = keyof typeof ways;
const formats = ['json', 'ndjson', 'csv', 'xml'] as const;
type Format = (typeof formats)[number];

/** Where the page itself says what comes next: lines and tables have no place for it, and XML has one under its root. */
const inBody: ReadonlySet<Way> = new Set(['cursor', 'next']);
const combinations = (Object.keys(ways) as Way[]).flatMap((way) =>
  formats
    .filter((format) => format === 'json' || format === 'xml' || !inBody.has(way))
    .map((format) => [way, format] as const),
);

let api: ListApi;
beforeAll(async () => {
  api = await serveList(things);
});
afterAll(async () => {
  await api?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  api.things = [...things];
  api.hook = () => undefined;
});

function streamFor(way: Way, format: Format, more: object = {}): object {
  const pagination = { ...ways[way] } as Record<string, unknown>;
  if (format === 'xml' && 'next' in pagination) pagination['next'] = `answer.${String(pagination['next'])}`;
  return {
    name: 'things',
    path: `/${way}`,
    primary_key: ['id'],
    ...more,
    rest: { pagination, params: { format }, ...(format === 'xml' ? { records: 'answer.things.thing' } : {}) },
  };
}

describe.each(combinations)('%s in %s', (way, format) => {
  test.each(['merge', 'replace'] as const)(
    'lands whole and exact by %s, and again without a change',
    async (mode) => {
      using warehouse = freshWarehouse();
      const stream = streamFor(way, format, { mode });
      const first = await warehouse.sync({ url: api.url, stream });
      expect(first.error).toBeUndefined();
      expect(first).toMatchObject({ status: 'succeeded', rows_written: count, rejects: 0 });
      expect(warehouse.query('SELECT id, name, amount, updated_at FROM api__things ORDER BY id')).toEqual(
        things.map((one) => ({ ...one, updated_at: one.updated_at.replace('Z', '.000000Z') })),
      );
      if (mode === 'merge')
        expect(await warehouse.sync({ url: api.url, stream })).toMatchObject({
          status: 'succeeded',
          rows_written: 0,
        });
    },
  );
});

describe('auto', () => {
  test.each([
    ['link', 'link_header'],
    ['cursor', 'cursor'],
    ['next', 'next_url'],
    ['page', 'page'],
    ['offset', 'offset'],
    ['all', 'none'],
  ] as const)('finds how /%s is paged, and reads it whole', async (way, found) => {
    using warehouse = freshWarehouse();
    const result = await warehouse.sync({ url: api.url, stream: { name: 'things', path: `/${way}` } });
    expect(result.error).toBeUndefined();
    expect(result.rows_written).toBe(count);
    expect(result.warnings?.join()).toContain(`Pagination "${found}"`);
  });

  test.each([0, '0', 'null', false])('takes %j for what stands where a cursor ends', async (none) => {
    using warehouse = freshWarehouse();
    for (const size of [count, 3]) {
      api.hook = (request, response) => {
        const from = Number(queryOf(request).get('cursor') ?? 0);
        const data = things.slice(0, size).slice(from, from + 20);
        answer(response, 200, { data, next_cursor: from + 20 < size ? from + 20 : none });
        return true;
      };
      const result = await warehouse.sync({ url: api.url, stream: { name: `of_${size}`, path: '/x' } });
      expect(result.error).toBeUndefined();
      expect(result.rows_written).toBe(size);
      expect(result.warnings?.join()).toContain('Pagination "cursor"');
    }
  });

  test('reads json-server by the Link header of its pages', async () => {
    await using lists: TestApi = await serveLists({
      posts: Array.from({ length: 35 }, (_, at) => ({ id: at + 1, title: `t${at}` })),
    });
    using warehouse = freshWarehouse();
    const result = await warehouse.sync({
      url: lists.url,
      stream: { name: 'posts', path: '/posts', rest: { params: { _page: 1 } } },
    });
    expect(result).toMatchObject({ status: 'succeeded', rows_written: 35 });
    const paged = await warehouse.sync({
      url: lists.url,
      stream: {
        name: 'starts',
        path: '/posts',
        primary_key: ['id'],
        rest: { pagination: { type: 'offset', offset_param: '_start', limit_param: '_limit', limit: 8 } },
      },
    });
    expect(paged).toMatchObject({ status: 'succeeded', rows_written: 35 });
  });

  test('reads json-server by page numbers where all comes as long as nobody asks for a page', async () => {
    await using lists: TestApi = await serveLists({
      posts: Array.from({ length: 100 }, (_, at) => ({ id: at + 1, title: `t${at}` })),
    });
    using warehouse = freshWarehouse();
    const result = await warehouse.sync({ url: lists.url, stream: { name: 'posts', path: '/posts' } });
    expect(result).toMatchObject({ status: 'succeeded', rows_written: 100 });
    const numbers = lists.requests.flatMap((line) => /_page=(-?\d+)/.exec(line)?.[1] ?? []).map(Number);
    // Three to find out, then the list and what is behind it.
    expect(numbers).toEqual([2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  describe('page numbers', () => {
    const size = 20;
    const rows = Array.from({ length: 95 }, (_, at) => ({ id: at + 1 }));
    /** Answers a page by its number in a list that is counted so; null: nobody asked for a page. */
    type Numbered = (asked: number | null) => object | number;
    const slice = (page: number, count = rows.length): object[] =>
      rows.slice(0, count).slice(page * size, page * size + size);

    async function readWith(numbered: Numbered): ReturnType<Warehouse['sync']> {
      using warehouse = freshWarehouse();
      api.hook = (request, response) => {
        const text = new URL(request.url ?? '', api.url).searchParams.get('page');
        const body = numbered(text === null ? null : Number(text));
        response.writeHead(typeof body === 'number' ? body : 200, { 'content-type': 'application/json' });
        response.end(typeof body === 'number' ? '{}' : JSON.stringify(body));
        return true;
      };
      const result = await warehouse.sync({ url: api.url, stream: { name: 'things', path: '/x' } });
      if (result.error === undefined)
        expect(warehouse.query('SELECT count(*) AS n FROM api__things')).toEqual([
          { n: result.rows_written },
        ]);
      return result;
    }

    test.each<readonly [string, Numbered, number]>([
      ['from 0', (page) => ({ data: slice(page ?? 0), total: 95 }), 95],
      ['from 0, without a total', (page) => ({ data: slice(page ?? 0) }), 95],
      ['from 0, and there are two', (page) => ({ data: slice(page ?? 0, 35), total: 35 }), 35],
      ['from 0, two, without a total', (page) => ({ data: slice(page ?? 0, 35) }), 35],
      [
        'from 0, two, and 400 behind them',
        (page) => ((page ?? 0) > 1 ? 400 : { data: slice(page ?? 0, 35), total: 35 }),
        35,
      ],
      ['from 0, and answers count from 1', (page) => ({ data: slice(page ?? 0), page: (page ?? 0) + 1 }), 95],
      [
        'from 0, answers count from 1, and there is one',
        (page) => ({ data: slice(page ?? 0, 7), page: (page ?? 0) + 1 }),
        7,
      ],
      [
        'from 0, answers count from 1, and all there are is said',
        (page) => ({ data: slice(page ?? 0, 7), page: (page ?? 0) + 1, total: 7 }),
        7,
      ],
      [
        'from 0, answers count from 1, there is one, and 400 behind it',
        (page) => ((page ?? 0) > 0 ? 400 : { data: slice(page ?? 0, 7), page: (page ?? 0) + 1, total: 7 }),
        7,
      ],
      ['from 1', (page) => ({ data: slice((page ?? 1) - 1), total: 95 }), 95],
      [
        'from 1, and 0 is the first too',
        (page) => ({ data: slice(Math.max(1, page ?? 1) - 1), total: 95 }),
        95,
      ],
      ['from 1, and there is no 0', (page) => (page === 0 ? 400 : { data: slice((page ?? 1) - 1) }), 95],
      ['from 1, and there is one', (page) => ({ data: slice((page ?? 1) - 1, 20) }), 20],
    ])('are counted %s', async (_, numbered, count) => {
      const result = await readWith(numbered);
      expect(result.error).toBeUndefined();
      expect(result.rows_written).toBe(count);
    });

    test('that lead on while none of them is the first page: that is asked', async () => {
      const result = await readWith((page) => ({ data: slice(page === null ? 0 : page + 1), total: 95 }));
      expect(result.error).toMatchObject({
        code: 'invalid_config',
        message: expect.stringContaining('"page" leads to other pages'),
      });
    });

    test.each(['nothing', 'the same page'])(
      'of a list that moves begin where %s is before',
      async (before) => {
        let asked = 0;
        const result = await readWith((page) => {
          asked += 1;
          // The newest first: one more with each request, or one behind the look.
          const newest = { id: 1_000 + (before === 'nothing' ? asked : Math.min(asked, 2)) };
          const from = (Math.max(1, page ?? 1) - 1) * size;
          return page === 0 && before === 'nothing'
            ? 404
            : { data: [newest, ...rows].slice(from, from + size), total: 96 };
        });
        expect(result.error).toBeUndefined();
        expect(result.warnings?.join()).toContain('"page"');
        expect(result.rows_written).toBeGreaterThanOrEqual(95);
      },
    );
  });

  test('stops where the API says that there is more and no way leads there', async () => {
    using warehouse = freshWarehouse();
    api.hook = (_, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ total: 500, data: things.slice(0, 10) }));
      return true;
    };
    const result = await warehouse.sync({ url: api.url, stream: { name: 'things', path: '/x' } });
    expect(result.error).toMatchObject({ code: 'invalid_config' });
    expect(result.error?.message).toContain('500 records');
  });
});

describe('brakes', () => {
  test.each(Object.keys(ways).filter((way) => way !== 'all') as Way[])(
    'an API that ignores where to go on does not run for ever: %s',
    async (way) => {
      using warehouse = freshWarehouse();
      const answers: Readonly<Record<string, unknown>> = {
        meta: { next_cursor: 'same' },
        links: { next: '/again' },
      };
      api.hook = (_, response) => {
        response.writeHead(200, {
          'content-type': 'application/json',
          link: '</again>; rel="next"',
          'x-next': 'same',
        });
        response.end(JSON.stringify({ ...answers, data: things.slice(0, 10) }));
        return true;
      };
      const before = api.requests.length;
      const result = await warehouse.sync({ url: api.url, stream: streamFor(way, 'json') });
      expect(result.error).toMatchObject({ code: 'pagination_loop' });
      expect(api.requests.length - before).toBeLessThan(8);
    },
  );

  test('an echoed page that is another one', async () => {
    using warehouse = freshWarehouse();
    api.hook = (request, response) => {
      const page = Number(new URL(request.url ?? '', api.url).searchParams.get('page'));
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({
          meta: { page: Math.min(page, 2) },
          data: things.slice(page * 10 - 10, page * 10),
        }),
      );
      return true;
    };
    const result = await warehouse.sync({ url: api.url, stream: streamFor('page', 'json') });
    expect(result.error).toMatchObject({ code: 'pagination_loop' });
    expect(result.error?.message).toContain('"page" was 3 and the answer says 2');
  });

  test('a next address that leads elsewhere is not followed', async () => {
    using warehouse = freshWarehouse();
    await using other = await serveList(things);
    api.hook = (_, response) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ links: { next: `${other.url}/next` }, data: things.slice(0, 10) }));
      return true;
    };
    const result = await warehouse.sync({ url: api.url, stream: streamFor('next', 'json') });
    expect(result.error).toMatchObject({ code: 'host_not_allowed' });
    expect(other.requests).toEqual([]);
  });

  test('a page that a filter of the server made short is not the last one', async () => {
    using warehouse = freshWarehouse();
    api.hook = (request, response) => {
      const page = Number(new URL(request.url ?? '', api.url).searchParams.get('page'));
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ data: things.slice(page * 10 - 10, page * 10).filter(({ id }) => id % 5 !== 0) }),
      );
      return true;
    };
    const result = await warehouse.sync({ url: api.url, stream: streamFor('page', 'json') });
    expect(result.rows_written).toBe(things.filter(({ id }) => id % 5 !== 0).length);
  });

  test('an API that has nothing at all behind its last page may say so with 404', async () => {
    using warehouse = freshWarehouse();
    api.hook = (request, response) => {
      if (Number(new URL(request.url ?? '', api.url).searchParams.get('page')) < 6) return undefined;
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"detail":"Invalid page."}');
      return true;
    };
    expect(await warehouse.sync({ url: api.url, stream: streamFor('page', 'json') })).toMatchObject({
      status: 'succeeded',
      rows_written: count,
    });
  });

  test('a page of XML that comes for ever, each time with another moment in it', async () => {
    using warehouse = freshWarehouse();
    let asked = 0;
    api.hook = (_, response) => {
      asked += 1;
      const items = things.slice(0, 10).map(({ id }) => `<thing><id>${id}</id></thing>`);
      response.writeHead(200, { 'content-type': 'application/xml' });
      response.end(`<answer at="${asked}"><things>${items.join('')}</things></answer>`);
      return true;
    };
    const result = await warehouse.sync({ url: api.url, stream: streamFor('page', 'xml') });
    expect(result.error).toMatchObject({ code: 'pagination_loop' });
    expect(asked).toBeLessThan(5);
  });

  test('the flag of an XML page that says "false", and a refusal of what is behind the last page', async () => {
    using warehouse = freshWarehouse();
    const before = api.requests.length;
    api.hook = (request, response) => {
      const query = queryOf(request);
      const from = (Number(query.get('page')) - 1) * 10;
      if (from >= 40) {
        answer(response, 400, { code: 'rest_post_invalid_page_number' }, { 'x-wp-total': '40' });
      } else if (query.get('format') === 'xml') {
        const items = things.slice(from, from + 10).map(({ id }) => `<thing><id>${id}</id></thing>`);
        response.writeHead(200, { 'content-type': 'application/xml' });
        response.end(`<answer><more>${from < 30}</more><things>${items.join('')}</things></answer>`);
      } else answer(response, 200, things.slice(from, from + 10), { 'x-wp-total': '40' });
      return true;
    };
    const xml = {
      ...streamFor('page', 'xml'),
      name: 'flagged',
      rest: {
        pagination: { ...ways.page, has_more: 'answer.more' },
        params: { format: 'xml' },
        records: 'answer.things.thing',
      },
    };
    expect(await warehouse.sync({ url: api.url, stream: xml })).toMatchObject({ rows_written: 40 });
    expect(api.requests.length - before).toBe(4);
    const posts = await warehouse.sync({
      url: api.url,
      stream: { ...streamFor('page', 'json'), name: 'posts' },
    });
    expect(posts.error).toBeUndefined();
    expect(posts.rows_written).toBe(40);
  });

  test.each(['page', 'offset'] as const)(
    'by %s, an empty page is none, and 404 is no end, while the API says that there is more',
    async (way) => {
      using warehouse = freshWarehouse();
      const total = count;
      const placeOf = (request: IncomingMessage): number => {
        const query = queryOf(request);
        return way === 'page' ? (Number(query.get('page')) - 1) * 10 : Number(query.get('offset'));
      };
      const answerWith = (gone: boolean) => (request: IncomingMessage, response: ServerResponse) => {
        const from = placeOf(request);
        const data = things.slice(from, from + 10).filter(({ id }) => id <= 20 || id > 40);
        if (from >= 20 && gone) answer(response, 404, {});
        else answer(response, 200, { total, data });
        return true;
      };
      const stream = { ...streamFor(way, 'json'), mode: 'replace', primary_key: undefined };
      api.hook = answerWith(false);
      expect(await warehouse.sync({ url: api.url, stream })).toMatchObject({
        status: 'succeeded',
        rows_written: 27,
      });
      api.hook = answerWith(true);
      const lost = await warehouse.sync({ url: api.url, stream });
      expect(lost.error).toMatchObject({ code: 'not_found_at_source' });
      expect(lost.error?.message).toContain('says that there is more');
    },
  );
});

describe('positions in a body', () => {
  test('a search by POST is paged inside of its body', async () => {
    using warehouse = freshWarehouse();
    const bodies: unknown[] = [];
    api.hook = (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = JSON.parse(Buffer.concat(chunks).toString()) as {
          query: string;
          page: { from: number; size: number };
        };
        bodies.push(body);
        const hits: readonly Thing[] = things.slice(body.page.from, body.page.from + 20);
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ hits: { hits } }));
      });
      return true;
    };
    const result = await warehouse.sync({
      url: api.url,
      stream: {
        name: 'things',
        path: '/search',
        mode: 'replace',
        rest: {
          method: 'POST',
          body: { query: 'x', page: { size: 20 } },
          records: 'hits.hits',
          pagination: {
            type: 'offset',
            in: 'body',
            offset_param: 'page.from',
            limit_param: 'page.size',
            limit: 20,
          },
        },
      },
    });
    expect(result.error).toBeUndefined();
    expect(result.rows_written).toBe(count);
    expect(bodies[0]).toEqual({ query: 'x', page: { size: 20, from: 0 } });
    expect(bodies[1]).toEqual({ query: 'x', page: { size: 20, from: 19 } });
  });
});
