import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createConnection } from 'mysql2/promise';
import { describe, expect, test } from 'vitest';
import { startEmbeddedMysql } from '../../src/cli/embedded-mysql.ts';
import { freshMysql, mysqlKinds, privateMysql } from '../support/mysql.ts';
import { testTls } from '../support/postgres-tls.ts';

describe.each(mysqlKinds)('embedded %s', (kind) => {
  test('starts, restarts on the same port with its data, and leaves nothing behind', async () => {
    const server = await privateMysql(kind, { databases: ['odd `name`'] });
    try {
      expect(await ask(server.url, 'SELECT DATABASE() AS v')).toBe('odd `name`');
      expect(String(await ask(server.url, 'SELECT VERSION() AS v')).includes('MariaDB')).toBe(
        kind === 'mariadb',
      );
      await ask(server.url, 'CREATE TABLE kept AS SELECT 42 AS v');
      await server.restart('fast');
      await ask(server.url, 'UPDATE kept SET v = v + 1');
      await server.restart('immediate');
      expect(Number(await ask(server.url, 'SELECT v FROM kept'))).toBe(43);
    } finally {
      await server.stop();
    }
    expect(existsSync(server.dataDir)).toBe(false);
    await server.stop();
  });

  test('a folder that is given is kept and started again, with the same password', async () => {
    // Deeper than a socket's address may be long.
    const dir = join(mkdtempSync(join(tmpdir(), 'millrace-kept-')), 'deep'.repeat(30));
    try {
      const first = await startEmbeddedMysql({ kind, dir });
      await ask(first.url, 'CREATE DATABASE kept');
      await ask(first.url, 'CREATE TABLE kept.t AS SELECT 7 AS v');
      await first.stop();
      const second = await startEmbeddedMysql({ kind, dir });
      expect(Number(await ask(second.url, 'SELECT v FROM kept.t'))).toBe(7);
      expect(second.password).toBe(first.password);
      await second.stop();
    } finally {
      rmSync(join(dir, '..'), { recursive: true, force: true });
    }
  });

  test('TLS with the certificate of the tests', async () => {
    const server = await privateMysql(kind);
    const connection = await createConnection({ ...login(server.url), ssl: { ca: testTls.ca } });
    try {
      const [rows] = await connection.query("SHOW STATUS LIKE 'Ssl_cipher'");
      expect(rows).toMatchObject([{ Value: expect.stringMatching(/./) }]);
    } finally {
      connection.destroy();
      await server.stop();
    }
  });

  test('does not outlive a parent that was killed', async () => {
    const script = `
      const { startEmbeddedMysql } = await import(${JSON.stringify(new URL('../../src/cli/embedded-mysql.ts', import.meta.url).href)});
      const server = await startEmbeddedMysql({ kind: '${kind}' });
      process.stdout.write(server.dataDir + '\\n');
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const dataDir = await new Promise<string>((settle) =>
      parent.stdout.once('data', (chunk) => settle(String(chunk).trim())),
    );
    expect(existsSync(dataDir)).toBe(true);
    parent.kill('SIGKILL');
    for (let i = 0; i < 100 && existsSync(dataDir); i++) await sleep(100);
    expect(existsSync(dataDir)).toBe(false);
  });
});

describe.each(mysqlKinds)('shared %s', (kind) => {
  test('a database of its own, which goes with its users and sessions', async () => {
    const database = await freshMysql(kind);
    const reader = await database.user();
    const stranger = await database.user({ grants: 'none', process: true, password: "quote ' and \\" });
    await database.query('CREATE TABLE t (id bigint unsigned PRIMARY KEY, d date, j json, n decimal(5,2))');
    const rows = await database.query(
      `INSERT INTO t VALUES (18446744073709551615, '2024-02-29', '{"a": 1}', 1.5); SELECT * FROM t`,
    );
    expect(rows).toEqual([{ id: '18446744073709551615', d: '2024-02-29', j: '{"a": 1}', n: '1.50' }]);
    const asReader = await createConnection({
      ...login(database.url),
      user: reader.username,
      password: reader.password,
    });
    const asStranger = await createConnection({
      ...login(database.url),
      user: stranger.username,
      password: stranger.password,
      database: 'information_schema',
    });
    for (const connection of [asReader, asStranger]) connection.on('error', () => {});
    await asReader.beginTransaction();
    await asReader.query('SELECT * FROM t');
    await expect(asReader.query('DELETE FROM t')).rejects.toMatchObject({
      code: 'ER_TABLEACCESS_DENIED_ERROR',
    });
    await expect(asStranger.query(`SELECT * FROM ${database.name}.t`)).rejects.toMatchObject({
      code: 'ER_TABLEACCESS_DENIED_ERROR',
    });
    const held = await database.pool.getConnection();
    await held.beginTransaction();
    await held.query('SELECT * FROM t');
    await database.drop();
    await using other = await freshMysql(kind);
    expect(
      await other.query('SELECT 1 FROM information_schema.schemata WHERE schema_name = ?', [database.name]),
    ).toEqual([]);
    expect(
      await other.query('SELECT user FROM mysql.user WHERE user IN (?)', [
        [reader.username, stranger.username],
      ]),
    ).toEqual([]);
  });

  test('knows the zones that tests name, and their summer time', async () => {
    await using database = await freshMysql(kind);
    expect(
      await database.query(
        `SELECT CONVERT_TZ('2024-03-31 00:59:59', 'UTC', 'Europe/Berlin') AS a,
                CONVERT_TZ('2024-03-31 01:00:00', 'UTC', 'Europe/Berlin') AS b,
                CONVERT_TZ('2024-07-01 00:00:00', 'UTC', 'Australia/Lord_Howe') AS c,
                CONVERT_TZ('2024-01-01 00:00:00', 'UTC', 'America/New_York') AS d`,
      ),
    ).toEqual([
      {
        a: '2024-03-31 01:59:59',
        b: '2024-03-31 03:00:00',
        c: '2024-07-01 10:30:00',
        d: '2023-12-31 19:00:00',
      },
    ]);
  });

  test('nobody logs in without a password', async () => {
    await using database = await freshMysql(kind);
    expect(await database.query("SELECT user FROM mysql.user WHERE user = ''")).toEqual([]);
    await expect(ask(database.url.replace(/:[^:@]*@/, ':wrong@'), 'SELECT 1 AS v')).rejects.toMatchObject({
      code: 'ER_ACCESS_DENIED_ERROR',
    });
    await expect(ask(database.url.replace(/:[^:@]*@/, '@'), 'SELECT 1 AS v')).rejects.toMatchObject({
      code: 'ER_ACCESS_DENIED_ERROR',
    });
  });
});

function login(url: string): {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
} {
  const { hostname, port, username, password, pathname } = new URL(url);
  return {
    host: hostname,
    port: Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
  };
}

async function ask(url: string, sql: string): Promise<unknown> {
  const connection = await createConnection(login(url));
  try {
    const [rows] = await connection.query(sql);
    return Array.isArray(rows) ? (rows[0] as { readonly v?: unknown } | undefined)?.v : undefined;
  } finally {
    connection.destroy();
  }
}
