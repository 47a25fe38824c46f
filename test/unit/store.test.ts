import { statSync, writeFileSync } from 'node:fs';
import BetterSqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import { asStoreError } from '../../src/store/failure.ts';
import { connector, handClock, open, scratch } from './store-support.ts';

const sealedOf = (owner: string, text = 'sealed') => ({ owner, keyId: 'k1', sealed: Buffer.from(text) });

async function failure(work: Promise<unknown>): Promise<MillraceError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MillraceError);
  return error as MillraceError;
}

describe('opening', () => {
  test('makes a private file, opens it again, and finds what was there', async () => {
    using folder = scratch();
    const clock = handClock();
    {
      await using store = await open(folder.file, clock.now);
      await store.connectors.insert(connector('shop'));
      expect(await store.integrity()).toBeNull();
      expect(store.sizeBytes()).toBeGreaterThan(4_096);
    }
    expect(statSync(folder.file).mode & 0o777).toBe(0o600);
    await using store = await open(folder.file, clock.now);
    expect(await store.connectors.names()).toEqual(['shop']);
  });

  test('a store of a newer version is refused and left as it was', async () => {
    using folder = scratch();
    await (await open(folder.file, handClock().now))[Symbol.asyncDispose]();
    const db = new BetterSqlite(folder.file);
    db.pragma('user_version = 99');
    db.close();
    const error = await failure(open(folder.file, handClock().now));
    expect(error).toMatchObject({
      code: 'data_dir_unusable',
      message: expect.stringContaining('store version 99'),
    });
    expect(error.hint).toContain('--data-dir');
    const again = new BetterSqlite(folder.file, { readonly: true });
    expect(again.pragma('user_version', { simple: true })).toBe(99);
    again.close();
  });

  test("another program's database, a text file and a folder are refused", async () => {
    using folder = scratch();
    const other = new BetterSqlite(folder.file);
    other.exec('CREATE TABLE bookmarks (url TEXT)');
    other.close();
    expect((await failure(open(folder.file, handClock().now))).message).toContain('another program');
    writeFileSync(
      folder.file,
      'this is not a database, only text that is long enough to be looked at\n'.repeat(20),
    );
    expect(await failure(open(folder.file, handClock().now))).toMatchObject({
      code: 'data_dir_unusable',
      message: expect.stringContaining('is not a database'),
    });
    expect(await failure(open(folder.dir, handClock().now))).toMatchObject({ code: 'data_dir_unusable' });
    expect(await failure(open(`${folder.dir}/missing/store.db`, handClock().now))).toMatchObject({
      code: 'data_dir_unusable',
    });
  });

  test('a transaction that another program keeps open ends in a coded error', async () => {
    using folder = scratch();
    await using store = await open(folder.file, handClock().now);
    const other = new BetterSqlite(folder.file);
    other.exec('BEGIN IMMEDIATE');
    const error = await failure(store.connectors.insert(connector('shop')));
    expect(error).toMatchObject({
      code: 'data_dir_unusable',
      message: expect.stringContaining('held by another program'),
    });
    other.exec('COMMIT');
    other.close();
    await store.connectors.insert(connector('shop'));
  }, 15_000);

  test('another process that is about to write while the file is new is waited for', async () => {
    using folder = scratch();
    const other = new BetterSqlite(folder.file);
    other.exec('CREATE TABLE t (x); DROP TABLE t; BEGIN IMMEDIATE');
    setTimeout(() => other.exec('COMMIT'), 300);
    await using store = await open(folder.file, handClock().now);
    expect(await store.connectors.names()).toEqual([]);
    other.close();
  });

  test.each([
    ['SQLITE_FULL', 'disk_full'],
    ['SQLITE_IOERR_WRITE', 'data_dir_unusable'],
    ['SQLITE_CORRUPT_VTAB', 'data_dir_unusable'],
    ['SQLITE_READONLY_DBMOVED', 'data_dir_unusable'],
    ['SQLITE_CANTOPEN', 'data_dir_unusable'],
  ])('%s is %s', (code, ours) => {
    const error = asStoreError(new BetterSqlite.SqliteError('words of SQLite', code), '/data/store.db');
    expect(error).toMatchObject({ code: ours, message: expect.stringContaining('/data/store.db') });
  });

  test('what is a mistake of ours stays what it is', () => {
    for (const error of [
      new BetterSqlite.SqliteError('no such column', 'SQLITE_ERROR'),
      new TypeError('x'),
      null,
    ]) {
      expect(asStoreError(error, 'store.db')).toBe(error);
    }
  });
});

describe('connectors', () => {
  test('come back as they went in, streams in order', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const full = connector('shop', {
      config: { host: 'h', nested: { list: [1, 'two', null, true] } },
      streams: [
        { name: 'zebra', table: 'public.zebra' },
        { name: 'ant', query: 'select 1', primary_key: ['a', 'b'], lookback: '5m' },
      ],
      schedule: '@hourly',
      timezone: 'Europe/Berlin',
      description: 'the shop',
      enabled: false,
    });
    const record = await store.connectors.insert(full);
    expect(record).toEqual({
      ...full,
      created_at: '2026-11-02T08:00:00.000Z',
      updated_at: '2026-11-02T08:00:00.000Z',
    });
    expect(await store.connectors.get('shop')).toEqual(record);
    clock.pass(1_000);
    const changed = await store.connectors.update(
      connector('shop', { streams: [{ name: 'ant', table: 'ants' }] }),
    );
    expect(changed).toEqual({
      ...connector('shop', { streams: [{ name: 'ant', table: 'ants' }] }),
      created_at: '2026-11-02T08:00:00.000Z',
      updated_at: '2026-11-02T08:00:01.000Z',
    });
    expect(await store.connectors.get('shop')).toEqual(changed);
  });

  test('a taken name changes nothing, not even a secret of that name', async () => {
    using folder = scratch();
    await using store = await open(folder.file, handClock().now);
    await store.connectors.insert(connector('shop'), [sealedOf('connector/shop/password', 'first')]);
    const error = await failure(
      store.connectors.insert(connector('shop', { type: 'mysql' }), [
        sealedOf('connector/shop/password', 'second'),
      ]),
    );
    expect(error.code).toBe('connector_exists');
    expect(error.hint).toContain('update_connector');
    expect((await store.connectors.get('shop')).type).toBe('postgresql');
    expect(Buffer.from((await store.secrets.get('connector/shop/password'))?.sealed ?? []).toString()).toBe(
      'first',
    );
  });

  test('a wrong name is answered with the near ones', async () => {
    using folder = scratch();
    await using store = await open(folder.file, handClock().now);
    expect((await failure(store.connectors.get('shop'))).hint).toContain('register_connector');
    await store.connectors.insert(connector('shop_orders'));
    const error = await failure(store.connectors.get('shop_order'));
    expect(error.code).toBe('connector_not_found');
    expect(error.hint).toContain('"shop_orders"');
    expect((await failure(store.connectors.update(connector('nope')))).code).toBe('connector_not_found');
    expect((await failure(store.connectors.remove('nope'))).code).toBe('connector_not_found');
  });

  test('are listed by name, filtered and paged without a gap', async () => {
    using folder = scratch();
    await using store = await open(folder.file, handClock().now);
    const names = Array.from({ length: 25 }, (_, index) => `c${String(index).padStart(2, '0')}`);
    for (const [index, name] of names.entries()) {
      await store.connectors.insert(
        connector(name, { enabled: index % 2 === 0, streams: [{ name: `s_${name}`, table: name }] }),
      );
    }
    const seen: string[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < 10; page += 1) {
      const found = await store.connectors.list({}, { limit: 10, ...(cursor ? { cursor } : {}) });
      for (const item of found.items)
        expect(item.streams.map(({ name }) => name)).toEqual([`s_${item.name}`]);
      seen.push(...found.items.map(({ name }) => name));
      cursor = found.next_cursor;
      if (cursor === undefined) break;
    }
    expect(seen).toEqual(names);
    expect((await store.connectors.list({ enabled: false }, { limit: 100 })).items).toHaveLength(12);
    expect((await store.connectors.list({ type: 'mysql' }, { limit: 100 })).items).toEqual([]);
    expect((await failure(store.connectors.list({}, { limit: 10, cursor: 'made-up' }))).code).toBe(
      'invalid_config',
    );
  });

  test('secrets live and die with their connector, and no longer than its config names them', async () => {
    using folder = scratch();
    await using store = await open(folder.file, handClock().now);
    const config = { password: '${secret:shop.password}', token: '${secret:shop.token}' };
    await store.connectors.insert(connector('shop', { config }), [
      sealedOf('connector/shop/password'),
      sealedOf('connector/shop/token'),
    ]);
    await store.connectors.insert(connector('shop2'), [sealedOf('connector/shop2/password')]);
    await store.secrets.put(sealedOf('secret/shop'));
    await store.connectors.update(connector('shop', { config: { ...config, token: '${env:TOKEN}' } }));
    expect((await store.secrets.list('connector/shop/')).map(({ owner }) => owner)).toEqual([
      'connector/shop/password',
    ]);
    await store.connectors.remove('shop');
    expect((await store.secrets.list('')).map(({ owner }) => owner)).toEqual([
      'connector/shop2/password',
      'secret/shop',
    ]);
    expect(await store.secrets.keyIds()).toEqual([{ keyId: 'k1', secrets: 2 }]);
  });
});

describe('whose source is looked at', () => {
  const since = (store: { now(): Date }, ms: number): Date => new Date(store.now().getTime() - ms);
  const look = { ok: true, checks: [], warnings: [] };
  const refused = new MillraceError('auth_failed', 'no', { hint: 'mend it' }).toView();

  test('not one that is off, is syncing, or refused our login, though nobody has looked at it before', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    for (const [name, enabled] of [
      ['busy', true],
      ['off', false],
      ['on', true],
      ['refuses', true],
    ] as const)
      await store.connectors.insert(connector(name, { enabled }));
    await store.runs.enqueue({ connector: 'refuses', trigger: 'manual', fullRefresh: false });
    const claim = await store.runs.claim('p', 1_000);
    if (claim === null) throw new Error('nothing to claim');
    await store.runs.finish(claim, { status: 'failed', streams: [], error: refused });
    expect((await store.breakers.get('refuses'))?.open).toBeDefined();
    await store.runs.enqueue({ connector: 'busy', trigger: 'manual', fullRefresh: false });
    expect(await store.checks.due(clock.now(), 9)).toEqual(['on']);
    await store.runs.claim('p', 1_000);
    expect(await store.checks.due(clock.now(), 9)).toEqual(['on']);
  });

  test('one that refused a look rests for a day, or until it is changed', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const shop = connector('shop');
    await store.connectors.insert(shop);
    await store.checks.put('shop', { ...look, ok: false, error: refused });
    clock.pass(3_600_000);
    expect(await store.checks.due(since(clock, 60_000), 9)).toEqual([]);
    await store.connectors.update({ ...shop, description: 'mended' });
    expect(await store.checks.due(since(clock, 60_000), 9)).toEqual(['shop']);
    await store.checks.put('shop', { ...look, ok: false, error: refused });
    clock.pass(25 * 3_600_000);
    expect(await store.checks.due(since(clock, 60_000), 9)).toEqual(['shop']);
  });
});

describe('audit', () => {
  test('is redacted, newest first, paged, and nobody can change it', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    for (let index = 0; index < 5; index += 1) {
      clock.pass(1);
      await store.audit.append({
        actor: 'stdio',
        action: 'register_connector',
        subject: `c${index}`,
        detail: { config: { password: 'hunter2', url: 'postgres://u:hunter2@h/d' } },
      });
    }
    const first = await store.audit.list({ limit: 3 });
    expect(first.items.map(({ subject }) => subject)).toEqual(['c4', 'c3', 'c2']);
    const second = await store.audit.list({ limit: 3, cursor: first.next_cursor ?? '' });
    expect(second.items.map(({ subject }) => subject)).toEqual(['c1', 'c0']);
    expect(second.next_cursor).toBeUndefined();
    expect(JSON.stringify(first)).not.toContain('hunter2');
    const db = new BetterSqlite(folder.file);
    expect(() => db.exec("UPDATE audit SET actor = 'nobody'")).toThrow('append-only');
    expect(() => db.exec('DELETE FROM audit')).toThrow('append-only');
    db.close();
  });
});
