import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { McpServer } from '@modelcontextprotocol/server';
import { openApp } from '../../../src/app.ts';
import { createMetrics } from '../../../src/http/metrics.ts';
import { createDoorkeeper } from '../../../src/http/principals.ts';
import { serveHttp } from '../../../src/http/server.ts';
import { createMcpHttp } from '../../../src/mcp/http.ts';
import { success } from '../../../src/mcp/reply.ts';
import { runTasks } from '../../../src/mcp/run-tasks.ts';
import { createMcpServer, type McpOptions } from '../../../src/mcp/server.ts';
import { serveTasks } from '../../../src/mcp/tasks.ts';
import { syncConnector } from '../../../src/mcp/tools/sync-connector.ts';
import { askingTools } from './asking.ts';
import { contentTools } from './content.ts';
import { type FixtureTool, said } from './fixture.ts';
import { layPrompts, layResources, layTools } from './layers.ts';
import { serveSlowly, slowCompute } from './slow.ts';
import { createShelf, type Shelf, shelfTools, together } from './tasks.ts';

export interface ConformanceServer extends AsyncDisposable {
  /** Of the MCP endpoint. */
  readonly url: string;
}

/** Everything of `millrace serve` in this process, with what the protocol's conformance suite asks for laid over its MCP server. */
export async function startConformanceServer(): Promise<ConformanceServer> {
  await using opened = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'millrace-conformance-'));
  opened.defer(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, 'config.json');
  const millrace = { network: { allowPrivateHttp: ['127.0.0.1'] }, runs: { concurrent: 8 } };
  writeFileSync(config, JSON.stringify({ millrace }));
  const api = opened.use(await serveSlowly());
  const flags = { config, dataDir: join(folder, 'data'), readOnly: false, logLevel: 'error' };
  const { services, log, startBackground } = opened.use(
    await openApp({ flags, env: {}, actor: 'conformance' }),
  );
  await startBackground();
  const shelf = createShelf();
  const tools = [...contentTools, ...askingTools, ...shelfTools(shelf), slowCompute(api), greet];
  const mcp = opened.use(
    createMcpHttp({
      services,
      version: '0.0.0',
      readOnly: false,
      bodyMaxBytes: 4 * 1024 * 1024,
      logger: log,
      create: (options) => withFixtures(options, tools, shelf),
    }),
  );
  const metrics = opened.use(createMetrics({ services, sessions: mcp.sessions }));
  const http = opened.use(
    await serveHttp({
      host: '127.0.0.1',
      port: 0,
      allowedHosts: [],
      requestsPerSecond: 1_000,
      mcp: mcp.handle,
      services,
      doorkeeper: createDoorkeeper([], null),
      metrics,
      logger: log,
    }),
  );
  const parts = opened.move();
  return { url: `${http.origin}/mcp`, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}

const greet: FixtureTool = { name: 'greet', call: ({ args }) => said(`Hello, ${String(args['name'])}!`) };

/** Millrace's own server; logging besides, which it has no use for and the 2025 set asks about. */
function withFixtures(options: McpOptions, tools: readonly FixtureTool[], shelf: Shelf): McpServer {
  const server = createMcpServer(options);
  server.server.registerCapabilities({ logging: {} });
  layTools(server, options, tools);
  layPrompts(server, options);
  layResources(server);
  const runs = runTasks({
    services: options.services,
    resultOf: (run) => success(syncConnector, { run }, { links: true }),
  });
  serveTasks(server, { tasks: together(shelf, runs), callerOf: () => ({ actor: 'conformance' }) });
  return server;
}
