import {
  type CallToolResult,
  CLIENT_INFO_META_KEY,
  type InputRequiredResult,
  isInputRequiredResult,
  McpServer,
  ProtocolError,
  ProtocolErrorCode,
  type ServerContext,
  type ToolAnnotations,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import { asMillraceError, faultOf, MillraceError } from '../core/errors.ts';
import type { Run } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import type { Toolset } from '../core/toolsets.ts';
import type { Caller, Scope, Services } from '../services/services.ts';
import { cleanText } from './clean.ts';
import { abilitiesOf } from './client-abilities.ts';
import { serveCompletions } from './completions.ts';
import { askFirst, type Confirmations } from './confirm.ts';
import { instructions } from './instructions.ts';
import { inputJsonSchema, type JsonSchema, outputJsonSchema } from './json-schema.ts';
import type { Logger } from './logger.ts';
import { createProgress } from './progress.ts';
import { servePrompts } from './prompts/serve.ts';
import { failure, success } from './reply.ts';
import { serveResources } from './resources/serve.ts';
import { runTasks, taskOf } from './run-tasks.ts';
import { offeringOnly, type Serving, servedTools, setLeftOut } from './served.ts';
import { serveSubscriptions } from './subscriptions.ts';
import { serveTasks, taskResult } from './tasks.ts';
import type { CallContext, Effects, Output, Tool } from './tool.ts';
import { getRun } from './tools/get-run.ts';
import { tools } from './tools/index.ts';
import { syncConnector } from './tools/sync-connector.ts';

export interface McpOptions extends Serving {
  readonly services: Services;
  /** The program's version, as clients show it. */
  readonly version: string;
  /** Signs what goes out with a question and comes back with a person's answer. */
  readonly confirmations: Confirmations;
  /** Hears of mistakes of ours as errors, of the clients' as warnings. */
  readonly logger?: Logger;
}

/** The list changes only with the program, so a client may keep it for as long as it likes; an hour is plenty. */
const listTtlMs = 60 * 60 * 1_000;
const listHint = { ttlMs: listTtlMs, cacheScope: 'public' } as const;

/**
 * The MCP server: cheap to build (over HTTP one is built per request), all state behind the services. The handlers
 * are set on the SDK's inner server, because its own ones would answer a wrong argument in their words, not ours.
 */
export function createMcpServer(options: McpOptions): McpServer {
  const server = new McpServer(
    { name: 'millrace', title: 'Millrace', version: options.version },
    {
      instructions: instructions(namesServed(options)),
      cacheHints: { 'tools/list': listHint },
      requestState: { verify: options.confirmations.verify },
    },
  );
  server.server.registerCapabilities({ tools: {} });
  server.server.setRequestHandler('tools/list', () => ({ tools: [...listTools(options)] }));
  const callFrom = (context: ServerContext): CallContext =>
    callContext(context, clientName(context) ?? server.server.getClientVersion()?.name ?? 'unknown');
  server.server.setRequestHandler('tools/call', (request, context) => {
    const { name, arguments: args } = request.params;
    return callTool(options, { name, args, request: context, server }, callFrom(context));
  });
  serveResources(server, options.services);
  serveSubscriptions(server, options.services);
  serveCompletions(server, options.services);
  const served = namesServed(options);
  servePrompts(server, served);
  const resultOf = (run: Run): CallToolResult =>
    success(syncConnector, offeringOnly(served, { run }), { links: true });
  if (served.has(getRun.name))
    serveTasks(server, {
      tasks: runTasks({ services: options.services, resultOf }),
      callerOf: (context) => callFrom(context).caller,
    });
  return server;
}

/** A tool as `tools/list` shows it. */
export interface ListedTool {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly inputSchema: JsonSchema;
  readonly outputSchema: JsonSchema;
  readonly annotations: ToolAnnotations;
}

let listed: ReadonlyMap<string, ListedTool> | undefined;

/** What `tools/list` answers. Each is made from its tool once: it is the same for every server of this program. */
export function listTools(serving: Serving): readonly ListedTool[] {
  listed ??= new Map(tools.map((tool) => [tool.name, listedTool(tool)]));
  return servedTools(serving).flatMap(({ name }) => listed?.get(name) ?? []);
}

function namesServed(serving: Serving): ReadonlySet<string> {
  return new Set(servedTools(serving).map(({ name }) => name));
}

function listedTool(tool: Tool): ListedTool {
  return {
    name: tool.name,
    title: tool.title,
    description: tool.description,
    inputSchema: inputJsonSchema(tool.listed),
    outputSchema: outputJsonSchema(tool.output),
    annotations: annotationsOf(tool.effects),
  };
}

/** All four hints, always: the protocol's defaults are the worst case. */
function annotationsOf(effects: Effects): ToolAnnotations {
  return {
    readOnlyHint: !effects.mutates,
    destructiveHint: effects.destructive ?? false,
    idempotentHint: effects.idempotent ?? !effects.mutates,
    openWorldHint: effects.openWorld ?? false,
  };
}

async function callTool(
  options: McpOptions,
  call: {
    readonly name: string;
    readonly args: unknown;
    readonly request: ServerContext;
    readonly server: McpServer;
  },
  context: CallContext,
): Promise<CallToolResult | InputRequiredResult> {
  const tool = tools.find(({ name }) => name === call.name);
  if (tool === undefined) throw unknownTool(call.name, options);
  const set = setLeftOut(tool, options);
  if (set !== undefined) throw outOfSets(tool.name, set);
  const served = namesServed(options);
  const offered = (output: Output): Output => offeringOnly(served, output);
  try {
    if (options.readOnly && tool.effects.mutates) throw notHere(tool.name);
    const { services, confirmations } = options;
    const { args, request } = call;
    const { form, tasks, links } = abilitiesOf(call.server, request);
    const asked = form ? await askFirst({ tool, args, services, context }, confirmations, request) : null;
    if (isInputRequiredResult(asked)) return asked;
    if (tasks && tool.start !== undefined)
      return taskResult(taskOf(await tool.start(services, args, context)));
    const output = asked ?? (await tool.call(services, args, context));
    return success(tool, offered(output), { links });
  } catch (error) {
    const known = asMillraceError(error);
    if (known.code === 'internal') {
      options.logger?.error(
        { event: 'tool_failed', tool: tool.name, code: known.code, detail: faultOf(error) },
        known.message,
      );
    }
    return failure(known, offered);
  }
}

/** A name that is no tool is a mistake in the protocol, and answered as one; with the names that are near. */
function unknownTool(name: string, serving: Serving): ProtocolError {
  const known = [...namesServed(serving)];
  return new ProtocolError(
    ProtocolErrorCode.InvalidParams,
    `There is no tool "${cleanText(name.slice(0, 100))}". ${suggestion(name, known)}`,
  );
}

/** To this server such a tool is none; who meets it all the same hears why. */
function outOfSets(tool: string, set: Toolset): ProtocolError {
  return new ProtocolError(
    ProtocolErrorCode.InvalidParams,
    `${tool} is not served: this server was started with --toolsets and without "${set}". Whoever starts it can add that.`,
  );
}

function notHere(tool: string): MillraceError {
  return new MillraceError('read_only', `This server is read-only, so ${tool} is not served.`, {
    hint: 'Whoever starts the server can leave out --read-only; looking, testing and querying work as they are.',
  });
}

/** Longer names of clients are of no use in an audit log. */
const clientChars = 60;
const clientInfo = z.object({ name: z.string() });

/** Who calls, from the request itself: clients of 2026 say it in every request, earlier ones once. */
function clientName(context: ServerContext): string | undefined {
  const envelope: Readonly<Record<string, unknown>> = context.mcpReq.envelope ?? {};
  return clientInfo.safeParse(envelope[CLIENT_INFO_META_KEY]).data?.name;
}

/** Over HTTP the principal whom the door has let in, with what they may have done; over stdio whoever started the process. */
function callerOf(context: ServerContext, client: string): Caller {
  const auth = context.http?.authInfo;
  if (auth === undefined) return { actor: `mcp:${client}` };
  const scopes = new Set(SCOPES.filter((scope) => auth.scopes.includes(scope)));
  // What a client calls itself stands behind the first slash, and cannot pass for a part of the principal.
  return { actor: `http:${auth.clientId.replaceAll('/', '%2f')}/${client}`, scopes };
}

const SCOPES = ['read', 'operate', 'admin'] as const satisfies readonly Scope[];

function callContext(context: ServerContext, client: string): CallContext {
  const { signal, _meta, notify } = context.mcpReq;
  const caller = callerOf(context, cleanText(client.slice(0, clientChars)));
  const progressToken = _meta?.progressToken;
  if (progressToken === undefined) return { caller, signal };
  const onRun = createProgress((update) => {
    // The client may have gone meanwhile; the answer to its request is lost in the same way.
    notify({ method: 'notifications/progress', params: { progressToken, ...update } }).catch(() => undefined);
  }, Date.now);
  return { caller, signal, onRun };
}
