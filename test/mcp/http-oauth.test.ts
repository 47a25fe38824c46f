import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose';
import { Provider } from 'oidc-provider';
import { beforeAll, describe, expect, test } from 'vitest';
import { connectHttp } from '../support/mcp-client.ts';
import { type ServeProcess, startServe } from '../support/serve-process.ts';

/** Millrace as a resource of a real authorization server: whose access tokens it takes, and what they may have done. */

const AUDIENCE = 'https://millrace.example.com/mcp';
const SECRET = 'canary-oauth-client-secret';

/** An authorization server that gives out JWT access tokens, signed by a key that the test has too. */
async function startIssuer() {
  const server = createServer();
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const keys = await generateKeyPair('RS256', { extractable: true });
  const jwk = { ...(await exportJWK(keys.privateKey)), kid: 'k1', use: 'sig', alg: 'RS256' };
  const provider = new Provider(issuer, {
    jwks: { keys: [jwk] },
    clients: [
      {
        client_id: 'bot',
        client_secret: SECRET,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    scopes: ['millrace:read', 'millrace:operate', 'millrace:admin', 'other'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE,
        getResourceServerInfo: () => ({
          scope: 'millrace:read millrace:operate millrace:admin other',
          audience: AUDIENCE,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
        }),
      },
    },
    cookies: { keys: ['test'] },
  });
  server.on('request', provider.callback());
  return {
    issuer,
    keys,
    async token(scope: string): Promise<string> {
      const response = await fetch(`${issuer}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${Buffer.from(`bot:${SECRET}`).toString('base64')}` },
        body: new URLSearchParams({ grant_type: 'client_credentials', scope, resource: AUDIENCE }),
      });
      const { access_token } = (await response.json()) as { access_token?: string };
      if (access_token === undefined) throw new Error(`no token: ${response.status}`);
      return access_token;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((settle) => server.close(() => settle()));
    },
  };
}

let issuer: Awaited<ReturnType<typeof startIssuer>>;
let serve: ServeProcess;

beforeAll(async () => {
  issuer = await startIssuer();
  const oauth = { issuer: issuer.issuer, audience: AUDIENCE, jwksUrl: `${issuer.issuer}/jwks` };
  serve = await startServe({ config: { http: { oauth } } });
  return async () => {
    await serve[Symbol.asyncDispose]();
    await issuer[Symbol.asyncDispose]();
  };
});

function status(token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` };
  return fetch(`${serve.origin}/metrics`, { headers }).then((response) => response.status);
}

test('without a token: 401, which says where one can be had', async () => {
  const response = await fetch(`${serve.origin}/mcp`, { method: 'POST' });
  expect(response.status).toBe(401);
  const where = /resource_metadata="([^"]+)"/.exec(response.headers.get('www-authenticate') ?? '')?.[1];
  expect(where).toBe('https://millrace.example.com/.well-known/oauth-protected-resource');
  const metadata = await fetch(`${serve.origin}/.well-known/oauth-protected-resource`);
  expect(await metadata.json()).toMatchObject({
    resource: AUDIENCE,
    authorization_servers: [issuer.issuer],
    scopes_supported: ['millrace:read', 'millrace:operate', 'millrace:admin'],
  });
});

test("the server's own tokens: each scope does what it may", async () => {
  const url = `${serve.origin}/mcp`;
  const made = {
    name: 'shop',
    type: 'postgresql',
    config: { host: '127.0.0.1', port: 1, database: 'x', username: 'x' },
    test: false,
  };
  await using reader = await connectHttp({
    generation: 'modern',
    url,
    token: await issuer.token('millrace:read'),
  });
  await using admin = await connectHttp({
    generation: 'legacy',
    url,
    token: await issuer.token('millrace:admin'),
  });
  expect((await reader.call('register_connector', made)).text).toMatch(/^scope_missing: /);
  await admin.must('register_connector', made);
  expect(await reader.must('list_connectors')).toMatchObject({ connectors: [{ name: 'shop' }] });
  expect(await admin.readResource('millrace://audit')).toContain('http:oauth:bot/millrace-test');
  expect(await status(await issuer.token('other'))).toBe(401);
});

describe('what is not the token of that server for this one', () => {
  interface Forged {
    readonly issuer?: string;
    readonly audience?: string;
    readonly expires?: string;
    readonly scope?: string;
    readonly kid?: string;
  }

  const signed = async (
    key: Parameters<SignJWT['sign']>[0],
    given: Forged = {},
    alg = 'RS256',
  ): Promise<string> =>
    await new SignJWT({ scope: given.scope ?? 'millrace:admin' })
      .setProtectedHeader({ alg, kid: given.kid ?? 'k1' })
      .setSubject('somebody')
      .setIssuer(given.issuer ?? issuer.issuer)
      .setAudience(given.audience ?? AUDIENCE)
      .setExpirationTime(given.expires ?? '5m')
      .sign(key);

  test('as it should be, it is taken: the forgeries below differ from it in one thing each', async () => {
    expect(await status(await signed(issuer.keys.privateKey))).toBe(200);
  });

  test.each<[string, () => Promise<string>]>([
    ['another audience', () => signed(issuer.keys.privateKey, { audience: 'https://other.example.com' })],
    ['another issuer', () => signed(issuer.keys.privateKey, { issuer: 'https://evil.example.com' })],
    ['ended', () => signed(issuer.keys.privateKey, { expires: '-1m' })],
    ['no scope of ours', () => signed(issuer.keys.privateKey, { scope: 'openid' })],
    ['an unknown key', () => signed(issuer.keys.privateKey, { kid: 'k2' })],
    ["somebody else's key", async () => signed((await generateKeyPair('RS256')).privateKey)],
    [
      'the public key as a shared secret',
      async () => signed(new TextEncoder().encode(await exportSPKI(issuer.keys.publicKey)), {}, 'HS256'),
    ],
    [
      'no signature',
      async () => {
        const [, payload = ''] = (await signed(issuer.keys.privateKey)).split('.');
        return `${Buffer.from('{"alg":"none"}').toString('base64url')}.${payload}.`;
      },
    ],
    [
      'a changed payload',
      async () => {
        const [head = '', payload = '', tail = ''] = (
          await signed(issuer.keys.privateKey, { scope: 'millrace:read' })
        ).split('.');
        const text = Buffer.from(payload, 'base64url').toString().replace('millrace:read', 'millrace:admin');
        return `${head}.${Buffer.from(text).toString('base64url')}.${tail}`;
      },
    ],
    ['nonsense', async () => 'not.a.token'],
  ])('%s', async (_what, make) => {
    expect(await status(await make())).toBe(401);
  });
});
