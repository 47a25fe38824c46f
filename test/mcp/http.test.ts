import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Answered, ask } from '../support/ask-form.ts';
import { connectHttp, GENERATIONS } from '../support/mcp-client.ts';
import { freshDatabase } from '../support/postgres.ts';
import { millrace } from '../support/program.ts';
import { startServe } from '../support/serve-process.ts';

/** The real program over HTTP: who is let in, what they may do, and how it ends. */

const TOKENS = { reader: 'reader-token-1', operator: 'operator-token-1', admin: 'admin-token-1' } as const;
const guarded = {
  http: {
    tokens: [
      { name: 'reader', token: '${env:MILLRACE_READER}' },
      { name: 'operator', token: '${env:MILLRACE_OPERATOR}', scopes: ['operate'] },
      {
        name: 'admin',
        token: `sha256:${createHash('sha256').update(TOKENS.admin).digest('hex')}`,
        scopes: ['admin'],
      },
    ],
  },
};
const env = { MILLRACE_READER: TOKENS.reader, MILLRACE_OPERATOR: TOKENS.operator };

const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
});
const rawHeaders = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

describe('without tokens, on loopback', () => {
  test.each(GENERATIONS)(
    'a %s client does the whole job; the dashboard and the metrics show it',
    async (generation) => {
      await using database = await freshDatabase();
      await database.query(
        "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, '<b>&one</b>'), (2, 'two')",
      );
      await using serve = await startServe({ env: { MILLRACE_PG: database.config.password } });
      await using client = await connectHttp({ generation, url: `${serve.origin}/mcp` });
      await client.must('register_connector', {
        name: 'shop',
        type: 'postgresql',
        config: { ...database.config, password: '${env:MILLRACE_PG}' },
        streams: [{ name: 't', table: 'public.t' }],
        description: 'x',
      });
      expect(await client.must('sync_connector', { connector: 'shop', wait_seconds: 25 })).toMatchObject({
        run: { status: 'succeeded' },
      });
      expect(await client.must('query_data', { sql: 'SELECT name FROM shop__t ORDER BY id' })).toMatchObject({
        rows: [['<b>&one</b>'], ['two']],
      });
      const page = await ask(`${serve.origin}/`);
      expect(page.headers['content-security-policy']).toContain("default-src 'none'");
      expect(page.body).toContain('<td>shop</td>');
      expect(page.body).toContain('Millrace is <span class="word healthy">healthy</span>');
      await expect
        .poll(async () => (await ask(`${serve.origin}/metrics`)).body, { timeout: 10_000 })
        .toContain('millrace_rows_total{connector="shop",kind="written"} 2');
      expect((await ask(`${serve.origin}/healthz`)).body).toBe('ok\n');
    },
  );

  test('literals are refused unless the config file accepts them', async () => {
    await using serve = await startServe();
    await using client = await connectHttp({ generation: 'modern', url: `${serve.origin}/mcp` });
    const config = { host: '127.0.0.1', database: 'x', username: 'x', password: 'in the clear' };
    const reply = await client.call('register_connector', {
      name: 'a',
      type: 'postgresql',
      config,
      test: false,
    });
    expect(reply.text).toMatch(/^secret_refused: /);
    await using open = await startServe({ config: { secrets: { literals: 'accept' } } });
    await using other = await connectHttp({ generation: 'modern', url: `${open.origin}/mcp` });
    await other.must('register_connector', { name: 'a', type: 'postgresql', config, test: false });
  });

  test.each([
    ['another Host', { host: 'evil.example' }, 403],
    ['a Host that rebinds', { host: 'evil.example:7717' }, 403],
    ['no Host that can be read', { host: 'a b' }, 400],
    ['another Origin', { origin: 'https://evil.example' }, 403],
    ['the null Origin', { origin: 'null' }, 403],
    ['its own Origin', { origin: 'http://localhost:1234' }, 200],
  ])('%s', async (_what, headers, status) => {
    await using serve = await startServe();
    const answer = await ask(`${serve.origin}/mcp`, {
      method: 'POST',
      headers: { ...rawHeaders, ...headers },
      body: initialize,
    });
    expect(answer.status).toBe(status);
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
  });

  test('a body that is too large, too much at once, wrong paths and methods', async () => {
    await using serve = await startServe({ config: { http: { requestsPerSecond: 4 } } });
    const big = await ask(`${serve.origin}/mcp`, {
      method: 'POST',
      headers: rawHeaders,
      body: `"${'x'.repeat(5 * 1024 * 1024)}"`,
    });
    expect(big.status).toBe(413);
    expect((await ask(`${serve.origin}/nothing`)).status).toBe(404);
    expect((await ask(`${serve.origin}/`, { method: 'POST' })).status).toBe(405);
    expect(
      (await ask(`${serve.origin}/mcp`, { method: 'OPTIONS' })).headers['access-control-allow-methods'],
    ).toBeUndefined();
    const many = await Promise.all(Array.from({ length: 40 }, () => ask(`${serve.origin}/`)));
    const refused = many.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThanOrEqual(20);
    expect(Number(refused[0]?.headers['retry-after'])).toBeGreaterThan(0);
    expect((await ask(`${serve.origin}/healthz`)).status).toBe(200);
  });

  test('other machines are not served without a token, and the way to do it is named', async () => {
    const dataDir = join(tmpdir(), 'millrace-nobody');
    const refused = await millrace(['serve', '--host', '0.0.0.0', '--port', '0', '--data-dir', dataDir]);
    rmSync(dataDir, { recursive: true, force: true });
    expect(refused.code).toBe(2);
    expect(refused.err).toContain('http": {"tokens":');
  });
});

describe('with tokens', () => {
  test('each scope does what it may and no more, over both generations', async () => {
    await using serve = await startServe({ config: guarded, env });
    for (const generation of GENERATIONS) {
      const url = `${serve.origin}/mcp`;
      await using reader = await connectHttp({ generation, url, token: TOKENS.reader });
      await using operator = await connectHttp({ generation, url, token: TOKENS.operator });
      await using admin = await connectHttp({ generation, url, token: TOKENS.admin });
      const name = `c_${generation}`;
      const made = {
        name,
        type: 'postgresql',
        config: { host: '127.0.0.1', port: 1, database: 'x', username: 'x' },
        streams: [{ name: 't', table: 't' }],
        test: false,
      };
      for (const client of [reader, operator]) {
        const reply = await client.call('register_connector', made);
        expect(reply.text).toMatch(/^scope_missing: /);
        expect((reply.structured as { error: { hint: string } }).error.hint).toContain('http.tokens');
      }
      await admin.must('register_connector', made);
      expect(await reader.must('list_connectors')).toMatchObject({ connectors: expect.any(Array) });
      expect((await reader.call('sync_connector', { connector: name, wait_seconds: 0 })).text).toMatch(
        /^scope_missing: /,
      );
      await operator.must('sync_connector', { connector: name, wait_seconds: 0 });
      for (const client of [reader, operator])
        expect((await client.call('delete_connector', { connector: name })).text).toMatch(/^scope_missing: /);
      expect((await reader.call('update_connector', { connector: name, enabled: false })).text).toMatch(
        /^scope_missing: /,
      );
      const audit = await admin.readResource('millrace://audit');
      expect(audit).toContain('http:admin/millrace-test');
      for (const token of Object.values(TOKENS)) expect(audit + serve.stderr()).not.toContain(token);
    }
  });

  test('no token, a wrong one, another scheme: 401 that says how; the browser is asked at its page', async () => {
    await using serve = await startServe({ config: guarded, env });
    const url = `${serve.origin}/mcp`;
    const post = (headers: Record<string, string>): Promise<Answered> =>
      ask(url, { method: 'POST', headers: { ...rawHeaders, ...headers }, body: initialize });
    for (const authorization of [
      '',
      'Bearer wrong',
      'Bearer ',
      `Digest ${TOKENS.admin}`,
      `Bearer ${TOKENS.admin} `.repeat(300),
      `Bearer sha256:${createHash('sha256').update(TOKENS.admin).digest('hex')}`,
    ]) {
      const answer = await post(authorization === '' ? {} : { authorization });
      expect([400, 401, 431]).toContain(answer.status);
      if (answer.status === 401)
        expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm="millrace"/);
    }
    expect((await post({ authorization: `bearer ${TOKENS.reader}` })).status).toBe(200);
    const page = await ask(`${serve.origin}/`);
    expect(page.status).toBe(401);
    expect(page.headers['www-authenticate']).toMatch(/^Basic /);
    const basic = Buffer.from(`anyone:${TOKENS.reader}`).toString('base64');
    expect((await ask(`${serve.origin}/`, { headers: { authorization: `Basic ${basic}` } })).status).toBe(
      200,
    );
    expect((await ask(`${serve.origin}/metrics`)).status).toBe(401);
  });

  test("a session is its principal's alone", async () => {
    await using serve = await startServe({ config: guarded, env });
    const url = `${serve.origin}/mcp`;
    const send = (token: string, body: string, session?: string): Promise<Answered> =>
      ask(url, {
        method: 'POST',
        headers: {
          ...rawHeaders,
          authorization: `Bearer ${token}`,
          ...(session === undefined ? {} : { 'mcp-session-id': session }),
        },
        body,
      });
    const begun = await send(TOKENS.admin, initialize);
    const session = String(begun.headers['mcp-session-id']);
    const list = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/list' });
    expect((await send(TOKENS.admin, list, session)).status).toBe(200);
    expect((await send(TOKENS.reader, list, session)).status).toBe(404);
    expect((await send(TOKENS.admin, list, `${session.slice(0, -1)}x`)).status).toBe(404);
  });
});

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  '%s ends it within two seconds, streams open or not',
  async (signal) => {
    await using serve = await startServe();
    await using client = await connectHttp({ generation: 'modern', url: `${serve.origin}/mcp` });
    await client.follow('millrace://runs');
    const { ms, code } = await serve.stop(signal);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(2_500);
  },
);

test('what a client sends wrong is a short warning in the log, however long it is', async () => {
  await using serve = await startServe();
  const params = {
    name: 'x'.repeat(100_000),
    _meta: {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    },
  };
  const headers = { ...rawHeaders, 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call' };
  const answer = await ask(`${serve.origin}/mcp`, {
    method: 'POST',
    headers: { ...headers, 'mcp-name': 'another' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
  });
  expect(answer.status).toBe(400);
  await expect.poll(serve.stderr).toContain('"event":"mcp_error"');
  const line = serve
    .stderr()
    .split('\n')
    .find((one) => one.includes('mcp_error'));
  expect(JSON.parse(line ?? '')).toMatchObject({ level: 'warn' });
  expect(line?.length).toBeLessThan(1_000);
});
