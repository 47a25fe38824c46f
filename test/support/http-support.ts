import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import type { HostServices } from '../../src/connectors/connector.ts';
import { createLoneHost } from '../../src/connectors/lone-host.ts';
import type { Resolve } from '../../src/connectors/rest-api/http/addresses.ts';
import type { ClientSettings, HttpClient, HttpRequest } from '../../src/connectors/rest-api/http/client.ts';
import { createClient } from '../../src/connectors/rest-api/http/conversation.ts';
import { MillraceError } from '../../src/core/errors.ts';
import { testTls } from './postgres-tls.ts';

/** A request as a server saw it. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  /** Milliseconds, of `performance.now()`. */
  readonly at: number;
  readonly version: string;
}

export interface Served extends AsyncDisposable {
  readonly port: number;
  readonly origin: string;
  readonly seen: Seen[];
  /** Connections since the start. */
  readonly connections: () => number;
}

/** Answers one request; what it was is read already. */
export type Answerer = (request: Seen, response: ServerResponse, count: number) => void | Promise<void>;

/** An HTTP server of a few lines, for what real ones do not do. */
export async function serve(
  answer: Answerer,
  {
    host = '127.0.0.1',
    port = 0,
    tls = false,
  }: { readonly host?: string; readonly port?: number; readonly tls?: boolean } = {},
): Promise<Served> {
  const seen: Seen[] = [];
  let connections = 0;
  const sockets = new Set<Socket>();
  const listen = (request: IncomingMessage, response: ServerResponse): void => {
    const at = performance.now();
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('error', () => undefined);
    request.on('end', () => {
      const { method = '', url = '', headers, httpVersion } = request;
      const one = { method, url, headers, body: Buffer.concat(chunks).toString(), at, version: httpVersion };
      seen.push(one);
      void Promise.resolve(answer(one, response, seen.length)).catch(() => response.destroy());
    });
  };
  const server = tls
    ? createSecureServer({ key: testTls.key, cert: testTls.cert, allowHTTP1: true }, listen as never)
    : createServer(listen as RequestListener);
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
  });
  server.on('sessionError', () => undefined);
  await new Promise<void>((settle) => server.listen(port, host, settle));
  const bound = (server.address() as AddressInfo).port;
  return {
    port: bound,
    origin: `${tls ? 'https' : 'http'}://${host === '127.0.0.1' && tls ? 'localhost' : host}:${bound}`,
    seen,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((settle) => server.close(() => settle()));
    },
  };
}

/** A TCP server that answers whatever comes with the bytes given, then ends or stays. For HTTP no library would send. */
export async function serveBytes(answer: (socket: Socket, count: number) => void): Promise<Served> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    connections += 1;
    const count = connections;
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.once('data', () => answer(socket, count));
  });
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    origin: `http://127.0.0.1:${port}`,
    seen: [],
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((settle) => server.close(() => settle()));
    },
  };
}

/** A client with quick retries that may reach what listens on 127.0.0.1. */
export function clientOf(
  base: string,
  settings: Partial<ClientSettings> = {},
  { host = createLoneHost(), resolve }: { readonly host?: HostServices; readonly resolve?: Resolve } = {},
): HttpClient {
  const whole: ClientSettings = {
    baseUrl: new URL(base),
    auth: { type: 'none' },
    headers: {},
    rateLimit: { concurrency: 8 },
    timeoutMs: 3_000,
    maxPageBytes: 50_000_000,
    network: { allow: [], allowPrivateHttp: ['127.0.0.1', 'localhost'] },
    retries: { times: 3, backoffMs: [5, 20], waitMs: 3_000 },
    ...settings,
  };
  return createClient(whole, host, resolve);
}

/** A GET, idempotent. */
export function get(url: string, more: Partial<HttpRequest> = {}): HttpRequest {
  return { method: 'GET', url: new URL(url), headers: {}, idempotent: true, ...more };
}

/** For tests that stop nothing. */
export const never: AbortSignal = new AbortController().signal;

/** The text of the answer. */
export async function textOf(client: HttpClient, request: HttpRequest): Promise<string> {
  return await client.ask(request, (response) => response.text(100_000_000), never);
}

/** The error that something ends with; fails when it ends well. */
export async function failureOf(work: Promise<unknown>): Promise<MillraceError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
  throw new Error('it went well');
}
