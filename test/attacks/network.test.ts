import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Served, serve } from '../support/http-support.ts';
import { type MillraceProcess, startMillrace, temporaryDirectory } from '../support/millrace-process.ts';

/**
 * `network.allow` holds for everything with which a connector connects out: one host is allowed, and at the other a
 * listener counts. (What stands in the config file or the environment is the administrator's own: `alerts.webhook`,
 * `http.oauth.jwksUrl`, HTTPS_PROXY.) Both are the same machine, so that only the rule keeps the two apart.
 */

const directory = temporaryDirectory();
let front: Served;
let forbidden: { readonly port: number; readonly server: Server };
let connections = 0;
let millrace: MillraceProcess;

beforeAll(async () => {
  const server = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const address = server.address();
  forbidden = { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
  front = await serve((request, response) => {
    const away = `http://127.0.0.1:${forbidden.port}/`;
    if (request.url.startsWith('/redirect')) response.writeHead(307, { location: away }).end();
    else if (request.url.startsWith('/next')) response.end(JSON.stringify({ data: [{ id: 1 }], next: away }));
    else if (request.url.startsWith('/link'))
      response.setHeader('link', `<${away}>; rel="next"`).end(JSON.stringify([{ id: 1 }]));
    else response.end(JSON.stringify([{ id: 1 }]));
  });
  millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: {
      network: {
        allow: [`127.0.0.1:${front.port}`, 'localhost:1'],
        allowPrivateHttp: ['127.0.0.1', 'localhost'],
      },
      runs: { attempts: 1 },
      scheduler: { healthCheck: 'off' },
    },
  });
}, 60_000);

afterAll(async () => {
  await millrace?.kill();
  forbidden?.server.close();
  await front?.[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

const login = { database: 'x', username: 'x', password: 'x' };
const client = { client_id: 'x', client_secret: 'x' };
/** Each with `AWAY` as the forbidden port and `FRONT` as the allowed origin. */
const ways: readonly (readonly [what: string, type: string, config: object, stream?: object])[] = [
  ['PostgreSQL', 'postgresql', { host: '127.0.0.1', port: 'AWAY', ...login }],
  ['PostgreSQL by URL', 'postgresql', { url: 'postgres://x:x@127.0.0.1:AWAY/x' }],
  ['PostgreSQL by name', 'postgresql', { host: 'localhost', port: 'AWAY', ...login }],
  ['MySQL', 'mysql', { host: '127.0.0.1', port: 'AWAY', ...login }],
  ['MySQL by URL', 'mysql', { url: 'mysql://x:x@127.0.0.1:AWAY/x' }],
  ['MariaDB by URL', 'mysql', { url: 'mariadb://x:x@localhost:AWAY/x' }],
  ['an API', 'rest_api', { base_url: 'http://127.0.0.1:AWAY' }],
  ['an API by name', 'rest_api', { base_url: 'http://localhost:AWAY' }],
  [
    'a token URL',
    'rest_api',
    {
      base_url: 'FRONT',
      auth: { type: 'oauth2_client_credentials', token_url: 'http://127.0.0.1:AWAY/t', ...client },
    },
  ],
  [
    'a token URL of a person',
    'rest_api',
    {
      base_url: 'FRONT',
      auth: {
        type: 'oauth2_refresh_token',
        token_url: 'http://127.0.0.1:AWAY/t',
        refresh_token: 'x',
        ...client,
      },
    },
  ],
  ['an OpenAPI document', 'rest_api', { base_url: 'FRONT', openapi: 'http://127.0.0.1:AWAY/openapi.json' }],
  ['a proxy', 'rest_api', { base_url: 'FRONT', proxy_url: 'http://127.0.0.1:AWAY' }],
  ['a redirect', 'rest_api', { base_url: 'FRONT' }, { path: '/redirect' }],
  [
    'a next URL',
    'rest_api',
    { base_url: 'FRONT' },
    { path: '/next', rest: { records: 'data', pagination: { type: 'next_url', next: 'next' } } },
  ],
  [
    'a Link header',
    'rest_api',
    { base_url: 'FRONT' },
    { path: '/link', rest: { pagination: { type: 'link_header' } } },
  ],
  ['a path that is an address', 'rest_api', { base_url: 'FRONT' }, { path: 'http://127.0.0.1:AWAY/' }],
  ['a path without a scheme', 'rest_api', { base_url: 'FRONT' }, { path: '//127.0.0.1:AWAY/' }],
];

test.each(ways)('%s goes nowhere else', async (...way) => {
  const [what, type, config, stream = { path: '/' }] = way as unknown as (typeof ways)[number];
  const filled = <T extends object>(value: T): T =>
    JSON.parse(
      JSON.stringify(value)
        .replaceAll('"AWAY"', String(forbidden.port))
        .replaceAll('AWAY', String(forbidden.port))
        .replaceAll('FRONT', front.origin),
    ) as T;
  const name = `c${ways.findIndex(([one]) => one === what)}`;
  const streams = [{ name: 's', ...(type === 'rest_api' ? filled(stream) : { table: 't' }) }];
  const replies = [
    await millrace.call('register_connector', { name, type, config: filled(config), streams }),
  ];
  if (!replies[0]?.isError) {
    replies.push(await millrace.call('test_connector', { connector: name }));
    replies.push(await millrace.call('discover_streams', { connector: name }));
    replies.push(await millrace.call('preview_stream', { connector: name, stream: 's' }));
    replies.push(await millrace.call('sync_connector', { connector: name, wait_seconds: 25 }));
  }
  expect(replies.map(({ text }) => text).join('\n')).toMatch(
    what.startsWith('a path') ? /invalid_config/ : /host_not_allowed/,
  );
  expect(connections).toBe(0);
});

test('and what is allowed is reached', async () => {
  const streams = [{ name: 's', path: '/' }];
  await millrace.must('register_connector', {
    name: 'good',
    type: 'rest_api',
    config: { base_url: front.origin },
    streams,
  });
  expect(await millrace.must('sync_connector', { connector: 'good', wait_seconds: 25 })).toMatchObject({
    run: { status: 'succeeded' },
  });
  expect(connections).toBe(0);
});
