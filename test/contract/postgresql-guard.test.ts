import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import type { Source } from '../../src/connectors/connector.ts';
import type { Guard } from '../../src/connectors/postgresql/guard.ts';
import type { Stream } from '../../src/core/model.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { openSource, readAll } from './postgresql-support.ts';

let database: TestDatabase;
let source: Source;
const open = new Set<pg.PoolClient>();

beforeAll(async () => {
  database = await freshDatabase();
  source = openSource(database.config);
});

afterEach(async () => {
  for (const client of open) {
    await client.query('ROLLBACK');
    client.release();
  }
  open.clear();
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await database.drop();
});

/** A transaction left open after these statements. */
async function begin(sql: string): Promise<pg.PoolClient> {
  const client = await database.pool.connect();
  open.add(client);
  await client.query(`BEGIN; ${sql}`);
  return client;
}

async function end(client: pg.PoolClient, how: string): Promise<void> {
  await client.query(how);
  open.delete(client);
  client.release();
}

const ids = (rows: readonly (readonly unknown[])[]): readonly unknown[] => rows.map(([id]) => id).toSorted();
const markOf = (cursor: string): unknown => (JSON.parse(cursor) as { mark: unknown }).mark;

/** What tools do that lose rows: settle on the greatest value seen. */
const noGuard: Guard = async ({ session, shape, cursor, lookback }) => {
  const [row] = await session.query(`SELECT max(${cursor.ref})::text FROM ${shape.from}`);
  return { bound: { mark: row?.[0] ?? null, held: [] }, guard: 'off', warnings: [], lookback };
};

const kinds = [
  { name: 'timestamptz', column: 'timestamptz NOT NULL DEFAULT now()' },
  { name: 'timestamp', column: "timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')" },
  { name: 'bigint', column: 'bigserial NOT NULL' },
] as const;

describe.each(kinds)('a transaction that commits late, cursor $name', ({ name, column }) => {
  const table = `late_${name}`;
  const stream: Stream = { name: table, table, cursor: 'c' };

  beforeAll(async () => {
    await database.query(
      `CREATE TABLE ${table} (id int PRIMARY KEY, c ${column}); CREATE INDEX ON ${table} (c); INSERT INTO ${table} VALUES (1)`,
    );
  });

  test('its row is read, whichever run it commits before', async () => {
    const first = await readAll(source, stream);
    const late = await begin(`INSERT INTO ${table} VALUES (100)`);
    await database.query(`INSERT INTO ${table} VALUES (2)`);
    const held = await readAll(source, stream, first.cursor);
    expect(ids(held.rows)).toContain(2);
    await database.query(`INSERT INTO ${table} VALUES (3)`);
    const still = await readAll(source, stream, held.cursor);
    expect(ids(still.rows)).toContain(3);
    await end(late, 'COMMIT');
    const released = await readAll(source, stream, still.cursor);
    expect(ids(released.rows)).toContain(100);
    expect(released.guard).toBe('open transactions (pg_locks)');
    const quiet = await readAll(source, stream, released.cursor);
    expect(ids(quiet.rows)).toEqual([3]);
  });

  test('control: without the guard the row is lost', async () => {
    await using careless = openSource(database.config, { guard: noGuard });
    const first = await readAll(careless, stream);
    const late = await begin(`INSERT INTO ${table} VALUES (200)`);
    await database.query(`INSERT INTO ${table} VALUES (4)`);
    const second = await readAll(careless, stream, first.cursor);
    await end(late, 'COMMIT');
    const third = await readAll(careless, stream, second.cursor);
    expect(ids([...second.rows, ...third.rows])).not.toContain(200);
  });

  test('one that began before the first load holds that back too', async () => {
    const late = await begin(`INSERT INTO ${table} VALUES (300)`);
    await database.query(`INSERT INTO ${table} VALUES (5)`);
    const first = await readAll(source, stream);
    await end(late, 'COMMIT');
    const second = await readAll(source, stream, first.cursor);
    expect(ids(second.rows)).toContain(300);
  });

  test('a transaction without a row, or one that is rolled back, delays nothing for ever', async () => {
    const idle = await begin('SELECT 1');
    const first = await readAll(source, stream);
    await end(idle, 'ROLLBACK');
    const second = await readAll(source, stream, first.cursor);
    const third = await readAll(source, stream, second.cursor);
    expect(third.rows).toHaveLength(1);
  });
});

describe('what is in force is said', () => {
  test('a short transaction is waited for, within a quarter of a second', async () => {
    await database.query(
      'CREATE TABLE short (id int PRIMARY KEY, c timestamptz DEFAULT now()); INSERT INTO short VALUES (1)',
    );
    const busy = await begin('INSERT INTO short VALUES (2)');
    setTimeout(() => void end(busy, 'COMMIT'), 80);
    const all = await readAll(source, { name: 'short', table: 'short', cursor: 'c' });
    expect(all.guard).toBe('open transactions (pg_locks)');
    expect(ids(all.rows)).toEqual([1, 2]);
    expect(markOf(all.cursor)).not.toBeNull();
  });

  test('timestamptz: the greatest value not above the start of the oldest transaction, so shortened stamps are safe', async () => {
    await database.query(`CREATE TABLE trunc (id int PRIMARY KEY, c timestamptz NOT NULL);
      INSERT INTO trunc VALUES (1, date_trunc('hour', now()) - interval '1 hour'), (2, date_trunc('hour', now()))`);
    const stream: Stream = { name: 'trunc', table: 'trunc', cursor: 'c' };
    const late = await begin("INSERT INTO trunc VALUES (3, date_trunc('hour', now()))");
    await database.query('INSERT INTO trunc VALUES (4, now())');
    const first = await readAll(source, stream);
    expect(first.guard).toBe('oldest transaction start');
    expect(first.warnings).toEqual([]);
    await end(late, 'COMMIT');
    expect(ids((await readAll(source, stream, first.cursor)).rows)).toEqual([2, 3, 4]);
  });

  test('a sequence: held at the previous mark, with a warning; and released by what was remembered while others stay open', async () => {
    await database.query('CREATE TABLE seq (id int PRIMARY KEY, c bigserial); INSERT INTO seq VALUES (1)');
    const stream: Stream = { name: 'seq', table: 'seq', cursor: 'c' };
    const first = await readAll(source, stream);
    const one = await begin('SELECT 1');
    await database.query('INSERT INTO seq VALUES (2)');
    const second = await readAll(source, stream, first.cursor);
    expect(second.guard).toBe('held at the previous mark');
    expect(second.warnings).toEqual([expect.stringContaining('A transaction is still open')]);
    expect(markOf(second.cursor)).toBe('1');
    // Transactions that overlap without end: each run still gets further, to what the one before has seen.
    const two = await begin('SELECT 1');
    await end(one, 'COMMIT');
    await database.query('INSERT INTO seq VALUES (3)');
    const third = await readAll(source, stream, second.cursor);
    expect(third.guard).toBe('open transactions (pg_locks)');
    expect(markOf(third.cursor)).toBe('2');
    await end(two, 'COMMIT');
    expect(markOf((await readAll(source, stream, third.cursor)).cursor)).toBe('3');
  });

  test('a prepared transaction counts as open, also when it prepared itself after it was remembered', async () => {
    await database.query('CREATE TABLE prep (id int PRIMARY KEY, c bigserial); INSERT INTO prep VALUES (1)');
    const stream: Stream = { name: 'prep', table: 'prep', cursor: 'c' };
    const late = await begin('INSERT INTO prep VALUES (2)');
    await database.query('INSERT INTO prep VALUES (3)');
    const first = await readAll(source, stream);
    expect(markOf(first.cursor)).toBeNull();
    const gid = `${database.name}_p`;
    await end(late, `PREPARE TRANSACTION '${gid}'`);
    const second = await readAll(source, stream, first.cursor);
    expect(markOf(second.cursor)).toBeNull();
    await database.query(`COMMIT PREPARED '${gid}'`);
    const third = await readAll(source, stream, second.cursor);
    expect(ids(third.rows)).toEqual([1, 2, 3]);
    expect(markOf(third.cursor)).toBe('3');
  });

  test('no grants are needed to see the transactions of other roles', async () => {
    await database.query(
      'CREATE TABLE plain (id int PRIMARY KEY, c timestamptz NOT NULL DEFAULT now()); INSERT INTO plain VALUES (1)',
    );
    const { username, password } = await database.role();
    await database.query(`GRANT SELECT ON plain TO ${username}`);
    await using reader = openSource({ ...database.config, username, password });
    const stream: Stream = { name: 'plain', table: 'plain', cursor: 'c' };
    const first = await readAll(reader, stream);
    expect(first.guard).toBe('open transactions (pg_locks)');
    const late = await begin('INSERT INTO plain VALUES (2)');
    await database.query('INSERT INTO plain VALUES (3)');
    const second = await readAll(reader, stream, first.cursor);
    // It cannot see when they began.
    expect(second.guard).toBe('held at the previous mark');
    await end(late, 'COMMIT');
    expect(ids((await readAll(reader, stream, second.cursor)).rows)).toEqual([1, 2, 3]);
  });

  test('transactions in other databases and our own readings hold nothing back', async () => {
    await using other = await freshDatabase();
    const client = await other.pool.connect();
    await client.query('BEGIN; SELECT 1');
    await database.query('CREATE TABLE mine (id int PRIMARY KEY, c bigserial); INSERT INTO mine VALUES (1)');
    const stream: Stream = { name: 'mine', table: 'mine', cursor: 'c' };
    const resolved = await source.resolve(stream, new AbortController().signal);
    await using reading = await source.read(resolved, null, new AbortController().signal);
    expect(reading.guard).toBe('open transactions (pg_locks)');
    const meanwhile = await readAll(source, stream);
    expect(meanwhile.guard).toBe('open transactions (pg_locks)');
    expect(markOf(meanwhile.cursor)).toBe('1');
    await client.query('ROLLBACK');
    client.release();
  });

  test.each([
    ['timestamptz', "'2099-01-01'"],
    ['timestamptz', "'infinity'"],
    ['timestamp', "'2099-01-01'"],
    ['date', "'2099-01-01'"],
    ['double precision', "'NaN'"],
    ['double precision', "'Infinity'"],
    ['numeric', "'NaN'"],
  ])(
    'a value of %s in the future or beyond all numbers (%s) is no mark, and later rows are still read',
    async (type, value) => {
      const now = type === 'date' ? 'current_date' : type.startsWith('timestamp') ? 'now()' : '5';
      await database.query(`DROP TABLE IF EXISTS future; CREATE TABLE future (id int PRIMARY KEY, c ${type});
      INSERT INTO future VALUES (1, ${now}), (2, ${value})`);
      const stream: Stream = { name: 'future', table: 'future', cursor: 'c' };
      const first = await readAll(source, stream);
      expect(first.warnings).toEqual([expect.stringContaining('lies in the future')]);
      await database.query(`INSERT INTO future VALUES (3, ${now})`);
      expect(ids((await readAll(source, stream, first.cursor)).rows)).toContain(3);
    },
  );

  test.each([
    {
      type: 'timestamptz',
      top: 'now()',
      lookback: '5m',
      inside: "now() - interval '4 minutes'",
      outside: "now() - interval '6 minutes'",
    },
    {
      type: 'timestamp',
      top: "now() AT TIME ZONE 'UTC'",
      lookback: '5m',
      inside: "now() AT TIME ZONE 'UTC' - interval '4 minutes'",
      outside: "now() AT TIME ZONE 'UTC' - interval '6 minutes'",
    },
    {
      type: 'date',
      top: 'current_date',
      lookback: '2d',
      inside: 'current_date - 2',
      outside: 'current_date - 3',
    },
    { type: 'bigint', top: '1000', lookback: 100, inside: '900', outside: '899' },
    { type: 'oid', top: '4000000000', lookback: 100, inside: '3999999900', outside: '3999999899' },
    { type: 'smallint', top: '-32760', lookback: 100, inside: '-32768', outside: null },
    { type: 'numeric', top: '10.5', lookback: 2, inside: '8.5', outside: '8.4' },
    { type: 'double precision', top: '10.5', lookback: 2, inside: '8.5', outside: '8.4' },
  ])(
    'a declared look-back on $type reads behind the mark, and says so',
    async ({ type, top, lookback, inside, outside }) => {
      await database.query(
        `DROP TABLE IF EXISTS back; CREATE TABLE back (id int PRIMARY KEY, c ${type}); INSERT INTO back VALUES (1, ${top})`,
      );
      const stream: Stream = { name: 'back', table: 'back', cursor: 'c', lookback };
      const first = await readAll(source, stream);
      expect(first.guard).toContain('look-back of');
      await database.query(
        `INSERT INTO back VALUES (2, ${inside})${outside === null ? '' : `, (3, ${outside})`}`,
      );
      expect(ids((await readAll(source, stream, first.cursor)).rows)).toEqual([1, 2]);
    },
  );
});

describe('a window that the guard gives by itself', () => {
  const window: Guard = async ({ session, shape, cursor }) => {
    const [row] = await session.query(`SELECT max(${cursor.ref})::text FROM ${shape.from}`);
    const lookback = { kind: 'time', ms: 300_000 } as const;
    return { bound: { mark: row?.[0] ?? null, held: [] }, guard: 'window', warnings: [], lookback };
  };

  test('is still read behind the mark by a run that was cut among the rows without a cursor', async () => {
    await database.query(`CREATE TABLE cut (id int PRIMARY KEY, c timestamptz, pad text);
      INSERT INTO cut VALUES (1, now()); INSERT INTO cut SELECT i, NULL, repeat('x', 230) FROM generate_series(10, 4000) i`);
    const stream: Stream = { name: 'cut', table: 'cut', cursor: 'c' };
    await using own = openSource(database.config, { guard: window });
    const first = await readAll(own, stream);
    await database.query("INSERT INTO cut VALUES (2, now() - interval '4 minutes')");
    const whole = await readAll(own, stream, first.cursor);
    expect(ids(whole.rows)).toContain(2);
    const [begun] = whole.batches;
    expect(begun?.rows).toBeLessThan(3991);
    const cut = JSON.parse(begun?.cursor ?? '') as Record<string, unknown>;
    expect(cut).toMatchObject({ phase: 'inc', at: { cursor: null } });
    const rest = await readAll(own, stream, begun?.cursor);
    expect(rest.resumed).toBe(true);
    expect(ids(rest.rows)).toContain(2);
    // A position of the version before, which did not keep the window.
    const { lookback: _, ...former } = cut;
    expect((await readAll(own, stream, JSON.stringify(former))).cursor).toBe(whole.cursor);
  });
});

describe('a timestamp without a zone, where the clocks go back', () => {
  const hourMs = 3_600_000;
  const dayMs = 24 * hourMs;

  /** Five hours behind UTC, and in summer, which it has until then, four. */
  function zoneUntil(end: Date): string {
    const local = new Date(end.getTime() - 4 * hourMs);
    const day = Math.floor((local.getTime() - Date.UTC(local.getUTCFullYear(), 0, 1)) / dayMs);
    return `XST5XDT4,${(day + 265) % 365},${day}/${local.toISOString().slice(11, 16)}`;
  }

  async function inZone(zone: string): Promise<TestDatabase> {
    const own = await freshDatabase();
    await own.query(`ALTER DATABASE ${own.name} SET TimeZone = '${zone}'`);
    await own.query(`CREATE TABLE t (id int PRIMARY KEY, c timestamp NOT NULL);
      INSERT INTO t VALUES (1, (now() - interval '1 hour') AT TIME ZONE '${zone}'), (2, now() AT TIME ZONE '${zone}')`);
    return own;
  }

  const stream: Stream = { name: 't', table: 't', cursor: 'c' };

  test('what comes in the hour that comes twice is read', async () => {
    const zone = zoneUntil(new Date(Date.now() + hourMs / 2));
    await using own = await inZone(zone);
    await using reader = openSource(own.config);
    const first = await readAll(reader, stream);
    expect(first.warnings).toEqual([]);
    await own.query(`INSERT INTO t VALUES (3, (now() + interval '40 minutes') AT TIME ZONE '${zone}')`);
    expect(await own.query('SELECT id FROM t ORDER BY c')).toEqual([{ id: 1 }, { id: 3 }, { id: 2 }]);
    const second = await readAll(reader, stream, first.cursor);
    // Nothing is held back by more than the hour.
    expect(ids(second.rows)).toEqual([1, 2, 3]);
    expect(markOf(second.cursor)).not.toBeNull();
  });

  test.each([
    ['in some days', zoneUntil(new Date(Date.now() + 20 * dayMs))],
    ['a day ago', zoneUntil(new Date(Date.now() - dayMs))],
  ])('nothing is held back when they do so %s', async (_, zone) => {
    await using own = await inZone(zone);
    await using reader = openSource(own.config);
    expect(ids((await readAll(reader, stream, (await readAll(reader, stream)).cursor)).rows)).toEqual([2]);
  });

  test('east of UTC, local times are no typo: read again for some hours, without a word', async () => {
    await using own = await inZone('Asia/Tokyo');
    await using reader = openSource(own.config);
    const first = await readAll(reader, stream);
    expect(first.warnings).toEqual([]);
    expect(ids((await readAll(reader, stream, first.cursor)).rows)).toEqual([1, 2]);
  });
});

test('a standby shows no transactions: a look-back guards time cursors, and nothing guards a sequence', {
  timeout: 60_000,
}, async () => {
  await using server = await startEmbeddedPostgres();
  const config = {
    host: server.host,
    port: server.port,
    database: 'postgres',
    username: server.user,
    password: server.password,
    ssl: 'disable',
  };
  const { default: pgDriver } = await import('pg');
  const client = new pgDriver.Client({ connectionString: server.url });
  client.on('error', () => {});
  await client.connect();
  await client.query(
    "CREATE TABLE t (id int PRIMARY KEY, c timestamptz, n bigserial); INSERT INTO t VALUES (1, now()), (2, now() - interval '4 minutes'), (3, now() - interval '6 minutes')",
  );
  await client.end();
  writeFileSync(join(server.dataDir, 'standby.signal'), '');
  await server.restart('fast');
  await using standby = openSource(config);
  const byTime = await readAll(standby, { name: 't', table: 't', cursor: 'c' });
  expect(byTime.guard).toMatch(/^lookback 300 s: a standby/);
  expect(ids((await readAll(standby, { name: 't', table: 't', cursor: 'c' }, byTime.cursor)).rows)).toEqual([
    1, 2,
  ]);
  const byNumber = await readAll(standby, { name: 't', table: 't', cursor: 'n' });
  expect(byNumber.guard).toMatch(/^none: a standby/);
  expect(byNumber.warnings).toEqual([expect.stringContaining('lookback')]);
  const report = await standby.check([], new AbortController().signal);
  expect(report.warnings).toContainEqual(expect.stringContaining('standby'));
});
