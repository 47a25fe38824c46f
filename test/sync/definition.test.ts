import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Stream } from '../../src/core/model.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';

/** What a stream is: when another table, or another form of its key, makes it another one. */
describe('a stream over a table named without its schema', () => {
  let database: TestDatabase;
  let millrace: MillraceProcess;
  let directory: ReturnType<typeof temporaryDirectory>;

  beforeEach(async () => {
    directory = temporaryDirectory();
    database = await freshDatabase();
    await database.query(`
      CREATE SCHEMA old; CREATE SCHEMA new;
      CREATE TABLE old.orders (id bigint PRIMARY KEY, at bigint NOT NULL);
      CREATE TABLE new.orders (id bigint PRIMARY KEY, at bigint NOT NULL);
      INSERT INTO old.orders SELECT n, 1000 + n FROM generate_series(1, 5) n;
      INSERT INTO new.orders SELECT n, n FROM generate_series(1, 8) n`);
    millrace = await startMillrace({ dataDir: directory.dataDir });
  });
  afterEach(async () => {
    await millrace[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  const warehouse = <T>(work: (db: Database.Database) => T): T => {
    const db = new Database(join(directory.dataDir, 'warehouse.db'));
    try {
      return work(db);
    } finally {
      db.close();
    }
  };
  const ids = (): unknown =>
    warehouse((db) => db.prepare('SELECT id FROM shop__orders ORDER BY id').pluck().all());
  const register = (stream: Partial<Stream>): Promise<unknown> =>
    millrace.must('register_connector', {
      name: 'shop',
      type: 'postgresql',
      config: { ...database.config, schemas: ['old'] },
      streams: [{ name: 'orders', ...stream }],
    });
  const unqualified = { table: 'orders', cursor: 'at' } as const;
  const lookIn = (schema: string): Promise<unknown> =>
    millrace.must('update_connector', { connector: 'shop', config: { schemas: [schema] } });

  test('is read anew when `schemas` leads to another one', async () => {
    await register({ ...unqualified, mode: 'merge' });
    await syncToEnd(millrace, { connector: 'shop' });
    expect(ids()).toEqual([1, 2, 3, 4, 5]);
    await lookIn('new');
    expect(await syncToEnd(millrace, { connector: 'shop' })).toMatchObject({ status: 'succeeded' });
    expect(ids()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test('is refused by an append then, and nothing is lost', async () => {
    await register({ ...unqualified, mode: 'append' });
    await syncToEnd(millrace, { connector: 'shop' });
    await lookIn('new');
    expect((await syncToEnd(millrace, { connector: 'shop' })).streams[0]).toMatchObject({
      status: 'failed',
      error: { code: 'invalid_config', hint: expect.stringContaining('full_refresh') },
    });
    expect(ids()).toEqual([1, 2, 3, 4, 5]);
    expect(await syncToEnd(millrace, { connector: 'shop', full_refresh: true })).toMatchObject({
      status: 'succeeded',
    });
    expect(ids()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test('goes on where it was in a data folder that does not say which one it led to', async () => {
    await register({ ...unqualified, mode: 'append' });
    await syncToEnd(millrace, { connector: 'shop' });
    const definition = (): string =>
      warehouse((db) => db.prepare('SELECT definition FROM _millrace_cursors').pluck().get() as string);
    const before = definition();
    expect(JSON.parse(before)).toContainEqual({ relation: '"old"."orders"' });
    await millrace.kill();
    warehouse((db) =>
      db
        .prepare('UPDATE _millrace_cursors SET definition = ?')
        .run(JSON.stringify((JSON.parse(before) as unknown[]).slice(0, -1))),
    );
    await database.query('INSERT INTO old.orders VALUES (6, 2000)');
    millrace = await startMillrace({ dataDir: directory.dataDir });
    expect(await syncToEnd(millrace, { connector: 'shop' })).toMatchObject({
      status: 'succeeded',
      totals: { rows_written: 1 },
    });
    expect(definition()).toBe(before);
  });

  test('that another tool has dropped from the file is left out, and read anew', async () => {
    await register({ ...unqualified, mode: 'merge' });
    await syncToEnd(millrace, { connector: 'shop' });
    warehouse((db) => db.exec('DROP TABLE shop__orders'));
    expect(await millrace.must('describe_data')).toMatchObject({ tables: [] });
    expect(await millrace.must('get_connector', { connector: 'shop' })).toBeDefined();
    expect(await syncToEnd(millrace, { connector: 'shop' })).toMatchObject({ status: 'succeeded' });
    expect(ids()).toEqual([1, 2, 3, 4, 5]);
  });

  test('is read anew when texts of its key become arrays of texts, and no live row is taken for deleted', async () => {
    await database.query(`
      CREATE TABLE old.named (name text PRIMARY KEY, at bigint NOT NULL);
      INSERT INTO old.named SELECT 'n' || n, n FROM generate_series(1, 5) n`);
    await register({ table: 'old.named', cursor: 'at' });
    await syncToEnd(millrace, { connector: 'shop' });
    await database.query('ALTER TABLE old.named ALTER name TYPE text[] USING ARRAY[name]');
    await syncToEnd(millrace, { connector: 'shop' });
    await database.query(`UPDATE old.named SET at = 10 WHERE name = '{n1}'`);
    await syncToEnd(millrace, { connector: 'shop' });
    const live = warehouse((db) =>
      db.prepare('SELECT name FROM shop__orders WHERE _mr_deleted_at IS NULL ORDER BY name').pluck().all(),
    );
    expect(live).toEqual([1, 2, 3, 4, 5].map((n) => `["n${n}"]`));
  });

  test('is not emptied because its table has lost its key, and its rows', async () => {
    await database.query(
      'CREATE TABLE old.kept AS SELECT n AS id FROM generate_series(1, 500) n; ALTER TABLE old.kept ADD PRIMARY KEY (id)',
    );
    await register({ table: 'old.kept', mode: 'replace' });
    await syncToEnd(millrace, { connector: 'shop' });
    await database.query('ALTER TABLE old.kept DROP CONSTRAINT kept_pkey; DELETE FROM old.kept');
    expect((await syncToEnd(millrace, { connector: 'shop' })).streams[0]).toMatchObject({
      status: 'failed',
      error: { code: 'shrink_refused' },
    });
    expect(ids()).toHaveLength(500);
  });

  test('says that rows are missing also where deletions make up for them in the count', async () => {
    await register({ ...unqualified, mode: 'merge' });
    await syncToEnd(millrace, { connector: 'shop' });
    await database.query('DELETE FROM old.orders WHERE id IN (2, 3); INSERT INTO old.orders VALUES (6, 1)');
    const [stream] = (await syncToEnd(millrace, { connector: 'shop' })).streams;
    expect(stream).toMatchObject({ status: 'succeeded', rows_deleted: 2 });
    expect(stream?.warnings?.join()).toMatch(/The source has 4 rows and the table 3/);
  });
});
