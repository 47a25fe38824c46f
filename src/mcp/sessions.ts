import { randomUUID } from 'node:crypto';
import {
  type HandleRequestOptions,
  type McpServer,
  WebStandardStreamableHTTPServerTransport,
} from '@modelcontextprotocol/server';
import { createReplay } from './replay.ts';

export interface SessionsOptions {
  readonly build: () => McpServer;
  readonly bodyMaxBytes: number;
  readonly onerror: (error: Error) => void;
}

export interface Sessions extends AsyncDisposable {
  fetch(request: Request, given: HandleRequestOptions): Promise<Response>;
  count(): number;
}

interface Session {
  readonly id: string;
  readonly transport: WebStandardStreamableHTTPServerTransport;
  readonly server: McpServer;
  /** Whose it is; another principal's request does not find it. */
  readonly principal: string;
  usedAt: number;
}

/** Sessions at most; the one that was not used for the longest time gives way. */
const sessionsMax = 256;
/** A session that nobody used for so long is closed; the client begins another one when it comes back. */
const idleMs = 30 * 60_000;
const sweepMs = 60_000;
/** When a client that was cut off may ask for the rest of its answer. */
const retryMs = 1_000;

/** The sessionful leg of Streamable HTTP (2025-11-25 and before): bounded, and cleared of what nobody uses. */
export function createSessions({ build, bodyMaxBytes, onerror }: SessionsOptions): Sessions {
  const open = new Map<string, Session>();

  const drop = async (session: Session): Promise<void> => {
    open.delete(session.id);
    await session.server.close().catch(onerror);
  };
  const sweep = setInterval(() => {
    const limit = performance.now() - idleMs;
    for (const session of open.values()) if (session.usedAt < limit) void drop(session);
  }, sweepMs);
  sweep.unref();

  const begin = async (request: Request, given: HandleRequestOptions): Promise<Response> => {
    const server = build();
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: createReplay(),
      retryInterval: retryMs,
      maxRequestBodySize: bodyMaxBytes,
      onsessioninitialized: (id) => {
        const oldest = [...open.values()].sort((a, b) => a.usedAt - b.usedAt)[0];
        if (open.size >= sessionsMax && oldest !== undefined) void drop(oldest);
        open.set(id, { id, transport, server, principal: principalOf(given), usedAt: performance.now() });
      },
      onsessionclosed: (id) => {
        const session = open.get(id);
        if (session !== undefined) void drop(session);
      },
    });
    transport.onerror = onerror;
    await server.connect(transport);
    const response = await transport.handleRequest(request, given);
    // What was no initialization opened no session, and nothing of it is to stay.
    if (transport.sessionId === undefined || !open.has(transport.sessionId))
      await server.close().catch(onerror);
    return response;
  };

  return {
    count: () => open.size,
    async fetch(request, given) {
      const id = request.headers.get('mcp-session-id');
      if (id === null) return await begin(request, given);
      const session = open.get(id);
      if (session === undefined || session.principal !== principalOf(given)) return unknownSession();
      session.usedAt = performance.now();
      return await session.transport.handleRequest(request, given);
    },
    async [Symbol.asyncDispose]() {
      clearInterval(sweep);
      await Promise.all([...open.values()].map(drop));
    },
  };
}

function principalOf({ authInfo }: HandleRequestOptions): string {
  return authInfo?.clientId ?? '';
}

/** 404 is what tells a client to begin a new session (specification 2025-11-25, Streamable HTTP). */
function unknownSession(): Response {
  const error = { code: -32_001, message: 'There is no such session (any more): initialize a new one.' };
  return Response.json({ jsonrpc: '2.0', error, id: null }, { status: 404 });
}
