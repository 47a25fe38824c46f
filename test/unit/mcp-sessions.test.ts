import { McpServer } from '@modelcontextprotocol/server';
import { expect, test } from 'vitest';
import { createSessions } from '../../src/mcp/sessions.ts';

/** What bounds the sessions of 2025 clients, where a thousand processes' worth of them can be opened at once. */

const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

function post(body: object, session?: string): Request {
  return new Request('http://127.0.0.1/mcp', {
    method: 'POST',
    headers: session === undefined ? headers : { ...headers, 'mcp-session-id': session },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }),
  });
}

const initialize = {
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } },
};

test('beyond their number the one gives way that was not used for the longest time; what opens none leaves nothing', async () => {
  let built = 0;
  let closed = 0;
  const errors: string[] = [];
  await using sessions = createSessions({
    build: () => {
      const server = new McpServer({ name: 'x', version: '1' });
      built += 1;
      server.server.onclose = () => {
        closed += 1;
      };
      return server;
    },
    bodyMaxBytes: 10_000,
    onerror: (error) => errors.push(error.message),
  });
  const begin = async (): Promise<string> => {
    const response = await sessions.fetch(post(initialize), {});
    expect(response.status).toBe(200);
    await response.body?.cancel();
    return response.headers.get('mcp-session-id') ?? '';
  };
  const ping = async (session: string): Promise<number> => {
    const response = await sessions.fetch(post({ method: 'ping' }, session), {});
    await response.body?.cancel();
    return response.status;
  };
  const first = await begin();
  const second = await begin();
  for (let n = 2; n < 256; n += 1) await begin();
  expect(sessions.count()).toBe(256);
  expect(await ping(first)).toBe(200);
  await begin();
  expect(sessions.count()).toBe(256);
  expect([await ping(first), await ping(second)]).toEqual([200, 404]);

  const stray = await sessions.fetch(post({ method: 'ping' }), {});
  expect(stray.status).toBe(400);
  expect(errors).toEqual(['Bad Request: Server not initialized']);
  expect(sessions.count()).toBe(256);
  const ended = await sessions.fetch(
    new Request('http://127.0.0.1/mcp', { method: 'DELETE', headers: { 'mcp-session-id': first } }),
    {},
  );
  expect(ended.status).toBe(200);
  expect(await ping(first)).toBe(404);
  expect([sessions.count(), built - closed]).toEqual([255, 255]);
});
