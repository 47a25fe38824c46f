import { fileURLToPath } from 'node:url';
import {
  Client as ModernClient,
  StreamableHTTPClientTransport as ModernHttp,
} from '@modelcontextprotocol/client';
import { StdioClientTransport as ModernTransport } from '@modelcontextprotocol/client/stdio';
import { Client as LegacyClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as LegacyTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as LegacyHttp } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

/** `modern`: protocol 2026-07-28 and no fallback. `legacy`: the 2025 protocols, through the SDK that clients of then use. */
export type Generation = 'modern' | 'legacy';

export const GENERATIONS: readonly Generation[] = ['modern', 'legacy'];

export interface ConnectOptions {
  readonly generation: Generation;
  /** Sent as `--data-dir`. */
  readonly dataDir: string;
  /** Further arguments of `millrace`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A person who answers forms; without one the client does not say that it can show any. */
  readonly person?: (message: string) => PersonsAnswer;
  /** Another program than this checkout's Millrace: command first, then its arguments. Nothing is added to it. */
  readonly command?: readonly [string, ...string[]];
}

export interface PersonsAnswer {
  readonly action: 'accept' | 'decline' | 'cancel';
  readonly content?: Readonly<Record<string, boolean | string>>;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly progress: number;
  readonly total?: number | undefined;
  readonly message?: string | undefined;
}

/** What a tool answered. `structured` is `{}` when there was none. */
export interface Reply {
  readonly text: string;
  readonly structured: Readonly<Record<string, unknown>>;
  readonly isError: boolean;
  /** Addresses of linked resources. */
  readonly links: readonly string[];
}

/** What a completion is asked for. */
export type Completing =
  | { readonly type: 'ref/prompt'; readonly name: string }
  | { readonly type: 'ref/resource'; readonly uri: string };

export interface ListedTool {
  readonly name: string;
  readonly title?: string | undefined;
  readonly description?: string | undefined;
  readonly inputSchema: Readonly<Record<string, unknown>>;
  readonly outputSchema?: Readonly<Record<string, unknown>> | undefined;
  readonly annotations?: Readonly<Record<string, unknown>> | undefined;
}

/** A real client with its own server process; disposing closes the client and ends the process. */
export interface MillraceClient extends AsyncDisposable {
  readonly pid: number;
  readonly protocolVersion: string;
  readonly instructions: string;
  listTools(): Promise<readonly ListedTool[]>;
  /** Both clients check `structuredContent` against the tool's output schema and reject when it does not fit. */
  call(name: string, args?: Readonly<Record<string, unknown>>, options?: CallOptions): Promise<Reply>;
  /** The structured answer of a call that has to succeed. */
  must<T = Readonly<Record<string, unknown>>>(
    name: string,
    args?: Readonly<Record<string, unknown>>,
    options?: CallOptions,
  ): Promise<T>;
  /** The addresses of all resources. */
  listResources(): Promise<readonly string[]>;
  /** A resource's text. */
  readResource(uri: string): Promise<string>;
  /** The addresses of all templates of resources. */
  listTemplates(): Promise<readonly string[]>;
  /** What an argument completes to; `filled` are the arguments that were given already. */
  complete(
    ref: Completing,
    argument: { readonly name: string; readonly value: string },
    filled?: Readonly<Record<string, string>>,
  ): Promise<readonly string[]>;
  listPrompts(): Promise<readonly string[]>;
  /** A prompt's text. */
  getPrompt(name: string, args?: Readonly<Record<string, string>>): Promise<string>;
  /** Follows resources, in the way of the generation. */
  follow(...uris: readonly string[]): Promise<Following>;
  /** Everything the server wrote to stderr so far. */
  stderr(): string;
  close(): Promise<void>;
}

/** Resources that are followed; disposing ends it. */
export interface Following extends AsyncDisposable {
  /** Addresses that were announced as changed so far. */
  readonly heard: readonly string[];
}

const MAIN = process.env['MILLRACE_TEST_DIST'] ? '../../dist/main.js' : '../../src/main.ts';
const CALL_TIMEOUT_MS = 60_000;
const CLIENT_INFO = { name: 'millrace-test', version: '1.0.0' };

/**
 * Starts Millrace on a data folder and connects a client of one generation to it. Lists the tools once, because
 * a client checks structured answers only against schemas that it has seen.
 */
export async function connectMillrace(options: ConnectOptions): Promise<MillraceClient> {
  const [command, ...args] = options.command ?? millraceCommand(options.dataDir, options.args);
  const env = { ...definedOnly(process.env), ...options.env };
  const server = { command, args, env, stderr: 'pipe' as const };
  return await connected(
    options.generation,
    options.generation === 'modern' ? modern(server, options.person) : legacy(server, options.person),
  );
}

/** Connects a client of one generation to a server that is already there, over Streamable HTTP. */
export async function connectHttp(options: HttpConnectOptions): Promise<MillraceClient> {
  const { generation, person } = options;
  return await connected(
    generation,
    generation === 'modern' ? modern(options, person) : legacy(options, person),
  );
}

async function connected(generation: Generation, wired: Wired): Promise<MillraceClient> {
  const said = collect(wired.stderr);
  try {
    await wired.connect();
    await wired.listTools();
  } catch (error) {
    await wired.close();
    throw new Error(`no ${generation} connection: ${String(error)}\n${said()}`);
  }
  const call: MillraceClient['call'] = async (name, given = {}, callOptions = {}) => {
    return replyOf(await wired.call({ name, arguments: { ...given } }, callOptions));
  };
  return {
    pid: wired.pid() ?? -1,
    protocolVersion: wired.protocolVersion() ?? '',
    instructions: wired.instructions() ?? '',
    listTools: wired.listTools,
    listResources: wired.listResources,
    readResource: wired.readResource,
    listTemplates: wired.listTemplates,
    complete: async (ref, argument, filled) =>
      await wired.complete({ ref, argument, ...(filled ? { context: { arguments: { ...filled } } } : {}) }),
    listPrompts: wired.listPrompts,
    getPrompt: (name, args) => wired.getPrompt({ name, arguments: { ...args } }),
    follow: (...uris) => wired.follow(uris),
    call,
    async must(name, given, callOptions) {
      const reply = await call(name, given, callOptions);
      if (reply.isError) throw new Error(`${name} failed: ${reply.text}\n${said()}`);
      return reply.structured as never;
    },
    stderr: said,
    close: wired.close,
    [Symbol.asyncDispose]: wired.close,
  };
}

/** The command that starts this checkout's Millrace on a data folder. */
export function millraceCommand(
  dataDir: string,
  args: readonly string[] = [],
): readonly [string, ...string[]] {
  return [process.execPath, fileURLToPath(new URL(MAIN, import.meta.url)), '--data-dir', dataDir, ...args];
}

export interface HttpConnectOptions {
  readonly generation: Generation;
  /** The MCP endpoint. */
  readonly url: string;
  readonly token?: string;
  readonly person?: ConnectOptions['person'];
}

type Server = StdioServer | HttpConnectOptions;

function headersOf({ token }: HttpConnectOptions): { headers: Record<string, string> } {
  return { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } };
}

interface StdioServer {
  readonly command: string;
  readonly args: string[];
  readonly env: Record<string, string>;
  readonly stderr: 'pipe';
}

/** What both generations of client can do, under one name each. */
interface Wired {
  readonly stderr: NodeJS.EventEmitter | null;
  connect(): Promise<void>;
  listTools(): Promise<readonly ListedTool[]>;
  listResources(): Promise<readonly string[]>;
  readResource(uri: string): Promise<string>;
  listTemplates(): Promise<readonly string[]>;
  complete(params: {
    ref: Completing;
    argument: { name: string; value: string };
    context?: { arguments: Record<string, string> };
  }): Promise<readonly string[]>;
  listPrompts(): Promise<readonly string[]>;
  getPrompt(params: { name: string; arguments: Record<string, string> }): Promise<string>;
  follow(uris: readonly string[]): Promise<Following>;
  call(
    params: { name: string; arguments: Record<string, unknown> },
    options: CallOptions,
  ): Promise<Readonly<Record<string, unknown>>>;
  pid(): number | null | undefined;
  protocolVersion(): string | undefined;
  instructions(): string | undefined;
  close(): Promise<void>;
}

type Person = ConnectOptions['person'];

function modern(server: Server, person: Person): Wired {
  const stdio = 'url' in server ? null : new ModernTransport(server);
  const http =
    'url' in server ? new ModernHttp(new URL(server.url), { requestInit: headersOf(server) }) : null;
  const client = new ModernClient(CLIENT_INFO, {
    versionNegotiation: { mode: { pin: '2026-07-28' } },
    ...(person ? { capabilities: { elicitation: { form: {} } } } : {}),
  });
  if (person)
    client.setRequestHandler('elicitation/create', ({ params }) => answerOf(person, params.message));
  const heard: string[] = [];
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => {
    heard.push(params.uri);
  });
  return {
    stderr: stdio?.stderr ?? null,
    connect: () => client.connect(transportOf(stdio, http)),
    listTools: async () => (await client.listTools()).tools as readonly ListedTool[],
    listResources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
    readResource: async (uri) => textOf((await client.readResource({ uri })).contents),
    listTemplates: async () =>
      (await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate),
    complete: async (params) => (await client.complete(params)).completion.values,
    listPrompts: async () => (await client.listPrompts()).prompts.map(({ name }) => name),
    getPrompt: async (params) =>
      textOf((await client.getPrompt(params)).messages.map(({ content }) => content)),
    async follow(uris) {
      const subscription = await client.listen({ resourceSubscriptions: [...uris] });
      return { heard, [Symbol.asyncDispose]: () => subscription.close() };
    },
    call: (params, options) => client.callTool(params, requestOptions(options)),
    pid: () => stdio?.pid,
    protocolVersion: () => client.getNegotiatedProtocolVersion(),
    instructions: () => client.getInstructions(),
    close: () => client.close(),
  };
}

function legacy(server: Server, person: Person): Wired {
  const stdio = 'url' in server ? null : new LegacyTransport(server);
  const http =
    'url' in server ? new LegacyHttp(new URL(server.url), { requestInit: headersOf(server) }) : null;
  const client = new LegacyClient(CLIENT_INFO, person ? { capabilities: { elicitation: {} } } : {});
  if (person) client.setRequestHandler(ElicitRequestSchema, ({ params }) => answerOf(person, params.message));
  const heard: string[] = [];
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
    heard.push(params.uri);
  });
  let negotiated: string | undefined;
  // The client offers the version it agreed on to any transport that wants to know; it keeps no getter for it.
  const transport = transportOf(stdio, http) as { setProtocolVersion?: (version: string) => void };
  const original = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (version) => {
    negotiated = version;
    original?.(version);
  };
  return {
    stderr: stdio?.stderr ?? null,
    connect: () => client.connect(transportOf(stdio, http)),
    listTools: async () => (await client.listTools()).tools as readonly ListedTool[],
    listResources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
    readResource: async (uri) => textOf((await client.readResource({ uri })).contents),
    listTemplates: async () =>
      (await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate),
    complete: async (params) => (await client.complete(params)).completion.values,
    listPrompts: async () => (await client.listPrompts()).prompts.map(({ name }) => name),
    getPrompt: async (params) =>
      textOf((await client.getPrompt(params)).messages.map(({ content }) => content)),
    async follow(uris) {
      for (const uri of uris) await client.subscribeResource({ uri });
      return {
        heard,
        async [Symbol.asyncDispose]() {
          for (const uri of uris) await client.unsubscribeResource({ uri });
        },
      };
    },
    call: (params, options) => client.callTool(params, undefined, requestOptions(options)),
    pid: () => stdio?.pid,
    protocolVersion: () => negotiated,
    instructions: () => client.getInstructions(),
    close: () => client.close(),
  };
}

function transportOf<A, B>(stdio: A | null, http: B | null): A | B {
  const transport = stdio ?? http;
  if (transport === null) throw new TypeError('no transport');
  return transport;
}

function answerOf(person: NonNullable<Person>, message: string): PersonsAnswerSent {
  const { action, content } = person(message);
  return content === undefined ? { action } : { action, content: { ...content } };
}

interface PersonsAnswerSent {
  [key: string]: unknown;
  action: PersonsAnswer['action'];
  content?: Record<string, boolean | string>;
}

interface RequestOptions {
  timeout: number;
  signal?: AbortSignal;
  onprogress?: (progress: Progress) => void;
}

function requestOptions(options: CallOptions): RequestOptions {
  return {
    timeout: options.timeoutMs ?? CALL_TIMEOUT_MS,
    ...(options.signal ? { signal: options.signal } : {}),
    ...(options.onProgress ? { onprogress: options.onProgress } : {}),
  };
}

function textOf(contents: readonly object[]): string {
  return contents.map((part) => ('text' in part ? String(part.text) : '')).join('\n');
}

function replyOf(result: Readonly<Record<string, unknown>>): Reply {
  const content = (result['content'] ?? []) as readonly { readonly text?: string; readonly uri?: string }[];
  return {
    text: content.flatMap((part) => part.text ?? []).join('\n'),
    links: content.flatMap((part) => part.uri ?? []),
    structured: (result['structuredContent'] ?? {}) as Readonly<Record<string, unknown>>,
    isError: result['isError'] === true,
  };
}

function collect(stream: NodeJS.EventEmitter | null): () => string {
  let said = '';
  stream?.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8');
  });
  return () => said;
}

function definedOnly(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
