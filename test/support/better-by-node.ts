import { DatabaseSync } from 'node:sqlite';

/**
 * What tests use of better-sqlite3, by Node's own library: where the program has only that one
 * (without-better-sqlite3.ts), a test in the same process may not open the program's file with another (the locks of
 * both would fall).
 */
export default class Database {
  static readonly SqliteError = class SqliteError extends Error {
    readonly code: string;
    constructor(message: string, code: string) {
      super(message);
      this.code = code;
    }
  };
  readonly #db: DatabaseSync;

  constructor(file: string, { readonly = false, timeout = 5000 } = {}) {
    this.#db = new DatabaseSync(file, { readOnly: readonly, timeout });
  }

  get inTransaction(): boolean {
    return this.#db.isTransaction;
  }

  exec(sql: string): void {
    this.#db.exec(sql);
  }

  pragma(text: string, { simple = false } = {}): unknown {
    const rows = this.#db.prepare(`PRAGMA ${text}`).all();
    return simple ? Object.values(rows[0] ?? {})[0] : rows;
  }

  prepare(sql: string): object {
    const statement = this.#db.prepare(sql);
    return Object.assign(statement, {
      reader: statement.columns().length > 0,
      pluck: () => ({
        get: (...values: never[]) => Object.values(statement.get(...values) ?? {})[0],
        all: (...values: never[]) => statement.all(...values).map((row) => Object.values(row)[0]),
      }),
    });
  }

  transaction(work: () => void): () => void {
    return () => {
      this.exec('BEGIN');
      work();
      this.exec('COMMIT');
    };
  }

  close(): void {
    this.#db.close();
  }
}
