import type { IncomingMessage, ServerResponse } from 'node:http';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freshWarehouse, type Warehouse } from '../support/landed.ts';
import { serve, type TestApi } from '../support/rest-apis.ts';

/** What becomes of records: where they stand, what they are made into, what is said of answers that hold none. */

let api: TestApi;
let warehouse: Warehouse;
let handler: (request: IncomingMessage, response: ServerResponse) => void;
beforeEach(async () => {
  api = await serve((request, response) => handler(request, response));
  warehouse = freshWarehouse();
});
afterEach(async () => {
  warehouse[Symbol.dispose]();
  await api[Symbol.asyncDispose]();
});

function answers(body: string | Buffer, headers: Readonly<Record<string, string>> = {}, status = 200): void {
  handler = (_, response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
}

async function land(rest: object = {}, more: Readonly<Record<string, unknown>> = {}) {
  const result = await warehouse.sync({
    url: api.url,
    stream: { name: 'rows', path: '/rows', ...more, rest: { pagination: { type: 'none' }, ...rest } },
  });
  const rows =
    result.error === undefined
      ? warehouse
          .query(`SELECT * FROM api__${String(more['name'] ?? 'rows')}`)
          .map(({ _mr_run, _mr_deleted_at, ...row }) => row)
      : [];
  return { result, rows };
}

describe('records', () => {
  test('without a value for the declared key stand aside, and the others land', async () => {
    answers('[{"id":1,"a":"x"},{"id":null,"a":"y"},{"a":"z"},{"id":2,"a":"v"}]');
    for (const [at, mode] of ['merge', 'replace'].entries()) {
      const name = `rows${at}`;
      const { result, rows } = await land({}, { name, primary_key: ['id'], mode });
      expect(result).toMatchObject({ status: 'succeeded', rejects: 2 });
      expect(rows.map((row) => row['a'])).toEqual(['x', 'v']);
    }
  });

  test('by JMESPath, plain or not', async () => {
    answers(
      JSON.stringify({ meta: [{ x: 1 }], groups: [{ rows: [{ a: 1 }, { a: 2 }] }, { rows: [{ a: 3 }] }] }),
    );
    expect((await land({ records: 'groups[].rows[]' })).rows).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }]);
    expect((await land({ records: 'groups[0].rows' }, { name: 'others' })).result.rows_written).toBe(2);
    answers('{"rates":{"EUR":{"v":1.5},"USD":{"v":2}}}');
    expect((await land({ records: 'values(rates)' }, { name: 'rates' })).result.rows_written).toBe(2);
  });

  test('keep every digit, in columns and in JSON, also under an expression', async () => {
    const text =
      '{"data":[{"id":9007199254740993,"price":0.1234567890123456789,"doc":{"n":12345678901234567890.5}}]}';
    for (const records of ['data', 'data[?id > `0`]', 'data[*]']) {
      using own = freshWarehouse();
      answers(text);
      const result = await own.sync({
        url: api.url,
        stream: { name: 'rows', path: '/rows', rest: { records, pagination: { type: 'none' } } },
      });
      if (records !== 'data[?id > `0`]') {
        expect(result.error).toBeUndefined();
        expect(own.query('SELECT id, price, doc FROM api__rows')).toEqual([
          { id: 9007199254740993n, price: '0.1234567890123456789', doc: '{"n":12345678901234567890.5}' },
        ]);
      }
    }
  });

  test('flattened to a depth, and the rest JSON', async () => {
    answers('[{"id":1,"a":{"b":{"c":1},"d":2},"e":[1]},{"id":2,"a":null,"a_d":7}]');
    expect((await land({ flatten: 1 })).rows).toEqual([
      { id: 1, a_b: '{"c":1}', a_d: 2, e: '[1]', a: null },
      { id: 2, a_b: null, a_d: 7, e: null, a: null },
    ]);
  });

  test.each([
    ['{"a":{"b":2},"a_b":1,"a_b_2":3}', { a_b: 1, a_b_2: 3, a_b_3: 2 }],
    ['{"x":{"y_z":1},"x_y":{"z":2}}', { x_y_z: 1, x_y_z_2: 2 }],
    // The same in another order.
    ['{"x_y":{"z":2},"x":{"y_z":1}}', { x_y_z: 1, x_y_z_2: 2 }],
    ['{"x":{"y":{"z":3},"y_z":1},"x_y":{"z":2},"x_y_z":0}', { x_y_z: 0, x_y_z_2: 1, x_y_z_3: 2, x_y_z_4: 3 }],
    ['{"a":{"b":{"c":1},"b_c":2,"b_c_2":3}}', { a_b_c: 2, a_b_c_2: 3, a_b_c_3: 1 }],
    // Equal values, too, are two.
    ['{"a":{"b":1},"a_b":1}', { a_b: 1, a_b_2: 1 }],
  ])('flattened to names that are the same: %s loses no value', async (record, row) => {
    answers(`[${record},{"id":1}]`);
    const { rows } = await land({ flatten: 2 });
    const nulls = Object.fromEntries(Object.keys(row).map((name) => [name, null]));
    expect(rows).toEqual([
      { id: null, ...row },
      { id: 1, ...nulls },
    ]);
  });

  test('flattened to the name of the column for the parent: that keeps its value', async () => {
    handler = (request, response) => {
      const body = request.url === '/orders' ? [{ id: 7 }] : [{ n: 1, orders: { id: 9 } }];
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    const pagination = { type: 'none' };
    const result = await warehouse.sync({
      url: api.url,
      streams: [{ name: 'orders', path: '/orders', primary_key: ['id'], rest: { pagination } }],
      stream: {
        name: 'lines',
        path: '/orders/{id}/lines',
        primary_key: ['orders_id', 'n'],
        rest: { pagination, flatten: 1, parent: { stream: 'orders', field: 'id', param: 'id' } },
      },
    });
    expect(result.error).toBeUndefined();
    expect(warehouse.query('SELECT orders_id, n, orders_id_2 FROM api__lines')).toEqual([
      { orders_id: 7, n: 1, orders_id_2: 9 },
    ]);
  });

  test('a list in each record as rows, with what its record says beside', async () => {
    answers(
      '{"orders":[{"id":1,"at":"2026-01-02","lines":[{"n":1},{"n":2}]},{"id":2,"at":null,"lines":[]},{"id":3,"lines":["x"]}]}',
    );
    expect(
      (await land({ records: 'orders', explode: { field: 'lines', keep: { order_id: 'id', day: 'at' } } }))
        .rows,
    ).toEqual([
      { order_id: 1, day: '2026-01-02', n: 1, value: null },
      { order_id: 1, day: '2026-01-02', n: 2, value: null },
      { order_id: 3, day: null, n: null, value: 'x' },
    ]);
  });

  test('columns that come late, and wider ones, land in the same run', async () => {
    let page = 0;
    handler = (_, response) => {
      page += 1;
      const pages = [
        [{ id: 1, n: 1, empty: null }],
        [{ id: 2, n: 2.5, late: true, empty: 'x' }],
        [{ id: 3, n: 'many', late: 'maybe', deep: { a: 1 } }],
      ];
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ data: pages[page - 1] ?? [] }));
    };
    const { result, rows } = await land(
      { records: 'data', pagination: { type: 'page', page_param: 'page' } },
      { primary_key: ['id'] },
    );
    expect(result.error).toBeUndefined();
    expect(rows).toEqual(
      [
        { id: 1, n: '1.0', empty: null, late: null, deep: null },
        { id: 2, n: '2.5', empty: 'x', late: 'true', deep: null },
        { id: 3, n: 'many', empty: null, late: 'maybe', deep: '{"a":1}' },
      ].map((row) => (row.id === 1 ? { ...row, n: expect.stringMatching(/^1(\.0)?$/) } : row)),
    );
    expect(result.warnings?.join('\n')).toContain('"late"');
  });

  test('only the columns asked for, and those they are found again by', async () => {
    answers('[{"id":1,"a":1,"b":2}]');
    expect(
      (await land({}, { primary_key: ['id'], mode: 'merge', columns: { include: ['a'] } })).rows,
    ).toEqual([{ id: 1, a: 1 }]);
    expect((await land({}, { name: 'others', columns: { exclude: ['a'] } })).result.rows_written).toBe(1);
    expect(warehouse.query('SELECT * FROM api__others').map(Object.keys)[0]).not.toContain('a');
  });

  test('without a key value are kept aside', async () => {
    handler = (request, response) => {
      const page = Number(new URL(request.url ?? '', api.url).searchParams.get('page'));
      const pages = [[{ id: 1, a: 1 }], [{ a: 2 }, { id: 3, a: 3 }]];
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ data: pages[page - 1] ?? [] }));
    };
    const { result, rows } = await land(
      { records: 'data', pagination: { type: 'page', page_param: 'page' } },
      { primary_key: ['id'], mode: 'merge' },
    );
    expect(result).toMatchObject({ status: 'succeeded', rejects: 1 });
    expect(rows).toEqual([
      { id: 1, a: 1 },
      { id: 3, a: 3 },
    ]);
  });

  test('of lines that are no JSON are kept aside as they came', async () => {
    answers('{"id":1}\n{"id":\n{"id":3}\n', { 'content-type': 'application/x-ndjson' });
    const { result, rows } = await land({}, { primary_key: ['id'], mode: 'merge' });
    expect(result).toMatchObject({ status: 'succeeded', rejects: 1, rows_read: 3 });
    expect(rows).toEqual([{ id: 1 }, { id: 3 }]);
    expect(warehouse.query('SELECT row, reason FROM _millrace_rejects')).toEqual([
      { row: '"{\\"id\\":"', reason: expect.stringContaining('line 2 is no JSON') },
    ]);
  });
});

describe('where nobody said where the records are', () => {
  const xml = { 'content-type': 'application/xml' };

  test.each([
    '<items><item><id>1</id><name>x</name></item></items>',
    '<orders total="1"><order><id>1</id><name>x</name></order></orders>',
    '<ArrayOfOrder><Order><id>1</id><name>x</name></Order></ArrayOfOrder>',
    '<response><status>ok</status><categories><category><id>1</id><name>x</name></category></categories></response>',
    '<data><orders><order><id>1</id><name>x</name></order></orders></data>',
    '<result><order><id>1</id><name>x</name></order></result>',
    '<rss><channel><title>t</title><item><id>1</id><name>x</name></item></channel></rss>',
    '<feed><id>f</id><title>t</title><entry><id>1</id><name>x</name></entry></feed>',
  ])('a list of one in XML is one: %s', async (body) => {
    answers(body, xml);
    const { result, rows } = await land();
    expect(result.error).toBeUndefined();
    expect(rows).toEqual([{ id: expect.anything(), name: 'x' }]);
  });

  test.each([
    ['<items/>', xml],
    ['<orders total="0"></orders>', xml],
    ['<response><status>ok</status><orders/></response>', xml],
    ['<response><total>0</total><orders count="0"/></response>', xml],
    ['{"data":null,"total":0}', {}],
    ['{"result":{"items":null},"code":0,"msg":"ok"}', {}],
    ['{"orders":null,"next_page_url":null,"has_more":false}', {}],
    ['{"items":null}', {}],
    ['{}', {}],
    ['null', {}],
  ])('%s has no record', async (body, headers) => {
    answers(body, headers);
    const { result } = await land();
    expect(result.error).toBeUndefined();
    expect(result).toMatchObject({ status: 'succeeded', rows_read: 0, rows_written: 0 });
  });

  test.each([
    ['{"id":1,"data":null}', {}],
    ['{"temperature":20,"value":null}', {}],
    ['{"name":"x","tags":null}', {}],
    ['{"status":"open","items_left":3,"content":null}', {}],
    ['{"message":"hello"}', {}],
    ['{"id":1,"status":"failed","error":"out of stock"}', {}],
    ['<customer><name>x</name><address><city>y</city></address></customer>', xml],
  ])('%s is one', async (body, headers) => {
    answers(body, headers);
    expect((await land()).result).toMatchObject({ status: 'succeeded', rows_written: 1 });
  });

  test.each([
    ['{"name":"x","data":null}', {}, 'data'],
    ['{"orders":null,"customers":null}', {}, 'orders'],
    ['<order><id>1</id><item><sku>a</sku></item></order>', xml, 'order.item'],
    ['<order><id>1</id><items><item><sku>a</sku></item></items></order>', xml, 'order.items.item'],
    ['<x><a><item><n>1</n></item></a><b><item><n>1</n></item></b></x>', xml, 'x.a.item'],
  ])('of %s it cannot be told, and what is hinted at works', async (body, headers, records) => {
    answers(body, headers);
    const { result } = await land();
    expect(result.error).toMatchObject({
      code: 'invalid_config',
      hint: expect.stringContaining(`"${records}"`),
    });
    expect(result.error?.hint).toContain('"@"');
    expect((await land({ records }, { name: 'lists' })).result.error).toBeUndefined();
    expect((await land({ records: '@' }, { name: 'whole' })).result.rows_written).toBe(1);
  });

  test.each([
    '{"error":"rate limited"}',
    '{"success":false,"msg":"rate limited"}',
    '{"data":null,"errors":[{"text":"rate limited"}]}',
  ])('%s is an error, and no record', async (body) => {
    answers(body);
    expect((await land()).result.error).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining('rate limited'),
    });
    if (!body.includes('data'))
      expect((await land({ records: '@' }, { name: 'whole' })).result.rows_written).toBe(1);
  });
});

describe('a page that is a list, and behind it one that is an error under a status of success', () => {
  const pagination = { type: 'page', page_param: 'page' };
  const data = Array.from({ length: 10 }, (_, id) => ({ id }));

  test.each([{}, { pagination: { type: 'auto' } }])('is no record: %j', async (rest) => {
    handler = (request, response) => {
      const page = Number(new URL(request.url ?? '', api.url).searchParams.get('page') ?? 1);
      const body =
        page === 1 ? data : page === 2 ? data.map(({ id }) => ({ id: id + 10 })) : { error: 'slow down' };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    const { result } = await land({ pagination, ...rest });
    expect(result.error).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining('slow down'),
    });
    expect(warehouse.query("SELECT * FROM pragma_table_info('api__rows') WHERE name = 'error'")).toEqual([]);
  });

  test('where the records are such texts themselves, they land', async () => {
    answers('[{"error":"out of paper"}]');
    expect((await land()).rows).toEqual([{ error: 'out of paper' }]);
    answers('{"error":"out of paper"}\n', { 'content-type': 'application/x-ndjson' });
    expect((await land({}, { name: 'lines' })).rows).toEqual([{ error: 'out of paper' }]);
    answers('error\nout of paper\n', { 'content-type': 'text/csv' });
    expect((await land({}, { name: 'table' })).rows).toEqual([{ error: 'out of paper' }]);
  });
});

describe('answers without records', () => {
  test('an error under a status of success is an error, in its own words', async () => {
    answers('{"error":{"code":17,"text":"quota used up"}}');
    const { result } = await land({ records: 'data' });
    expect(result.error).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining('quota used up'),
    });
  });

  test('a list that is left out, or null, is empty', async () => {
    answers('{"kind":"list","data":null}');
    expect((await land({ records: 'data' })).result).toMatchObject({ status: 'succeeded', rows_written: 0 });
    answers('{"kind":"list"}');
    expect((await land({ records: 'items' }, { name: 'others' })).result).toMatchObject({
      status: 'succeeded',
      rows_written: 0,
    });
  });

  test.each([
    ['data[].attributes', '{"error":"rate limited"}', 'rate limited'],
    ['data[].attributes', '{"meta":{"errors":["rate limited"]},"error_code":429}', '429'],
    ['result.items[].x', '{"page":1}', 'nothing at'],
    ['data', '{"success":false,"msg":"rate limited"}', 'rate limited'],
    ['data', '{"ok":false}', '"ok": false'],
    ['data', '{"status":"error"}', '"status": "error"'],
    ['data', '{"statusCode":429,"reason":"rate limited"}', '429'],
    ['data', '{"data":null,"error":{"text":"rate limited"}}', 'rate limited'],
    ['data[].x', '{"data":null,"errors":[{"text":"rate limited"}]}', 'rate limited'],
    ['result.items', '{"result":{"items":null,"status":"failed","msg":"rate limited"}}', 'rate limited'],
  ])('at %s, %s is no empty list', async (records, body, said) => {
    answers(body);
    expect((await land({ records })).result.error).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining(said),
    });
  });

  test('nor is an element with an error where XML should have its list', async () => {
    answers('<answer><error>rate limited</error></answer>', { 'content-type': 'application/xml' });
    expect((await land({ records: 'answer.row' })).result.error).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining('rate limited'),
    });
    answers('<answer><total>0</total></answer>', { 'content-type': 'application/xml' });
    expect((await land({ records: 'answer.row' }, { name: 'others' })).result).toMatchObject({
      status: 'succeeded',
      rows_written: 0,
    });
  });

  test.each([
    '{"error":"rate limited"}',
    '{"code":404,"msg":"none"}',
    '{"result":{"items":null,"state":"failed"}}',
  ])('the rule that is hinted at for %s works', async (body) => {
    answers(body);
    const records = body.includes('items') ? 'result.items' : 'data';
    const { result } = await land({ records });
    const rule = JSON.parse(/\{"when".*?\}/.exec(result.error?.hint ?? '')?.[0] ?? '');
    expect((await land({ records, responses: [rule] })).result).toMatchObject({ status: 'succeeded' });
  });

  test('a rate limit on the second page keeps the mark where it was', async () => {
    handler = (request, response) => {
      const at = new URL(request.url ?? '', api.url).searchParams.get('at');
      const data = [{ id: 1, attributes: { id: 1, updated_at: '2026-01-01T00:00:00Z' } }];
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify(at === null ? { data, next: '2' } : { error: 'rate limited' }));
    };
    const { result } = await land(
      { records: 'data[].attributes', pagination: { type: 'cursor', cursor_param: 'at', next: 'next' } },
      { primary_key: ['id'], cursor: 'updated_at', mode: 'merge' },
    );
    expect(result.error).toMatchObject({ code: 'response_invalid' });
  });

  test.each([
    ['data', '{"code":0,"msg":"ok","data":null}'],
    ['data', '{"success":true,"error":null,"errors":[],"error_code":0,"data":null}'],
    ['data', '{"success":true,"message":"nothing found","data":null}'],
    ['data', '{"data":[],"error":"some shards failed"}'],
    ['data[].x', '{"data":null,"message":"success"}'],
    ['data[].x', '{"data":[],"message":"success"}'],
    ['data[].x', '{"kind":"list"}'],
    ['result.items[].x', '{"result":{}}'],
    ['data', '{"status":"ok","errors":[]}'],
  ])('at %s, %s is one', async (records, body) => {
    answers(body);
    expect((await land({ records })).result).toMatchObject({ status: 'succeeded', rows_written: 0 });
  });

  test('a web page is shown with its beginning', async () => {
    answers('<!DOCTYPE html><title>Please sign in</title>', { 'content-type': 'text/html' });
    expect((await land()).result.error).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining('Please sign in'),
    });
  });

  test('204 has none', async () => {
    handler = (_, response) => response.writeHead(204).end();
    expect((await land({ records: 'data' })).result).toMatchObject({ status: 'succeeded', rows_written: 0 });
  });
});

describe('rules', () => {
  test("on the body: fail in the API's own words, or pass over", async () => {
    answers('{"ok":false,"why":"maintenance","data":[{"id":1}]}');
    const rule = { when: 'ok == `false`', do: 'fail', message: 'why' };
    expect((await land({ records: 'data', responses: [rule] })).result.error).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining('maintenance'),
    });
    expect(
      (await land({ records: 'data', responses: [{ ...rule, do: 'skip' }] }, { name: 'others' })).result,
    ).toMatchObject({ status: 'succeeded', rows_written: 0 });
  });

  test('on a status: an error that means an empty list', async () => {
    answers('{"error":"none"}', {}, 404);
    expect((await land({ records: 'data', responses: [{ status: 404, do: 'stop' }] })).result).toMatchObject({
      status: 'succeeded',
      rows_written: 0,
    });
    expect((await land({ records: 'data' }, { name: 'others' })).result.error).toMatchObject({
      code: 'not_found_at_source',
    });
  });

  test('on both: only that error, others stay errors', async () => {
    const rules = [{ status: 400, when: 'code == `7`', do: 'skip' }];
    answers('{"code":7}', {}, 400);
    expect((await land({ records: 'data', responses: rules })).result).toMatchObject({ status: 'succeeded' });
    answers('{"code":8,"text":"bad request"}', {}, 400);
    expect(
      (await land({ records: 'data', responses: rules }, { name: 'others' })).result.error,
    ).toMatchObject({ code: 'invalid_config', message: expect.stringContaining('bad request') });
    const gone = [{ status: 404, when: 'code == `7`', do: 'skip' }];
    answers('{"code":8,"text":"no such path"}', {}, 404);
    expect((await land({ records: 'data', responses: gone }, { name: 'gone' })).result.error).toMatchObject({
      code: 'not_found_at_source',
      message: expect.stringContaining('no such path'),
    });
  });

  test('retry: a body that says "not now" is asked for again', async () => {
    let asked = 0;
    handler = (_, response) => {
      asked += 1;
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(asked === 1 ? '{"status":"busy"}' : '{"data":[{"id":1}]}');
    };
    expect(
      (await land({ records: 'data', responses: [{ when: "status == 'busy'", do: 'retry' }] })).result,
    ).toMatchObject({ status: 'succeeded', rows_written: 1 });
  });

  test('skip passes one page over and goes on', async () => {
    handler = (request, response) => {
      const page = Number(new URL(request.url ?? '', api.url).searchParams.get('page'));
      if (page === 2)
        response.writeHead(500, { 'content-type': 'application/json' }).end('{"error":"broken page"}');
      else
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ data: page < 4 ? [{ id: page }] : [] }));
    };
    const pagination = { type: 'page', page_param: 'page' };
    expect(
      (await land({ records: 'data', pagination, responses: [{ status: 500, do: 'skip' }] })).rows,
    ).toEqual([{ id: 1 }, { id: 3 }]);
  });
});

describe('a page that is passed over still says where the next one is', () => {
  const ways = {
    cursor: { pagination: { type: 'cursor', cursor_param: 'at', next: 'next' }, next: String },
    next_url: { pagination: { type: 'next_url', next: 'next' }, next: (at: number) => `/rows?at=${at}` },
  } as const;

  test.each([
    ['cursor', 'its body', 200, { when: 'warning', do: 'skip' }],
    ['next_url', 'its body', 200, { when: 'warning', do: 'skip' }],
    ['cursor', 'its status', 203, { status: 203, do: 'skip' }],
    ['next_url', 'both', 409, { status: 409, when: 'warning', do: 'skip' }],
  ] as const)('by %s, where %s tells', async (way, _, status, rule) => {
    const { pagination, next } = ways[way];
    handler = (request, response) => {
      const at = Number(new URL(request.url ?? '', api.url).searchParams.get('at') ?? 1);
      const page = { data: [{ id: at }], next: at < 3 ? next(at + 1) : null };
      response
        .writeHead(at === 2 ? status : 200, { 'content-type': 'application/json' })
        .end(JSON.stringify(at === 2 ? { ...page, warning: 'not counted yet' } : page));
    };
    const { result, rows } = await land({ records: 'data', pagination, responses: [rule] });
    expect(result.error).toBeUndefined();
    expect(rows).toEqual([{ id: 1 }, { id: 3 }]);
  });
});

describe('bytes', () => {
  const body = JSON.stringify(Array.from({ length: 3_000 }, (_, id) => ({ id, text: 'ä'.repeat(id % 50) })));

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['zstd', zstdCompressSync],
  ] as const)('packed as %s', async (encoding, pack) => {
    answers(pack(Buffer.from(body)), { 'content-encoding': encoding });
    expect((await land()).result).toMatchObject({ status: 'succeeded', rows_written: 3_000 });
  });

  test('in the charset of the header, or of the stream', async () => {
    answers(Buffer.from('[{"a":"\u00e4"}]', 'latin1'), {
      'content-type': 'application/json; charset=iso-8859-1',
    });
    expect((await land()).rows).toEqual([{ a: 'ä' }]);
    answers(Buffer.from('a;b\n\u00e4;1\n', 'latin1'), { 'content-type': 'text/csv' });
    expect((await land({ charset: 'windows-1252' }, { name: 'others' })).result.rows_written).toBe(1);
    expect(warehouse.query('SELECT a FROM api__others')).toEqual([{ a: 'ä' }]);
  });

  test('that break off in the middle fail the run, which can be retried, and leave what was there', async () => {
    answers(body);
    await land({}, { primary_key: ['id'], mode: 'replace' });
    handler = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write(body.slice(0, 20_000));
      setTimeout(() => response.destroy(), 20);
    };
    const { result } = await land({}, { primary_key: ['id'], mode: 'replace' });
    expect(result.error).toMatchObject({ retryable: true });
    expect(warehouse.query('SELECT count(*) AS n FROM api__rows')).toEqual([{ n: 3_000 }]);
  }, 60_000);

  test('that end early under a status of success are an answer that broke off', async () => {
    answers(body.slice(0, 20_000));
    expect((await land()).result.error).toMatchObject({ code: 'connection_lost' });
  });
});
