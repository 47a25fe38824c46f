import { existsSync } from 'node:fs';
import BetterSqlite from 'better-sqlite3';
import { MillraceError } from '../../core/errors.ts';

/**
 * The seam to the SQLite library: everything else in this folder sees these few names. Two SQLite libraries must
 * never open one file in one process: closing a handle of one drops the other's POSIX locks (sqlite.org, "How To
 * Corrupt An SQLite Database File").
 */
export type Database = BetterSqlite.Database;
export type Statement = BetterSqlite.Statement;

/** How long a statement waits for another process's transaction; ours last some milliseconds each. */
const busyMs = 10_000;
/** 8 KiB pages measured 5% faster than 4 KiB on wide rows and no slower on narrow ones. */
const pageSize = 8192;
/**
 * Pages in the write-ahead log before it is moved into the file: 8,000 of 8 KiB, 64 MB. SQLite's 1,000 makes a bulk
 * load wait for the disk sixteen times as often; the log never grows much beyond this.
 */
const walPages = 8000;

/** A writing handle on the warehouse. Throws `data_dir_unusable`, `destination_failed`. */
export function openForWriting(file: string): Database {
  return guarded(file, () => {
    const db = new BetterSqlite(file, { timeout: busyMs });
    try {
      db.pragma(`page_size = ${pageSize}`);
      retryBusy(() => db.pragma('journal_mode = WAL'));
      // NORMAL: a commit survives a killed process; after a power cut the last ones may be gone, with their cursor.
      db.pragma('synchronous = NORMAL');
      db.pragma(`wal_autocheckpoint = ${walPages}`);
      // 4 MB: what a load touches again is few pages, and 16 MB measured slower (211k against 221k wide rows/s) and 20 MB larger.
      db.pragma('cache_size = -4000');
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
  if (!db.open) return;
  try {
    if (db.inTransaction) db.exec('ROLLBACK');
    db.pragma('busy_timeout = 0');
    db.pragma('wal_checkpoint(TRUNCATE)');
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
      const db = new BetterSqlite(file, { readonly: true, fileMustExist: true, timeout: busyMs });
      db.pragma('query_only = ON');
      return db;
    } catch (error) {
      if (codeOf(error).startsWith('SQLITE_CANTOPEN') && !existsSync(file)) return null;
      throw error;
    }
  });
}

/** Switching to WAL does not wait for the busy timeout when two processes make the file at once. */
function retryBusy(work: () => void): void {
  const until = Date.now() + 5_000;
  for (;;) {
    try {
      work();
      return;
    } catch (error) {
      if (!codeOf(error).startsWith('SQLITE_BUSY') || Date.now() > until) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

/** SQLite's own code of an error, `''` when it is none of SQLite's. */
export function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : '';
}

/** True when the statement failed because of one row's values, so that the others can still land. */
export function isAboutOneRow(error: unknown): boolean {
  const code = codeOf(error);
  if (code === 'SQLITE_TOOBIG' || code === 'SQLITE_MISMATCH' || code.startsWith('SQLITE_CONSTRAINT'))
    return true;
  // better-sqlite3 refuses what it cannot bind (a bigint beyond 64 bit, a string beyond the limit) before SQLite sees it.
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
  const code = codeOf(error);
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
