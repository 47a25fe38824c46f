import type BetterSqlite from 'better-sqlite3';
import { betterSqlite, nodeSqlite } from '../sqlite.ts';

/** The seam to the SQLite library: the rest of the store sees these few names. */
export interface Sqlite {
  readonly inTransaction: boolean;
  exec(sql: string): void;
  prepare(sql: string): SqliteStatement;
  /** The one value that a PRAGMA answers with; undefined when it answers nothing. */
  pragma(text: string): unknown;
  close(): void;
}

export interface SqliteStatement {
  /** True when it answers with rows. */
  readonly reader: boolean;
  all(...values: readonly unknown[]): unknown[];
  run(...values: readonly unknown[]): { readonly changes: number | bigint };
}

/** Opens a file that is there; `timeoutMs` is how long a statement waits for another process's transaction. */
export type OpenSqlite = (file: string, timeoutMs: number) => Sqlite;

/** better-sqlite3, or Node's own library where that one is not. */
export async function loadSqlite(): Promise<OpenSqlite> {
  const Library = await betterSqlite();
  return Library === null ? openByNode : (file, timeout) => openByBetter(new Library(file, { timeout }));
}

function openByBetter(db: BetterSqlite.Database): Sqlite {
  return {
    get inTransaction() {
      return db.inTransaction;
    },
    exec: (sql) => void db.exec(sql),
    prepare: (sql) => db.prepare<unknown[]>(sql),
    pragma: (text) => db.pragma(text, { simple: true }),
    close: () => void db.close(),
  };
}

/** The same by Node's own library. */
export const openByNode: OpenSqlite = (file, timeout) => {
  const { DatabaseSync } = nodeSqlite();
  const db = new DatabaseSync(file, { timeout });
  return {
    get inTransaction() {
      return db.isTransaction;
    },
    exec: (sql) => db.exec(sql),
    prepare: (sql) => {
      const statement = db.prepare(sql);
      // What can be bound is narrower in the library's types than what the store's tables hold.
      const { all, run } = statement as unknown as Omit<SqliteStatement, 'reader'>;
      return {
        reader: statement.columns().length > 0,
        all: (...values) => all.apply(statement, values.map(orNull)),
        run: (...values) => run.apply(statement, values.map(orNull)),
      };
    },
    pragma: (text) => Object.values(db.prepare(`PRAGMA ${text}`).get() ?? {})[0],
    close: () => db.close(),
  };
};

/** What better-sqlite3 binds for undefined. */
function orNull(value: unknown): unknown {
  return value ?? null;
}
