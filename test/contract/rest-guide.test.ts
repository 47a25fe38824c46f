import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { restExamples } from '../../src/connectors/rest-api/guide.ts';
import { restApi } from '../../src/connectors/rest-api/index.ts';
import type { Stream } from '../../src/core/model.ts';
import { registerSchema } from '../../src/core/schema.ts';
import { validate } from '../../src/core/validate.ts';
import { answer, queryOf, serve, serveTokens, type TestApi } from '../support/rest-apis.ts';

/** Every example of the guide, read to its end from an API that speaks the way it says. An example that is wrong fails here. */

const rowsMax = 250;
const signal = new AbortController().signal;
const secret = 'guide-secret';
const things = Array.from({ length: rowsMax }, (_, n) => ({
  id: n + 1,
  updated_at: new Date(Date.UTC(2026, 1, 1) + n * 3_600_000).toISOString(),
  address: { city: `c${n}` },
  lines: [
    { sku: 'a', n },
    { sku: 'b', n },
  ],
}));

interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly body: string;
}

/** What a page of so many from there is, and whether more follow. */
function page(from: number, size: number): { readonly rows: typeof things; readonly next: number | null } {
  return { rows: things.slice(from, from + size), next: from + size < things.length ? from + size : null };
}

const numbered = ({ query }: Asked, size: number): number => (Number(query.get('page') ?? 1) - 1) * size;
const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

let api: TestApi;
let tokens: Awaited<ReturnType<typeof serveTokens>>;

/** By example: whether the request may be answered, and with what. */
const speaks: Readonly<
  Record<
    string,
    {
      readonly admits: (asked: Asked) => boolean | Promise<boolean>;
      readonly answers: (asked: Asked) => void;
    }
  >
> = {
  catalogue: {
    admits: ({ request }) => request.headers.authorization === undefined,
    answers: ({ response, query }) =>
      answer(response, 200, { items: page(Number(query.get('offset')), Number(query.get('limit'))).rows }),
  },
  code: {
    admits: ({ request }) => request.headers.authorization === `Bearer ${secret}`,
    answers: (asked) => linked(asked, Number(asked.query.get('per_page'))),
  },
  desk: {
    admits: ({ request }) => request.headers['x-api-key'] === secret,
    answers: (asked) => {
      const size = Number(asked.query.get('per_page'));
      answer(asked.response, 200, { data: page(numbered(asked, size), size).rows });
    },
  },
  rates: {
    admits: ({ query }) => query.get('key') === secret,
    answers: ({ response }) =>
      void response
        .writeHead(200, { 'content-type': 'text/csv' })
        .end(`id;"rate"\n${things.map(({ id }) => `${id};"${id / 4}"`).join('\n')}\n`),
  },
  erp: {
    admits: ({ request }) => request.headers.authorization === basic(secret, secret),
    answers: (asked) => {
      const { rows, next } = page(Number(asked.query.get('from') ?? 0), 100);
      const links = {
        next: next === null ? null : `${api.url}${asked.request.url?.split('?')[0]}?from=${next}`,
      };
      answer(asked.response, 200, { results: rows, links });
    },
  },
  forum: {
    admits: ({ request }) => request.headers.authorization === `Token ${secret}`,
    answers: (asked) => linked(asked, 100),
  },
  billing: {
    admits: ({ request }) => tokens.holds(request.headers.authorization?.slice('Bearer '.length) ?? ''),
    answers: (asked) => {
      const { rows, next } = page(
        Number(asked.query.get('cursor')?.slice(1) ?? 0),
        Number(asked.query.get('limit')),
      );
      answer(asked.response, 200, { data: rows, meta: { next_cursor: next === null ? null : `c${next}` } });
    },
  },
  shop: {
    admits: ({ request }) => request.headers.authorization === 'Bearer refreshed',
    answers: ({ response, query }) => {
      const { rows, next } = page(Number(query.get('starting_after') ?? 0), 100);
      answer(response, 200, { data: rows, has_more: next !== null });
    },
  },
  store: {
    admits: () => true,
    answers: ({ request, response }) => {
      const id = /\/orders\/(\d+)\/lines$/.exec(request.url ?? '')?.[1];
      if (id === undefined) return answer(response, 200, { data: things.slice(0, 20) });
      return Number(id) % 5 === 0
        ? answer(response, 404, {})
        : answer(response, 200, things[Number(id) - 1]?.lines);
    },
  },
  logs: {
    admits: ({ request }) =>
      request.method === 'POST' && request.headers['content-type'] === 'application/json',
    answers: ({ response, query, body }) => {
      const asked = JSON.parse(body) as { sort: string; cursor?: string; from?: number; to?: number };
      const [from, to] = [Number(asked.from ?? query.get('from')), Number(asked.to ?? query.get('to'))];
      if (asked.sort !== 'at' || !(from < to)) return answer(response, 200, { error: { text: 'no window' } });
      const hits = things
        .map(({ id, updated_at }) => ({ id, at: Date.parse(updated_at) }))
        .filter(({ at }) => at >= from && at <= to);
      const start = Number(asked.cursor ?? 0);
      const next = start + 100 < hits.length ? String(start + 100) : null;
      answer(response, 200, { hits: hits.slice(start, start + 100), next });
    },
  },
};

/** How many rows each stream has there. */
const expected: Readonly<Record<string, number>> = {
  'rates.daily': rowsMax,
  'shop.order_lines': rowsMax * 2,
  'store.orders': 20,
  'store.lines': 16 * 2,
};

function linked(asked: Asked, size: number): void {
  const { rows, next } = page(numbered(asked, size), size);
  const path = `${api.url}${asked.request.url?.split('?')[0]}?page=${(next ?? 0) / size + 1}&per_page=${size}`;
  answer(asked.response, 200, rows, next === null ? {} : { link: `<${path}>; rel="next"` });
}

beforeAll(async () => {
  tokens = await serveTokens({ id: 'millrace', secret });
  api = await serve((request, response) => {
    void text(request).then(async (body) => {
      const name = request.url?.split('/')[1] ?? '';
      if (name === 'token') return refreshed(body, response);
      const spoken = speaks[name];
      const asked = { request, response, query: queryOf(request), body };
      if (spoken === undefined) return answer(response, 404, {});
      if (!(await spoken.admits(asked))) return answer(response, 401, { error: 'who are you?' });
      return spoken.answers(asked);
    });
  });
});

afterAll(async () => {
  await api?.[Symbol.asyncDispose]();
  await tokens?.[Symbol.asyncDispose]();
});

/** Only what the example needs; rotation, faults and races are the matter of rest-auth.test.ts and a real server. */
function refreshed(body: string, response: ServerResponse): void {
  const form = new URLSearchParams(body);
  const holds = form.get('grant_type') === 'refresh_token' && form.get('refresh_token') === secret;
  if (holds) answer(response, 200, { access_token: 'refreshed', token_type: 'bearer', expires_in: 3600 });
  else answer(response, 400, { error: 'invalid_grant' });
}

/** The example with the addresses of this test's servers, and its references filled in. */
function here(connector: object): object {
  const { name } = connector as { readonly name: string };
  const local = JSON.stringify(connector)
    .replaceAll('https://api.example.com/v1', `${api.url}/${name}`)
    .replaceAll(
      'https://auth.example.com/token',
      name === 'shop' ? `${api.url}/token` : `${tokens.url}/token`,
    )
    .replaceAll(/\$\{env:MILLRACE_\w+\}/g, secret);
  return JSON.parse(local) as object;
}

const cases = restExamples.flatMap(({ connector }) =>
  (connector['streams'] as readonly Stream[]).map((stream) => ({
    connector,
    stream: stream.name,
    title: `${String(connector['name'])}.${stream.name}`,
  })),
);

test.each(cases)('$title is read whole', async ({ connector, stream, title }) => {
  const given = validate(registerSchema, here(connector), 'The example');
  const config = validate(restApi.config, given.config, 'The config');
  const network = { allow: [], allowPrivateHttp: ['127.0.0.1'] };
  await using source = await restApi.open(config, { network, streams: given.streams });
  const report = await source.check(given.streams, signal);
  expect(report.ok, JSON.stringify(report)).toBe(true);
  const declared = given.streams.find(({ name }) => name === stream);
  if (declared === undefined) throw new Error(`no stream ${stream}`);
  const resolved = await source.resolve(declared, signal);
  expect((await source.preview(resolved, 5, signal)).length).toBeGreaterThan(0);

  await using reading = await source.read(resolved, null, signal);
  const places = resolved.primaryKey.map((name) =>
    resolved.columns.findIndex((column) => column.name === name),
  );
  const keys = new Set<string>();
  let rows = 0;
  for await (const batch of reading.batches) {
    const width = batch.rows === 0 ? 1 : batch.values.length / batch.rows;
    for (let row = 0; row < batch.rows; row += 1)
      keys.add(places.map((place) => String(batch.values[row * width + place])).join('|'));
    rows += batch.rows;
  }
  const wanted = expected[title] ?? rowsMax;
  if (resolved.primaryKey.length > 0) expect(keys.size).toBe(wanted);
  expect(rows).toBeGreaterThanOrEqual(wanted);
});
