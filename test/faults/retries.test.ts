import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Run, StreamResult } from '../../src/core/model.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import {
  type MillraceProcess,
  runToEnd,
  type StartOptions,
  startMillrace,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';

/**
 * What a run keeps between its attempts, seen through the tools: which streams it reads again, that it outlives the
 * process, and that whoever mended the source need not wait. Of three streams one works, one passes with time, and one
 * does not before somebody acts.
 */

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database?.drop());

const HOUR_MS = 3_600_000;

test('a run that waits is brought forward, with all that failed; what succeeded is not read again', {
  timeout: 60_000,
}, async () => {
  using directory = temporaryDirectory();
  const options = optionsOf(directory.dataDir, { attempts: 3, backoffMs: [HOUR_MS, HOUR_MS] });
  await using first = await startMillrace(options);
  await register(first);
  const waiting = await untilWaiting(first);
  expect(waiting.attempt).toBe(2);
  expect(statuses(waiting)).toEqual({ works: 'succeeded', slow: 'timeout', missing: 'not_found_at_source' });
  expect(waiting.error?.code).toBe('timeout');

  const refused = await first.fails('sync_connector', { connector: 'shop', streams: ['works'] });
  expect(refused.code).toBe('run_in_progress');
  await first.kill();
  await using second = await startMillrace(options);
  const kept = await runOf(second, waiting.run_id);
  expect(kept).toMatchObject({ status: 'queued', retry_at: waiting.retry_at });

  await mendSlow();
  await database.query('CREATE TABLE missing (id int PRIMARY KEY)');
  for (const actions of [kept.next_actions, refused.next_actions])
    expect(actions).toContainEqual({
      tool: 'sync_connector',
      arguments: { connector: 'shop' },
      why: expect.any(String),
    });
  const { run } = await second.must<{ run: Run }>('sync_connector', { connector: 'shop', wait_seconds: 0 });
  expect(run.run_id).toBe(waiting.run_id);
  const ended = await runToEnd(second, run.run_id);
  expect(ended, JSON.stringify(ended)).toMatchObject({ status: 'succeeded', attempt: 2 });
  expect(resultOf(ended, 'works')).toEqual(resultOf(waiting, 'works'));
  expect(resultOf(ended, 'slow').rows_written).toBe(1);
});

test('attempts go on after a restart by themselves, with the streams that a second attempt can mend', {
  timeout: 60_000,
}, async () => {
  using directory = temporaryDirectory();
  const options = optionsOf(directory.dataDir, { attempts: 20, backoffMs: [1_000, 1_000] });
  await using first = await startMillrace(options);
  await register(first);
  const waiting = await untilWaiting(first);
  await first.kill();
  await mendSlow();
  await database.query('CREATE TABLE missing (id int PRIMARY KEY)');
  await using second = await startMillrace(options);
  const ended = await runToEnd(second, waiting.run_id);
  expect(ended, JSON.stringify(ended)).toMatchObject({
    status: 'partial',
    error: { code: 'not_found_at_source' },
  });
  expect(ended.attempt).toBeGreaterThan(1);
  expect(statuses(ended)).toEqual({ works: 'succeeded', slow: 'succeeded', missing: 'not_found_at_source' });
  // It is there by now: nobody looked again, and nobody was told to before it was mended.
  for (const stream of ['works', 'missing'])
    expect(resultOf(ended, stream)).toEqual(resultOf(waiting, stream));
});

test('a process that is stopped in order uses no attempt up', { timeout: 60_000 }, async () => {
  using directory = temporaryDirectory();
  const options = optionsOf(directory.dataDir, { attempts: 1 });
  let millrace = await startMillrace(options);
  try {
    await register(millrace, 30_000);
    const id = await start(millrace);
    for (let stop = 0; stop < 2; stop += 1) {
      await untilIt(
        millrace,
        id,
        ({ status, streams }) => status === 'running' && streams.some((one) => one.status === 'succeeded'),
      );
      await millrace.kill('SIGTERM');
      if (stop === 1) await mendSlow();
      millrace = await startMillrace(options);
    }
    const ended = await runToEnd(millrace, id);
    expect(ended, JSON.stringify(ended)).toMatchObject({ status: 'partial', attempt: 1 });
    expect(statuses(ended)).toEqual({
      works: 'succeeded',
      slow: 'succeeded',
      missing: 'not_found_at_source',
    });
  } finally {
    await millrace.kill();
  }
});

test('what an earlier attempt committed stays in the result when later ones do not get as far as the table', {
  timeout: 60_000,
}, async () => {
  using directory = temporaryDirectory();
  await using proxy = await startChaosProxy(database.config);
  await using millrace = await startMillrace(
    optionsOf(directory.dataDir, { attempts: 3, backoffMs: [10, 50] }),
  );
  await registerBig(millrace, proxy);
  await millrace.must('sync_connector', { connector: 'shop', streams: ['big'], wait_seconds: 20 });
  await database.query("UPDATE big SET at = at + 1000000, text = text || '!'");
  proxy.stallAfter(4_000_000);
  const id = await start(millrace);
  await untilIt(millrace, id, ({ totals }) => totals.rows_written > 0);
  await proxy.refuse();
  const ended = await runToEnd(millrace, id);
  expect(ended, JSON.stringify(ended)).toMatchObject({
    status: 'failed',
    attempt: 3,
    error: { code: 'host_unreachable' },
  });
  const { rows } = await millrace.must<{ rows: number[][] }>('query_data', {
    sql: `SELECT count(*) FROM shop__big WHERE _mr_run = '${id}'`,
  });
  const big = resultOf(ended, 'big');
  expect(big.rows_written).toBe(rows[0]?.[0]);
  expect(big.rows_read).toBeGreaterThanOrEqual(big.rows_written);
  expect(big).toMatchObject({
    status: 'failed',
    mode: 'merge',
    guard: expect.any(String),
    cursor_before: '20000',
    cursor_after: '20000',
    error: { code: 'host_unreachable' },
  });
  expect(resultOf(ended, 'more')).toMatchObject({ status: 'failed', rows_written: 0 });
  expect(ended.totals.rows_written).toBe(big.rows_written);
});

test('an attempt that reads a stream anew counts what it brought, and not what an earlier one had built aside', {
  timeout: 60_000,
}, async () => {
  using directory = temporaryDirectory();
  await using proxy = await startChaosProxy(database.config);
  await using millrace = await startMillrace(
    optionsOf(directory.dataDir, { attempts: 3, backoffMs: [10, 50] }),
  );
  await registerBig(millrace, proxy, 'replace');
  proxy.stallAfter(4_000_000);
  const id = await start(millrace);
  const before = await untilIt(millrace, id, ({ totals }) => totals.rows_written > 0);
  await proxy.heal();
  proxy.cut();
  const ended = await runToEnd(millrace, id);
  expect(ended, JSON.stringify(ended)).toMatchObject({ status: 'succeeded', attempt: 2 });
  const big = resultOf(ended, 'big');
  expect(big.rows_written).toBe(20_000);
  expect(big.rows_read).toBeGreaterThanOrEqual(20_000 + before.totals.rows_written);
});

/** A connector over a table that is read in many batches and one that comes after it, behind the proxy. */
async function registerBig(
  millrace: MillraceProcess,
  proxy: ChaosProxy,
  mode: 'merge' | 'replace' = 'merge',
): Promise<void> {
  for (const sql of [
    'DROP TABLE IF EXISTS big, more',
    'CREATE TABLE big (id int PRIMARY KEY, at bigint NOT NULL, text text NOT NULL)',
    "INSERT INTO big SELECT n, n, repeat('x', 1000) FROM generate_series(1, 20000) n",
    'CREATE TABLE more (id int PRIMARY KEY)',
  ])
    await database.query(sql);
  await millrace.must('register_connector', {
    name: 'shop',
    type: 'postgresql',
    config: { ...database.config, host: proxy.host, port: proxy.port },
    streams: [
      { name: 'big', table: 'big', mode, ...(mode === 'merge' ? { cursor: 'at' } : {}) },
      { name: 'more', table: 'more' },
    ],
    test: false,
  });
}

/** A connector over one table that is there, one that is not, and one whose rows take too long. */
async function register(millrace: MillraceProcess, statement_timeout_ms = 1_000): Promise<void> {
  for (const sql of [
    'DROP TABLE IF EXISTS works, pace, missing',
    'CREATE TABLE works (id int PRIMARY KEY)',
    'INSERT INTO works SELECT generate_series(1, 100)',
    'CREATE TABLE pace (id int PRIMARY KEY, seconds float)',
    'INSERT INTO pace VALUES (1, 60)',
  ])
    await database.query(sql);
  await millrace.must('register_connector', {
    name: 'shop',
    type: 'postgresql',
    config: { ...database.config, statement_timeout_ms },
    streams: [
      { name: 'works', table: 'works', primary_key: ['id'] },
      { name: 'slow', query: 'SELECT id, pg_sleep(seconds)::text AS slept FROM pace', mode: 'replace' },
      { name: 'missing', table: 'missing', primary_key: ['id'] },
    ],
    test: false,
  });
}

async function mendSlow(): Promise<void> {
  await database.query('UPDATE pace SET seconds = 0');
}

/** Starts a run and waits until an attempt of it has failed and the next one is to come. */
async function untilWaiting(millrace: MillraceProcess): Promise<Run> {
  const id = await start(millrace);
  return await untilIt(millrace, id, ({ retry_at }) => retry_at !== undefined);
}

async function start(millrace: MillraceProcess): Promise<string> {
  const input = { connector: 'shop', wait_seconds: 0 };
  return (await millrace.must<{ run: Run }>('sync_connector', input)).run.run_id;
}

/** The run as it was when it first was so. */
async function untilIt(millrace: MillraceProcess, runId: string, holds: (run: Run) => boolean): Promise<Run> {
  const until = Date.now() + 25_000;
  for (;;) {
    const run = await runOf(millrace, runId);
    if (holds(run)) return run;
    if (Date.now() > until || run.finished_at !== undefined)
      throw new Error(`it did not come to that: ${JSON.stringify(run)}`);
    await sleep(20);
  }
}

async function runOf(millrace: MillraceProcess, runId: string): Promise<Run> {
  return (await millrace.must<{ run: Run }>('get_run', { run_id: runId })).run;
}

function resultOf({ streams }: Run, name: string): StreamResult {
  const found = streams.find(({ stream }) => stream === name);
  if (found === undefined) throw new Error(`no stream ${name} in ${JSON.stringify(streams)}`);
  return found;
}

/** Each stream's status, or the code it failed with. */
function statuses({ streams }: Run): Readonly<Record<string, string>> {
  return Object.fromEntries(streams.map(({ stream, status, error }) => [stream, error?.code ?? status]));
}

function optionsOf(dataDir: string, runs: object): StartOptions {
  return { dataDir, config: { runs } };
}
