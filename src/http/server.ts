import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { hostHeaderValidation, originValidation } from '@modelcontextprotocol/node';
import type { Log } from '../log.ts';
import type { Services } from '../services/services.ts';
import { dashboardPage } from './dashboard.ts';
import { close, listen } from './listening.ts';
import type { Metrics } from './metrics.ts';
import type { Doorkeeper, Principal } from './principals.ts';
import { createRate } from './rate.ts';
import { type Answer, harden, text, write } from './reply.ts';

/** The MCP endpoint as this server hands requests to it: judged, and with who sent them. */
export type McpFace = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export interface HttpOptions {
  readonly host: string;
  readonly port: number;
  /** Names that a `Host` header may have besides those of loopback. */
  readonly allowedHosts: readonly string[];
  /** Requests that one principal (without tokens: one address) may make a second. */
  readonly requestsPerSecond: number;
  readonly mcp: McpFace;
  readonly services: Pick<Services, 'health' | 'connectors' | 'runs'>;
  readonly doorkeeper: Doorkeeper;
  readonly metrics: Metrics;
  readonly logger: Pick<Log, 'error'>;
}

export interface HttpServer extends AsyncDisposable {
  /** Where it listens: `http://127.0.0.1:7717`. */
  readonly origin: string;
}

/** A header or body that drips in for longer is given up. */
const requestMs = 30_000;

/**
 * Everything that speaks HTTP: `/mcp`, the dashboard at `/`, `/healthz`, `/metrics`. Whatever comes is judged in one
 * order: host, origin, who it is, how often; only then is it read. There are no CORS headers: no page may call this.
 */
export async function serveHttp(options: HttpOptions): Promise<HttpServer> {
  const { logger } = options;
  const handle = createHandler(options);
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      logger.error({ event: 'http_failed', error }, 'a request failed');
      if (!response.headersSent) write(response, text(500, 'Something went wrong here; the log says what.'));
      else response.destroy();
    });
  });
  server.requestTimeout = requestMs;
  server.headersTimeout = requestMs;
  const port = await listen(server, options);
  const shown = options.host.includes(':') ? `[${options.host}]` : options.host;
  return { origin: `http://${shown}:${port}`, [Symbol.asyncDispose]: () => close(server) };
}

function createHandler(
  options: HttpOptions,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const { doorkeeper, mcp } = options;
  const names = ['localhost', '127.0.0.1', '[::1]', ...options.allowedHosts];
  const hostAllowed = hostHeaderValidation(names);
  const originAllowed = originValidation(names);
  const rate = createRate(options.requestsPerSecond);

  return async (request, response) => {
    harden(response);
    if (!hasOneHost(request))
      return write(response, text(400, 'One Host header, of a name and perhaps a port.'));
    if (!hostAllowed(request, response) || !originAllowed(request, response)) return;
    const path = pathOf(request);
    const open = openAnswer(path, doorkeeper);
    if (open !== undefined) return write(response, open);
    const principal = await doorkeeper.admit(request.headers.authorization, path);
    if (!('name' in principal)) return write(response, principal);
    const wait = await rate(principal.name || (request.socket.remoteAddress ?? ''));
    if (wait !== null) return write(response, tooMany(wait));
    if (path === '/mcp') {
      if (!mcpMethods.includes(request.method ?? '')) return write(response, notThisMethod(mcpMethods));
      if (principal.name !== '') Object.assign(request, { auth: authOf(principal) });
      return await mcp(request, response);
    }
    if (request.method !== 'GET') return write(response, notThisMethod(['GET']));
    write(response, await page(path, options));
  };
}

/** Those of Streamable HTTP; a `Request` of the platform cannot even be made of some others. */
const mcpMethods: readonly string[] = ['GET', 'POST', 'DELETE'];

function notThisMethod(allowed: readonly string[]): Answer {
  return text(405, `Only ${allowed.join(', ')} here.`, { allow: allowed.join(', ') });
}

/**
 * A URL parser takes `evil@localhost` and `localhost/evil` for localhost, and of two headers Node keeps the first, where a
 * proxy in front may have judged the other.
 */
function hasOneHost({ headers, rawHeaders }: IncomingMessage): boolean {
  const count = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length;
  return count === 1 && /^(?:\[[\da-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/i.test(headers.host ?? '');
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?')[0] ?? '/';
}

/** What anybody may know: that it is up, and where a token can be had. */
function openAnswer(path: string, doorkeeper: Doorkeeper): Answer | undefined {
  if (path === '/healthz') return text(200, 'ok');
  return doorkeeper.metadata(path);
}

function authOf({ name, scopes }: Principal): object {
  return { token: '', clientId: name, scopes: [...scopes] };
}

async function page(path: string, { services, metrics }: HttpOptions): Promise<Answer> {
  if (path === '/metrics') return await metrics.scrape();
  if (path === '/') return await dashboardPage(services);
  return text(404, 'Nothing is here. MCP is at /mcp, the dashboard at /, also /healthz and /metrics.');
}

function tooMany(seconds: number): Answer {
  return text(429, `Too many requests; the next one is served in ${seconds} s.`, {
    'retry-after': String(seconds),
  });
}
