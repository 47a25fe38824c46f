import { randomBytes } from 'node:crypto';
import { type Connection, createConnection, createPool, type Pool } from 'mysql2/promise';
import { type EmbeddedMysqlOptions, startEmbeddedMysql } from '../../src/cli/embedded-mysql.ts';
import { type MysqlKind, mysqlProgram } from '../../src/cli/embedded-mysql-binaries.ts';
import { loadTimeZones } from './mysql-time-zones.ts';
import { testTls } from './postgres-tls.ts';
import { startedServer } from './starter.ts';

export type { MysqlKind };

/** Every kind, for suites that ask both the same questions. */
export const mysqlKinds: readonly MysqlKind[] = ['mysql', 'mariadb'];

/** Where a shared server is and how its superuser logs in. */
export interface MysqlAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** As the server says: `9.7.4-2`, `10.11.18-MariaDB-0+deb12u1`. */
  readonly version: string;
}

export interface UserOptions {
  /** On this database. Default: `select`. */
  readonly grants?: 'select' | 'none';
  /** Whether it may see other people's sessions and transactions. Default: no. */
  readonly process?: boolean;
  readonly password?: string;
}

/** One database (utf8mb4) of the shared server of its kind, for one test. */
export interface TestMysql extends AsyncDisposable {
  readonly kind: MysqlKind;
  readonly version: string;
  readonly name: string;
  readonly url: string;
  /** A connector's config that reaches it as superuser, without TLS. */
  readonly config: {
    readonly host: string;
    readonly port: number;
    readonly database: string;
    readonly username: string;
    readonly password: string;
    readonly ssl: 'disable';
  };
  readonly pool: Pool;
  /**
   * Rows of one statement, or of the last one of several: numbers where they are exact, else the server's own text
   * (dates, decimals, json, integers beyond 2^53); Buffers of binary columns.
   */
  query(sql: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]>;
  /** A login with those grants; gone with the database. */
  user(options?: UserOptions): Promise<{ readonly username: string; readonly password: string }>;
  drop(): Promise<void>;
}

const READING = {
  charset: 'utf8mb4',
  dateStrings: true,
  jsonStrings: true,
  supportBigNumbers: true,
  bigNumberStrings: false,
} as const;

/** What global-setup offers: each kind's server, or the one that the environment names. */
export const mysqlStarters = {
  mysql: () => started('mysql'),
  mariadb: () => started('mariadb'),
};

/**
 * Fetches what has to be fetched, once, before the tests and their time limits begin. A failure is told by the first
 * test that needs the server.
 */
export async function fetchMysql(): Promise<void> {
  const wanted = mysqlKinds.filter((kind) => givenUrl(kind) === undefined);
  await Promise.allSettled(wanted.map((kind) => mysqlProgram(kind, { notify, ...releaseOf(kind) })));
}

function givenUrl(kind: MysqlKind): string | undefined {
  return process.env[`MILLRACE_TEST_${kind.toUpperCase()}_URL`] || undefined;
}

const own = new Map<MysqlKind, Promise<MysqlAddress>>();

/** The shared server of that kind; one of this process's own when no globalSetup offers it. */
async function mysqlAddress(kind: MysqlKind): Promise<MysqlAddress> {
  const shared = await startedServer<MysqlAddress>(kind);
  if (shared) return shared;
  const address = own.get(kind) ?? started(kind).then((server) => server.address);
  own.set(kind, address);
  return address;
}

/** A new, empty database and the means to fill it, on the shared server or another. About 10 ms once it is up. */
export async function freshMysql(kind: MysqlKind, at?: MysqlAddress): Promise<TestMysql> {
  const server = at ?? (await mysqlAddress(kind));
  const { host, port, user, password, version } = server;
  // No underscore: in a GRANT it would stand for any character.
  const name = `t${randomBytes(6).toString('hex')}`;
  await asAdmin(server, (admin) => admin.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`));
  const login = { host, port, user, password, database: name };
  const pool = createPool({ ...login, ...READING, connectionLimit: 10, multipleStatements: true });
  const users: string[] = [];
  let dropped = false;
  const drop = async (): Promise<void> => {
    if (dropped) return;
    dropped = true;
    await asAdmin(server, (admin) => dropAll(admin, { name, users }));
    // Not waited for: a test that failed may hold a connection, whose session has just been ended.
    void pool.end().catch(() => {});
  };
  return {
    kind,
    version,
    name,
    url: `mysql://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${host}:${port}/${name}`,
    config: { host, port, database: name, username: user, password, ssl: 'disable' },
    pool,
    query: async (sql, values) => lastRows(await pool.query(sql, values ? [...values] : undefined)),
    user: async ({ grants = 'select', process = false, password: secret = 'reader-password' } = {}) => {
      const username = `r${randomBytes(6).toString('hex')}`;
      users.push(username);
      await asAdmin(server, async (admin) => {
        await admin.query('CREATE USER ? IDENTIFIED BY ?', [username, secret]);
        if (grants === 'select') await admin.query(`GRANT SELECT ON ${name}.* TO ?`, [username]);
        if (process) await admin.query('GRANT PROCESS ON *.* TO ?', [username]);
      });
      return { username, password: secret };
    },
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

/** Another release of Debian has another version of the server: all suites can be run on it. */
function releaseOf(kind: MysqlKind): { readonly release?: string } {
  const release = process.env[`MILLRACE_TEST_${kind.toUpperCase()}_RELEASE`];
  return release === undefined ? {} : { release };
}

/** A server of a test's own, with the certificate of the tests: to be restarted, killed or set up in another way. */
export function privateMysql(
  kind: MysqlKind,
  options: Omit<EmbeddedMysqlOptions, 'kind'> = {},
): ReturnType<typeof startEmbeddedMysql> {
  return startEmbeddedMysql({ kind, ssl: testTls, ...releaseOf(kind), ...options });
}

async function started(
  kind: MysqlKind,
): Promise<{ readonly address: MysqlAddress; readonly stop: () => Promise<void> }> {
  const given = givenUrl(kind);
  const server = given ? null : await privateMysql(kind, { settings: { 'max-connections': '300' }, notify });
  const login = server ?? loginOf(given ?? '');
  const version = await asAdmin(login, async (admin) => {
    await loadTimeZones(admin);
    const [rows] = await admin.query<never[]>('SELECT VERSION() AS v');
    return String((rows[0] as { readonly v: unknown } | undefined)?.v);
  });
  if (/mariadb/i.test(version) !== (kind === 'mariadb'))
    throw new Error(`MILLRACE_TEST_${kind.toUpperCase()}_URL names a server that says it is ${version}.`);
  const { host, port, user, password } = login;
  return { address: { host, port, user, password, version }, stop: async () => server?.stop() };
}

/** stderr: what a reporter writes about is not disturbed. */
function notify(words: string): void {
  process.stderr.write(`${words}\n`);
}

function loginOf(url: string): Omit<MysqlAddress, 'version'> {
  const { hostname, port, username, password } = new URL(url);
  return {
    host: hostname,
    port: port === '' ? 3306 : Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
}

async function asAdmin<T>(
  server: Omit<MysqlAddress, 'version'>,
  work: (admin: Connection) => Promise<T>,
): Promise<T> {
  const { host, port, user, password } = server;
  const admin = await createConnection({ host, port, user, password, ...READING });
  try {
    return await work(admin);
  } finally {
    admin.destroy();
  }
}

/** Ends the sessions first: DROP waits for every transaction that has touched the database, a year if need be. */
async function dropAll(
  admin: Connection,
  what: { readonly name: string; readonly users: readonly string[] },
): Promise<void> {
  await admin.query('SET lock_wait_timeout = 20');
  const [sessions] = await admin.query<never[]>(
    'SELECT id FROM information_schema.processlist WHERE (db = ? OR user IN (?)) AND id <> CONNECTION_ID()',
    [what.name, ['', ...what.users]],
  );
  for (const { id } of sessions as readonly { readonly id: number }[])
    await admin.query(`KILL ${id}`).catch(() => {});
  await admin.query(`DROP DATABASE IF EXISTS ${what.name}`);
  for (const user of what.users) await admin.query('DROP USER IF EXISTS ?', [user]);
}

function lastRows([results, fields]: readonly [unknown, unknown]): readonly Record<string, unknown>[] {
  const several =
    Array.isArray(fields) && fields.some((field) => field === undefined || Array.isArray(field));
  const last = several ? (results as readonly unknown[]).at(-1) : results;
  return Array.isArray(last) ? (last as Record<string, unknown>[]) : [];
}
