import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { MillraceError } from '../core/errors.ts';

/** A real MCP client talking to this very program over stdio. */
export interface Conversation extends AsyncDisposable {
  readonly server: string;
  readonly protocol: string;
  readonly tools: number;
  /** Calls a tool; its structured answer. Throws what the tool answered as an error. */
  call(tool: string, args: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>;
}

interface Options {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly show: (tool: string, args: Readonly<Record<string, unknown>>) => void;
}

/** Launches the server as a client would. */
export async function connectToSelf({ dataDir, env, show }: Options): Promise<Conversation> {
  const main = fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : './main.js', import.meta.url),
  );
  const client = new Client(
    { name: 'millrace-demo', version: '1' },
    { versionNegotiation: { mode: 'auto' } },
  );
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [main, '--data-dir', dataDir, '--log-level', 'error'],
    env: Object.fromEntries(
      Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
    stderr: 'inherit',
  });
  await client.connect(transport);
  const { tools } = await client.listTools();
  return {
    server: client.getServerVersion()?.name ?? 'millrace',
    protocol: client.getNegotiatedProtocolVersion() ?? 'unknown',
    tools: tools.length,
    async call(tool, args) {
      show(tool, args);
      const result = await client.callTool({ name: tool, arguments: { ...args } });
      if (result.isError === true) throw toolError(result.structuredContent);
      return result.structuredContent as Record<string, unknown>;
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}

function toolError(structured: unknown): MillraceError {
  const error = (structured as { readonly error?: Parameters<typeof MillraceError.fromView>[0] } | undefined)
    ?.error;
  if (error !== undefined) return MillraceError.fromView(error);
  return new MillraceError('internal', 'A tool failed without saying why.', {
    hint: 'Report this with what the demo has printed.',
  });
}
