import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { installed } from '../support/installed.ts';
import { connectMillrace } from '../support/mcp-client.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-example-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Example {
  readonly mcpServers: {
    readonly millrace: {
      readonly command: string;
      readonly args: readonly string[];
      readonly env: Record<string, string>;
    };
  };
  readonly millrace: Record<string, unknown>;
}

function example(): Example {
  return JSON.parse(readFileSync(join(root, 'mcp.config.example.json'), 'utf8')) as Example;
}

function command(args: readonly string[], config: string): readonly [string, ...string[]] {
  return installed(args.map((arg) => (arg === './mcp.config.json' ? config : arg)));
}

test('the example starts what it names, with the folder it names', { timeout: 60_000 }, async () => {
  const { mcpServers } = example();
  const config = join(folder, 'mcp.config.json');
  writeFileSync(config, JSON.stringify(example()));
  const [npx, yes, name, ...args] = [mcpServers.millrace.command, ...mcpServers.millrace.args];
  expect([npx, yes, name]).toEqual(['npx', '-y', 'millrace']);
  await using client = await connectMillrace({
    generation: 'modern',
    dataDir: folder,
    command: command(args, config),
    env: mcpServers.millrace.env,
  });
  const health = await client.must<{ status: string; storage: { data_dir: string } }>('get_health');
  expect(health.status).toBe('healthy');
  expect(health.storage.data_dir).toBe(join(folder, '.millrace'));
});

test('connectors of the config file are registered at start, changed when the file changes, and left alone when it does not', {
  timeout: 60_000,
}, async () => {
  const config = join(folder, 'mcp.config.json');
  const shop = {
    name: 'shop',
    type: 'postgresql',
    config: {
      host: 'db.invalid',
      database: 'shop',
      username: 'reader',
      password: '${env:MILLRACE_SHOP_PASSWORD}',
    },
    streams: [{ name: 'orders', table: 'public.orders', primary_key: ['id'], cursor: 'updated_at' }],
  };
  const look = async (connectors: readonly unknown[]): Promise<Record<string, unknown>> => {
    writeFileSync(config, JSON.stringify({ millrace: { dataDir: './data', connectors } }));
    await using client = await connectMillrace({
      generation: 'legacy',
      dataDir: folder,
      command: command(['--config', './mcp.config.json'], config),
      env: { MILLRACE_SHOP_PASSWORD: 'canary' },
    });
    // The file is applied behind the first answers: a client does not wait for it.
    await expect
      .poll(async () => (await client.must<{ connectors: unknown[] }>('list_connectors')).connectors.length, {
        timeout: 10_000,
      })
      .toBe(1);
    return await client.must<Record<string, unknown>>('get_connector', { connector: 'shop' });
  };
  // One that does not hold is no reason to leave the others out.
  const first = await look([{ ...shop, name: 'Not a name' }, shop]);
  expect(JSON.stringify(first)).not.toContain('canary');
  expect(await look([shop])).toEqual(first);
  const described = {
    ...shop,
    description: 'the web shop',
    schedule: '0 3 * * *',
    timezone: 'Europe/Berlin',
    config: { ...shop.config, connect_timeout_ms: 7_000 },
  };
  const connectorOf = async (connector: unknown): Promise<unknown> => (await look([connector]))['connector'];
  await expect
    .poll(() => connectorOf(described), { timeout: 20_000 })
    .toMatchObject({
      description: 'the web shop',
      schedule: '0 3 * * *',
      timezone: 'Europe/Berlin',
      config: { connect_timeout_ms: 7_000 },
    });
  // What the file no longer says is no longer so.
  await expect.poll(() => connectorOf(shop), { timeout: 20_000 }).toEqual(first['connector']);
});
