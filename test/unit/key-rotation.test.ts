import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import BetterSqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import type { Rotation } from '../../src/vault/rotation.ts';
import { openVault, type Vault } from '../../src/vault/vault.ts';
import { connector, open, scratch } from './store-support.ts';

const SECRETS = 1_000;
const KILLS = 25;

async function world(count: number, env: Readonly<Record<string, string>> = {}) {
  const folder = scratch();
  const store = await open(folder.file, () => new Date());
  const again = (other: Readonly<Record<string, string>> = env): Promise<Vault> =>
    openVault({ dataDir: folder.dir, env: other, secrets: store.secrets });
  const vault = await again();
  const sealed = Array.from({ length: count }, (_, n) => vault.seal(`secret/s${n}`, `value ${n}`));
  await store.connectors.insert(connector('shop'), sealed);
  return {
    ...folder,
    store,
    vault,
    again,
    /** Ids of the keys in the file, the active one first. */
    keys: (): readonly string[] => {
      const { active, keys } = JSON.parse(readFileSync(join(folder.dir, 'master.key'), 'utf8')) as {
        active: string;
        keys: Record<string, string>;
      };
      return [active, ...Object.keys(keys).filter((id) => id !== active)];
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

function rotator(dir: string, times: number): ChildProcess {
  return spawn(process.execPath, [join(import.meta.dirname, 'key-process.ts'), dir, String(times)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function unreadable(vault: Vault, count: number): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (let n = 0; n < count; n += 1) {
    const value = await vault.open(`secret/s${n}`).then(
      (secret) => secret.expose(),
      (error: unknown) => String(error),
    );
    if (value !== `value ${n}`) wrong.push(`s${n}: ${value}`);
  }
  return wrong;
}

describe('a rotation', () => {
  test('seals everything with a new key; the old one is gone from the file and refused by the store', async () => {
    await using shop = await world(250);
    const [before = ''] = shop.keys();
    const rotation = await shop.vault.rotate({});
    expect(rotation).toEqual({
      keyId: shop.keys()[0],
      resumed: false,
      sealed: 250,
      retired: [before],
      unreadable: [],
    });
    expect(shop.keys()).toHaveLength(1);
    expect(await shop.store.secrets.keyIds()).toEqual([{ keyId: rotation.keyId, secrets: 250 }]);
    expect(statSync(join(shop.dir, 'master.key')).mode & 0o777).toBe(0o600);
    expect(await unreadable(shop.vault, 250)).toEqual([]);
    const late = { owner: 'secret/late', keyId: before, sealed: new Uint8Array(40) };
    await expect(shop.store.secrets.put(late)).rejects.toMatchObject({ code: 'secret_refused' });
  });

  test('another process that has the old key in memory reads and stores on', async () => {
    await using shop = await world(3);
    const other = await shop.again();
    await shop.vault.rotate({});
    expect(await unreadable(other, 3)).toEqual([]);
    await other.put('secret/new', 'stored after it');
    expect((await shop.vault.open('secret/new')).expose()).toBe('stored after it');
    expect(await shop.store.secrets.keyIds()).toHaveLength(1);
  });

  test('what is stored while it runs is not overwritten', async () => {
    await using shop = await world(300);
    const writer = await shop.again();
    let stored = 0;
    const writing = (async () => {
      for (let n = 0; n < 300; n += 3) {
        await writer.put(`secret/s${n}`, `changed ${n}`);
        stored += 1;
      }
    })();
    const rotation = await shop.vault.rotate({});
    await writing;
    expect(stored).toBe(100);
    for (let n = 0; n < 300; n += 1) {
      const wanted = n % 3 === 0 ? `changed ${n}` : `value ${n}`;
      expect((await shop.vault.open(`secret/s${n}`)).expose()).toBe(wanted);
    }
    expect(await shop.store.secrets.keyIds()).toEqual([{ keyId: rotation.keyId, secrets: 300 }]);
  });

  test('a value that does not open stays, with its key, and the next rotation still makes a new one', async () => {
    await using shop = await world(5);
    const [first = ''] = shop.keys();
    const sqlite = new BetterSqlite(shop.file);
    sqlite.prepare('UPDATE secrets SET sealed = ? WHERE owner = ?').run(randomBytes(50), 'secret/s4');
    sqlite.close();
    const one = await shop.vault.rotate({});
    expect(one).toMatchObject({ resumed: false, sealed: 4, retired: [], unreadable: ['secret/s4'] });
    expect(shop.keys()).toEqual([one.keyId, first]);
    const two = await shop.vault.rotate({});
    expect(two).toMatchObject({ resumed: false, sealed: 4, retired: [one.keyId], unreadable: ['secret/s4'] });
    expect(await unreadable(shop.vault, 4)).toEqual([]);
    await shop.vault.put('secret/s4', 'value 4');
    expect(await shop.vault.rotate({})).toMatchObject({ resumed: true, sealed: 0, retired: [first] });
    expect(await unreadable(shop.vault, 5)).toEqual([]);
  });

  test('a key from outside: refused with the way to do it, which works', async () => {
    const [old, next] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];
    await using shop = await world(3, { MILLRACE_MASTER_KEY: old });
    const refused = await shop.vault.rotate({}).then(
      () => null,
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(MillraceError);
    expect((refused as MillraceError).hint).toContain('MILLRACE_MASTER_KEY_PREVIOUS');
    const both = await shop.again({ MILLRACE_MASTER_KEY: next, MILLRACE_MASTER_KEY_PREVIOUS: old });
    expect(await both.rotate({})).toMatchObject({ sealed: 3, unreadable: [] });
    expect(await unreadable(await shop.again({ MILLRACE_MASTER_KEY: next }), 3)).toEqual([]);
  });

  test('from the file to a key from outside, and what the file sealed meanwhile', async () => {
    const env = { MILLRACE_MASTER_KEY: randomBytes(32).toString('hex') };
    await using shop = await world(3, {});
    const outside = await shop.again(env);
    expect(await outside.rotate({})).toMatchObject({ sealed: 3, retired: [] });
    await shop.vault.put('secret/s3', 'value 3');
    expect(await unreadable(outside, 4)).toEqual([]);
    expect(await outside.rotate({})).toMatchObject({ sealed: 1 });
  });
});

describe(`killed at ${KILLS} random moments`, () => {
  test.concurrent.each(['one', 'another'])(
    `in %s folder: all ${SECRETS} secrets can be read after each`,
    async (_folder) => {
      await using shop = await world(SECRETS);
      let unfinished = 0;
      for (let kill = 0; kill < KILLS; kill += 1) {
        const child = rotator(shop.dir, 1_000);
        const exited = once(child, 'exit');
        await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
        await sleep(Math.random() * 150);
        child.kill('SIGKILL');
        await exited;
        if (shop.keys().length > 1 || (await shop.store.secrets.keyIds()).length > 1) unfinished += 1;
        expect(await unreadable(await shop.again(), SECRETS)).toEqual([]);
      }
      expect(unfinished).toBeGreaterThanOrEqual(KILLS / 3);
      const last = rotator(shop.dir, 1);
      const [text] = (await new Promise<string>((done) => {
        let all = '';
        last.stdout?.on('data', (data: Buffer) => {
          all += String(data);
        });
        last.on('close', () => done(all));
      }).then((all) => all.split('\n').slice(1))) as [string];
      const end = JSON.parse(text) as Rotation;
      expect(end.unreadable).toEqual([]);
      expect(await shop.store.secrets.keyIds()).toEqual([{ keyId: end.keyId, secrets: SECRETS }]);
      expect(shop.keys()).toEqual([end.keyId]);
      expect(await unreadable(await shop.again(), SECRETS)).toEqual([]);
    },
    120_000,
  );
});
