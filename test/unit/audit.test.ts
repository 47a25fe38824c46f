import BetterSqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import type { Store } from '../../src/store/store.ts';
import { handClock, open, scratch } from './store-support.ts';

async function filled(
  entries: number,
): Promise<{ readonly store: Store; readonly file: string } & AsyncDisposable> {
  const folder = scratch();
  const store = await open(folder.file, handClock().now);
  for (let n = 0; n < entries; n += 1)
    await store.audit.append({ actor: 'cli', action: 'act', subject: `s${n}`, detail: { n } });
  return {
    store,
    file: folder.file,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** What somebody with write access to the file can do: the triggers are no obstacle to him. */
function tamper(file: string, statement: string): void {
  const sqlite = new BetterSqlite(file);
  sqlite.exec(`DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete; ${statement}`);
  sqlite.close();
}

describe('the audit log', () => {
  test('is whole as it was written, also when it is empty', async () => {
    await using none = await filled(0);
    expect(await none.store.audit.verify()).toEqual({ entries: 0, problem: null });
    await using some = await filled(5);
    expect(await some.store.audit.verify()).toEqual({ entries: 5, problem: null });
  });

  test.each([
    ['an entry changed', "UPDATE audit SET subject = 'other' WHERE id = 3", /entry 3/],
    ['a time changed', 'UPDATE audit SET at = at + 1 WHERE id = 1', /entry 1/],
    ['an entry taken out', 'DELETE FROM audit WHERE id = 2', /entry 3/],
    ['the first taken out', 'DELETE FROM audit WHERE id = 1', /entry 2/],
    ['the newest cut off', 'DELETE FROM audit WHERE id > 3', /2 of 5 entries/],
    ['all taken out', 'DELETE FROM audit', /5 of 5 entries/],
    ['a hash taken away', 'UPDATE audit SET hash = NULL WHERE id = 4', /entry 4/],
    [
      'two in another order',
      'UPDATE audit SET detail = CASE id WHEN 2 THEN \'{"n":2}\' ELSE \'{"n":1}\' END WHERE id IN (2, 3)',
      /entry 2/,
    ],
  ])('%s is found', async (_what, statement, problem) => {
    await using world = await filled(5);
    tamper(world.file, statement);
    expect((await world.store.audit.verify()).problem).toMatch(problem);
  });

  test('entries of an earlier version are covered by the first that has a hash', async () => {
    await using world = await filled(3);
    tamper(world.file, 'UPDATE audit SET hash = NULL');
    await world.store.audit.append({ actor: 'cli', action: 'act', subject: 'new', detail: {} });
    expect(await world.store.audit.verify()).toEqual({ entries: 4, problem: null });
    const sqlite = new BetterSqlite(world.file);
    sqlite.exec("UPDATE audit SET actor = 'nobody' WHERE id = 2");
    sqlite.close();
    expect((await world.store.audit.verify()).problem).toMatch(/entry 4 or one before/);
  });

  test('two processes append to one chain', async () => {
    await using world = await filled(1);
    await using other = await open(world.file, handClock().now);
    // In turns: two connections in one thread would wait for each other.
    for (let n = 0; n < 40; n += 1) {
      const store = n % 2 === 0 ? world.store : other;
      await store.audit.append({ actor: 'a', action: 'b', subject: String(n), detail: {} });
    }
    expect(await world.store.audit.verify()).toEqual({ entries: 41, problem: null });
  });
});
