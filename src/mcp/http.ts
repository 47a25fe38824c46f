import type { IncomingMessage, ServerResponse } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import {
  type AuthInfo,
  createMcpHandler,
  isJsonContentType,
  isLegacyRequest,
} from '@modelcontextprotocol/server';
import { createChangeBus } from './change-bus.ts';
import { createConfirmations } from './confirm.ts';
import { warning } from './logger.ts';
import { createMcpServer, type McpOptions } from './server.ts';
import { createSessions } from './sessions.ts';

export interface McpHttpOptions extends Omit<McpOptions, 'confirmations'> {
  /** Most bytes of a request. */
  readonly bodyMaxBytes: number;
  /** What builds a server; absent: Millrace's own. The protocol's conformance suite brings fixtures of its own. */
  readonly create?: (options: McpOptions) => ReturnType<typeof createMcpServer>;
}

/** A request, and who sent it: what stands in front has judged both. */
export type AuthedRequest = IncomingMessage & { auth?: AuthInfo };

/** MCP over Streamable HTTP for clients of both generations. */
export interface McpHttp extends AsyncDisposable {
  handle(request: AuthedRequest, response: ServerResponse): Promise<void>;
  /** Sessions of 2025 clients that are open now. */
  sessions(): number;
}

/** Streams and sessions of one process at most; a client that meets the bound is told to come again. */
const subscriptionsMax = 256;

/**
 * Clients of 2026-07-28 are served without a session, a server for each request; those of 2025 have one, since only so
 * can they be asked something and follow resources. Which of the two a request is, the SDK says.
 */
export function createMcpHttp(options: McpHttpOptions): McpHttp {
  const { services, logger, bodyMaxBytes, create = createMcpServer } = options;
  const confirmations = createConfirmations();
  const build = (): ReturnType<typeof createMcpServer> => create({ ...options, confirmations });
  const onerror = warning(logger, 'MCP over HTTP');
  const modern = createMcpHandler(build, {
    legacy: 'reject',
    bus: createChangeBus(services),
    maxSubscriptions: subscriptionsMax,
    maxRequestBodySize: bodyMaxBytes,
    onerror,
  });
  const sessions = createSessions({ build, bodyMaxBytes, onerror });
  const node = toNodeHandler(
    {
      fetch: async (sent, given) => {
        const { request, body } = await readOnce(sent);
        const parsed = body === undefined ? {} : { parsedBody: body };
        return (await isLegacyRequest(request, body, { maxRequestBodySize: bodyMaxBytes }))
          ? await sessions.fetch(request, { ...given, ...parsed })
          : await modern.fetch(request, { ...given, ...parsed });
      },
    },
    { maxRequestBodySize: bodyMaxBytes, onerror },
  );
  return {
    // The adapter's shape has no `undefined` in what may be absent.
    handle: (request, response) => node(request as Parameters<typeof node>[0], response),
    sessions: sessions.count,
    async [Symbol.asyncDispose]() {
      await Promise.all([modern.close(), sessions[Symbol.asyncDispose]()]);
    },
  };
}

/**
 * The request, and its body where that is JSON: told what it is, the SDK need not clone the request and read it for each
 * judgement anew, which is a fifth of what a small call costs. What is no JSON stays to be read, and judged, as it came.
 */
async function readOnce(sent: Request): Promise<{ readonly request: Request; readonly body?: unknown }> {
  if (sent.method !== 'POST' || !isJsonContentType(sent.headers.get('content-type')))
    return { request: sent };
  const text = await sent.text();
  const { url, method, headers, signal } = sent;
  try {
    return { request: sent, body: JSON.parse(text) as unknown };
  } catch {
    return { request: new Request(url, { method, headers, signal, body: text }) };
  }
}
