import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { PoolConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import { type Pace, usualPace } from '../../src/connectors/mysql/snapshot.ts';
import type { Stream } from '../../src/core/model.ts';
import { openDestination } from '../../src/destinations/index.ts';
import { freshMysql, mysqlKinds, privateMysql, type TestMysql } from '../support/mysql.ts';
import { createRng, type Rng, testSeed } from '../support/rng.ts';
import { openMysqlSource } from './mysql-support.ts';
import { calm, readAll } from './reading-support.ts';

/**
 * `append` without a key: what this connector says of rows that may come again, and what the destination makes of
 * it, give every row exactly once. Judged by the real destination, since only the two together can be right.
 */

/** A new snapshot for every few hundred rows: what takes an hour happens in each of these tests. */
const hurried: Pace = { ...usualPace, snapshotMs: 0, firstRows: 300, rowsMax: 300 };

// A server of their own: other suites' transactions would hold marks back here.
describe.each(mysqlKinds)('append without a key on %s', (kind) => {
  let server: Awaited<ReturnType<typeof privateMysql>>;
  let database: TestMysql;
  let folder: string;
  const sources: Record<string, Source> = {};

  beforeAll(async () => {
    server = await privateMysql(kind);
    database = await freshMysql(kind, server);
    sources['one snapshot'] = openMysqlSource(database.config);
    sources['many snapshots'] = openMysqlSource(database.config, { pace: hurried });
    folder = mkdtempSync(join(tmpdir(), 'millrace-append-'));
  }, 120_000);

  afterAll(async () => {
    for (const source of Object.values(sources)) await source[Symbol.asyncDispose]();
    await database.drop();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const sourceOf = (pace: string): Source => sources[pace] as Source;

  /** Syncs once; after `batchesMax` batches the process "dies": nothing is finished. */
  async function sync(
    source: Source,
    stream: Stream,
    run: { readonly epoch: number; readonly batchesMax: number },
  ): Promise<void> {
    const resolved = await source.resolve(stream, calm);
    await using destination = openDestination(join(folder, 'warehouse.db'));
    await using writer = await destination.writer({
      connector: 'c',
      stream: resolved,
      runId: `r${run.epoch}`,
      epoch: run.epoch,
      definition: 'same',
      rebuild: false,
    });
    await using reading = await source.read(resolved, writer.cursor, calm);
    let left = run.batchesMax;
    for await (const batch of reading.batches) {
      if (left-- <= 0) return;
      await writer.commit(batch);
    }
    await writer.finish({ expectedRows: null, minimumShare: null });
  }

  function landed(stream: string): readonly string[] {
    const db = new Database(join(folder, 'warehouse.db'), { readonly: true });
    const rows = db.prepare(`SELECT v, c FROM c__${stream}`).raw().all() as [unknown, unknown][];
    db.close();
    return rows.map(([v, c]) => `${v} ${c}`).toSorted();
  }

  async function truth(table: string): Promise<readonly string[]> {
    const rows = await database.query(`SELECT CONCAT(v, ' ', COALESCE(c, 'null')) AS line FROM ${table}`);
    return rows.map(({ line }) => String(line)).toSorted();
  }

  const series = (rows: number): string =>
    `(WITH RECURSIVE s (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < ${rows - 1}) SELECT i FROM s) AS s`;

  /** The pool's own settings end this at a thousand. */
  const deep = `SET ${kind === 'mysql' ? 'cte_max_recursion_depth' : 'max_recursive_iterations'} = 100000`;

  /** Rows with ties far larger than a batch, equal rows among them. */
  async function write(table: string, rng: Rng, clock: { tick: number }): Promise<void> {
    clock.tick += rng.int(0, 2);
    const rows = rng.pick([3, 700, 2600]);
    await database.query(
      `${deep}; INSERT INTO ${table} SELECT ${rng.int(0, 3)} + i % ${rng.int(1, 5)}, ${clock.tick} + i DIV ${rng.pick([1, 400, 5000])} FROM ${series(rows)}`,
    );
    const [top] = await database.query(`SELECT MAX(c) AS c FROM ${table}`);
    clock.tick = Math.max(clock.tick, Number(top?.['c'] ?? 0));
  }

  test('chosen when there is a cursor and no key; changed rows come as new rows', async () => {
    await database.query(
      "CREATE TABLE log (c timestamp(6) NULL, v varchar(10)); INSERT INTO log VALUES ('2024-01-01', 'a'), (NULL, 'n'), ('2024-01-02', 'b')",
    );
    const stream: Stream = { name: 'log', table: 'log', cursor: 'c' };
    const first = await readAll(sourceOf('one snapshot'), stream);
    expect(first.stream).toMatchObject({ mode: 'append', primaryKey: [], cursor: 'c' });
    expect(first.rows.map(([, v]) => v)).toEqual(['n', 'a', 'b']);
    expect(first.count).toBe(3);
    const next = await readAll(sourceOf('one snapshot'), stream, first.cursor);
    expect(next.rows.map(([, v]) => v)).toEqual(['b']);
    expect(next.batches[0]?.overlap).toEqual({ from: 0, reset: false });
  });

  describe.each(['one snapshot', 'many snapshots'])('%s', (pace) => {
    test.each(['int', 'decimal(10,0)', 'double'])(
      'random histories with ties, equal rows and crashes land every row once (%s)',
      { timeout: 120_000 },
      async (type) => {
        const seed = testSeed();
        const rng = createRng(seed);
        const table = `events_${type.replaceAll(/\W/g, '')}_${pace.slice(0, 3)}`;
        await database.query(`CREATE TABLE ${table} (v int NOT NULL, c ${type} NOT NULL, KEY (c))`);
        const stream: Stream = { name: table, table, cursor: 'c' };
        const clock = { tick: 0 };
        await write(table, rng, clock);
        for (let epoch = 1; epoch <= 25; epoch++) {
          if (rng.chance(0.5)) await write(table, rng, clock);
          await sync(sourceOf(pace), stream, { epoch, batchesMax: rng.chance(0.5) ? rng.int(0, 6) : 1e9 });
        }
        await sync(sourceOf(pace), stream, { epoch: 100, batchesMax: 1e9 });
        expect(landed(table), `seed ${seed}`).toEqual(await truth(table));
        const before = landed(table).length;
        await sync(sourceOf(pace), stream, { epoch: 101, batchesMax: 1e9 });
        expect(landed(table)).toHaveLength(before);
      },
    );

    test('transactions that commit late are appended, each row once', { timeout: 120_000 }, async () => {
      const seed = testSeed();
      const rng = createRng(seed);
      const table = `late_${pace.slice(0, 3)}`;
      await database.query(`CREATE TABLE ${table} (v int NOT NULL, c int NOT NULL, KEY (c))`);
      const stream: Stream = { name: table, table, cursor: 'c' };
      let tick = 0;
      const open: (() => Promise<void>)[] = [];
      for (let epoch = 1; epoch <= 15; epoch++) {
        for (let i = Math.min(rng.int(0, 3), 7 - open.length); i > 0; i--) {
          const client: PoolConnection = await database.pool.getConnection();
          tick += rng.int(0, 1);
          await client.query(
            `${deep}; BEGIN; INSERT INTO ${table} SELECT i, ${tick} FROM ${series(rng.pick([1, 5, 1500]))}`,
          );
          open.push(async () => {
            await client.query(rng.chance(0.9) ? 'COMMIT' : 'ROLLBACK');
            client.release();
          });
        }
        while (open.length > 0 && rng.chance(0.6)) await open.splice(rng.int(0, open.length - 1), 1)[0]?.();
        await sync(sourceOf(pace), stream, { epoch, batchesMax: rng.chance(0.3) ? rng.int(0, 4) : 1e9 });
      }
      for (const end of open) await end();
      // The first may finish a run that was cut: what was committed behind its back comes with the second.
      for (const epoch of [100, 101]) await sync(sourceOf(pace), stream, { epoch, batchesMax: 1e9 });
      expect(landed(table), `seed ${seed}`).toEqual(await truth(table));
    });
  });

  test.each([
    'utf8mb4_general_ci',
    'utf8mb4_unicode_ci',
    'utf8mb4_bin',
    'latin1_swedish_ci',
    'latin1_german2_ci',
  ])('texts that are equal under %s are ties, whatever their bytes are', async (collation) => {
    const table = `texts_${collation}`;
    await database.query(
      `${deep}; CREATE TABLE ${table} (v int NOT NULL, c varchar(20) CHARACTER SET ${collation.split('_')[0]} COLLATE ${collation} NOT NULL, KEY (c));
         INSERT INTO ${table} SELECT i, CONCAT(CHAR(65 + i DIV 1000 + (i % 2) * 32 USING utf8mb4), ELT(1 + i % 3, 'ss', 'ß', 'ss '), REPEAT(' ', i % 2)) FROM ${series(6000)}`,
    );
    const stream: Stream = { name: table, table, cursor: 'c' };
    for (let epoch = 1; epoch <= 12; epoch++) {
      const source = sourceOf(epoch % 2 === 0 ? 'one snapshot' : 'many snapshots');
      await sync(source, stream, { epoch, batchesMax: epoch === 12 ? 1e9 : 1 + (epoch % 3) });
    }
    await sync(sourceOf('many snapshots'), stream, { epoch: 13, batchesMax: 1e9 });
    expect(landed(table)).toEqual(await truth(table));
  });

  test('what must be remembered stays small: the ties of the last row, not the table', async () => {
    await database.query(
      `${deep}; CREATE TABLE long_ties (v int, c bigint NOT NULL, KEY (c)); INSERT INTO long_ties SELECT 1, i DIV 10 FROM ${series(20_000)}`,
    );
    for (const pace of ['one snapshot', 'many snapshots']) {
      const { batches } = await readAll(sourceOf(pace), {
        name: 'long_ties',
        table: 'long_ties',
        cursor: 'c',
      });
      for (const batch of batches.slice(0, -1)) {
        expect(batch.overlap?.reset).toBe(true);
        expect(batch.rows - (batch.overlap?.from ?? 0)).toBeLessThanOrEqual(10);
      }
    }
  });

  test('a position of another cursor is refused: going on would double rows', async () => {
    await database.query('CREATE TABLE two (v int, c int, d int); INSERT INTO two VALUES (1, 1, 1)');
    const source = sourceOf('one snapshot');
    const first = await readAll(source, { name: 'two', table: 'two', cursor: 'c' });
    const resolved = await source.resolve({ name: 'two', table: 'two', cursor: 'd' }, calm);
    await expect(source.read(resolved, first.cursor, calm)).rejects.toMatchObject({
      code: 'cursor_invalid',
      hint: expect.stringContaining('full_refresh'),
    });
  });
});
