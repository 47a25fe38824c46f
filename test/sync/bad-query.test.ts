import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';

/** query_data through the tools: writes refused, endless queries stopped, and the server answers meanwhile. */

let database: TestDatabase;
let millrace: MillraceProcess;
const directory = temporaryDirectory();
const warehouseFile = join(directory.dataDir, 'warehouse.db');

beforeAll(async () => {
  database = await freshDatabase();
  await database.query(`CREATE TABLE orders (id int PRIMARY KEY, note text);
    INSERT INTO orders SELECT n, 'n' || n FROM generate_series(1, 500) n`);
  millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: { query: { timeoutMs: 1_000, maxRows: 100, maxBytes: 20_000 } },
  });
  await millrace.must('register_connector', {
    name: 'shop',
    type: 'postgresql',
    config: database.config,
    streams: [{ name: 'orders', table: 'public.orders' }],
  });
  await syncToEnd(millrace, { connector: 'shop' });
});

afterAll(async () => {
  await millrace?.kill();
  await database?.drop();
  directory[Symbol.dispose]();
});

const refused = [
  'DELETE FROM shop__orders',
  `UPDATE shop__orders SET note = 'x'`,
  `INSERT INTO shop__orders (id) VALUES (0) RETURNING id`,
  'WITH x AS (SELECT 1) DELETE FROM shop__orders',
  'DROP TABLE shop__orders',
  'CREATE TABLE mine AS SELECT 1',
  'CREATE TEMP TABLE mine AS SELECT 1',
  'SELECT 1; DELETE FROM shop__orders',
  'SELECT 1; SELECT 2',
  `ATTACH DATABASE '${join(directory.dataDir, 'store.db')}' AS store`,
  `VACUUM INTO '${join(directory.path, 'stolen.db')}'`,
  'VACUUM',
  'PRAGMA writable_schema = 1',
  'PRAGMA journal_mode = DELETE',
  'PRAGMA user_version = 9999',
  'BEGIN EXCLUSIVE',
  'REINDEX',
  'ANALYZE',
  `SELECT load_extension('/tmp/evil.so')`,
  `SELECT writefile('/tmp/evil', 'x')`,
  `SELECT readfile('/etc/passwd')`,
  `SELECT * FROM shop__ordrs`,
  'SELEC 1',
  '',
  '-- nothing but a comment',
];

test('what is not one SELECT is query_rejected, with a hint, and nothing has changed', async () => {
  const before = fingerprint();
  for (const sql of refused) {
    const error = await millrace.fails('query_data', { sql });
    expect(error.code, sql).toMatch(/^(query_rejected|invalid_config)$/);
    expect(error.hint.length, sql).toBeGreaterThan(10);
  }
  expect(fingerprint()).toEqual(before);
  expect(readdirSync(directory.path).filter((name) => name.includes('stolen'))).toEqual([]);
  expect(await millrace.must('query_data', { sql: 'SELECT count(*) AS n FROM shop__orders' })).toMatchObject({
    rows: [[500]],
  });
});

test('a misspelt table is answered with the nearest one, and that one works', async () => {
  const error = await millrace.fails('query_data', { sql: 'SELECT count(*) FROM shop__ordrs' });
  const name = /shop__orders/.exec(`${error.hint}`)?.[0];
  expect(name, error.hint).toBeDefined();
  expect(await millrace.must('query_data', { sql: `SELECT count(*) FROM ${name}` })).toMatchObject({
    rows: [[500]],
  });
});

const endless = [
  'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n',
  'SELECT count(*) FROM shop__orders a, shop__orders b, shop__orders c, shop__orders d',
  `SELECT length(hex(zeroblob(900000000))) + length(hex(zeroblob(900000000)))`,
];

test('SQL that never ends is stopped in time, and the server answers meanwhile', {
  timeout: 60_000,
}, async () => {
  for (const sql of endless) {
    const before = performance.now();
    const answer = millrace.call('query_data', { sql });
    let slowest = 0;
    let answers = 0;
    let done = false;
    void answer.finally(() => {
      done = true;
    });
    while (!done) {
      const asked = performance.now();
      await millrace.must('get_health');
      slowest = Math.max(slowest, performance.now() - asked);
      answers += 1;
    }
    const reply = await answer;
    expect(reply.isError, sql).toBe(true);
    expect((reply.structured['error'] as { code: string }).code, sql).toMatch(/^query_(timeout|rejected)$/);
    expect(performance.now() - before, sql).toBeLessThan(5_000);
    expect(slowest, `slowest of ${answers} answers during: ${sql}`).toBeLessThan(500);
  }
  expect(await millrace.must('query_data', { sql: 'SELECT 1 AS one' })).toMatchObject({ rows: [[1]] });
});

test('a result that is too large is cut and says so', async () => {
  const rows = await millrace.must<{ row_count: number; truncated: boolean }>('query_data', {
    sql: 'SELECT * FROM shop__orders',
  });
  expect(rows).toMatchObject({ row_count: 100, truncated: true });
  const wide = await millrace.call('query_data', { sql: `SELECT hex(zeroblob(5000000)) AS big` });
  expect(wide.isError).toBe(false);
  expect(wide.text.length).toBeLessThan(25_001);
});

/** Rows and schema of the warehouse, apart from what belongs to SQLite itself. */
function fingerprint(): string {
  const warehouse = new Database(warehouseFile, { readonly: true });
  try {
    const schema = warehouse.prepare('SELECT type, name, sql FROM sqlite_master ORDER BY name').all();
    const rows = warehouse.prepare('SELECT * FROM shop__orders ORDER BY id').all();
    const version = warehouse.pragma('user_version');
    const keys = readFileSync(join(directory.dataDir, 'master.key'));
    return createHash('sha256')
      .update(JSON.stringify([schema, rows, version]))
      .update(keys)
      .digest('hex');
  } finally {
    warehouse.close();
  }
}
