import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import type { Source } from '../../src/connectors/connector.ts';
import { type Guard, lateCommitGuard } from '../../src/connectors/postgresql/guard.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Cursor, Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { calm, drain, openSource, readAll } from './postgresql-support.ts';
import { failure } from './reading-support.ts';

/** What PostgreSQL has of its own; what every connector answers the same way is asked in connector.test.ts. */

let database: TestDatabase;
let source: Source;

beforeAll(async () => {
  database = await freshDatabase();
  source = openSource(database.config);
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await database.drop();
});

describe('merge', () => {
  test('keys and count see the snapshot of the batches', async () => {
    await database.query(
      'CREATE TABLE snap (id int PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO snap SELECT generate_series(1, 1500)',
    );
    const resolved = await source.resolve({ name: 'snap', table: 'snap', cursor: 'at' }, calm);
    await using reading = await source.read(resolved, null, calm);
    await database.query('INSERT INTO snap VALUES (9001); DELETE FROM snap WHERE id = 5');
    const { rows } = await drain(reading, resolved);
    await database.query('INSERT INTO snap VALUES (9002)');
    expect(rows).toHaveLength(1500);
    expect(await reading.count()).toBe(1500);
    const keys: Value[] = [];
    for await (const batch of reading.keys()) keys.push(...batch.values);
    expect(keys.toSorted((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 1500 }, (_, i) => i + 1),
    );
  });
});

describe('a table whose rows are replaced while the reading waits for it', () => {
  const all = Array.from({ length: 500 }, (_, i) => i + 1);
  const fill = "SELECT n, 'old' FROM generate_series(1, 500) n";
  const keyed = { cursor: 'id', primary_key: ['id'] };

  /** The real guard; once it has returned, these transactions come one after the other, each as soon as the reading waits. */
  function thenComes(...transactions: readonly string[]): Guard {
    return async (request) => {
      const answer = await lateCommitGuard(request);
      const first = await database.pool.connect();
      await first.query(`BEGIN; ${transactions[0]}`);
      void (async () => {
        let at = first;
        for (const next of [...transactions.slice(1), null]) {
          await waiting(1);
          const behind = next === null ? null : await database.pool.connect();
          const queued = behind?.query(`BEGIN; ${next}`);
          if (behind !== null) await waiting(2);
          await at.query('COMMIT');
          at.release();
          await queued;
          if (behind !== null) at = behind;
        }
      })();
      return answer;
    };
  }

  async function waiting(sessions: number): Promise<void> {
    await expect
      .poll(
        () =>
          database.query(
            'SELECT count(DISTINCT pid)::int AS n FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()',
          ),
        { timeout: 10_000, interval: 5 },
      )
      .toEqual([{ n: sessions }]);
  }

  beforeEach(async () => {
    await database.query(`DROP SCHEMA IF EXISTS busy CASCADE; CREATE SCHEMA busy;
      CREATE TABLE busy.t (id int PRIMARY KEY, v text); INSERT INTO busy.t ${fill};
      CREATE TABLE busy.other (LIKE busy.t INCLUDING ALL);
      CREATE TABLE busy.parent (LIKE busy.t INCLUDING ALL);
      CREATE TABLE busy.child () INHERITS (busy.parent); INSERT INTO busy.child ${fill};
      CREATE TABLE busy.parts (LIKE busy.t INCLUDING ALL) PARTITION BY RANGE (id);
      CREATE TABLE busy.low PARTITION OF busy.parts FOR VALUES FROM (1) TO (400);
      CREATE TABLE busy.high PARTITION OF busy.parts DEFAULT; INSERT INTO busy.parts ${fill};
      CREATE VIEW busy.over AS SELECT id, v FROM busy.t;
      CREATE MATERIALIZED VIEW busy.kept AS SELECT * FROM busy.t`);
  });

  const reload = `TRUNCATE busy.t; INSERT INTO busy.t ${fill}`;
  const detach = `LOCK TABLE busy.parts; CREATE TEMP TABLE moved ON COMMIT DROP AS SELECT * FROM busy.high;
    ALTER TABLE busy.parts DETACH PARTITION busy.high; ALTER TABLE busy.parts DETACH PARTITION busy.low;
    ALTER TABLE busy.parts ATTACH PARTITION busy.low DEFAULT; INSERT INTO busy.low SELECT * FROM moved`;

  test.each<readonly [string, Partial<Stream>, string]>([
    ['emptied and filled', { table: 'busy.t' }, reload],
    ['rewritten', { table: 'busy.t' }, 'ALTER TABLE busy.t ADD COLUMN x uuid DEFAULT gen_random_uuid()'],
    [
      'another one under its name',
      { table: 'busy.t' },
      'CREATE TABLE busy.t2 AS TABLE busy.t; DROP TABLE busy.t CASCADE; ALTER TABLE busy.t2 RENAME TO t',
    ],
    ['with a condition', { table: 'busy.t', where: 'id > 0' }, reload],
    ['a partition', { table: 'busy.parts' }, `TRUNCATE busy.low, busy.high; INSERT INTO busy.parts ${fill}`],
    ['rows moved out of a partition that goes', { table: 'busy.parts' }, detach],
    [
      'rows moved out of a child that goes',
      { table: 'busy.parent' },
      'LOCK TABLE busy.parent; INSERT INTO busy.parent SELECT * FROM busy.child; ALTER TABLE busy.child NO INHERIT busy.parent',
    ],
    ['under a view', { table: 'busy.over' }, reload],
    [
      'a view of another table',
      { table: 'busy.over' },
      'INSERT INTO busy.other TABLE busy.t; CREATE OR REPLACE VIEW busy.over AS SELECT id, v FROM busy.other',
    ],
    [
      'a materialized view',
      { table: 'busy.kept' },
      'DROP MATERIALIZED VIEW busy.kept; CREATE MATERIALIZED VIEW busy.kept AS SELECT * FROM busy.t',
    ],
    ['named in a query', { query: 'SELECT id, v FROM busy.t JOIN busy.over USING (id, v)' }, reload],
    [
      'partitions of a query',
      { query: 'SELECT * FROM busy.parts' },
      `TRUNCATE busy.high; INSERT INTO busy.high ${fill} WHERE n >= 400`,
    ],
    ['rows of a query moved out of a partition that goes', { query: 'SELECT * FROM busy.parts' }, detach],
    ['named in a condition', { table: 'busy.parts', where: 'id IN (SELECT id FROM busy.t)' }, reload],
  ])('is read whole: %s', async (_, what, change) => {
    await using own = openSource(database.config, { guard: thenComes(change) });
    const { rows, count } = await readAll(own, { name: 'busy', ...keyed, ...what });
    expect(rows.map(([id]) => id)).toEqual(all);
    expect(count).toBe(all.length);
  });

  test('is read whole by a login that may read some columns only, and by one that may not see the locks', async () => {
    const { username, password } = await database.role();
    await database.query(
      `GRANT USAGE ON SCHEMA busy TO ${username}; GRANT SELECT (id) ON busy.t TO ${username}`,
    );
    const login = { ...database.config, username, password };
    await using own = openSource(login, { guard: thenComes(reload) });
    const stream = { name: 'busy', table: 'busy.t', columns: { include: ['id'] }, ...keyed };
    expect((await readAll(own, stream)).rows).toEqual(all.map((id) => [id]));

    await database.query('REVOKE SELECT ON pg_locks FROM PUBLIC');
    try {
      await database.query(`GRANT SELECT ON busy.t TO ${username}`);
      await using blind = openSource(login, { guard: thenComes(reload) });
      expect((await readAll(blind, stream)).rows).toEqual(all.map((id) => [id]));
    } finally {
      await database.query('GRANT SELECT ON pg_locks TO PUBLIC');
    }
  });

  test('and again and again: tried some times, then said, and never read as empty', async () => {
    const stream = { name: 'busy', query: 'SELECT * FROM busy.t', ...keyed };
    await using patient = openSource(database.config, { guard: thenComes(reload, reload, reload) });
    expect((await readAll(patient, stream)).rows).toHaveLength(all.length);
    await using late = openSource(database.config, {
      guard: thenComes(...Array.from({ length: 5 }, () => reload)),
    });
    expect(await failure(readAll(late, stream))).toMatchObject({
      code: 'schema_changed',
      retryable: true,
      message: expect.stringContaining('rewritten'),
    });
  });
});

describe('rows that were compared', () => {
  test('are not counted again in the same snapshot, and are as soon as anybody has committed anything', async () => {
    // Of its own: on the shared one other tests commit all the time.
    await using server = await startEmbeddedPostgres({ settings: { autovacuum: 'off' } });
    const client = new pg.Client({ connectionString: server.url });
    await client.connect();
    await client.query(`CREATE TABLE kept (id int PRIMARY KEY, at timestamptz DEFAULT now()); CREATE TABLE other (id int);
      INSERT INTO kept SELECT generate_series(1, 20)`);
    await using own = openSource({ url: server.url, ssl: 'disable' });
    const resolved = await own.resolve({ name: 'kept', table: 'kept', cursor: 'at' }, calm);
    /** Reads to the end; what was counted, and the position with and without the word of it. */
    const read = async (from: Cursor | null) => {
      await using reading = await own.read(resolved, from, calm);
      const { batches } = await drain(reading, resolved);
      return {
        count: await reading.count(),
        plain: batches.at(-1)?.cursor ?? '',
        compared: reading.compared?.() ?? '',
      };
    };

    const first = await read(null);
    expect(first.count).toBe(20);
    const second = await read(first.compared);
    expect(second.count).toBeNull();
    expect((await read(second.plain)).count, 'the word is kept').toBeNull();
    expect((await read(first.plain)).count, 'nobody said that it was compared').toBe(20);

    // A transaction that is under way is not seen by either snapshot; its commit is.
    await client.query('BEGIN; DELETE FROM kept WHERE id = 3');
    const during = await read(second.plain);
    expect(during.count).toBeNull();
    await client.query('COMMIT');
    expect((await read(during.compared)).count).toBe(19);

    await client.query('INSERT INTO other VALUES (1)');
    expect((await read(during.compared)).count).toBe(19);
    await client.end();
  });

  test('are always counted where a condition of its own decides what is read', async () => {
    await database.query('CREATE TABLE filtered (id int PRIMARY KEY, at timestamptz DEFAULT now())');
    const stream = { name: 'filtered', table: 'filtered', cursor: 'at', where: 'at < now()' };
    const resolved = await source.resolve(stream, calm);
    await using reading = await source.read(resolved, null, calm);
    await drain(reading, resolved);
    expect(reading.compared?.()).toBeNull();
  });
});

describe('what is selected', () => {
  test('a table without columns has nothing to read', async () => {
    await database.query('CREATE TABLE bare ()');
    expect(await failure(source.resolve({ name: 'bare', table: 'bare' }, calm))).toMatchObject({
      code: 'invalid_config',
    });
  });

  test('odd identifiers, generated and excluded columns, a condition', async () => {
    const long = 'é'.repeat(31);
    await database.query(`CREATE SCHEMA "We.ird ""s";
      CREATE TABLE "We.ird ""s"."T.a ""b😀" ("ID" int PRIMARY KEY, "a.b" text, "q""x" int GENERATED ALWAYS AS ("ID" * 2) STORED, "${long}" int, "select" int, "v" int GENERATED ALWAYS AS ("ID" + 1) VIRTUAL, secret text);
      INSERT INTO "We.ird ""s"."T.a ""b😀" ("ID", "a.b", "${long}", "select", secret) SELECT i, 'x', i, i, 's' FROM generate_series(1, 5) i`);
    const all = await readAll(source, {
      name: 'odd',
      table: '"We.ird ""s"."T.a ""b😀"',
      mode: 'merge',
      where: '"select" > 2 -- only these',
      columns: { exclude: ['secret'] },
    });
    expect(all.stream.columns.map(({ name }) => name)).toEqual(['ID', 'a.b', 'q"x', long, 'select', 'v']);
    expect(all.rows).toEqual([
      [3, 'x', 6, 3, 3, 4],
      [4, 'x', 8, 4, 4, 5],
      [5, 'x', 10, 5, 5, 6],
    ]);
    expect(all.count).toBe(3);
  });

  test('1,600 columns', async () => {
    const columns = Array.from(
      { length: 1599 },
      (_, i) => `c${i} ${['int', 'text', 'timestamptz', 'boolean'][i % 4]}`,
    );
    await database.query(
      `CREATE TABLE widest (id int PRIMARY KEY, ${columns.join(', ')}); INSERT INTO widest (id, c0, c1, c3, c1597) SELECT i, i, 'x', true, 'y' FROM generate_series(1, 50) i`,
    );
    const all = await readAll(source, { name: 'widest', table: 'widest', mode: 'merge' });
    expect(all.rows).toHaveLength(50);
    expect(all.rows[49]).toHaveLength(1600);
    expect([0, 1, 2, 4, 1598].map((i) => all.rows[49]?.[i])).toEqual([50, 50, 'x', true, 'y']);
    expect(all.rows[49]?.filter((value) => value !== null)).toHaveLength(5);
  });

  test('cells of 100 MB come whole, one row a batch, and small rows around them', {
    timeout: 60_000,
  }, async () => {
    await database.query(`CREATE TABLE huge (id int PRIMARY KEY, t text, b bytea);
      INSERT INTO huge VALUES (1, 'small', '\\x01'), (2, repeat('abcdefghij', 10000000), NULL), (3, 'small', NULL), (4, NULL, decode(repeat('00ff', 25000000), 'hex'))`);
    const all = await readAll(source, { name: 'huge', table: 'huge', mode: 'merge' });
    expect(all.rows.map(([id]) => id)).toEqual([1, 2, 3, 4]);
    const text = all.rows[1]?.[1] as string;
    expect(text.length).toBe(100_000_000);
    expect(text === 'abcdefghij'.repeat(10_000_000)).toBe(true);
    const bytes = all.rows[3]?.[2] as Uint8Array;
    expect(bytes.length).toBe(50_000_000);
    expect(bytes.every((byte, i) => byte === (i % 2 === 0 ? 0 : 255))).toBe(true);
    expect(all.batches.filter(({ rows }) => rows > 0).map(({ rows }) => rows)).toEqual([2, 2]);
  });

  test('bytes that are not UTF-8 stay bytes, and U+FFFD itself stays text', async () => {
    await database.query(
      `CREATE DATABASE ${database.name}_ascii ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0`,
    );
    try {
      await using ascii = openSource({ ...database.config, database: `${database.name}_ascii` });
      const { default: pg } = await import('pg');
      const client = new pg.Client({
        ...database.config,
        user: database.config.username,
        ssl: false,
        database: `${database.name}_ascii`,
      });
      await client.connect();
      await client.query(`SET client_encoding = 'SQL_ASCII'; CREATE TABLE t (id int PRIMARY KEY, v text, a text[]);
        INSERT INTO t VALUES (1, 'plain', '{x}'), (2, E'caf\\xe9', ARRAY[E'\\xe9']), (3, E'\\xc3\\xa9', '{}'), (4, E'\\xef\\xbf\\xbd', NULL), (5, E'long ${'x'.repeat(60)}\\xff', NULL)`);
      await client.end();
      const { rows } = await readAll(ascii, { name: 't', table: 't', mode: 'merge' });
      expect(rows[0]).toEqual([1, 'plain', '["x"]']);
      expect(Buffer.from(rows[1]?.[1] as Uint8Array).toString('hex')).toBe('636166e9');
      expect(rows[1]?.[2]).toBeInstanceOf(Uint8Array);
      expect(rows[2]?.[1]).toBe('é');
      expect(rows[3]?.[1]).toBe('\uFFFD');
      expect(rows[4]?.[1]).toBeInstanceOf(Uint8Array);
    } finally {
      await database.query(`DROP DATABASE ${database.name}_ascii WITH (FORCE)`);
    }
  });

  test('preview shows the first rows, cut, and changes nothing', async () => {
    await database.query(`CREATE TABLE look (id int PRIMARY KEY, t text, b bytea, j jsonb, a text[], n numeric, d timestamptz);
      INSERT INTO look SELECT i, repeat('x', 1000000), decode(repeat('ab', 1000000), 'hex'), to_jsonb(repeat('y', 1000000)), ARRAY[repeat('z', 1000000)], 1.50, '2024-01-01' FROM generate_series(1, 20) i`);
    const stream = await source.resolve({ name: 'look', table: 'look' }, calm);
    const rows = await source.preview(stream, 3, calm);
    expect(rows).toHaveLength(3);
    for (const row of rows) {
      expect(row[1]).toBe('x'.repeat(2000));
      expect(row[2]).toHaveLength(2000);
      expect(row[3]).toHaveLength(2000);
      expect(row[4]).toHaveLength(2000);
      expect(row.slice(5)).toEqual(['1.50', '2024-01-01T00:00:00.000000Z']);
    }
    expect(await source.preview(stream, 0, calm)).toEqual([]);
  });
});

describe('what goes wrong', () => {
  test.each([
    ['a column is gone', 'ALTER TABLE shape DROP COLUMN v'],
    ['a type is another', 'ALTER TABLE shape ALTER COLUMN v TYPE text'],
    ['a scale is another', 'ALTER TABLE shape ALTER COLUMN n TYPE numeric(10,4)'],
    ['the table is gone', 'DROP TABLE shape'],
    ['a column has another name', 'ALTER TABLE shape RENAME COLUMN v TO w'],
  ])('%s between the choice and the read: said, not read as something else', async (_, change) => {
    await database.query(
      'DROP TABLE IF EXISTS shape; CREATE TABLE shape (id int PRIMARY KEY, v int, n numeric(10,2)); INSERT INTO shape VALUES (1, 2, 3)',
    );
    const stream = await source.resolve({ name: 'shape', table: 'shape', mode: 'merge' }, calm);
    await database.query(change);
    const error = await failure(source.read(stream, null, calm));
    expect(error.code).toBe(change.startsWith('DROP TABLE') ? 'not_found_at_source' : 'schema_changed');
  });

  test("the role's limit on transactions does not end a reading", async () => {
    await database.query('CREATE TABLE slow (id int PRIMARY KEY); INSERT INTO slow VALUES (1), (2)');
    const { username, password } = await database.role();
    await database.query(
      `GRANT SELECT ON slow TO ${username}; ALTER ROLE ${username} SET transaction_timeout = '300ms'`,
    );
    await using own = openSource({ ...database.config, username, password });
    const resolved = await own.resolve({ name: 'slow', table: 'slow' }, calm);
    await using reading = await own.read(resolved, null, calm);
    await sleep(500);
    expect((await drain(reading, resolved)).rows).toHaveLength(2);
  });

  test.each([
    { where: 'true) TO STDOUT; COMMIT; DROP TABLE victim; COPY (SELECT 1 WHERE (true' },
    { where: 'true); DROP TABLE victim; --' },
    { where: 'true) OR (SELECT true FROM victim); DELETE FROM victim' },
    { query: 'SELECT 1 AS a) TO STDOUT; COMMIT; DROP TABLE victim; COPY (SELECT 1 AS a' },
    { query: 'DELETE FROM victim RETURNING id' },
    { query: 'WITH gone AS (DELETE FROM victim RETURNING id) SELECT * FROM gone' },
    { query: 'SELECT 1 AS a FROM victim) AS q; DROP TABLE victim; --' },
    { query: "SELECT nextval('victim_seq') AS a" },
    { query: 'SELECT lo_create(4711) AS a' },
    {
      query:
        "SELECT set_config('default_transaction_read_only', 'off', false) AS a, (SELECT count(*) FROM victim) AS n",
      harmless: true,
    },
  ] as readonly (Partial<Stream> & { readonly harmless?: boolean })[])(
    'nothing is written: %j',
    async ({ harmless, ...declared }) => {
      await database.query(
        'DROP TABLE IF EXISTS victim CASCADE; CREATE TABLE victim (id int PRIMARY KEY); INSERT INTO victim VALUES (1), (2); CREATE SEQUENCE IF NOT EXISTS victim_seq',
      );
      const stream = {
        name: 'bad',
        mode: 'replace',
        ...(declared.query === undefined ? { table: 'victim' } : {}),
        ...declared,
      } as Stream;
      const outcome = await readAll(source, stream).then(
        () => 'read',
        (error: MillraceError) => error.code,
      );
      expect(outcome === 'read').toBe(harmless === true);
      expect(outcome).not.toBe('internal');
      expect(
        await database.query(
          'SELECT count(*)::int AS n, (SELECT is_called FROM victim_seq) AS called FROM victim',
        ),
      ).toEqual([{ n: 2, called: false }]);
    },
  );

  test('a function that unlocks its session and writes later writes nothing, in any question', async () => {
    await database.query(`CREATE TABLE coffer (id int PRIMARY KEY); INSERT INTO coffer VALUES (1), (2);
      CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN
        PERFORM set_config('default_transaction_read_only', 'off', false);
        PERFORM pg_advisory_lock(4711);
        BEGIN INSERT INTO coffer VALUES ((random() * 1e9)::int); EXCEPTION WHEN read_only_sql_transaction THEN NULL; END;
        RETURN 1;
      END $$`);
    await using own = openSource({ ...database.config, pool: { min: 1, max: 1 } });
    for (const declared of [
      { query: 'SELECT id, sneak() AS s FROM coffer', primary_key: ['id', 's'], cursor: 's' },
      { table: 'coffer', where: 'sneak() = 1', cursor: 'id' },
    ]) {
      const stream: Stream = { name: 'coffer', ...declared };
      let cursor: Cursor | null = null;
      for (let turn = 0; turn < 3; turn++) {
        expect((await own.check([stream], calm)).error).toBeUndefined();
        const resolved = await own.resolve(stream, calm);
        expect(await own.preview(resolved, 5, calm)).toHaveLength(2);
        ({ cursor } = await readAll(own, stream, cursor));
        expect(await database.query('SELECT count(*)::int AS n FROM coffer')).toEqual([{ n: 2 }]);
      }
    }
    // Nor does a lock outlive the question that took it.
    await own[Symbol.asyncDispose]();
    await expect
      .poll(() => database.query('SELECT pg_try_advisory_lock(4711) AS free'))
      .toEqual([{ free: true }]);
  });
});
