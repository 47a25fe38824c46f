import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectHttp, type MillraceClient } from '../support/mcp-client.ts';
import { type ServeProcess, startServe } from '../support/serve-process.ts';
import {
  hostileReferences,
  hostileRequests,
  hostileTexts,
  hostileTokens,
  hostileUris,
} from './door-cases.ts';

/** `millrace serve` with tokens, and everything that comes to it from outside and means harm. */

const TOKEN = 'admin-token-1';
const CANARY = 'Kanarienvogel-9d2c';
const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
});

let serve: ServeProcess;
let folder: string;
let admin: MillraceClient;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-door-'));
  const allowed = fileTree(folder);
  serve = await startServe({
    config: {
      http: {
        tokens: [{ name: 'admin', token: '${env:MILLRACE_ADMIN}', scopes: ['admin'] }],
        requestsPerSecond: 1_000,
      },
      secrets: { files: [allowed] },
    },
    env: { MILLRACE_ADMIN: TOKEN, MILLRACE_DB: CANARY, CANARY_ELSEWHERE: CANARY },
  });
  symlinkSync(join(serve.dataDir, 'master.key'), join(allowed, 'to-key'));
  admin = await connectHttp({ generation: 'modern', url: `${serve.origin}/mcp`, token: TOKEN });
}, 60_000);

afterAll(async () => {
  await admin?.close();
  await serve?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** A folder that may be read, what lies beside it, and ways that lead out. */
function fileTree(root: string): string {
  const allowed = join(root, 'allowed');
  mkdirSync(join(allowed, 'sub'), { recursive: true });
  mkdirSync(`${allowed}2`);
  writeFileSync(join(root, 'outside.txt'), CANARY);
  writeFileSync(join(`${allowed}2`, 'secret'), CANARY);
  writeFileSync(join(allowed, 'big'), CANARY.repeat(20_000));
  symlinkSync(join(root, 'outside.txt'), join(allowed, 'link'));
  symlinkSync(root, join(allowed, 'linked-folder'));
  symlinkSync('/proc/self/environ', join(allowed, 'to-environ'));
  symlinkSync(join(allowed, 'to-itself'), join(allowed, 'to-itself'));
  execFileSync('mkfifo', [join(allowed, 'pipe')]);
  return allowed;
}

/** What a server says to these bytes: its first line; empty when it only closes. */
function firstLine(bytes: string): Promise<string> {
  const { port } = new URL(serve.origin);
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(Number(port), '127.0.0.1', () => socket.write(bytes));
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text.split('\r\n')[0] ?? '');
    };
    const timer = setTimeout(() => {
      text ||= 'nothing for 10 s';
      done();
    }, 10_000);
    socket.on('data', (part) => {
      text += part.toString('latin1');
      if (text.includes('\r\n')) done();
    });
    socket.on('error', done);
    socket.on('close', done);
  });
}

function requestOf([, head, body]: (typeof hostileRequests)[number]): string {
  const end = head.includes('\r\n') ? '\r\n' : '\n';
  const own = body === undefined && !/^content-length:/im.test(head);
  const lines = [
    head.replaceAll('OK', new URL(serve.origin).host).replaceAll('PORT', new URL(serve.origin).port),
    `Authorization: Bearer ${TOKEN}`,
    'Content-Type: application/json',
    'Accept: application/json, text/event-stream',
    'Connection: close',
    ...(own ? [`Content-Length: ${initialize.length}`] : []),
  ];
  return `${lines.join(end)}${end}${end}${body ?? initialize}`;
}

describe('requests', () => {
  test('the same request without harm is served', async () => {
    expect(await firstLine(requestOf(['none', 'POST /mcp HTTP/1.1\r\nHost: OK']))).toBe('HTTP/1.1 200 OK');
  });

  test.each(hostileRequests)('%s', async (...given) => {
    const [what, head, body] = given as readonly (string | undefined)[];
    expect(await firstLine(requestOf([what ?? '', head ?? '', body]))).toMatch(
      /^(HTTP\/1\.1 (4\d\d|501|505) .+)?$/,
    );
    expect((await fetch(`${serve.origin}/healthz`)).status).toBe(200);
  });
});

describe('tokens', () => {
  const hash = createHash('sha256').update(TOKEN).digest('hex');

  test.each(hostileTokens)('%s', async (_what, authorization) => {
    const given = authorization
      .replaceAll('TOKEN', TOKEN)
      .replaceAll('TOKE', TOKEN.slice(0, -1))
      .replaceAll('HASH', hash);
    const answer = await fetch(`${serve.origin}/mcp`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(given === '' ? {} : { authorization: given }),
      },
      body: initialize,
    });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer realm="millrace"/);
    expect(await answer.text()).not.toContain(TOKEN);
  });

  test.each([`/mcp?access_token=${TOKEN}`, `/mcp?token=${TOKEN}`, `/?key=${TOKEN}`, '/metrics', '/'])(
    'none counts in an address, a cookie or a body: %s',
    async (path) => {
      const answer = await fetch(`${serve.origin}${path}`, {
        method: path.startsWith('/mcp') ? 'POST' : 'GET',
        headers: {
          cookie: `token=${TOKEN}; authorization=Bearer ${TOKEN}`,
          'x-authorization': `Bearer ${TOKEN}`,
        },
        ...(path.startsWith('/mcp') ? { body: `access_token=${TOKEN}` } : {}),
      });
      expect(answer.status).toBe(401);
    },
  );
});

test(`${hostileUris.length} addresses name no resource`, async () => {
  for (const uri of hostileUris) {
    const read = admin.readResource(uri.replaceAll('DIR', serve.dataDir));
    const said = await read.then(
      (text) => `read: ${text}`,
      (error: Error) => error.message,
    );
    expect(said, uri.slice(0, 80)).toMatch(/no resource|not found|There is no|no guide|holds no|Invalid/i);
    expect(said.length, uri.slice(0, 80)).toBeLessThan(2_000);
  }
});

test(`${hostileReferences.length} references are refused, and say nothing of what they name`, async () => {
  const config = { host: '127.0.0.1', port: 1, database: 'x', username: 'x' };
  const victim = {
    name: 'victim',
    type: 'postgresql',
    config: { ...config, password: '${env:MILLRACE_DB}' },
  };
  await admin.must('register_connector', { ...victim, test: false });
  for (const [index, reference] of hostileReferences.entries()) {
    const password = reference
      .replaceAll('DIR', serve.dataDir)
      .replaceAll('ALLOWED', join(folder, 'allowed'));
    const registered = await admin.call('register_connector', {
      name: `c${index}`,
      type: 'postgresql',
      config: { ...config, password },
      test: true,
    });
    const tested = registered.isError
      ? registered
      : await admin.call('test_connector', { connector: `c${index}` });
    expect(tested.text + registered.text, reference).toMatch(/secret_refused|secret_missing|invalid_config/);
    expect(tested.text + registered.text, reference).not.toMatch(/Kanarien|root:x:0|host_unreachable/);
  }
  expect(serve.stderr()).not.toContain(CANARY);
});

test.each(hostileTexts)('%j is shown as what it is, wherever it comes back', async (text) => {
  const seen = [
    await admin.call('get_connector', { connector: text }),
    await admin.call('get_run', { run_id: text }),
    await admin.call('list_runs', { connector: text }),
    await admin.call('describe_data', { table: text }),
    await admin.call('register_connector', { name: text, type: text, config: { [text]: text } }),
    await admin.call(`query_data`, { sql: text, [text]: text }),
  ].map(({ text: said, structured }) => said + JSON.stringify(structured));
  const errors = [
    admin.call(text, {}),
    admin.readResource(`millrace://${text}`),
    admin.getPrompt(text),
    admin.complete({ type: 'ref/prompt', name: text }, { name: 'a', value: 'b' }),
  ].map((call) => call.then(JSON.stringify, (error: Error) => error.message));
  for (const said of [...seen, ...(await Promise.all(errors))])
    expect(said).not.toMatch(
      /(?![\t\n])[\p{Cc}\p{Bidi_Control}\u00ad\u200b\u2028\ufeff\u{e0000}-\u{e01ef}]/u,
    );
});
