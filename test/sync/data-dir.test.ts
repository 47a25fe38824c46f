import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import {
  runToEnd,
  spawnMillrace,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshDatabase } from '../support/postgres.ts';

/** A data folder that cannot be used: one coded sentence and a hint, no crash, no change to what lies there. */

test('a data folder that is a file', async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, 'a-file');
  writeFileSync(file, 'mine');
  await expectRefused(join(file));
  expect(readFileSync(file, 'utf8')).toBe('mine');
});

test('a data folder that cannot be written', async () => {
  if (process.getuid?.() === 0) {
    // Modes do not stop root; the kernel's own folder does.
    await expectRefused('/proc/millrace');
    return;
  }
  using directory = temporaryDirectory();
  mkdirSync(directory.dataDir, { mode: 0o500 });
  await expectRefused(directory.dataDir);
  chmodSync(directory.dataDir, 0o700);
});

for (const file of ['store.db', 'warehouse.db'] as const) {
  test(`a ${file} of a newer version is left alone, and the program that made it would still open it`, async () => {
    using directory = temporaryDirectory();
    await using database = await freshDatabase();
    await database.query('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)');
    const connector = {
      name: 'shop',
      type: 'postgresql',
      config: database.config,
      streams: [{ name: 't', table: 'public.t' }],
    };
    {
      await using millrace = await startMillrace({ dataDir: directory.dataDir });
      await millrace.must('register_connector', connector);
      await syncToEnd(millrace, { connector: 'shop' });
      // Ended as a client ends it, so that nothing waits in a write-ahead log.
      await millrace.kill('SIGTERM');
    }
    const path = join(directory.dataDir, file);
    const version = setVersion(path, 9_999);
    const before = contentOf(path);
    if (file === 'store.db') await expectRefused(directory.dataDir);
    else await expectWarehouseRefused(directory.dataDir);
    expect(contentOf(path)).toEqual(before);
    setVersion(path, version);
    await using millrace = await startMillrace({ dataDir: directory.dataDir });
    expect(await syncToEnd(millrace, { connector: 'shop' })).toMatchObject({ status: 'succeeded' });
  });
}

test('the data folder and the key belong to their owner alone', async () => {
  using directory = temporaryDirectory();
  const dataDir = join(directory.path, 'new', 'deeper');
  await using _millrace = await startMillrace({
    dataDir: join(directory.path, 'elsewhere'),
    args: ['--data-dir', dataDir],
  });
  expect(statSync(dataDir).mode & 0o777).toBe(0o700);
  expect(statSync(join(dataDir, 'master.key')).mode & 0o777).toBe(0o600);
  for (const file of ['store.db']) expect(statSync(join(dataDir, file)).mode & 0o077).toBe(0);
});

/** It ends by itself with a code and a hint on stderr, and nothing on stdout. */
async function expectRefused(dataDir: string): Promise<void> {
  using elsewhere = temporaryDirectory();
  const millrace = spawnMillrace({ dataDir: elsewhere.dataDir, args: ['--data-dir', dataDir] });
  millrace.ready().catch(() => undefined);
  const { code, signal } = await millrace.exited;
  expect({ code: code === 0 ? 'zero' : 'not zero', signal }).toEqual({ code: 'not zero', signal: null });
  expect(millrace.stderr()).toContain('data_dir_unusable');
  expect(millrace.stderr()).not.toMatch(/\n\s+at .*:\d+:\d+/);
  expect(millrace.stdout()).toBe('');
}

/** Refused at the start, or when the data are touched: coded either way. */
async function expectWarehouseRefused(dataDir: string): Promise<void> {
  const millrace = spawnMillrace({ dataDir });
  try {
    const up = await millrace.ready().then(
      () => true,
      () => false,
    );
    if (!up) {
      expect(millrace.stderr()).toContain('data_dir_unusable');
      return;
    }
    const { run } = await millrace.must<{ run: { run_id: string } }>('sync_connector', {
      connector: 'shop',
      wait_seconds: 0,
    });
    expect(await runToEnd(millrace, run.run_id)).toMatchObject({
      status: 'failed',
      error: { code: 'data_dir_unusable' },
    });
    expect((await millrace.fails('describe_data')).code).toBe('data_dir_unusable');
  } finally {
    await millrace.kill();
  }
}

function setVersion(path: string, version: number): number {
  const file = new Database(path);
  const before = file.pragma('user_version', { simple: true }) as number;
  file.pragma(`user_version = ${version}`);
  file.pragma('wal_checkpoint(TRUNCATE)');
  file.close();
  return before;
}

function contentOf(path: string): string {
  return readFileSync(path).toString('base64');
}
