import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ask, type } from '../support/ask-form.ts';
import { everyFile } from '../support/every-file.ts';
import { connectHttp, connectMillrace, type Generation, type MillraceClient } from '../support/mcp-client.ts';
import { freshDatabase } from '../support/postgres.ts';
import { startServe } from '../support/serve-process.ts';

/** `${ask}` in a conversation, from the tool's reply to the source, by the real program over both transports. */

interface Ask {
  readonly url: string;
  readonly fields: readonly string[];
  readonly expires_at: string;
  readonly next_step: string;
}

interface Conversation extends AsyncDisposable {
  readonly client: MillraceClient;
  readonly dataDir: string;
}

const WAYS = {
  async stdio(generation: Generation): Promise<Conversation> {
    const dataDir = mkdtempSync(join(tmpdir(), 'millrace-ask-'));
    const client = await connectMillrace({ generation, dataDir });
    return {
      client,
      dataDir,
      async [Symbol.asyncDispose]() {
        await client.close();
        rmSync(dataDir, { recursive: true, force: true });
      },
    };
  },
  async serve(generation: Generation): Promise<Conversation> {
    const serve = await startServe();
    const client = await connectHttp({ generation, url: `${serve.origin}/mcp` });
    return {
      client,
      dataDir: serve.dataDir,
      async [Symbol.asyncDispose]() {
        await client.close();
        await serve[Symbol.asyncDispose]();
      },
    };
  },
};

async function shop(password: string) {
  const database = await freshDatabase();
  const login = await database.role(password);
  await database.query(
    `CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO ${login.username}; INSERT INTO t VALUES (1)`,
  );
  return {
    ...database,
    login,
    config: { ...database.config, username: login.username, password: '${ask}' },
    [Symbol.asyncDispose]: () => database.drop(),
  };
}

const registration = (config: object) => ({
  name: 'shop',
  type: 'postgresql',
  config,
  streams: [{ name: 't', table: 'public.t' }],
});

/** What is asked and typed is the same whoever speaks: each transport and each generation once. */
const cases = [
  ['stdio', 'legacy'],
  ['serve', 'modern'],
] as const;

describe.each(cases)('over %s, a %s client', (way, generation) => {
  test('registers, has a person type, syncs, has another typed in its place', async () => {
    await using database = await shop('first-pa55 & "word"');
    await using conversation = await WAYS[way](generation);
    const { client, dataDir } = conversation;
    const replies: string[] = [];
    const must = async <T>(name: string, args: Record<string, unknown>): Promise<T> => {
      const reply = await client.call(name, args);
      replies.push(reply.text, JSON.stringify(reply.structured));
      expect(reply.isError, reply.text).toBe(false);
      return reply.structured as T;
    };

    const made = await must<{
      ask: Ask;
      test?: object;
      warnings: string[];
      next_actions: { tool: string }[];
    }>('register_connector', registration(database.config));
    expect(made.ask).toMatchObject({
      fields: ['password'],
      next_step: expect.stringContaining('test_connector {"connector": "shop"}'),
    });
    expect(Date.parse(made.ask.expires_at) - Date.now()).toBeGreaterThan(500_000);
    expect(made.test).toBeUndefined();
    expect(made.warnings).toEqual(['Not tested yet: "password" has still to be typed.']);
    expect(made.next_actions).toMatchObject([{ tool: 'test_connector' }]);
    const early = await client.call('test_connector', { connector: 'shop' });
    expect(early.text).toMatch(/^secret_missing: Nobody has typed "password" of connector "shop" yet\./);
    // Something else is set right meanwhile: kept, and said that it could not be tested.
    const { warnings } = await must<{ warnings: string[] }>('update_connector', {
      connector: 'shop',
      config: { connect_timeout_ms: 5000 },
    });
    expect(warnings.join(' ')).toContain('Nobody has typed "password"');

    const page = await ask(made.ask.url);
    expect(page.body).toContain(`password of shop (PostgreSQL, ${database.config.host}`);
    expect((await type(made.ask.url, 'first-pa55 & "word"')).body).toContain('It is sealed and kept.');
    expect(await must('test_connector', { connector: 'shop' })).toMatchObject({ ok: true });
    expect(await must('sync_connector', { connector: 'shop', wait_seconds: 25 })).toMatchObject({
      run: { status: 'succeeded' },
    });
    expect(await must('get_connector', { connector: 'shop' })).toMatchObject({
      connector: { config: { password: '•••• (asked)' } },
    });

    const rotation = await must<{ ask: Ask; rotated: boolean }>('rotate_secret', {
      connector: 'shop',
      field: 'password',
      value: '${ask}',
    });
    expect(rotation).toMatchObject({ rotated: false, ask: { fields: ['password'] } });
    const refused = await type(rotation.ask.url, 'wrong-pa55word');
    expect(refused.body).toContain('It does not work, so the old one stays.');
    expect(await must('test_connector', { connector: 'shop' })).toMatchObject({ ok: true });
    await database.query(`ALTER ROLE ${database.login.username} PASSWORD 'second-pa55word'`);
    expect((await type(rotation.ask.url, 'second-pa55word')).body).toContain(
      'It works, and has taken the place of the old one.',
    );
    expect(await must('test_connector', { connector: 'shop' })).toMatchObject({ ok: true });

    const audit = await client.readResource('millrace://audit');
    const typings = (
      JSON.parse(audit) as { entries: { action: string; actor: string; detail: object }[] }
    ).entries.filter(({ action }) => action === 'type_secret');
    expect(typings.map(({ actor, detail }) => ({ actor, detail }))).toEqual([
      { actor: 'person', detail: { fields: ['password'], kept: true } },
      { actor: 'person', detail: { fields: ['password'], kept: false } },
      { actor: 'person', detail: { fields: ['password'], kept: true } },
    ]);
    expect(audit).toContain('"rotate_secret"');
    for (const secret of ['first-pa55', 'wrong-pa55', 'second-pa55'])
      expect([...replies, audit, client.stderr(), everyFile(dataDir)].join('\n')).not.toContain(secret);
  });
});

test('what may have changed by the time a person types: nothing is kept, and they hear why', async () => {
  await using database = await shop('first');
  await using conversation = await WAYS.stdio('modern');
  const { client } = conversation;
  const asked = async (tool: string, args: object): Promise<string> =>
    (await client.must<{ ask: Ask }>(tool, { ...args })).ask.url;
  const isMissing = async (connector: string): Promise<void> =>
    expect((await client.call('test_connector', { connector })).text).toMatch(/^secret_missing: /);
  const unreachable = { host: '127.0.0.1', port: 1, database: 'x', username: 'x', password: '${ask}' };

  const moved = await asked('register_connector', { ...registration(unreachable), name: 'moved' });
  await client.must('update_connector', { connector: 'moved', config: { host: 'localhost' } });
  expect((await type(moved, 'hunter2')).body).toContain(
    'names another host by now: localhost, not 127.0.0.1.',
  );
  await isMissing('moved');

  // The page said that it goes there and nowhere else, so it does, whether it works there or not.
  await type(await asked('register_connector', { ...registration(unreachable), name: 'kept' }), 'hunter2');
  const elsewhere = { connector: 'kept', config: { host: 'localhost' } };
  expect((await client.call('update_connector', elsewhere)).text).toMatch(/^secret_refused: /);

  const first = await asked('register_connector', { ...registration(unreachable), name: 'twice' });
  const again = { connector: 'twice', config: { password: '${ask}' } };
  const second = await asked('update_connector', again);
  expect((await type(first, 'hunter2')).body).toContain('has been changed since');
  const { confirmation } = await client.must('delete_connector', { connector: 'twice' });
  await client.must('delete_connector', { connector: 'twice', confirmation });
  expect((await type(second, 'hunter2')).body).toContain('There is no connector &#34;twice&#34;');

  // One that was sealed and worked does not go to the host that comes with a new ${ask}.
  await type(await asked('register_connector', registration(database.config)), 'first');
  await client.must('sync_connector', { connector: 'shop', wait_seconds: 25 });
  await asked('update_connector', { connector: 'shop', config: { host: 'localhost', password: '${ask}' } });
  await isMissing('shop');
});

test('a whole connection string, the password in one, and rotating it', async () => {
  await using database = await shop('s3cret/&@');
  await using conversation = await WAYS.stdio('modern');
  const { client } = conversation;
  const { host, port, database: name, username } = database.config;
  const address = (password: string): string =>
    `postgresql://${username}:${password}@${host}:${port}/${name}`;
  const asked = async (tool: string, args: object): Promise<Ask> =>
    (await client.must<{ ask: Ask }>(tool, { ...args })).ask;

  const whole = await asked('register_connector', {
    name: 'whole',
    type: 'postgresql',
    config: { url: '${ask}' },
  });
  expect((await ask(whole.url)).body).toContain('url of whole (PostgreSQL, the address that is typed here)');
  await type(whole.url, address(encodeURIComponent('s3cret/&@')));
  expect(await client.must('test_connector', { connector: 'whole' })).toMatchObject({ ok: true });

  const part = await asked('register_connector', {
    name: 'part',
    type: 'postgresql',
    config: { url: address('${ask}') },
  });
  expect(part.fields).toEqual(['url.password']);
  expect((await ask(part.url)).body).toContain(`url.password of part (PostgreSQL, ${host}:${port})`);
  await type(part.url, 's3cret/&@');
  expect(await client.must('test_connector', { connector: 'part' })).toMatchObject({ ok: true });

  const rotation = await asked('rotate_secret', {
    connector: 'part',
    field: 'url',
    value: address('${ask}'),
  });
  expect((await type(rotation.url, 's3cret/&@')).body).toContain('It works, and has taken the place');
  expect(await client.must('test_connector', { connector: 'part' })).toMatchObject({ ok: true });
});

test('a config file that asks is refused with another way: nobody would get the link', async () => {
  const config = registration({ host: '127.0.0.1', database: 'x', username: 'x', password: '${ask}' });
  await using serve = await startServe({ config: { connectors: [config] } });
  await expect.poll(() => serve.stderr(), { timeout: 15_000 }).toContain('millrace secret set shop');
});
