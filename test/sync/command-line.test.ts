import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import BetterSqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type App, openApp } from '../../src/app.ts';
import { connectorFindings } from '../../src/cli/doctor-connectors.ts';
import { MillraceError } from '../../src/core/errors.ts';
import { holderName } from '../../src/engine/holder.ts';
import type { Claim, RunStore } from '../../src/store/store.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { millrace } from '../support/program.ts';
import { open } from '../unit/store-support.ts';

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

describe('sync beside a run that is there', () => {
  test('one that nobody holds is carried out, and then what was asked for where that is more; nothing else is begun', {
    timeout: 120_000,
  }, async () => {
    await using database = await freshDatabase();
    const shop = await shopOf(database);
    await shop.sync();
    const all = await shop.queue({ connector: 'shop' });
    await shop.queue({ connector: 'other' });
    const same = await shop.sync('--stream', 'a');
    expect(same.err).toContain(`Run ${all} of "shop" waits since `);
    expect(same.err).toContain('that one is followed to its end');
    expect(same).toMatchObject({ code: 0, out: expect.stringContaining(`(run ${all})`) });

    const some = await shop.queue({ connector: 'shop', streams: ['a'] });
    const more = await shop.sync('--stream', 'b', '--full-refresh');
    expect(more.err).toContain(`Run ${some} of "shop" waits since `);
    expect(more.err).toContain('then comes what you asked for');
    expect(more).toMatchObject({ code: 0, out: expect.stringContaining('b: succeeded') });
    expect(more.out).not.toContain(some);

    const waiting = await shop.queue({ connector: 'shop', streams: ['b'] });
    await shop.fail(waiting);
    expect(await shop.sync()).toMatchObject({ code: 0, out: expect.stringContaining('a: succeeded') });
    const runs = await shop.runs();
    expect(runs.map(({ connector, trigger, status }) => `${connector} ${trigger} ${status}`).sort()).toEqual([
      'other manual queued',
      'shop cli succeeded',
      'shop cli succeeded',
      'shop cli succeeded',
      'shop manual succeeded',
      'shop manual succeeded',
      'shop manual succeeded',
    ]);
    expect(runs.find(({ run_id }) => run_id === waiting)).toMatchObject({ status: 'succeeded', attempt: 2 });
  });

  test('one that another process holds is followed, and taken over when that one lets it go', {
    timeout: 120_000,
  }, async () => {
    await using database = await freshDatabase();
    const shop = await shopOf(database);
    await shop.sync();
    const ended = await shop.queue({ connector: 'shop' });
    const [one] = await Promise.all([shop.sync(), shop.hold(ended, 'finish')]);
    expect(one.err).toContain(`Run ${ended} of "shop" is under way since `);
    expect(one).toMatchObject({ code: 0, out: expect.stringContaining(`(run ${ended})`) });
    const left = await shop.queue({ connector: 'shop' });
    const [two] = await Promise.all([shop.sync(), shop.hold(left, 'handBack')]);
    expect(two).toMatchObject({ code: 0, out: expect.stringContaining(`(run ${left})`) });
    expect(two.out).toContain('a: succeeded');
  });
});

describe('what the doctor finds of connectors', () => {
  const api = (name: string, port: number, enabled = true) => ({
    name,
    type: 'rest_api',
    enabled,
    config: { base_url: `http://127.0.0.1:${port}`, auth: { type: 'none' } },
    streams: [{ name: 'things', path: '/things' }],
    test: false,
  });
  const program = async (): Promise<App> => {
    const config = join(folder, 'mcp.config.json');
    const network = { allowPrivateHttp: ['127.0.0.1'] };
    writeFileSync(config, JSON.stringify({ millrace: { dataDir: './data', network } }));
    return await openApp({ flags: { config, readOnly: false }, env: {}, actor: 'cli' });
  };
  const { signal } = new AbortController();

  test('a source that takes connections and never answers is a timeout; a disabled one is not looked at', {
    timeout: 60_000,
  }, async () => {
    const silent = createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
    try {
      await once(silent, 'listening');
      await using app = await program();
      const { port } = silent.address() as AddressInfo;
      await app.services.connectors.register(api('silent', port), { actor: 'cli' }, signal);
      await app.services.connectors.register(api('off', 1, false), { actor: 'cli' }, signal);
      expect(await connectorFindings(app, { concurrent: 2, checkMs: 2_000, totalMs: 60_000 })).toEqual([
        {
          what: 'connector "silent"',
          ok: false,
          detail: 'timeout: "silent" did not answer within 2 s.',
          hint: expect.stringContaining('proxy or firewall'),
        },
        { what: 'disabled connectors', ok: true, detail: '1, not looked at' },
      ]);
    } finally {
      silent.close();
    }
  });

  test('however many there are, each is looked at, or it is said how many were not', {
    timeout: 60_000,
  }, async () => {
    await using app = await program();
    const names = Array.from({ length: 205 }, (_, index) => `c${String(index).padStart(3, '0')}`);
    for (const name of names) await app.services.connectors.register(api(name, 1), { actor: 'cli' }, signal);
    const seen: string[] = [];
    const check: App['check'] = async (name) => {
      seen.push(name);
      return { report: { ok: true, checks: [], warnings: [] }, restEnded: false };
    };
    const look = (totalMs: number) =>
      connectorFindings({ services: app.services, check }, { concurrent: 2, checkMs: 1_000, totalMs });
    const findings = await look(60_000);
    expect(findings.map(({ what, ok }) => [what, ok])).toEqual(
      names.map((name) => [`connector "${name}"`, true]),
    );
    expect(seen.sort()).toEqual(names);
    expect(await look(0)).toEqual([
      {
        what: 'connectors',
        ok: false,
        detail: '205 of 205 were not looked at within 0 s',
        hint: expect.any(String),
      },
    ]);
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

/**
 * A connector "shop" with tables a and b, due every second, beside one that is called "other"; what other processes do
 * with its runs is done by this one.
 */
async function shopOf(database: TestDatabase) {
  await database.query('CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)');
  const config = join(folder, 'mcp.config.json');
  const { password, ...rest } = database.config;
  const streams = ['a', 'b'].map((table) => ({ name: table, table }));
  const connector = { type: 'postgresql', config: { ...rest, password: '${env:MILLRACE_PW}' }, streams };
  const connectors = [
    { ...connector, name: 'shop', schedule: '* * * * * *' },
    { ...connector, name: 'other' },
  ];
  writeFileSync(config, JSON.stringify({ millrace: { dataDir: './data', connectors } }));
  const withRuns = async <T>(work: (runs: RunStore) => Promise<T>): Promise<T> => {
    await using store = await open(join(folder, 'data', 'store.db'), () => new Date());
    return await work(store.runs);
  };
  const claim = async (runs: RunStore, id: string): Promise<Claim> => {
    const claimed = await runs.claim(holderName(Math.random), 60_000, id);
    if (claimed === null) throw new Error(`run ${id} cannot be claimed`);
    return claimed;
  };
  return {
    sync: (...args: string[]) =>
      millrace(['sync', 'shop', ...args, '--config', config], { env: { MILLRACE_PW: password } }),
    queue: (request: { readonly connector: string; readonly streams?: readonly string[] }) =>
      withRuns(
        async (runs) => (await runs.enqueue({ ...request, trigger: 'manual', fullRefresh: false })).run_id,
      ),
    /** An attempt fails, and the next one is an hour away. */
    fail: (id: string) =>
      withRuns(async (runs) => {
        const error = new MillraceError('timeout', 'It took too long.', { hint: 'Wait.' }).toView();
        const at = new Date(Date.now() + 3_600_000);
        await runs.retry(await claim(runs, id), at, { streams: [], error });
      }),
    hold: (id: string, end: 'finish' | 'handBack') =>
      withRuns(async (runs) => {
        const held = await claim(runs, id);
        await sleep(4_000);
        if (end === 'handBack') await runs.handBack(held, []);
        else await runs.finish(held, { status: 'succeeded', streams: [] });
      }),
    runs: () => withRuns(async (runs) => (await runs.list({}, { limit: 100 })).items),
  };
}

/** Calls that are refused before a data folder is looked at. */
function startsElsewhere(args: readonly string[]): boolean {
  return args.includes('demo') || args.includes('--data-dri');
}
