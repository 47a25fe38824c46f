import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Store } from '../../src/store/store.ts';
import { createSecretTools, type SecretTools } from '../../src/vault/secret-tools.ts';
import { openVault, type Vault } from '../../src/vault/vault.ts';
import { failureOf } from '../support/http-support.ts';
import { handClock, open, scratch } from './store-support.ts';

/** `${ask}`: what stands in a config until a person has typed, and what becomes of what was typed. */

const folder = scratch();
const secretPaths = ['password', 'auth.token', 'url'];
let store: Store;
let vault: Vault;
let tools: SecretTools;

beforeAll(async () => {
  store = await open(folder.file, handClock().now);
  const dataDir = join(folder.dir, 'data');
  mkdirSync(dataDir);
  vault = await openVault({ dataDir, env: {}, secrets: store.secrets });
  // Literals are refused: what is typed on a page is none of the conversation's.
  tools = createSecretTools({ vault, env: { X: 'x' }, rules: { env: ['*'], files: [], literals: 'reject' } });
});

afterAll(async () => {
  await store[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

test('each ${ask} is a reference of its own, another one each time, under which nothing is stored', async () => {
  const config = { password: '${ask}', auth: { token: '${ask}' }, host: 'db' };
  const first = await tools.seal('shop', config, secretPaths);
  const second = await tools.seal('shop', config, secretPaths);
  expect(first.config).toEqual({
    password: expect.stringMatching(/^\$\{secret:shop\.password\.asked-[A-Za-z0-9_-]{16}\}$/),
    auth: { token: expect.stringMatching(/^\$\{secret:shop\.auth\.token\.asked-[A-Za-z0-9_-]{16}\}$/) },
    host: 'db',
  });
  expect(first.config['password']).not.toBe(second.config['password']);
  expect(first).toMatchObject({ sealed: [], fields: [], warnings: [] });
  expect(first.asked.map(({ field }) => field)).toEqual(['password', 'auth.token']);
  const error = await failureOf(tools.reveal('shop', first.config, secretPaths));
  expect(error).toMatchObject({ code: 'secret_missing', who: 'person' });
  expect(error.message).toBe('Nobody has typed "password" of connector "shop" yet.');
  expect(error.hint).toContain('with "${ask}" for "password" answers a new link');
});

test('what was typed is stored for what the config still names, word for word', async () => {
  const typed = new Map([
    ['password', 'p@ss ${env:X} •'],
    ['auth.token', 'late'],
  ]);
  const { config, asked } = await tools.seal(
    'shop',
    { password: '${ask}', auth: { token: '${ask}' } },
    secretPaths,
  );
  const changed = { ...config, auth: { token: '${env:X}' } };
  expect(await tools.keep('shop', changed, { asked, typed })).toEqual(['password']);
  expect(await tools.reveal('shop', changed, secretPaths)).toEqual({
    password: 'p@ss ${env:X} •',
    auth: { token: 'x' },
  });
  expect((await vault.list('connector/shop/auth')).length).toBe(0);
  expect(tools.show(changed, secretPaths)).toEqual({
    password: '•••• (asked)',
    auth: { token: '•••• (env X)' },
  });
  expect(tools.unmask({ password: '•••• (asked)' }, changed, secretPaths)).toEqual({
    password: config['password'],
  });
});

test('behind a scheme, and in a URL, where it is encoded', async () => {
  const config = {
    headers: { Authorization: 'Bearer ${ask}' },
    url: 'postgresql://reader:${ask}@db.example.com/shop?sslpassword=${ask}',
  };
  const { config: kept, asked } = await tools.seal('shop', config, secretPaths);
  expect(asked.map(({ field }) => field)).toEqual([
    'headers.Authorization',
    'url.password',
    'url.sslpassword',
  ]);
  const typed = new Map([
    ['headers.Authorization', 't0k'],
    ['url.password', 'a/b@c'],
    ['url.sslpassword', 'd'],
  ]);
  await tools.keep('shop', kept, { asked, typed });
  expect(await tools.reveal('shop', kept, secretPaths)).toEqual({
    headers: { Authorization: 'Bearer t0k' },
    url: 'postgresql://reader:a%2Fb%40c@db.example.com/shop?sslpassword=d',
  });
  expect(tools.show(kept, secretPaths)['url']).toBe(
    'postgresql://reader:••••@db.example.com/shop?sslpassword=••••',
  );
});

test.each([
  ['where no credential stands', { host: '${ask}' }],
  ['in the midst of a credential', { password: 'a${ask}b' }],
  ['in the midst of one in a URL', { url: 'postgresql://u:a${ask}@db/shop' }],
  ['as the user of a URL', { url: 'postgresql://${ask}:x@db/shop' }],
])('%s it is refused, with where it may stand', async (_what, config) => {
  const error = await failureOf(tools.seal('shop', config, secretPaths));
  expect(error.code).toBe('invalid_config');
  expect(error.hint).toContain('"password": "${ask}"');
});

test('tools that know what was typed reveal it before it is stored, and seal it', async () => {
  const knowing = tools.knowing(new Map([['password', '${env:X}']]));
  const config = { password: '${ask}', auth: { token: '${env:X}' } };
  expect(await knowing.reveal('shop', config, secretPaths)).toEqual({
    password: '${env:X}',
    auth: { token: 'x' },
  });
  const { config: kept, sealed, asked, warnings } = await knowing.seal('shop', config, secretPaths);
  expect({ asked, warnings, count: sealed.length }).toEqual({ asked: [], warnings: [], count: 1 });
  for (const value of sealed) await store.secrets.put(value);
  expect(await tools.reveal('shop', kept, secretPaths)).toMatchObject({ password: '${env:X}' });
});

test('where nobody would see a link it is refused, with another way', async () => {
  const error = await failureOf(tools.reveal('http', { token: '${ask}' }, ['token']));
  expect(error).toMatchObject({ code: 'invalid_config' });
  expect(error.hint).toContain('millrace secret set NAME');
});
