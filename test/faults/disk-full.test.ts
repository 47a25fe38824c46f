import type { ChildProcess } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { freshDatabaseOn, type ServerDatabase } from '../support/databases.ts';
import { expectEachOnce, readStood } from '../support/due-history.ts';
import { type MillraceProcess, runToEnd, startMillrace, syncToEnd } from '../support/millrace-process.ts';
import {
  compareMoving,
  createMovingTables,
  isEqual,
  movingNames,
  movingTables,
} from '../support/moving-source.ts';
import { millrace as command } from '../support/program.ts';
import { type SmallDisk, smallDisk } from '../support/small-disk.ts';

/** No space left for the data folder: a coded error, two whole files, and work again when space returns. */

const DISK = 48 * 2 ** 20;
const ROWS = 40_000;
const SECONDLY = '* * * * * *';
let database: ServerDatabase;

beforeAll(async () => {
  database = await freshDatabaseOn('postgresql');
  await createMovingTables(database, ROWS);
});

afterAll(() => database?.drop());

test('during a sync: disk_full is said, both files are whole, and the run ends by itself when space returns', {
  timeout: 90_000,
}, async () => {
  using disk = smallDisk(DISK);
  await using millrace = await start(disk, { attempts: 3, backoffMs: [10, 50] });
  disk.fill(3 * 2 ** 20);
  const { run } = await millrace.must<{ run: Run }>('sync_connector', {
    connector: 'shop',
    wait_seconds: 10,
  });
  // Even that it failed cannot be written; it is said nevertheless, and does not look like work.
  await until(async () => (await runOf(millrace, run.run_id)).error !== undefined);
  const said = (await runOf(millrace, run.run_id)).error;
  expect(said).toMatchObject({ code: 'disk_full', retryable: true, who: 'person' });
  expect(said?.message).toContain(disk.path);
  expect(said?.hint).toContain('df -h');
  expect(millrace.stderr()).not.toContain('misused');
  expectWhole(disk);
  disk.free();
  await until(async () => (await runOf(millrace, run.run_id)).status === 'succeeded');
  await syncToEnd(millrace, { connector: 'shop' });
  await expectEqual(disk);
  await millrace.kill('SIGTERM');
  expectWhole(disk);
});

test('during a write of the store: disk_full, nothing half done, and the same call works when space returns', {
  timeout: 90_000,
}, async () => {
  using disk = smallDisk(DISK);
  await using millrace = await start(disk, { attempts: 2, backoffMs: [10, 50] });
  disk.fill(0);
  const codes = new Set<string>();
  let registered = 0;
  for (let turn = 0; turn < 60; turn += 1) {
    const reply = await millrace.call('register_connector', connector(`more${turn}`));
    if (reply.isError) codes.add((reply.structured['error'] as { code: string }).code);
    else registered += 1;
  }
  expect([...codes]).toEqual(['disk_full']);
  // It answers meanwhile, and says what is wrong.
  const health = await millrace.must<{ storage: { free_bytes: number } }>('get_health');
  expect(health.storage.free_bytes).toBeLessThan(2 ** 20);
  expect(JSON.stringify(health)).toMatch(/disk|space/i);
  expectWhole(disk);
  disk.free();
  const { connectors } = await millrace.must<{ connectors: unknown[] }>('list_connectors', { limit: 100 });
  expect(connectors).toHaveLength(registered + 1);
  await millrace.must('register_connector', connector('later'));
  expect(await syncToEnd(millrace, { connector: 'later', streams: ['orders'] })).toMatchObject({
    status: 'succeeded',
  });
  expectWhole(disk);
});

test('full to the last byte in the middle of a run: no crash, and the run is not forgotten', {
  timeout: 120_000,
}, async () => {
  using disk = smallDisk(DISK);
  await using millrace = await start(disk, { attempts: 20, backoffMs: [300, 600] });
  const { run } = await millrace.must<{ run: Run }>('sync_connector', { connector: 'shop', wait_seconds: 0 });
  await until(async () => (await runOf(millrace, run.run_id)).totals.rows_read > 0);
  disk.fill(0);
  await sleep(3_000);
  expect(millrace.alive()).toBe(true);
  await millrace.must('get_health');
  disk.free();
  await until(async () =>
    ['succeeded', 'partial', 'failed'].includes((await runOf(millrace, run.run_id)).status),
  );
  expect(await syncToEnd(millrace, { connector: 'shop' })).toMatchObject({ status: 'succeeded' });
  await syncToEnd(millrace, { connector: 'shop' });
  await expectEqual(disk);
  expectWhole(disk);
});

test('of a command: it says so once, stands still without work, and ends well when space returns', {
  timeout: 90_000,
}, async () => {
  using disk = smallDisk(DISK);
  await (await start(disk, { attempts: 1 })).kill('SIGTERM');
  disk.fill(3 * 2 ** 20);
  let err = '';
  let child: ChildProcess | undefined;
  const attempts = join(disk.path, 'attempts.json');
  writeFileSync(attempts, JSON.stringify({ millrace: { runs: { attempts: 10, backoffMs: [10, 50] } } }));
  const done = command(['sync', 'shop', '--config', attempts, '--data-dir', join(disk.path, 'data')], {
    started: (begun) => {
      child = begun;
      begun.stderr?.on('data', (part) => (err += String(part)));
    },
  });
  await until(async () => err.includes('disk_full: The run stands still'));
  await sleep(500);
  const before = cpuSeconds(child?.pid);
  await sleep(3_000);
  expect(cpuSeconds(child?.pid) - before).toBeLessThan(1);
  disk.free();
  const said = await done;
  expect(said).toMatchObject({ code: 0, out: expect.stringContaining('shop: succeeded') });
  expect(said.err.match(/disk_full: The run stands still/g)).toHaveLength(1);
  expect(said.err).toContain('df -h');
});

test('with a schedule: the times that come meanwhile are made up for, and scheduled runs go on by themselves', {
  timeout: 120_000,
}, async () => {
  using disk = smallDisk(DISK);
  await using millrace = await start(disk, { attempts: 3, backoffMs: [10, 50] });
  await syncToEnd(millrace, { connector: 'shop' });
  await millrace.must('update_connector', { connector: 'shop', schedule: SECONDLY });
  const from = new Date();
  const done = async (): Promise<number> => {
    const stood = await readStood(millrace, 'shop');
    return stood.filter(({ run }) => run.status === 'succeeded').length;
  };
  await until(async () => (await done()) > 0);
  disk.fill(0);
  // Nothing of what falls due can be written; the log says why, the tools that space is short.
  await until(async () => /scheduler: .*No space is left to write .*store\.db/.test(millrace.stderr()));
  const silent = await done();
  await sleep(2_500);
  expect(millrace.alive()).toBe(true);
  const health = await millrace.must<{ status: string }>('get_health');
  expect(health.status).not.toBe('healthy');
  expect(JSON.stringify(health)).toMatch(/disk|space/i);
  expectWhole(disk);
  disk.free();
  await until(async () => (await done()) > silent + 1);
  await millrace.must('update_connector', { connector: 'shop', schedule: '' });
  for (const { run } of await readStood(millrace, 'shop')) await runToEnd(millrace, run.run_id);
  const stood = await readStood(millrace, 'shop');
  expectEachOnce(stood, { schedule: SECONDLY, from, upTo: new Date(stood.at(-1)?.until ?? 0) });
  await syncToEnd(millrace, { connector: 'shop' });
  await expectEqual(disk);
  await millrace.kill('SIGTERM');
  expectWhole(disk);
});

function connector(name: string): Record<string, unknown> {
  const streams = movingNames.map((stream) => movingTables[stream].stream);
  return {
    name,
    type: 'postgresql',
    config: database.config,
    streams,
    test: false,
    description: 'x'.repeat(400),
  };
}

async function start(disk: SmallDisk, runs: object): Promise<MillraceProcess> {
  const millrace = await startMillrace({ dataDir: join(disk.path, 'data'), config: { runs } });
  await millrace.must('register_connector', connector('shop'));
  return millrace;
}

/** What a process has worked so far, by Linux. */
function cpuSeconds(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function runOf(millrace: MillraceProcess, runId: string): Promise<Run> {
  return (await millrace.must<{ run: Run }>('get_run', { run_id: runId })).run;
}

/** Looks at copies, write-ahead log included: a full disk has no room for what a reader needs. */
function expectWhole(disk: SmallDisk): void {
  const copy = mkdtempSync(join(tmpdir(), 'millrace-copy-'));
  try {
    for (const name of ['store.db', 'warehouse.db']) {
      for (const part of [name, `${name}-wal`]) {
        const from = join(disk.path, 'data', part);
        if (existsSync(from)) copyFileSync(from, join(copy, part));
      }
      if (!existsSync(join(copy, name))) continue;
      const file = new Database(join(copy, name));
      expect(file.pragma('integrity_check', { simple: true }), name).toBe('ok');
      file.close();
    }
  } finally {
    rmSync(copy, { recursive: true });
  }
}

async function expectEqual(disk: SmallDisk): Promise<void> {
  const warehouse = join(disk.path, 'data', 'warehouse.db');
  const differences = await compareMoving({ database, warehouse, connector: 'shop' });
  expect(differences.filter((difference) => !isEqual(difference))).toEqual([]);
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 45_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('it did not come to that');
    await sleep(100);
  }
}
