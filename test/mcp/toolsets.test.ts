import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readToolsets, TOOLSETS } from '../../src/core/toolsets.ts';
import { offeringOnly, servedTools, toolsOf } from '../../src/mcp/served.ts';
import { tools } from '../../src/mcp/tools/index.ts';
import { connectHttp, connectMillrace, GENERATIONS, type MillraceClient } from '../support/mcp-client.ts';
import { millrace } from '../support/program.ts';
import { startServe } from '../support/serve-process.ts';

/** `--toolsets` narrows what a server offers, and what it does when it is called all the same. */

const ALWAYS = ['list_connectors', 'get_connector', 'get_health'];
const DATA = ['list_connectors', 'get_connector', 'describe_data', 'query_data', 'get_health'];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-toolsets-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the sets', () => {
  test('have every tool once, but for those that are always served', () => {
    const inSets = TOOLSETS.flatMap((set) => toolsOf[set].map(({ name }) => name));
    expect([...inSets, ...ALWAYS].toSorted()).toEqual(tools.map(({ name }) => name).toSorted());
  });

  test('add up, in the order of the list, and read-only narrows them further', () => {
    const names = (serving: Parameters<typeof servedTools>[0]): readonly string[] =>
      servedTools(serving).map(({ name }) => name);
    expect(names({ readOnly: false })).toEqual(tools.map(({ name }) => name));
    expect(names({ readOnly: false, toolsets: TOOLSETS })).toEqual(tools.map(({ name }) => name));
    expect(names({ readOnly: false, toolsets: ['data'] })).toEqual(DATA);
    expect(names({ readOnly: true, toolsets: ['sync'] })).toEqual([
      'list_connectors',
      'get_connector',
      'get_run',
      'list_runs',
      'list_rejects',
      'get_health',
    ]);
  });

  test.each([
    ['data', ['data']],
    ['data,setup', ['setup', 'data']],
    [' sync , data ', ['sync', 'data']],
    ['data,data', ['data']],
  ])('%j is read', (text, sets) => expect(readToolsets(text)).toEqual(sets));

  test.each([
    ['sinc', 'Did you mean "sync"?'],
    ['data,setupp', 'Did you mean "setup"?'],
    ['', 'Sets: setup, sync, data'],
    ['Data', 'Did you mean "data"?'],
  ])('%j is refused, and the hint helps', (text, hint) => {
    expect(() => readToolsets(text)).toThrow(
      expect.objectContaining({ code: 'invalid_config', hint: expect.stringContaining(hint) }),
    );
  });

  test('leave no offer of a call that is not served, wherever it stands, and nothing else out', () => {
    const [kept, hidden] = [{ tool: 'query_data' }, { tool: 'sync_connector' }];
    const value = {
      run: { next_actions: [hidden, kept], error: { next_actions: [hidden] } },
      rows: [[hidden, null, 'sync_connector']],
      body: { next_actions: [null, 7, { tool: 'none of ours' }] },
    };
    expect(offeringOnly(new Set(DATA), value)).toEqual({
      ...value,
      run: { next_actions: [kept], error: { next_actions: [] } },
    });
  });
});

async function answersOnlyData(client: MillraceClient): Promise<void> {
  expect((await client.listTools()).map(({ name }) => name)).toEqual(DATA);
  expect(await client.listPrompts()).toEqual(['explore_data']);
  expect(client.instructions).toContain('looks and answers');
  await expect(client.call('cancel_run', { run_id: 'r1' })).rejects.toThrow(/--toolsets and without "sync"/);
  await expect(client.call('register_connector', {})).rejects.toThrow(/--toolsets and without "setup"/);
  await expect(client.call('describe', {})).rejects.toThrow(/Did you mean "describe_data"/);
  await expect(client.getPrompt('set_up_connector')).rejects.toThrow(/no prompt/);
  const reply = await client.call('get_connector', { connector: 'none' });
  expect(reply.text).toMatch(/^connector_not_found: /);
  expect(reply.text).not.toMatch(/Next: (register|list_connector_types)/);
}

describe.each(GENERATIONS)('a %s client', (generation) => {
  test('is served the set and no more over stdio', async () => {
    const dataDir = join(folder, generation);
    await using client = await connectMillrace({ generation, dataDir, args: ['--toolsets', 'data'] });
    await answersOnlyData(client);
  });

  test('and over HTTP', async () => {
    await using serve = await startServe({ args: ['--toolsets', 'data'] });
    await using client = await connectHttp({ generation, url: `${serve.origin}/mcp` });
    await answersOnlyData(client);
  });
});

test('an unknown set is a call that makes no sense', async () => {
  const refused = await millrace(['--toolsets', 'dta', '--data-dir', join(folder, 'never')]);
  expect(refused.code).toBe(2);
  expect(refused.err).toContain('invalid_config: There is no toolset "dta".');
  expect(refused.err).toContain('Did you mean "data"?');
});
