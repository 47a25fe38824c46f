import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { root } from '../bundle/package.ts';
import { installed } from '../support/installed.ts';
import { connectMillrace } from '../support/mcp-client.ts';

/** What people copy from the README is what their client understands, and starts what it names. */
const PASSWORD = 'canary-of-the-shop';
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-readme-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const server = z.strictObject({
  type: z.literal('stdio').optional(),
  command: z.literal('npx'),
  args: z.array(z.string()).min(2),
  env: z.record(z.string().regex(/^MILLRACE_\w+$/), z.string()),
});
const servers = z.strictObject({ millrace: server });
const mcpServers = z.strictObject({ mcpServers: servers });

/** What each client reads: the shape of its file, and how it fills in what stands for a value. */
const CLIENTS = {
  'Claude Desktop': { schema: mcpServers, placeholder: '…' },
  // https://code.claude.com/docs/en/mcp: ${VAR} in .mcp.json.
  'Claude Code': { schema: mcpServers, placeholder: '${MILLRACE_SHOP_PASSWORD}' },
  // https://code.visualstudio.com/docs/copilot/reference/mcp-configuration: `servers`, and inputs that are asked for.
  'VS Code': {
    schema: z.strictObject({
      inputs: z.array(
        z.strictObject({
          type: z.literal('promptString'),
          id: z.literal('shop-password'),
          description: z.string(),
          password: z.literal(true),
        }),
      ),
      servers,
    }),
    placeholder: '${input:shop-password}',
  },
  // https://cursor.com/docs/context/mcp: ${env:NAME}.
  Cursor: { schema: mcpServers, placeholder: '${env:MILLRACE_SHOP_PASSWORD}' },
} as const;

describe.each(Object.entries(CLIENTS))('%s', (name, { schema, placeholder }) => {
  test('the block is its file, and starts a server that has the password', { timeout: 60_000 }, async () => {
    const file = schema.parse(JSON.parse(blocks(section(name), 'json')[0] ?? ''));
    const { millrace } = 'servers' in file ? file.servers : file.mcpServers;
    expect(millrace.env).toEqual({ MILLRACE_SHOP_PASSWORD: placeholder });
    await starts([millrace.command, ...millrace.args], { MILLRACE_SHOP_PASSWORD: PASSWORD });
  });
});

test('Claude Code by its command', { timeout: 60_000 }, async () => {
  const words = (blocks(section('Claude Code'), 'sh')[0] ?? '').trim().split(' ');
  const [claude, mcp, add, name, env, assignment = '', dashes, ...command] = words;
  expect([claude, mcp, add, name, env, dashes]).toEqual(['claude', 'mcp', 'add', 'millrace', '--env', '--']);
  const [variable = ''] = assignment.split('=');
  await starts(command, { [variable]: PASSWORD });
});

test('Inspector', { timeout: 60_000 }, async () => {
  const lines = blocks(section('Inspector'), 'sh')[0]?.trim().split('\n') ?? [];
  expect(lines[0]).toBe('npx @modelcontextprotocol/inspector npx -y millrace');
  const [npx, inspector, ...rest] = lines[1]?.split(' ') ?? [];
  expect([npx, inspector]).toEqual(['npx', '@modelcontextprotocol/inspector']);
  const home = createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector/package.json');
  const bin = join(home, '..', 'clients/launcher/build/index.js');
  const args = rest.join(' ').replace('npx -y millrace', installed([]).join(' ')).split(' ');
  const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args], {
    env: { ...process.env, HOME: folder, MILLRACE_DATA_DIR: join(folder, 'data') },
    maxBuffer: 16 * 1024 * 1024,
  });
  expect(stdout).toContain('query_data');
});

test('every JSON block is JSON', () => {
  const all = blocks(readme(), 'json');
  expect(all.length).toBeGreaterThanOrEqual(6);
  for (const block of all) expect(() => JSON.parse(block), block).not.toThrow();
});

/** Starts it where npx would have put it, in a folder of its own, and has a connector name the password. */
async function starts(words: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
  const [npx, yes, name, ...args] = words;
  expect([npx, yes, name]).toEqual(['npx', '-y', 'millrace']);
  await using client = await connectMillrace({
    generation: 'legacy',
    dataDir: folder,
    command: installed([...args, '--data-dir', join(folder, 'data')]),
    env,
  });
  const { connector } = await client.must<{ connector: { name: string } }>('register_connector', {
    name: 'shop',
    type: 'postgresql',
    config: {
      host: 'db.invalid',
      database: 'shop',
      username: 'reader',
      password: '${env:MILLRACE_SHOP_PASSWORD}',
    },
    test: false,
  });
  expect(connector.name).toBe('shop');
  // A variable that is not set, or is not to be read, is said by name.
  const { checks } = await client.must<{ checks: { detail: string }[] }>('test_connector', {
    connector: 'shop',
  });
  expect(JSON.stringify(checks)).not.toContain('MILLRACE_SHOP_PASSWORD');
}

function readme(): string {
  return readFileSync(join(root, 'README.md'), 'utf8');
}

function section(title: string): string {
  const [, after] = readme().split(`\n### ${title}\n`);
  if (after === undefined) throw new Error(`README.md has no section "${title}"`);
  return after.split(/\n##+ /)[0] ?? '';
}

function blocks(text: string, language: string): readonly string[] {
  return [...text.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, 'g'))].map(
    ([, block = '']) => block,
  );
}
