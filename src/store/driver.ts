import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type Transaction,
} from 'kysely';
import type { Database } from './database.ts';
import { asStoreError } from './failure.ts';
import type { Sqlite, SqliteStatement } from './library.ts';

/**
 * Kysely's SQLite dialect with three differences. Transactions begin IMMEDIATE: a deferred one that reads and then
 * writes fails with SQLITE_BUSY when another process wrote in between, and no busy timeout helps. Statements
 * are prepared once. What SQLite throws is classified here, the one place where it is met.
 */
export function sqliteDialect(db: Sqlite, file: string): Dialect {
  return {
    createDriver: () => new SqliteDriver(db, file),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new SqliteAdapter(),
    createIntrospector: (kysely) => new SqliteIntrospector(kysely),
  };
}

const lightCommits = 'synchronous = NORMAL';
const safeCommits = 'synchronous = FULL';

/**
 * A transaction whose commit does not wait for the disk, which while rows land may take 60 ms, and all who asked something
 * wait with it. A power cut can undo it together with what came behind it, and nothing before it: a log is written in
 * order (sqlite.org/wal.html). For what the next seconds say anew, and what is made good by doing it again.
 */
export async function lightly<T>(
  db: Kysely<Database>,
  work: (trx: Transaction<Database>) => Promise<T>,
): Promise<T> {
  return db.connection().execute(async (one) => {
    await one.executeQuery(CompiledQuery.raw(`pragma ${lightCommits}`));
    try {
      return await one.transaction().execute(work);
    } finally {
      await one.executeQuery(CompiledQuery.raw(`pragma ${safeCommits}`));
    }
  });
}

class SqliteDriver implements Driver {
  readonly #db: Sqlite;
  readonly #connection: SqliteConnection;

  constructor(db: Sqlite, file: string) {
    this.#db = db;
    this.#connection = new SqliteConnection(db, file);
  }

  async init(): Promise<void> {}

  /** One connection; Kysely queues its users, because the adapter says that there is only one. */
  async acquireConnection(): Promise<DatabaseConnection> {
    return this.#connection;
  }

  async releaseConnection(): Promise<void> {}

  async beginTransaction(): Promise<void> {
    await this.#connection.executeQuery(CompiledQuery.raw('begin immediate'));
  }

  async commitTransaction(): Promise<void> {
    await this.#connection.executeQuery(CompiledQuery.raw('commit'));
  }

  /** SQLite rolls back by itself on a full disk and its like; a second rollback would hide that error behind its own. */
  async rollbackTransaction(): Promise<void> {
    if (this.#db.inTransaction) await this.#connection.executeQuery(CompiledQuery.raw('rollback'));
  }

  async destroy(): Promise<void> {
    this.#db.close();
  }
}

/** Above this the code makes texts that differ with every call, which a cache would only collect. */
const STATEMENTS_MAX = 300;

class SqliteConnection implements DatabaseConnection {
  readonly #db: Sqlite;
  readonly #file: string;
  readonly #statements = new Map<string, SqliteStatement>();

  constructor(db: Sqlite, file: string) {
    this.#db = db;
    this.#file = file;
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    try {
      // A setting changes while it is prepared, and one that was prepared before would change nothing.
      if (query.sql.startsWith('pragma ')) {
        this.#db.pragma(query.sql.slice('pragma '.length));
        return { rows: [] };
      }
      const statement = this.#prepare(query.sql);
      if (statement.reader) return { rows: statement.all(...query.parameters) as R[] };
      const { changes } = statement.run(...query.parameters);
      return { numAffectedRows: BigInt(changes), rows: [] };
    } catch (error) {
      throw asStoreError(error, this.#file);
    }
  }

  /** Results of the store are pages, never streams. */
  streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new TypeError('The store has no streamed queries.');
  }

  #prepare(sql: string): SqliteStatement {
    const known = this.#statements.get(sql);
    if (known) return known;
    if (this.#statements.size >= STATEMENTS_MAX) this.#statements.clear();
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}
