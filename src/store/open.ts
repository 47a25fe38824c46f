import { closeSync, constants, openSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kysely } from 'kysely';
import { BREAKER_RULES, type BreakerRules } from '../core/breaker.ts';
import { MillraceError } from '../core/errors.ts';
import { sqliteCode } from '../sqlite.ts';
import { alertStore } from './alerts.ts';
import { auditStore } from './audit.ts';
import { breakerStore } from './breakers.ts';
import { checkStore } from './checks.ts';
import { connectorStore } from './connectors.ts';
import type { Database } from './database.ts';
import { sqliteDialect } from './driver.ts';
import { asStoreError } from './failure.ts';
import { healthFactStore } from './health-facts.ts';
import { leaseStore } from './leases.ts';
import { loadSqlite, type Sqlite } from './library.ts';
import { MIGRATIONS } from './migrations.ts';
import { runStore } from './runs.ts';
import { scheduleStore } from './schedules.ts';
import { secretStore } from './secrets.ts';
import type { Store } from './store.ts';

export interface StoreOptions {
  /** Path of `store.db`; made, readable by this user alone, when it is not there. */
  readonly file: string;
  readonly now: () => Date;
  /** So many bytes of chance, for run ids. */
  readonly random: (bytes: number) => Uint8Array;
  readonly breaker?: BreakerRules;
}

/**
 * Opens the store and brings it up to this version; any number of processes may do so at once. Throws
 * `data_dir_unusable` when the file is another program's, a newer version's, damaged or not writable, `disk_full`.
 */
export async function openStore({
  file,
  now,
  random,
  breaker = BREAKER_RULES,
}: StoreOptions): Promise<Store> {
  const sqlite = await openFile(file);
  const db = new Kysely<Database>({ dialect: sqliteDialect(sqlite, file) });
  return {
    connectors: connectorStore(db, now),
    secrets: secretStore(db, now),
    runs: runStore(db, { now, random, breaker }),
    breakers: breakerStore(db, now),
    audit: auditStore(db, now),
    leases: leaseStore(db, now),
    health: healthFactStore(db),
    checks: checkStore(db, now),
    alerts: alertStore(db, now),
    schedules: scheduleStore(db, { now, random, breaker }),
    problem: async () => {
      const found = String(sqlite.pragma('integrity_check(5)'));
      return found === 'ok' ? null : found;
    },
    sizeBytes: () => sizeOf(file) + sizeOf(`${file}-wal`),
    integrity: async () => {
      const found = sqlite.pragma('quick_check(1)') as string;
      return found === 'ok' ? null : found;
    },
    [Symbol.asyncDispose]: () => db.destroy(),
  };
}

/** How long a statement waits for another process's transaction; ours are over in milliseconds. */
const BUSY_MS = 5_000;

async function openFile(file: string): Promise<Sqlite> {
  const open = await loadSqlite();
  let sqlite: Sqlite | undefined;
  try {
    makePrivate(file);
    const opened = open(file, BUSY_MS);
    sqlite = opened;
    // In one transaction: another process may be making the file between two looks at it.
    transaction(opened, 'begin', () => assertOurs(opened, file));
    await useWriteAheadLog(sqlite);
    // FULL: a commit that was answered survives a power cut. NORMAL could hand an epoch out twice, or forget a
    // secret that the assistant was told is stored; `lightly` (driver.ts) is for what may be undone so.
    sqlite.pragma('synchronous = FULL');
    sqlite.pragma('foreign_keys = ON');
    migrate(sqlite, file);
    return sqlite;
  } catch (error) {
    sqlite?.close();
    throw asStoreError(asFileError(error, file), file);
  }
}

/** SQLite would make the file with the umask's mode, and its `-wal` and `-shm` get the file's. */
function makePrivate(file: string): void {
  closeSync(openSync(file, constants.O_CREAT | constants.O_RDWR, 0o600));
}

/** `Mill` in ASCII: what `PRAGMA application_id` of a store says, and of no other SQLite file. */
const APPLICATION_ID = 0x4d696c6c;

function assertOurs(sqlite: Sqlite, file: string): void {
  const version = sqlite.pragma('user_version') as number;
  const application = sqlite.pragma('application_id') as number;
  const tables = countTables(sqlite);
  if (application !== APPLICATION_ID && (tables > 0 || application !== 0)) {
    throw new MillraceError('data_dir_unusable', `${file} is a database of another program.`, {
      hint: 'Move that file away, or start with `--data-dir` naming another folder.',
    });
  }
  if (version > MIGRATIONS.length) {
    throw new MillraceError(
      'data_dir_unusable',
      `${file} was written by a newer Millrace (store version ${version}; this one knows up to ${MIGRATIONS.length}).`,
      {
        hint: 'Run the newer version (`npx -y millrace@latest`), or start with `--data-dir` naming another folder.',
      },
    );
  }
}

function countTables(sqlite: Sqlite): number {
  const [row] = sqlite.prepare('SELECT count(*) AS tables FROM sqlite_schema').all() as { tables: number }[];
  return row?.tables ?? 0;
}

/**
 * While another process is about to write to a file that is not in this mode yet (it may be changing the mode itself),
 * SQLite answers SQLITE_BUSY after 0 ms, whatever the timeout. Whoever loses asks again and finds the mode changed.
 */
async function useWriteAheadLog(sqlite: Sqlite): Promise<void> {
  const deadline = performance.now() + BUSY_MS;
  for (;;) {
    try {
      sqlite.pragma('journal_mode = WAL');
      return;
    } catch (error) {
      const busy = sqliteCode(error).startsWith('SQLITE_BUSY');
      if (!busy || performance.now() > deadline) throw error;
      await sleep(20);
    }
  }
}

/** Checked and applied under one write lock: the second of two processes waits, then finds nothing to do. */
function migrate(sqlite: Sqlite, file: string): void {
  transaction(sqlite, 'begin immediate', () => {
    assertOurs(sqlite, file);
    const version = sqlite.pragma('user_version') as number;
    if (version === MIGRATIONS.length) return;
    for (const script of MIGRATIONS.slice(version)) sqlite.exec(script);
    sqlite.pragma(`application_id = ${APPLICATION_ID}`);
    sqlite.pragma(`user_version = ${MIGRATIONS.length}`);
  });
}

/** All of `work` or nothing. */
function transaction(sqlite: Sqlite, begin: 'begin' | 'begin immediate', work: () => void): void {
  sqlite.exec(begin);
  try {
    work();
    sqlite.exec('commit');
  } catch (error) {
    // Some errors (a full disk) have rolled back already.
    if (sqlite.inTransaction) sqlite.exec('rollback');
    throw error;
  }
}

/** What the file system said about the file itself, as SQLite would have said it. */
function asFileError(error: unknown, file: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code === 'ENOSPC') return Object.assign(new Error(code), { code: 'SQLITE_FULL' });
  if (
    code === 'EISDIR' ||
    code === 'EACCES' ||
    code === 'EPERM' ||
    code === 'EROFS' ||
    code === 'ENOENT' ||
    code === 'ENOTDIR'
  ) {
    return new MillraceError('data_dir_unusable', `${file} cannot be opened for writing (${code}).`, {
      hint: 'Give this user write permission on the file and its folder, or start with `--data-dir` naming a folder that it owns.',
      cause: error,
    });
  }
  return error;
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}
