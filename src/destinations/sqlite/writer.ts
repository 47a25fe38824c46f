import { MillraceError } from '../../core/errors.ts';
import type { Batch, Counts } from '../../core/model.ts';
import type { Column } from '../../core/types.ts';
import type { Committed, Writer, WriterRequest } from '../destination.ts';
import { createDeletions } from './deletions.ts';
import { type Database, guarded, transaction } from './driver.ts';
import { createFence } from './fence.ts';
import { createInserter } from './insert.ts';
import { buildName, type Layout, quote } from './layout.ts';
import { assertFree, columnsOf, keyOf, type Opened, openStream } from './open-stream.ts';
import { createOverlap, type Overlap } from './overlap.ts';
import { createRejects } from './rejects.ts';
import { swapIn } from './swap.ts';
import { growTable } from './table.ts';

/** Runs of a stream whose counts are kept; ids of runs sort by time. */
const loadsKept = 1_000;
/** A table this small may shrink as it likes: a guard there would only be in the way. */
const guardedRows = 100;

export interface WriterParts {
  readonly db: Database;
  readonly file: string;
  readonly now: () => Date;
}

/** Opens a stream for writing; see `Destination.writer`. */
export function openWriter(parts: WriterParts, request: WriterRequest): Writer {
  const { db, file, now } = parts;
  const { connector, stream, runId } = request;
  const owner = { connector, stream: stream.name };
  // In one transaction: a writer that is overtaken between the two would take apart what the newer one remembers.
  const open = (): { readonly opened: Opened; readonly overlap: Overlap | null } => {
    const opened = openStream(db, request);
    const { building } = opened;
    const columns = columnsOf(request, opened.layout);
    return {
      opened,
      overlap:
        stream.mode === 'append'
          ? createOverlap(db, { connector, stream, columns, layout: opened.layout, building })
          : null,
    };
  };
  const { opened, overlap } = guarded(file, () => transaction(db, open));
  const { building } = opened;
  let { layout } = opened;
  const target = building ? buildName(layout.table) : layout.table;
  const inserterFor = (of: Layout, columns: readonly Column[]) =>
    createInserter(db, {
      table: target,
      layout: of,
      columns: columns.map((column) => column.name),
      runId,
      counts: true,
    });
  const columns = columnsOf(request, layout);
  let columnsNow = columns;
  let inserter = guarded(file, () => inserterFor(layout, columns));
  const statements = prepare(db, building);
  const deletions = createDeletions(db, { layout, runId });
  const kept = guarded(file, () =>
    createRejects(db, { ...owner, runId, key: keyOf(request), building, now }),
  );
  const fence = createFence(parts, request);
  const changes = [...opened.changes, ...(overlap?.changes ?? [])];
  let { cursor, rows, rejectsOfBuild, hasRejects } = opened;

  /** One transaction that only the holder of the newest epoch may make. */
  const fenced = <T>(work: () => T): T => {
    try {
      return fence(work);
    } catch (error) {
      guarded(file, () => {
        overlap?.reload();
        kept.reload();
      });
      throw error;
    }
  };

  const count = (counts: Omit<Counts, 'rejects'> & { readonly rejects: number }): void => {
    const at = now().toISOString();
    statements.load.run(
      runId,
      connector,
      stream.name,
      counts.rows_read,
      counts.rows_written,
      counts.rows_deleted,
      counts.rejects,
      counts.bytes_read,
      at,
      at,
    );
  };

  /** The table under the batch's columns, and how rows get into it. Takes force only when its transaction holds. */
  const grow = (wider: readonly Column[]) => {
    const grown = growTable(db, connector, {
      stream: { ...stream, columns: wider },
      before: layout.columns,
      build: building ? target : undefined,
    });
    if (building) statements.layout.run(JSON.stringify(grown.layout), connector, stream.name);
    return { ...grown, inserter: inserterFor(grown.layout, wider) };
  };

  const commit = (batch: Batch): Committed => {
    const done = fenced(() => {
      const grown = batch.columns === undefined ? { layout, inserter, changes: [] } : grow(batch.columns);
      const fresh = overlap === null ? { ...batch, again: [], changes: [] } : overlap.filter(batch);
      const {
        added,
        changed,
        again,
        rejects: refused,
      } = grown.inserter.insert(fresh.values, fresh.rows, fresh.again);
      const given = batch.rejects ?? [];
      const rejects = given.length + refused.length;
      const { unkept } = kept.commit({
        ...fresh,
        columns: batch.columns ?? columnsNow,
        given,
        refused,
      });
      count({
        rows_read: batch.rows + given.length,
        rows_written: added + changed - again,
        rows_deleted: 0,
        rejects,
        bytes_read: batch.bytes,
      });
      statements.position.run(batch.cursor, added, rejects, connector, stream.name);
      return { added, changed, again, rejects, unkept, grown, changes: [...grown.changes, ...fresh.changes] };
    });
    ({ layout, inserter } = done.grown);
    columnsNow = batch.columns ?? columnsNow;
    changes.push(...done.changes);
    cursor = batch.cursor;
    rows += done.added;
    rejectsOfBuild += done.rejects;
    hasRejects ||= done.rejects > 0;
    return {
      written: done.added + done.changed - done.again,
      ...(done.again === 0 ? {} : { again: done.again }),
      rejects: done.rejects,
      ...(done.unkept === 0 ? {} : { unkept: done.unkept }),
      ...(done.changes.length === 0 ? {} : { changes: done.changes }),
    };
  };

  const finish = (check: {
    readonly expectedRows: number | null;
    readonly minimumShare: number | null;
  }): void => {
    const { expectedRows } = check;
    if (building && expectedRows !== null && expectedRows !== rows + rejectsOfBuild) {
      fenced(() => statements.disown.run(connector, stream.name));
      throw miscounted(stream.name, expectedRows, rows + rejectsOfBuild);
    }
    fenced(() => {
      overlap?.finish();
      statements.trimLoads.run(connector, stream.name, connector, stream.name, loadsKept);
      if (!building) {
        statements.synced.run(now().toISOString(), connector, stream.name);
        return;
      }
      const before = opened.visibleRows;
      if (check.minimumShare !== null && before >= guardedRows && rows < before * check.minimumShare)
        throw shrunk(owner, { before, now: rows });
      if (!opened.landed) assertFree(db, request, layout.table);
      changes.push(...swapIn(db, { layout, build: target }, owner));
      statements.swapped.run(
        JSON.stringify(keyOf(request)),
        request.definition,
        stream.mode,
        now().toISOString(),
        connector,
        stream.name,
      );
    });
  };

  return {
    get cursor() {
      return cursor;
    },
    counts: opened.counts,
    changes,
    columns,
    rebuilding: building,
    get hasRejects() {
      return hasRejects;
    },
    commit: async (batch) => commit(batch),
    valuesOf: async (column) => guarded(file, () => valuesOf(db, { table: target, layout, column })),
    liveRows: async () => guarded(file, () => rows - (building ? 0 : deletions.marked())),
    async seenKeys(keys, rowCount) {
      guarded(file, () => deletions.see(keys, rowCount));
      kept.see(keys, rowCount);
    },
    async markDeleted(ceiling) {
      return fenced(() => {
        const marked = deletions.mark({ ceiling, at: now().toISOString(), connector, stream: stream.name });
        kept.forgetUnseen();
        count({ rows_read: 0, rows_written: 0, rows_deleted: marked, rejects: 0, bytes_read: 0 });
        return marked;
      });
    },
    finish: async (check) => finish(check),
    async [Symbol.asyncDispose]() {
      guarded(file, () => deletions.forget());
    },
  };
}

function valuesOf(
  db: Database,
  { table, layout, column }: { readonly table: string; readonly layout: Layout; readonly column: string },
): readonly string[] | null {
  const landed = layout.columns.find(({ name, dropped }) => name === column && !dropped);
  // Times are written in one form here, whatever their text was.
  if (landed === undefined || (landed.type !== 'integer' && landed.type !== 'text')) return null;
  const name = quote(landed.landedAs);
  const rows = db
    .prepare(`SELECT DISTINCT CAST(${name} AS TEXT) AS value FROM ${quote(table)} WHERE ${name} IS NOT NULL`)
    .all() as { readonly value: string }[];
  return rows.map(({ value }) => value);
}

function prepare(db: Database, building: boolean) {
  const own = 'WHERE connector = ? AND stream = ?';
  return {
    position: building
      ? db.prepare(
          `UPDATE _millrace_cursors SET build_cursor = ?, build_rows = build_rows + ?, build_rejects = build_rejects + ? ${own}`,
        )
      : db.prepare(
          `UPDATE _millrace_cursors SET cursor = ?, row_count = row_count + ?, build_rejects = build_rejects + 0 * ? ${own}`,
        ),
    layout: db.prepare(`UPDATE _millrace_cursors SET build_layout = ? ${own}`),
    /** Without a definition no attempt goes on with it. */
    disown: db.prepare(`UPDATE _millrace_cursors SET build_definition = NULL ${own}`),
    synced: db.prepare(`UPDATE _millrace_cursors SET last_synced_at = ? ${own}`),
    swapped: db.prepare(
      `UPDATE _millrace_cursors SET cursor = build_cursor, row_count = build_rows, landed = 1, primary_key = ?, definition = ?, mode = ?, last_synced_at = ?,
       build_run = NULL, build_layout = NULL, build_definition = NULL, build_cursor = NULL, build_rows = 0, build_rejects = 0,
       rejects_unkept = build_unkept, build_unkept = 0 ${own}`,
    ),
    load: db.prepare(
      `INSERT INTO _millrace_loads (run_id, connector, stream, rows_read, rows_written, rows_deleted, rejects, bytes_read, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET rows_read = rows_read + excluded.rows_read, rows_written = rows_written + excluded.rows_written,
         rows_deleted = rows_deleted + excluded.rows_deleted, rejects = rejects + excluded.rejects, bytes_read = bytes_read + excluded.bytes_read, last_at = excluded.last_at`,
    ),
    trimLoads: db.prepare(
      `DELETE FROM _millrace_loads ${own} AND run_id <= (SELECT run_id FROM _millrace_loads ${own} ORDER BY run_id DESC LIMIT 1 OFFSET ?)`,
    ),
  };
}

/** Not a fault of the file: somebody changes what is read without the snapshot noticing, and may have done so once. */
function miscounted(stream: string, expected: number, found: number): MillraceError {
  return new MillraceError(
    'schema_changed',
    `"${stream}" was read whole, but the source counts ${expected} rows and ${found} arrived; the table stays as it was.`,
    {
      hint: 'Millrace reads it anew by itself. If it happens again, look whether the source is a view or query whose result changes from one look to the next, or stands on tables without transactions (MyISAM).',
    },
  );
}

function shrunk(
  { connector, stream }: { readonly connector: string; readonly stream: string },
  rows: { readonly before: number; readonly now: number },
): MillraceError {
  return new MillraceError(
    'shrink_refused',
    `"${stream}" came back with ${rows.now} rows where the table holds ${rows.before}; the table stays as it was.`,
    {
      hint: `Look whether the source is whole (a filter, an empty restore, a wrong database?). If ${rows.now} rows are right, run sync_connector with full_refresh: true.`,
      nextActions: [
        {
          tool: 'sync_connector',
          arguments: { connector, streams: [stream], full_refresh: true },
          why: 'accepts the smaller table',
        },
      ],
    },
  );
}
