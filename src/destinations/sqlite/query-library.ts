import { existsSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import type BetterSqlite from 'better-sqlite3';
import { betterSqlite, sqliteCode } from '../../sqlite.ts';
import { busyMs, openForReading } from './driver.ts';
import { explains, hasStatement } from './read-query.ts';

/**
 * The seam to the library that runs users' SQL. Requests come one at a time and each closes its handle: never do two
 * libraries have the file at once.
 */
export interface QueryHandle {
  /** Null when it is not one statement that answers with rows and changes nothing. Throws what SQLite says of it. */
  reading(sql: string): Reading | null;
  /** The first column of a query of ours. */
  texts(sql: string): readonly string[];
  close(): void;
}

export interface Reading {
  readonly columns: readonly string[];
  /** Integers as bigint. */
  rows(): Iterable<readonly unknown[]>;
}

/** A read-only handle on the file, or null when there is none yet. */
export type OpenForQuery = (file: string) => QueryHandle | null;

/** better-sqlite3, or Node's own library where that one is not. */
export async function loadQuerySqlite(): Promise<OpenForQuery> {
  const Library = await betterSqlite();
  return Library === null ? openByNode : (file) => openByBetter(Library, file);
}

/** What holds besides the read-only handle. */
const guards = ['query_only = ON', 'trusted_schema = OFF', 'cell_size_check = ON'];

function openByBetter(Library: typeof BetterSqlite, file: string): QueryHandle | null {
  const db = opened(Library, file);
  if (db === null) return null;
  for (const guard of guards) db.pragma(guard);
  return {
    reading(sql) {
      // Throws when a second statement stands behind the first.
      const statement = db.prepare(sql);
      if (!statement.reader || !statement.readonly) return null;
      statement.safeIntegers().raw();
      return {
        columns: statement.columns().map(({ name }) => name),
        rows: () => statement.iterate() as Iterable<readonly unknown[]>,
      };
    },
    texts: (sql) => db.prepare(sql).pluck().all() as string[],
    close: () => void db.close(),
  };
}

function opened(Library: typeof BetterSqlite, file: string): BetterSqlite.Database | null {
  try {
    return new Library(file, { readonly: true, fileMustExist: true, timeout: busyMs });
  } catch (error) {
    if (sqliteCode(error).startsWith('SQLITE_CANTOPEN') && !existsSync(file)) return null;
    throw error;
  }
}

/**
 * By Node's own library, which says neither whether a second statement stands behind the first nor whether one writes.
 * SQLite tells both: the text it has kept of a statement ends where the statement does, and EXPLAIN shows the program
 * that will run, in which `sqlite3_stmt_readonly` looks for the same instructions.
 */
export const openByNode: OpenForQuery = (file) => {
  const db = openForReading(file) as DatabaseSync | null;
  if (db === null) return null;
  for (const guard of guards) db.exec(`PRAGMA ${guard}`);
  return {
    reading(sql) {
      const statement = db.prepare(sql);
      const columns = statement.columns().map(({ name }) => name);
      if (columns.length === 0 || hasStatement(sql.slice(statement.sourceSQL.length))) return null;
      if (!explains(sql) && !onlyReads(db, sql)) return null;
      statement.setReadBigInts(true);
      statement.setReturnArrays(true);
      return { columns, rows: () => statement.iterate() as unknown as Iterable<readonly unknown[]> };
    },
    texts: (sql) =>
      db
        .prepare(sql)
        .all()
        .map((row) => String(Object.values(row)[0])),
    close: () => db.close(),
  };
};

/** Where a write begins, and what `sqlite3_stmt_readonly` counts besides; a parameter would be NULL here, unasked. */
function onlyReads(db: DatabaseSync, sql: string): boolean {
  const program = db.prepare(`EXPLAIN ${sql}`).all() as { readonly opcode: string; readonly p2: number }[];
  return program.every(
    ({ opcode, p2 }) =>
      !['Checkpoint', 'Vacuum', 'JournalMode', 'Variable'].includes(opcode) &&
      (opcode !== 'Transaction' || p2 === 0),
  );
}
