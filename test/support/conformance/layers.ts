import type {
  CallToolResult,
  CompleteResult,
  EmptyResult,
  GetPromptResult,
  InputRequiredResult,
  ListPromptsResult,
  ListResourcesResult,
  ListToolsResult,
  McpServer,
  ReadResourceResult,
  ServerContext,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { McpOptions } from '../../../src/mcp/server.ts';
import { png } from './content.ts';
import { type Call, type FixtureTool, said, servedBy } from './fixture.ts';
import { prompts } from './prompts.ts';

/** Puts fixture tools before Millrace's own: both are listed, and what is no fixture's goes on as ever. */
export function layTools(server: McpServer, options: McpOptions, fixtures: readonly FixtureTool[]): void {
  const list = servedBy<ListToolsResult>(server, 'tools/list');
  const call = servedBy<CallToolResult | InputRequiredResult>(server, 'tools/call');
  registerHeaderTool(server);
  const header = {
    list: servedBy<ListToolsResult>(server, 'tools/list'),
    call: servedBy<CallToolResult>(server, 'tools/call'),
  };
  server.server.setRequestHandler('tools/list', async (request, context) => {
    const own = await list(request, context);
    const { tools } = await header.list(request, context);
    return { ...own, tools: [...fixtures.map(listed), ...tools, ...own.tools] };
  });
  server.server.setRequestHandler('tools/call', async (request, context) => {
    const { name, arguments: args = {} } = request.params;
    if (name === headerTool) return await header.call(request, context);
    const fixture = fixtures.find((one) => one.name === name);
    if (fixture === undefined) return await call(request, context);
    const own: Call['own'] = (tool, given) =>
      call({ ...request, params: { ...request.params, name: tool, arguments: given } }, context);
    return await fixture.call({ args, context, server, options, own });
  });
}

const headerTool = 'test_parameter_in_a_header';

/** A parameter that a header repeats (SEP-2243): the SDK compares the two only for tools of its own registry. */
function registerHeaderTool(server: McpServer): void {
  for (const method of ['tools/list', 'tools/call']) server.server.removeRequestHandler(method);
  const region = z.string().meta({ 'x-mcp-header': 'Region' });
  server.registerTool(
    headerTool,
    { description: described(headerTool), inputSchema: z.object({ region }) },
    (args) => said(args.region),
  );
  // The registry says that its list may change; Millrace's does not while it runs.
  server.server.registerCapabilities({ tools: { listChanged: false } });
}

function listed({ name, inputSchema = { type: 'object' } }: FixtureTool): ListToolsResult['tools'][number] {
  return { name, description: described(name), inputSchema };
}

function described(name: string): string {
  return `A fixture of the conformance suite: ${name}.`;
}

/** The same for prompts, and for what their arguments complete to. */
export function layPrompts(server: McpServer, options: McpOptions): void {
  const list = servedBy<ListPromptsResult>(server, 'prompts/list');
  const get = servedBy<GetPromptResult>(server, 'prompts/get');
  const complete = servedBy<CompleteResult>(server, 'completion/complete');
  const find = (name: string) => prompts.find((one) => one.listed.name === name);
  server.server.setRequestHandler('prompts/list', async (request, context) => {
    const own = await list(request, context);
    return { ...own, prompts: [...prompts.map((one) => one.listed), ...own.prompts] };
  });
  server.server.setRequestHandler('prompts/get', async (request, context) => {
    const args = request.params.arguments ?? {};
    const fixture = find(request.params.name);
    return (await fixture?.get({ args, context, server, options })) ?? (await get(request, context));
  });
  server.server.setRequestHandler('completion/complete', async (request, context) => {
    const { ref } = request.params;
    if (ref.type !== 'ref/prompt' || find(ref.name) === undefined) return await complete(request, context);
    return { completion: { values: ['paris', 'park'], total: 2, hasMore: false } };
  });
}

const template = /^test:\/\/template\/(\w+)\/data$/;

/** The same for resources. What the suite follows is the list of runs under another name. */
export function layResources(server: McpServer): void {
  const list = servedBy<ListResourcesResult>(server, 'resources/list');
  const read = servedBy<ReadResourceResult>(server, 'resources/read');
  server.server.setRequestHandler('resources/list', async (request, context) => {
    const own = await list(request, context);
    return { ...own, resources: [{ uri: 'test://static-text', name: 'static-text' }, ...own.resources] };
  });
  server.server.setRequestHandler('resources/read', async (request, context) => {
    const { uri } = request.params;
    if (uri === 'test://static-text') return { contents: [{ uri, mimeType: 'text/plain', text: 'A text.' }] };
    if (uri === 'test://static-binary')
      return { contents: [{ uri, mimeType: png.mimeType, blob: png.data }] };
    const id = template.exec(uri)?.[1];
    if (id === undefined) return await read(request, context);
    return { contents: [{ uri, mimeType: 'application/json', text: JSON.stringify({ id }) }] };
  });
  for (const method of ['resources/subscribe', 'resources/unsubscribe'] as const) {
    const own = servedBy<EmptyResult>(server, method);
    server.server.setRequestHandler(method, async (request, context: ServerContext) => {
      const { uri } = request.params;
      const known = uri === 'test://watched-resource' ? 'millrace://runs' : uri;
      return await own({ ...request, params: { ...request.params, uri: known } }, context);
    });
  }
}
