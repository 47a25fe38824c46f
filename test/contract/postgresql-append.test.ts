import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { Stream } from '../../src/core/model.ts';
import { openDestination } from '../../src/destinations/index.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { createRng, type Rng, testSeed } from '../support/rng.ts';
import { calm, openSource, readAll } from './postgresql-support.ts';

/**
 * `append` without a key: what this connector says of rows that may come again, and what the destination makes of
 * it, give every row exactly once. Judged by the real destination, since only the two together can be right.
 */

let database: TestDatabase;
let source: Source;
let folder: string;

beforeAll(async () => {
  database = await freshDatabase();
  source = openSource(database.config);
  folder = mkdtempSync(join(tmpdir(), 'millrace-append-'));
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

/** Syncs once; after `batchesMax` batches the process "dies": nothing is finished. */
async function sync(
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

async function truth(table: string, cursorText = 'c::text'): Promise<readonly string[]> {
  const rows = await database.query(
    `SELECT v || ' ' || coalesce(${cursorText}, 'null') AS row FROM ${table}`,
  );
  return rows.map(({ row }) => String(row)).toSorted();
}

/** Rows with ties far larger than a batch, equal rows among them, some of it committed late. */
async function write(table: string, rng: Rng, clock: { tick: number }): Promise<void> {
  clock.tick += rng.int(0, 2);
  const rows = rng.pick([3, 700, 2600]);
  await database.query(
    `INSERT INTO ${table} SELECT ${rng.int(0, 3)} + i % ${rng.int(1, 5)}, ${clock.tick} + i / ${rng.pick([1, 400, 5000])} FROM generate_series(0, ${rows - 1}) i`,
  );
  const [top] = await database.query(`SELECT max(c)::int AS c FROM ${table}`);
  clock.tick = Math.max(clock.tick, Number(top?.['c'] ?? 0));
}

describe('append without a key', () => {
  test('chosen when there is a cursor and no key; changed rows come as new rows', async () => {
    await database.query(
      "CREATE TABLE log (c timestamptz, v text); INSERT INTO log VALUES ('2024-01-01', 'a'), (NULL, 'n'), ('2024-01-02', 'b')",
    );
    const stream: Stream = { name: 'log', table: 'log', cursor: 'c' };
    const first = await readAll(source, stream);
    expect(first.stream).toMatchObject({ mode: 'append', primaryKey: [], cursor: 'c' });
    expect(first.rows.map(([, v]) => v)).toEqual(['n', 'a', 'b']);
    expect(first.count).toBe(3);
    const next = await readAll(source, stream, first.cursor);
    expect(next.rows.map(([, v]) => v)).toEqual(['b']);
    expect(next.batches[0]?.overlap).toEqual({ from: 0, reset: false });
  });

  test.each(['int', 'numeric', 'bigint'])(
    'random histories with ties, equal rows and crashes land every row once (%s)',
    { timeout: 60_000 },
    async (type) => {
      const seed = testSeed();
      const rng = createRng(seed);
      const table = `events_${type}`;
      await database.query(`CREATE TABLE ${table} (v int NOT NULL, c ${type} NOT NULL)`);
      const clock = { tick: 0 };
      await write(table, rng, clock);
      for (let epoch = 1; epoch <= 45; epoch++) {
        if (rng.chance(0.5)) await write(table, rng, clock);
        await sync(
          { name: table, table, cursor: 'c' },
          { epoch, batchesMax: rng.chance(0.5) ? rng.int(0, 6) : 1e9 },
        );
      }
      await sync({ name: table, table, cursor: 'c' }, { epoch: 100, batchesMax: 1e9 });
      expect(landed(table), `seed ${seed}`).toEqual(await truth(table));
      const before = landed(table).length;
      await sync({ name: table, table, cursor: 'c' }, { epoch: 101, batchesMax: 1e9 });
      expect(landed(table)).toHaveLength(before);
    },
  );

  test('transactions that commit late are appended, each row once', { timeout: 60_000 }, async () => {
    const seed = testSeed();
    const rng = createRng(seed);
    await database.query('CREATE TABLE late (v int NOT NULL, c int NOT NULL)');
    const stream: Stream = { name: 'late', table: 'late', cursor: 'c' };
    let tick = 0;
    const open: (() => Promise<void>)[] = [];
    for (let epoch = 1; epoch <= 25; epoch++) {
      // The pool has ten clients.
      for (let i = Math.min(rng.int(0, 3), 8 - open.length); i > 0; i--) {
        const client = await database.pool.connect();
        tick += rng.int(0, 1);
        await client.query('BEGIN');
        await client.query(
          `INSERT INTO late SELECT i, ${tick} FROM generate_series(1, ${rng.pick([1, 5, 1500])}) i`,
        );
        open.push(async () => {
          await client.query(rng.chance(0.9) ? 'COMMIT' : 'ROLLBACK');
          client.release();
        });
      }
      while (open.length > 0 && rng.chance(0.6)) await open.splice(rng.int(0, open.length - 1), 1)[0]?.();
      await sync(stream, { epoch, batchesMax: rng.chance(0.3) ? rng.int(0, 4) : 1e9 });
    }
    for (const end of open) await end();
    // The first may finish a run that was cut: what was committed behind its back comes with the second.
    for (const epoch of [100, 101]) await sync(stream, { epoch, batchesMax: 1e9 });
    expect(landed('late'), `seed ${seed}`).toEqual(await truth('late'));
  });

  test('what must be remembered stays small: the ties of the last row, not the table', async () => {
    await database.query(
      'CREATE TABLE long (v int, c bigint NOT NULL); INSERT INTO long SELECT 1, i / 10 FROM generate_series(1, 20000) i',
    );
    const { batches } = await readAll(source, { name: 'long', table: 'long', cursor: 'c' });
    for (const batch of batches.slice(0, -1)) {
      expect(batch.overlap?.reset).toBe(true);
      expect(batch.rows - (batch.overlap?.from ?? 0)).toBeLessThanOrEqual(10);
    }
  });

  test('a position of another cursor is refused: going on would double rows', async () => {
    await database.query('CREATE TABLE two (v int, c int, d int); INSERT INTO two VALUES (1, 1, 1)');
    const first = await readAll(source, { name: 'two', table: 'two', cursor: 'c' });
    const resolved = await source.resolve({ name: 'two', table: 'two', cursor: 'd' }, calm);
    await expect(source.read(resolved, first.cursor, calm)).rejects.toMatchObject({
      code: 'cursor_invalid',
      hint: expect.stringContaining('full_refresh'),
    });
  });
});
