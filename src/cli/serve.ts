import { type App, openApp } from '../app.ts';
import { MillraceError } from '../core/errors.ts';
import { isLoopback } from '../core/network.ts';
import { createMetrics } from '../http/metrics.ts';
import { createOAuthResource } from '../http/oauth.ts';
import { createDoorkeeper, hashOf, type KnownToken } from '../http/principals.ts';
import { serveHttp } from '../http/server.ts';
import { createMcpHttp } from '../mcp/http.ts';
import { SERVER } from '../vault/references.ts';
import { answer } from './answer.ts';
import type { CommandLine } from './options.ts';
import { type Environment, version } from './program.ts';

/** Everything has to be over this long after somebody asked the process to stop. */
const leaveMs = 1_800;
/** Most bytes of an MCP request: a connector with a thousand streams has about 300 KB. */
const bodyMaxBytes = 4 * 1024 * 1024;

/** MCP over HTTP until SIGTERM, SIGINT or SIGHUP: the always-on form. */
export async function serve(line: CommandLine, env: Environment): Promise<number> {
  await using opened = new AsyncDisposableStack();
  const app = opened.use(
    await openApp({ flags: line.flags, env, actor: 'serve', literals: 'reject', standBack: true }),
  );
  const { services, log, config } = app;
  const host = typeof line.own['host'] === 'string' ? line.own['host'] : config.http.host;
  const port = portOf(line.own['port']) ?? config.http.port;
  const tokens = await knownTokens(app);
  const oauth = config.http.oauth === null ? null : createOAuthResource(config.http.oauth);
  if (tokens.length === 0 && oauth === null && !isLoopback(host)) throw tooOpen(host);

  const mcp = opened.use(
    createMcpHttp({
      services,
      version: version(),
      readOnly: config.readOnly,
      toolsets: config.toolsets,
      logger: log,
      bodyMaxBytes,
    }),
  );
  const metrics = opened.use(createMetrics({ services, sessions: mcp.sessions }));
  const http = opened.use(
    await serveHttp({
      host,
      port,
      allowedHosts: [...config.http.allowedHosts, ...(isWildcard(host) ? [] : [bracketed(host)])],
      requestsPerSecond: config.http.requestsPerSecond,
      mcp: mcp.handle,
      services,
      doorkeeper: createDoorkeeper(tokens, oauth),
      metrics,
      logger: log,
    }).catch((error: unknown) => {
      throw notListening(error, host, port);
    }),
  );
  const { promise: asked, resolve: leave } = Promise.withResolvers<void>();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => leave());
  app
    .startBackground()
    .catch((error: unknown) => log.error({ event: 'start_failed', error }, 'background work did not start'));
  answer(`Millrace serves MCP at ${http.origin}/mcp; dashboard: ${http.origin}/`);
  log.info(
    { event: 'serving', origin: http.origin, principals: tokens.length, oauth: oauth !== null },
    'serving HTTP',
  );
  await asked;
  setTimeout(() => process.exit(0), leaveMs).unref();
  return 0;
}

function portOf(given: unknown): number | undefined {
  if (given === undefined) return undefined;
  const port = Number(given);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new MillraceError('invalid_config', `"${String(given).slice(0, 40)}" is no port.`, {
    hint: 'A port is a number up to 65535; 0 takes any that is free: `millrace serve --port 7717`.',
  });
}

/** Tokens as hashes; in clear they are never kept. A token may stand in the file as a reference, or hashed. */
async function knownTokens({ config, references }: App): Promise<readonly KnownToken[]> {
  const known: KnownToken[] = [];
  for (const [index, entry] of config.http.tokens.entries()) {
    const { name, token, scopes } =
      typeof entry === 'string'
        ? { name: `token${index + 1}`, token: entry, scopes: ['admin'] as const }
        : entry;
    const { token: clear } = await references.reveal(SERVER, { token }, ['token']);
    const hashed = /^sha256:([0-9a-f]{64})$/i.exec(String(clear))?.[1];
    known.push({
      name,
      scopes,
      hash: hashed === undefined ? hashOf(String(clear)) : Buffer.from(hashed, 'hex'),
    });
  }
  return known;
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}

function tooOpen(host: string): MillraceError {
  return new MillraceError(
    'invalid_config',
    `At ${host} other machines would reach this server, and it asks nobody for a token.`,
    {
      hint: 'Make a token with `openssl rand -base64 32`, put it into MILLRACE_HTTP_TOKEN and "http": {"tokens": ["${env:MILLRACE_HTTP_TOKEN}"]} into the config file; name the host that clients use in "http.allowedHosts". Or leave the host out: then only this machine is served.',
      who: 'administrator',
    },
  );
}

function notListening(error: unknown, host: string, port: number): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL' && code !== 'ENOTFOUND')
    return error;
  return new MillraceError('invalid_config', `Nothing can listen at ${host}:${port} (${code}).`, {
    hint: 'Another program may be there already: `millrace serve --port 0` takes any port that is free; `--host` names an address of this machine.',
    who: 'person',
  });
}
