import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import type { Store } from '../../src/store/store.ts';
import { ownOwner, ownReference } from '../../src/vault/references.ts';
import { keyId, openValue, sealValue } from '../../src/vault/seal.ts';
import { userSecrets } from '../../src/vault/user-secrets.ts';
import { openVault, type Vault } from '../../src/vault/vault.ts';
import { connector, handClock, open, scratch } from './store-support.ts';

type Env = Readonly<Record<string, string>>;

async function opened(env: Env = {}) {
  const folder = scratch();
  const store = await open(folder.file, handClock().now);
  const again = (other: Env = {}): Promise<Vault> =>
    openVault({ dataDir: folder.dir, env: other, secrets: store.secrets });
  return {
    ...folder,
    store,
    again,
    key: join(folder.dir, 'master.key'),
    vault: await again(env),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

async function failure(work: Promise<unknown>): Promise<MillraceError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MillraceError);
  return error as MillraceError;
}

describe('sealing', () => {
  test('opens for its owner and key, and for nothing else, whatever the value', () => {
    const bytes = randomBytes(32);
    const key = { id: keyId(bytes), bytes };
    const otherBytes = randomBytes(32);
    const value = fc.string({ unit: 'binary', maxLength: 300 });
    fc.assert(
      fc.property(value, value, fc.nat(), (text, owner, at) => {
        const sealed = sealValue(key, owner, text);
        expect(openValue(key, sealed)).toBe(Buffer.from(text, 'utf8').toString('utf8'));
        expect(openValue(key, { ...sealed, owner: `${owner}x` })).toBeNull();
        expect(openValue(key, { ...sealed, keyId: 'other' })).toBeNull();
        expect(openValue({ id: key.id, bytes: otherBytes }, sealed)).toBeNull();
        const broken = Uint8Array.from(sealed.sealed);
        const index = at % broken.length;
        broken[index] = (broken[index] ?? 0) ^ 1;
        expect(openValue(key, { ...sealed, sealed: broken })).toBeNull();
        expect(openValue(key, { ...sealed, sealed: sealed.sealed.subarray(0, index) })).toBeNull();
        expect(Buffer.from(sealValue(key, owner, text).sealed)).not.toEqual(Buffer.from(sealed.sealed));
      }),
    );
  });
});

describe('the vault', () => {
  test('keeps a value over a restart, and gives it out as something that shows a mask', async () => {
    await using world = await opened();
    await world.vault.put('secret/shop', 'hunter2');
    const vault = await world.again();
    const secret = await vault.open('secret/shop');
    expect(secret.expose()).toBe('hunter2');
    expect(`${secret} ${JSON.stringify({ secret })}`).toBe('•••• {"secret":"••••"}');
    expect(await vault.remove('secret/shop')).toBe(true);
    expect(await vault.remove('secret/shop')).toBe(false);
    const error = await failure(vault.open('secret/shop'));
    expect(error).toMatchObject({
      code: 'secret_missing',
      hint: expect.stringContaining('millrace secret set shop'),
    });
  });

  test('master.key is private, and is put right when a copy made it wider', async () => {
    await using world = await opened();
    expect(statSync(world.key).mode & 0o777).toBe(0o600);
    expect(readdirSync(world.dir).filter((name) => name.startsWith('master.key'))).toEqual(['master.key']);
    chmodSync(world.key, 0o644);
    await world.again();
    expect(statSync(world.key).mode & 0o777).toBe(0o600);
  });

  test('a value moved to another row, or changed, does not open', async () => {
    await using world = await opened();
    await world.vault.put('connector/shop/password', 'hunter2');
    const db = new BetterSqlite(world.file);
    db.exec("UPDATE secrets SET owner = 'connector/evil/password'");
    const moved = await failure(world.vault.open('connector/evil/password'));
    expect(moved.code).toBe('secret_missing');
    expect(moved.hint).toContain('update_connector');
    db.exec("UPDATE secrets SET owner = 'connector/shop/password'");
    expect((await world.vault.open('connector/shop/password')).expose()).toBe('hunter2');
    db.exec('UPDATE secrets SET sealed = zeroblob(length(sealed))');
    expect((await failure(world.vault.open('connector/shop/password'))).message).toContain('does not open');
    db.close();
  });

  test('without its key: starts, makes no other, says which key is needed; put back, all is as it was', async () => {
    await using world = await opened();
    await world.vault.put('secret/shop', 'hunter2');
    const kept = readFileSync(world.key);
    const { active } = JSON.parse(String(kept)) as { active: string };
    rmSync(world.key);
    const without = await world.again();
    expect(readdirSync(world.dir)).not.toContain('master.key');
    expect(await without.missingKeys()).toEqual([{ keyId: active, secrets: 1 }]);
    const error = await failure(without.open('secret/shop'));
    expect(error).toMatchObject({
      code: 'secret_missing',
      who: 'administrator',
      message: expect.stringContaining(active),
    });
    expect((await failure(without.put('secret/other', 'x'))).message).toContain(active);
    writeFileSync(world.key, kept);
    const back = await world.again();
    expect((await back.open('secret/shop')).expose()).toBe('hunter2');
    expect(await back.missingKeys()).toEqual([]);
  });

  test('MILLRACE_MASTER_KEY seals instead of the file, as base64 or hex; the file still opens what it sealed', async () => {
    await using world = await opened();
    await world.vault.put('secret/old', 'from the file');
    const bytes = randomBytes(32);
    const env = await world.again({ MILLRACE_MASTER_KEY: bytes.toString('base64') });
    await env.put('secret/new', 'from the environment');
    const hex = await world.again({ MILLRACE_MASTER_KEY: bytes.toString('hex') });
    expect((await hex.open('secret/old')).expose()).toBe('from the file');
    expect((await hex.open('secret/new')).expose()).toBe('from the environment');
    const wrong = await world.again({ MILLRACE_MASTER_KEY: randomBytes(32).toString('hex') });
    expect((await failure(wrong.open('secret/new'))).message).toContain(keyId(bytes));
    const malformed = await failure(world.again({ MILLRACE_MASTER_KEY: 'hunter2' }));
    expect(malformed).toMatchObject({
      code: 'invalid_config',
      hint: expect.stringContaining('openssl rand -base64 32'),
    });
    expect(malformed.message).not.toContain('hunter2');
  });

  test('with the key in the environment no file is made', async () => {
    await using world = await opened({ MILLRACE_MASTER_KEY: randomBytes(32).toString('base64') });
    expect(readdirSync(world.dir)).not.toContain('master.key');
  });

  test.each([
    ['not JSON', '{"version": 1,'],
    ['no key in it', '{"version": 1, "active": "a", "keys": {}}'],
    ['a short key', '{"version": 1, "active": "a", "keys": {"a": "c2hvcnQ="}}'],
    ['JSON of another kind', 'null'],
    ['a newer version', '{"version": 2, "rings": []}'],
  ])('a master.key that is %s is refused and left as it is', async (_what, text) => {
    await using world = await opened();
    writeFileSync(world.key, text);
    const error = await failure(world.again());
    expect(error.code).toBe('data_dir_unusable');
    expect(error.hint).toMatch(/backup|newer/);
    expect(readFileSync(world.key, 'utf8')).toBe(text);
  });

  test('a master.key that cannot be read is refused', async () => {
    await using world = await opened();
    rmSync(world.key);
    mkdirSync(world.key);
    expect(await failure(world.again())).toMatchObject({
      code: 'data_dir_unusable',
      message: expect.stringContaining('EISDIR'),
    });
  });

  test('eight processes that start at once agree on one key', async () => {
    for (let round = 0; round < 3; round += 1) {
      using folder = scratch();
      const ids = await Promise.all(Array.from({ length: 8 }, () => activeKeyOf(folder.dir)));
      expect(new Set(ids).size).toBe(1);
      expect(ids[0]).toMatch(/^[0-9a-f]{12}$/);
      expect(readdirSync(folder.dir).filter((name) => name.startsWith('master.key'))).toEqual(['master.key']);
    }
  }, 60_000);
});

/** Another process opens the vault there and says which key it seals with. */
function activeKeyOf(dir: string): Promise<string> {
  const module = join(import.meta.dirname, '../../src/vault/key-ring.ts');
  const code = `
    import { readKeyRing } from ${JSON.stringify(module)};
    process.stdout.write(readKeyRing({ dataDir: ${JSON.stringify(dir)}, env: {}, make: true }).active().id);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (data: Buffer) => {
    output += String(data);
  });
  return new Promise((done) => child.on('close', () => done(output)));
}

describe('named secrets', () => {
  test('set, replace, list, remove; wrong names and empty values are refused', async () => {
    await using world = await opened();
    const secrets = userSecrets(world.vault);
    await secrets.set('shop_password', 'one');
    await secrets.set('shop_password', 'two');
    expect(await secrets.list()).toEqual([{ name: 'shop_password', created_at: '2026-11-02T08:00:00.000Z' }]);
    expect((await world.vault.open('secret/shop_password')).expose()).toBe('two');
    await secrets.remove('shop_password');
    expect((await failure(secrets.remove('shop_password'))).code).toBe('secret_missing');
    for (const name of ['', '1a', 'a.b', 'a/b', 'a}', 'x'.repeat(65)]) {
      expect((await failure(secrets.set(name, 'x'))).code).toBe('invalid_config');
    }
    expect((await failure(secrets.set('a', ''))).code).toBe('invalid_config');
  });
});

describe('a connector and its sealed values', () => {
  test('the store knows them by the names that the vault gives', async () => {
    await using world = await opened();
    const paths = ['password', 'auth.token', 'url.password', 'headers.X-Api-Key'];
    const config = Object.fromEntries(paths.map((path) => [path, ownReference('shop', path)]));
    const sealed = paths.map((path) => world.vault.seal(ownOwner('shop', path), `value of ${path}`));
    await world.store.connectors.insert(connector('shop', { config }), sealed);
    await world.store.connectors.update(connector('shop', { config }));
    for (const path of paths)
      expect((await world.vault.open(ownOwner('shop', path))).expose()).toBe(`value of ${path}`);
    const { password: _gone, ...rest } = config;
    await world.store.connectors.update(connector('shop', { config: rest }));
    expect((await failure(world.vault.open(ownOwner('shop', 'password')))).code).toBe('secret_missing');
    expect(await owners(world.store)).toHaveLength(3);
    await world.store.connectors.remove('shop');
    expect(await owners(world.store)).toEqual([]);
  });
});

async function owners(store: Store): Promise<readonly string[]> {
  return (await store.secrets.list('')).map(({ owner }) => owner);
}
