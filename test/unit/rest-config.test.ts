import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { findConnectorType } from '../../src/connectors/index.ts';
import { addressOf, restConfig, restSecrets, settingsOf } from '../../src/connectors/rest-api/config.ts';
import { restExamples, restGuide } from '../../src/connectors/rest-api/guide.ts';
import { planStream } from '../../src/connectors/rest-api/plan.ts';
import { findRecords } from '../../src/connectors/rest-api/records-found.ts';
import { MillraceError } from '../../src/core/errors.ts';
import type { Stream } from '../../src/core/model.ts';
import { registerSchema, streamSchema } from '../../src/core/schema.ts';
import { validate } from '../../src/core/validate.ts';
import { assertSecretsBound, assertStreamsFit } from '../../src/services/fit.ts';
import { guideViews } from '../../src/services/guides/index.ts';
import { typeViews } from '../../src/services/types.ts';
import { isSecretField } from '../../src/vault/config-strings.ts';
import { showConfig } from '../../src/vault/shown.ts';

const base_url = 'https://api.example.com/v2';
const canary = 'canary-7f3a';
const type = findConnectorType('rest_api');

/** The coded error of work that has to fail. */
function refusal(work: () => unknown): MillraceError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(MillraceError);
    return error as MillraceError;
  }
  throw new Error('nothing was refused');
}

describe('config', () => {
  test('what is left open is filled', () => {
    expect(settingsOf(restConfig.parse({ base_url: `${base_url}/` }))).toEqual({
      baseUrl: new URL(base_url),
      auth: { type: 'none' },
      headers: {},
      params: {},
      pagination: { type: 'auto' },
      rateLimit: { concurrency: 4 },
      timeoutMs: 30_000,
      maxPageBytes: 1_073_741_824,
      responses: [],
      testPath: null,
      openapi: null,
      proxy: undefined,
      ca: undefined,
    });
  });

  test.each([
    [`https://user:${canary}@api.example.com`, /"auth": \{"type": "basic"/],
    [`https://${canary}@api.example.com`, /"auth": \{"type": "basic"/],
    [`https:\\\\u:${canary}@api.example.com`, /"basic"/],
    [`https://api.example.com/?api_key=${canary}`, /"in": "query", "name": "api_key"/],
    [`https://api.example.com/v1?x=1&access_token=${canary}`, /"name": "access_token"/],
    [`https://api.example.com/v1?api%5Fkey=${canary}`, /"name": "api_key"/],
    [`https://user:\${env:PW}@api.example.com`, /"basic"/],
    [`https://api.example.com/?api_key=\${env:KEY}`, /"in": "query"/],
  ])('a credential in a URL is refused with the way to do it: %s', (url, way) => {
    for (const config of [
      { base_url: url },
      {
        base_url,
        auth: { type: 'oauth2_client_credentials', token_url: url, client_id: 'c', client_secret: 's' },
      },
      ...(url.startsWith('https://') ? [{ base_url, openapi: url }] : []),
    ]) {
      const { code, message } = refusal(() => validate(restConfig, config, 'The rest_api config'));
      expect(code).toBe('invalid_config');
      expect(message).toMatch(way);
      expect(message).not.toContain(canary);
    }
  });

  test.each([
    'nonsense',
    'ftp://h/x',
    '//h/x',
    'https://',
    'https://h/x?page=2',
    'https://h/#x',
    'file:///etc/passwd',
  ])('no address: %s', (url) => {
    expect(refusal(() => validate(restConfig, { base_url: url }, 'The config')).message).toMatch(
      /^The config/,
    );
  });

  test('an address that comes from a reference is judged when it is filled in, and told without it', () => {
    const config = restConfig.parse({ base_url: '${env:MILLRACE_API}' });
    const error = refusal(() => settingsOf({ ...config, base_url: `https://u:${canary}@h` }));
    expect(`${error.message} ${error.hint}`).not.toContain(canary);
  });

  test.each([
    [{ base_url, params: { api_key: 'x' } }, /params\.api_key/],
    [{ base_url, headers: { 'a b': 'x' } }, /headers/],
    [{ base_url, headers: { a: 'x\r\nHost: evil' } }, /line ends/],
    [{ base_url, pagination: { type: 'cursor', cursor_param: 'c' } }, /"next"/],
    [
      { base_url, pagination: { type: 'cursor', cursor_param: 'c', next: 'a', next_header: 'b' } },
      /one of the two/,
    ],
    [{ base_url, pagination: { type: 'pages' } }, /pagination/],
    [{ base_url, auth: { type: 'bearer' } }, /auth\.token/],
    [{ base_url, auth: { type: 'bearer', token: 'x', tokne: 'y' } }, /tokne/],
    [{ base_url, rate_limits: {} }, /rate_limits.*"rate_limit"/],
    [{ base_url, test_path: '//evil' }, /test_path/],
    [{ base_url, responses: [{ do: 'skip' }] }, /"status"/],
    [{}, /base_url/],
  ])('refused: %j', (config, told) => {
    expect(refusal(() => validate(restConfig, config, 'The config')).message).toMatch(told);
  });

  test.each([
    ['/orders', 'https://api.example.com/v2/orders'],
    ['/orders?x=1', 'https://api.example.com/v2/orders?x=1'],
    ['/../orders', 'https://api.example.com/orders'],
    ['//evil.com', 'https://api.example.com/v2//evil.com'],
  ])('the path %s stands below the base', (path, wanted) => {
    expect(addressOf(new URL(base_url), path).href).toBe(wanted);
  });

  test.each(['@evil.com', '.evil.com', ':8080/x', 'https://evil.com'])('no path: %s', (path) => {
    expect(refusal(() => addressOf(new URL('https://api.example.com'), path)).code).toBe('invalid_config');
  });
});

describe('streams', () => {
  const stream = (fields: object): Stream => validate(streamSchema, { name: 's', ...fields }, 'The stream');

  test.each([
    [{ path: '//evil.com/x' }, /begins with one/],
    [{ path: '/\\evil.com' }, /begins with one/],
    [{ path: 'orders' }, /begins with one/],
    [{ path: 'https://evil.com' }, /begins with one/],
    [{ path: '/a b' }, /begins with one/],
    [{ path: `/a?api_key=${canary}` }, /credential/],
    [{ path: '/a', table: 'b' }, /one of/],
    [{}, /one of/],
    [{ table: 'a', rest: {} }, /"path"/],
    [{ path: '/a', where: 'x = 1' }, /rest\.params/],
    [{ path: '/a/{id}' }, /rest\.parent/],
    [
      { path: '/a/{x}/{id}', rest: { parent: { stream: 'p', field: 'id', param: 'id' } } },
      /stands in the path/,
    ],
    [
      { path: '/a', rest: { parent: { stream: 'p', field: 'id', param: 'id', in: 'path' } } },
      /does not stand/,
    ],
    [{ path: '/a', rest: { headers: { Authorization: canary } } }, /credential.*"auth"/],
    [{ path: '/a', rest: { params: { access_token: canary } } }, /credential.*"auth"/],
    [{ path: '/a', rest: { body: {} } }, /POST/],
    [{ path: '/a', rest: { window: '7d', cursor_param: 'a', cursor_end_param: 'b' } }, /cursor_start/],
    [
      { path: '/a', rest: { window: '7d', cursor_param: 'a', cursor_start: '2026-01-01' } },
      /cursor_end_param/,
    ],
    [{ path: '/a', rest: { cursor_format: 'iso8601' } }, /"iso"/],
    [{ path: '/a', rest: { cursor_format: '{when}' } }, /"iso"/],
    [{ path: '/a', rest: { recrods: 'x' } }, /recrods.*"records"/],
  ])('refused: %j', (fields, told) => {
    const { code, message } = refusal(() => stream(fields));
    expect(code).toBe('invalid_config');
    expect(message).toMatch(told);
    expect(message).not.toContain(canary);
  });

  test.each(['updated:>={iso}', '{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}', 'epoch_ms', 'value'])(
    'a cursor written as %s',
    (format) => {
      expect(stream({ path: '/a', rest: { cursor_format: format } }).rest?.cursor_format).toBe(format);
    },
  );

  test.each([
    [0, 'value'],
    [2026, 'value'],
    [7e15, 'value'],
    [0, 'iso'],
    ['2026-13-01', 'value'],
    ['soon', 'value'],
    ['soon', 'iso'],
  ])('windows from what is no moment are refused: %j by %s', (cursor_start, cursor_format) => {
    const rest = { cursor_param: 'a', cursor_end_param: 'b', cursor_start, cursor_format };
    const plan = (more: object): unknown =>
      planStream(
        settingsOf(restConfig.parse({ base_url })),
        stream({ path: '/a', rest: { ...rest, ...more } }),
      );
    const { code, message, hint } = refusal(() => plan({ window: '7d' }));
    expect(code).toBe('invalid_config');
    expect(message).toContain(String(cursor_start));
    expect(hint).toMatch(/cursor_start.*cursor_format/);
    expect(() => plan({})).not.toThrow();
    expect(() => plan({ window: '7d', cursor_start: '2026-01-01' })).not.toThrow();
  });

  test('the plan: what the stream says wins over what the connector says', () => {
    const settings = settingsOf(
      restConfig.parse({
        base_url,
        headers: { Accept: 'a', 'X-One': '1' },
        params: { v: 1, w: 1 },
        pagination: { type: 'link_header' },
        responses: [{ status: 404, do: 'fail' }],
      }),
    );
    const plan = planStream(
      settings,
      stream({
        path: '/orders/{order}/lines',
        lookback: '5m',
        rest: {
          headers: { ACCEPT: 'b' },
          params: { v: 2 },
          responses: [{ status: 404, do: 'skip' }],
          parent: { stream: 'orders', field: 'id', param: 'order' },
        },
      }),
    );
    expect(plan).toMatchObject({
      headers: { accept: 'b', 'x-one': '1' },
      params: { v: 2, w: 1 },
      pagination: { type: 'link_header' },
      recordsOpen: true,
      format: 'auto',
      lookback: { kind: 'time', ms: 300_000 },
      parent: { in: 'path', column: 'orders_id' },
      repeatable: true,
      flatten: 0,
    });
    expect(plan.responses.map((rule) => rule.do)).toEqual(['skip', 'fail']);
  });

  test.each([
    [[{ name: 'a', table: 't' }], /"path"/],
    [
      [{ name: 'a', path: '/a', rest: { parent: { stream: 'b', field: 'id', param: 'p' } } }],
      /no such other stream/,
    ],
    [
      [{ name: 'a', path: '/a', rest: { parent: { stream: 'a', field: 'id', param: 'p' } } }],
      /no such other stream/,
    ],
  ])('do not fit an API: %j', (streams, told) => {
    expect(refusal(() => assertStreamsFit(type, streams)).message).toMatch(told);
  });

  test('a path does not fit a database', () => {
    const streams = [{ name: 'a', path: '/a' }];
    expect(refusal(() => assertStreamsFit(findConnectorType('postgresql'), streams)).message).toMatch(
      /"table" or "query"/,
    );
  });
});

describe('secrets', () => {
  test.each([
    ['auth.token', true],
    ['auth.value', true],
    ['auth.username', true],
    ['auth.password', true],
    ['auth.client_secret', true],
    ['auth.refresh_token', true],
    ['auth.headers.X-Whatever', true],
    ['headers.Authorization', true],
    ['headers.Accept', false],
    ['auth.client_id', false],
    ['auth.token_url', false],
    ['base_url', false],
    ['pagination.cursor_param', false],
  ])('%s: %s', (path, secret) => {
    expect(isSecretField(path, restSecrets)).toBe(secret);
  });

  test('are masked wherever they stand, and addresses are not', () => {
    const shown = showConfig(
      {
        base_url,
        auth: {
          type: 'oauth2_refresh_token',
          token_url: 'https://auth.example.com/token',
          client_id: 'c',
          client_secret: '${env:MILLRACE_S}',
          refresh_token: '${secret:shop.auth.refresh_token}',
        },
      },
      restSecrets,
    );
    expect(shown).toEqual({
      base_url,
      auth: {
        type: 'oauth2_refresh_token',
        token_url: 'https://auth.example.com/token',
        client_id: 'c',
        client_secret: '•••• (env MILLRACE_S)',
        refresh_token: '•••• (stored)',
      },
    });
  });

  const bearer = (token: string): object => ({ type: 'bearer', token });
  const before = { base_url, auth: bearer('${env:MILLRACE_A}') };
  const change = (given: Record<string, unknown>, was: Record<string, unknown> = before): (() => void) => {
    return () => assertSecretsBound(type, { before: was, after: { ...was, ...given }, given, worked: false });
  };

  test('another host asks for them again', () => {
    for (const moved of [
      'https://evil.com',
      'http://api.example.com',
      'https://api.example.com:8443',
      '${env:MILLRACE_X}',
    ]) {
      const error = refusal(change({ base_url: moved }));
      expect(error.code).toBe('secret_refused');
      expect(error.message).toContain('"auth.token"');
      expect(error.hint).toContain('update_connector');
    }
  });

  test('the same host, another path, or all given again: they stay', () => {
    change({ base_url: 'https://api.example.com/v3' })();
    change({ base_url: 'https://API.example.com:443/v3' })();
    change({ base_url: 'https://other.example.com', auth: bearer('${env:MILLRACE_A}') })();
    change({ base_url: 'https://other.example.com', auth: bearer('a new one') })();
    change({ timeout_ms: 100 })();
  });

  test('what was sealed for this connector is the same secret, however it comes', () => {
    const own = { base_url, auth: bearer('${secret:shop.auth.token}') };
    const moved = { base_url: 'https://evil.com', auth: bearer('${secret:shop.auth.token}') };
    expect(refusal(change(moved, own)).code).toBe('secret_refused');
    const hidden = {
      base_url: 'https://evil.com',
      auth: { type: 'none' },
      headers: { 'X-Token': '${secret:shop.auth.token}' },
    };
    expect(refusal(change(hidden, own)).code).toBe('secret_refused');
  });

  test('a token URL is such an address too', () => {
    const auth = {
      type: 'oauth2_client_credentials',
      token_url: 'https://auth.example.com/t',
      client_id: 'c',
      client_secret: '${env:MILLRACE_A}',
    };
    const was = { base_url, auth };
    const after = { base_url, auth: { ...auth, token_url: 'https://evil.com/t' } };
    expect(
      refusal(() => assertSecretsBound(type, { before: was, after, given: {}, worked: false })).message,
    ).toContain('auth.token_url');
  });
});

describe('where records are', () => {
  test.each([
    [[{ id: 1 }], null],
    [{ data: [{ id: 1 }], meta: {} }, 'data'],
    [{ data: [{ id: 1 }], included: [{ id: 2 }] }, 'data'],
    [{ response: { numFound: 1, docs: [{ id: 1 }] } }, 'response.docs'],
    [{ hits: { total: 1, hits: [{ _id: 1 }] } }, 'hits.hits'],
    [{ orders: [{ n: 1 }], total: 5 }, 'orders'],
    [{ 'order-list': [{ n: 1 }] }, '"order-list"'],
    [{ orders: [], warnings: [{ text: 'x' }] }, 'orders'],
    [{ errors: [{ text: 'x' }] }, 'errors'],
    [{ items: [] }, 'items'],
    [{ id: 5, tags: [{ name: 'x' }] }, null],
    [{ name: 'x' }, null],
    [{ tags: ['a', 'b'] }, null],
  ])('%j: %s', (page, path) => {
    expect(findRecords(page)).toMatchObject({ path });
  });

  test('of several lists nobody can tell which', () => {
    const found = findRecords({ orders: [{ n: 1 }], customers: [{ n: 1 }] });
    expect(found).toMatchObject({ path: null, is: 'unclear', others: ['orders', 'customers'] });
  });
});

describe('the guide', () => {
  test.each(restExamples)('holds: $shows', ({ connector }) => {
    const { test: _test, ...given } = validate(registerSchema, connector, 'The example');
    const settings = settingsOf(validate(restConfig, given.config, 'The config'));
    assertStreamsFit(type, given.streams);
    for (const stream of given.streams) planStream(settings, stream);
  });

  test('has every auth and every pagination', () => {
    const text = JSON.stringify(restExamples);
    const tagged = (schema: z.ZodType): readonly string[] =>
      [
        ...JSON.stringify(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })).matchAll(
          /"const":"(\w+)"/g,
        ),
      ].map((match) => match[1] ?? '');
    const known = [...new Set(tagged(restConfig))];
    expect(known).toHaveLength(14);
    // "none" and no auth at all are the same; its pagination is in the examples.
    for (const name of known) expect(text, name).toContain(`{"type":"${name}"`);
  });

  test('is served as text, and short enough for one reply', () => {
    expect(guideViews()).toContainEqual({
      topic: 'rest',
      title: restGuide.title,
      text: restGuide.text(),
    });
    expect(restGuide.text().length).toBeLessThan(12_000);
    expect(JSON.stringify(typeViews('rest_api')).length).toBeLessThan(23_000);
    expect(JSON.stringify(typeViews()).length).toBeLessThan(23_000);
  });

  test('a type asked for by name shows what its streams take, and nothing of the others', () => {
    const fields = (name: string): readonly string[] =>
      typeViews(name).flatMap(({ stream_schema }) => Object.keys(stream_schema?.['properties'] ?? {}));
    expect(fields('rest_api')).toEqual(expect.arrayContaining(['path', 'rest', 'cursor']));
    expect(fields('rest_api')).not.toContain('table');
    expect(fields('postgresql')).toContain('table');
    expect(fields('postgresql')).not.toContain('rest');
  });
});
