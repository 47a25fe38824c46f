import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CheckReport, Stream } from '../../src/core/model.ts';
import { freshDatabaseOn, type ServerDatabase, serverKinds } from '../support/databases.ts';
import { dialects } from '../support/dialects.ts';
import { type MillraceProcess, startMillrace, temporaryDirectory } from '../support/millrace-process.ts';

/** What is wrong before any source is asked: names, options, references. Coded, nothing registered or changed. */

const ORDERS: Stream = { name: 'orders', table: 'orders', mode: 'merge', cursor: 'changed_at' };

describe.each(serverKinds)('%s', (kind) => {
  let database: ServerDatabase;
  let millrace: MillraceProcess;
  const directory = temporaryDirectory();
  let count = 0;

  beforeAll(async () => {
    database = await freshDatabaseOn(kind);
    await database.run(
      `CREATE TABLE orders (id int PRIMARY KEY, changed_at ${database.dialect.types.stamp} NULL)`,
    );
    millrace = await startMillrace({
      dataDir: directory.dataDir,
      env: { SHOP_PASSWORD: database.config.password },
    });
  });

  afterAll(async () => {
    await millrace?.kill();
    await database?.drop();
    directory[Symbol.dispose]();
  });

  const { connector: type } = dialects[kind];
  const BY_NAME = { name: 'shop', type, test: false };

  test('names, types and options that do not hold: invalid_config names the place, nothing is registered', async () => {
    const { config } = database;
    const before = await inventory();
    const bad: readonly { readonly input: Record<string, unknown>; readonly says: RegExp }[] = [
      { input: { ...BY_NAME, name: 'Shop', config }, says: /name.*lower-case/ },
      { input: { ...BY_NAME, name: '1shop', config }, says: /name/ },
      { input: { ...BY_NAME, name: 'x'.repeat(49), config }, says: /name.*48/ },
      { input: { ...BY_NAME, name: 'shop; drop table', config }, says: /name/ },
      { input: { ...BY_NAME, type: `${type}x`, config }, says: new RegExp(`"${type}"`) },
      { input: { ...BY_NAME, config: { ...config, hots: 'x' } }, says: /hots.*host/s },
      { input: { ...BY_NAME, config: { ...config, port: 'many' } }, says: /port/ },
      { input: { ...BY_NAME, config: { ...config, port: 70_000 } }, says: /port/ },
      { input: { ...BY_NAME, config: { ...config, ssl: 'maybe' } }, says: /ssl/ },
      { input: { ...BY_NAME, config: { ...config, url: database.url } }, says: /url/ },
      { input: { ...BY_NAME, config, streems: [] }, says: /streems.*streams/s },
      { input: { ...BY_NAME, config, streams: [{ name: 'a' }] }, says: /table.*query/ },
      { input: { ...BY_NAME, config, streams: [ORDERS, ORDERS] }, says: /orders/ },
      { input: { ...BY_NAME, config, streams: [{ ...ORDERS, mode: 'upsert' }] }, says: /mode/ },
      { input: { ...BY_NAME, config, streams: [{ ...ORDERS, crusor: 'x' }] }, says: /crusor.*cursor/s },
      { input: { ...BY_NAME, config, streams: [{ ...ORDERS, lookback: 'a while' }] }, says: /lookback/ },
    ];
    for (const { input, says } of bad) {
      const error = await millrace.fails('register_connector', input);
      expect(error, JSON.stringify(input)).toMatchObject({ code: 'invalid_config', retryable: false });
      expect(`${error.message} ${error.hint}`).toMatch(says);
    }
    expect(await inventory()).toEqual(before);
  });

  test('a name that is taken: connector_exists, the connector there stays as it was', async () => {
    const connector = await register();
    const before = await millrace.must('get_connector', { connector });
    const input = { ...BY_NAME, name: connector, config: { ...database.config, host: 'elsewhere' } };
    const error = await millrace.fails('register_connector', input);
    expect(error.code).toBe('connector_exists');
    expect(error.hint).toContain('update_connector');
    expect(await millrace.must('get_connector', { connector })).toEqual(before);
    expect(
      await millrace.must('register_connector', { ...input, name: `${connector}b`, config: database.config }),
    ).toBeDefined();
  });

  test('things that are not there are named, with the nearest that is', async () => {
    const connector = await register();
    const misspelt = `${connector}x`;
    for (const tool of [
      'get_connector',
      'test_connector',
      'sync_connector',
      'discover_streams',
      'update_connector',
      'delete_connector',
    ]) {
      const error = await millrace.fails(tool, { connector: misspelt });
      expect(error.code, tool).toBe('connector_not_found');
      expect(error.hint, tool).toContain(connector);
    }
    expect((await millrace.fails('get_run', { run_id: 'rnothere' })).code).toBe('run_not_found');
    expect((await millrace.fails('cancel_run', { run_id: 'rnothere' })).code).toBe('run_not_found');
    const stream = await millrace.fails('sync_connector', { connector, streams: ['order'] });
    expect(stream).toMatchObject({ code: 'invalid_config', hint: expect.stringContaining('orders') });
    const plan = await millrace.fails('delete_connector', { connector, confirmation: 'made-up' });
    expect(plan.code).toBe('confirmation_invalid');
    expect(await inventory()).toContain(connector);
  });

  test('a secret that is not there, and one that may not be named: the reference is refused, the hint mends it', async () => {
    const missing = await millrace.call('register_connector', {
      ...BY_NAME,
      name: 'refs',
      test: true,
      config: { ...database.config, password: `\${env:MILLRACE_NOT_SET}` },
    });
    expect(missing.text).toContain('secret_missing');
    const refused = await millrace.fails('register_connector', {
      ...BY_NAME,
      name: 'refused',
      test: true,
      config: { ...database.config, password: `\${env:SHOP_PASSWORD}` },
    });
    expect(refused).toMatchObject({ code: 'secret_refused', who: 'administrator' });
    expect(refused.hint).toMatch(/secrets.*env/s);
    // What the hint says: another name that is allowed, or the name added to the list.
    await using allowed = await startMillrace({
      dataDir: join(directory.path, 'allowed'),
      config: { secrets: { env: ['SHOP_PASSWORD'] } },
      env: { SHOP_PASSWORD: database.config.password },
    });
    const config = { ...database.config, password: `\${env:SHOP_PASSWORD}` };
    const { test: report } = await allowed.must<{ test: CheckReport }>('register_connector', {
      ...BY_NAME,
      test: true,
      config,
    });
    expect(report).toMatchObject({ ok: true });
  });

  async function register(): Promise<string> {
    const name = `named${++count}`;
    await millrace.must('register_connector', {
      ...BY_NAME,
      name,
      config: database.config,
      streams: [ORDERS],
    });
    return name;
  }

  async function inventory(): Promise<readonly string[]> {
    const { connectors } = await millrace.must<{ connectors: { name: string }[] }>('list_connectors', {
      limit: 100,
    });
    return connectors.map((connector) => connector.name);
  }
});
