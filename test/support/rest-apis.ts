/** APIs as they are met outside, on ports of their own: a general one (json-server) and a sign-in server (oidc-provider). */

import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import jsonServer from 'json-server';
import { Provider } from 'oidc-provider';

export interface TestApi extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  /** Method and path with query of every request so far. */
  readonly requests: readonly string[];
}

/** Serves on a free port of the loopback address until disposed. */
export async function serve(listener: RequestListener): Promise<TestApi> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    listener(request, response);
  });
  await new Promise<void>((settle, fail) => server.once('error', fail).listen(0, '127.0.0.1', settle));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `http://${host}`,
    host,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((settle) => server.close(() => settle()));
    },
  };
}

/** json-server over these lists: `_start` and `_limit`, `_page` with a Link header, filters such as `updated_at_gte`. */
export function serveLists(lists: Record<string, unknown[]>): Promise<TestApi> {
  const app = jsonServer.create();
  app.use(jsonServer.router(lists));
  return serve(app);
}

/** Answers with JSON. */
export function answer(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** The query of a request. */
export function queryOf(request: IncomingMessage): URLSearchParams {
  return new URL(request.url ?? '/', 'http://localhost').searchParams;
}

/** An OAuth2 server that gives tokens for client credentials, and says whether one holds. */
export async function serveTokens(client: {
  readonly id: string;
  readonly secret: string;
}): Promise<TestApi & { holds(token: string): Promise<boolean> }> {
  let provider: Provider | undefined;
  const api = await serve((request, response) => void provider?.callback()(request, response));
  provider = new Provider(api.url, {
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        scope: 'invoices.read',
      },
    ],
    scopes: ['invoices.read'],
    ttl: { ClientCredentials: 600 },
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
  });
  const tokens = provider.ClientCredentials;
  return Object.assign(api, {
    holds: async (token: string) => (await tokens.find(token))?.isValid ?? false,
  });
}
