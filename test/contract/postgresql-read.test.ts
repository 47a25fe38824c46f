import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Cursor, Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { createRng, testSeed } from '../support/rng.ts';
import { calm, drain, openSource, readAll, rowsOf } from './postgresql-support.ts';

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
  test('a first load goes by key, the next run by what changed, and one that finds nothing keeps its mark', async () => {
    await database.query(`CREATE TABLE orders (id int PRIMARY KEY, note text, updated_at timestamptz NOT NULL);
      CREATE INDEX ON orders (updated_at);
      INSERT INTO orders SELECT i, 'n' || i, now() - interval '1 hour' + i * interval '1 us' FROM generate_series(1, 2500) i`);
    const stream: Stream = { name: 'orders', table: 'orders', cursor: 'updated_at' };
    const first = await readAll(source, stream);
    expect(first.stream).toMatchObject({
      mode: 'merge',
      primaryKey: ['id'],
      cursor: 'updated_at',
      detectDeletes: true,
    });
    expect(first.rows.map(([id]) => id)).toEqual(Array.from({ length: 2500 }, (_, i) => i + 1));
    expect(first).toMatchObject({
      count: 2500,
      resumed: false,
      guard: 'open transactions (pg_locks)',
      warnings: [],
    });

    const nothing = await readAll(source, stream, first.cursor);
    expect(nothing.rows.map(([id]) => id)).toEqual([2500]);
    expect(nothing.cursor).toBe(first.cursor);

    await database.query(
      "UPDATE orders SET note = 'new', updated_at = now() WHERE id IN (7, 9); DELETE FROM orders WHERE id = 1",
    );
    const changed = await readAll(source, stream, nothing.cursor);
    expect(changed.rows.map(([id, note]) => [id, note])).toEqual([
      [2500, 'n2500'],
      [7, 'new'],
      [9, 'new'],
    ]);
    expect(changed.count).toBe(2499);

    await database.query('DELETE FROM orders');
    const empty = await readAll(source, stream, changed.cursor);
    expect(empty.rows).toEqual([]);
    expect(JSON.parse(empty.cursor)).toEqual(JSON.parse(changed.cursor));
  });

  test('microseconds are never rounded: neighbours a microsecond apart come exactly once', async () => {
    await database.query(`CREATE TABLE micro (id int PRIMARY KEY, at timestamptz NOT NULL);
      INSERT INTO micro VALUES (1, '2024-01-01 00:00:00.123456+00'), (2, '2024-01-01 00:00:00.123457+00')`);
    const stream: Stream = { name: 'micro', table: 'micro', cursor: 'at' };
    const first = await readAll(source, stream);
    await database.query(
      "INSERT INTO micro VALUES (3, '2024-01-01 00:00:00.123457+00'), (4, '2024-01-01 00:00:00.123458+00')",
    );
    const next = await readAll(source, stream, first.cursor);
    expect(next.rows.map(([id]) => id)).toEqual([2, 3, 4]);
  });

  test('rows without a cursor value are read in every run, and said', async () => {
    await database.query(`CREATE TABLE gaps (id int PRIMARY KEY, at timestamptz);
      INSERT INTO gaps SELECT i, CASE WHEN i % 2 = 0 THEN now() - i * interval '1 s' END FROM generate_series(1, 10) i`);
    const stream: Stream = { name: 'gaps', table: 'gaps', cursor: 'at' };
    const first = await readAll(source, stream);
    expect(first.rows).toHaveLength(10);
    const next = await readAll(source, stream, first.cursor);
    expect(next.rows.map(([id]) => id)).toEqual([1, 3, 5, 7, 9, 2]);
    expect(next.warnings).toEqual([expect.stringContaining('5 rows have NULL in "at"')]);
  });

  test('a key without a cursor is read whole in key order, and begins again', async () => {
    await database.query(
      'CREATE TABLE plain_key (b text, a int, PRIMARY KEY (a, b)); INSERT INTO plain_key SELECT i::text, i % 3 FROM generate_series(1, 5) i',
    );
    const stream: Stream = { name: 'plain_key', table: 'plain_key', mode: 'merge' };
    const first = await readAll(source, stream);
    expect(first.rows).toEqual([
      ['3', 0],
      ['1', 1],
      ['4', 1],
      ['2', 2],
      ['5', 2],
    ]);
    expect((await readAll(source, stream, first.cursor)).rows).toHaveLength(5);
  });

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

  test('another cursor than the stored position was made for: everything is read again, and said', async () => {
    await database.query(
      'CREATE TABLE moved (id int PRIMARY KEY, a timestamptz DEFAULT now(), b timestamptz DEFAULT now()); INSERT INTO moved VALUES (1), (2)',
    );
    const first = await readAll(source, { name: 'moved', table: 'moved', cursor: 'a' });
    const other = await readAll(source, { name: 'moved', table: 'moved', cursor: 'b' }, first.cursor);
    expect(other.rows).toHaveLength(2);
    expect(other.warnings).toEqual([expect.stringContaining('everything is read again')]);
  });
});

/** Key types whose text, order and literal are awkward. */
const awkwardKeys: readonly (readonly [string, string])[] = [
  ['int', 'i'],
  ['bigint', '9007199254740990 + i'],
  ['numeric', "(i || '.' || repeat('0', i % 3))::numeric"],
  ['text', "chr(65 + i % 60) || '''\\' || i"],
  ['character(8)', 'i::text'],
  ['uuid', 'md5(i::text)::uuid'],
  ['timestamptz', "'2024-01-01'::timestamptz + i * interval '1 us'"],
  ['timestamp', "'0100-01-01 BC'::timestamp + i * interval '40 days'"],
  ['date', "'9999-12-01'::date + i"],
  ['bytea', "decode(lpad(to_hex(i), 8, '0'), 'hex')"],
  ['inet', "'10.0.0.0'::inet + i"],
  ['double precision', 'i / 3.0::float8'],
  ['real', 'i / 3.0::real'],
  ['int[]', 'ARRAY[i % 7, i]'],
  ['interval', "i * interval '1 minute'"],
  ['int4range', 'int4range(i, i + 1)'],
  ['time', "'00:00'::time + i * interval '1 s'"],
];

describe('resuming', () => {
  /** Makes a batch end after about a thousand rows, by its bytes. */
  const pad = "repeat('x', 230)";

  test.each(awkwardKeys)(
    'a first load by a key of %s goes on after every checkpoint, nothing left out or twice',
    async (type, value) => {
      const table = `k_${type.replaceAll(/\W/g, '_')}`;
      await database.query(
        `CREATE TABLE ${table} (id ${type} PRIMARY KEY, n int, pad text DEFAULT ${pad}); INSERT INTO ${table} SELECT ${value}, i FROM generate_series(1, 3300) i`,
      );
      const stream: Stream = { name: 'k', table, mode: 'merge' };
      const whole = await readAll(source, stream);
      expect(whole.batches.filter(({ rows }) => rows > 0)).toHaveLength(4);
      let seen = 0;
      for (const batch of whole.batches.slice(0, 4)) {
        seen += batch.rows;
        const rest = await readAll(source, stream, batch.cursor);
        expect(rest.resumed).toBe(true);
        expect(rest.rows).toEqual(whole.rows.slice(seen));
      }
    },
  );

  test('an incremental run with ties larger than a batch goes on after every checkpoint', async () => {
    await database.query(`CREATE TABLE ties (a int, b text, at timestamptz, pad text DEFAULT ${pad}, PRIMARY KEY (b, a));
      INSERT INTO ties SELECT i, 'b' || i % 2, CASE WHEN i % 10 > 0 THEN '2024-01-01'::timestamptz + (i / 2500) * interval '1 s' END FROM generate_series(1, 6000) i`);
    const stream: Stream = { name: 'ties', table: 'ties', cursor: 'at' };
    const settled = JSON.stringify({ ...JSON.parse((await readAll(source, stream)).cursor), mark: null });
    const whole = await readAll(source, stream, settled);
    expect(whole.rows).toHaveLength(6000);
    let seen = 0;
    for (const batch of whole.batches.slice(0, -1)) {
      seen += batch.rows;
      const rest = await readAll(source, stream, batch.cursor);
      expect(rest.resumed).toBe(true);
      expect(rest.rows).toEqual(whole.rows.slice(seen));
      expect(rest.cursor).toBe(whole.cursor);
    }
  });

  test('random histories of changes and crashes: the merged copy equals the source', {
    timeout: 60_000,
  }, async () => {
    const seed = testSeed();
    const rng = createRng(seed);
    await database.query(
      'CREATE TABLE life (id int PRIMARY KEY, v int NOT NULL, seq bigint NOT NULL); CREATE SEQUENCE life_seq',
    );
    const change = async (): Promise<void> => {
      const from = rng.int(1, 6000);
      await database.query(
        `INSERT INTO life SELECT i, ${rng.int(0, 1e6)}, 1 + nextval('life_seq') / 700 FROM generate_series(${from}, ${from + rng.int(0, 2500)}) i
         ON CONFLICT (id) DO UPDATE SET v = excluded.v, seq = excluded.seq`,
      );
    };
    const copy = new Map<Value, readonly Value[]>();
    let cursor: Cursor | null = null;
    const stream: Stream = { name: 'life', table: 'life', cursor: 'seq' };
    await change();
    for (let turn = 0; turn < 60; turn++) {
      if (rng.chance(0.6)) await change();
      const resolved = await source.resolve(stream, calm);
      await using reading = await source.read(resolved, cursor, calm);
      let left = rng.chance(0.5) ? rng.int(0, 5) : Number.POSITIVE_INFINITY;
      for await (const batch of reading.batches) {
        if (left-- <= 0) break;
        for (const row of rowsOf(batch, 3)) copy.set(row[0] as Value, row);
        cursor = batch.cursor;
        if (rng.chance(0.1)) await change();
      }
    }
    const last = await readAll(source, stream, cursor);
    for (const row of last.rows) copy.set(row[0] as Value, row);
    const again = await readAll(source, stream, last.cursor);
    for (const row of again.rows) copy.set(row[0] as Value, row);
    const truth = await database.query('SELECT id, v, seq::int FROM life ORDER BY id');
    const landed = [...copy.values()]
      .toSorted((a, b) => Number(a[0]) - Number(b[0]))
      .map(([id, v, seq]) => ({ id, v, seq }));
    expect(landed, `seed ${seed}`).toEqual(truth);
  });
});

describe('replace', () => {
  test('a table without a key is read in one snapshot', async () => {
    await database.query(
      "CREATE TABLE heap (v int, t text); INSERT INTO heap SELECT i % 3, 'x' FROM generate_series(1, 2001) i",
    );
    const all = await readAll(source, { name: 'heap', table: 'heap' });
    expect(all.stream).toMatchObject({ mode: 'replace', primaryKey: [], cursor: null });
    expect(all.rows).toHaveLength(2001);
    expect(all.count).toBe(2001);
    expect(all.resumed).toBe(false);
    expect((await readAll(source, { name: 'heap', table: 'heap' }, all.cursor)).rows).toHaveLength(2001);
  });

  test('an empty table, one without columns, and a view', async () => {
    await database.query(
      'CREATE TABLE nothing (id int PRIMARY KEY, x text); CREATE TABLE bare (); CREATE VIEW seen AS SELECT 1 AS one, NULL::text AS none',
    );
    expect(await readAll(source, { name: 'nothing', table: 'nothing' })).toMatchObject({
      rows: [],
      count: 0,
    });
    expect(await readAll(source, { name: 'seen', table: 'seen' })).toMatchObject({
      rows: [[1, null]],
      count: 1,
    });
    await expect(source.resolve({ name: 'bare', table: 'bare' }, calm)).rejects.toMatchObject({
      code: 'invalid_config',
    });
  });
});

describe('what is selected', () => {
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

  test('a query with a key and a cursor, its trailing semicolon and comment forgiven', async () => {
    await database.query(
      'CREATE TABLE base (id int PRIMARY KEY, at timestamptz DEFAULT now(), v int); INSERT INTO base SELECT i, now(), i FROM generate_series(1, 3) i',
    );
    const stream: Stream = {
      name: 'q',
      query:
        'WITH b AS (SELECT * FROM base) SELECT id, at, v * 2 AS double, NULL AS nothing FROM b ORDER BY v DESC -- odd\n;',
      primary_key: ['id'],
      cursor: 'at',
    };
    const all = await readAll(source, stream);
    expect(all.stream.columns.map(({ name, sourceType }) => [name, sourceType])).toEqual([
      ['id', 'integer'],
      ['at', 'timestamp with time zone'],
      ['double', 'integer'],
      ['nothing', 'text'],
    ]);
    expect(all.rows.map(([id, , double]) => [id, double])).toEqual([
      [1, 2],
      [2, 4],
      [3, 6],
    ]);
    expect((await readAll(source, stream, all.cursor)).rows).toHaveLength(3);
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
  const failure = async (work: Promise<unknown>): Promise<MillraceError> =>
    work.then(
      () => {
        throw new Error('it did not fail');
      },
      (error: MillraceError) => error,
    );

  test('an error in the middle of the rows is told, after the rows before it', async () => {
    await database.query(
      'CREATE TABLE div (id int PRIMARY KEY); INSERT INTO div SELECT generate_series(1, 50000)',
    );
    const stream = await source.resolve(
      { name: 'div', query: 'SELECT id, 1 / (40000 - id) AS x FROM div', mode: 'replace' },
      calm,
    );
    await using reading = await source.read(stream, null, calm);
    let rows = 0;
    const error = await failure(
      (async () => {
        for await (const batch of reading.batches) rows += batch.rows;
      })(),
    );
    expect(error).toMatchObject({ code: 'response_invalid' });
    expect(error.message).toContain('division by zero');
    expect(rows).toBeGreaterThan(30_000);
    expect(rows).toBeLessThan(40_000);
  });

  test('a session that is ended in the middle is connection_lost, and the source goes on with another', async () => {
    await database.query(
      "CREATE TABLE cut (id int PRIMARY KEY, t text); INSERT INTO cut SELECT i, repeat('x', 1000) FROM generate_series(1, 50000) i",
    );
    const stream = await source.resolve({ name: 'cut', table: 'cut', mode: 'merge' }, calm);
    await using reading = await source.read(stream, null, calm);
    let position: Cursor | null = null;
    let rows = 0;
    const error = await failure(
      (async () => {
        for await (const batch of reading.batches) {
          rows += batch.rows;
          position = batch.cursor;
          if (rows === batch.rows)
            await database.query(
              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'millrace (reading)' AND datname = current_database()",
            );
        }
      })(),
    );
    expect(error).toMatchObject({ code: 'connection_lost', retryable: true });
    const rest = await readAll(source, { name: 'cut', table: 'cut', mode: 'merge' }, position);
    expect(rows + rest.rows.length).toBe(50_000);
  });

  test('cancelled within a second, also while the server says nothing, and the server stops as well', async () => {
    const stop = new AbortController();
    const stream = await source.resolve(
      { name: 'slow', query: 'SELECT 1 AS a FROM pg_sleep(30)', mode: 'replace' },
      calm,
    );
    await using reading = await source.read(stream, null, stop.signal);
    const startedAt = performance.now();
    setTimeout(() => stop.abort(), 200);
    const error = await failure(drain(reading, stream));
    expect(error).toMatchObject({ code: 'cancelled' });
    expect(performance.now() - startedAt).toBeLessThan(1_200);
    for (let i = 0; i < 40; i++) {
      const [busy] = await database.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid() AND state = 'active'",
      );
      if (busy?.['n'] === 0) return;
      await new Promise((settle) => setTimeout(settle, 50));
    }
    throw new Error('the server still sleeps');
  });

  test('a server that sends nothing for longer than statement_timeout_ms is a timeout', async () => {
    await using impatient = openSource({ ...database.config, statement_timeout_ms: 300 });
    const stream = await impatient.resolve(
      { name: 'slow', query: 'SELECT 1 AS a FROM pg_sleep(30)', mode: 'replace' },
      calm,
    );
    await using reading = await impatient.read(stream, null, calm);
    const startedAt = performance.now();
    expect(await failure(drain(reading, stream))).toMatchObject({ code: 'timeout', retryable: true });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test('a consumer that takes its time is not a silent server, and stops the flow', async () => {
    await using impatient = openSource({ ...database.config, statement_timeout_ms: 300 });
    const stream = await impatient.resolve({ name: 'cut', table: 'cut', mode: 'merge' }, calm);
    await using reading = await impatient.read(stream, null, calm);
    let rows = 0;
    for await (const batch of reading.batches) {
      rows += batch.rows;
      if (rows < 1_000) await new Promise((settle) => setTimeout(settle, 400));
    }
    expect(rows).toBe(50_000);
  });

  test('a source that is closed in the middle of a read ends it', async () => {
    const own = openSource(database.config);
    const stream = await own.resolve(
      { name: 'slow', query: 'SELECT 1 AS a FROM pg_sleep(30)', mode: 'replace' },
      calm,
    );
    await using reading = await own.read(stream, null, calm);
    setTimeout(() => void own[Symbol.asyncDispose](), 100);
    expect(await failure(drain(reading, stream))).toMatchObject({ code: 'connection_lost' });
  });

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
