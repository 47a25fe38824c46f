import type {
  CallToolResult,
  InputRequiredResult,
  McpServer,
  Result,
  ServerContext,
  Tool,
} from '@modelcontextprotocol/server';
import type { McpOptions } from '../../../src/mcp/server.ts';

/** What a fixture is called with. */
export interface Call {
  readonly args: Readonly<Record<string, unknown>>;
  readonly context: ServerContext;
  readonly server: McpServer;
  readonly options: McpOptions;
  /** Millrace's own `tools/call`, for fixtures that are one of its tools under another name. */
  own(name: string, args: Readonly<Record<string, unknown>>): Promise<CallToolResult | InputRequiredResult>;
}

/** A tool that the protocol's conformance suite asks for by name. */
export interface FixtureTool {
  readonly name: string;
  readonly inputSchema?: Tool['inputSchema'];
  call(call: Call): CallToolResult | InputRequiredResult | Promise<CallToolResult | InputRequiredResult>;
}

/** A result of one text. */
export function said(text: string): CallToolResult {
  return { content: [{ type: 'text', text }] };
}

/**
 * What serves a method so far, to be called by what is put before it. The SDK has this for its own subclasses only; without
 * it Millrace's server could not be looked at together with the suite's fixtures.
 */
export function servedBy<R extends Result>(
  server: McpServer,
  method: string,
): (request: object, context: ServerContext) => Promise<R> {
  const inner = server.server as unknown as {
    _getRequestHandler(method: string): ((request: object, context: ServerContext) => Promise<R>) | undefined;
  };
  const handler = inner._getRequestHandler(method);
  if (handler === undefined) throw new Error(`Nothing serves ${method}.`);
  return handler;
}
