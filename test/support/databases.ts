import { startEmbeddedMysql } from '../../src/cli/embedded-mysql.ts';
import { startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import { type Dialect, dialects, type ServerKind } from './dialects.ts';
import { freshMysql, type MysqlAddress, type MysqlKind, privateMysql } from './mysql.ts';
import { freshDatabase } from './postgres.ts';

export type Row = Readonly<Record<string, unknown>>;

/** A session of its own, for transactions: READ COMMITTED, so that a statement locks what it changes and no more. */
export interface Client {
  query(sql: string): Promise<readonly Row[]>;
  /** Ends it; what is open is rolled back by the server. */
  release(): Promise<void>;
}

/** A connector's config, by fields and without TLS. */
export interface ServerConfig {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
  readonly ssl: 'disable';
}

export interface LoginOptions {
  readonly password?: string;
  /** May it read every table of this database, also those that will be made? Default: none. */
  readonly reads?: boolean;
  /** May it see the transactions of others, where that takes a grant? Default: not. */
  readonly watches?: boolean;
}

/** One fresh database on one of the servers, the same to every suite. */
export interface ServerDatabase extends AsyncDisposable {
  readonly kind: ServerKind;
  readonly dialect: Dialect;
  readonly name: string;
  /** A connector's URL that reaches it as administrator. */
  readonly url: string;
  /** A connector's config that reaches it as administrator. */
  readonly config: ServerConfig;
  /** Statements one after the other, in UTC; the rows of the last. */
  run(...statements: readonly string[]): Promise<readonly Row[]>;
  client(): Promise<Client>;
  login(options?: LoginOptions): Promise<{ readonly username: string; readonly password: string }>;
  /** The sessions of a login, as the server sees them. */
  sessions(username: string): Promise<readonly ServerSession[]>;
  /** Ends them as an administrator would. */
  endSessions(username: string): Promise<void>;
  drop(): Promise<void>;
}

export interface ServerSession {
  readonly id: number;
  /** A statement of it is under way. */
  readonly busy: boolean;
}

/** Where databases of one kind come from. */
interface Origin {
  /** A new, empty database on the shared server. */
  readonly fresh: () => Promise<ServerDatabase>;
  /** Databases among which nobody else's transactions are seen. */
  readonly alone: () => Promise<LoneServer>;
  /** A server of its own that has no TLS, and how its superuser logs in. */
  readonly withoutTls: () => Promise<AsyncDisposable & { readonly config: Omit<ServerConfig, 'ssl'> }>;
}

export interface LoneServer extends AsyncDisposable {
  fresh(): Promise<ServerDatabase>;
}

const origins: Readonly<Record<ServerKind, Origin>> = {
  postgresql: {
    fresh: freshOnPostgres,
    // A database of its own is enough: its transactions are not looked for in others.
    alone: async () => ({ fresh: freshOnPostgres, [Symbol.asyncDispose]: async () => undefined }),
    withoutTls: async () => bare(await startEmbeddedPostgres()),
  },
  mysql: ofMysql('mysql'),
  mariadb: ofMysql('mariadb'),
};

export const serverKinds = Object.keys(origins) as readonly ServerKind[];

/** A new, empty database on the shared server of that kind. */
export function freshDatabaseOn(kind: ServerKind): Promise<ServerDatabase> {
  return origins[kind].fresh();
}

/** For tests that say what is guarded by whom: other suites' transactions on a shared server would have their say. */
export function loneServer(kind: ServerKind): Promise<LoneServer> {
  return origins[kind].alone();
}

/** A server of that kind that knows no TLS. */
export function serverWithoutTls(kind: ServerKind): ReturnType<Origin['withoutTls']> {
  return origins[kind].withoutTls();
}

function ofMysql(kind: MysqlKind): Origin {
  return {
    fresh: async () => await freshOnMysql(kind),
    async alone() {
      const server = await privateMysql(kind);
      return {
        fresh: async () => await freshOnMysql(kind, server),
        [Symbol.asyncDispose]: () => server.stop(),
      };
    },
    withoutTls: async () => bare(await startEmbeddedMysql({ kind })),
  };
}

function bare(
  server: AsyncDisposable & { readonly [key in 'host' | 'user' | 'password' | 'database']: string } & {
    readonly port: number;
  },
): Awaited<ReturnType<Origin['withoutTls']>> {
  const { host, port, database, user: username, password } = server;
  return {
    config: { host, port, database, username, password },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function freshOnPostgres(): Promise<ServerDatabase> {
  const database = await freshDatabase();
  const { name, url, config, pool, drop } = database;
  const sessions: ServerDatabase['sessions'] = async (username) => {
    const rows = await pool.query('SELECT pid, state FROM pg_stat_activity WHERE usename = $1', [username]);
    return rows.rows.map(({ pid, state }) => ({ id: Number(pid), busy: state === 'active' }));
  };
  return {
    kind: 'postgresql',
    dialect: dialects.postgresql,
    name,
    url,
    config,
    run: (...statements) => inOrder(statements, (sql) => database.query(sql)),
    async client() {
      const client = await pool.connect();
      return {
        query: async (sql) => (await client.query(sql)).rows as Row[],
        release: async () => client.release(true),
      };
    },
    async login({ password, reads = false } = {}) {
      const login = await database.role(password);
      if (reads) {
        await database.query(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${login.username};
          ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ${login.username}`);
      }
      return login;
    },
    sessions,
    async endSessions(username) {
      await pool.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [
        username,
      ]);
    },
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

async function freshOnMysql(kind: MysqlKind, at?: MysqlAddress): Promise<ServerDatabase> {
  const database = await freshMysql(kind, at);
  const { name, url, config, pool, drop } = database;
  const session = async (): Promise<Client & { keep(): void }> => {
    const connection = await pool.getConnection();
    // Whoever had it before may have set another.
    await connection.query("SET time_zone = '+00:00'");
    return {
      query: async (sql) => {
        const [rows] = await connection.query(sql);
        return Array.isArray(rows) ? (rows as Row[]) : [];
      },
      release: async () => connection.destroy(),
      keep: () => connection.release(),
    };
  };
  const run: ServerDatabase['run'] = async (...statements) => {
    const { query, keep } = await session();
    try {
      return await inOrder(statements, query);
    } finally {
      keep();
    }
  };
  const sessions: ServerDatabase['sessions'] = async (username) => {
    const rows = await run('SHOW FULL PROCESSLIST');
    return rows
      .filter((row) => row['User'] === username)
      .map((row) => ({
        id: Number(row['Id']),
        busy: row['Command'] === 'Query' || row['Command'] === 'Execute',
      }));
  };
  return {
    kind,
    dialect: dialects[kind],
    name,
    url,
    config,
    run,
    async client() {
      const client = await session();
      await client.query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
      return client;
    },
    login: ({ password, reads = false, watches = false } = {}) =>
      database.user({
        grants: reads ? 'select' : 'none',
        process: watches,
        ...(password === undefined ? {} : { password }),
      }),
    sessions,
    async endSessions(username) {
      for (const { id } of await sessions(username)) await run(`KILL ${id}`).catch(() => []);
    },
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

async function inOrder(
  statements: readonly string[],
  query: (sql: string) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  let rows: readonly Row[] = [];
  for (const sql of statements) rows = await query(sql);
  return rows;
}
