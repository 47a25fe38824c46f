import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectHttp, GENERATIONS, type MillraceClient } from '../support/mcp-client.ts';
import { type ServeProcess, startServe } from '../support/serve-process.ts';

/**
 * What one principal holds and another tries to use. Runs and connectors belong to the installation: whoever may operate
 * follows and cancels any. What was agreed with one caller (a plan, a question, a session) is theirs alone.
 */

const tokens = { ann: 'ann-token-1', bob: 'bob-token-1', eve: 'eve-token-1' } as const;
const config = {
  http: {
    tokens: [
      { name: 'ann', token: '${env:MILLRACE_ANN}', scopes: ['admin'] },
      // What Ann's client calls itself could pass for this name, were the two put together carelessly.
      { name: 'ann/millrace', token: '${env:MILLRACE_BOB}', scopes: ['admin'] },
      { name: 'eve', token: '${env:MILLRACE_EVE}', scopes: ['read'] },
    ],
  },
};
const env = { MILLRACE_ANN: tokens.ann, MILLRACE_BOB: tokens.bob, MILLRACE_EVE: tokens.eve };

let serve: ServeProcess;
let ann: MillraceClient;
beforeAll(async () => {
  serve = await startServe({ config, env });
  ann = await connectHttp({ generation: 'modern', url: `${serve.origin}/mcp`, token: tokens.ann });
}, 60_000);
afterAll(async () => {
  await ann?.close();
  await serve?.[Symbol.asyncDispose]();
});

const register = (name: string): Promise<unknown> =>
  ann.must('register_connector', {
    name,
    type: 'postgresql',
    config: { host: '127.0.0.1', port: 1, database: 'x', username: 'x' },
    streams: [{ name: 't', table: 't' }],
    test: false,
  });

/** One request of 2026-07-28 as it is on the wire, by a client of any name. */
async function send(
  token: string,
  params: object,
  clientName = 'raw',
): Promise<{ result?: Result; error?: object }> {
  const { name } = params as { readonly name: string };
  const _meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientInfo': { name: clientName, version: '1' },
    'io.modelcontextprotocol/clientCapabilities': { elicitation: { form: {} } },
  };
  const response = await fetch(`${serve.origin}/mcp`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': name,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { ...params, _meta } }),
  });
  const text = await response.text();
  return JSON.parse(/^data: (.+)$/m.exec(text)?.[1] ?? text) as { result?: Result };
}

interface Result {
  readonly resultType?: string;
  readonly requestState?: string;
  readonly isError?: boolean;
  readonly structuredContent?: Readonly<Record<string, unknown>>;
}

describe.each(GENERATIONS)('a confirmation of %s', (generation) => {
  test('does nothing in the hands of anybody else, and still works for its owner', async () => {
    const url = `${serve.origin}/mcp`;
    await using owner = await connectHttp({ generation, url, token: tokens.ann });
    await using other = await connectHttp({ generation, url, token: tokens.bob });
    await using reader = await connectHttp({ generation, url, token: tokens.eve });
    const connector = `mine_${generation}`;
    await register(connector);
    const plan = await owner.must<{ confirmation: string }>('delete_connector', { connector });
    const stolen = { connector, confirmation: plan.confirmation };
    expect((await reader.call('delete_connector', stolen)).text).toMatch(/^scope_missing: /);
    expect((await other.call('delete_connector', stolen)).text).toMatch(/^confirmation_invalid: /);
    for (const forged of ['', 'x', plan.confirmation.slice(1), `${plan.confirmation}x`, 'a'.repeat(200)])
      expect((await owner.call('delete_connector', { connector, confirmation: forged })).text).toMatch(
        /^(confirmation_invalid|invalid_config): /,
      );
    expect(await owner.must('delete_connector', stolen)).toMatchObject({ deleted: true });
  });
});

test('a name put together of another one and a client is not that one', async () => {
  await register('joined');
  const given = { connector: 'joined' };
  // As `http:ann` and `millrace/x`, and as `http:ann/millrace` and `x`: the same text, were it not for the slash.
  await using owner = await connectHttp({
    generation: 'modern',
    url: `${serve.origin}/mcp`,
    token: tokens.ann,
  });
  const { confirmation } = await owner.must<{ confirmation: string }>('delete_connector', given);
  const reply = await send(
    tokens.bob,
    { name: 'delete_connector', arguments: { ...given, confirmation } },
    'millrace-test',
  );
  expect(reply.result?.structuredContent).toMatchObject({ error: { code: 'confirmation_invalid' } });
  const audit = await ann.readResource('millrace://audit');
  expect(audit).not.toContain('http:ann/millrace/');
});

test('a question that one was asked is not answered by another', async () => {
  await register('asked');
  const call = { name: 'delete_connector', arguments: { connector: 'asked' } };
  const question = (await send(tokens.ann, call)).result;
  expect(question?.resultType).toBe('input_required');
  const retry = {
    ...call,
    requestState: question?.requestState,
    inputResponses: { confirm: { action: 'accept', content: { confirm: true } } },
  };
  expect(await send(tokens.bob, retry)).toMatchObject({ error: { code: -32_602 } });
  expect(await send(tokens.eve, retry)).toMatchObject({ error: { code: -32_602 } });
  expect((await send(tokens.ann, retry)).result?.structuredContent).toMatchObject({ deleted: true });
});

test('a run is everybody’s who may operate; ids that are none are answered as such', async () => {
  await register('shared');
  await using bob = await connectHttp({
    generation: 'modern',
    url: `${serve.origin}/mcp`,
    token: tokens.bob,
  });
  await using eve = await connectHttp({
    generation: 'modern',
    url: `${serve.origin}/mcp`,
    token: tokens.eve,
  });
  const { run } = await ann.must<{ run: { run_id: string } }>('sync_connector', {
    connector: 'shared',
    wait_seconds: 0,
  });
  expect(await eve.must('get_run', { run_id: run.run_id })).toMatchObject({ run: { connector: 'shared' } });
  expect((await eve.call('cancel_run', { run_id: run.run_id })).text).toMatch(/^scope_missing: /);
  expect(await bob.must('cancel_run', { run_id: run.run_id })).toMatchObject({ run: { run_id: run.run_id } });
  for (const run_id of [
    '',
    'r',
    '../r',
    run.run_id.slice(0, -1),
    `${run.run_id} `,
    "' OR 1=1 --",
    '%',
    '*',
    '\u0000',
  ])
    for (const tool of ['get_run', 'cancel_run'])
      expect((await ann.call(tool, { run_id })).text, run_id).toMatch(/^(run_not_found|invalid_config): /);
});
