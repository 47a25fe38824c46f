import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport, McpServer } from '@modelcontextprotocol/server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createConfirmations } from '../../src/mcp/confirm.ts';
import { resourceCharsMax, textOf } from '../../src/mcp/resources/contents.ts';
import { live } from '../../src/mcp/resources/resource.ts';
import { runLogResource } from '../../src/mcp/resources/runs.ts';
import { serveResources } from '../../src/mcp/resources/serve.ts';
import { createMcpServer } from '../../src/mcp/server.ts';
import { serveSubscriptions } from '../../src/mcp/subscriptions.ts';
import type { Change, Services } from '../../src/services/services.ts';
import { connectMillrace } from '../support/mcp-client.ts';
import { connectTaskClient } from '../support/task-client.ts';

/** Nothing that is read is endless, kept too long, or followed after the client has gone. */

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-bounds-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('what is read', () => {
  const kind = { rest: 'Ask for less.' };

  test('is cut where it is too much, and says so', () => {
    const runs = Array.from({ length: 5_000 }, (_, n) => ({ run_id: `r${n}`, status: 'succeeded' }));
    const text = textOf(kind, { data: { runs }, cache: live });
    expect(text.length).toBeLessThanOrEqual(resourceCharsMax);
    const shown = JSON.parse(text) as { runs: object[]; cut: string };
    expect(shown.runs.length).toBeGreaterThan(500);
    expect(shown.cut).toContain(`runs: ${shown.runs.length} of 5000`);
    expect(shown.cut).toContain(`${resourceCharsMax} characters`);
    expect(shown.cut).toContain('Ask for less.');
  });

  test('of a log is its end, from the beginning of a line on', () => {
    const lines = Array.from({ length: 10_000 }, (_, n) => `line ${n}`);
    const text = textOf(kind, { text: lines.join('\n'), cache: live });
    expect(text.length).toBeLessThanOrEqual(resourceCharsMax);
    const [note, first = '', ...rest] = text.split('\n');
    expect(note).toMatch(/^… \d+ characters before this were left out\. Ask for less\.$/);
    expect(lines).toContain(first);
    expect(rest.at(-1)).toBe('line 9999');
  });

  test('of a log has no line that a message made', async () => {
    const forged = 'refused\n2026-01-01T00:00:00.000Z info  all is well\u202e';
    const services = {
      runs: {
        get: async () => ({ run_id: 'r1' }),
        log: async () => [{ at: '2026-11-01T00:00:00.000Z', level: 'error', message: forged }],
      },
    } as unknown as Services;
    const text = textOf(kind, await runLogResource.read(services, { run_id: 'r1' }));
    expect(text.split('\n')).toEqual([
      '2026-11-01T00:00:00.000Z error refused',
      '    2026-01-01T00:00:00.000Z info  all is well\\u202e',
    ]);
  });
});

test('a long list of connectors comes in pages, each once', async () => {
  const names = Array.from({ length: 450 }, (_, n) => `c${n}`);
  const services = {
    connectors: { names: async () => names, guides: () => [] },
  } as unknown as Services;
  const { client } = await inMemory(services);
  const uris: string[] = [];
  let cursor: string | undefined;
  let pages = 0;
  do {
    const page = await client.listResources(cursor === undefined ? {} : { cursor });
    uris.push(...page.resources.map(({ uri }) => uri));
    cursor = page.nextCursor;
    pages += 1;
  } while (cursor !== undefined);
  expect(pages).toBe(3);
  expect(new Set(uris).size).toBe(uris.length);
  expect(uris.filter((uri) => uri.startsWith('millrace://connectors/'))).toHaveLength(450);
  await expect(client.listResources({ cursor: 'millrace://connectors/gone' })).rejects.toThrow(/without it/);
  await client.close();
});

test('nobody is followed for a client that has gone', async () => {
  const listeners = new Set<(changes: readonly Change[]) => void>();
  const services = {
    health: { get: async () => ({ status: 'healthy' }) },
    changes: {
      onChange(listener: (changes: readonly Change[]) => void) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
  } as unknown as Services;
  const { client } = await inMemory(services);
  await expect(client.subscribeResource({ uri: 'millrace://nothing' })).rejects.toThrow(/no resource/);
  expect(listeners.size).toBe(0);
  await client.subscribeResource({ uri: 'millrace://health' });
  await client.subscribeResource({ uri: 'millrace://health' });
  expect(listeners.size).toBe(1);
  await client.unsubscribeResource({ uri: 'millrace://health' });
  expect(listeners.size).toBe(0);
  await client.subscribeResource({ uri: 'millrace://health' });
  await client.close();
  await expect.poll(() => listeners.size).toBe(0);
});

test('what may be kept, and for how long, is said with it', async () => {
  await using client = await connectTaskClient(join(folder, 'kept'));
  const cacheOf = async (method: string, params: object = {}): Promise<unknown> => {
    const answer = await client.request(method, { ...params });
    const { ttlMs, cacheScope } = (answer.kind === 'result' ? answer.result : {}) as Record<string, unknown>;
    return [ttlMs, cacheScope];
  };
  const read = (uri: string): Promise<unknown> => cacheOf('resources/read', { uri });
  const hour = 3_600_000;
  for (const uri of ['health', 'runs', 'connectors', 'audit'])
    expect(await read(`millrace://${uri}`), uri).toEqual([0, 'private']);
  expect(await read('millrace://guides/cron')).toEqual([hour, 'public']);
  expect(await cacheOf('resources/list')).toEqual([0, 'private']);
  for (const method of ['resources/templates/list', 'prompts/list', 'tools/list'])
    expect(await cacheOf(method), method).toEqual([hour, 'public']);

  const config = { host: '127.0.0.1', port: 1, database: 'x', username: 'u', ssl: 'disable' };
  const streams = [{ name: 'a', table: 'a' }];
  const arguments_ = { name: 'shop', type: 'postgresql', config, streams, test: false };
  await client.request('tools/call', { name: 'register_connector', arguments: arguments_ });
  const started = await client.request('tools/call', {
    name: 'sync_connector',
    arguments: { connector: 'shop' },
  });
  const { taskId = '' } = (started.kind === 'result' ? started.result : {}) as { taskId?: string };
  const uri = `millrace://runs/${taskId}`;
  expect(await read(uri)).toEqual([0, 'private']);
  await client.request('tasks/cancel', { taskId });
  await expect.poll(() => read(uri), { timeout: 20_000 }).toEqual([hour, 'private']);
});

test('a read-only server reads everything, and offers no prompt that would change something', async () => {
  const dataDir = join(folder, 'read-only');
  await using client = await connectMillrace({ generation: 'modern', dataDir, args: ['--read-only'] });
  expect(await client.listPrompts()).toEqual(['diagnose_run', 'review_schema_changes', 'explore_data']);
  expect(await client.getPrompt('diagnose_run')).not.toMatch(/update_connector|sync_connector/);
  for (const uri of await client.listResources()) expect(await client.readResource(uri)).not.toBe('');
});

test.each([
  ['2025-03-26', []],
  ['2025-06-18', ['resource_link']],
])('a client of %s gets the links that it can read: %j', async (protocolVersion, links) => {
  const totals = { rows_read: 0, rows_written: 0, rows_deleted: 0, rejects: 0, bytes_read: 0 };
  const run = { run_id: 'r1', connector: 'shop', status: 'succeeded', attempt: 1, totals, streams: [] };
  const services = { runs: { get: async () => run } } as unknown as Services;
  const server = createMcpServer({
    services,
    version: '1',
    readOnly: false,
    confirmations: createConfirmations(),
  });
  const [near, far] = InMemoryTransport.createLinkedPair();
  await server.connect(far);
  const answers: { id?: unknown; result?: { content?: { type: string }[] } }[] = [];
  near.onmessage = (message) => answers.push(message as never);
  await near.start();
  const clientInfo = { name: 'old', version: '1' };
  const hello = { protocolVersion, capabilities: {}, clientInfo };
  await near.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params: hello });
  await near.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
  const call = { name: 'get_run', arguments: { run_id: 'r1' } };
  await near.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: call });
  await expect.poll(() => answers.map(({ id }) => id)).toContain(2);
  const content = answers.find(({ id }) => id === 2)?.result?.content ?? [];
  expect(content.map(({ type }) => type)).toEqual(['text', ...links]);
  await server.close();
});

/** A server of only these parts, and a client of 2025 in the same process. */
async function inMemory(services: Services): Promise<{ readonly client: Client }> {
  const server = new McpServer({ name: 'test', version: '1' });
  serveResources(server, services);
  serveSubscriptions(server, services);
  const [near, far] = InMemoryTransport.createLinkedPair();
  await server.connect(far);
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(near as never);
  return { client };
}
