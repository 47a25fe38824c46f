import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Reading, Source } from '../../src/connectors/connector.ts';
import { type Guard, lateCommitGuard } from '../../src/connectors/mysql/guard.ts';
import { type Pace, usualPace } from '../../src/connectors/mysql/snapshot.ts';
import type { Batch, Cursor, Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import { freshMysql, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { createRng, testSeed } from '../support/rng.ts';
import { openMysqlSource } from './mysql-support.ts';
import { calm, drain, failure, readAll, rowsOf } from './reading-support.ts';

/** What connector.test.ts asks of every connector is not repeated here: this is about chunks and snapshots. */

/** A new snapshot for every few rows: what takes an hour happens in each of these tests. */
const hurried: Pace = { ...usualPace, snapshotMs: 0, chunkMs: 60_000, firstRows: 100, rowsMax: 100 };

describe.each(mysqlKinds)('reading in parts from %s', (kind) => {
  let database: TestMysql;
  /** Has its look-back instead of a guard, so that other suites' transactions do not matter here. */
  let source: Source;
  let patient: Source;

  beforeAll(async () => {
    database = await freshMysql(kind);
    const login = await database.user();
    source = openMysqlSource({ ...database.config, ...login }, { pace: hurried });
    patient = openMysqlSource({ ...database.config, ...login });
  }, 120_000);

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await patient[Symbol.asyncDispose]();
    await database.drop();
  });

  const series = (rows: number): string =>
    `(WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < ${rows}) SELECT i FROM s) AS s`;
  const deep = `SET ${kind === 'mysql' ? 'cte_max_recursion_depth' : 'max_recursive_iterations'} = 100000`;

  /** Reads on and does something after a number of rows. */
  async function during(
    stream: Stream,
    {
      from = null,
      after,
      what,
    }: { readonly from?: Cursor | null; readonly after: number; readonly what: string },
  ): Promise<{
    readonly rows: readonly (readonly Value[])[];
    readonly reading: Reading;
    readonly batches: readonly Batch[];
  }> {
    const resolved = await source.resolve(stream, calm);
    const reading = await source.read(resolved, from, calm);
    const batches: Batch[] = [];
    let rows = 0;
    let done = false;
    for await (const batch of reading.batches) {
      batches.push(batch);
      rows += batch.rows;
      if (done || rows < after) continue;
      done = true;
      await database.query(what);
    }
    return { rows: batches.flatMap((batch) => rowsOf(batch, resolved.columns.length)), reading, batches };
  }

  /** What a merge would have made of them. */
  function merged(rows: readonly (readonly Value[])[]): ReadonlyMap<Value, Value> {
    return new Map(rows.map(([id, v]) => [id ?? null, v ?? null]));
  }

  /** How many sessions wait for a table that another one holds. */
  async function waiting(): Promise<number> {
    const sessions = await database.query(
      "SELECT id FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock' AND db = DATABASE()",
    );
    return sessions.length;
  }

  async function table(name: string, rows: number, more = ''): Promise<Stream> {
    await database.query(
      `${deep}; CREATE TABLE ${name} (id int PRIMARY KEY, v varchar(20), at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (at)) ${more};
       INSERT INTO ${name} SELECT i, 'old', '2024-01-01' + INTERVAL i MICROSECOND FROM ${series(rows)}`,
    );
    return { name, table: name, cursor: 'at', lookback: '0s' };
  }

  test('a load of many snapshots is complete: what changed behind the reader comes before it ends', async () => {
    const stream = await table('moves', 2000);
    const { rows, reading } = await during(stream, {
      after: 1000,
      what: `UPDATE moves SET v = 'new' WHERE id IN (5, 1500); INSERT INTO moves (id, v) VALUES (0, 'new'), (9000, 'new');
        UPDATE moves SET id = -997 WHERE id = 1800; UPDATE moves SET id = 5000 WHERE id = 800; DELETE FROM moves WHERE id IN (7, 1900)`,
    });
    await using _ = reading;
    expect(reading.agreement).toBe('all');
    expect(await reading.count()).toBe(2000);
    const landed = merged(rows);
    for (const id of [0, 5, 1500, 9000]) expect(landed.get(id)).toBe('new');
    expect(landed.get(-997)).toBe('old');
    const keys = new Set<Value>();
    for await (const batch of reading.keys()) for (const key of batch.values) keys.add(key);
    expect(keys.size).toBe(2000);
    expect([...keys].filter((key) => !landed.has(key))).toEqual([]);
    // Deleted since they were read, or given another key: what a comparison of keys is for.
    expect([...landed.keys()].filter((key) => !keys.has(key)).toSorted()).toEqual([7, 800]);
    expect(reading.noticed?.()).toEqual([]);
  });

  test('one snapshot is enough for what is read in its time, and agrees with it exactly', async () => {
    const stream = await table('quick', 30_000);
    const resolved = await patient.resolve(stream, calm);
    await using reading = await patient.read(resolved, null, calm);
    let rows = 0;
    for await (const batch of reading.batches) {
      if (rows === 0)
        await database.query(
          "INSERT INTO quick (id, v) VALUES (90000, 'late'); DELETE FROM quick WHERE id = 29999",
        );
      rows += batch.rows;
    }
    expect(rows).toBe(30_000);
    expect(await reading.count()).toBe(30_000);
    expect(reading.agreement).toBe('same');
  });

  test('a run by cursor over many snapshots: rows that move are read again, deleted ones left to the keys', async () => {
    const stream = await table('tides', 1500);
    const first = await readAll(source, stream);
    await database.query("UPDATE tides SET v = 'second'");
    const { rows, reading } = await during(stream, {
      from: first.cursor,
      after: 500,
      what: "UPDATE tides SET v = 'third' WHERE id % 30 = 0; DELETE FROM tides WHERE id % 100 = 1",
    });
    await using _ = reading;
    expect(reading.agreement).toBe('all');
    const landed = merged(rows);
    for (let id = 1; id <= 1500; id++)
      if (id % 100 !== 1) expect(landed.get(id)).toBe(id % 30 === 0 ? 'third' : 'second');
  });

  test('a key without a cursor over many snapshots: said, since what changed behind comes with the next run', async () => {
    await table('blind', 1000);
    const { rows, reading } = await during(
      { name: 'blind', table: 'blind', mode: 'merge' },
      { after: 500, what: "INSERT INTO blind (id, v) VALUES (0, 'new')" },
    );
    await using _ = reading;
    expect(rows).toHaveLength(1000);
    expect(reading.agreement).toBe('unknown');
    expect(reading.noticed?.()).toEqual([expect.stringMatching(/read in \d+ snapshots.*with the next run/)]);
  });

  test('writers that add faster than we read do not keep a run going for ever', async () => {
    const stream = await table('flood', 500);
    const resolved = await source.resolve(stream, calm);
    await using reading = await source.read(resolved, null, calm);
    let batches = 0;
    let next = 1_000_000;
    for await (const batch of reading.batches) {
      if (++batches > 200) throw new Error('it does not end');
      const rows = Math.max(batch.rows * 2, 50);
      await database.query(
        `${deep}; INSERT INTO flood (id, v) SELECT ${next} + i, 'flood' FROM ${series(rows)}`,
      );
      next += rows;
    }
    expect(batches).toBeLessThan(200);
  });

  test('a load that is resumed at any batch goes on as if it had not stopped', async () => {
    await database.query(
      `${deep}; CREATE TABLE parts (a varchar(10) COLLATE utf8mb4_general_ci, b enum('zz', 'b', 'a'), c date, v int, PRIMARY KEY (a, b, c));
       INSERT INTO parts SELECT CONCAT(CHAR(65 + i % 26 + (i % 2) * 32), i % 7), 1 + i % 3, '2024-01-01' + INTERVAL i DAY, i FROM ${series(1200)}`,
    );
    const stream: Stream = { name: 'parts', table: 'parts', mode: 'merge' };
    const whole = await readAll(source, stream);
    expect(whole.rows).toHaveLength(1200);
    const server = await database.query('SELECT v FROM parts ORDER BY a, b, c');
    expect(whole.rows.map((row) => row[3])).toEqual(server.map(({ v }) => v));
    let seen = 0;
    for (const batch of whole.batches.filter(({ rows }) => rows > 0)) {
      seen += batch.rows;
      const rest = await readAll(source, stream, batch.cursor);
      expect(rest.resumed).toBe(true);
      expect(rest.rows).toEqual(whole.rows.slice(seen));
    }
  });

  test('dates that no calendar has are keys and cursors like others', async () => {
    await database.query(
      `${deep}; SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE odd (d datetime(6), n int, u date NULL, v varchar(5), PRIMARY KEY (d, n), KEY (u));
       INSERT INTO odd SELECT IF(i <= 250, '0000-00-00', IF(i <= 500, '2024-00-15', IF(i <= 750, '2024-02-31', '2024-03-01'))), i, IF(i % 2, '0000-00-00', IF(i % 3, '2024-02-00', NULL)), 'x' FROM ${series(1000)}; SET sql_mode = DEFAULT`,
    );
    const stream: Stream = { name: 'odd', table: 'odd', mode: 'merge' };
    const whole = await readAll(source, stream);
    expect(whole.rows.map((row) => row[1])).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    for (const [i, batch] of whole.batches.slice(0, 9).entries())
      expect((await readAll(source, stream, batch.cursor)).rows).toEqual(whole.rows.slice((i + 1) * 100));
    const byDate: Stream = { ...stream, cursor: 'u', lookback: '1d' };
    const settled = await readAll(source, byDate);
    expect(new Set(settled.rows.map((row) => row[1])).size).toBe(1000);
    const again = await readAll(source, byDate, settled.cursor);
    expect(new Set(again.rows.map((row) => row[2]))).toEqual(new Set([null, '2024-02-00']));
  });

  test('random histories of changes and crashes over many snapshots: the merged copy equals the source', {
    timeout: 120_000,
  }, async () => {
    const seed = testSeed();
    const rng = createRng(seed);
    await database.query(
      'CREATE TABLE life (id int PRIMARY KEY, v int NOT NULL, seq bigint unsigned NOT NULL, KEY (seq))',
    );
    let seq = 0;
    const change = async (): Promise<void> => {
      const from = rng.int(1, 2000);
      seq += rng.int(0, 1);
      await database.query(
        `${deep}; INSERT INTO life SELECT ${from} + i, ${rng.int(0, 1e6)}, ${seq} + i DIV 700 FROM ${series(rng.int(1, 900))} ON DUPLICATE KEY UPDATE v = VALUES(v), seq = VALUES(seq)`,
      );
      const [top] = await database.query('SELECT MAX(seq) AS top FROM life');
      seq = Number(top?.['top']);
    };
    const copy = new Map<Value, readonly Value[]>();
    let cursor: Cursor | null = null;
    const stream: Stream = { name: 'life', table: 'life', cursor: 'seq', lookback: 0 };
    await change();
    const land = (batch: Batch): void => {
      for (const row of rowsOf(batch, 3)) copy.set(row[0] as Value, row);
      cursor = batch.cursor;
    };
    for (let turn = 0; turn < 30; turn++) {
      if (rng.chance(0.6)) await change();
      const resolved = await source.resolve(stream, calm);
      await using reading = await source.read(resolved, cursor, calm);
      let left = rng.chance(0.5) ? rng.int(0, 15) : Number.POSITIVE_INFINITY;
      for await (const batch of reading.batches) {
        if (left-- <= 0) break;
        land(batch);
        if (rng.chance(0.1)) await change();
      }
      if (reading.agreement === 'unknown') continue;
      // Nobody deletes here: then a complete reading has left nothing out, and counts say so.
      expect(copy.size, `seed ${seed}`).toBe(await reading.count());
    }
    for (let turn = 0; turn < 2; turn++)
      for (const batch of (await readAll(source, stream, cursor)).batches) land(batch);
    const truth = await database.query('SELECT id, v, seq FROM life ORDER BY id');
    const landed = [...copy.values()]
      .toSorted((a, b) => Number(a[0]) - Number(b[0]))
      .map(([id, v, at]) => ({ id, v, seq: Number(at) }));
    expect(landed, `seed ${seed}`).toEqual(truth);
  });

  test('going on behind a row reads what follows it, and not what comes before', async () => {
    await database.query(
      `${deep}; CREATE TABLE deep (tenant int, id int, at datetime(6), v int, PRIMARY KEY (tenant, id), KEY (at));
       INSERT INTO deep SELECT i DIV 10000, i, '2024-01-01' + INTERVAL i DIV 5000 DAY, i FROM ${series(40_000)}`,
    );
    const login = await database.user();
    await using one = openMysqlSource(
      { ...database.config, ...login },
      { pace: { ...hurried, firstRows: 5_000, rowsMax: 5_000 } },
    );
    const read = async (): Promise<number> => {
      const [row] = await database.query("SHOW GLOBAL STATUS LIKE 'Handler_read_next'");
      return Number(row?.['Value']);
    };
    const before = await read();
    expect((await readAll(one, { name: 'deep', table: 'deep', mode: 'merge' })).rows).toHaveLength(40_000);
    // Others read as well: only far more would be the mistake, which costs 160,000.
    expect((await read()) - before).toBeLessThan(120_000);
  });

  test('without an index for the order there is one snapshot; when that was long it is said, with what helps', async () => {
    await database.query(
      `${deep}; CREATE TABLE flat (id int PRIMARY KEY, v varchar(20), at timestamp(6) NOT NULL); INSERT INTO flat SELECT i, 'x', NOW(6) FROM ${series(3000)}; CREATE VIEW flat_view AS SELECT * FROM flat; CREATE TABLE keyless (v int); INSERT INTO keyless SELECT i FROM ${series(500)}`,
    );
    await using strict = openMysqlSource(database.config, { pace: { ...hurried, longMs: 0 } });
    const noticed = async (stream: Stream, from: Cursor | null = null): Promise<readonly string[]> => {
      const resolved = await strict.resolve(stream, calm);
      await using reading = await strict.read(resolved, from, calm);
      for await (const _ of reading.batches);
      expect(reading.agreement).toBe('same');
      return reading.noticed?.() ?? [];
    };
    const stream: Stream = { name: 'flat', table: 'flat', cursor: 'at', lookback: '1h' };
    const first = await readAll(strict, stream);
    expect(await noticed(stream, first.cursor)).toEqual([
      expect.stringMatching(/One snapshot was open for \d+ s.*in the order of \(at, id\).*CREATE INDEX/),
    ]);
    expect(await noticed({ name: 'view', table: 'flat_view', primary_key: ['id'], mode: 'merge' })).toEqual([
      expect.stringContaining('a query or a view is read as one'),
    ]);
    expect(await noticed({ name: 'keyless', table: 'keyless' })).toEqual([
      expect.stringContaining('no order to read in parts by'),
    ]);
    await database.query('CREATE INDEX at_id ON flat (at)');
    expect((await readAll(strict, stream, first.cursor)).warnings).toEqual([]);
  });

  test('another shape between two snapshots: said, not read as something else', async () => {
    await table('shifting', 1000);
    const stream: Stream = { name: 'shifting', table: 'shifting', mode: 'merge' };
    for (const what of [
      'ALTER TABLE shifting MODIFY v varchar(30)',
      'ALTER TABLE shifting RENAME COLUMN v TO w',
      'DROP TABLE shifting',
    ]) {
      const resolved = await source.resolve(stream, calm);
      await using reading = await source.read(resolved, null, calm);
      // It waits until our snapshot is given up, and our next one waits for it.
      let change: Promise<unknown> | undefined;
      const error = await failure(
        (async () => {
          for await (const _ of reading.batches) {
            if (change !== undefined) continue;
            change = database.query(what);
            await expect.poll(waiting).toBe(1);
          }
        })(),
      );
      expect(error.code, what).toBe('schema_changed');
      await change;
    }
  });

  test('a table that is dropped, or made again, before a reading looks at it once more: said as a change', async () => {
    for (const [at, what] of [
      'DROP TABLE gone0',
      'ALTER TABLE gone1 RENAME COLUMN at TO seen',
      'DROP TABLE gone2; CREATE TABLE gone2 (id int PRIMARY KEY, v varchar(20))',
    ].entries()) {
      const name = `gone${at}`;
      const stream = await table(name, 300);
      let asked = 0;
      const guard: Guard = async (request) => {
        if (++asked === 2) await database.query(what);
        return await lateCommitGuard(request);
      };
      const login = await database.user();
      await using own = openMysqlSource({ ...database.config, ...login }, { guard, pace: hurried });
      const resolved = await own.resolve(stream, calm);
      await using reading = await own.read(resolved, null, calm);
      const error = await failure(
        (async () => {
          let first = true;
          for await (const _ of reading.batches) {
            if (first) await database.query(`UPDATE ${name} SET v = 'new' WHERE id = 1`);
            first = false;
          }
        })(),
      );
      expect([asked, error.code], what).toEqual([2, 'schema_changed']);
    }
  });

  test('another name of the index that gives the order, between two snapshots: the next attempt goes on', async () => {
    const stream = await table('renamed', 1000);
    const first = await readAll(source, stream);
    await database.query("UPDATE renamed SET v = 'new'");
    const resolved = await source.resolve(stream, calm);
    await using reading = await source.read(resolved, first.cursor, calm);
    let cursor = first.cursor;
    let rows = 0;
    let change: Promise<unknown> | undefined;
    const error = await failure(
      (async () => {
        for await (const batch of reading.batches) {
          rows += batch.rows;
          cursor = batch.cursor;
          if (change !== undefined) continue;
          change = database.query('ALTER TABLE renamed RENAME INDEX at TO by_at');
          await expect.poll(waiting).toBe(1);
        }
      })(),
    );
    await change;
    expect(error).toMatchObject({ code: 'schema_changed', retryable: true });
    expect(rows).toBeLessThan(1000);
    const rest = await readAll(source, stream, cursor);
    expect(rest.resumed).toBe(true);
    expect(rows + rest.rows.length).toBeGreaterThanOrEqual(1000);
  });

  test('an index that a query names and the table has not: a mistake of the query, and no change', async () => {
    await table('hinted', 1);
    const query = 'SELECT * FROM hinted FORCE INDEX (nowhere)';
    expect(await failure(source.resolve({ name: 'hinted', query }, calm))).toMatchObject({
      code: 'not_found_at_source',
      retryable: false,
    });
  });

  test('from its first moment a snapshot keeps the columns as they are', async () => {
    const stream = await table('held', 300);
    const other = await database.pool.getConnection();
    await other.query('SET lock_wait_timeout = 1');
    for (const held of [stream, { name: 'asked', query: 'SELECT id, v FROM held', primary_key: ['id'] }]) {
      const resolved = await patient.resolve(held, calm);
      await using reading = await patient.read(resolved, null, calm);
      await expect(other.query('ALTER TABLE held DROP COLUMN v')).rejects.toThrow(/lock wait timeout/i);
      let rows = 0;
      for await (const batch of reading.batches) rows += batch.rows;
      expect(rows).toBe(300);
    }
    other.destroy();
  });

  test('a table that another one takes the place of: the rows that came with that one are read', async () => {
    const query = 'SELECT id, MAX(seq) AS seq FROM swapped_query GROUP BY id';
    const streams: readonly Stream[] = [
      { name: 'swapped', table: 'swapped' },
      { name: 'swapped_view', table: 'seen', primary_key: ['id'] },
      { name: 'swapped_query', query, primary_key: ['id'] },
    ];
    const holder = await database.pool.getConnection();
    for (const stream of streams) {
      const { name } = stream;
      await database.query(
        `${deep}; CREATE TABLE ${name} (id int PRIMARY KEY, seq int NOT NULL, KEY (seq)); INSERT INTO ${name} SELECT i, i FROM ${series(900)};
         CREATE TABLE ${name}_new LIKE ${name}; INSERT INTO ${name}_new SELECT * FROM ${name} WHERE id <= 100; CREATE OR REPLACE VIEW seen AS SELECT * FROM ${name}`,
      );
      let swap: Promise<unknown> | undefined;
      // As gh-ost ends: the table is locked, what is missing is copied, the two change names.
      const swaps = async (): Promise<void> => {
        await expect.poll(waiting).toBe(1);
        await database.query(
          `${deep}; INSERT INTO ${name}_new SELECT i, i FROM ${series(900)} WHERE i > 100`,
        );
        const renamed = database.query(`RENAME TABLE ${name} TO ${name}_old, ${name}_new TO ${name}`);
        await expect.poll(waiting).toBe(2);
        await holder.query('UNLOCK TABLES');
        await renamed;
      };
      const guard: Guard = async (request) => {
        const found = await lateCommitGuard(request);
        await holder.query(`LOCK TABLES ${name} WRITE`);
        swap = swaps();
        return found;
      };
      await using own = openMysqlSource(database.config, { guard });
      const { rows, count } = await readAll(own, { ...stream, cursor: 'seq', lookback: 0 });
      await swap;
      expect([rows.length, count], name).toEqual([900, 900]);
    }
    holder.release();
  });

  test('a snapshot stays what its first rows were of: also of none, of a view, and of a query', async () => {
    await database.query(
      `${deep}; CREATE TABLE firm (id int PRIMARY KEY, v int); INSERT INTO firm SELECT i, i FROM ${series(50)};
       CREATE TABLE bare (id int PRIMARY KEY, v int); CREATE VIEW firm_view AS SELECT * FROM firm`,
    );
    const streams: readonly Stream[] = [
      { name: 'firm', table: 'firm' },
      { name: 'bare', table: 'bare' },
      { name: 'view', table: 'firm_view' },
      { name: 'query', query: 'SELECT id, MAX(v) AS v FROM firm GROUP BY id' },
      { name: 'none', table: 'firm', where: 'id = 0' },
    ];
    for (const [at, stream] of streams.entries()) {
      const resolved = await patient.resolve({ ...stream, primary_key: ['id'], mode: 'merge' }, calm);
      await using reading = await patient.read(resolved, null, calm);
      const { rows } = await drain(reading, resolved);
      await database.query(
        `INSERT INTO firm VALUES (${1000 + at}, 1); INSERT INTO bare VALUES (${at}, 1); UPDATE firm SET id = 0 WHERE id = 1`,
      );
      expect(await reading.count(), stream.name).toBe(rows.length);
      let keys = 0;
      for await (const batch of reading.keys()) keys += batch.rows;
      expect(keys, stream.name).toBe(rows.length);
      await database.query('UPDATE firm SET id = 1 WHERE id = 0; DELETE FROM bare');
    }
  });

  test('MyISAM has no snapshots: read all the same, and counted against nothing', async () => {
    const stream = await table('plain', 1000, 'ENGINE=MyISAM');
    const { rows, reading } = await during(stream, { after: 500, what: 'DELETE FROM plain WHERE id = 1' });
    await using _ = reading;
    expect(rows.length).toBeGreaterThanOrEqual(1000);
    expect(reading.agreement).toBe('unknown');
  });
});
