import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { startMillrace, syncToEnd, temporaryDirectory } from '../support/millrace-process.ts';
import { freshDatabase } from '../support/postgres.ts';

/** A connector that is deleted with its data takes nothing along that is another's. */

test('whose table has another owner by now: that one keeps it', async () => {
  using directory = temporaryDirectory();
  await using database = await freshDatabase();
  await database.query('CREATE TABLE things AS SELECT n AS id FROM generate_series(1, 5) n');
  await using millrace = await startMillrace({ dataDir: directory.dataDir });
  const register = (name: string, stream: string): Promise<unknown> =>
    millrace.must('register_connector', {
      name,
      type: 'postgresql',
      config: database.config,
      streams: [{ name: stream, table: 'public.things', mode: 'replace' }],
    });
  const remove = async (connector: string): Promise<void> => {
    const asked = { connector, keep_data: false };
    const { confirmation } = await millrace.must<{ confirmation: string }>('delete_connector', asked);
    await millrace.must('delete_connector', { ...asked, confirmation });
  };
  const rows = (): number => {
    const db = new Database(join(directory.dataDir, 'warehouse.db'), { readonly: true });
    try {
      return db.prepare('SELECT count(*) FROM shop__old__things').pluck().get() as number;
    } finally {
      db.close();
    }
  };

  await register('shop__old', 'things');
  await syncToEnd(millrace, { connector: 'shop__old' });
  await remove('shop__old');
  expect(rows).toThrow(/no such table/);

  await register('shop', 'old__things');
  expect(await syncToEnd(millrace, { connector: 'shop' })).toMatchObject({ status: 'succeeded' });
  await register('shop__old', 'things');
  await remove('shop__old');
  expect(rows()).toBe(5);
  expect(await millrace.must('describe_data')).toMatchObject({ tables: [{ connector: 'shop', rows: 5 }] });
});
