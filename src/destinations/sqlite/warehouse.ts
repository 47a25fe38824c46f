import { statSync } from 'node:fs';
import { asMillraceError, MillraceError } from '../../core/errors.ts';
import { suggestion } from '../../core/nearest.ts';
import type { Warehouse } from '../warehouse.ts';
import { readStates, readTables } from './catalogue.ts';
import { type Database, guarded, openForReading } from './driver.ts';
import { isCurrent, versionOf } from './meta.ts';
import { createQueryProcesses, type QueryOutcome } from './query-process.ts';
import { countRejects, readRejects } from './reject-list.ts';

/** Long work on the file, dropping a connector's tables or checking it, may take this long. */
const maintenanceMs = 30 * 60_000;

const older = Symbol('a file of an older version');

/** What has landed at `file`, which need not exist yet. */
export function openSqliteWarehouse(file: string): Warehouse {
  const processes = createQueryProcesses();
  let handle: Database | null = null;

  const read = <T>(empty: T, work: (db: Database, version: number) => T): T =>
    guarded(file, () => {
      handle ??= openForReading(file);
      // A file that another process has just begun to make has no tables yet.
      const version = handle === null ? 0 : versionOf(handle, file);
      return handle === null || version === 0 ? empty : work(handle, version);
    });

  /** The same for what only newer files have: an older one is brought up to date first. */
  const readCurrent = async <T>(empty: T, work: (db: Database) => T): Promise<T> => {
    const found = read<T | typeof older>(empty, (db, version) => (isCurrent(version) ? work(db) : older));
    if (found !== older) return found as T;
    await processes.ask({ do: 'prepare', file }, maintenanceMs);
    return read(empty, work);
  };

  return {
    tables: (filter) => read([], (db) => readTables(db, filter)),
    states: (connector) => read([], (db) => readStates(db, connector)),
    rejects: (filter, page) => readCurrent({ items: [] }, (db) => readRejects(db, filter, page)),
    rejectCounts: (connector) => readCurrent([], (db) => countRejects(db, connector)),
    async query(sql, caps, signal) {
      const begun = performance.now();
      const outcome = (await processes.ask(
        { do: 'query', file, sql, caps },
        caps.timeoutMs,
        signal,
      )) as QueryOutcome;
      if ('refused' in outcome) throw refused(outcome);
      if ('sqlError' in outcome) throw wrong(outcome.sqlError, outcome.names);
      return { ...outcome, elapsed_ms: Math.round(performance.now() - begun) };
    },
    async drop(connector) {
      if (read(false, () => true)) await processes.ask({ do: 'drop', file, connector }, maintenanceMs);
    },
    unreadable: () => readCurrent(null, () => null).catch(asMillraceError),
    problem: async () => (await processes.ask({ do: 'check', file }, maintenanceMs)) as string | null,
    sizeBytes: () => sizeOf(file) + sizeOf(`${file}-wal`),
    async [Symbol.asyncDispose]() {
      handle?.close();
      await processes[Symbol.asyncDispose]();
    },
  };
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function refused({ refused, hint }: { readonly refused: string; readonly hint?: string }): MillraceError {
  return new MillraceError('query_rejected', refused, {
    hint:
      hint ??
      "Write one SELECT in SQLite's dialect, e.g. SELECT count(*) FROM shop__orders; describe_data shows the tables.",
    nextActions: [{ tool: 'describe_data', arguments: {}, why: 'shows tables and columns' }],
  });
}

/** SQLite's own words where they mean little to who wrote the query. */
function plainly(message: string): string {
  if (message === 'string or blob too big') return 'a value of the result is too large for SQLite';
  if (message.includes('parameter')) return 'the SQL has a parameter (?, :name) and nothing fills it';
  return `SQLite: ${message.slice(0, 300)}`;
}

function wrong(message: string, names: readonly string[]): MillraceError {
  const missing = /no such (?:column|table): (.+)$/.exec(message)?.[1]?.split('.').at(-1);
  return new MillraceError('query_rejected', plainly(message), {
    hint:
      missing === undefined
        ? "Correct the SQL (SQLite's dialect) and call again."
        : `${suggestion(missing, names)} Names with other than lower-case letters, digits and "_" stand in double quotes.`,
    nextActions: [{ tool: 'describe_data', arguments: {}, why: 'shows tables and columns' }],
  });
}
