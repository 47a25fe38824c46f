import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { type MillraceProcess, startMillrace } from '../support/millrace-process.ts';
import { answer, queryOf, serve, serveLists, serveTokens, type TestApi } from '../support/rest-apis.ts';

/**
 * Three APIs, each brought in by conversation alone: somebody has the API's own page (the comment above each test) and the
 * tools' answers, and nothing else. At most six calls each, the query included.
 */

const CALLS_MAX = 6;
const canary = 'canary-9c1e5b';
let folder: string;
let millrace: MillraceProcess;
let shop: TestApi;
let signIn: Awaited<ReturnType<typeof serveTokens>>;
let billing: TestApi;
const said: string[] = [];

interface Talk {
  call<T = Record<string, unknown>>(tool: string, args: Record<string, unknown>): Promise<T>;
}

/** One conversation: every call counts, and what came back is kept for looking through. */
function talk(): Talk {
  let calls = 0;
  return {
    async call(tool, args) {
      calls += 1;
      expect(calls, `call ${calls}: ${tool}`).toBeLessThanOrEqual(CALLS_MAX);
      const reply = await millrace.call(tool, args);
      said.push(reply.text);
      expect(reply.isError, reply.text).toBe(false);
      return reply.structured as never;
    },
  };
}

interface Registered {
  readonly test: { readonly ok: boolean };
  readonly warnings: readonly string[];
}

interface Previewed {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly unknown[][];
  readonly would_write: { readonly table: string; readonly mode: string };
  readonly warnings: readonly string[];
}

interface Example {
  readonly shows: string;
  readonly connector: {
    readonly config: Record<string, unknown>;
    readonly streams: readonly Record<string, unknown>[];
  };
}

interface Types {
  readonly types: readonly { readonly type: string; readonly examples: readonly Example[] }[];
}

/** The example whose words fit what the page says. */
async function exampleFor(talking: Talk, words: RegExp): Promise<Example['connector']> {
  const { types } = await talking.call<Types>('list_connector_types', { type: 'rest_api' });
  const found = types[0]?.examples.find(({ shows }) => words.test(shows));
  if (found === undefined) throw new Error(`no example for ${words}`);
  return found.connector;
}

const moment = (n: number): string => new Date(Date.UTC(2026, 0, 1) + n * 60_000).toISOString();
const lists = {
  products: Array.from({ length: 250 }, (_, n) => ({
    id: n + 1,
    name: `product ${n + 1}`,
    price: (n + 1) / 4,
    tags: [{ name: 'a' }],
  })),
  orders: Array.from({ length: 230 }, (_, n) => ({ id: n + 1, status: 'open', updated_at: moment(n) })),
};
const invoices = Array.from({ length: 95 }, (_, n) => ({
  id: `inv_${String(n).padStart(4, '0')}`,
  amount: n + 0.5,
  updated_at: moment(n),
}));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-rest-'));
  shop = await serveLists(lists);
  signIn = await serveTokens({ id: 'millrace', secret: canary });
  billing = await serve((request, response) => {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    void signIn.holds(token).then((holds) => {
      if (!holds) return answer(response, 401, { error: 'invalid token' }, { 'www-authenticate': 'Bearer' });
      const query = queryOf(request);
      const after = query.get('updated_after') ?? '';
      const wanted = invoices.filter((invoice) => invoice.updated_at >= after);
      const from = Number(Buffer.from(query.get('cursor') ?? '', 'base64url').toString() || 0);
      const next = from + 20 < wanted.length ? Buffer.from(String(from + 20)).toString('base64url') : null;
      answer(response, 200, { data: wanted.slice(from, from + 20), meta: { next_cursor: next } });
    });
  });
  millrace = await startMillrace({
    dataDir: join(folder, 'data'),
    config: { network: { allowPrivateHttp: ['127.0.0.1'] } },
    env: { MILLRACE_BILLING_SECRET: canary },
  });
});

afterAll(async () => {
  await millrace?.[Symbol.asyncDispose]();
  for (const api of [shop, billing, signIn]) await api?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

describe('by conversation alone', () => {
  // "GET /products lists our products. Use _start and _limit (at most 100) to page. No sign-in is needed."
  test('an API with offsets', async () => {
    const talking = talk();
    const example = await exampleFor(talking, /offset/);
    const [stream] = example.streams;
    const rest = {
      pagination: { type: 'offset', limit_param: '_limit', offset_param: '_start', limit: 100 },
    };
    const registered = await talking.call<Registered>('register_connector', {
      name: 'catalogue',
      type: 'rest_api',
      config: { ...example.config, base_url: shop.url },
      streams: [{ ...stream, name: 'products', path: '/products', rest }],
    });
    expect(registered.test.ok).toBe(true);

    const preview = await talking.call<Previewed>('preview_stream', {
      connector: 'catalogue',
      stream: 'products',
    });
    expect(preview.columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'id integer',
      'name text',
      expect.stringMatching(/^price (decimal|float)$/),
      'tags json',
    ]);
    expect(preview.rows).toHaveLength(5);
    expect(preview.would_write).toMatchObject({ table: 'catalogue__products', mode: 'replace' });
    expect(preview.warnings.join(' ')).toContain('_start=100');

    const { run } = await talking.call<{ run: Run }>('sync_connector', {
      connector: 'catalogue',
      wait_seconds: 25,
    });
    expect(run.status, JSON.stringify(run)).toBe('succeeded');
    const { rows } = await talking.call<{ rows: unknown[][] }>('query_data', {
      sql: 'select count(*), count(distinct id), cast(sum(cast(price as real)) as integer) from catalogue__products',
    });
    expect(rows).toEqual([[250, 250, 7843]]);
  });

  // "GET /orders: pages by _page and _limit, with a Link header. updated_at_gte=… only what changed since."
  test('an API with Link headers, the way it pages found by looking', async () => {
    const talking = talk();
    const registered = await talking.call<Registered>('register_connector', {
      name: 'shop',
      type: 'rest_api',
      config: { base_url: shop.url },
      streams: [
        {
          name: 'orders',
          path: '/orders',
          cursor: 'updated_at',
          rest: { params: { _page: 1, _limit: 100, _sort: 'updated_at' }, cursor_param: 'updated_at_gte' },
        },
      ],
    });
    expect(registered.test.ok).toBe(true);
    const preview = await talking.call<Previewed>('preview_stream', {
      connector: 'shop',
      stream: 'orders',
      limit: 1,
    });
    expect(preview.would_write.mode).toBe('merge');
    const words = preview.warnings.join(' ');
    expect(words).toContain('link_header');
    expect(words).toContain('Key (id)');
    expect(words).toContain('_page=2');

    const first = await talking.call<{ run: Run }>('sync_connector', { connector: 'shop', wait_seconds: 25 });
    expect(first.run.status, JSON.stringify(first.run)).toBe('succeeded');
    expect(first.run.totals.rows_written).toBe(230);

    lists.orders[3] = { id: 4, status: 'paid', updated_at: moment(1_000) };
    lists.orders.push({ id: 231, status: 'open', updated_at: moment(1_001) });
    const second = await talking.call<{ run: Run }>('sync_connector', {
      connector: 'shop',
      wait_seconds: 25,
    });
    expect(second.run.status, JSON.stringify(second.run)).toBe('succeeded');
    expect(second.run.totals.rows_read).toBeLessThan(10);
    const { rows } = await talking.call<{ rows: unknown[][] }>('query_data', {
      sql: "select count(*), sum(status = 'paid'), max(updated_at) like '2026-01-01T16:41%' from shop__orders",
    });
    expect(rows).toEqual([[231, 1, 1]]);
  });

  // "Tokens: POST to /token of our sign-in server with your client id and secret (scope invoices.read). GET /invoices answers
  // {data, meta: {next_cursor}}; send next_cursor as cursor. updated_after=<ISO time> only what changed since."
  test('an API with OAuth2 and a cursor', async () => {
    const talking = talk();
    const example = await exampleFor(talking, /client credentials/);
    const auth = {
      ...(example.config['auth'] as object),
      token_url: `${signIn.url}/token`,
      client_id: 'millrace',
    };
    const registered = await talking.call<Registered>('register_connector', {
      name: 'billing',
      type: 'rest_api',
      config: { ...example.config, base_url: billing.url, auth },
      streams: example.streams,
    });
    expect(registered.test.ok, said.at(-1)).toBe(true);
    expect(registered.warnings).toEqual([]);
    const preview = await talking.call<Previewed>('preview_stream', {
      connector: 'billing',
      stream: 'invoices',
    });
    expect(preview.would_write.mode).toBe('merge');
    expect(preview.rows).toHaveLength(5);

    const first = await talking.call<{ run: Run }>('sync_connector', {
      connector: 'billing',
      wait_seconds: 25,
    });
    expect(first.run.status, JSON.stringify(first.run)).toBe('succeeded');
    expect(first.run.totals.rows_written).toBe(95);
    invoices.push({ id: 'inv_new', amount: 1, updated_at: moment(2_000) });
    const second = await talking.call<{ run: Run }>('sync_connector', {
      connector: 'billing',
      wait_seconds: 25,
    });
    expect(second.run.totals.rows_read, JSON.stringify(second.run)).toBeLessThan(10);
    const { rows } = await talking.call<{ rows: unknown[][] }>('query_data', {
      sql: 'select count(*), max(id) from billing__invoices',
    });
    expect(rows).toEqual([[96, 'inv_new']]);
  });

  test('a changed base_url asks for the secret again; a literal is sealed and told', async () => {
    const moved = await millrace.fails('update_connector', {
      connector: 'billing',
      config: { base_url: 'http://127.0.0.1:9' },
    });
    expect(moved).toMatchObject({ code: 'secret_refused', who: 'person' });
    expect(moved.message).toContain('auth.client_secret');

    // A proxy sees what is sent through it.
    const through = { connector: 'billing', config: { proxy_url: 'http://127.0.0.1:9' } };
    expect((await millrace.fails('update_connector', through)).code).toBe('secret_refused');

    const literal = `${canary}-literal`;
    const registered = await millrace.must<Registered & { connector: { config: Record<string, unknown> } }>(
      'register_connector',
      {
        name: 'sealed',
        type: 'rest_api',
        config: {
          base_url: billing.url,
          auth: { type: 'api_key', in: 'header', name: 'X-Key', value: literal },
        },
        test: false,
      },
    );
    expect(registered.warnings.join(' ')).toContain('"auth.value" was given in clear');
    expect(registered.connector.config['auth']).toMatchObject({ value: '•••• (stored)' });
    // Sent back as it was shown, with another host.
    const shown = { ...registered.connector.config, base_url: 'http://127.0.0.1:9' };
    expect((await millrace.fails('update_connector', { connector: 'sealed', config: shown })).code).toBe(
      'secret_refused',
    );
    const kept = await millrace.must<{ changes: string[] }>('update_connector', {
      connector: 'sealed',
      config: { ...registered.connector.config, base_url: `${billing.url}/v2` },
    });
    expect(kept.changes).toEqual(['config.base_url changed']);
    said.push(JSON.stringify([moved, registered, kept]));
  });

  test('a credential in a URL or a stream is refused with the way to do it, and not repeated', async () => {
    const config = { base_url: `http://user:${canary}@${shop.host}` };
    const inUrl = await millrace.fails('register_connector', { name: 'x', type: 'rest_api', config });
    expect(inUrl.message).toContain('"auth": {"type": "basic"');
    const streams = [{ name: 's', path: '/s', rest: { headers: { Authorization: `Bearer ${canary}` } } }];
    const inStream = await millrace.fails('register_connector', {
      name: 'x',
      type: 'rest_api',
      config: { base_url: shop.url },
      streams,
    });
    expect(inStream.message).toContain('"auth" of the connector');
    said.push(JSON.stringify([inUrl, inStream]));
  });

  test('an API that asks to wait for longer than anybody waits for an answer: how long, at once', async () => {
    await using busy = await serve((_, response) => answer(response, 429, {}, { 'retry-after': '3600' }));
    const things = { name: 'things', path: '/things' };
    await millrace.must('register_connector', {
      name: 'busy',
      type: 'rest_api',
      config: { base_url: busy.url },
      streams: [things],
      test: false,
    });
    const asks = { code: 'rate_limited', retryable: true, hint: expect.stringMatching(/wait 3600 s/) };
    const tested = await millrace.must('test_connector', { connector: 'busy' });
    expect(tested).toMatchObject({ ok: false, error: asks });
    // By now nobody may ask there, and whoever wants to is told so before the API is.
    const preview = await millrace.fails('preview_stream', { connector: 'busy', stream: 'things' });
    expect(preview).toMatchObject({ code: 'rate_limited', hint: expect.stringMatching(/wait \d{2,3} s/) });
    expect(busy.requests).toHaveLength(1);
  });

  test('the secret was in no answer and on no line of the log', () => {
    expect(said.length).toBeGreaterThan(10);
    expect(said.join('\n')).not.toContain(canary);
    expect(`${millrace.stdout()}${millrace.stderr()}`).not.toContain(canary);
  });
});
