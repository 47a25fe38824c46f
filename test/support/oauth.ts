import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider } from 'oidc-provider';
import { type Served, serve } from './http-support.ts';

/** An authorization server, a real one, and an API that asks it about each token. */
export interface Oauth extends AsyncDisposable {
  readonly tokenUrl: string;
  readonly api: Served;
  /** Requests for tokens that were answered with one, by grant type. */
  readonly granted: string[];
  /** Requests for tokens that were refused, with the error. */
  readonly refused: string[];
  /** Every token and refresh token that was given out. */
  readonly secrets: string[];
  /** A refresh token as a person gets it who signs in and agrees. */
  signIn(): Promise<string>;
}

export interface OauthOptions {
  readonly accessSeconds: number;
  readonly rotate: boolean;
}

/** Clients: `basic`, `post` (how they prove themselves) for client credentials, `web` for refresh tokens; all with this secret. */
export const CLIENT_SECRET = 'canary-client+secret/with=signs&more';

/** Starts both. */
export async function startOauth({ accessSeconds, rotate }: OauthOptions): Promise<Oauth> {
  const server = createServer();
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const machine = {
    client_secret: CLIENT_SECRET,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  };
  const provider = new Provider(issuer, {
    clients: [
      { ...machine, client_id: 'basic', token_endpoint_auth_method: 'client_secret_basic' },
      { ...machine, client_id: 'post', token_endpoint_auth_method: 'client_secret_post' },
      {
        client_id: 'web',
        client_secret: CLIENT_SECRET,
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: ['https://app.example.com/back'],
      },
    ],
    scopes: ['openid', 'offline_access', 'read'],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    rotateRefreshToken: rotate,
    ttl: { AccessToken: accessSeconds, ClientCredentials: accessSeconds, RefreshToken: 600, Grant: 600 },
    findAccount: (_context: unknown, accountId: string) => ({
      accountId,
      claims: () => ({ sub: accountId }),
    }),
    cookies: { keys: ['test'] },
  });
  const granted: string[] = [];
  const refused: string[] = [];
  const secrets: string[] = [];
  provider.on('grant.success', (context) => {
    const { oidc, body } = context as {
      oidc: { params: { grant_type: string } };
      body: Record<string, string>;
    };
    granted.push(oidc.params.grant_type);
    secrets.push(...[body['access_token'], body['refresh_token']].filter((token) => token !== undefined));
  });
  provider.on('grant.error', (_context, error) => void refused.push(String((error as Error).message)));
  server.on('request', provider.callback());

  const api = await serve(async (request, response) => {
    const token = /^Bearer (.+)$/.exec(request.headers['authorization']?.toString() ?? '')?.[1] ?? '';
    const found = (await provider.AccessToken.find(token)) ?? (await provider.ClientCredentials.find(token));
    response.statusCode = found?.isValid ? 200 : 401;
    response.setHeader('content-type', 'application/json');
    if (!found?.isValid)
      response.end(JSON.stringify({ refused: token })); // it repeats what it was given, as some do
    else if (request.url.startsWith('/records'))
      response.end('[{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]');
    else response.end(JSON.stringify({ client: found.clientId, scope: found.scope }));
  });

  return {
    tokenUrl: `${issuer}/token`,
    api,
    granted,
    refused,
    secrets,
    async signIn() {
      const person = { accountId: 'somebody', clientId: 'web' };
      const grant = new provider.Grant(person);
      grant.addOIDCScope('openid offline_access read');
      const token = new provider.RefreshToken({
        ...person,
        client: await provider.Client.find('web'),
        grantId: await grant.save(),
        gty: 'authorization_code',
        scope: 'openid offline_access read',
      });
      const text = await token.save();
      secrets.push(text);
      return text;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((settle) => server.close(() => settle()));
      await api[Symbol.asyncDispose]();
    },
  };
}
