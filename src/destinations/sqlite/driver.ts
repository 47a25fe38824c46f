import { existsSync } from 'node:fs';
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { MillraceError } from '../../core/errors.ts';
import { nodeSqlite, sqliteCode } from '../../sqlite.ts';

/**
 * The seam to the SQLite library: everything else in this folder sees these few names. Node's own, because it binds a
 * row of 13 values in 1.2 µs where better-sqlite3 needs 1.9 (of 4: 0.49 against 0.60), and binding is what bounds a load.
 *
 * Two SQLite libraries must never open one file in one process: closing a handle of one drops the other's POSIX locks
 * (sqlite.org, "How To Corrupt An SQLite Database File"). This one has the warehouse; better-sqlite3, where it is there,
 * has the store, and users' queries in a process of their own.
 */
export interface Database {
  readonly isOpen: boolean;
  readonly isTransaction: boolean;
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}

export interface Statement {
  run(...values: readonly unknown[]): { readonly changes: number };
  /** The first row, columns by name; undefined when there is none. */
  get(...values: readonly unknown[]): unknown;
  all(...values: readonly unknown[]): unknown[];
}

/** A function of one value for SQL, which has no other effect; integers reach it as bigint. */
export function defineFunction(db: Database, name: string, work: (value: unknown) => SQLInputValue): void {
  const options = { deterministic: true, useBigIntArguments: true };
  (db as unknown as DatabaseSync).function(name, options, work);
}

/** One value that a PRAGMA answers with, as text; empty when it answers nothing. */
export function pragma(db: Database, text: string): string {
  const row = db.prepare(`PRAGMA ${text}`).get() as Readonly<Record<string, unknown>> | undefined;
  return String(Object.values(row ?? {})[0] ?? '');
}

/** All of `work` or nothing, beginning with the right to write. */
export function transaction<T>(db: Database, work: () => T): T {
  db.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    db.exec('COMMIT');
    return result;
  } catch (error) {
    // Some errors (a full disk) have rolled back already.
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** How long a statement waits for another process's transaction; ours last some milliseconds each. */
export const busyMs = 10_000;
/** 8 KiB pages measured 5% faster than 4 KiB on wide rows and no slower on narrow ones. */
const pageSize = 8192;
/**
 * Pages in the write-ahead log before it is moved into the file: 40,000 of 8 KiB, 330 MB. The load waits for the disk
 * while that happens: with 8,000 pages a million narrow rows took 1.07 s to write, with these 0.79. After each run the
 * log is emptied, when the run has been reported already.
 */
const walPages = 40_000;

/** A writing handle on the warehouse. Throws `data_dir_unusable`, `destination_failed`. */
export function openForWriting(file: string): Database {
  return guarded(file, () => {
    const db = opened(file, false);
    try {
      pragma(db, `page_size = ${pageSize}`);
      retryBusy(() => pragma(db, 'journal_mode = WAL'));
      // NORMAL: a commit survives a killed process; after a power cut the last ones may be gone, with their cursor.
      pragma(db, 'synchronous = NORMAL');
      pragma(db, `wal_autocheckpoint = ${walPages}`);
      // 4 MB: what a load touches again is few pages, and 16 MB measured slower (211k against 221k wide rows/s) and 20 MB larger.
      pragma(db, 'cache_size = -4000');
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  });
}

/**
 * Closes a writing handle and empties the write-ahead log into the file: SQLite does that by itself only when nobody else
 * has the file open, and the server always has. Does without when a reader is in the way: the next one comes by.
 */
export function closeWriting(db: Database): void {
  if (!db.isOpen) return;
  try {
    if (db.isTransaction) db.exec('ROLLBACK');
    pragma(db, 'busy_timeout = 0');
    pragma(db, 'wal_checkpoint(TRUNCATE)');
  } catch {
    // A full disk or a reader: everything that was committed is in the log and stays valid there.
  } finally {
    db.close();
  }
}

/** A reading handle, or null when nothing has landed yet. */
export function openForReading(file: string): Database | null {
  return guarded(file, () => {
    try {
      const db = opened(file, true);
      pragma(db, 'query_only = ON');
      return remembering(db);
    } catch (error) {
      if (sqliteCode(error).startsWith('SQLITE_CANTOPEN') && !existsSync(file)) return null;
      throw error;
    }
  });
}

/** Above this the texts differ with every call (names of tables are in them). */
const statementsMax = 100;

/** The same handle, preparing each text once: whoever asks how things are has this read again and again. */
function remembering(db: Database): Database {
  const known = new Map<string, Statement>();
  const prepare = db.prepare.bind(db);
  db.prepare = (sql) => {
    const before = known.get(sql);
    if (before !== undefined) return before;
    if (known.size >= statementsMax) known.clear();
    const statement = prepare(sql);
    known.set(sql, statement);
    return statement;
  };
  return db;
}

/** The library's own handle does all that we ask of one; only its types are narrower where values are bound. */
function opened(file: string, readOnly: boolean): Database {
  const { DatabaseSync } = nodeSqlite();
  return new DatabaseSync(file, { readOnly, timeout: busyMs }) as unknown as Database;
}

/** Switching to WAL does not wait for the busy timeout when two processes make the file at once. */
function retryBusy(work: () => void): void {
  const until = Date.now() + 5_000;
  for (;;) {
    try {
      work();
      return;
    } catch (error) {
      if (!sqliteCode(error).startsWith('SQLITE_BUSY') || Date.now() > until) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

/** True when the statement failed because of one row's values, so that the others can still land. */
export function isAboutOneRow(error: unknown): boolean {
  const code = sqliteCode(error);
  if (code === 'SQLITE_TOOBIG' || code === 'SQLITE_MISMATCH' || code.startsWith('SQLITE_CONSTRAINT'))
    return true;
  // The library refuses what it cannot bind (a bigint beyond 64 bit, a string beyond the limit) before SQLite sees it.
  return error instanceof RangeError || error instanceof TypeError;
}

/** Runs work on the file and gives SQLite's errors our codes; what is not SQLite's passes through. */
export function guarded<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw asDestinationError(error, file);
  }
}

function asDestinationError(error: unknown, file: string): unknown {
  const code = sqliteCode(error);
  if (code === '' || error instanceof MillraceError) return error;
  if (code === 'SQLITE_FULL') {
    return new MillraceError('disk_full', `No space is left to write ${file}.`, {
      hint: 'Free space on that disk (`df -h` shows it); the run then goes on from the last committed batch.',
      cause: error,
    });
  }
  if (code.startsWith('SQLITE_BUSY')) {
    return new MillraceError('destination_busy', `${file} is held by another program.`, {
      hint: 'Close the program that keeps the file in a transaction (a SQLite browser, a frozen process?); the run tries again by itself.',
      cause: error,
    });
  }
  const { what, hint } = troubles.find(({ prefix }) => code.startsWith(prefix)) ?? {
    what: 'could not be used',
    hint: 'Run `millrace doctor`; the log on stderr has the cause.',
  };
  return new MillraceError('destination_failed', `${file} ${what} (${code}).`, { hint, cause: error });
}

const troubles = [
  {
    prefix: 'SQLITE_READONLY',
    what: 'cannot be written',
    hint: 'Give this user write permission on the file and its folder, or start with --data-dir naming a folder that it owns.',
  },
  {
    prefix: 'SQLITE_CANTOPEN',
    what: 'cannot be opened',
    hint: 'Give this user permission on the file and its folder, or start with --data-dir naming a folder that it owns.',
  },
  {
    prefix: 'SQLITE_NOTADB',
    what: 'is not a SQLite database',
    hint: 'Move that file away; a new one is made, and sync_connector with full_refresh: true fills it again.',
  },
  {
    prefix: 'SQLITE_CORRUPT',
    what: 'is damaged',
    hint: 'Put a backup of the file in its place, or move it away and run sync_connector with full_refresh: true.',
  },
  {
    prefix: 'SQLITE_IOERR',
    what: 'could not be read or written',
    hint: 'Look for a full or failing disk (`df -h`, the system log); the data folder has to be on a local disk.',
  },
] as const;
