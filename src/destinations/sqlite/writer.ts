import { MillraceError } from '../../core/errors.ts';
import type { Batch, Counts, Cursor, Reject } from '../../core/model.ts';
import type { Committed, Writer, WriterRequest } from '../destination.ts';
import { createDeletions } from './deletions.ts';
import { type Database, guarded } from './driver.ts';
import { createInserter } from './insert.ts';
import { buildName, createTable, freshLayout, type Layout, quote, tableName } from './layout.ts';
import { createOverlap } from './overlap.ts';
import { adaptTable, indexDeleted, makeTable, type Prepared, rememberColumns } from './table.ts';

/** Rejects kept for a stream; beyond that the oldest make room, and the counts go on. */
const rejectsKept = 10_000;
/** A table this small may shrink as it likes: a guard there would only be in the way. */
const guardedRows = 100;

interface StateRow {
  readonly epoch: number;
  readonly cursor: string | null;
  readonly primary_key: string;
  readonly definition: string;
  readonly landed: number;
  readonly row_count: number;
  readonly build_run: string | null;
  readonly build_layout: string | null;
  readonly build_cursor: string | null;
  readonly build_rows: number;
  readonly build_rejects: number;
}

export interface WriterParts {
  readonly db: Database;
  readonly file: string;
  readonly now: () => Date;
}

/** Opens a stream for writing; see `Destination.writer`. */
export function openWriter(parts: WriterParts, request: WriterRequest): Writer {
  const { db, file, now } = parts;
  const { connector, stream, runId, epoch } = request;
  const owner = { connector, stream: stream.name };
  const opened = guarded(file, () => db.transaction(() => open(parts, request)).immediate());
  const { layout, building } = opened;
  const target = building ? buildName(layout.table) : layout.table;
  const columns = stream.columns.map((column) => column.name);
  const inserter = guarded(file, () => createInserter(db, { table: target, layout, columns, runId }));
  const overlap =
    stream.mode === 'append'
      ? guarded(file, () => db.transaction(() => createOverlap(db, owner, building)).immediate())
      : null;
  const statements = prepare(db, building);
  const deletions = createDeletions(db, { layout, runId });
  let { cursor, rows, rejectsOfBuild } = opened;

  /** One transaction that only the holder of the newest epoch may make. */
  const fenced = <T>(work: () => T): T =>
    guarded(file, () => {
      try {
        return db
          .transaction(() => {
            const found = statements.epoch.get(connector, stream.name) as { epoch: number } | undefined;
            if (found?.epoch !== epoch) throw lost(connector, stream.name);
            return work();
          })
          .immediate();
      } catch (error) {
        overlap?.reload();
        throw error;
      }
    });

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

  const keepRejects = (rejects: readonly Reject[]): void => {
    const at = now().toISOString();
    for (const reject of rejects)
      statements.reject.run(connector, stream.name, runId, reject.row, reject.reason, at);
    statements.trimRejects.run(connector, stream.name, connector, stream.name, rejectsKept);
  };

  const commit = (batch: Batch): Committed => {
    const done = fenced(() => {
      const fresh = overlap === null ? batch : overlap.filter(batch, columns.length);
      const { added, changed, rejects } = inserter.insert(fresh.values, fresh.rows);
      if (rejects.length > 0) keepRejects(rejects);
      count({
        rows_read: batch.rows,
        rows_written: added + changed,
        rows_deleted: 0,
        rejects: rejects.length,
        bytes_read: batch.bytes,
      });
      statements.position.run(batch.cursor, added, rejects.length, connector, stream.name);
      return { added, changed, rejects: rejects.length };
    });
    cursor = batch.cursor;
    rows += done.added;
    rejectsOfBuild += done.rejects;
    return { written: done.added + done.changed, rejects: done.rejects };
  };

  const finish = (check: {
    readonly expectedRows: number | null;
    readonly minimumShare: number | null;
  }): void => {
    fenced(() => {
      overlap?.finish();
      if (!building) {
        statements.synced.run(now().toISOString(), connector, stream.name);
        return;
      }
      if (check.expectedRows !== null && check.expectedRows !== rows + rejectsOfBuild)
        throw miscounted(stream.name, check.expectedRows, rows + rejectsOfBuild);
      const before = opened.visibleRows;
      if (check.minimumShare !== null && before >= guardedRows && rows < before * check.minimumShare)
        throw shrunk(owner, { before, now: rows });
      db.exec(`DROP TABLE IF EXISTS ${quote(layout.table)}`);
      db.exec(`ALTER TABLE ${quote(target)} RENAME TO ${quote(layout.table)}`);
      indexDeleted(db, layout);
      rememberColumns(db, owner, layout.columns);
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
    changes: opened.changes,
    rebuilding: building,
    replacesOtherDefinition: opened.otherDefinition,
    commit: async (batch) => commit(batch),
    liveRows: async () => guarded(file, () => rows - (building ? 0 : deletions.marked())),
    seenKeys: async (keys, rowCount) => guarded(file, () => deletions.see(keys, rowCount)),
    async markDeleted(ceiling) {
      return fenced(() => {
        const marked = deletions.mark({ ceiling, at: now().toISOString(), connector, stream: stream.name });
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

interface Opened {
  readonly layout: Layout;
  readonly changes: readonly string[];
  readonly counts: Counts;
  readonly building: boolean;
  readonly otherDefinition: boolean;
  readonly cursor: Cursor | null;
  readonly rows: number;
  readonly rejectsOfBuild: number;
  /** Rows of the table that readers see while another is being built. */
  readonly visibleRows: number;
}

function open({ db }: WriterParts, request: WriterRequest): Opened {
  const { connector, stream, runId, epoch } = request;
  const state = db
    .prepare(
      'SELECT epoch, cursor, primary_key, definition, landed, row_count, build_run, build_layout, build_cursor, build_rows, build_rejects FROM _millrace_cursors WHERE connector = ? AND stream = ?',
    )
    .get(connector, stream.name) as StateRow | undefined;
  if (state !== undefined && state.epoch > epoch) throw lost(connector, stream.name);
  const table = tableName(connector, stream.name);
  const key = JSON.stringify(keyOf(request));
  db.prepare(
    `INSERT INTO _millrace_cursors (connector, stream, table_name, mode, primary_key, definition, epoch) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET epoch = excluded.epoch`,
  ).run(connector, stream.name, table, stream.mode, key, request.definition, epoch);
  const counts =
    (db
      .prepare(
        'SELECT rows_read, rows_written, rows_deleted, rejects, bytes_read FROM _millrace_loads WHERE run_id = ? AND connector = ? AND stream = ?',
      )
      .get(runId, connector, stream.name) as Counts | undefined) ?? noCounts;
  const landed = state?.landed === 1 && hasTable(db, table);
  const otherDefinition = landed && state.definition !== request.definition;
  if (otherDefinition && stream.mode === 'append' && !request.rebuild) throw definitionChanged(request);
  const building = request.rebuild || otherDefinition;
  const common = { counts, building, otherDefinition, visibleRows: landed ? state.row_count : 0 };

  if (building) {
    const { layout, resumed } = openBuild(db, request, state);
    const from =
      resumed && state !== undefined
        ? { cursor: state.build_cursor, rows: state.build_rows, rejectsOfBuild: state.build_rejects }
        : { cursor: null, rows: 0, rejectsOfBuild: 0 };
    const changes =
      otherDefinition && !request.rebuild
        ? [
            'the stream is defined otherwise than when it landed: it is read anew and replaces the table when it is complete',
          ]
        : [];
    return { ...common, ...from, layout, changes };
  }
  if (!landed) {
    const prepared = makeTable(db, connector, stream);
    // What an earlier, dropped table remembered says nothing about this one.
    db.prepare('DELETE FROM _millrace_overlap WHERE connector = ? AND stream = ?').run(
      connector,
      stream.name,
    );
    db.prepare(
      'UPDATE _millrace_cursors SET landed = 1, cursor = NULL, row_count = 0, mode = ?, primary_key = ?, definition = ? WHERE connector = ? AND stream = ?',
    ).run(stream.mode, key, request.definition, connector, stream.name);
    return { ...common, ...prepared, cursor: null, rows: 0, rejectsOfBuild: 0 };
  }
  const prepared: Prepared = adaptTable(db, connector, {
    stream,
    key: JSON.parse(state.primary_key) as string[],
  });
  return { ...common, ...prepared, cursor: state.cursor, rows: state.row_count, rejectsOfBuild: 0 };
}

/** The table that is built aside: the one of this run's earlier attempt when it can go on, else a new one. */
function openBuild(
  db: Database,
  request: WriterRequest,
  state: StateRow | undefined,
): { readonly layout: Layout; readonly resumed: boolean } {
  const { connector, stream, runId } = request;
  const layout = freshLayout(connector, stream);
  const text = JSON.stringify(layout);
  const build = buildName(layout.table);
  const resumed =
    stream.mode === 'merge' &&
    state?.build_run === runId &&
    state.build_layout === text &&
    hasTable(db, build);
  if (resumed) return { layout, resumed };
  db.exec(`DROP TABLE IF EXISTS ${quote(build)}`);
  db.exec(createTable(layout, build));
  db.prepare(
    'UPDATE _millrace_cursors SET build_run = ?, build_layout = ?, build_cursor = NULL, build_rows = 0, build_rejects = 0 WHERE connector = ? AND stream = ?',
  ).run(runId, text, connector, stream.name);
  return { layout, resumed };
}

function prepare(db: Database, building: boolean) {
  const own = 'WHERE connector = ? AND stream = ?';
  return {
    epoch: db.prepare(`SELECT epoch FROM _millrace_cursors ${own}`),
    position: building
      ? db.prepare(
          `UPDATE _millrace_cursors SET build_cursor = ?, build_rows = build_rows + ?, build_rejects = build_rejects + ? ${own}`,
        )
      : db.prepare(
          `UPDATE _millrace_cursors SET cursor = ?, row_count = row_count + ?, build_rejects = build_rejects + 0 * ? ${own}`,
        ),
    synced: db.prepare(`UPDATE _millrace_cursors SET last_synced_at = ? ${own}`),
    swapped: db.prepare(
      `UPDATE _millrace_cursors SET cursor = build_cursor, row_count = build_rows, landed = 1, primary_key = ?, definition = ?, mode = ?, last_synced_at = ?,
       build_run = NULL, build_layout = NULL, build_cursor = NULL, build_rows = 0, build_rejects = 0 ${own}`,
    ),
    load: db.prepare(
      `INSERT INTO _millrace_loads (run_id, connector, stream, rows_read, rows_written, rows_deleted, rejects, bytes_read, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET rows_read = rows_read + excluded.rows_read, rows_written = rows_written + excluded.rows_written,
         rows_deleted = rows_deleted + excluded.rows_deleted, rejects = rejects + excluded.rejects, bytes_read = bytes_read + excluded.bytes_read, last_at = excluded.last_at`,
    ),
    reject: db.prepare(
      'INSERT INTO _millrace_rejects (connector, stream, run_id, row, reason, rejected_at) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    trimRejects: db.prepare(
      `DELETE FROM _millrace_rejects ${own} AND id <= (SELECT id FROM _millrace_rejects ${own} ORDER BY id DESC LIMIT 1 OFFSET ?)`,
    ),
  };
}

const noCounts: Counts = { rows_read: 0, rows_written: 0, rows_deleted: 0, rejects: 0, bytes_read: 0 };

function keyOf({ stream }: WriterRequest): readonly string[] {
  return stream.mode === 'append' ? [] : stream.primaryKey;
}

/** True when the file has a table of that name. */
function hasTable(db: Database, table: string): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(table) !== undefined;
}

function lost(connector: string, stream: string): MillraceError {
  return new MillraceError(
    'run_lost',
    `Another run has taken "${connector}.${stream}" over; this one may not write any more.`,
    {
      hint: 'Nothing is to be done: the other run goes on from the last committed batch. Follow it with list_runs.',
      nextActions: [
        { tool: 'list_runs', arguments: { connector }, why: 'shows the run that holds the connector now' },
      ],
    },
  );
}

function miscounted(stream: string, expected: number, found: number): MillraceError {
  return new MillraceError(
    'destination_failed',
    `"${stream}" was read whole, but the source counts ${expected} rows and ${found} arrived; the table stays as it was.`,
    {
      hint: 'Run sync_connector again. If it happens again, look whether the source is a view whose result changes from one look to the next.',
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

function definitionChanged({ connector, stream }: WriterRequest): MillraceError {
  return new MillraceError(
    'invalid_config',
    `"${stream.name}" appends, and is defined otherwise than when its rows landed: its position means nothing any more.`,
    {
      hint: 'Run sync_connector with full_refresh: true to replace the rows by what the new definition reads, or register the new definition as another stream.',
      nextActions: [
        {
          tool: 'sync_connector',
          arguments: { connector, streams: [stream.name], full_refresh: true },
          why: 'reads the stream anew',
        },
      ],
    },
  );
}
