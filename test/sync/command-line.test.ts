import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freshDatabase } from '../support/postgres.ts';
import { millrace } from '../support/program.ts';

/** Every command as a person types it: its answer on stdout, its trouble on stderr, its exit code. */

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-cli-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const inFolder = (...args: string[]): string[] => [...args, '--data-dir', join(folder, 'data')];

describe('help and mistakes', () => {
  test('--help lists every command, --version the version', async () => {
    const help = await millrace(['--help']);
    expect(help.code).toBe(0);
    for (const word of [
      'demo',
      'sync',
      'doctor',
      'secret',
      '--config',
      '--data-dir',
      '--read-only',
      '--log-level',
    ])
      expect(help.out).toContain(word);
    expect((await millrace(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test.each([
    [['sycn', 'shop'], 'There is no command "sycn"', '"sync"'],
    [['doctor', '--data-dri', '/x'], '--data-dri', '"--data-dir"'],
    [['--port', '7000', 'sycn'], 'There is no command "sycn"', '"sync"'],
    [['sync'], 'Which connector?', 'millrace sync CONNECTOR'],
    [['demo', '--rows', 'many'], '--rows many', '--rows 200000'],
    [['demo', '--source', 'oracle'], '--source oracle', 'postgresql, mysql, mariadb'],
    [['secret', 'put', 'x'], 'What is to be done', 'set|list|remove'],
    [['secret', 'set', 'x', 'hunter2'], 'not given as an argument', 'printf'],
    [['secret', 'list', '--log-level', 'loud'], 'log level "loud"', 'warn'],
  ] as const)('%j is answered with what would be right', async (args, what, hint) => {
    const said = await millrace(startsElsewhere(args) ? args : inFolder(...args));
    expect(said.err).toContain('invalid_config: ');
    expect(said.err).toContain(what);
    expect(said.err).toContain(hint);
    expect(said.err).not.toContain('hunter2');
    expect(said.out).toBe('');
    expect(said.code).toBe(2);
  });
});

describe('secret', () => {
  test('is set from stdin, listed without its value, sealed on disk, and removed', async () => {
    const set = await millrace(inFolder('secret', 'set', 'shop_password'), { stdin: 'canary-4711\n' });
    expect(set).toMatchObject({ code: 0, out: expect.stringContaining('${secret:shop_password}') });
    const listed = await millrace(inFolder('secret', 'list'));
    expect(listed.out).toMatch(/^shop_password {2}stored \d{4}-/);
    for (const file of readdirSync(join(folder, 'data'))) {
      expect(readFileSync(join(folder, 'data', file)).includes('canary-4711'), file).toBe(false);
    }
    for (const args of [
      ['secret', 'remove', 'shop_password'],
      ['secret', 'set', 'other'],
      ['key', 'rotate'],
    ])
      expect(await millrace(inFolder(...args, '--read-only'), { stdin: 'x' })).toMatchObject({
        code: 1,
        err: expect.stringContaining('read_only'),
      });
    expect((await millrace(inFolder('secret', 'remove', 'shop_password'))).code).toBe(0);
    const store = new BetterSqlite(join(folder, 'data/store.db'), { readonly: true });
    expect(store.prepare('SELECT actor, action, subject FROM audit ORDER BY id').raw().all()).toEqual([
      ['cli', 'set_secret', 'shop_password'],
      ['cli', 'remove_secret', 'shop_password'],
    ]);
    store.close();
    expect((await millrace(inFolder('secret', 'list'))).out).toContain('No secrets are stored');
    const again = await millrace(inFolder('secret', 'remove', 'shop_password'));
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining('secret_missing') });
  });
});

describe('sync and doctor', () => {
  test('a run in the terminal: exit code by how it went, streams chosen, refreshed whole; the doctor agrees', {
    timeout: 120_000,
  }, async () => {
    await using database = await freshDatabase();
    await database.query(
      'CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, g::text FROM generate_series(1, 500) g; CREATE TABLE b (id int PRIMARY KEY)',
    );
    const config = join(folder, 'mcp.config.json');
    const { password, ...rest } = database.config;
    writeFileSync(
      config,
      JSON.stringify({
        millrace: {
          dataDir: './data',
          connectors: [
            {
              name: 'shop',
              type: 'postgresql',
              config: { ...rest, password: '${env:MILLRACE_PW}' },
              streams: [
                { name: 'a', table: 'a' },
                { name: 'b', table: 'gone' },
              ],
            },
          ],
        },
      }),
    );
    const env = { MILLRACE_PW: password };
    const some = await millrace(['sync', 'shop', '--config', config], { env });
    expect(some.out).toContain('a: succeeded · 500 read, 500 written');
    expect(some.out).toContain('not_found_at_source');
    expect(some.code).toBe(3);
    const one = await millrace(['sync', 'shop', '--stream', 'a', '--full-refresh', '--config', config], {
      env,
    });
    expect(one).toMatchObject({ code: 0, out: expect.stringContaining('shop: succeeded') });
    const none = await millrace(['sync', 'shop', '--stream', 'b', '--config', config], { env });
    expect(none.code).toBe(1);
    expect(await millrace(['sync', 'shpo', '--config', config], { env })).toMatchObject({
      code: 1,
      err: expect.stringContaining('connector_not_found'),
    });

    const ill = await millrace(['doctor', '--config', config], { env });
    expect(ill.out).toContain('✓ warehouse.db: intact');
    expect(ill.out).toContain('✗ connector "shop"');
    expect(ill.code).toBe(1);
    await database.query('CREATE TABLE gone (id int PRIMARY KEY)');
    const well = await millrace(['doctor', '--config', config], { env });
    expect(well.out).toContain('All is well.');
    expect(well.code).toBe(0);
    chmodSync(join(folder, 'data', 'master.key'), 0o644);
    // A key that others may read is closed again at every start.
    await millrace(['doctor', '--config', config], { env });
    expect(statSync(join(folder, 'data', 'master.key')).mode & 0o777).toBe(0o600);
  });
});

describe('demo', () => {
  const sources = ['postgresql', 'mysql', 'mariadb'];
  test.each(sources)('on %s ends with every table equal', { timeout: 120_000 }, async (source) => {
    const demo = await millrace(['demo', '--source', source, '--rows', '3000']);
    expect(demo.err).toBe('');
    expect(demo.out.match(/ equal$/gm)).toHaveLength(3);
    expect(demo.out).toContain('Nothing was lost and nothing doubled.');
    expect(demo.code).toBe(0);
  });
});

/** Calls that are refused before a data folder is looked at. */
function startsElsewhere(args: readonly string[]): boolean {
  return args.includes('demo') || args.includes('--data-dri');
}
