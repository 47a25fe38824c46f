import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import BetterSqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import {
  type MillraceProcess,
  runToEnd,
  startMillrace,
  temporaryDirectory,
} from '../support/millrace-process.ts';

/** Nobody answers there: each run ends in a moment, and what counts is that there is one. */
const shop = {
  name: 'shop',
  type: 'postgresql',
  config: { host: '127.0.0.1', port: 1, database: 'shop', username: 'reader' },
  streams: [{ name: 'orders', table: 'public.orders' }],
  schedule: '*/2 * * * * *',
  test: false,
};
const config = { runs: { attempts: 1 } };

const detail = async (millrace: MillraceProcess): Promise<string> =>
  (await millrace.must<{ scheduler: { detail: string } }>('get_health')).scheduler.detail;

const isHolder = async (millrace: MillraceProcess): Promise<boolean> =>
  (await detail(millrace)).startsWith('This process starts scheduled runs.');

/** Waits until exactly one of them starts scheduled runs, and says which. */
async function holderOf(processes: readonly MillraceProcess[], timeoutMs = 30_000): Promise<MillraceProcess> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    const held = await Promise.all(processes.map(isHolder));
    const holder = processes[held.indexOf(true)];
    if (holder) {
      expect(held.filter(Boolean)).toHaveLength(1);
      return holder;
    }
    if (Date.now() > until) throw new Error(`nobody schedules: ${await Promise.all(processes.map(detail))}`);
  }
}

async function scheduled(millrace: MillraceProcess): Promise<readonly Run[]> {
  const { runs } = await millrace.must<{ runs: Run[] }>('list_runs', { limit: 100 });
  return runs.toReversed();
}

test('of three processes one schedules; killed or asked to leave, it is replaced, and no time is lost or doubled', {
  timeout: 120_000,
}, async () => {
  using folder = temporaryDirectory();
  const start = (): Promise<MillraceProcess> => startMillrace({ dataDir: folder.dataDir, config });
  const three = [await start(), await start(), await start()];
  try {
    const [first] = three;
    await first?.must('register_connector', shop);
    const killed = await holderOf(three);
    for (const other of three.filter((one) => one !== killed))
      expect(await detail(other)).toContain(`started by the process ${killed.pid} on`);
    await expect.poll(async () => (await scheduled(killed)).length, { timeout: 30_000 }).toBeGreaterThan(1);

    await killed.kill('SIGKILL');
    const left = three.filter((one) => one !== killed);
    const heir = await holderOf(left); // its pid is gone: nobody waits for the lease to end
    const before = (await scheduled(heir)).length;
    await expect
      .poll(async () => (await scheduled(heir)).length, { timeout: 30_000 })
      .toBeGreaterThan(before);

    await heir.kill('SIGTERM');
    const last = await holderOf(left.filter((one) => one !== heir));
    const count = (await scheduled(last)).length;
    await expect.poll(async () => (await scheduled(last)).length, { timeout: 30_000 }).toBeGreaterThan(count);

    const runs = await scheduled(last);
    const due = runs.map((run) => Date.parse(run.due_at ?? ''));
    expect(new Set(due).size).toBe(due.length);
    for (const [index, run] of runs.entries()) {
      const previous = due[index - 1];
      if (previous === undefined || Date.parse(run.due_at ?? '') - previous === 2_000) continue;
      // Times between the two are stood for by the second, which says so.
      const { run: full } = await last.must<{ run: Run }>('get_run', {
        run_id: run.run_id,
        include_log: true,
      });
      expect(JSON.stringify(full.log)).toContain(`since ${new Date(previous + 2_000).toISOString()}`);
    }
    await last.must('update_connector', { connector: 'shop', schedule: '' });
    for (const run of await scheduled(last)) await runToEnd(last, run.run_id);
  } finally {
    await Promise.all(three.map((one) => one.kill()));
  }
});

test('read-only or told so, a process never schedules', { timeout: 60_000 }, async () => {
  using folder = temporaryDirectory();
  await using off = await startMillrace({
    dataDir: folder.dataDir,
    config: { scheduler: { enabled: false } },
  });
  await off.must('register_connector', shop);
  await using reader = await startMillrace({ dataDir: folder.dataDir, args: ['--read-only'] });
  expect(await detail(off)).toContain('scheduler.enabled is false');
  expect(await detail(reader)).toContain('read-only');
  const { schedule } = await off.must<{ schedule: { notes: string[] } }>('get_connector', {
    connector: 'shop',
  });
  expect(schedule.notes.join(' ')).toContain('scheduler.enabled is false here');
  await using on = await startMillrace({ dataDir: folder.dataDir, config });
  await expect.poll(async () => (await scheduled(on)).length, { timeout: 30_000 }).toBeGreaterThan(0);
  expect(await detail(reader)).toContain(`started by the process ${on.pid} on`);
});

describe('a process ends by itself', () => {
  const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
  /** 2 s are promised; a busy machine takes its time to start and end anything. */
  const GONE_MS = 8_000;

  /** Millrace below `wrapper`, or alone; both with the same stdin and stdout, which stay open when the wrapper goes. */
  async function started(
    dataDir: string,
    wrapper: readonly string[] = [],
  ): Promise<ChildProcessWithoutNullStreams> {
    const child = spawn(process.execPath, [...wrapper, MAIN, '--data-dir', dataDir], { stdio: 'pipe' });
    child.stderr.resume();
    child.stdin.on('error', () => undefined);
    const clientInfo = { name: 'test', version: '1' };
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo };
    child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params })}\n`);
    await once(child.stdout, 'data');
    await expect.poll(() => held(dataDir), { timeout: 10_000 }).toEqual(['chores', 'scheduler']);
    return child;
  }

  /** Leases that somebody holds, as the file says it. */
  const held = (dataDir: string): readonly unknown[] => {
    const db = new BetterSqlite(join(dataDir, 'store.db'), { readonly: true });
    try {
      return db.prepare('SELECT name FROM leases WHERE expires_at > 0 ORDER BY name').pluck().all();
    } finally {
      db.close();
    }
  };

  const ways: readonly (readonly [string, (child: ChildProcessWithoutNullStreams) => void])[] = [
    ['when stdin ends', (child) => child.stdin.end()],
    ['on SIGTERM', (child) => child.kill('SIGTERM')],
    ['on SIGINT', (child) => child.kill('SIGINT')],
    ['on SIGHUP', (child) => child.kill('SIGHUP')],
    [
      'when nobody reads its stdout',
      (child) => {
        child.stdout.destroy();
        child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/list', params: {} })}\n`);
      },
    ],
  ];

  test.each(ways)('%s, with exit code 0 and its leases given back', async (_, end) => {
    using folder = temporaryDirectory();
    const child = await started(folder.dataDir);
    const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    const begun = performance.now();
    end(child);
    expect(await exited).toEqual([0, null]);
    expect(performance.now() - begun).toBeLessThan(GONE_MS);
    expect(held(folder.dataDir)).toEqual([]);
  });

  test('when its parent is gone, though stdin is still open', async () => {
    using folder = temporaryDirectory();
    const wrapper = `require('node:child_process').spawn(process.execPath, process.argv.slice(1), { stdio: 'inherit' })`;
    const child = await started(folder.dataDir, ['-e', wrapper]);
    const ended = once(child.stdout, 'close'); // both had it
    const begun = performance.now();
    child.stdout.resume();
    child.kill('SIGKILL');
    await ended;
    expect(performance.now() - begun).toBeLessThan(GONE_MS);
    expect(held(folder.dataDir)).toEqual([]);
  });
});
