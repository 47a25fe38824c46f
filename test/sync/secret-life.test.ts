import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type MillraceProcess, startMillrace } from '../support/millrace-process.ts';
import { freshDatabase } from '../support/postgres.ts';
import { millrace as program } from '../support/program.ts';

/** A credential's life in a connector: given, replaced, kept from other hosts, sealed anew while a server runs. */

async function shop(env: Readonly<Record<string, string>>) {
  const database = await freshDatabase();
  const login = await database.role('first');
  await database.query(
    `CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO ${login.username}; INSERT INTO t VALUES (1)`,
  );
  const dataDir = mkdtempSync(join(tmpdir(), 'millrace-life-'));
  const millrace = await startMillrace({ dataDir, env: { MILLRACE_FIRST: 'first', ...env } });
  const config = { ...database.config, username: login.username, password: '${env:MILLRACE_FIRST}' };
  await millrace.must('register_connector', {
    name: 'shop',
    type: 'postgresql',
    config,
    streams: [{ name: 't', table: 'public.t' }],
  });
  return {
    database,
    login,
    millrace,
    dataDir,
    async [Symbol.asyncDispose]() {
      await millrace.kill();
      await database.drop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

async function passwordOf(millrace: MillraceProcess): Promise<unknown> {
  const { connector } = await millrace.must<{ connector: { config: { password: unknown } } }>(
    'get_connector',
    {
      connector: 'shop',
    },
  );
  return connector.config.password;
}

describe('rotate_secret', () => {
  test('switches to a credential that works; one that does not leaves all as it was', async () => {
    await using world = await shop({ MILLRACE_SECOND: 'second', MILLRACE_WRONG: 'wrong' });
    const { millrace, database, login } = world;
    const rotate = { connector: 'shop', field: 'password' };
    const refused = await millrace.must('rotate_secret', { ...rotate, value: '${env:MILLRACE_WRONG}' });
    expect(refused).toMatchObject({ rotated: false, test: { ok: false, error: { code: 'auth_failed' } } });
    expect(await passwordOf(millrace)).toBe('•••• (env MILLRACE_FIRST)');
    await database.query(`ALTER ROLE ${login.username} PASSWORD 'second'`);
    const done = await millrace.must('rotate_secret', { ...rotate, value: '${env:MILLRACE_SECOND}' });
    expect(done).toMatchObject({ rotated: true, test: { ok: true }, warnings: [] });
    expect(await passwordOf(millrace)).toBe('•••• (env MILLRACE_SECOND)');
    expect(await millrace.must('sync_connector', { connector: 'shop' })).toMatchObject({
      run: { status: 'succeeded' },
    });
  });

  test('a literal is sealed and warned about; what is no credential is refused with those that are', async () => {
    await using world = await shop({});
    const { millrace } = world;
    const done = await millrace.must('rotate_secret', {
      connector: 'shop',
      field: 'password',
      value: 'first',
    });
    expect(done).toMatchObject({ rotated: true });
    expect(String((done as { warnings: unknown[] }).warnings[0])).toContain('given in clear');
    expect(await passwordOf(millrace)).toBe('•••• (stored)');
    const error = await millrace.fails('rotate_secret', { connector: 'shop', field: 'pasword', value: 'x' });
    expect(error).toMatchObject({ code: 'invalid_config', hint: expect.stringContaining('"password"') });
    const missing = await millrace.fails('rotate_secret', {
      connector: 'shop',
      field: 'password',
      value: '${secret:not_there}',
    });
    expect(missing).toMatchObject({
      code: 'secret_missing',
      hint: expect.stringContaining('millrace secret set'),
    });
    expect(await passwordOf(millrace)).toBe('•••• (stored)');
  });
});

test('a credential stays with the host it worked for; before that a mistyped host is corrected with one call', async () => {
  await using world = await shop({});
  const { millrace, database } = world;
  const elsewhere = { connector: 'shop', config: { host: 'localhost' } };
  const early = await millrace.must<{ warnings: string[] }>('update_connector', elsewhere);
  expect(early.warnings.join(' ')).toContain('"host" names another host now: "password" is sent there');
  await millrace.must('update_connector', { connector: 'shop', config: { host: database.config.host } });
  await millrace.must('sync_connector', { connector: 'shop' });
  const error = await millrace.fails('update_connector', elsewhere);
  expect(error).toMatchObject({ code: 'secret_refused', who: 'person' });
  const again = { host: 'localhost', password: '${env:MILLRACE_FIRST}' };
  await millrace.must('update_connector', { connector: 'shop', config: again });
  const { warnings } = await millrace.must<{ warnings: string[] }>('update_connector', {
    connector: 'shop',
    config: { database: database.config.database, connect_timeout_ms: 5000 },
  });
  expect(warnings).toEqual([]);
});

test('what was sealed as a credential is used as nothing else, and rotating it does not move it', async () => {
  await using world = await shop({});
  const { millrace, database, login } = world;
  await millrace.must('rotate_secret', { connector: 'shop', field: 'password', value: 'first' });
  for (const config of [
    { username: '${secret:shop.password}' },
    { host: '${secret:shop.password}.example.com' },
    {
      ...Object.fromEntries(Object.keys(world.database.config).map((key) => [key, null])),
      url: 'postgresql://${secret:shop.password}@db.example.com/x',
    },
  ])
    expect(await millrace.fails('update_connector', { connector: 'shop', config })).toMatchObject({
      code: 'secret_refused',
    });
  const { host, port, database: name } = database.config;
  const address = (password: string, at: string): string =>
    `postgresql://${login.username}:${password}@${at}:${port}/${name}`;
  await millrace.must('register_connector', {
    name: 'whole',
    type: 'postgresql',
    config: { url: address('first', host) },
  });
  for (const value of [address('${secret:whole.url.password}', 'localhost'), address('${ask}', 'localhost')])
    expect(await millrace.fails('rotate_secret', { connector: 'whole', field: 'url', value })).toMatchObject({
      code: 'secret_refused',
    });
  expect(
    await millrace.must('rotate_secret', { connector: 'whole', field: 'url', value: address('first', host) }),
  ).toMatchObject({ rotated: true });
});

test('a reply names the reference, and not what it stands for, wherever the config has one', async () => {
  const hush = 'hush-value-zz91.invalid';
  await using world = await shop({ MILLRACE_HUSH: hush });
  const { millrace, database } = world;
  const registered = await millrace.call('register_connector', {
    name: 'hushed',
    type: 'postgresql',
    config: { ...database.config, host: '${env:MILLRACE_HUSH}' },
  });
  expect(registered.text).toContain('PostgreSQL at ${env:MILLRACE_HUSH}:');
  const updated = await millrace.call('update_connector', {
    connector: 'shop',
    config: { username: '${env:MILLRACE_HUSH}' },
  });
  expect(updated.text).toContain('login of \\"${env:MILLRACE_HUSH}\\"');
  const { run } = await millrace.must<{ run: { error: { message: string } } }>('sync_connector', {
    connector: 'shop',
    wait_seconds: 25,
  });
  expect(run.error.message).toContain('${env:MILLRACE_HUSH}');
  for (const text of [registered.text, updated.text, JSON.stringify(run), millrace.stderr()])
    expect(text).not.toContain(hush);
});

test('a connector whose credential is missing is registered all the same, and told to be', async () => {
  await using world = await shop({});
  const { millrace, database } = world;
  const given = { type: 'postgresql', config: { ...database.config, password: '${env:MILLRACE_NOT_SET}' } };
  expect(await millrace.must('register_connector', { name: 'lacking', ...given })).toMatchObject({
    connector: { name: 'lacking' },
    test: { ok: false, error: { code: 'secret_missing' } },
  });
});

test('changes that are made at the same moment are all made', async () => {
  await using world = await shop({});
  const { millrace } = world;
  const names = Array.from({ length: 8 }, (_, i) => `s${i}`);
  await Promise.all(
    names.map((name) =>
      millrace.must('update_connector', { connector: 'shop', add_streams: [{ name, table: 'public.t' }] }),
    ),
  );
  const { connector } = await millrace.must<{ connector: { streams: { name: string }[] } }>('get_connector', {
    connector: 'shop',
  });
  expect(connector.streams.map(({ name }) => name).toSorted()).toEqual([...names, 't']);
});

test('the key is rotated beside a server that goes on; doctor finds key and audit log in order', async () => {
  await using world = await shop({});
  const { millrace, dataDir } = world;
  await millrace.must('rotate_secret', { connector: 'shop', field: 'password', value: 'first' });
  const rotated = await program(['key', 'rotate', '--data-dir', dataDir], {
    env: { MILLRACE_FIRST: 'first' },
  });
  expect(rotated.out).toMatch(/^New key [0-9a-f]{12}: 1 secrets sealed anew, key [0-9a-f]{12} retired\./);
  expect(rotated.code).toBe(0);
  expect(await millrace.must('test_connector', { connector: 'shop' })).toMatchObject({ ok: true });
  await millrace.must('rotate_secret', { connector: 'shop', field: 'password', value: 'first' });
  const doctor = await program(['doctor', '--data-dir', dataDir], { env: { MILLRACE_FIRST: 'first' } });
  expect(doctor.out).toContain('✓ secrets: every stored secret has its key');
  expect(doctor.out).toMatch(/✓ audit log: \d+ entries, each as it was written/);
  expect(doctor.code).toBe(0);
  const refused = await program(['key', 'turn', '--data-dir', dataDir]);
  expect(refused.code).toBe(2);
  expect(refused.err).toContain('Usage: millrace key rotate');
});

test('rotations that begin at the same moment take turns, and every secret stays readable', async () => {
  await using world = await shop({});
  const { millrace, dataDir } = world;
  await millrace.must('rotate_secret', { connector: 'shop', field: 'password', value: 'first' });
  const rotations = await Promise.all(
    Array.from({ length: 3 }, () => program(['key', 'rotate', '--data-dir', dataDir])),
  );
  for (const { code, out } of rotations) {
    expect(code, out).toBe(0);
    expect(out).toMatch(/: 1 secrets sealed anew, key [0-9a-f]{12} retired\./);
  }
  expect(await millrace.must('test_connector', { connector: 'shop' })).toMatchObject({ ok: true });
});
