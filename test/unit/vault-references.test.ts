import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import type { Store } from '../../src/store/store.ts';
import { referencesIn } from '../../src/vault/references.ts';
import {
  createSecretTools,
  type SecretTools,
  type SecretToolsOptions,
} from '../../src/vault/secret-tools.ts';
import { openVault, type Vault } from '../../src/vault/vault.ts';
import { connector, handClock, open, scratch } from './store-support.ts';

const folder = scratch();
const secretPaths = ['password', 'auth.*.token', 'url'];
const env = {
  MILLRACE_PW: 'p@ss/w:rd?#%',
  MILLRACE_EMPTY: '',
  OTHER: 'x',
  MILLRACE_MASTER_KEY: undefined,
  SHOP_HOST: 'db.example',
};
let store: Store;
let vault: Vault;
let tools: SecretTools;

const toolsWith = (rules: Partial<SecretToolsOptions['rules']>): SecretTools =>
  createSecretTools({
    vault,
    env,
    rules: {
      env: ['MILLRACE_*', 'SHOP_HOST'],
      files: [join(folder.dir, 'run')],
      literals: 'accept',
      closed: referencesIn([
        { token: '${env:MILLRACE_TOKEN}' },
        `\${file:${join(folder.dir, 'run', 'token')}}`,
      ]),
      ...rules,
    },
  });

beforeAll(async () => {
  store = await open(folder.file, handClock().now);
  const dataDir = join(folder.dir, 'data');
  mkdirSync(dataDir);
  vault = await openVault({ dataDir, env, secrets: store.secrets });
  await vault.put('secret/shop', 'stored value');
  await vault.put('connector/other/password', "another connector's");
  tools = toolsWith({});
});

afterAll(async () => {
  await store[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

async function failure(work: Promise<unknown>): Promise<MillraceError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MillraceError);
  return error as MillraceError;
}

/** Seals, stores and reveals, as registering and opening a connector do. */
async function roundTrip(config: Record<string, unknown>, name = 'shop') {
  const result = await tools.seal(name, config, secretPaths);
  for (const value of result.sealed) await store.secrets.put(value);
  return { ...result, revealed: await tools.reveal(name, result.config, secretPaths) };
}

describe('references', () => {
  test('name the environment, stored secrets and parts of other texts', async () => {
    const config = {
      password: '${env:MILLRACE_PW}',
      host: '${env:SHOP_HOST}',
      description: 'at ${env:SHOP_HOST}:${env:SHOP_HOST}',
      auth: { a: { token: '${secret:shop}' } },
      headers: { Authorization: 'Bearer ${secret:shop}' },
      port: 5432,
      schemas: ['public', null, true],
    };
    const { config: kept, sealed, warnings, revealed } = await roundTrip(config);
    expect({ kept, sealed, warnings }).toEqual({ kept: config, sealed: [], warnings: [] });
    expect(revealed).toEqual({
      ...config,
      password: env.MILLRACE_PW,
      host: 'db.example',
      description: 'at db.example:db.example',
      auth: { a: { token: 'stored value' } },
      headers: { Authorization: 'Bearer stored value' },
    });
  });

  test('in a URL are percent-encoded where they have to be', async () => {
    const url =
      'postgresql://user:${env:MILLRACE_PW}@${env:SHOP_HOST}:5432/shop?application_name=${env:MILLRACE_PW}';
    const { config, revealed } = await roundTrip({ url });
    expect(config).toEqual({ url });
    const read = new URL(String(revealed['url']));
    expect(decodeURIComponent(read.password)).toBe(env.MILLRACE_PW);
    expect(read.searchParams.get('application_name')).toBe(env.MILLRACE_PW);
    expect(read.host).toBe('db.example:5432');
  });

  test.each([
    [
      'a variable that no rule allows',
      '${env:OTHER}',
      'secret_refused',
      '"env": ["MILLRACE_*","SHOP_HOST","OTHER"]',
    ],
    ["the server's own token", '${env:MILLRACE_TOKEN}', 'secret_refused', 'millrace secret set NAME'],
    [
      "the server's own file",
      `\${file:${join(folder.dir, 'run', 'token')}}`,
      'secret_refused',
      'another name',
    ],
    ['the master key', '${env:MILLRACE_MASTER_KEY}', 'secret_refused', 'another name'],
    ['a variable that is not set', '${env:MILLRACE_NONE}', 'secret_missing', '"env": {"MILLRACE_NONE": "…"}'],
    ['a variable that is empty', '${env:MILLRACE_EMPTY}', 'secret_missing', 'MILLRACE_EMPTY'],
    ['a secret that is not stored', '${secret:nope}', 'secret_missing', 'millrace secret set nope'],
    ["another connector's", '${secret:other.password}', 'secret_refused', 'millrace secret set NAME'],
    ['a kind that is not there', '${evn:MILLRACE_PW}', 'invalid_config', '${env:NAME}'],
    ['asking', '${ask}', 'invalid_config', 'millrace secret set NAME'],
    ['a malformed name', '${env:MILLRACE PW}', 'invalid_config', '${env:NAME}'],
  ])('%s is refused', async (_what, password, code, hint) => {
    const error = await failure(tools.reveal('shop', { password }, secretPaths));
    expect(error.code).toBe(code);
    expect(error.hint).toContain(hint);
  });

  test('what a rule forbids is refused before anything is stored; what is only missing is a warning', async () => {
    for (const password of ['${env:OTHER}', '${secret:other.password}', '${evn:X}']) {
      expect((await failure(tools.seal('shop', { password }, secretPaths))).code).toMatch(
        /secret_refused|invalid_config/,
      );
    }
    const { warnings, sealed } = await tools.seal('shop', { password: '${env:MILLRACE_NONE}' }, secretPaths);
    expect(sealed).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining('MILLRACE_NONE is not set')]);
  });

  test('patterns are names with stars and nothing else', async () => {
    const only = (pattern: string) =>
      toolsWith({ env: [pattern] }).reveal('shop', { password: '${env:SHOP_HOST}' }, secretPaths);
    for (const pattern of ['SHOP_HOST', 'SHOP_*', '*', '*_HOST', 'S*P*T'])
      expect(await only(pattern)).toEqual({ password: 'db.example' });
    for (const pattern of ['SHOP', 'SHOP_HOS.', 'shop_host', '.*', 'SHOP_*X', '(SHOP_HOST)']) {
      expect((await failure(only(pattern))).code).toBe('secret_refused');
    }
    const hint = (
      await failure(toolsWith({ env: [] }).reveal('shop', { password: '${env:OTHER}' }, secretPaths))
    ).hint;
    expect(hint).toContain('"env": ["OTHER"]');
  });
});

describe('files', () => {
  const run = join(folder.dir, 'run');
  const at = (path: string) =>
    tools.reveal('shop', { password: `\${file:${path}}` }, secretPaths).then(({ password }) => password);

  beforeAll(() => {
    mkdirSync(join(run, 'deep'), { recursive: true });
    mkdirSync(`${run}2`);
    writeFileSync(join(run, 'deep', 'pw'), 'from a file\n');
    writeFileSync(join(run, 'empty'), '\n');
    writeFileSync(join(run, 'big'), 'x'.repeat(300_000));
    writeFileSync(join(`${run}2`, 'pw'), 'not yours');
    symlinkSync(join(`${run}2`, 'pw'), join(run, 'out'));
    symlinkSync(join(run, 'deep', 'pw'), join(run, 'in'));
  });

  test('are read without the last newline, through links that stay inside', async () => {
    expect(await at(join(run, 'deep', 'pw'))).toBe('from a file');
    expect(await at(join(run, 'in'))).toBe('from a file');
  });

  test.each([
    ['outside', () => join(`${run}2`, 'pw'), 'secret_refused'],
    ['through a link that leads out', () => join(run, 'out'), 'secret_refused'],
    ['through dots that lead out', () => `${run}/../run2/pw`, 'secret_refused'],
    ['that are not there, outside', () => join(folder.dir, 'none'), 'secret_refused'],
    ['that are not there, inside', () => join(run, 'none'), 'secret_missing'],
    ['by a relative path', () => 'run/deep/pw', 'secret_refused'],
    ['that are empty', () => join(run, 'empty'), 'secret_missing'],
    ['that are too big', () => join(run, 'big'), 'secret_refused'],
    ['that are folders', () => join(run, 'deep'), 'secret_refused'],
  ])('%s are not read', async (_what, path, code) => {
    const error = await failure(at(path()));
    expect(error.code).toBe(code);
    expect(error.hint).not.toBe('');
    expect(JSON.stringify(error.toView())).not.toContain('not yours');
  });

  test('of the data folder are never read, whatever the rules', async () => {
    const all = toolsWith({ files: ['/'] });
    const error = await failure(
      all.reveal('shop', { password: `\${file:${join(vault.dataDir, 'master.key')}}` }, secretPaths),
    );
    expect(error).toMatchObject({ code: 'secret_refused', message: expect.stringContaining('data folder') });
  });

  test('the hint mends it', async () => {
    const path = join(`${run}2`, 'pw');
    const { hint } = await failure(at(path));
    const files = JSON.parse(/"files": (\[.*?\])/.exec(hint)?.[1] ?? '[]') as string[];
    expect(await toolsWith({ files }).reveal('shop', { password: `\${file:${path}}` }, secretPaths)).toEqual({
      password: 'not yours',
    });
  });
});

describe('literals', () => {
  test('are sealed wherever a credential is, and come back only for the driver', async () => {
    const config = {
      password: 'hunter2',
      auth: { bearer: { token: 'hunter2' } },
      headers: { 'X-Api-Key': 'hunter2', Accept: 'text/plain' },
      client_secret: 'hunter2 with ${not a reference',
      username: 'me',
    };
    const { config: kept, fields, sealed, warnings, revealed } = await roundTrip(config, 'literal');
    expect(revealed).toEqual(config);
    expect(kept).toEqual({
      password: '${secret:literal.password}',
      auth: { bearer: { token: '${secret:literal.auth.bearer.token}' } },
      headers: { 'X-Api-Key': '${secret:literal.headers.X-Api-Key}', Accept: 'text/plain' },
      client_secret: '${secret:literal.client_secret}',
      username: 'me',
    });
    expect(fields).toEqual(['password', 'auth.bearer.token', 'headers.X-Api-Key', 'client_secret']);
    expect(warnings[0]).toContain('passed through this conversation');
    expect(JSON.stringify([kept, sealed, warnings, tools.show(kept, secretPaths)])).not.toContain('hunter2');
    const again = await tools.seal('literal', config, secretPaths);
    expect(again.sealed).toEqual([]); // a config file that comes again with every start changes nothing
    expect((await tools.seal('literal', { ...config, password: 'new' }, secretPaths)).fields).toEqual([
      'password',
    ]);
  });

  test('in a URL: only the credentials are sealed, the address stays readable', async () => {
    const url = 'postgresql://user:p%40ss%2Fw@db.example:5432/shop?sslmode=require&sslpassword=hunter2';
    const { config, revealed, fields } = await roundTrip({ url }, 'byurl');
    expect(config).toEqual({
      url: 'postgresql://user:${secret:byurl.url.password}@db.example:5432/shop?sslmode=require&sslpassword=${secret:byurl.url.sslpassword}',
    });
    expect(fields).toEqual(['url.password', 'url.sslpassword']);
    expect(revealed).toEqual({ url });
    expect((await vault.open('connector/byurl/url.password')).expose()).toBe('p@ss/w');
    expect(tools.show(config, secretPaths)).toEqual({
      url: 'postgresql://user:••••@db.example:5432/shop?sslmode=require&sslpassword=••••',
    });
    for (const harmless of ['postgresql://user@db/shop', 'https://api.example/v1?page_token=']) {
      expect((await tools.seal('byurl', { url: harmless }, secretPaths)).config).toEqual({ url: harmless });
    }
  });

  test('in a URL that cannot be taken apart, or a connection string: nothing stays in the open', async () => {
    const error = await failure(
      tools.seal('shop', { url: 'postgresql://user:hunter/2@db/shop' }, secretPaths),
    );
    expect(error).toMatchObject({ code: 'invalid_config', hint: expect.stringContaining('%2F') });
    expect(JSON.stringify(error.toView())).not.toContain('hunter');
    const { config } = await tools.seal('shop', { dsn: 'host=db password=hunter2' }, secretPaths);
    expect(JSON.stringify([config, tools.show(config, [])])).not.toContain('hunter2');
    expect(
      JSON.stringify(
        tools.show({ url: 'postgresql://user:hunter/2@db/shop', password: 'hunter2' }, secretPaths),
      ),
    ).not.toContain('hunter');
  });

  test('whatever the password, a URL comes back as it was and shows nothing of it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }), async (password) => {
        fc.pre(!password.includes('•') && !/^\$\{/.test(password));
        const url = `mysql://me:${encodeURIComponent(password)}@db.example:3306/shop`;
        const { config, revealed } = await roundTrip({ url }, 'anyurl');
        expect(config['url']).toBe('mysql://me:${secret:anyurl.url.password}@db.example:3306/shop');
        expect(new URL(String(revealed['url'])).password).toBe(new URL(url).password);
      }),
      { numRuns: 60 },
    );
  });

  test('where they are rejected, the hint names what mends it, and does', async () => {
    const strict = toolsWith({ literals: 'reject' });
    const error = await failure(strict.seal('shop', { password: 'hunter2' }, secretPaths));
    expect(error).toMatchObject({ code: 'secret_refused', who: 'person' });
    expect(error.hint).not.toContain('hunter2');
    const name = /millrace secret set (\w+)/.exec(error.hint)?.[1] ?? '';
    await vault.put(`secret/${name}`, 'hunter2');
    const reference = /write "(\$\{secret:\w+\})"/.exec(error.hint)?.[1] ?? '';
    const { config, warnings } = await strict.seal('shop', { password: reference }, secretPaths);
    expect(warnings).toEqual([]);
    expect(await strict.reveal('shop', config, secretPaths)).toEqual({ password: 'hunter2' });
  });
});

describe('showing and sending back', () => {
  const kept = {
    password: '${env:MILLRACE_PW}',
    auth: { a: { token: '${secret:shop.auth.a.token}' } },
    key: { token: '${file:/run/x}' },
    api_key: '${secret:shop}',
    header: { Authorization: 'Bearer ${env:MILLRACE_PW}' },
    url: 'postgresql://u:${secret:shop.url.password}@db/shop',
    base_url: '${env:SHOP_HOST}',
    host: '${env:SHOP_HOST}',
    empty_password: '',
  };

  test('masks say where a credential comes from', () => {
    expect(tools.show(kept, secretPaths)).toEqual({
      password: '•••• (env MILLRACE_PW)',
      auth: { a: { token: '•••• (stored)' } },
      key: { token: '•••• (file /run/x)' },
      api_key: '•••• (secret shop)',
      header: { Authorization: '•••• (env MILLRACE_PW)' },
      url: 'postgresql://u:••••@db/shop',
      base_url: '${env:SHOP_HOST}',
      host: '${env:SHOP_HOST}',
      empty_password: '',
    });
  });

  test('what was shown may come back, also with another host in the URL', () => {
    const shown = tools.show(kept, secretPaths);
    expect(tools.unmask(shown, kept, secretPaths)).toEqual(kept);
    const moved = { ...shown, url: 'postgresql://u:••••@db2/shop', password: 'new' };
    expect(tools.unmask(moved, kept, secretPaths)).toEqual({
      ...kept,
      url: kept.url.replace('@db/', '@db2/'),
      password: 'new',
    });
  });

  test('a mask that stands for nothing is not taken for a password', async () => {
    const error = await failure(
      tools.seal('shop', tools.unmask({ token: '•••• (stored)' }, {}, secretPaths), secretPaths),
    );
    expect(error).toMatchObject({ code: 'invalid_config', message: expect.stringContaining('mask') });
  });
});

test('canary: a password is nowhere in the store but sealed', async () => {
  using own = scratch();
  const canary = 'c4nary-Pa55phrase-7f3a';
  const other = await open(own.file, handClock().now);
  const theirs = await openVault({ dataDir: own.dir, env, secrets: other.secrets });
  const seals = createSecretTools({ vault: theirs, env, rules: { env: [], files: [], literals: 'accept' } });
  const { config, sealed } = await seals.seal(
    'shop',
    { password: canary, url: `mysql://u:${canary}@h/d` },
    secretPaths,
  );
  await other.connectors.insert(connector('shop', { config }), sealed);
  await other.audit.append({
    actor: 'stdio',
    action: 'register_connector',
    subject: 'shop',
    detail: { config: { password: canary, url: `mysql://u:${canary}@h/d` } },
  });
  const run = await other.runs.enqueue({ connector: 'shop', trigger: 'manual', fullRefresh: false });
  await other.runs.log(
    run.run_id,
    'error',
    `could not connect to mysql://u:${canary}@h/d (password=${canary})`,
  );
  expect(await seals.reveal('shop', config, secretPaths)).toEqual({
    password: canary,
    url: `mysql://u:${canary}@h/d`,
  });
  await other[Symbol.asyncDispose]();
  const files = readdirSync(own.dir);
  expect(files).toContain('store.db');
  for (const file of files) expect(readFileSync(join(own.dir, file)).includes(canary)).toBe(false);
});
