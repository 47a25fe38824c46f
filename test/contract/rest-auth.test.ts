import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { HostServices } from '../../src/connectors/connector.ts';
import { createLoneHost } from '../../src/connectors/lone-host.ts';
import type { AuthConfig } from '../../src/connectors/rest-api/auth/config.ts';
import { MillraceError } from '../../src/core/errors.ts';
import { openStore, type StoreOptions } from '../../src/store/open.ts';
import { createKeptSecrets } from '../../src/vault/kept-secrets.ts';
import { openVault } from '../../src/vault/vault.ts';
import { clientOf, failureOf, get, never, serve, textOf } from '../support/http-support.ts';
import { freshWarehouse } from '../support/landed.ts';
import { CLIENT_SECRET, type Oauth, startOauth } from '../support/oauth.ts';

/** Who we are: said where it belongs, and nowhere else. */

const CANARY = 'canary:5up3r/s3cret+token==&é"';

/** Each way without a token server, and what an API then sees of it. */
const FIXED: Readonly<
  Record<
    string,
    {
      readonly auth: AuthConfig;
      readonly sees: (headers: Headers, url: URL) => unknown;
      readonly wants: unknown;
    }
  >
> = {
  none: { auth: { type: 'none' }, sees: (headers) => headers.get('authorization'), wants: null },
  bearer: {
    auth: { type: 'bearer', token: CANARY.slice(0, 20) },
    sees: (headers) => headers.get('authorization'),
    wants: `Bearer ${CANARY.slice(0, 20)}`,
  },
  'api_key in a header': {
    auth: { type: 'api_key', name: 'X-Service-Access', value: CANARY.slice(0, 20), in: 'header' },
    sees: (headers) => headers.get('x-service-access'),
    wants: CANARY.slice(0, 20),
  },
  'api_key in the query': {
    auth: { type: 'api_key', name: 'access', value: CANARY, in: 'query' },
    sees: (_headers, url) => url.searchParams.getAll('access'),
    wants: [CANARY],
  },
  basic: {
    auth: { type: 'basic', username: 'zoë', password: CANARY },
    sees: (headers) =>
      Buffer.from(headers.get('authorization')?.replace('Basic ', '') ?? '', 'base64').toString(),
    wants: `zoë:${CANARY}`,
  },
  headers: {
    auth: {
      type: 'headers',
      headers: { Authorization: `Token ${CANARY.slice(0, 20)}`, 'X-Tenant': 'canary-tenant' },
    },
    sees: (headers) => [headers.get('authorization'), headers.get('x-tenant')],
    wants: [`Token ${CANARY.slice(0, 20)}`, 'canary-tenant'],
  },
};

describe.each(Object.keys(FIXED))('%s', (name) => {
  const { auth, sees, wants } = FIXED[name] as (typeof FIXED)[string];

  test('is said to the API, on every page and after a redirect at home', async () => {
    await using api = await serve((request, response) => {
      if (request.url.startsWith('/first')) response.writeHead(302, { location: '/second?page=2' }).end();
      else response.end('[]');
    });
    await using client = clientOf(api.origin, { auth });
    const response = await client.send(get(`${api.origin}/first?page=1`), never);
    await response.text(10);
    expect(api.seen.length).toBe(2);
    for (const { headers, url } of api.seen)
      expect(sees(new Headers(headers as Record<string, string>), new URL(url, api.origin))).toEqual(wants);
    // What the reader makes further URLs of holds no credential.
    expect(response.url.href).toBe(`${api.origin}/second?page=2`);
  });

  test('is said to nobody else: not to a next link, not after a redirect; nor is it in any error', async () => {
    await using other = await serve((_request, response) => void response.writeHead(401).end('who are you?'));
    await using api = await serve((request, response) => {
      const said = `${JSON.stringify(request.headers)} ${request.url}`;
      if (request.url.startsWith('/away'))
        response.writeHead(302, { location: `${other.origin}/landed` }).end();
      else response.writeHead(400).end(said.repeat(3));
    });
    const headers = { 'x-own': 'canary-own-header' };
    await using client = clientOf(api.origin, { auth, headers });
    const more = { headers: { 'x-stream': 'canary-stream-header' } };
    const errors = [
      await failureOf(client.send(get(`${other.origin}/next`, more), never)),
      await failureOf(client.send(get(`${api.origin}/away`, more), never)),
      await failureOf(client.send(get(`${api.origin}/echo`), never)),
    ];
    expect(errors.map(({ code }) => code)).toEqual(['auth_failed', 'auth_failed', 'invalid_config']);
    expect(errors[1]?.hint).toContain('base_url');
    expect(other.seen.length).toBe(2);
    expect(leaks(JSON.stringify(other.seen))).toEqual([]);
    expect(leaks(JSON.stringify(errors.map((error) => error.toView())))).toEqual([]);
    expect(leaks(client.notices().join())).toEqual([]);
    expect(leaks(client.clean(JSON.stringify(api.seen)))).toEqual([]);
  });
});

describe('a server that makes further addresses of the request it got', () => {
  const key = { type: 'api_key', name: 'access', value: CANARY, in: 'query' } as const;

  test('sends on to another host: the key does not go along, what the other host named itself does', async () => {
    await using other = await serve((_request, response) => void response.end('[]'));
    await using api = await serve((request, response) => {
      const { search } = new URL(request.url, api.origin);
      const back = encodeURIComponent(`${api.origin}${request.url}`);
      const to = request.url.startsWith('/in') ? `/sign-in?return_to=${back}&x=1` : `/files${search}`;
      const own = request.url.startsWith('/signed') ? '/signed?access=its-own&a=b%2Cc,d' : to;
      response.writeHead(302, { location: `${other.origin}${own}` }).end();
    });
    await using client = clientOf(api.origin, { auth: key });
    for (const path of ['/files?page=1', '/in', '/signed']) await textOf(client, get(`${api.origin}${path}`));
    expect(other.seen.map(({ url }) => url)).toEqual([
      '/files?page=1',
      '/sign-in?x=1',
      '/signed?access=its-own&a=b%2Cc,d',
    ]);
    expect(leaks(JSON.stringify(other.seen))).toEqual([]);
  });

  test('whose key is a usual word: only its own parameter is the key', async () => {
    await using other = await serve((_request, response) => void response.end('[]'));
    await using api = await serve((request, response) => {
      const query = 'env=test&access=test&access_token=test';
      const { pathname } = new URL(request.url, api.origin);
      if (pathname === '/away') response.writeHead(302, { location: `${other.origin}/files?${query}` }).end();
      else if (pathname === '/files') response.writeHead(302, { location: `/moved?${query}` }).end();
      else response.end('[]');
    });
    await using client = clientOf(api.origin, { auth: { ...key, value: 'test' } });
    for (const path of ['/files', '/away']) await textOf(client, get(`${api.origin}${path}`));
    expect(api.seen.map(({ url }) => url)).toContain('/moved?env=test&access=test');
    expect(other.seen.map(({ url }) => url)).toEqual(['/files?env=test']);
  });

  test.each([
    ['link_header', key],
    ['next_url', key],
    // As an API does that takes its token either way.
    ['next_url', { type: 'bearer', token: 'canary-5up3r-s3cret-token' }],
  ] as const)(
    'names the next page by %s with the credential in it: the position that is stored has none',
    async (type, auth) => {
      await using api = await serve((request, response, count) => {
        const url = new URL(request.url, api.origin);
        if (auth.type === 'bearer') url.searchParams.set('access_token', auth.token);
        const page = Number(url.searchParams.get('page') ?? 1);
        url.searchParams.set('page', String(page + 1));
        const said = url.searchParams.get('access') ?? request.headers['authorization']?.slice(7);
        if (said !== (auth.type === 'bearer' ? auth.token : CANARY))
          return void response.writeHead(401).end();
        if (count === 4) stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
        if (page < 6 && type === 'link_header') response.setHeader('link', `<${url.href}>; rel="next"`);
        response.end(JSON.stringify({ rows: [{ id: page }], next: page < 6 ? url.href : null }));
      });
      const stop = new AbortController();
      using warehouse = freshWarehouse();
      const pagination = type === 'next_url' ? { type, next: 'next' } : { type };
      const stream = {
        name: 'rows',
        path: '/rows',
        primary_key: ['id'],
        rest: { records: 'rows', pagination },
      };
      const run = { url: api.origin, stream, config: { auth } };
      expect((await warehouse.sync({ ...run, signal: stop.signal })).status).toBe('cancelled');
      const [stored] = warehouse.query('SELECT * FROM _millrace_cursors');
      expect(JSON.stringify(stored)).toContain('page=');
      expect(leaks(JSON.stringify(stored))).toEqual([]);
      expect((await warehouse.sync(run)).error).toBeUndefined();
      expect(warehouse.query('SELECT count(*) AS n FROM api__rows')).toEqual([{ n: 6 }]);
      for (const end of ['', '-wal'])
        if (existsSync(warehouse.file + end))
          expect(leaks(readFileSync(warehouse.file + end, 'latin1')), end).toEqual([]);
    },
  );
});

describe.each([
  ['basic', 'basic', undefined],
  ['post', 'post', undefined],
  ['post', 'post', 'post'],
] as const)('client credentials, for a client that proves itself by %s', (client_id, _how, client_auth) => {
  const authOf = (oauth: Oauth): AuthConfig => ({
    type: 'oauth2_client_credentials',
    token_url: oauth.tokenUrl,
    client_id,
    client_secret: CLIENT_SECRET,
    scope: 'read',
    ...(client_auth === undefined ? {} : { client_auth }),
  });

  test('a token is got once for many requests, and again when it has ended', async () => {
    await using oauth = await startOauth({ accessSeconds: 3, rotate: true });
    await using client = clientOf(oauth.api.origin, { auth: authOf(oauth) });
    const ask = () => textOf(client, get(oauth.api.origin));
    const answers = await Promise.all(Array.from({ length: 20 }, ask));
    expect(answers.map((text) => JSON.parse(text))).toEqual(
      Array.from({ length: 20 }, () => ({ client: client_id, scope: 'read' })),
    );
    expect(oauth.granted).toEqual(['client_credentials']);
    await sleep(3_100);
    await Promise.all(Array.from({ length: 20 }, ask));
    expect(oauth.granted.length).toBe(2);
    // Ended by our own clock before the server's: no request was refused.
    expect(oauth.api.seen.length).toBe(40);
  });
});

describe('client credentials', () => {
  const config = (
    oauth: Oauth,
    more: Partial<{ client_secret: string; scope: string; client_id: string }> = {},
  ): AuthConfig => ({
    type: 'oauth2_client_credentials',
    token_url: oauth.tokenUrl,
    client_id: 'basic',
    client_secret: CLIENT_SECRET,
    ...more,
  });

  test('what the server refuses is explained, and no secret is in it', async () => {
    await using oauth = await startOauth({ accessSeconds: 60, rotate: true });
    const refusal = async (auth: AuthConfig): Promise<MillraceError> => {
      await using client = clientOf(oauth.api.origin, { auth });
      return await failureOf(client.send(get(oauth.api.origin), never));
    };
    const errors = [
      await refusal(config(oauth, { client_secret: 'canary-wrong-secret' })),
      await refusal(config(oauth, { client_id: 'nobody' })),
      await refusal(config(oauth, { client_id: 'web' })),
      await refusal({ ...config(oauth), token_url: `${oauth.api.origin}/login` } as AuthConfig),
    ];
    expect(errors.map(({ code }) => code)).toEqual([
      'auth_failed',
      'auth_failed',
      'auth_failed',
      'response_invalid',
    ]);
    expect(leaks(JSON.stringify(errors.map((error) => error.toView())))).toEqual([]);
    expect(oauth.api.seen.filter(({ url }) => url === '/').length).toBe(0);
  });

  test('a token that the API refuses though it should hold is replaced once', async () => {
    await using oauth = await startOauth({ accessSeconds: 600, rotate: true });
    const host = createLoneHost();
    await using client = clientOf(oauth.api.origin, { auth: config(oauth) }, { host });
    let asked = 0;
    await using moody = await serve((request, response) => {
      asked += 1;
      response.statusCode = asked === 1 || request.url === '/always' ? 401 : 200;
      response.end('[]');
    });
    await using other = clientOf(moody.origin, { auth: config(oauth) }, { host });
    expect(await textOf(other, get(moody.origin))).toBe('[]');
    expect([asked, oauth.granted.length]).toEqual([2, 2]);
    expect(moody.seen[0]?.headers['authorization']).not.toBe(moody.seen[1]?.headers['authorization']);
    expect((await failureOf(other.send(get(`${moody.origin}/always`), never))).code).toBe('auth_failed');
    expect([asked, oauth.granted.length]).toEqual([4, 3]);
    await textOf(client, get(oauth.api.origin));
  });

  test('what servers do besides: no token_type, a life as text or none, form fields for the client, patience asked for', async () => {
    let body: Record<string, unknown> = {};
    await using tokens = await serve((_request, response, count) => {
      if (count === 1) response.writeHead(429, { 'retry-after': '0' }).end();
      else response.end(JSON.stringify({ access_token: `token-${count}`, ...body }));
    });
    await using api = await serve((_request, response) => void response.end('[]'));
    const auth: AuthConfig = {
      type: 'oauth2_client_credentials',
      token_url: `${tokens.origin}/token`,
      client_id: 'me',
      client_secret: 'my-secret',
      audience: 'https://api.example.com/',
    };
    for (body of [
      {},
      { expires_in: '3600' },
      { token_type: 'BEARER', expires_in: 0 },
      { id_token: 'not.a.token' },
    ]) {
      await using client = clientOf(api.origin, { auth });
      expect(await textOf(client, get(api.origin))).toBe('[]');
    }
    expect(api.seen.length).toBe(4);
    expect(new URLSearchParams(tokens.seen[1]?.body).get('audience')).toBe('https://api.example.com/');
    expect(tokens.seen.every(({ headers }) => headers['x-own'] === undefined)).toBe(true);
  });

  test.each([
    ['invalid_scope', 'permission_denied', 'auth.scope'],
    ['unauthorized_client', 'permission_denied', 'registered'],
    ['unsupported_grant_type', 'auth_failed', 'auth.type'],
    ['invalid_client', 'auth_failed', 'auth.client_id'],
  ])('%s is %s, also where the answer says that it is a page', async (error, code, hint) => {
    await using tokens = await serve((_request, response) => {
      response.writeHead(400, { 'content-type': 'text/html' });
      response.end(JSON.stringify({ error, error_description: 'secret canary-secret is no good' }));
    });
    const auth = {
      type: 'oauth2_client_credentials',
      token_url: tokens.origin,
      client_id: 'me',
      client_secret: 'canary-secret',
    } as const;
    await using client = clientOf(tokens.origin, { auth });
    const refusal = await failureOf(client.send(get(tokens.origin), never));
    expect(refusal).toMatchObject({ code, hint: expect.stringContaining(hint) });
    expect(leaks(JSON.stringify(refusal.toView()))).toEqual([]);
  });

  test('a token endpoint is not followed elsewhere, and is not the place where people sign in', async () => {
    await using away = await serve((_request, response) => void response.end('{"access_token": "stolen"}'));
    await using tokens = await serve((request, response) => {
      if (request.url === '/moved') response.writeHead(307, { location: away.origin }).end();
      else response.end('<html><body>Sign in</body></html>');
    });
    for (const path of ['moved', 'login']) {
      const auth = {
        type: 'oauth2_client_credentials',
        token_url: `${tokens.origin}/${path}`,
        client_id: 'me',
        client_secret: 'canary',
      } as const;
      await using client = clientOf(away.origin, { auth });
      expect(await failureOf(client.send(get(away.origin), never))).toMatchObject({
        code: 'response_invalid',
        hint: expect.stringContaining('auth.token_url'),
      });
    }
    expect(away.seen).toEqual([]);
  });
});

describe('a refresh token', () => {
  const authOf = (oauth: Oauth, refresh_token: string): AuthConfig => ({
    type: 'oauth2_refresh_token',
    token_url: oauth.tokenUrl,
    client_id: 'web',
    client_secret: CLIENT_SECRET,
    refresh_token,
  });

  test('that rotates: each new one is stored before the access token is used, and used next', async () => {
    await using oauth = await startOauth({ accessSeconds: 1, rotate: true });
    const host = createLoneHost();
    let stored = 0;
    const counting: HostServices = {
      ...host,
      secrets: {
        ...host.secrets,
        async save(field, value) {
          const before = oauth.api.seen.length;
          await sleep(20);
          await host.secrets.save(field, value);
          // Nobody has used it meanwhile.
          expect(oauth.api.seen.length).toBe(before);
          stored += 1;
        },
      },
    };
    const auth = authOf(oauth, await oauth.signIn());
    for (let run = 0; run < 4; run += 1) {
      await using client = clientOf(oauth.api.origin, { auth }, { host: counting });
      expect(await textOf(client, get(oauth.api.origin))).toBe(
        '{"client":"web","scope":"openid offline_access read"}',
      );
      await textOf(client, get(oauth.api.origin));
      await sleep(1_050);
    }
    expect(oauth.granted.length).toBeGreaterThanOrEqual(4);
    expect(oauth.refused).toEqual([]);
    expect(stored).toBe(oauth.granted.length);
    // Each is another one: the first refresh token, and two tokens a refresh.
    expect(new Set(oauth.secrets).size).toBe(1 + 2 * stored);
  });

  test('that does not: the old one is kept where none comes back', async () => {
    let spent = 0;
    await using tokens = await serve((request, response) => {
      const params = new URLSearchParams(request.body);
      spent += 1;
      const rotated = spent === 1 ? { refresh_token: 'second' } : {};
      const wanted = spent === 1 ? 'first' : 'second';
      response.statusCode = params.get('refresh_token') === wanted ? 200 : 400;
      response.end(
        JSON.stringify({ access_token: `access-${spent}`, token_type: 'bearer', expires_in: 1, ...rotated }),
      );
    });
    await using api = await serve((_request, response) => void response.end('[]'));
    const auth = {
      type: 'oauth2_refresh_token',
      token_url: tokens.origin,
      client_id: 'web',
      refresh_token: 'first',
    } as const;
    await using client = clientOf(api.origin, { auth });
    for (let turn = 0; turn < 3; turn += 1) {
      expect(await textOf(client, get(api.origin))).toBe('[]');
      await sleep(1_000);
    }
    expect(tokens.seen.map(({ body }) => new URLSearchParams(body).get('refresh_token'))).toEqual([
      'first',
      'second',
      'second',
    ]);
    // A client without a secret names itself in the form.
    expect(new URLSearchParams(tokens.seen[0]?.body).get('client_id')).toBe('web');
  });

  test('that comes beside members of no value is kept, and one of no value means the old one', async () => {
    const answers: readonly object[] = [
      { refresh_token: 'second', scope: null, token_type: null, expires_in: null },
      { refresh_token: null },
      { refresh_token: '', scope: ['read', 'write'] },
      {},
    ];
    await using tokens = await serve(
      (_request, response, count) =>
        void response.end(JSON.stringify({ access_token: `access-${count}`, ...answers[count - 1] })),
    );
    // Each token is refused once it has been used: the next request needs another one.
    const used = new Set<string>();
    await using api = await serve((request, response) => {
      const token = String(request.headers['authorization']);
      response.statusCode = used.has(token) ? 401 : 200;
      used.add(token);
      response.end('[]');
    });
    const auth = {
      type: 'oauth2_refresh_token',
      token_url: tokens.origin,
      client_id: 'web',
      refresh_token: 'first',
    } as const;
    await using client = clientOf(api.origin, { auth });
    for (const _ of answers) expect(await textOf(client, get(api.origin))).toBe('[]');
    expect(tokens.seen.map(({ body }) => new URLSearchParams(body).get('refresh_token'))).toEqual([
      'first',
      'second',
      'second',
      'second',
    ]);
  });

  test('that was got and could not be stored is not lost', async () => {
    await using oauth = await startOauth({ accessSeconds: 60, rotate: true });
    const host = createLoneHost();
    let full = true;
    const disk: HostServices = {
      ...host,
      secrets: {
        ...host.secrets,
        async save(field, value) {
          if (full) throw new MillraceError('disk_full', 'No space.', { hint: '' });
          await host.secrets.save(field, value);
        },
      },
    };
    await using client = clientOf(
      oauth.api.origin,
      { auth: authOf(oauth, await oauth.signIn()) },
      { host: disk },
    );
    expect((await failureOf(client.send(get(oauth.api.origin), never))).code).toBe('disk_full');
    expect(oauth.api.seen.length).toBe(0);
    full = false;
    expect(await textOf(client, get(oauth.api.origin))).toContain('web');
    expect(oauth.granted.length).toBe(1);
    expect(oauth.refused).toEqual([]);
  });

  test('a cancel does not throw a rotated token away', async () => {
    await using oauth = await startOauth({ accessSeconds: 60, rotate: true });
    const host = createLoneHost();
    const auth = authOf(oauth, await oauth.signIn());
    const stop = new AbortController();
    await using client = clientOf(oauth.api.origin, { auth }, { host });
    const work = client.send(get(oauth.api.origin), stop.signal);
    stop.abort(new MillraceError('cancelled', 'Enough.', { hint: '' }));
    expect((await failureOf(work)).code).toBe('cancelled');
    await using next = clientOf(oauth.api.origin, { auth }, { host });
    expect(await textOf(next, get(oauth.api.origin))).toContain('web');
    expect(oauth.refused).toEqual([]);
  });

  test('that has ended needs a person; a new one makes the old tokens mean nothing', async () => {
    await using oauth = await startOauth({ accessSeconds: 1, rotate: true });
    const host = createLoneHost();
    const first = await oauth.signIn();
    await using client = clientOf(oauth.api.origin, { auth: authOf(oauth, first) }, { host });
    await textOf(client, get(oauth.api.origin));
    // Somebody else uses the first one again: the server revokes all that came of it.
    await using thief = clientOf(oauth.api.origin, { auth: authOf(oauth, first) });
    expect((await failureOf(thief.send(get(oauth.api.origin), never))).code).toBe('auth_failed');
    await sleep(1_000);
    expect(await failureOf(client.send(get(oauth.api.origin), never))).toMatchObject({
      code: 'auth_failed',
      who: 'person',
      hint: expect.stringContaining('auth.refresh_token'),
    });
    await using anew = clientOf(oauth.api.origin, { auth: authOf(oauth, await oauth.signIn()) }, { host });
    expect(await textOf(anew, get(oauth.api.origin))).toContain('web');
  });

  test('is refreshed by one process at a time, however many there are; and lies sealed on the disk', {
    timeout: 60_000,
  }, async () => {
    await using oauth = await startOauth({ accessSeconds: 3, rotate: true });
    const dir = mkdtempSync(join(tmpdir(), 'millrace-oauth-'));
    try {
      const file = join(dir, 'store.db');
      // The key is made before four would make one each.
      await using store = await openStore({ file, ...clock });
      await openVault({ dataDir: dir, env: {}, secrets: store.secrets });
      const script = join(import.meta.dirname, '../support/oauth-process.ts');
      const args = [script, dir, oauth.api.origin, oauth.tokenUrl, await oauth.signIn(), '8000'];
      const processes = await Promise.all(
        Array.from({ length: 4 }, () => promisify(execFile)(process.execPath, args)),
      );
      const well = processes.map(({ stdout }) => Number(stdout));
      console.log(`requests that went well: ${well.join(', ')}; refreshes: ${oauth.granted.length}`);
      expect(Math.min(...well)).toBeGreaterThan(4);
      expect(oauth.refused).toEqual([]);
      expect(oauth.granted.length).toBeGreaterThanOrEqual(3);
      expect(oauth.granted.length).toBeLessThanOrEqual(8);
      const onDisk = readdirSync(dir)
        .map((name) => readFileSync(join(dir, name), 'latin1'))
        .join();
      expect(oauth.secrets.filter((secret) => onDisk.includes(secret))).toEqual([]);
      expect(onDisk).toContain('kept/crm/oauth/');
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe('kept secrets', () => {
  test('a lock is held by one, given back, and ends with who holds it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'millrace-kept-'));
    try {
      let late = 0;
      await using store = await openStore({
        file: join(dir, 'store.db'),
        ...clock,
        now: () => new Date(Date.now() + late),
      });
      const vault = await openVault({ dataDir: dir, env: {}, secrets: store.secrets });
      const of = (holder: string) => createKeptSecrets('crm', { vault, leases: store.leases, holder });
      const unlock = await of('a').lock('oauth', never);
      await expect(of('b').lock('oauth', AbortSignal.timeout(300))).rejects.toThrow('timeout');
      unlock();
      const again = await of('b').lock('oauth', never);
      // As if b had died: its lease ends by itself, and what it says afterwards changes nothing.
      late = 60_000;
      const third = await of('c').lock('oauth', never);
      again();
      await sleep(50);
      await expect(of('d').lock('oauth', AbortSignal.timeout(300))).rejects.toThrow('timeout');
      third();
      expect(await of('a').load('oauth')).toBeNull();
      await of('a').save('oauth', CANARY);
      expect(await of('b').load('oauth')).toBe(CANARY);
      expect(
        await createKeptSecrets('other', { vault, leases: store.leases, holder: 'a' }).load('oauth'),
      ).toBeNull();
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

test('kept secrets go with their connector, and stay when it changes', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'millrace-kept-'));
  try {
    await using store = await openStore({ file: join(dir, 'store.db'), ...clock });
    const vault = await openVault({ dataDir: dir, env: {}, secrets: store.secrets });
    const secretsOf = (name: string) => createKeptSecrets(name, { vault, leases: store.leases, holder: 'a' });
    const crm = { name: 'crm', type: 'rest_api', config: {}, streams: [], enabled: true };
    await store.connectors.insert(crm);
    await secretsOf('crm').save('oauth', CANARY);
    await secretsOf('crm2').save('oauth', CANARY);
    await store.connectors.update({ ...crm, config: { base_url: 'https://api.example.com' } });
    expect(await secretsOf('crm').load('oauth')).toBe(CANARY);
    await store.connectors.remove('crm');
    expect(await secretsOf('crm').load('oauth')).toBeNull();
    expect(await secretsOf('crm2').load('oauth')).toBe(CANARY);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

const clock: Omit<StoreOptions, 'file'> = { now: () => new Date(), random: (bytes) => randomBytes(bytes) };

/** Which canaries a text holds, in any form they travel in. */
function leaks(text: string): readonly string[] {
  const cores = ['canary', '5up3r', 's3cret'];
  const coded = cores.flatMap((core) =>
    [0, 1, 2].map((shift) =>
      Buffer.from(`${'x'.repeat(shift)}${core}`)
        .toString('base64')
        .slice(shift + 1, -4),
    ),
  );
  return [...cores, ...coded.filter((piece) => piece.length > 4)].filter((core) => text.includes(core));
}
