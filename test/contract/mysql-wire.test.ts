import { setTimeout as sleep } from 'node:timers/promises';
import { createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OddDates } from '../../src/connectors/mysql/odd-dates.ts';
import type { RowBatch } from '../../src/connectors/mysql/rows.ts';
import type { Session } from '../../src/connectors/mysql/session.ts';
import { sourceType, travelOf } from '../../src/connectors/mysql/types.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import { mysqlKinds, privateMysql } from '../support/mysql.ts';
import { forever, openSession } from './mysql-types-support.ts';

/**
 * Rows over a real connection: of any size, pulled, ended early, killed. Each server is set up as badly as its
 * administrator could: in a zone of its own, with modes and limits that change what a SELECT says.
 */

const odd = {
  'default-time-zone': '+05:45',
  'sql-mode':
    'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE',
  'max-allowed-packet': '256M',
  'lower-case-table-names': '1',
};

/** Ten thousand million rows, and as many of which none fits. */
const flood = 'SELECT a.id + 0 AS id FROM numbers a, numbers b';
const silence = "SELECT COUNT(*) AS id FROM numbers a, numbers b WHERE SHA2(CONCAT(a.id, b.id), 512) = 'x'";

describe.each(mysqlKinds)('%s', (kind) => {
  let server: Awaited<ReturnType<typeof privateMysql>>;
  let admin: Awaited<ReturnType<typeof createConnection>>;
  let config: Record<string, unknown>;

  beforeAll(async () => {
    server = await privateMysql(kind, { settings: odd, databases: ['shop'] });
    const { host, port, user, password } = server;
    admin = await createConnection({ host, port, user, password, database: 'shop', charset: 'utf8mb4' });
    config = { host, port, database: 'shop', username: user, password, ssl: 'disable' };
    await admin.query(
      'SET GLOBAL sql_select_limit = 2, GLOBAL sql_auto_is_null = 1, GLOBAL sql_safe_updates = 1',
    );
    await admin.query("SET SESSION sql_mode = '', sql_select_limit = DEFAULT, sql_safe_updates = 0");
    await admin.query(
      'CREATE TABLE Numbers (id int PRIMARY KEY AUTO_INCREMENT, c char(10), ts timestamp NULL, pad char(200))',
    );
    await admin.query(
      "INSERT INTO numbers (c, ts, pad) VALUES ('a', '2024-01-01 00:00:00', REPEAT('x', 200)), ('b\\\\', NULL, ''), ('c', NULL, '')",
    );
    for (let rows = 3; rows < 50_000; rows *= 2)
      await admin.query("INSERT INTO numbers (c, pad) SELECT c, REPEAT('y', 200) FROM numbers LIMIT 100000");
  }, 120_000);

  afterAll(async () => {
    admin?.destroy();
    await server?.stop();
  });

  const columnsOf = (types: Readonly<Record<string, string>>) =>
    Object.entries(types).map(([name, type]) => ({
      name,
      travel: travelOf(sourceType(type, /char|text/.test(type) ? 'utf8mb4' : null)),
    }));
  const batches = (
    session: Session,
    sql: string,
    types: Readonly<Record<string, string>>,
    signal = forever,
  ) =>
    session
      .rows(sql, signal)
      .batches({ columns: columnsOf(types), hidden: [], oddDates: new OddDates('text') });
  const drained = async (rows: AsyncIterable<RowBatch>): Promise<readonly RowBatch[]> => {
    const all: RowBatch[] = [];
    for await (const batch of rows) all.push(batch);
    return all;
  };
  const failure = async (work: Promise<unknown>): Promise<MillraceError> =>
    await work.then(
      () => expect.unreachable('it should have failed'),
      (error: unknown) => error as MillraceError,
    );
  /** Statements of other sessions that are at work on the server. */
  const running = async (): Promise<number> => {
    const [rows] = await admin.query<never[]>(
      "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE command IN ('Query', 'Execute') AND info LIKE '%numbers%' AND id <> CONNECTION_ID()",
    );
    return Number((rows[0] as { n?: unknown } | undefined)?.n);
  };
  const eventually = async (value: () => Promise<number>, wanted: number): Promise<void> => {
    for (let tries = 0; tries < 60 && (await value()) !== wanted; tries++) await sleep(50);
    expect(await value()).toBe(wanted);
  };

  test('a session reads the same whatever the server is set to', async () => {
    await using session = await openSession(config);
    expect(session.server).toMatchObject({ kind, lowerCaseTableNames: 1, ssl: false });
    expect(session.server.number).toBeGreaterThan(kind === 'mysql' ? 80_000 : 100_600);
    expect([...session.server.sqlMode].sort()).toEqual(
      expect.arrayContaining([
        'ALLOW_INVALID_DATES',
        'ANSI_QUOTES',
        'NO_BACKSLASH_ESCAPES',
        'STRICT_TRANS_TABLES',
      ]),
    );
    expect([...session.server.sqlMode].join()).not.toMatch(/PAD_CHAR|NO_ZERO/);
    expect(await session.query('SELECT @@time_zone, @@character_set_results')).toEqual([
      ['+00:00', 'utf8mb4'],
    ]);
    const all = await drained(
      batches(session, 'SELECT id, c, ts FROM numbers ORDER BY id', {
        id: 'int',
        c: 'char(10)',
        ts: 'timestamp',
      }),
    );
    expect(all.reduce((sum, { rows }) => sum + rows, 0)).toBeGreaterThan(50_000);
    expect(all[0]?.values.slice(0, 6)).toEqual([1, 'a', '2023-12-31T18:15:00.000000Z', 2, 'b\\', null]);
    // Under sql_auto_is_null this would be the row inserted last.
    expect(await session.query('SELECT COUNT(*) FROM numbers WHERE id IS NULL')).toEqual([['0']]);
    expect(await session.query('SELECT COUNT(*) FROM numbers WHERE c = ?', ['b\\'])).not.toEqual([['0']]);
  });

  test('a session cannot write, in a transaction or without', async () => {
    await using session = await openSession(config);
    const before = await session.query('SELECT COUNT(*) FROM numbers');
    for (const sql of [
      'DELETE FROM numbers',
      'TRUNCATE numbers',
      'DROP TABLE numbers',
      'CREATE TABLE x (i int)',
      "INSERT INTO numbers (c) VALUES ('x')",
    ]) {
      expect(await failure(session.query(sql)), sql).toMatchObject({ code: 'query_rejected' });
      await session.readOnly(async () => {
        expect(await failure(session.query(sql)), sql).toMatchObject({ code: 'query_rejected' });
      });
    }
    expect(await failure(session.query('SELECT 1; DELETE FROM numbers'))).toMatchObject({
      code: 'invalid_config',
    });
    expect(
      await failure(session.query("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE numbers")),
    ).toHaveProperty('hint');
    expect(await failure(drained(batches(session, 'DELETE FROM numbers', {})))).toMatchObject({
      code: 'query_rejected',
    });
    expect(await session.query('SELECT COUNT(*) FROM numbers')).toEqual(before);
  });

  test('SQL that is no SELECT of known columns is refused with a hint, and the session goes on', async () => {
    await using session = await openSession(config);
    expect(await failure(session.describe('SELECT ?'))).toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('"?"'),
    });
    expect(await failure(drained(batches(session, 'SELECT ?', { a: 'int' })))).toMatchObject({
      code: 'invalid_config',
    });
    expect(await failure(session.describe('SELECT nothing FROM numbers'))).toMatchObject({
      code: 'not_found_at_source',
    });
    expect(await failure(session.describe('SELEC 1'))).toMatchObject({ code: 'invalid_config' });
    // The column is another than the catalogue said: nothing is decoded as what it is not.
    expect(
      await failure(drained(batches(session, 'SELECT c FROM numbers', { c: 'datetime' }))),
    ).toMatchObject({ code: 'schema_changed' });
    expect(session.usable).toBe(false);
    await using next = await openSession(config);
    expect(await failure(drained(batches(next, 'SELECT c FROM gone', { c: 'text' })))).toMatchObject({
      code: 'not_found_at_source',
    });
    expect(await next.query('SELECT 1')).toEqual([['1']]);
  });

  test('values and rows of every length, over packets of 16 MB and TLS records', async () => {
    await using session = await openSession({ ...config, ssl: 'require' });
    const lengths = [
      0,
      1,
      39,
      40,
      250,
      251,
      65_535,
      65_536,
      16_777_205 - 1,
      16_777_205,
      16_777_205 + 1,
      16_777_216,
      33_554_420,
      67_108_864,
    ];
    await admin.query('CREATE TABLE sizes (id int PRIMARY KEY, b longblob, t longtext)');
    for (const length of lengths)
      await admin.query(
        "INSERT INTO sizes SELECT ?, REPEAT(CHAR(171), ?), IF(? < 70000, REPEAT('é', ?), '')",
        [length, length, length, length],
      );
    const held: number[] = [];
    for await (const { values } of batches(session, 'SELECT id, b, t FROM sizes ORDER BY id', {
      id: 'int',
      b: 'longblob',
      t: 'longtext',
    })) {
      for (let at = 0; at < values.length; at += 3) {
        const [id, b, t] = values.slice(at, at + 3) as [number, Uint8Array, string];
        held.push(id);
        expect(b.length).toBe(id);
        expect(Buffer.from(b.buffer, b.byteOffset, b.byteLength).equals(Buffer.alloc(id, 171))).toBe(true);
        expect(t.length).toBe(id < 70_000 ? id : 0);
      }
    }
    expect(held).toEqual(lengths);
    await admin.query('DROP TABLE sizes');
  }, 60_000);

  test('a consumer that waits makes the server wait: nothing piles up', async () => {
    await using session = await openSession(config);
    const sql = 'SELECT a.id, a.pad FROM numbers a CROSS JOIN (SELECT id FROM numbers LIMIT 20) b';
    const rows = batches(session, sql, { id: 'int', pad: 'char(200)' })[Symbol.asyncIterator]();
    await rows.next();
    await sleep(300);
    const before = process.memoryUsage.rss();
    let largest = 0;
    for (let n = 0; n < 400; n++) {
      await rows.next();
      if (n % 50 === 0) await sleep(20);
      largest = Math.max(largest, process.memoryUsage.rss());
    }
    expect(await running()).toBe(1);
    expect(largest - before).toBeLessThan(120 * 1024 * 1024);
    await rows.return?.(undefined);
    await eventually(running, 0);
  }, 60_000);

  test('ended early: the statement ends at the server too, though billions of rows are left', async () => {
    await using session = await openSession(config);
    for await (const { rows } of batches(session, flood, {
      id: 'int',
    })) {
      expect(rows).toBeGreaterThan(0);
      break;
    }
    expect(session.usable).toBe(false);
    await eventually(running, 0);
  });

  test.each([
    ['a silent statement', silence],
    ['a flood of rows', flood],
  ])('cancelled: %s ends here and at the server', async (_, sql) => {
    await using session = await openSession(config);
    const abort = new AbortController();
    abort.signal.addEventListener('abort', () => session.destroy(), { once: true });
    setTimeout(() => abort.abort(), 200);
    const began = performance.now();
    expect(await failure(drained(batches(session, sql, { id: 'bigint' }, abort.signal)))).toMatchObject({
      code: 'cancelled',
    });
    expect(performance.now() - began).toBeLessThan(2_000);
    await eventually(running, 0);
  });

  test('a silent statement is given up after statement_timeout_ms, and a question as well', async () => {
    await using session = await openSession({ ...config, statement_timeout_ms: 300 });
    expect(await failure(session.query(silence))).toMatchObject({ code: 'timeout' });
    expect(await session.query('SELECT 1')).toEqual([['1']]);
    expect(await failure(drained(batches(session, silence, { id: 'bigint' })))).toMatchObject({
      code: 'timeout',
    });
    await eventually(running, 0);
  });

  test.each(['KILL', 'KILL QUERY'])(
    '%s in the middle of rows is a lost connection, to be tried again',
    async (kill) => {
      await using session = await openSession(config);
      const rows = batches(session, flood, { id: 'bigint' });
      const first = rows[Symbol.asyncIterator]();
      await first.next();
      await admin.query(`${kill} ${session.server.connectionId}`);
      const error = await failure(drained({ [Symbol.asyncIterator]: () => first }));
      expect(error).toMatchObject({ code: 'connection_lost', retryable: true });
      await eventually(running, 0);
    },
  );

  test('a server that prepares nothing more says so with what mends it', async () => {
    await admin.query('SET GLOBAL max_prepared_stmt_count = 0');
    await using session = await openSession(config);
    const error = await failure(session.describe('SELECT 1'));
    expect(error).toMatchObject({
      code: 'rate_limited',
      hint: expect.stringContaining('SET GLOBAL max_prepared_stmt_count = 65536;'),
    });
    await admin.query('SET GLOBAL max_prepared_stmt_count = 65536');
    expect((await session.describe('SELECT 1')).fields).toHaveLength(1);
    const [[{ Value: left } = { Value: '?' }]] = await admin.query<never[] & { Value: string }[]>(
      "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'",
    );
    expect(left).toBe('0');
  });
});
