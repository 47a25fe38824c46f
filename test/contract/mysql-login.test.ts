import { createServer } from 'node:net';
import { createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EmbeddedMysql, startEmbeddedMysql } from '../../src/cli/embedded-mysql.ts';
import type { Session } from '../../src/connectors/mysql/session.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import { mysqlKinds, privateMysql } from '../support/mysql.ts';
import { testTls } from '../support/postgres-tls.ts';
import { openSession } from './mysql-types-support.ts';

/** Who gets in, how, and what is said to whom does not: each hint that can be tried is tried. */

const oddPassword = `pä ss"'\\\u0001😀`;

/** A session's answer to who is there, or the error. */
async function attempt(
  config: object,
): Promise<MillraceError | { readonly account: string; readonly ssl: boolean }> {
  let session: (Session & AsyncDisposable) | undefined;
  try {
    session = await openSession(config);
    const { account, ssl } = session.server;
    return { account, ssl };
  } catch (error) {
    return error as MillraceError;
  } finally {
    await session?.[Symbol.asyncDispose]();
  }
}

describe.each(mysqlKinds)('%s', (kind) => {
  let secure: EmbeddedMysql;
  let plain: EmbeddedMysql;
  let admin: Awaited<ReturnType<typeof createConnection>>;

  beforeAll(async () => {
    [secure, plain] = await Promise.all([
      privateMysql(kind, { databases: ['shop'] }),
      startEmbeddedMysql({ kind, databases: ['shop'] }),
    ]);
    const { host, port, user, password } = secure;
    admin = await createConnection({ host, port, user, password, database: 'shop', charset: 'utf8mb4' });
    await admin.query('CREATE TABLE orders (id int PRIMARY KEY, pay int)');
  }, 120_000);

  afterAll(async () => {
    admin?.destroy();
    await Promise.all([secure?.stop(), plain?.stop()]);
  });

  const configOf = (server: EmbeddedMysql, more: object = {}): object => ({
    host: server.host,
    port: server.port,
    database: 'shop',
    username: server.user,
    password: server.password,
    ...more,
  });
  const login = async (name: string, rule: string): Promise<object> => {
    await admin.query(`CREATE USER ${name}@'%' ${rule}`);
    return configOf(secure, { username: name, password: oddPassword, ssl: 'disable' });
  };
  /** The SQL that a hint asks an administrator to run, with the new password in place of the dots. */
  const carryOut = async ({ hint }: MillraceError): Promise<void> => {
    const sql = hint.match(/(?:GRANT|ALTER|CREATE|SET GLOBAL) [^;]+;/g) ?? [];
    expect(sql.length, hint).toBeGreaterThan(0);
    for (const statement of sql) await admin.query(statement.replace("'…'", '?').slice(0, -1), [oddPassword]);
  };

  describe('TLS', () => {
    const authority = { ca: testTls.ca };
    test.each([
      ['disable', 'without more', {}, false],
      ['prefer', 'without more', {}, true],
      ['require', 'without more', {}, true],
      ['require', 'and the authority', authority, true],
      ['require', 'and another authority', { ca: testTls.cert }, 'tls_failed'],
      ['verify-ca', 'and the authority', authority, true],
      ['verify-ca', 'without an authority', {}, 'tls_failed'],
      ['verify-full', 'by address', authority, true],
      ['verify-full', 'by name', { ...authority, host: 'localhost' }, true],
      [
        'verify-full',
        'by an address that the certificate is not for',
        { ...authority, host: '::ffff:127.0.0.1' },
        'tls_failed',
      ],
      ['verify-full', 'without an authority', {}, 'tls_failed'],
      ['verify-full', 'with an authority that is none', { ca: 'nonsense' }, 'tls_failed'],
    ])('ssl %s %s', async (ssl, _, more, outcome) => {
      const found = await attempt(configOf(secure, { ssl, ...more }));
      expect(found).toMatchObject(typeof outcome === 'string' ? { code: outcome } : { ssl: outcome });
    });

    test('without TLS there: prefer goes without, require says what mends it', async () => {
      expect(await attempt(configOf(plain, { ssl: 'prefer' }))).toMatchObject({ ssl: false });
      expect(await attempt(configOf(plain, { ssl: 'require' }))).toMatchObject({
        code: 'tls_failed',
        hint: expect.stringContaining('"ssl": "disable"'),
      });
    });

    test('a server that takes secure connections only: prefer gets in, disable is told "ssl": "require"', async () => {
      await admin.query('SET GLOBAL require_secure_transport = ON');
      try {
        expect(await attempt(configOf(secure))).toMatchObject({ ssl: true });
        const refused = await attempt(configOf(secure, { ssl: 'disable' }));
        // MariaDB only says that access is denied.
        expect(refused).toMatchObject({
          code: kind === 'mysql' ? 'tls_failed' : 'auth_failed',
          hint: expect.stringContaining('"ssl": "require"'),
        });
      } finally {
        await admin.query('SET GLOBAL require_secure_transport = OFF');
      }
    });

    test('a login that must come by TLS is told so', async () => {
      const config = await login('careful', `IDENTIFIED BY ${admin.escape(oddPassword)} REQUIRE SSL`);
      await admin.query("GRANT SELECT ON shop.* TO careful@'%'");
      expect(await attempt(config)).toMatchObject({
        code: 'auth_failed',
        hint: expect.stringContaining('"ssl": "require"'),
      });
      expect(await attempt({ ...config, ssl: 'require' })).toMatchObject({ ssl: true });
    });
  });

  test('a session says goodbye, also over TLS: the server counts no client that went away', async () => {
    const aborted = async (): Promise<unknown> =>
      (await admin.query("SHOW GLOBAL STATUS LIKE 'Aborted_clients'"))[0];
    const before = await aborted();
    for (const ssl of ['disable', 'require', 'require'])
      expect(await attempt(configOf(secure, { ssl }))).toMatchObject({ ssl: ssl === 'require' });
    expect(await aborted()).toEqual(before);
  });

  describe('passwords', () => {
    const plugins =
      kind === 'mysql' ? ['caching_sha2_password', 'sha256_password'] : ['mysql_native_password'];
    test.each(plugins)('%s: with TLS and without, known to the server’s cache and not', async (plugin) => {
      const rule =
        kind === 'mysql'
          ? `IDENTIFIED WITH ${plugin} BY ${admin.escape(oddPassword)}`
          : `IDENTIFIED VIA ${plugin} USING PASSWORD(${admin.escape(oddPassword)})`;
      const config = await login(`by_${plugin.slice(0, 10)}`, rule);
      await admin.query(`GRANT SELECT ON shop.* TO by_${plugin.slice(0, 10)}@'%'`);
      for (const ssl of ['disable', 'disable', 'prefer', 'require']) {
        if (ssl === 'require') await admin.query('FLUSH PRIVILEGES');
        expect(await attempt({ ...config, ssl }), ssl).toMatchObject({
          account: expect.stringMatching(/^by_.*@%$/),
        });
      }
      expect(await attempt({ ...config, password: 'wrong' })).toMatchObject({
        code: 'auth_failed',
        retryable: false,
      });
      expect(await attempt({ ...config, password: '' })).toMatchObject({
        code: 'auth_failed',
        retryable: false,
      });
      expect(await attempt({ ...config, ssl: 'require', password: 'wrong' })).toMatchObject({
        code: 'auth_failed',
      });
    });

    test('a login that is not there', async () => {
      const error = await attempt(configOf(secure, { username: 'nobody', password: 'canary-7f3a' }));
      expect(error).toMatchObject({
        code: 'auth_failed',
        message: 'The server refused the login of "nobody".',
      });
      expect(JSON.stringify(error)).not.toContain('canary');
    });

    test.each([
      ['locked', 'ACCOUNT LOCK', /locked/],
      ['expired', 'PASSWORD EXPIRE', /expired/],
    ])('an account that is %s: the hint mends it', async (name, rule, words) => {
      const config = await login(name, `IDENTIFIED BY ${admin.escape(oddPassword)} ${rule}`);
      await admin.query(`GRANT SELECT ON shop.* TO ${name}@'%'`);
      const error = (await attempt(config)) as MillraceError;
      expect(error).toMatchObject({ code: 'auth_failed', message: expect.stringMatching(words) });
      await carryOut(error);
      expect(await attempt(config)).toMatchObject({ account: `${name}@%` });
    });
  });

  describe('rights', () => {
    test('no right on the database, then on the table, then on a column: each hint mends it', async () => {
      const config = await login('fresh', `IDENTIFIED BY ${admin.escape(oddPassword)}`);
      const error = (await attempt(config)) as MillraceError;
      expect(error).toMatchObject({ code: 'permission_denied' });
      await carryOut(error);
      expect(await attempt(config)).toMatchObject({ account: 'fresh@%' });

      await admin.query("REVOKE SELECT ON shop.* FROM fresh@'%'");
      await admin.query("GRANT CREATE TEMPORARY TABLES ON shop.* TO fresh@'%'");
      const select = async (sql: string): Promise<unknown> => {
        await using session = await openSession(config);
        return await session.query(sql).catch((refused: unknown) => refused);
      };
      const table = (await select('SELECT COUNT(*) FROM orders')) as MillraceError;
      expect(table).toMatchObject({ code: 'permission_denied' });
      await carryOut(table);
      expect(await select('SELECT COUNT(*) FROM orders')).toEqual([['0']]);

      await admin.query("REVOKE SELECT ON shop.orders FROM fresh@'%'");
      await admin.query("GRANT SELECT (id) ON shop.orders TO fresh@'%'");
      const column = (await select('SELECT COUNT(pay) FROM orders')) as MillraceError;
      expect(column).toMatchObject({
        code: 'permission_denied',
        hint: expect.stringContaining('GRANT SELECT (`pay`)'),
      });
      await carryOut(column);
      expect(await select('SELECT COUNT(pay) FROM orders')).toEqual([['0']]);
    });

    test('a database that is not there', async () => {
      expect(await attempt(configOf(secure, { database: 'shpo' }))).toMatchObject({
        code: 'not_found_at_source',
        hint: expect.stringContaining('SHOW DATABASES'),
      });
    });

    test('no connection free: for this login, and for all', async () => {
      const config = await login(
        'many',
        `IDENTIFIED BY ${admin.escape(oddPassword)} WITH MAX_USER_CONNECTIONS 1`,
      );
      await admin.query("GRANT SELECT ON shop.* TO many@'%'");
      await using first = await openSession(config);
      const error = (await attempt(config)) as MillraceError;
      expect(error).toMatchObject({ code: 'rate_limited', retryable: true });
      await admin.query("ALTER USER many@'%' WITH MAX_USER_CONNECTIONS 0");
      expect(await attempt(config)).toMatchObject({ account: 'many@%' });
      expect(first.usable).toBe(true);
    });
  });
});

describe('what is no MySQL', () => {
  test.each([
    ['says nothing', ''],
    ['speaks SSH', 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'],
    ['speaks HTTP', 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'],
    ['speaks nonsense', '\u0005\u0000\u0000\u0000abcde'],
  ])('%s', async (_, greeting) => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.write(greeting);
    });
    await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
    const { port } = server.address() as { port: number };
    const began = performance.now();
    const error = (await attempt({
      host: '127.0.0.1',
      port,
      database: 'd',
      username: 'u',
      connect_timeout_ms: 500,
    })) as MillraceError;
    expect(['host_unreachable', 'response_invalid', 'connection_lost']).toContain(error.code);
    expect(error.hint.length).toBeGreaterThan(20);
    expect(performance.now() - began).toBeLessThan(2_000);
    server.close();
  });

  test('hosts outside network.allow are not even asked, and link-local addresses never', async () => {
    const error = await attempt({ host: '169.254.169.254', database: 'd', username: 'u' });
    expect(error).toMatchObject({ code: 'host_not_allowed' });
  });
});
