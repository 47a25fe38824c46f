import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { createConnection as connectByCallback } from 'mysql2';
import { createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import { dialects } from '../support/dialects.ts';
import {
  type MillraceProcess,
  runToEnd,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import {
  compareMoving,
  createMovingTables,
  isEqual,
  type MovingName,
  movingTables,
} from '../support/moving-source.ts';
import { type MysqlKind, mysqlKinds, privateMysql } from '../support/mysql.ts';

/**
 * How a MySQL or MariaDB server gets rid of those who read from it, and that a run comes through: what can be asked of
 * the server is asked, and what cannot be prevented is retried from the last committed batch, inside the run's budget.
 * Network faults that every server shares are in network.test.ts.
 */

const ROWS = 30_000;
/** Of 100 KB each. */
const WIDE_ROWS = 600;
const wide = { name: 'wide', table: 'wide', mode: 'merge' };
/** A restart takes seconds. */
const RUNS = { attempts: 20, backoffMs: [50, 1_000] };
const LOGIN = { username: 'reader', password: 'reader-password' };

describe.each(mysqlKinds)('%s', (kind: MysqlKind) => {
  let server: Awaited<ReturnType<typeof privateMysql>>;
  let proxy: ChaosProxy;
  let millrace: MillraceProcess;
  const directory = temporaryDirectory();
  let count = 0;

  /** By a connection of its own: others do not survive this suite. */
  async function run(...statements: readonly string[]): Promise<readonly Record<string, unknown>[]> {
    const { host, port, user, password } = server;
    const connection = await createConnection({
      host,
      port,
      user,
      password,
      database: 'shop',
      dateStrings: true,
    });
    try {
      let rows: unknown = [];
      for (const sql of ["SET time_zone = '+00:00'", ...statements]) [rows] = await connection.query(sql);
      return Array.isArray(rows) ? (rows as Record<string, unknown>[]) : [];
    } finally {
      connection.destroy();
    }
  }

  const database = { dialect: dialects[kind], run };

  beforeAll(async () => {
    server = await privateMysql(kind, { databases: ['shop'] });
    await createMovingTables(database, ROWS);
    await run(
      `CREATE USER ${LOGIN.username} IDENTIFIED BY '${LOGIN.password}'`,
      `GRANT SELECT ON shop.* TO ${LOGIN.username}`,
      `GRANT PROCESS ON *.* TO ${LOGIN.username}`,
    );
    // More than fits into the buffers in between: the server has to wait for whoever reads it.
    await run(
      'CREATE TABLE wide (id int PRIMARY KEY, body longtext)',
      `INSERT INTO wide SELECT n, repeat('wide ', 20000) FROM ${dialects[kind].series(WIDE_ROWS)}`,
    );
    proxy = await startChaosProxy(server);
    millrace = await startMillrace({ dataDir: directory.dataDir, config: { runs: RUNS } });
  }, 180_000);

  afterAll(async () => {
    await millrace?.kill();
    await proxy?.[Symbol.asyncDispose]();
    await server?.stop();
    directory[Symbol.dispose]();
  });

  beforeEach(() => proxy.heal());

  /** A connector of its own for each test, through the proxy. */
  async function register(names: readonly MovingName[], streams: readonly object[] = []): Promise<string> {
    const name = `net${++count}`;
    const { host } = proxy;
    await millrace.must('register_connector', {
      name,
      type: 'mysql',
      config: { host, port: proxy.port, database: 'shop', ...LOGIN, ssl: 'disable' },
      streams: [...names.map((stream) => movingTables[stream].stream), ...streams],
      test: false,
    });
    return name;
  }

  async function start(connector: string): Promise<Run> {
    return (await millrace.must<{ run: Run }>('sync_connector', { connector, wait_seconds: 0 })).run;
  }

  /** Waits until rows have been read, and says how the run ended when it ends before. */
  async function untilReading(runId: string): Promise<void> {
    await expect
      .poll(
        async () => {
          const { run: now } = await millrace.must<{ run: Run }>('get_run', { run_id: runId });
          if (now.finished_at !== undefined) throw new Error(`ended already: ${JSON.stringify(now)}`);
          return now.totals.rows_read;
        },
        { interval: 10, timeout: 20_000 },
      )
      .toBeGreaterThan(0);
  }

  async function expectEqual(connector: string, names: readonly MovingName[]): Promise<void> {
    const warehouse = join(directory.dataDir, 'warehouse.db');
    const differences = await compareMoving({ database, warehouse, connector, names });
    expect(differences.filter((difference) => !isEqual(difference))).toEqual([]);
  }

  /** What the reader's sessions are doing. */
  async function sessions(): Promise<readonly string[]> {
    const rows = await run(`SELECT id FROM information_schema.processlist WHERE user = '${LOGIN.username}'`);
    return rows.map((row) => String(row['id'] ?? row['ID']));
  }

  async function killAll(how: 'KILL' | 'KILL QUERY'): Promise<void> {
    for (const id of await sessions()) await run(`${how} ${id}`).catch(() => undefined);
  }

  for (const how of ['KILL', 'KILL QUERY'] as const) {
    test(`${how} in the middle of a first load: goes on from the last committed batch`, async () => {
      const connector = await register([], [wide]);
      // A third of the rows, and the server is in the middle of its statement.
      proxy.stallAfter(WIDE_ROWS * 33_000);
      const { run_id: id } = await start(connector);
      await untilReading(id);
      await killAll(how);
      await proxy.heal();
      const ended = await runToEnd(millrace, id);
      expect(ended).toMatchObject({ status: 'succeeded', attempt: 2 });
      // Read again is at most what was in flight, and written is every row exactly once.
      expect(ended.streams[0]?.rows_written).toBe(WIDE_ROWS);
      expect(ended.streams[0]?.rows_read).toBeLessThan(WIDE_ROWS * 1.3);
    });
  }

  test('KILL every few hundred milliseconds, in every mode: still inside the budget', async () => {
    const names = ['orders', 'stock', 'events', 'prices'] as const;
    const connector = await register(names);
    proxy.delay(4);
    const { run_id: id } = await start(connector);
    for (let turn = 0; turn < 5; turn++) {
      await sleep(250);
      await killAll('KILL');
    }
    proxy.delay(0);
    const ended = await runToEnd(millrace, id);
    expect(ended).toMatchObject({ status: 'succeeded' });
    expect(ended.attempt).toBeGreaterThan(1);
    // What a cut run could not settle comes with the next.
    await syncToEnd(millrace, { connector });
    await expectEqual(connector, names);
  });

  test('a run that has no attempt left fails with a hint, and doing it again goes on where it stood', async () => {
    using own = temporaryDirectory();
    await using once = await startMillrace({
      dataDir: own.dataDir,
      config: { runs: { ...RUNS, attempts: 1 } },
    });
    const { host } = proxy;
    await once.must('register_connector', {
      name: 'shop',
      type: 'mysql',
      config: { host, port: proxy.port, database: 'shop', ...LOGIN, ssl: 'disable' },
      streams: [movingTables.orders.stream],
      test: false,
    });
    proxy.delay(8);
    const { run: begun } = await once.must<{ run: Run }>('sync_connector', {
      connector: 'shop',
      wait_seconds: 0,
    });
    await expect
      .poll(
        async () =>
          (await once.must<{ run: Run }>('get_run', { run_id: begun.run_id })).run.totals.rows_written,
        { interval: 10, timeout: 20_000 },
      )
      .toBeGreaterThan(0);
    await killAll('KILL');
    proxy.delay(0);
    const failed = await runToEnd(once, begun.run_id);
    expect(failed.streams[0]?.error).toMatchObject({
      code: 'connection_lost',
      retryable: true,
      hint: expect.stringContaining('goes on from the last stored position'),
    });
    const again = await syncToEnd(once, { connector: 'shop' });
    expect(again).toMatchObject({ status: 'succeeded' });
    expect(again.streams[0]?.rows_written).toBe(ROWS - (failed.streams[0]?.rows_written ?? 0));
  });

  for (const mode of ['fast', 'immediate'] as const) {
    test(`the server restarts (${mode}) in the middle of a run`, { timeout: 120_000 }, async () => {
      const names = ['orders', 'stock', 'events', 'prices'] as const;
      const connector = await register(names);
      proxy.delay(8);
      const { run_id: id } = await start(connector);
      await untilReading(id);
      await server.restart(mode);
      proxy.delay(0);
      const ended = await runToEnd(millrace, id);
      expect(ended, JSON.stringify(ended)).toMatchObject({ status: 'succeeded' });
      expect(ended.attempt).toBeGreaterThan(1);
      await syncToEnd(millrace, { connector });
      await expectEqual(connector, names);
    });
  }

  test('failover: sessions are ended and the server takes no writes any more; the run goes on, and the next says what guards it', async () => {
    const connector = await register(['orders']);
    proxy.delay(8);
    const { run_id: id } = await start(connector);
    await untilReading(id);
    await run('SET GLOBAL read_only = 1');
    await killAll('KILL');
    proxy.delay(0);
    try {
      expect(await runToEnd(millrace, id)).toMatchObject({ status: 'succeeded', attempt: 2 });
      await expectEqual(connector, ['orders']);
      const next = await syncToEnd(millrace, { connector });
      expect(next.streams[0]?.guard).toBe('lookback 300 s: the server is read-only, and may be a replica');
    } finally {
      await run('SET GLOBAL read_only = 0');
    }
  });

  test('limits of a second on idling, sending and running: a slow destination does not end the read', {
    timeout: 60_000,
  }, async () => {
    const { limits } = impatience[kind];
    const usual = await run(`SELECT ${limits.map(([name]) => `@@GLOBAL.${name} AS ${name}`).join(', ')}`);
    await run(...limits.map(([name, value]) => `SET GLOBAL ${name} = ${value}`));
    try {
      // Control: whoever does not ask for more loses the connection.
      await expect(readSlowly(server)).rejects.toThrow();
      const connector = await register([], [wide]);
      await syncToEnd(millrace, { connector });
      const warehouse = new Database(join(directory.dataDir, 'warehouse.db'), { timeout: 10_000 });
      const { run_id: id } = await start(connector);
      warehouse.exec('BEGIN IMMEDIATE');
      await sleep(3_500);
      warehouse.exec('COMMIT');
      warehouse.close();
      expect(await runToEnd(millrace, id)).toMatchObject({ status: 'succeeded', attempt: 1 });
    } finally {
      const [values = {}] = usual;
      await run(...limits.map(([name]) => `SET GLOBAL ${name} = ${values[name]}`));
    }
  });

  test('max_allowed_packet: rows that are larger come whole all the same', async () => {
    await run(
      'CREATE TABLE big (id int PRIMARY KEY, body longtext)',
      "INSERT INTO big VALUES (1, 'small'), (2, repeat('x', 5000000)), (3, 'small')",
    );
    const [usual] = await run('SELECT @@GLOBAL.max_allowed_packet AS bytes');
    await run('SET GLOBAL max_allowed_packet = 1048576');
    try {
      const connector = await register([], [{ name: 'big', table: 'big', mode: 'merge' }]);
      expect(await syncToEnd(millrace, { connector })).toMatchObject({ status: 'succeeded', attempt: 1 });
      const { rows } = await millrace.must<{ rows: unknown[] }>('query_data', {
        sql: `SELECT id, length(body) FROM ${connector}__big ORDER BY id`,
      });
      expect(rows).toEqual([
        [1, 5],
        [2, 5_000_000],
        [3, 5],
      ]);
    } finally {
      await run(`SET GLOBAL max_allowed_packet = ${usual?.['bytes']}`, 'DROP TABLE big');
    }
  });
});

/** Settings by which a server ends sessions, at their least, that count for new sessions. */
const impatience: Readonly<Record<MysqlKind, { readonly limits: readonly (readonly [string, number])[] }>> = {
  mysql: {
    limits: [
      ['wait_timeout', 1],
      ['interactive_timeout', 1],
      ['net_write_timeout', 1],
      ['net_read_timeout', 1],
      ['max_execution_time', 1_000],
    ],
  },
  mariadb: {
    limits: [
      ['wait_timeout', 1],
      ['interactive_timeout', 1],
      ['net_write_timeout', 1],
      ['net_read_timeout', 1],
      ['max_statement_time', 1],
      ['idle_transaction_timeout', 1],
      ['idle_readonly_transaction_timeout', 1],
    ],
  },
};

/** Rows of a driver that asks the server for nothing, taken with a pause; rejects when they do not all come. */
async function readSlowly(server: Awaited<ReturnType<typeof privateMysql>>): Promise<number> {
  const { host, port, user, password } = server;
  const connection = connectByCallback({ host, port, user, password, database: 'shop' });
  try {
    return await new Promise<number>((settle, fail) => {
      let rows = 0;
      connection.on('error', fail);
      connection
        .query('SELECT * FROM wide')
        .on('error', fail)
        .on('end', () => settle(rows))
        .on('result', () => {
          rows += 1;
          if (rows > 1) return;
          connection.pause();
          setTimeout(() => connection.resume(), 3_500);
        });
    });
  } finally {
    connection.destroy();
  }
}
