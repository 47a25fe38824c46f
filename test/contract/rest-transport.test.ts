import { createServer as createProxyServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  brotliCompressSync,
  constants,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { SendAgain } from '../../src/connectors/rest-api/http/retries.ts';
import { MillraceError } from '../../src/core/errors.ts';
import { clientOf, failureOf, get, never, serve, serveBytes, textOf } from '../support/http-support.ts';
import { testTls } from '../support/postgres-tls.ts';

/** The client against servers that misbehave in every way a server can. */

const TEXT = JSON.stringify({
  records: Array.from({ length: 2_000 }, (_, id) => ({ id, name: `näme ${id}` })),
});

describe('encodings', () => {
  const ENCODED: Readonly<Record<string, Buffer>> = {
    gzip: gzipSync(TEXT),
    'x-gzip': gzipSync(TEXT),
    deflate: deflateSync(TEXT),
    'DEFLATE, without its header': deflateRawSync(TEXT),
    br: brotliCompressSync(TEXT),
    zstd: zstdCompressSync(TEXT),
    'gzip, br': brotliCompressSync(gzipSync(TEXT)),
    'deflate, gzip': gzipSync(deflateSync(TEXT)),
    identity: Buffer.from(TEXT),
  };
  const headerOf = (name: string): string => name.replace(/^DEFLATE.*/, 'deflate');

  test.each(Object.keys(ENCODED))('%s is undone', async (name) => {
    await using api = await serve((_request, response) => {
      response.setHeader('content-encoding', headerOf(name));
      response.end(ENCODED[name]);
    });
    await using client = clientOf(api.origin);
    expect(await textOf(client, get(api.origin))).toBe(TEXT);
    expect(api.seen[0]?.headers['accept-encoding']).toBe('gzip, deflate, br, zstd');
  });

  test.each(['gzip', 'deflate', 'br', 'zstd'])(
    '%s that breaks off is asked for again, and never half an answer',
    async (name) => {
      const whole = ENCODED[name] ?? Buffer.alloc(0);
      await using api = await serve((_request, response, count) => {
        response.setHeader('content-encoding', name);
        // The connection closes as if all were well: only the compressed stream itself knows that its end is missing.
        response.setHeader('connection', 'close');
        response.end(count < 3 ? whole.subarray(0, whole.length - 20) : whole);
      });
      await using client = clientOf(api.origin);
      expect(await textOf(client, get(api.origin))).toBe(TEXT);
      expect(api.seen.length).toBe(3);
    },
  );

  test.each(['gzip', 'deflate', 'br', 'zstd'])(
    '%s that is plain text in truth is said to be so',
    async (name) => {
      await using api = await serve((_request, response) => {
        response.setHeader('content-encoding', name);
        response.end(TEXT);
      });
      await using client = clientOf(api.origin);
      const error = await failureOf(textOf(client, get(api.origin)));
      expect(error).toMatchObject({ code: 'response_invalid', message: expect.stringContaining('encoding') });
      expect(api.seen.length).toBe(1);
    },
  );

  test('nothing is nothing in any of them', async () => {
    await using api = await serve((request, response) => {
      response.setHeader('content-encoding', request.url.slice(1));
      if (request.url === '/gzip') response.statusCode = 204;
      response.end();
    });
    await using client = clientOf(api.origin);
    for (const name of ['gzip', 'x-gzip', 'deflate', 'br', 'zstd'])
      expect(await textOf(client, get(`${api.origin}/${name}`)), name).toBe('');
  });

  test('one that nobody asked for, and too many layers', async () => {
    await using api = await serve((request, response) => {
      response.setHeader('content-encoding', request.url.slice(1).replaceAll('-', ', '));
      response.end('x');
    });
    await using client = clientOf(api.origin);
    for (const path of ['compress', 'gzip-gzip-gzip-gzip'])
      expect(await failureOf(textOf(client, get(`${api.origin}/${path}`)))).toMatchObject({
        code: 'response_invalid',
        message: expect.stringContaining(path.replaceAll('-', ', ')),
      });
  });

  test('charsets', async () => {
    await using api = await serve((_request, response) => {
      response.setHeader('content-type', 'text/csv; charset=ISO-8859-1');
      response.end(Buffer.from('Zürich', 'latin1'));
    });
    await using client = clientOf(api.origin);
    expect(await textOf(client, get(api.origin))).toBe('Zürich');
  });
});

describe('sizes', () => {
  test('a bomb is stopped at the cap, in little memory', async () => {
    const bomb = gzipSync(Buffer.alloc(300_000_000), { level: 9 });
    await using api = await serve((_request, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.end(bomb);
    });
    await using client = clientOf(api.origin, { maxPageBytes: 5_000_000 });
    const before = process.memoryUsage().rss;
    let bytes = 0;
    const response = await client.send(get(api.origin), never);
    const error = await failureOf(
      (async () => {
        for await (const chunk of response.body) bytes += chunk.byteLength;
      })(),
    );
    expect(error).toMatchObject({
      code: 'response_invalid',
      hint: expect.stringContaining('max_page_bytes'),
    });
    expect(bytes).toBeLessThanOrEqual(5_000_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
  });

  test('an endless archive of nothing is stopped by what comes over the wire', async () => {
    const nothing = Buffer.concat(Array.from({ length: 5_000 }, () => gzipSync('')));
    await using api = await serve(async (_request, response) => {
      response.setHeader('content-encoding', 'gzip');
      while (!response.destroyed) {
        response.write(nothing);
        await sleep(1);
      }
    });
    await using client = clientOf(api.origin, { maxPageBytes: 1_000_000 });
    expect((await failureOf(textOf(client, get(api.origin)))).code).toBe('response_invalid');
  });

  test('a window of zstd that would take gigabytes', async () => {
    const wide = zstdCompressSync(Buffer.alloc(200_000_000), {
      params: { [constants.ZSTD_c_windowLog]: 27, [constants.ZSTD_c_contentSizeFlag]: 0 },
    });
    await using api = await serve((_request, response) => {
      response.setHeader('content-encoding', 'zstd');
      response.end(wide);
    });
    await using client = clientOf(api.origin, { maxPageBytes: 300_000_000 });
    expect((await failureOf(textOf(client, get(api.origin)))).code).toBe('response_invalid');
  });

  test('a length above the cap is refused before a byte is read, an endless body at the cap', async () => {
    await using api = await serve((request, response) => {
      if (request.url === '/told') response.setHeader('content-length', '1000000000000');
      response.write(Buffer.alloc(100_000));
      const more = setInterval(() => response.write(Buffer.alloc(100_000)), 1);
      response.on('close', () => clearInterval(more));
    });
    await using client = clientOf(api.origin, { maxPageBytes: 1_000_000 });
    for (const path of ['told', 'endless'])
      expect((await failureOf(textOf(client, get(`${api.origin}/${path}`)))).code).toBe('response_invalid');
  });

  test('`text` keeps to its own bound', async () => {
    await using api = await serve((_request, response) => void response.end(TEXT));
    await using client = clientOf(api.origin);
    await using response = await client.send(get(api.origin), never);
    expect((await failureOf(response.text(1_000))).code).toBe('response_invalid');
  });
});

describe('bodies that break', () => {
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';
  const BROKEN: Readonly<Record<string, (socket: Socket) => void>> = {
    'a length that is longer than what comes': (socket) =>
      socket.end(`${head}content-length: 100\r\n\r\n[1,2`),
    'chunks without an end': (socket) => socket.end(`${head}transfer-encoding: chunked\r\n\r\n4\r\n[1,2\r\n`),
    'a reset in the middle': (socket) => {
      socket.write(`${head}content-length: 100\r\n\r\n[1,2`);
      setTimeout(() => socket.resetAndDestroy(), 20);
    },
    'a reset before the head': (socket) => void socket.resetAndDestroy(),
    'an end before the head': (socket) => void socket.end(),
    'half a head': (socket) => void socket.end('HTTP/1.1 200 OK\r\ncontent-'),
  };

  test.each(Object.keys(BROKEN))('%s: asked for again, three times', async (name) => {
    await using api = await serveBytes((socket, count) => {
      if (count < 4) BROKEN[name]?.(socket);
      else socket.end(`${head}content-length: 3\r\n\r\n[1]`);
    });
    await using client = clientOf(api.origin);
    expect(await textOf(client, get(api.origin))).toBe('[1]');
    expect(api.connections()).toBe(4);
  });

  test.each(Object.keys(BROKEN))('%s: an error in the end, that a run may try again', async (name) => {
    await using api = await serveBytes((socket) => BROKEN[name]?.(socket));
    await using client = clientOf(api.origin);
    const error = await failureOf(textOf(client, get(api.origin)));
    expect(error).toMatchObject({ code: 'connection_lost', retryable: true });
    expect(api.connections()).toBe(4);
  });

  test('a body that was handed out is not asked for again behind the reader', async () => {
    await using api = await serveBytes((socket) => socket.end(`${head}content-length: 100\r\n\r\n[1,2`));
    await using client = clientOf(api.origin);
    const response = await client.send(get(api.origin), never);
    expect((await failureOf(response.text(1_000))).code).toBe('connection_lost');
    expect(api.connections()).toBe(1);
  });

  test('a request that changes something is never sent again once it left', async () => {
    await using api = await serveBytes((socket) => void socket.resetAndDestroy());
    await using client = clientOf(api.origin);
    const post = get(api.origin, { method: 'POST', body: '{}', idempotent: false });
    expect((await failureOf(client.send(post, never))).code).toBe('connection_lost');
    expect(api.connections()).toBe(1);
  });

  test('more than the length says is not taken for the next answer', async () => {
    await using api = await serveBytes((socket) =>
      socket.write(`${head}content-length: 3\r\n\r\n[1]HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"evil"`),
    );
    await using client = clientOf(api.origin);
    for (let turn = 0; turn < 3; turn += 1) expect(await textOf(client, get(api.origin))).toBe('[1]');
  });

  test.each(['\u0016\u0003\u0001 not HTTP', 'SSH-2.0-OpenSSH_9.2\r\n', 'HTTP/1.1 999999 What\r\n\r\n'])(
    '%j is no HTTP',
    async (bytes) => {
      await using api = await serveBytes((socket) => void socket.end(bytes));
      await using client = clientOf(api.origin);
      expect(['response_invalid', 'connection_lost']).toContain(
        (await failureOf(client.send(get(api.origin), never))).code,
      );
    },
  );

  test('a head without end', async () => {
    await using api = await serveBytes((socket) => socket.write(`${head}x: ${'y'.repeat(200_000)}`));
    await using client = clientOf(api.origin);
    expect((await failureOf(client.send(get(api.origin), never))).code).toBe('response_invalid');
  });
});

describe('time', () => {
  test('silence before the answer, and in it', async () => {
    await using api = await serve((request, response) => {
      if (request.url === '/inside') response.write('[');
    });
    await using client = clientOf(api.origin, { timeoutMs: 300, retries: { times: 0 } });
    for (const path of ['before', 'inside']) {
      const from = performance.now();
      expect((await failureOf(textOf(client, get(`${api.origin}/${path}`)))).code).toBe('timeout');
      expect(performance.now() - from).toBeLessThan(2_500);
    }
  });

  test('a drip that never falls silent', async () => {
    await using api = await serve((_request, response) => {
      const drip = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(drip));
    });
    await using client = clientOf(api.origin, { timeoutMs: 100, retries: { times: 0 } });
    const from = performance.now();
    expect((await failureOf(textOf(client, get(api.origin)))).code).toBe('timeout');
    expect(performance.now() - from).toBeLessThan(4_000);
  });

  test("a reader that takes its time is not the server's fault", async () => {
    await using api = await serve((_request, response) => void response.end(Buffer.alloc(3_000_000)));
    await using client = clientOf(api.origin, { timeoutMs: 150 });
    const response = await client.send(get(api.origin), never);
    let bytes = 0;
    for await (const chunk of response.body) {
      if (bytes === 0) await sleep(4_000);
      bytes += chunk.byteLength;
    }
    expect(bytes).toBe(3_000_000);
  });

  test('a host where nothing listens, and one whose connection never comes about', async () => {
    await using client = clientOf('http://127.0.0.1:1', { timeoutMs: 500 });
    const error = await failureOf(client.send(get('http://127.0.0.1:1/'), never));
    expect(error).toMatchObject({
      code: 'host_unreachable',
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test.each(['head', 'body', 'pause', 'turn'])('a cancel during the %s ends it at once', async (where) => {
    await using api = await serve((_request, response) => {
      if (where === 'body') response.write('[');
      if (where === 'pause') response.writeHead(503, { 'retry-after': '60' }).end();
    });
    await using client = clientOf(api.origin, { rateLimit: { concurrency: 1 }, retries: { waitMs: 60_000 } });
    const held = where === 'turn' ? client.send(get(api.origin), never).catch(() => undefined) : undefined;
    const stop = new AbortController();
    const why = new MillraceError('cancelled', 'Enough.', { hint: '' });
    setTimeout(() => stop.abort(why), 200);
    const from = performance.now();
    const work = client.ask(get(api.origin), (response) => response.text(10), stop.signal);
    expect(await failureOf(work)).toBe(why);
    expect(performance.now() - from).toBeLessThan(600);
    await client[Symbol.asyncDispose]();
    await held;
  });

  test('closing the client ends what is under way', async () => {
    await using api = await serve(() => undefined);
    const client = clientOf(api.origin);
    const work = client.send(get(api.origin), never);
    setTimeout(() => void client[Symbol.asyncDispose](), 100);
    expect((await failureOf(work)).code).toBe('cancelled');
  });
});

describe('refusals', () => {
  test.each([500, 502, 503, 504, 520, 429, 408, 425])('%i passes', async (status) => {
    await using api = await serve((_request, response, count) => {
      response.statusCode = count < 4 ? status : 200;
      response.end(count < 4 ? 'not now' : '[]');
    });
    await using client = clientOf(api.origin);
    expect(await textOf(client, get(api.origin))).toBe('[]');
    expect(api.seen.length).toBe(4);
  });

  const FINAL: readonly (readonly [number, string, number])[] = [
    [400, 'invalid_config', 1],
    [401, 'auth_failed', 1],
    [403, 'permission_denied', 1],
    [404, 'not_found_at_source', 1],
    [410, 'not_found_at_source', 1],
    [418, 'invalid_config', 1],
    [429, 'rate_limited', 4],
    [500, 'source_failed', 4],
    [501, 'source_failed', 1],
    [503, 'source_failed', 4],
  ];
  test.each(FINAL)('%i is %s, after %i requests', async (status, code, requests) => {
    await using api = await serve((_request, response) => {
      response.statusCode = status;
      response.end('{"message": "the reason why"}');
    });
    await using client = clientOf(api.origin);
    const error = await failureOf(client.send(get(`${api.origin}/v1/things?page=2`), never));
    expect(error.code).toBe(code);
    expect(error.message).toContain('/v1/things?page=2');
    expect(error.message).toContain('the reason why');
    expect(api.seen.length).toBe(requests);
  });

  test('a request that changes something is not sent again after a 500, and is where that is told', async () => {
    await using api = await serve((_request, response, count) => {
      response.statusCode = count % 2 === 1 ? 500 : 200;
      response.end('done');
    });
    await using client = clientOf(api.origin);
    const post = get(api.origin, { method: 'POST', body: '{}', idempotent: false });
    expect((await failureOf(client.send(post, never))).code).toBe('source_failed');
    expect(api.seen.length).toBe(1);
    await textOf(client, { ...post, onStatus: () => 'return' });
    api.seen.length = 0;
    const told = { ...post, onStatus: (status: number) => (status === 500 ? ('retry' as const) : undefined) };
    expect(await textOf(client, told)).toBe('done');
    expect(api.seen.length).toBe(2);
  });

  test('rules: an error may be returned, a passing one final, an ordinary one sent again', async () => {
    await using api = await serve((request, response) => {
      response.statusCode = Number(request.url.slice(1));
      response.end('[]');
    });
    await using client = clientOf(api.origin);
    const asked = (status: number, rule: 'retry' | 'return' | 'fail') =>
      get(`${api.origin}/${status}`, { onStatus: () => rule });
    expect(await textOf(client, asked(404, 'return'))).toBe('[]');
    expect((await failureOf(client.send(asked(503, 'fail'), never))).code).toBe('source_failed');
    expect(api.seen.length).toBe(2);
    expect((await failureOf(client.send(asked(409, 'retry'), never))).code).toBe('invalid_config');
    expect(api.seen.length).toBe(6);
  });

  test('a 200 whose body says no is asked for again by who reads it', async () => {
    await using api = await serve(
      (_request, response, count) => void response.end(count < 3 ? 'busy' : 'ready'),
    );
    await using client = clientOf(api.origin);
    const busy = new MillraceError('source_failed', 'Busy.', { hint: '' });
    const read = async (response: { text(most: number): Promise<string> }): Promise<string> => {
      const text = await response.text(100);
      if (text === 'busy') throw new SendAgain(busy);
      return text;
    };
    expect(await client.ask(get(api.origin), read, never)).toBe('ready');
    expect(api.seen.length).toBe(3);
    await using other = clientOf(api.origin, { retries: { times: 0 } });
    api.seen.length = 0;
    expect(await failureOf(other.ask(get(api.origin), read, never))).toBe(busy);
  });
});

describe('redirects', () => {
  test('are followed at home, with who we are', async () => {
    await using api = await serve((request, response) => {
      const left = Number(request.url.slice(1));
      if (left > 0) response.writeHead(302, { location: `${left - 1}` }).end();
      else response.end('[]');
    });
    await using client = clientOf(api.origin, {
      auth: { type: 'bearer', token: 'at-home' },
      headers: { 'x-own': 'yes' },
    });
    const response = await client.send(get(`${api.origin}/5`), never);
    expect(response.url.href).toBe(`${api.origin}/0`);
    expect(await response.text(10)).toBe('[]');
    expect(api.seen.map(({ headers }) => [headers['authorization'], headers['x-own']])).toEqual(
      Array.from({ length: 6 }, () => ['Bearer at-home', 'yes']),
    );
    expect(await failureOf(client.send(get(`${api.origin}/6`), never))).toMatchObject({
      code: 'response_invalid',
      message: expect.stringContaining('more than 5'),
    });
  });

  test.each([
    [301, 'GET', ''],
    [302, 'GET', ''],
    [303, 'GET', ''],
    [307, 'POST', '{"a":1}'],
    [308, 'POST', '{"a":1}'],
  ])('a POST after %i is a %s', async (status, method, body) => {
    await using api = await serve((request, response) => {
      if (request.url === '/') response.writeHead(status, { location: '/there' }).end();
      else response.end('[]');
    });
    await using client = clientOf(api.origin);
    const post = { method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json' } };
    expect(await textOf(client, get(api.origin, post))).toBe('[]');
    expect(api.seen[1]).toMatchObject({ method, body });
  });

  test('a body does not go to another origin, nor anything from https to http', async () => {
    await using other = await serve((_request, response) => void response.end('[]'));
    await using api = await serve(
      (_request, response) => void response.writeHead(307, { location: other.origin }).end(),
      {},
    );
    await using client = clientOf(api.origin);
    const post = get(api.origin, { method: 'POST', body: 'secret', idempotent: false });
    expect((await failureOf(client.send(post, never))).code).toBe('host_not_allowed');
    await using safe = await serve(
      (_request, response) => void response.writeHead(302, { location: other.origin }).end(),
      {
        tls: true,
      },
    );
    await using over = clientOf(safe.origin, { ca: testTls.ca });
    expect((await failureOf(over.send(get(safe.origin), never))).code).toBe('host_not_allowed');
    expect(other.seen.length).toBe(0);
  });

  test('one without a target is an answer like any other', async () => {
    await using api = await serve((_request, response) => void response.writeHead(304).end());
    await using client = clientOf(api.origin);
    expect(await textOf(client, get(api.origin))).toBe('');
  });
});

describe('TLS and HTTP/2', () => {
  test('HTTP/2 where the server offers it, many requests on one connection', async () => {
    await using api = await serve((_request, response) => void response.end(gzipSync(TEXT).subarray(0, 0)), {
      tls: true,
    });
    await using client = clientOf(api.origin, { ca: testTls.ca });
    await Promise.all(Array.from({ length: 30 }, () => textOf(client, get(api.origin))));
    expect(new Set(api.seen.map(({ version }) => version))).toEqual(new Set(['2.0']));
    expect(api.connections()).toBeLessThanOrEqual(8);
  });

  test('a stream that is reset is asked for again', async () => {
    await using api = await serve(
      (_request, response, count) => {
        if (count < 3) (response as unknown as { stream: { close(code: number): void } }).stream.close(2);
        else response.end('[]');
      },
      { tls: true },
    );
    await using client = clientOf(api.origin, { ca: testTls.ca });
    expect(await textOf(client, get(api.origin))).toBe('[]');
    expect(api.seen.length).toBe(3);
  });

  test('an authority that nobody knows', async () => {
    await using api = await serve((_request, response) => void response.end('[]'), { tls: true });
    await using client = clientOf(api.origin);
    expect(await failureOf(client.send(get(api.origin), never))).toMatchObject({
      code: 'tls_failed',
      hint: expect.stringContaining('ca'),
    });
    expect(api.seen.length).toBe(0);
  });

  test('TLS spoken to a server that has none', async () => {
    await using api = await serve((_request, response) => void response.end('[]'));
    const url = api.origin.replace('http:', 'https:');
    await using client = clientOf(url);
    expect((await failureOf(client.send(get(url), never))).code).toBe('tls_failed');
  });
});

describe('proxies', () => {
  test('a tunnel to the address that was judged; by its name only where that is trusted', async () => {
    await using api = await serve((_request, response) => void response.end('[]'));
    await using proxy = await startProxy('user:p%40ss');
    const { port } = api;
    const url = `http://api.intern.example:${port}/`;
    const resolve = (
      _name: string,
      done: (error: null, found: { address: string; family: number }[]) => void,
    ): void => done(null, [{ address: '127.0.0.1', family: 4 }]);
    const reach = async (allowPrivateHttp: readonly string[]): Promise<string> => {
      const network = { allow: [], allowPrivateHttp };
      await using client = clientOf(url, { network, proxy: proxy.url }, { resolve });
      return await textOf(client, get(url)).catch((error) => error.code);
    };
    expect(await reach([`127.0.0.1:${port}`, `127.0.0.1:${proxy.port}`])).toBe('[]');
    expect(proxy.asked).toEqual([`127.0.0.1:${port}`]);
    expect(await reach([`127.0.0.1:${proxy.port}`])).toBe('host_not_allowed');
    expect(proxy.asked.length).toBe(1);
    await reach(['api.intern.example', `127.0.0.1:${proxy.port}`]);
    expect(proxy.asked[1]).toBe(`api.intern.example:${port}`);
    expect(api.seen.every(({ headers }) => headers['proxy-authorization'] === undefined)).toBe(true);
  });

  test('of the environment: TLS inside, exceptions, refusals', async () => {
    await using api = await serve((_request, response) => void response.end('[]'), { tls: true });
    await using proxy = await startProxy('user:p%40ss');
    process.env['HTTPS_PROXY'] = proxy.url;
    try {
      await using client = clientOf(api.origin, { ca: testTls.ca });
      expect(await textOf(client, get(api.origin))).toBe('[]');
      expect(proxy.asked.length).toBe(1);
      process.env['NO_PROXY'] = 'example.com, localhost';
      await using direct = clientOf(api.origin, { ca: testTls.ca });
      expect(await textOf(direct, get(api.origin))).toBe('[]');
      expect(proxy.asked.length).toBe(1);
      delete process.env['NO_PROXY'];
      process.env['HTTPS_PROXY'] = proxy.url.replace('p%40ss', 'wrong');
      await using wrong = clientOf(api.origin, { ca: testTls.ca });
      expect((await failureOf(wrong.send(get(api.origin), never))).code).toBe('auth_failed');
    } finally {
      delete process.env['HTTPS_PROXY'];
      delete process.env['NO_PROXY'];
    }
  });
});

/** A real proxy: opens tunnels for who knows its password. */
async function startProxy(
  credentials: string,
): Promise<AsyncDisposable & { readonly port: number; readonly url: string; readonly asked: string[] }> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const wanted = `Basic ${Buffer.from(decodeURIComponent(credentials)).toString('base64')}`;
  const server = createProxyServer((_request, response) => void response.writeHead(405).end());
  server.on('connect', (request, socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    if (request.headers['proxy-authorization'] !== wanted) {
      socket.end('HTTP/1.1 407 Who are you\r\n\r\n');
      return;
    }
    asked.push(request.url ?? '');
    const [host = '', port] = (request.url ?? '').split(':');
    const there = connect(Number(port), host.endsWith('.example') ? '127.0.0.1' : host, () => {
      socket.write('HTTP/1.1 200 Go\r\n\r\n');
      socket.pipe(there).pipe(socket);
    });
    there.on('error', () => socket.destroy());
    sockets.add(there);
  });
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://${credentials}@127.0.0.1:${port}`,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((settle) => server.close(() => settle()));
    },
  };
}
