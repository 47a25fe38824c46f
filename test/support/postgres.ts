import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import { testTls } from './postgres-tls.ts';

/** Where the shared server is and how its superuser logs in. */
export interface PostgresAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/** One database of the shared server, for one test. */
export interface TestDatabase extends AsyncDisposable {
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
  readonly pool: pg.Pool;
  /** Rows of one statement, or of the last one of several; values as `pg` gives them. */
  query(sql: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]>;
  /** A login role with that password and no grants; gone with the database. */
  role(password?: string): Promise<{ readonly username: string; readonly password: string }>;
  drop(): Promise<void>;
}

declare module 'vitest' {
  interface ProvidedContext {
    postgres: PostgresAddress;
  }
}

/** vitest's globalSetup: one server for the whole run, told to every worker. */
export async function setupPostgres(project: TestProject): Promise<() => Promise<void>> {
  const server = await start();
  const { host, port, user, password } = server;
  project.provide('postgres', { host, port, user, password });
  return () => server.stop();
}

let own: Promise<PostgresAddress> | undefined;

/** The shared server; one of this process's own when no globalSetup has provided it. */
async function testPostgres(): Promise<PostgresAddress> {
  const provided = inject('postgres') as PostgresAddress | undefined;
  if (provided) return provided;
  own ??= start();
  return own;
}

/** A new, empty database and the means to fill it. About 30 ms. */
export async function freshDatabase(): Promise<TestDatabase> {
  const server = await testPostgres();
  const name = `t_${randomBytes(6).toString('hex')}`;
  await asAdmin(server, `CREATE DATABASE ${name}`);
  const pool = new pg.Pool({ ...server, database: name, max: 10 });
  // A dropped database or restarted server ends clients, idle or not; the test that did it knows.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const roles: string[] = [];
  const drop = async (): Promise<void> => {
    if (pool.ended) return;
    // Not waited for: a test that failed may hold a client, whose session ends with the database.
    void pool.end();
    await asAdmin(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    for (const role of roles) await asAdmin(server, `DROP ROLE IF EXISTS ${role}`);
  };
  return {
    name,
    url: `postgresql://${server.user}:${server.password}@${server.host}:${server.port}/${name}`,
    config: {
      host: server.host,
      port: server.port,
      database: name,
      username: server.user,
      password: server.password,
      ssl: 'disable',
    },
    pool,
    query: async (sql, values) => {
      const result: pg.QueryResult | readonly pg.QueryResult[] = await pool.query(
        sql,
        values ? [...values] : undefined,
      );
      const last = Array.isArray(result) ? (result.at(-1) as pg.QueryResult) : (result as pg.QueryResult);
      return last.rows as Record<string, unknown>[];
    },
    role: async (password = 'reader-password') => {
      const username = `r_${randomBytes(6).toString('hex')}`;
      roles.push(username);
      await asAdmin(server, `CREATE ROLE ${username} LOGIN PASSWORD ${pg.escapeLiteral(password)}`);
      return { username, password };
    },
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

function start(): ReturnType<typeof startEmbeddedPostgres> {
  return startEmbeddedPostgres({
    ssl: testTls,
    settings: {
      max_connections: '300',
      max_prepared_transactions: '20',
      shared_buffers: '256MB',
      max_wal_size: '4GB',
    },
  });
}

async function asAdmin(server: PostgresAddress, sql: string): Promise<void> {
  const client = new pg.Client({ ...server, database: 'postgres' });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
