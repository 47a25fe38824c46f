import { existsSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ErrorCode, ErrorView } from '../../src/core/errors.ts';
import type { CheckReport, Run, Stream } from '../../src/core/model.ts';
import { freshDatabaseOn, type ServerDatabase, serverKinds, serverWithoutTls } from '../support/databases.ts';
import type { ServerKind } from '../support/dialects.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { testTls } from '../support/postgres-tls.ts';

/**
 * Bad input over MCP: each is a coded error, nothing is changed by it, and doing what its hint says mends it.
 * Every case is provoked twice, by asking (test_connector) and by doing (sync_connector).
 */

let millrace: MillraceProcess;
const directory = temporaryDirectory();
let count = 0;

beforeAll(async () => {
  millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: { runs: { attempts: 2, backoffMs: [10, 20] } },
  });
});

afterAll(async () => {
  await millrace?.kill();
  directory[Symbol.dispose]();
});

/** What each server's users try, to write through a stream's query; the source is read only whatever the login may do. */
const writing: Readonly<Record<ServerKind, readonly string[]>> = {
  postgresql: [
    'DELETE FROM orders RETURNING *',
    'WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone',
    'SELECT 1; DELETE FROM orders',
    'SELECT 1 AS id) TO STDOUT; COMMIT; DELETE FROM orders; COPY (SELECT 1 AS id',
    `SELECT nextval('counter') AS id`,
    'SELECT id INTO copied FROM orders',
    'COMMIT',
    `SELECT pg_terminate_backend(0), set_config('transaction_read_only', 'off', false) AS id; DELETE FROM orders`,
  ],
  mysql: writingMysql(),
  mariadb: [...writingMysql(), 'DELETE FROM orders RETURNING *', 'SELECT nextval(counter) AS id'],
};

function writingMysql(): readonly string[] {
  return [
    'DELETE FROM orders',
    'WITH gone AS (SELECT 1 AS id) DELETE FROM orders',
    'SELECT 1 AS id; DELETE FROM orders',
    'SELECT 1 AS id) AS q; DELETE FROM orders; -- ',
    'TRUNCATE orders',
    'DROP TABLE orders',
    'REPLACE INTO orders (id) VALUES (1)',
    'CREATE TABLE copied AS SELECT 1 AS id',
    `SELECT id FROM orders INTO OUTFILE '/tmp/millrace-never'`,
    'COMMIT',
    'SET GLOBAL read_only = 0',
    'SET SESSION TRANSACTION READ WRITE',
    'LOCK TABLES orders WRITE',
  ];
}

describe.each(serverKinds)('%s', (kind) => {
  let database: ServerDatabase;

  beforeAll(async () => {
    database = await freshDatabaseOn(kind);
    const { types, series, now, counter } = database.dialect;
    await database.run(
      `CREATE TABLE orders (id int PRIMARY KEY, note ${types.text}, changed_at ${types.stamp} NULL, never ${types.stamp} NULL, doc ${types.unordered})`,
      `INSERT INTO orders SELECT n, concat('n', n), ${now}, NULL, NULL FROM ${series(100)}`,
      'CREATE TABLE visits (day date, person int, n int)',
      `INSERT INTO visits (day, person, n) SELECT CASE WHEN n % 2 = 0 THEN date '2026-01-01' ELSE date '2026-01-02' END, n, n FROM ${series(100)}`,
      counter.create('counter'),
    );
  });

  afterAll(() => database?.drop());

  const ORDERS: Stream = { name: 'orders', table: 'orders', mode: 'merge', cursor: 'changed_at' };

  interface ConfigCase {
    readonly what: string;
    readonly config: () => Record<string, unknown>;
    readonly code: ErrorCode;
    /** What the hint has to name, and the change it leads to. */
    readonly hint: RegExp;
    readonly mend: () => Record<string, unknown>;
  }

  const configCases: readonly ConfigCase[] = [
    {
      what: 'a host that has no address',
      config: () => ({ host: 'db.no-such-place.invalid' }),
      code: 'host_unreachable',
      hint: /host/,
      mend: () => ({ host: database.config.host }),
    },
    {
      what: 'a port where nobody listens',
      config: () => ({ port: 1 }),
      code: 'host_unreachable',
      hint: /port/,
      mend: () => ({ port: database.config.port }),
    },
    {
      what: 'a wrong password',
      config: () => ({ password: 'not-the-password' }),
      code: 'auth_failed',
      hint: /password/,
      mend: () => ({ password: database.config.password }),
    },
    {
      what: 'a login that is not there',
      config: () => ({ username: 'nobody_here' }),
      code: 'auth_failed',
      hint: /username|login|role/i,
      mend: () => ({ username: database.config.username }),
    },
    {
      what: 'a database that is not there',
      config: () => ({ database: 'no_such_database' }),
      code: 'not_found_at_source',
      hint: /database/,
      mend: () => ({ database: database.name }),
    },
    {
      what: 'a certificate that nobody vouches for',
      config: () => ({ ssl: 'verify-full' }),
      code: 'tls_failed',
      hint: /\bca\b/,
      mend: () => ({ ca: testTls.ca }),
    },
  ];

  for (const { what, config, code, hint, mend } of configCases) {
    test(`${what}: ${code}, and the field that the hint names mends it`, async () => {
      const connector = await register({ ...database.config, ...config() }, [ORDERS]);
      const error = await provoke(connector, code);
      expect(error.hint).toMatch(hint);
      await millrace.must('update_connector', { connector, config: mend() });
      await expectWorks(connector, 100);
    });
  }

  test('TLS asked of a server without it: tls_failed, and the hint names the setting', {
    timeout: 60_000,
  }, async () => {
    await using server = await serverWithoutTls(kind);
    const connector = await register({ ...server.config, ssl: 'require' }, [
      { name: 'one', query: 'select 1 as id' },
    ]);
    const error = await provoke(connector, 'tls_failed');
    const setting = /"?(prefer|disable)"?/.exec(error.hint)?.[1];
    await millrace.must('update_connector', { connector, config: { ssl: setting } });
    await expectWorks(connector, 1);
  });

  interface StreamCase {
    readonly what: string;
    readonly stream: Stream;
    readonly code: ErrorCode;
    readonly hint: RegExp;
    /** The stream as the hint wants it; made from the hint where it names something. */
    readonly mend: (error: ErrorView) => Stream;
    readonly rows: number;
  }

  const streamCases: readonly StreamCase[] = [
    {
      what: 'a table misspelt',
      stream: { ...ORDERS, table: 'ordrs' },
      code: 'not_found_at_source',
      hint: /orders/,
      mend: (error) => ({ ...ORDERS, table: /\borders\b/.exec(error.hint)?.[0] ?? '' }),
      rows: 100,
    },
    {
      what: 'a cursor column misspelt',
      stream: { ...ORDERS, cursor: 'chnged_at' },
      code: 'not_found_at_source',
      hint: /changed_at/,
      mend: (error) => ({ ...ORDERS, cursor: /\bchanged_at\b/.exec(error.hint)?.[0] ?? '' }),
      rows: 100,
    },
    {
      what: 'a cursor column that is all NULL',
      stream: { ...ORDERS, cursor: 'never' },
      code: 'cursor_invalid',
      hint: /"changed_at"/,
      mend: (error) => ({ ...ORDERS, cursor: /\bchanged_at\b/.exec(error.hint)?.[0] ?? '' }),
      rows: 100,
    },
    {
      what: 'a cursor column without an order',
      stream: { ...ORDERS, cursor: 'doc' },
      code: 'cursor_invalid',
      hint: /"changed_at"/,
      mend: (error) => ({ ...ORDERS, cursor: /\bchanged_at\b/.exec(error.hint)?.[0] ?? '' }),
      rows: 100,
    },
    {
      what: 'a primary key that repeats',
      stream: { name: 'visits', table: 'visits', mode: 'merge', cursor: 'n', primary_key: ['day'] },
      code: 'key_not_unique',
      hint: /primary_key/,
      mend: () => ({
        name: 'visits',
        table: 'visits',
        mode: 'merge',
        cursor: 'n',
        primary_key: ['day', 'person'],
      }),
      rows: 100,
    },
    {
      what: 'a primary key column that is not there',
      stream: { name: 'visits', table: 'visits', mode: 'merge', cursor: 'n', primary_key: ['dya'] },
      code: 'not_found_at_source',
      hint: /day/,
      mend: () => ({
        name: 'visits',
        table: 'visits',
        mode: 'merge',
        cursor: 'n',
        primary_key: ['day', 'person'],
      }),
      rows: 100,
    },
    {
      what: 'merge without a key',
      stream: { name: 'visits', table: 'visits', mode: 'merge', cursor: 'n' },
      code: 'invalid_config',
      hint: /primary_key/,
      mend: () => ({
        name: 'visits',
        table: 'visits',
        mode: 'merge',
        cursor: 'n',
        primary_key: ['day', 'person'],
      }),
      rows: 100,
    },
    {
      what: 'append without a cursor',
      stream: { name: 'visits', table: 'visits', mode: 'append' },
      code: 'invalid_config',
      hint: /replace/,
      mend: () => ({ name: 'visits', table: 'visits', mode: 'replace' }),
      rows: 100,
    },
    {
      what: 'a column to leave out that is not there',
      stream: { ...ORDERS, columns: { exclude: ['noet'] } },
      code: 'not_found_at_source',
      hint: /note/,
      mend: () => ({ ...ORDERS, columns: { exclude: ['note'] } }),
      rows: 100,
    },
    {
      what: 'a condition that is no SQL',
      stream: { ...ORDERS, where: 'id >>> 3 and' },
      code: 'invalid_config',
      hint: /where/,
      mend: () => ({ ...ORDERS, where: 'id > 90' }),
      rows: 10,
    },
  ];

  for (const { what, stream, code, hint, mend, rows } of streamCases) {
    test(`${what}: ${code}, and what the hint says mends it`, async () => {
      const connector = await register(database.config, [stream]);
      const before = landedTables();
      const run = await syncToEnd(millrace, { connector });
      expect(run).toMatchObject({ status: 'failed', totals: { rows_written: 0 } });
      const error = run.streams[0]?.error ?? run.error;
      expect(error, JSON.stringify(run)).toMatchObject({ code });
      expect(error?.hint).toMatch(hint);
      expect(landedTables()).toEqual(before);
      const preview = await millrace.fails('preview_stream', { connector, stream: stream.name });
      expect(preview.code).toBe(code);
      await millrace.must('update_connector', { connector, streams: [mend(error as ErrorView)] });
      await expectWorks(connector, rows);
    });
  }

  test('a missing grant: permission_denied, asked and done; the GRANTs of the hints mend it', async () => {
    const login = await database.login();
    const connector = await register({ ...database.config, ...login }, [ORDERS]);
    let error: ErrorView | undefined = await provoke(connector, 'permission_denied');
    // One for the database and one for the table, where these are granted apart.
    for (let granted = 0; error !== undefined && granted < 2; granted += 1) {
      expect(error.who).toBe('administrator');
      const grant = /GRANT [^;]+(?=;)/.exec(error.hint)?.[0];
      expect(grant, error.hint).toBeDefined();
      await database.run(String(grant));
      ({ error } = await millrace.must<CheckReport>('test_connector', { connector }));
    }
    await expectWorks(connector, 100);
  });

  test('a query that writes is refused and the source keeps everything', { timeout: 60_000 }, async () => {
    for (const query of writing[kind]) {
      const connector = await register(database.config, [{ name: 'bad', query, mode: 'replace' }]);
      const preview = await millrace.fails('preview_stream', { connector, stream: 'bad' });
      expect(preview.code, query).toMatch(/^(invalid_config|query_rejected)$/);
      const run = await syncToEnd(millrace, { connector });
      expect(run, query).toMatchObject({ status: 'failed', totals: { rows_written: 0 } });
    }
    const [left] = await database.run('SELECT count(*) AS n FROM orders');
    expect(Number(left?.['n'])).toBe(100);
    const [drawn] = await database.run(...database.dialect.counter.draw('counter'));
    expect(Number(drawn?.['n'])).toBe(1);
  });

  async function register(config: object, streams: readonly Stream[]): Promise<string> {
    const name = `bad${++count}`;
    await millrace.must('register_connector', {
      name,
      type: database.dialect.connector,
      config,
      streams,
      test: false,
    });
    return name;
  }
});

/** The error that testing and syncing both end with; nothing has landed. */
async function provoke(connector: string, code: ErrorCode): Promise<ErrorView> {
  const before = landedTables();
  const report = await millrace.must<CheckReport>('test_connector', { connector });
  expect(report, JSON.stringify(report)).toMatchObject({ ok: false, error: { code } });
  const run = await syncToEnd(millrace, { connector });
  expect(run).toMatchObject({ status: 'failed', totals: { rows_written: 0 } });
  const error = run.error ?? run.streams[0]?.error;
  expect(error).toMatchObject({ code });
  expect(landedTables()).toEqual(before);
  return report.error as ErrorView;
}

async function expectWorks(connector: string, rows: number): Promise<void> {
  expect(await millrace.must('test_connector', { connector })).toMatchObject({ ok: true });
  const run: Run = await syncToEnd(millrace, { connector });
  expect(run, JSON.stringify(run)).toMatchObject({ status: 'succeeded', totals: { rows_written: rows } });
}

/** Every landed table with its rows, as the file has them. */
function landedTables(): readonly unknown[] {
  const file = join(directory.dataDir, 'warehouse.db');
  if (!existsSync(file)) return [];
  const warehouse = new Database(file, { readonly: true });
  try {
    const names = warehouse
      .prepare(
        `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1`,
      )
      .pluck()
      .all();
    return names.map((name) => [
      name,
      warehouse
        .prepare(`SELECT count(*) FROM "${String(name)}"`)
        .pluck()
        .get(),
    ]);
  } finally {
    warehouse.close();
  }
}
