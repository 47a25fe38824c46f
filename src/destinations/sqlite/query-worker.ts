/**
 * The process in which users' SQL runs: SQLite cannot be interrupted from outside a statement, a process can be killed.
 * It knows one file, which it opens read-only; it cannot see the store, and its environment is empty.
 */

import { Worker } from 'node:worker_threads';
import { sqliteCode } from '../../sqlite.ts';
import {
  closeWriting,
  type Database,
  guarded,
  isAboutOneRow,
  openForReading,
  openForWriting,
  pragma,
  transaction,
} from './driver.ts';
import { quote } from './layout.ts';
import { prepareWarehouse } from './meta.ts';
import { loadQuerySqlite, type QueryHandle } from './query-library.ts';
import type { QueryAnswer, QueryOutcome, QueryRequest } from './query-process.ts';
import { shapeRows } from './query-rows.ts';
import { isReadQuery } from './read-query.ts';

// Sees what this thread cannot while it is inside a statement: its memory, its disk, the end of who asked.
const watcher = import.meta.url.endsWith('.ts') ? './query-watch-thread.ts' : './query-watch-thread.js';
const watch = new Worker(new URL(watcher, import.meta.url), {
  workerData: { asker: Number(process.argv[2]) },
  resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 },
});
watch.unref();

const openForQuery = await loadQuerySqlite();

process.on('message', (request: QueryRequest) => {
  watch.postMessage(request.do === 'query');
  process.send?.(answer(request));
});
process.on('disconnect', () => process.exit(0));

function answer(request: QueryRequest): QueryAnswer {
  try {
    switch (request.do) {
      case 'query':
        return { id: request.id, result: query(request) };
      case 'drop':
        drop(request);
        return { id: request.id, result: null };
      case 'prepare':
        closeWriting(prepared(request.file));
        return { id: request.id, result: null };
      case 'check':
        return { id: request.id, result: check(request.file) };
      default:
        throw request satisfies never;
    }
  } catch (error) {
    const { message, hint } = error as { readonly message?: string; readonly hint?: string };
    return {
      id: request.id,
      failure: {
        message: message ?? String(error),
        code: sqliteCode(error),
        ...(hint === undefined ? {} : { hint }),
      },
    };
  }
}

function query(request: Extract<QueryRequest, { do: 'query' }>): QueryOutcome {
  const refusal = isReadQuery(request.sql);
  if (refusal !== null) return { refused: refusal };
  const db = guarded(request.file, () => openForQuery(request.file));
  if (db === null) return { refused: 'Nothing has landed yet: run sync_connector first.' };
  try {
    const reading = db.reading(request.sql);
    if (reading === null) return { refused: 'Only one SELECT (or WITH … SELECT) may run here.' };
    return shapeRows(reading, request.caps);
  } catch (error) {
    // The rest is wrong with the file, not with the query.
    if (sqliteCode(error) !== 'SQLITE_ERROR' && !isAboutOneRow(error)) {
      return guarded(request.file, () => {
        throw error;
      });
    }
    return { sqlError: error instanceof Error ? error.message : String(error), names: names(db) };
  } finally {
    db.close();
  }
}

/** What there is, for the hint of a misspelled name. */
function names(db: QueryHandle): readonly string[] {
  return [
    ...db.texts("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"),
    ...db.texts('SELECT DISTINCT landed_as FROM _millrace_columns LIMIT 5000'),
  ];
}

/** A handle on the file, its tables those of this program. */
function prepared(file: string): Database {
  const db = openForWriting(file);
  try {
    guarded(file, () => prepareWarehouse(db, file));
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function drop({ file, connector }: Extract<QueryRequest, { do: 'drop' }>): void {
  const db = prepared(file);
  try {
    transaction(db, () => {
      const rows = db
        .prepare('SELECT table_name, landed, build_run FROM _millrace_cursors WHERE connector = ?')
        .all(connector) as { table_name: string; landed: number; build_run: string | null }[];
      // A row that has nothing landed stays for its epoch only: by now the name may be another connector's table.
      for (const { table_name, landed, build_run } of rows) {
        if (landed === 1) db.exec(`DROP TABLE IF EXISTS ${quote(table_name)}`);
        if (build_run !== null) db.exec(`DROP TABLE IF EXISTS ${quote(`_millrace_build_${table_name}`)}`);
      }
      for (const table of ['columns', 'rejects', 'loads', 'overlap', 'changed_rows'])
        db.prepare(`DELETE FROM _millrace_${table} WHERE connector = ?`).run(connector);
      // The epochs stay: a run that still thinks it holds the connector must not write again.
      db.prepare(
        'UPDATE _millrace_cursors SET landed = 0, cursor = NULL, row_count = 0, last_synced_at = NULL, epoch = epoch + 1, build_run = NULL, rejects_unkept = 0, build_unkept = 0 WHERE connector = ?',
      ).run(connector);
    });
  } finally {
    closeWriting(db);
  }
}

function check(file: string): string | null {
  const db = openForReading(file);
  if (db === null) return null;
  try {
    const found = pragma(db, 'integrity_check(5)');
    return found === 'ok' ? null : found;
  } finally {
    db.close();
  }
}
