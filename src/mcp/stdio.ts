import { PassThrough, type Readable, type Writable } from 'node:stream';
import type { JSONRPCMessage, McpServer } from '@modelcontextprotocol/server';
import { StdioServerTransport, serveStdio } from '@modelcontextprotocol/server/stdio';
import { createConfirmations } from './confirm.ts';
import { warning } from './logger.ts';
import { createMcpServer, type McpOptions } from './server.ts';
import { followListens } from './subscriptions.ts';

export interface StdioOptions extends Omit<McpOptions, 'confirmations'> {
  /** Absent: the process's own. */
  readonly stdin?: Readable;
  readonly stdout?: Writable;
}

export interface ServedStdio {
  /** Resolves when the client has gone: stdin ended, or stdout broke. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

/**
 * The SDK stops answering the moment stdin ends, and `printf '…' | millrace` ends it at once. So requests that
 * have come are given this long to be answered; together with the rest of leaving it stays under 2 s.
 */
const drainMs = 400;

/** Serves MCP over stdio, to clients of both protocol generations, until stdin ends. */
export function serveMcpStdio(options: StdioOptions): ServedStdio {
  const { promise: closed, resolve: left } = Promise.withResolvers<void>();
  const open = openRequests();
  const stdin = options.stdin ?? process.stdin;
  const input = new PassThrough();
  stdin.pipe(input, { end: false });
  const ended = (): void => void open.settled(drainMs).then(() => input.end());
  for (const event of ['end', 'close', 'error'] as const) stdin.once(event, ended);

  const transport = new StdioServerTransport(input, options.stdout ?? process.stdout);
  const send = transport.send.bind(transport);
  transport.send = async (message) => {
    await send(message);
    open.answered(message);
  };
  const confirmations = createConfirmations();
  let server: McpServer | undefined;
  const listens = followListens(options.services, () => server);
  const create = (): McpServer => {
    server = createMcpServer({ ...options, confirmations });
    return server;
  };
  const handle = serveStdio(create, {
    transport,
    onerror: warning(options.logger, 'MCP over stdio'),
  });
  // The entry has set its own handlers by now; these go around them.
  const { onmessage, onclose } = transport;
  transport.onmessage = (message) => {
    open.came(message);
    listens.came(message);
    onmessage?.(message);
  };
  transport.onclose = () => {
    listens.close();
    onclose?.();
    // A stdin that is still read would keep the process alive.
    stdin.unpipe(input).pause();
    left();
  };
  return { closed, close: () => handle.close() };
}

/** Which requests have come and are not answered yet. */
function openRequests(): {
  came(message: JSONRPCMessage): void;
  answered(message: JSONRPCMessage): void;
  /** Resolves when none is open, or after `ms`. */
  settled(ms: number): Promise<void>;
} {
  const open = new Set<string | number>();
  let waiting: () => void = () => undefined;
  const closeOne = (id: unknown): void => {
    open.delete(id as string | number);
    if (open.size === 0) waiting();
  };
  return {
    came(message) {
      if (!('method' in message)) return;
      // What is listened for has no answer before the end.
      if ('id' in message && message.method !== 'subscriptions/listen') open.add(message.id);
      // A cancelled request is never answered.
      else if (message.method === 'notifications/cancelled') closeOne(message.params?.['requestId']);
    },
    answered(message) {
      if (!('method' in message)) closeOne(message.id);
    },
    settled: (ms) =>
      new Promise((resolve) => {
        if (open.size === 0) return resolve();
        const timer = setTimeout(resolve, ms);
        waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
  };
}
