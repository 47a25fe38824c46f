import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import type { Run, StreamResult } from '../../src/core/model.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import { freshDatabaseOn, type ServerDatabase } from '../support/databases.ts';
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
  type MovingDatabase,
  movingNames,
  movingTables,
} from '../support/moving-source.ts';

/**
 * What a bad network or a restarting server does to a sync: transient failures are retried inside the run's
 * budget from the committed cursor, a silent peer does not hold a run for ever, cancelling works meanwhile.
 */

const ROWS = 40_000;
const RUNS = { attempts: 6, backoffMs: [50, 300] };

let database: ServerDatabase;
let proxy: ChaosProxy;
let millrace: MillraceProcess;
const directory = temporaryDirectory();
let count = 0;

beforeAll(async () => {
  database = await freshDatabaseOn('postgresql');
  await createMovingTables(database, ROWS);
  proxy = await startChaosProxy(database.config);
  millrace = await startMillrace({ dataDir: directory.dataDir, config: { runs: RUNS } });
});

afterAll(async () => {
  await millrace?.kill();
  await proxy?.[Symbol.asyncDispose]();
  await database?.drop();
  directory[Symbol.dispose]();
});

beforeEach(() => proxy.heal());

test('refused at first, served a little later: the run gets there by itself', async () => {
  const connector = await register();
  await proxy.refuse();
  const run = await start(connector);
  await waitFor(async () => (await runOf(run.run_id)).retry_at !== undefined);
  await proxy.heal();
  const ended = await runToEnd(millrace, run.run_id);
  expect(ended).toMatchObject({ status: 'succeeded' });
  expect(ended.attempt).toBeGreaterThan(1);
  await expectEqual(connector);
});

test('refused for good: failed after its attempts, with a code, a hint, and nothing landed', async () => {
  const connector = await register();
  await proxy.refuse();
  const run = await runToEnd(millrace, (await start(connector)).run_id);
  expect(run).toMatchObject({
    status: 'failed',
    attempt: RUNS.attempts,
    error: { code: 'host_unreachable', retryable: true },
  });
  expect(run.totals.rows_written).toBe(0);
  await proxy.heal();
  const report = await millrace.must<{ ok: boolean }>('test_connector', { connector });
  expect(report.ok).toBe(true);
});

for (const at of [30_000, 700_000, 1_500_000]) {
  test(`reset ${at} bytes into the first load: goes on from the committed cursor`, async () => {
    const connector = await register(['orders']);
    proxy.cutAfter(at);
    const run = await runToEnd(millrace, (await start(connector)).run_id);
    expect(run).toMatchObject({ status: 'succeeded', attempt: 2 });
    await expectEqual(connector, ['orders']);
    const [stream] = run.streams;
    // Read again is at most what was in flight, and written is every row exactly once.
    expect(stream?.rows_written).toBe(await rowsOf('orders'));
    expect(stream?.rows_read).toBeLessThan(ROWS * (at > 500_000 ? 1.6 : 1.9));
  });
}

test('reset in the middle of an incremental run and of a replace', async () => {
  const connector = await register(['stock', 'events', 'prices']);
  await syncToEnd(millrace, { connector });
  await database.run(`
    UPDATE stock SET amount = amount + 1, version = nextval('numbers') / 5 WHERE item % 2 = 0;
    INSERT INTO events SELECT nextval('numbers') / 5, 'k', 'again' FROM generate_series(1, ${ROWS});
    UPDATE prices SET price = price + 1`);
  for (const stream of ['stock', 'events', 'prices'] as const) {
    proxy.cutAfter(200_000);
    const run = await syncToEnd(millrace, { connector, streams: [stream] });
    expect(run, stream).toMatchObject({ status: 'succeeded', attempt: 2 });
  }
  await syncToEnd(millrace, { connector });
  await expectEqual(connector, ['stock', 'events', 'prices']);
});

for (const fault of ['stall', 'halfOpen'] as const) {
  test(`${fault}: a silent peer is given up after the statement timeout, and the run goes on`, {
    timeout: 60_000,
  }, async () => {
    const connector = await register(['orders'], { statement_timeout_ms: 2_000 });
    proxy.stallAfter(700_000);
    const run = await start(connector);
    await untilReading(run.run_id);
    if (fault === 'halfOpen') proxy.halfOpen();
    const until = Date.now() + 20_000;
    // The proxy stays silent until the source has been given up once.
    await waitFor(async () => (await runOf(run.run_id)).attempt > 1 || Date.now() > until);
    await proxy.heal();
    const ended = await runToEnd(millrace, run.run_id);
    expect(ended).toMatchObject({ status: 'succeeded' });
    expect(ended.attempt).toBeGreaterThan(1);
    await expectEqual(connector, ['orders']);
  });
}

test('a stalled sync is cancelled within a second, and the connector can sync again at once', async () => {
  const connector = await register(['orders']);
  proxy.stallAfter(700_000);
  const run = await start(connector);
  await untilReading(run.run_id);
  const before = performance.now();
  const { run: answered } = await millrace.must<{ run: Run }>('cancel_run', { run_id: run.run_id });
  const ended = await runToEnd(millrace, answered.run_id);
  expect(performance.now() - before).toBeLessThan(1_000);
  expect(ended).toMatchObject({ status: 'cancelled' });
  await proxy.heal();
  expect(await syncToEnd(millrace, { connector })).toMatchObject({ status: 'succeeded', attempt: 1 });
  await expectEqual(connector, ['orders']);
  // Nothing of the cancelled read is left at the server.
  await waitFor(async () => (await database.run(`${BACKENDS} AND state <> 'idle'`)).length === 0);
});

test('sessions ended by an administrator are retried', async () => {
  const connector = await register(['orders', 'stock']);
  proxy.delay(3);
  const run = await start(connector);
  await untilReading(run.run_id);
  const ended = await database.run(`SELECT pg_terminate_backend(pid) AS done FROM (${BACKENDS}) mine`);
  expect(ended.length).toBeGreaterThan(0);
  proxy.delay(0);
  const after = await runToEnd(millrace, run.run_id);
  expect(after).toMatchObject({ status: 'succeeded' });
  expect(after.attempt).toBeGreaterThan(1);
  await syncToEnd(millrace, { connector });
  await expectEqual(connector, ['orders', 'stock']);
});

for (const mode of ['fast', 'immediate'] as const) {
  test(`the server restarts (${mode}) during a first load`, { timeout: 90_000 }, async () => {
    await using server: EmbeddedPostgres = await startEmbeddedPostgres();
    await using own = poolOf(server);
    await createMovingTables(own, ROWS);
    await using slow = await startChaosProxy(server);
    slow.delay(2);
    const connector = await register(['orders', 'stock', 'events', 'prices'], {
      port: slow.port,
      database: server.database,
      username: server.user,
      password: server.password,
    });
    const run = await start(connector);
    await untilReading(run.run_id);
    await server.restart(mode);
    slow.delay(0);
    const ended = await runToEnd(millrace, run.run_id);
    expect(ended).toMatchObject({ status: 'succeeded' });
    expect(ended.attempt).toBeGreaterThan(1);
    const differences = await compareMoving({ database: own, warehouse: warehouse(), connector });
    expect(differences.filter((difference) => !isEqual(difference))).toEqual([]);
  });
}

test('one stream without a grant: the run is partial, the others are complete, and the hint mends it', async () => {
  const reader = await database.login();
  await database.run(`GRANT SELECT ON orders, stock, events TO ${reader.username}`);
  const connector = await register(movingNames, reader);
  const run = await syncToEnd(millrace, { connector });
  expect(run).toMatchObject({ status: 'partial', attempt: 1 });
  const byName = Object.fromEntries(
    run.streams.map((stream): [string, StreamResult] => [stream.stream, stream]),
  );
  expect(byName['prices']).toMatchObject({
    status: 'failed',
    error: { code: 'permission_denied', who: 'administrator' },
  });
  for (const name of ['orders', 'stock', 'events'])
    expect(byName[name]).toMatchObject({ status: 'succeeded' });
  await expectEqual(connector, ['orders', 'stock', 'events']);
  const grant = /GRANT [^;`]*/.exec(byName['prices']?.error?.hint ?? '')?.[0];
  expect(grant, 'the hint holds the grant').toBeDefined();
  await database.run(String(grant));
  expect(await syncToEnd(millrace, { connector })).toMatchObject({ status: 'succeeded' });
  await expectEqual(connector);
});

const BACKENDS = `SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'millrace%' AND datname = current_database()`;

function warehouse(): string {
  return join(directory.dataDir, 'warehouse.db');
}

/** The server's own database; idle clients that a restart ends are the test's doing. */
function poolOf(server: EmbeddedPostgres): MovingDatabase & AsyncDisposable {
  const pool = new pg.Pool({ ...server });
  pool.on('error', () => {});
  return {
    dialect: dialects.postgresql,
    async run(...statements) {
      let rows: Record<string, unknown>[] = [];
      for (const sql of statements) ({ rows } = await pool.query(sql));
      return rows;
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
}

/** A connector of its own for each test, through the proxy. */
async function register(
  names: readonly (typeof movingNames)[number][] = movingNames,
  config: object = {},
): Promise<string> {
  const name = `net${++count}`;
  await millrace.must('register_connector', {
    name,
    type: 'postgresql',
    config: { ...database.config, port: proxy.port, connect_timeout_ms: 2_000, ...config },
    streams: names.map((stream) => movingTables[stream].stream),
    test: false,
  });
  return name;
}

async function start(connector: string): Promise<Run> {
  return (await millrace.must<{ run: Run }>('sync_connector', { connector, wait_seconds: 0 })).run;
}

async function runOf(runId: string): Promise<Run> {
  return (await millrace.must<{ run: Run }>('get_run', { run_id: runId })).run;
}

/** Waits until rows have been read, and says how the run ended when it ends before. */
async function untilReading(runId: string): Promise<void> {
  await waitFor(async () => {
    const run = await runOf(runId);
    if (run.finished_at !== undefined) throw new Error(`ended already: ${JSON.stringify(run)}`);
    return run.totals.rows_read > 0;
  });
}

async function rowsOf(table: string): Promise<number> {
  return Number((await database.run(`SELECT count(*) AS n FROM ${table}`))[0]?.['n']);
}

async function expectEqual(
  connector: string,
  names: readonly (typeof movingNames)[number][] = movingNames,
): Promise<void> {
  const differences = await compareMoving({ database, warehouse: warehouse(), connector, names });
  expect(differences.filter((difference) => !isEqual(difference))).toEqual([]);
}

/** Polls for a condition, at most twenty seconds. */
async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  const until = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > until) throw new Error('it did not come to that');
    await sleep(20);
  }
}
