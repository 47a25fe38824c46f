import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ErrorView } from '../../src/core/errors.ts';
import type { Run } from '../../src/core/model.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import { freshDatabaseOn, type ServerDatabase } from '../support/databases.ts';
import { startLateWriter } from '../support/late-writer.ts';
import {
  type MillraceProcess,
  runToEnd,
  startMillrace,
  syncToEnd,
  type ToolReply,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import {
  compareMoving,
  createMovingTables,
  isEqual,
  movingNames,
  movingTables,
} from '../support/moving-source.ts';
import { createRng, testSeed } from '../support/rng.ts';

/**
 * Two processes on one data folder, as Claude Desktop makes them: nothing runs twice, nothing is lost, neither
 * crashes. A killed one is followed by the other; a frozen one that wakes up later is shut out.
 */

let database: ServerDatabase;
let proxy: ChaosProxy;

beforeAll(async () => {
  database = await freshDatabaseOn('postgresql');
  await createMovingTables(database, 20_000);
  proxy = await startChaosProxy(database.config);
});

afterAll(async () => {
  await proxy?.[Symbol.asyncDispose]();
  await database?.drop();
});

test('started at the same moment on a folder that is not there yet: both answer, one sees what the other does', async () => {
  for (let turn = 0; turn < 5; turn += 1) {
    await using pair = await startPair();
    const [one, two] = pair.processes;
    for (const process of pair.processes) {
      expect(await process.must('get_health')).toMatchObject({ status: expect.any(String) });
    }
    await register(one, 'shop');
    const { connectors } = await two.must<{ connectors: { name: string }[] }>('list_connectors');
    expect(connectors.map((connector) => connector.name)).toEqual(['shop']);
    // A secret sealed by one opens in the other: they agreed on one key.
    expect(await two.must('test_connector', { connector: 'shop' })).toMatchObject({ ok: true });
    const taken = await two.fails('register_connector', {
      name: 'shop',
      type: 'postgresql',
      config: database.config,
      test: false,
    });
    expect(taken.code).toBe('connector_exists');
  }
});

test('the same connector registered by both at once: one gets it, the other is told', async () => {
  await using pair = await startPair();
  for (let turn = 0; turn < 10; turn += 1) {
    const input = { name: `race${turn}`, type: 'postgresql', config: database.config, test: false };
    const replies = await Promise.all(
      pair.processes.map((process) => process.call('register_connector', input)),
    );
    expect(replies.map(codeOf).sort()).toEqual(['connector_exists', 'ok']);
  }
});

test('synced from both at once: one run, the other is told which', async () => {
  await using pair = await startPair();
  const [one, two] = pair.processes;
  await register(one, 'shop');
  proxy.delay(1);
  for (let turn = 0; turn < 8; turn += 1) {
    const input = { connector: 'shop', wait_seconds: 0, full_refresh: turn % 2 === 1 };
    const replies = await Promise.all([one.call('sync_connector', input), two.call('sync_connector', input)]);
    expect(replies.map(codeOf).sort(), `turn ${turn}`).toEqual(['ok', 'run_in_progress']);
    const started = replies.find((reply) => !reply.isError)?.structured['run'] as Run;
    const refused = replies.find((reply) => reply.isError)?.structured['error'] as ErrorView;
    expect(JSON.stringify(refused.next_actions)).toContain(started.run_id);
    // Either process can follow the run to its end.
    const ends = await Promise.all(pair.processes.map((process) => runToEnd(process, started.run_id)));
    for (const run of ends) expect(run).toMatchObject({ status: 'succeeded', attempt: 1 });
  }
  await proxy.heal();
  await pair.expectEqual('shop');
  const { runs } = await two.must<{ runs: Run[] }>('list_runs', { connector: 'shop' });
  expect(runs).toHaveLength(8);
});

test('two connectors synced side by side into one file, while the source moves', {
  timeout: 60_000,
}, async () => {
  await using pair = await startPair();
  const names = ['left', 'right'] as const;
  for (const name of names) await register(pair.processes[0], name);
  const writer = startLateWriter({ database, rng: createRng(testSeed()) });
  for (let turn = 0; turn < 5; turn += 1) {
    const runs = await Promise.all(names.map((connector, at) => syncToEnd(pair.of(at), { connector })));
    for (const run of runs) expect(run).toMatchObject({ status: 'succeeded', attempt: 1 });
  }
  await writer.stop();
  for (const [at, connector] of names.entries()) {
    await syncToEnd(pair.of(at), { connector });
    await pair.expectEqual(connector);
  }
});

test('the one that syncs is killed: the other finds the run and finishes it', {
  timeout: 60_000,
}, async () => {
  await using pair = await startPair();
  const [one, two] = pair.processes;
  await register(one, 'shop');
  proxy.delay(2);
  const { run } = await one.must<{ run: Run }>('sync_connector', { connector: 'shop', wait_seconds: 0 });
  await untilReading(two, run.run_id);
  await one.kill();
  const killed = performance.now();
  await proxy.heal();
  const ended = await runToEnd(two, run.run_id);
  expect(ended).toMatchObject({ status: 'succeeded', attempt: 2 });
  // A holder on this machine that is gone is known to be gone: nobody waits for its lease.
  expect(performance.now() - killed).toBeLessThan(8_000);
  await syncToEnd(two, { connector: 'shop' });
  await pair.expectEqual('shop');
});

test('the one that syncs is frozen past its lease and wakes up later: it is shut out, nothing is doubled', {
  timeout: 90_000,
}, async () => {
  await using pair = await startPair();
  const [one, two] = pair.processes;
  await register(one, 'shop');
  proxy.delay(2);
  const { run } = await one.must<{ run: Run }>('sync_connector', { connector: 'shop', wait_seconds: 0 });
  await untilReading(two, run.run_id);
  await freezeOutsideTransaction(one.pid, pair.dataDir);
  await proxy.heal();
  try {
    const ended = await runToEnd(two, run.run_id, 40_000);
    expect(ended).toMatchObject({ status: 'succeeded', attempt: 2 });
  } finally {
    process.kill(one.pid, 'SIGCONT');
  }
  await sleep(1_500);
  // The zombie is alive, answers, and what it says of the run is what the other made of it.
  expect(await runToEnd(one, run.run_id)).toMatchObject({ status: 'succeeded', attempt: 2 });
  await syncToEnd(one, { connector: 'shop' });
  await pair.expectEqual('shop');
});

interface Pair extends AsyncDisposable {
  readonly processes: readonly [MillraceProcess, MillraceProcess];
  readonly dataDir: string;
  of(at: number): MillraceProcess;
  expectEqual(connector: string): Promise<void>;
}

/** Both are spawned before either has answered. Neither may have died by the end, unless killed on purpose. */
async function startPair(): Promise<Pair> {
  const directory = temporaryDirectory();
  const options = { dataDir: directory.dataDir, config: { runs: { attempts: 5, backoffMs: [50, 300] } } };
  const processes = await Promise.all([startMillrace(options), startMillrace(options)]);
  return {
    processes,
    dataDir: directory.dataDir,
    of: (at) => (at === 0 ? processes[0] : processes[1]),
    async expectEqual(connector) {
      const differences = await compareMoving({
        database,
        warehouse: join(directory.dataDir, 'warehouse.db'),
        connector,
      });
      expect(differences.filter((difference) => !isEqual(difference))).toEqual([]);
    },
    async [Symbol.asyncDispose]() {
      await proxy.heal();
      for (const process of processes) {
        const { signal } = process.alive() ? { signal: null } : await process.exited;
        if (!process.alive() && signal !== 'SIGKILL')
          throw new Error(`a process ended by itself: ${process.stderr()}`);
        await process.kill();
      }
      directory[Symbol.dispose]();
    },
  };
}

async function register(millrace: MillraceProcess, name: string): Promise<void> {
  await millrace.must('register_connector', {
    name,
    type: 'postgresql',
    config: { ...database.config, port: proxy.port },
    streams: movingNames.map((stream) => movingTables[stream].stream),
    test: false,
  });
}

/** Waits until rows of the run have been read, as seen from a process that does not run it. */
async function untilReading(millrace: MillraceProcess, runId: string): Promise<void> {
  const until = Date.now() + 20_000;
  for (;;) {
    const { run } = await millrace.must<{ run: Run }>('get_run', { run_id: runId });
    if (run.totals.rows_read > 0) return;
    if (Date.now() > until) throw new Error(`nothing is read: ${JSON.stringify(run)}`);
    await sleep(20);
  }
}

/**
 * Stops a process where it holds no lock of either file: one that is stopped in the middle of a transaction keeps the
 * lock, and then nobody can write until it goes on, whatever the leases say.
 */
async function freezeOutsideTransaction(pid: number, dataDir: string): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    process.kill(pid, 'SIGSTOP');
    await untilStopped(pid);
    if (['warehouse.db', 'store.db'].every((name) => canWrite(join(dataDir, name)))) return;
    process.kill(pid, 'SIGCONT');
    await sleep(7);
  }
  throw new Error('the process was never found outside a transaction');
}

/** A thread that is in the kernel when the signal comes ends its call first, and that call may be the one that takes a lock. */
async function untilStopped(pid: number): Promise<void> {
  const running = (): boolean =>
    readdirSync(`/proc/${pid}/task`).some((task) => {
      const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8');
      return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'T';
    });
  while (running()) await sleep(1);
}

function canWrite(file: string): boolean {
  const db = new Database(file, { timeout: 200 });
  try {
    db.exec('BEGIN IMMEDIATE; ROLLBACK');
    return true;
  } catch {
    return false;
  } finally {
    db.close();
  }
}

function codeOf(reply: ToolReply): string {
  return reply.isError ? (reply.structured['error'] as ErrorView).code : 'ok';
}
