import { createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EmbeddedMysql, startEmbeddedMysql } from '../../src/cli/embedded-mysql.ts';
import { mysqlKinds } from '../support/mysql.ts';
import { openMysqlSource as openSource } from './mysql-support.ts';
import { calm, failure, readAll } from './reading-support.ts';

/** Servers with settings that the shared ones cannot have, and a primary with its replica. */

const patience = { timeout: 20_000, interval: 100 };

type Server = Pick<EmbeddedMysql, 'host' | 'port' | 'user' | 'password'>;

async function run(
  server: Server,
  ...statements: readonly string[]
): Promise<readonly Record<string, unknown>[]> {
  const { host, port, user, password } = server;
  const connection = await createConnection({ host, port, user, password });
  try {
    let rows: unknown = [];
    for (const statement of statements) [rows] = await connection.query(statement);
    return Array.isArray(rows) ? (rows as Record<string, unknown>[]) : [];
  } finally {
    await connection.end();
  }
}

const configOf = ({ host, port, user, password }: Server, database: string): Record<string, unknown> => ({
  host,
  port,
  database,
  username: user,
  password,
  ssl: 'disable',
});

describe.each(mysqlKinds)('%s', (kind) => {
  const words =
    kind === 'mysql'
      ? { status: 'SHOW BINARY LOG STATUS', replica: 'REPLICA', source: 'REPLICATION SOURCE', of: 'SOURCE' }
      : { status: 'SHOW MASTER STATUS', replica: 'SLAVE', source: 'MASTER', of: 'MASTER' };

  describe('a server of odd settings', () => {
    let server: EmbeddedMysql;

    beforeAll(async () => {
      server = await startEmbeddedMysql({
        kind,
        databases: ['Shop'],
        settings: {
          'lower-case-table-names': '1',
          'sql-mode': 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES',
          'auto-increment-increment': '3',
        },
      });
      await run(
        server,
        'CREATE TABLE Shop.Orders (ID int AUTO_INCREMENT PRIMARY KEY, "say ""it""" varchar(30), d date)',
        `INSERT INTO Shop.ORDERS VALUES (1, 'a\\b', '2024-00-15')`,
        "CREATE USER reader IDENTIFIED BY 'r'",
        'GRANT SELECT ON shop.* TO reader',
        'GRANT PROCESS ON *.* TO reader',
      );
    }, 180_000);

    afterAll(() => server?.stop());

    test('names without case are found however they are written', async () => {
      await using source = openSource(configOf(server, 'SHOP'));
      for (const table of ['orders', 'Orders', 'sHoP.ORDERS', '`Shop`."Orders"']) {
        const { rows, stream } = await readAll(source, { name: 's', table });
        expect(rows).toEqual([[1, 'a\\b', '2024-00-15']]);
        expect(stream.primaryKey).toEqual(['ID']);
      }
      const { items } = await source.discover({ limit: 10 }, calm);
      expect(items.map(({ table }) => table)).toEqual(['orders']);
      const error = await failure(source.resolve({ name: 's', table: 'ordres' }, calm));
      expect(error.hint).toMatch(/"orders"/);
      expect(error.hint).not.toContain('upper and lower case');
    });

    test('numbers that several servers share out are no order, and the note says so', async () => {
      await using source = openSource(configOf(server, 'shop'));
      const { notes } = await source.resolve({ name: 's', table: 'orders', cursor: 'id' }, calm);
      expect(notes.join(' ')).toMatch(/auto_increment_increment is 3: .*lookback, such as 3000/);
    });

    test('SQL of the user is read under the mode of the server, and dates that no calendar has are possible', async () => {
      await using reader = openSource({
        ...configOf(server, 'shop'),
        username: 'reader',
        password: 'r',
        zero_dates: 'reject',
      });
      const report = await reader.check(
        [{ name: 'q', query: `SELECT "say ""it""", d, 'a\\' AS t FROM "orders"` }],
        calm,
      );
      expect(report.ok).toBe(true);
      expect(report.warnings).toEqual([
        expect.stringMatching(/ANSI_QUOTES .*NO_BACKSLASH_ESCAPES/),
        expect.stringMatching(/"zero_dates" is "reject", so rows with one are kept aside/),
      ]);
    });
  });

  describe('a replica', () => {
    let primary: EmbeddedMysql;
    let replica: EmbeddedMysql;

    beforeAll(async () => {
      const binlog = { 'log-bin': 'bin', 'server-id': '1' };
      primary = await startEmbeddedMysql({ kind, databases: ['shop'], settings: binlog });
      replica = await startEmbeddedMysql({
        kind,
        databases: ['shop'],
        settings: { 'server-id': '2', 'read-only': '1' },
      });
      const [status = {}] = await run(
        primary,
        "CREATE USER copier IDENTIFIED BY 'c'",
        'GRANT REPLICATION SLAVE ON *.* TO copier',
        words.status,
      );
      const { of } = words;
      await run(
        replica,
        `CHANGE ${words.source} TO ${of}_HOST = '${primary.host}', ${of}_PORT = ${primary.port}, ${of}_USER = 'copier',
           ${of}_PASSWORD = 'c', ${of}_LOG_FILE = '${String(status['File'])}', ${of}_LOG_POS = ${String(status['Position'])}
           ${kind === 'mysql' ? ', SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1' : ''}`,
        `START ${words.replica}`,
        "CREATE USER reader IDENTIFIED BY 'r'",
        'GRANT SELECT ON shop.* TO reader',
      );
      await run(primary, 'CREATE TABLE shop.t (id int PRIMARY KEY, at timestamp(6) NULL)');
    }, 180_000);

    afterAll(async () => {
      await replica?.stop();
      await primary?.stop();
    });

    const reader = { username: 'reader', password: 'r' };

    async function warned(login: object = {}): Promise<string> {
      await using source = openSource({ ...configOf(replica, 'shop'), ...login });
      const { warnings } = await source.check([], calm);
      return warnings.filter((text) => /replica|read-only/.test(text)).join(' | ');
    }

    test('is known as one, and its primary as none', async () => {
      await expect.poll(() => run(replica, "SHOW TABLES FROM shop LIKE 't'"), patience).toHaveLength(1);
      // It may first be a second behind: it counts from when a change was made, and a busy machine applies it later.
      await expect
        .poll(() => warned(), patience)
        .toMatch(
          /^This server is a replica: it does not show open transactions of its primary, so a look-back window guards against late commits instead\.$/,
        );
      await using source = openSource(configOf(primary, 'shop'));
      expect((await source.check([], calm)).warnings.join(' ')).not.toMatch(/replica|read-only/);
    });

    test('says how far it is behind', async () => {
      await run(
        replica,
        `STOP ${words.replica}`,
        `CHANGE ${words.source} TO ${words.of}_DELAY = 3600`,
        `START ${words.replica}`,
      );
      await run(primary, 'INSERT INTO shop.t VALUES (1, now(6))');
      await expect.poll(() => warned(), patience).toMatch(/It is \d+ s behind: what was written since comes/);
    });

    test('says that it stands still, and why', async () => {
      await run(replica, `STOP ${words.replica} SQL_THREAD`);
      expect(await warned()).toContain('It stands still (it does not apply what it receives)');
      await run(replica, `START ${words.replica}`, `STOP ${words.replica} IO_THREAD`);
      expect(await warned()).toContain('It stands still (it has no connection to its primary)');
      await run(replica, `START ${words.replica}`);
    });

    test('is suspected by a login that may ask nothing, seen by one with PROCESS; the GRANT that is named answers it', async () => {
      const suspicion = await warned(reader);
      expect(suspicion).toContain('This server is read-only, and the login may not ask');
      await run(replica, 'GRANT PROCESS ON *.* TO reader');
      const seen = await warned(reader);
      expect(seen).toMatch(/^This server is a replica: .* How far it is behind the login may not ask/);
      const [asked = ''] = /GRANT (?:SLAVE MONITOR|REPLICATION CLIENT) [^;]+;/.exec(seen) ?? [];
      expect(suspicion).toContain(asked);
      await run(replica, asked);
      expect(await warned(reader)).not.toContain('may not ask');
    });
  });
});
