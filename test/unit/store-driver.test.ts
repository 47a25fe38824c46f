import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Kysely } from 'kysely';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Database } from '../../src/store/database.ts';
import { lightly, sqliteDialect } from '../../src/store/driver.ts';
import { loadSqlite, type Sqlite } from '../../src/store/library.ts';
import { openStore } from '../../src/store/open.ts';
import { prepared } from '../../src/store/prepared.ts';

let folder: string;
let sqlite: Sqlite;
let db: Kysely<Database>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-store-'));
  const file = join(folder, 'store.db');
  await using _made = await openStore({ file, now: () => new Date(), random: (n) => new Uint8Array(n) });
  sqlite = (await loadSqlite())(file, 1_000);
  sqlite.pragma('synchronous = FULL');
  db = new Kysely({ dialect: sqliteDialect(sqlite, file) });
});

afterEach(async () => {
  await db.destroy();
  rmSync(folder, { recursive: true, force: true });
});

const FULL = 2;
const NORMAL = 1;
const waits = (): unknown => sqlite.pragma('synchronous');

test('only a light commit does without the disk, however it ends and whatever goes on beside it', async () => {
  const seen: unknown[] = [];
  const light = (name: string): Promise<void> =>
    lightly(db, async (trx) => {
      seen.push([name, waits()]);
      await trx.insertInto('leases').values({ name, holder: null, epoch: 1, expires_at: 0 }).execute();
      seen.push([name, waits()]);
    });
  const safe = db.transaction().execute(async (trx) => {
    await trx.selectFrom('leases').selectAll().execute();
    seen.push(['safe', waits()]);
  });
  await Promise.all([light('a'), safe, light('b')]);
  expect(seen).toHaveLength(5);
  for (const [name, level] of seen as [string, number][]) expect(level).toBe(name === 'safe' ? FULL : NORMAL);
  // The second time the setting's statement has been prepared before.
  await expect(light('a')).rejects.toThrow();
  expect(seen.at(-1)).toEqual(['a', NORMAL]);
  expect(waits()).toBe(FULL);
  expect(
    (await db.selectFrom('leases').select('name').orderBy('name').execute()).map((row) => row.name),
  ).toEqual(['a', 'b']);
});

test('a prepared query asks with the values of each call, wherever they stand in it', async () => {
  for (const [index, name] of ['a', 'b', 'c', 'd'].entries())
    await db.insertInto('leases').values({ name, holder: name, epoch: index, expires_at: 0 }).execute();
  let built = 0;
  const between = prepared((from, limit: number, least: string, most: string) => {
    built += 1;
    return from
      .selectFrom('leases')
      .select('name')
      .where('expires_at', '=', 0)
      .where('name', '>=', least)
      .where('name', '<=', most)
      .where('holder', '>=', least)
      .orderBy('name')
      .limit(limit);
  });
  const names = async (...values: [number, string, string]): Promise<readonly string[]> =>
    (await between(db, ...values)).map((row) => row.name);
  expect(await names(9, 'b', 'c')).toEqual(['b', 'c']);
  expect(await names(9, 'a', 'z')).toEqual(['a', 'b', 'c', 'd']);
  expect(await names(1, 'c', 'd')).toEqual(['c']);
  expect(await db.transaction().execute((trx) => between(trx, 9, 'd', 'd'))).toEqual([{ name: 'd' }]);
  expect(built).toBe(1);
});
