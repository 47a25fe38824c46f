import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import { restApi } from '../../src/connectors/rest-api/index.ts';
import { MillraceError } from '../../src/core/errors.ts';
import type { CheckReport, Stream } from '../../src/core/model.ts';
import { streamSchema } from '../../src/core/schema.ts';
import { validate } from '../../src/core/validate.ts';
import { answer, queryOf, serve, type TestApi } from '../support/rest-apis.ts';

/** What an API is asked before anything is read: is it there, what does it have, what would land. Over the wire. */

const canary = 'canary-5d21';
const signal = new AbortController().signal;
const moment = (n: number): string => `2026-03-01T00:00:${String(n).padStart(2, '0')}Z`;
const orders = Array.from({ length: 30 }, (_, n) => ({
  id: n + 1,
  customer: { name: `c${n}` },
  note: null,
  updated_at: moment(n),
}));

let api: TestApi;
let handler: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  api = await serve((request, response) => handler(request, response));
});

afterAll(async () => {
  await api?.[Symbol.asyncDispose]();
});

beforeEach(() => {
  handler = (_, response) => answer(response, 404, { error: 'nothing here' });
});

/** Always these bytes. */
function always(body: unknown, headers: Record<string, string> = {}): void {
  handler = (_, response) => answer(response, 200, body, headers);
}

async function open(config: Record<string, unknown> = {}, streams: readonly Stream[] = []): Promise<Source> {
  const checked = validate(restApi.config, { base_url: api.url, ...config }, 'The config');
  return await restApi.open(checked, { network: { allow: [], allowPrivateHttp: ['127.0.0.1'] }, streams });
}

function stream(fields: object = {}): Stream {
  return validate(streamSchema, { name: 'orders', path: '/orders', ...fields }, 'The stream');
}

async function check(config: Record<string, unknown>, streams: readonly Stream[] = []): Promise<CheckReport> {
  await using source = await open(config, streams);
  return await source.check(streams, signal);
}

/** The check's points as `name: detail`, failed ones marked. */
function told(report: CheckReport): string {
  return report.checks.map(({ name, ok, detail }) => `${ok ? '' : '✗ '}${name}: ${detail}`).join('\n');
}

async function refused(work: Promise<unknown>): Promise<MillraceError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MillraceError);
  return error as MillraceError;
}

async function resolve(
  fields: object = {},
  config: Record<string, unknown> = {},
): Promise<Awaited<ReturnType<Source['resolve']>>> {
  await using source = await open(config);
  return await source.resolve(stream(fields), signal);
}

describe('check', () => {
  test('explains everything with one request', async () => {
    handler = (request, response) => {
      const page = Number(queryOf(request).get('page') ?? 1);
      const data = orders.slice((page - 1) * 10, page * 10);
      answer(
        response,
        200,
        { data, total: 30 },
        { 'x-ratelimit-limit': '60', 'x-ratelimit-remaining': '59' },
      );
    };
    const before = api.requests.length;
    const report = await check(
      { auth: { type: 'bearer', token: canary }, rate_limit: { requests_per_second: 50 } },
      [
        stream({ rest: { pagination: { type: 'page', page_param: 'page' } } }),
        stream({ name: 'other', path: '/other' }),
      ],
    );
    expect(api.requests.length - before).toBe(1);
    expect(report.ok, told(report)).toBe(true);
    const text = told(report);
    expect(text).toContain(`reach: ${api.host} answers`);
    expect(text).toContain('tls: the connection is not encrypted');
    expect(text).toContain('auth: the bearer token was accepted; status 200');
    expect(text).toMatch(/format: json \(application\/json\), \d+ bytes; 10 records in data/);
    expect(text).toMatch(/pagination: "page" \(page_param page\); next: GET .*page=2/);
    expect(text).toContain('50 requests a second, 4 at one time; the API says: limit 60, 59 left');
    expect(text).toMatch(/stream orders: 4 columns, mode replace/);
    expect(text).toContain('stream other: declared');
    expect(report.warnings.join(' ')).toContain('unencrypted');
    expect(JSON.stringify(report)).not.toContain(canary);
  });

  test('a stream that is not asked for is judged by its declaration', async () => {
    always(orders);
    const broken = { name: 'broken', path: '/broken', rest: { records: 'data[' } };
    const report = await check({ pagination: { type: 'none' } }, [stream(), stream(broken)]);
    expect(report.ok).toBe(false);
    expect(report.checks.at(-1)).toMatchObject({ name: 'stream broken', ok: false });
    expect(report.error).toMatchObject({ code: 'invalid_config' });
    expect(report.error?.message).toContain('JMESPath');
  });

  test('without streams it asks at the base address, where "not found" is no failure', async () => {
    const report = await check({ auth: { type: 'bearer', token: canary } });
    expect(report.ok, told(report)).toBe(true);
    expect(told(report)).toContain('auth: not judged: status 404');
    handler = (request, response) => answer(response, request.url === '/me' ? 200 : 404, { me: 1 });
    expect(told(await check({ test_path: '/me' }))).toMatch(/auth: .*status 200 at \/me/);
    expect((await check({ test_path: '/you' })).error?.code).toBe('not_found_at_source');
  });

  test.each([
    [401, 'auth', 'auth_failed'],
    [403, 'auth', 'permission_denied'],
    [404, 'path', 'not_found_at_source'],
  ])('status %i fails at %s', async (status, name, code) => {
    handler = (_, response) => answer(response, status, { message: `no: ${canary}` });
    const report = await check({ auth: { type: 'api_key', in: 'header', name: 'X-Key', value: canary } }, [
      stream(),
    ]);
    expect(report.ok).toBe(false);
    expect(report.checks.at(-1)).toMatchObject({ name, ok: false });
    expect(report.checks[0]).toMatchObject({ name: 'reach', ok: true });
    expect(report.error?.code).toBe(code);
    expect(report.error?.hint).not.toBe('');
    expect(JSON.stringify(report)).not.toContain(canary);
  });

  test('an HTML page is shown by its first bytes', async () => {
    handler = (_, response) =>
      void response
        .writeHead(200, { 'content-type': 'text/html' })
        .end('<!doctype html><title>Sign in</title>');
    const report = await check({}, [stream()]);
    expect(report.checks.at(-1)).toMatchObject({ name: 'answer', ok: false });
    expect(report.error?.code).toBe('response_invalid');
    expect(JSON.stringify(report.error)).toContain('<!doctype html>');
  });

  test('nobody there, and a place that may not be reached', async () => {
    const gone = await serve(() => undefined);
    await gone[Symbol.asyncDispose]();
    const report = await check({ base_url: gone.url }, [stream()]);
    expect(report.checks).toMatchObject([{ name: 'reach', ok: false }]);
    expect(report.error?.code).toBe('host_unreachable');
    const forbidden = await check({ base_url: 'http://127.0.0.2:1' }, [stream()]);
    expect(forbidden.error?.code).toBe('host_not_allowed');
    expect(forbidden.checks).toMatchObject([{ name: 'reach', ok: false }]);
  });

  test('a cancelled check throws', async () => {
    handler = () => undefined;
    await using source = await open();
    const stop = new AbortController();
    setTimeout(() => stop.abort(new MillraceError('cancelled', 'stop', { hint: 'none' })), 100);
    expect((await refused(source.check([stream()], stop.signal))).code).toBe('cancelled');
  });
});

describe('resolve', () => {
  test('finds the records, the key and the mode, and says so', async () => {
    always({ data: orders, meta: { count: 30 } });
    const resolved = await resolve({ rest: { pagination: { type: 'none' } } });
    expect(resolved).toMatchObject({
      mode: 'replace',
      primaryKey: ['id'],
      cursor: null,
      detectDeletes: false,
    });
    expect(resolved.columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'id integer',
      'customer json',
      'note text',
      'updated_at timestamptz',
    ]);
    const notes = resolved.notes.join('\n');
    expect(notes).toContain('Records are taken from data');
    expect(notes).toContain('Key (id) was chosen');
    expect(notes).toContain('Mode "replace" was chosen');
    expect(notes).toContain('candidates: "updated_at"');
  });

  test('a cursor_param without a cursor: the field that follows changes', async () => {
    always({ data: orders });
    const resolved = await resolve({ rest: { cursor_param: 'since', pagination: { type: 'none' } } });
    expect(resolved).toMatchObject({ mode: 'merge', cursor: 'updated_at', primaryKey: ['id'] });
    expect(resolved.notes.join('\n')).toContain('Cursor "updated_at" was chosen');
  });

  test('a cursor without a cursor_param: its cost is said', async () => {
    always({ data: orders });
    const resolved = await resolve({
      cursor: 'updated_at',
      lookback: '5m',
      rest: { pagination: { type: 'none' } },
    });
    expect(resolved.mode).toBe('merge');
    expect(resolved.notes.join('\n')).toContain('every run reads all pages');
  });

  test('an id that repeats is no key, and a declared one that repeats is refused', async () => {
    always([{ id: 1 }, { id: 1 }]);
    expect((await resolve({ rest: { pagination: { type: 'none' } } })).primaryKey).toEqual([]);
    const error = await refused(resolve({ primary_key: ['id'], rest: { pagination: { type: 'none' } } }));
    expect(error.code).toBe('key_not_unique');
  });

  test('a declared key that some records lack is one of the others; a field that some lack is not chosen', async () => {
    const rest = { pagination: { type: 'none' } };
    always([{ id: 1 }, { id: null }, { id: 2 }, {}]);
    expect((await resolve({ primary_key: ['id'], rest })).primaryKey).toEqual(['id']);
    expect((await resolve({ rest })).primaryKey).toEqual([]);
    always([{ id: 1 }, { id: null }, { id: 1 }]);
    expect((await refused(resolve({ primary_key: ['id'], rest }))).message).toContain('share 1');
    always([
      { id: 1, part: null },
      { id: null, part: 2 },
    ]);
    const error = await refused(resolve({ primary_key: ['id', 'part'], rest }));
    expect(error.code).toBe('key_not_unique');
    expect(error.message).toMatch(/no record .* has .*\(id, part\)/i);
  });

  test.each([
    [{ primary_key: ['order_id'] }, 'not_found_at_source', /"id"|Known/],
    [{ cursor: 'udated_at' }, 'not_found_at_source', /"updated_at"/],
    [{ cursor: 'customer' }, 'cursor_invalid', /updated_at/],
    [{ cursor: 'updated_at', lookback: 5 }, 'invalid_config', /duration/],
    [{ mode: 'append' }, 'invalid_config', /cursor/],
    [{ deletes: 'detect' }, 'invalid_config', /replace/],
    [{ columns: { include: ['nmae'] } }, 'not_found_at_source', /note/],
  ])('refused: %j', async (fields, code, hint) => {
    always({ data: orders });
    const error = await refused(resolve({ rest: { pagination: { type: 'none' } }, ...fields }));
    expect(error.code, error.message).toBe(code);
    expect(`${error.message} ${error.hint}`).toMatch(hint);
  });

  test('columns asked for, and those without which rows are not found again', async () => {
    always({ data: orders });
    const resolved = await resolve({
      mode: 'merge',
      primary_key: ['id'],
      columns: { exclude: ['id', 'note'] },
      rest: { pagination: { type: 'none' } },
    });
    expect(resolved.columns.map(({ name }) => name)).toEqual(['id', 'customer', 'updated_at']);
    expect(resolved.notes.join('\n')).toContain('Read although not asked for');
  });

  test('two lists in a page: somebody has to say which', async () => {
    always({ orders: [{ n: 1 }], customers: [{ n: 1 }] });
    const error = await refused(resolve({ rest: { pagination: { type: 'none' } } }));
    expect(error.code).toBe('invalid_config');
    expect(error.hint).toContain('"orders", "customers"');
  });

  test('how it is paged cannot be told: every way is named', async () => {
    always({ data: orders, total: 500 });
    const error = await refused(resolve());
    expect(error.code).toBe('invalid_config');
    for (const way of ['offset', 'page', 'cursor', 'next_url', 'link_header', 'keyset', 'none'])
      expect(error.hint).toContain(`"type":"${way}"`);
  });

  test('a list that is empty has the columns that were declared', async () => {
    always({ data: [] });
    const resolved = await resolve({
      primary_key: ['id'],
      cursor: 'updated_at',
      rest: { cursor_param: 'since', pagination: { type: 'none' } },
    });
    expect(resolved.columns.map(({ name }) => name)).toEqual(['id', 'updated_at']);
    expect(resolved.notes.join('\n')).toContain('has no records yet');
  });

  test('an API that does not heed the page size', async () => {
    always({ data: orders });
    const pagination = { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 10 };
    const resolved = await resolve({ rest: { pagination } });
    expect(resolved.notes.join('\n')).toContain('asked for 10 records a page and answered with 30');
  });
});

describe('preview', () => {
  test('rows, the next request, and what would not land as it is', async () => {
    handler = (request, response) => {
      const from = Number(queryOf(request).get('offset') ?? 0);
      answer(response, 200, { items: orders.slice(from, from + 10) });
    };
    await using source = await open();
    const before = api.requests.length;
    const resolved = await source.resolve(
      stream({
        columns: { exclude: ['note'] },
        rest: { pagination: { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 10 } },
      }),
      signal,
    );
    const rows = await source.preview(resolved, 3, signal);
    const remarks = source.remarks?.(resolved).join('\n') ?? '';
    expect(api.requests.length - before).toBe(1);
    expect(rows).toHaveLength(3);
    expect(rows[0]).toEqual([1, '{"name":"c0"}', '2026-03-01T00:00:00.000000Z']);
    expect(remarks).toMatch(/The next request would be GET .*offset=10/);
    expect(remarks).toContain('Nested values stay JSON in "customer"');
    expect(remarks).toContain('Would not land: "note"');
  });

  test('values of several kinds, and fields with nothing in them', async () => {
    always([
      { id: 1, code: 17, size: 1, empty: null },
      { id: 2, code: 'A7', size: 1.5, empty: null },
    ]);
    await using source = await open();
    const resolved = await source.resolve(stream({ rest: { pagination: { type: 'none' } } }), signal);
    const remarks = source.remarks?.(resolved).join('\n') ?? '';
    expect(remarks).toContain('Values of several kinds: "code" (integer and string, lands as text).');
    expect(remarks).not.toContain('"size"');
    expect(remarks).toContain('Nothing but null in "empty"');
  });

  test.each([
    [{ type: 'page', page_param: 'page', size_param: 'size', size: 10 }, ['id'], 'cursor, keyset or offset'],
    [{ type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 10 }, [], 'a primary_key'],
    [{ type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 10 }, ['id'], null],
    [{ type: 'keyset', param: 'after', field: 'id' }, ['id'], null],
  ])('rows that move between pages: %j, key %j', async (pagination, primary_key, helps) => {
    const keyed = primary_key.length > 0;
    always({ items: orders.slice(0, 10).map(({ id, ...rest }) => (keyed ? { id, ...rest } : rest)) });
    await using source = await open();
    const resolved = await source.resolve(
      stream({
        ...(keyed ? { primary_key } : { mode: 'append' }),
        cursor: 'updated_at',
        rest: { pagination },
      }),
      signal,
    );
    await using reading = await source.read(resolved, null, signal);
    const remarks = source.remarks?.(resolved).join('\n') ?? '';
    if (helps === null) {
      expect(remarks).not.toContain('over the edge of a page');
      expect(reading.guard).not.toContain('none');
    } else {
      expect(remarks).toMatch(new RegExp(`over the edge of a page.*full_refresh.*${helps}`));
      expect(reading.guard).toContain('none for rows that move between pages');
    }
  });

  test('a page that is too large to be seen whole is not taken for the only one', async () => {
    const fat = Array.from({ length: 1_000 }, (_, id) => ({ id, text: 'x'.repeat(10_000) }));
    always(fat);
    const error = await refused(resolve());
    expect(error.code).toBe('invalid_config');
    expect(error.message).toContain('How "orders" is paged cannot be told');
    const resolved = await resolve({ rest: { pagination: { type: 'none' } } });
    expect(resolved.columns.map(({ name }) => name)).toEqual(['id', 'text']);
  });

  test('a key in the query is not in the next request', async () => {
    always({ items: orders, next: `${api.url}/orders?page=2&api_key=${canary}` });
    await using source = await open({
      auth: { type: 'api_key', in: 'query', name: 'api_key', value: canary },
    });
    const resolved = await source.resolve(
      stream({ rest: { pagination: { type: 'next_url', next: 'next' } } }),
      signal,
    );
    const text = JSON.stringify([resolved.notes, source.remarks?.(resolved)]);
    expect(text).toContain('page=2');
    expect(text).not.toContain(canary);
  });
});

describe('discover', () => {
  const item = {
    type: 'object',
    properties: { id: { type: 'integer' }, updated_at: { type: 'string', format: 'date-time' } },
  };
  const list = (names: readonly string[]): object => ({
    get: {
      parameters: names.map((name) => ({
        name,
        in: 'query',
        schema: { type: name === 'limit' ? 'integer' : 'string' },
      })),
      responses: {
        200: {
          content: {
            'application/json': {
              schema: {
                type: 'object',
                properties: { data: { type: 'array', items: item }, next_cursor: { type: 'string' } },
              },
            },
          },
        },
      },
    },
  });
  const document = {
    openapi: '3.0.3',
    info: { title: 'Shop', version: '1' },
    servers: [{ url: '/' }],
    paths: {
      '/orders': list(['limit', 'cursor', 'updated_since']),
      '/orders/{order_id}/lines': list([]),
      '/customers': list(['limit', 'offset']),
      '/orders/{order_id}': {
        get: { responses: { 200: { content: { 'application/json': { schema: item } } } } },
      },
      '/health': { get: { responses: { 200: { description: 'ok' } } } },
    },
  };

  test('streams with path, records, pagination, key and cursor, ready to be added', async () => {
    handler = (request, response) => answer(response, request.url === '/openapi.json' ? 200 : 404, document);
    await using source = await open({ openapi: '/openapi.json' });
    const { items, next_cursor } = await source.discover({ limit: 10 }, signal);
    expect(next_cursor).toBeUndefined();
    expect(items.map(({ suggested }) => suggested)).toEqual([
      {
        name: 'orders',
        path: '/orders',
        primary_key: ['id'],
        cursor: 'updated_at',
        rest: {
          records: 'data',
          params: { limit: 100 },
          pagination: { type: 'cursor', cursor_param: 'cursor', next: 'next_cursor' },
          cursor_param: 'updated_since',
          cursor_format: 'value',
        },
      },
      {
        name: 'customers',
        path: '/customers',
        primary_key: ['id'],
        rest: {
          records: 'data',
          pagination: { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 100 },
        },
      },
      {
        name: 'orders_lines',
        path: '/orders/{order_id}/lines',
        primary_key: ['orders_id', 'id'],
        rest: { records: 'data', parent: { stream: 'orders', field: 'id', param: 'order_id' } },
      },
    ]);
    for (const { suggested } of items) validate(streamSchema, suggested, 'The suggestion');
    expect(items[0]).toMatchObject({ kind: 'endpoint', table: '/orders' });
  });

  test('by its URL, by its text; searched and paged', async () => {
    handler = (_, response) => answer(response, 200, document);
    for (const openapi of [`${api.url}/anything`, JSON.stringify(document)]) {
      await using source = await open({ openapi });
      const first = await source.discover({ limit: 2 }, signal);
      expect(first.items.map(({ name }) => name)).toEqual(['orders', 'customers']);
      const rest = await source.discover(
        { limit: 2, ...(first.next_cursor ? { cursor: first.next_cursor } : {}) },
        signal,
      );
      expect(rest.items.map(({ name }) => name)).toEqual(['orders_lines']);
      expect((await source.discover({ limit: 9, search: 'LINES' }, signal)).items).toHaveLength(1);
    }
  });

  test('none named: how to go on', async () => {
    await using source = await open();
    const error = await refused(source.discover({ limit: 1 }, signal));
    expect(error.code).toBe('invalid_config');
    expect(error.hint).toContain('preview_stream');
  });
});
