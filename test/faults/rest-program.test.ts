import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { serve } from '../support/http-support.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { CLIENT_SECRET, startOauth } from '../support/oauth.ts';

/** REST connectors in the whole program: what their threads share, what is kept, and where no credential may show. */

const CANARY = 'Kanarienvogel+5/8==&ß';

test('no credential of an API is anywhere but at that API, and sealed', { timeout: 120_000 }, async () => {
  using directory = temporaryDirectory();
  await using oauth = await startOauth({ accessSeconds: 2, rotate: true });
  await using other = await serve((_request, response) => void response.writeHead(401).end('who?'));
  await using echo = await serve((request, response) => {
    const said = JSON.stringify({ headers: request.headers, url: request.url });
    if (request.url.startsWith('/away')) response.writeHead(302, { location: `${other.origin}/away` }).end();
    else if (request.url.startsWith('/next'))
      response.end(JSON.stringify({ data: [{ id: 1 }], next: `${other.origin}/next` }));
    else if (request.url.startsWith('/wrong')) response.writeHead(400).end(said);
    else if (request.url.startsWith('/page')) response.end(`<html>${said}</html>`);
    else response.setHeader('content-type', 'application/json').end(JSON.stringify([{ id: 1, name: 'one' }]));
  });
  const refresh_token = await oauth.signIn();
  const env = { MILLRACE_CANARY: CANARY, MILLRACE_REFRESH: refresh_token, MILLRACE_SECRET: CLIENT_SECRET };
  const reference = '${env:MILLRACE_CANARY}';
  const streams = [
    { name: 'good', path: '/records', primary_key: ['id'] },
    { name: 'away', path: '/away' },
    {
      name: 'next',
      path: '/next',
      rest: { records: 'data', pagination: { type: 'next_url', next: 'next' } },
    },
    { name: 'wrong', path: '/wrong' },
    { name: 'page', path: '/page' },
  ];
  const auths: Readonly<Record<string, unknown>> = {
    literal: { type: 'bearer', token: CANARY.replace('ß', 's') },
    key_header: { type: 'api_key', name: 'x-service', value: CANARY.replace('ß', 's'), in: 'header' },
    key_query: { type: 'api_key', name: 'k', value: reference, in: 'query' },
    basic: { type: 'basic', username: 'me', password: reference },
  };
  const options = {
    dataDir: directory.dataDir,
    args: ['--log-level', 'trace'],
    env,
    config: {
      runs: { attempts: 2, backoffMs: [10, 20] },
      network: { allowPrivateHttp: ['127.0.0.1'] },
    },
  };
  const client = { token_url: oauth.tokenUrl, client_secret: '${env:MILLRACE_SECRET}' };
  const tokens = {
    by_person: {
      type: 'oauth2_refresh_token',
      ...client,
      client_id: 'web',
      refresh_token: '${env:MILLRACE_REFRESH}',
    },
    by_itself: { type: 'oauth2_client_credentials', ...client, client_id: 'basic' },
  };
  let seen = '';
  {
    await using millrace = await startMillrace(options);
    for (const [name, auth] of Object.entries(auths)) {
      const config = { base_url: echo.origin, auth };
      await millrace.call('register_connector', { name, type: 'rest_api', config, streams });
      await everything(millrace, name);
    }
    for (const [name, auth] of Object.entries(tokens)) {
      const config = { base_url: oauth.api.origin, auth };
      await millrace.must('register_connector', { name, type: 'rest_api', config, streams: [streams[0]] });
      await everything(millrace, name);
      await millrace.call('update_connector', {
        connector: name,
        config: { auth: { type: 'bearer', tokn: CANARY } },
      });
    }
    await millrace.kill('SIGKILL');
    seen += millrace.stdout() + millrace.stderr();
  }
  const before = oauth.granted.length;
  await sleep(2_100);
  {
    // The first refresh token was spent long ago: what is kept in the data folder is what works.
    await using millrace = await startMillrace(options);
    for (const connector of Object.keys(tokens)) {
      const run = await syncToEnd(millrace, { connector });
      expect(run.status, JSON.stringify(run)).toBe('succeeded');
    }
    await millrace.must('delete_connector', await confirmed(millrace, 'by_person'));
    await millrace.kill('SIGTERM');
    seen += millrace.stdout() + millrace.stderr();
  }
  expect(oauth.granted.length).toBe(before + 2);
  expect(oauth.refused).toEqual([]);
  expect(other.seen.length).toBeGreaterThan(0);
  expect(echo.seen.some(({ url }) => url.startsWith('/wrong'))).toBe(true);
  expect(seen.length).toBeGreaterThan(10_000);

  const secrets = [CANARY, CANARY.replace('ß', 's'), CLIENT_SECRET, ...oauth.secrets];
  const leaks = (text: string): readonly string[] =>
    secrets.flatMap(formsOf).flatMap((form) => excerpts(text, form));
  expect(leaks(JSON.stringify(echo.seen)).length, 'the search finds what is there').toBeGreaterThan(0);
  expect(leaks(seen), 'what the processes said').toEqual([]);
  expect(leaks(JSON.stringify(other.seen)), 'what another host heard').toEqual([]);
  const files = readdirSync(directory.dataDir, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory.dataDir, name))
    .filter((path) => statSync(path).isFile());
  expect(files.length).toBeGreaterThanOrEqual(3);
  for (const file of files) expect(leaks(readFileSync(file, 'latin1')), file).toEqual([]);
  const store = readFileSync(join(directory.dataDir, 'store.db'), 'latin1');
  expect(store).toContain('kept/by_itself/oauth/');
});

test('two runs of one process share the limits of a host', { timeout: 60_000 }, async () => {
  using directory = temporaryDirectory();
  let open = 0;
  let most = 0;
  await using api = await serve(async (request, response) => {
    open += 1;
    most = Math.max(most, open);
    const page = Number(new URL(request.url, 'http://api').searchParams.get('page'));
    await sleep(20);
    open -= 1;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(page > 25 ? [] : [{ id: page * 2 }, { id: page * 2 + 1 }]));
  });
  await using millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: { network: { allowPrivateHttp: [`127.0.0.1:${api.port}`] }, runs: { concurrent: 2 } },
  });
  const pagination = { type: 'page', page_param: 'page', size_param: 'per_page', size: 2, start: 1 };
  const stream = { name: 'things', path: '/things', primary_key: ['id'], rest: { pagination } };
  const names = ['one', 'two'];
  for (const name of names) {
    const config = { base_url: api.origin, rate_limit: { requests_per_second: 20, concurrency: 1 } };
    await millrace.must('register_connector', {
      name,
      type: 'rest_api',
      config,
      streams: [stream],
      test: false,
    });
  }
  const from = performance.now();
  const runs = await Promise.all(names.map((connector) => syncToEnd(millrace, { connector })));
  expect(runs.map(({ status, totals }) => [status, totals.rows_written])).toEqual([
    ['succeeded', 50],
    ['succeeded', 50],
  ]);
  const times = api.seen.map(({ at }) => at);
  const windows = times.map((start) => times.filter((at) => at >= start && at < start + 1000).length);
  const seconds = (performance.now() - from) / 1000;
  console.log(`${times.length} requests in ${seconds.toFixed(1)} s, at most ${Math.max(...windows)} in one`);
  expect(most).toBe(1);
  expect(times.length).toBeGreaterThanOrEqual(52);
  // Tolerance as in rest-politeness.test.ts: arrivals, of which a busy machine delivers some late and close together.
  expect(Math.max(...windows)).toBeLessThanOrEqual(22);
});

async function everything(millrace: MillraceProcess, connector: string): Promise<void> {
  await millrace.call('get_connector', { connector });
  await millrace.call('test_connector', { connector });
  await millrace.call('discover_streams', { connector });
  for (const stream of ['good', 'away', 'next', 'wrong', 'page'])
    await millrace.call('preview_stream', { connector, stream });
  const reply = await millrace.call('sync_connector', { connector, wait_seconds: 15 });
  const run = reply.structured['run'] as { run_id: string } | undefined;
  if (run) await millrace.call('get_run', { run_id: run.run_id, wait_seconds: 10, include_log: true });
  await millrace.call('list_connectors');
  await millrace.call('get_health');
}

async function confirmed(millrace: MillraceProcess, connector: string): Promise<Record<string, unknown>> {
  const plan = await millrace.must<{ confirmation: string }>('delete_connector', { connector });
  return { connector, confirmation: plan.confirmation };
}

function excerpts(text: string, form: string): readonly string[] {
  const at = text.indexOf(form);
  return at < 0 ? [] : [text.slice(Math.max(0, at - 200), at + form.length)];
}

/** In clear, in URLs, in JSON, and in base64 at each alignment, alone and behind a name and a colon. */
function formsOf(secret: string): readonly string[] {
  const inBase64 = [0, 1, 2].map((shift) =>
    Buffer.from(`${'x'.repeat(shift)}${secret}`)
      .toString('base64')
      .replaceAll('=', '')
      .slice(shift === 0 ? 0 : shift + 1, -2),
  );
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    Buffer.from(secret, 'utf8').toString('latin1'),
    ...inBase64,
  ];
}
