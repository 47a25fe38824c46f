import { MillraceError } from '../../core/errors.ts';
import type { Counts, Cursor } from '../../core/model.ts';
import type { Column } from '../../core/types.ts';
import type { Landed, WriterRequest } from '../destination.ts';
import { forgetChangedRows } from './changed-rows.ts';
import type { Database } from './driver.ts';
import { buildName, createTable, freshLayout, type Layout, quote, tableName } from './layout.ts';
import { adaptTable, asColumns, assertFits, makeTable, type Prepared } from './table.ts';

interface StateRow {
  readonly epoch: number;
  readonly cursor: string | null;
  readonly mode: string;
  readonly primary_key: string;
  readonly definition: string;
  readonly landed: number;
  readonly row_count: number;
  readonly build_run: string | null;
  readonly build_layout: string | null;
  readonly build_definition: string | null;
  readonly build_cursor: string | null;
  readonly build_rows: number;
  readonly build_rejects: number;
  readonly rejects_unkept: number;
}

/** A stream that is ready to be written. */
export interface Opened {
  readonly layout: Layout;
  readonly changes: readonly string[];
  readonly counts: Counts;
  readonly building: boolean;
  readonly otherDefinition: boolean;
  /** Whether the stream has a table that readers see. */
  readonly landed: boolean;
  readonly cursor: Cursor | null;
  readonly rows: number;
  readonly rejectsOfBuild: number;
  /** Some rows of the stream stand aside. */
  readonly hasRejects: boolean;
  /** Rows of the table that readers see while another is being built. */
  readonly visibleRows: number;
}

/**
 * Takes the stream over for an epoch and makes its table ready, or the one that is built aside. Called inside a
 * transaction. Throws `run_lost` and `invalid_config`.
 */
export function openStream(db: Database, request: WriterRequest): Opened {
  const { connector, stream, runId, epoch } = request;
  const state = db
    .prepare(
      'SELECT epoch, cursor, mode, primary_key, definition, landed, row_count, build_run, build_layout, build_definition, build_cursor, build_rows, build_rejects, rejects_unkept FROM _millrace_cursors WHERE connector = ? AND stream = ?',
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
  if (!landed) assertFree(db, request, table);
  const isDefinition = state?.definition === request.definition || state?.definition === request.formerly;
  const otherDefinition = landed && (!isDefinition || state.mode !== stream.mode);
  // Over rows of another definition nothing can be appended; where there are none, nothing is lost.
  if (otherDefinition && stream.mode === 'append' && !request.rebuild && state.row_count > 0)
    throw definitionChanged(request);
  const building = request.rebuild || otherDefinition;
  if (!building && state !== undefined && state.build_run !== null) dropBuild(db, request);
  const rejects = db.prepare('SELECT 1 FROM _millrace_rejects WHERE connector = ? AND stream = ? LIMIT 1');
  const common = {
    counts,
    building,
    otherDefinition,
    landed,
    hasRejects: rejects.get(connector, stream.name) !== undefined || (state?.rejects_unkept ?? 0) > 0,
    visibleRows: landed ? state.row_count : 0,
  };

  if (building) {
    const { layout, resumed } = openBuild(db, request, state);
    const from =
      resumed && state !== undefined
        ? { cursor: state.build_cursor, rows: state.build_rows, rejectsOfBuild: state.build_rejects }
        : { cursor: null, rows: 0, rejectsOfBuild: 0, counts: { ...counts, rows_written: 0, rejects: 0 } };
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
    forgetChangedRows(db, { connector, stream: stream.name }, stream.columns);
    db.prepare(
      'UPDATE _millrace_cursors SET landed = 1, cursor = NULL, row_count = 0, mode = ?, primary_key = ?, definition = ? WHERE connector = ? AND stream = ?',
    ).run(stream.mode, key, request.definition, connector, stream.name);
    return { ...common, ...prepared, cursor: null, rows: 0, rejectsOfBuild: 0 };
  }
  if (state.definition !== request.definition)
    db.prepare('UPDATE _millrace_cursors SET definition = ? WHERE connector = ? AND stream = ?').run(
      request.definition,
      connector,
      stream.name,
    );
  const prepared: Prepared = adaptTable(db, connector, {
    stream,
    key: JSON.parse(state.primary_key) as string[],
  });
  return { ...common, ...prepared, cursor: state.cursor, rows: state.row_count, rejectsOfBuild: 0 };
}

/**
 * The table that is built aside: the one of this run's earlier attempt when it can go on, else a new one. The rows of an
 * attempt under another definition are not what is asked for now, and its position means nothing.
 */
function openBuild(
  db: Database,
  request: WriterRequest,
  state: StateRow | undefined,
): { readonly layout: Layout; readonly resumed: boolean } {
  const { connector, stream, runId } = request;
  const layout = freshLayout(connector, stream);
  assertFits(connector, stream, layout);
  const text = JSON.stringify(layout);
  const build = buildName(layout.table);
  const same = state?.build_run === runId && state.build_definition === request.definition;
  const begun = stream.mode === 'merge' && same && hasTable(db, build) ? state.build_layout : null;
  if (begun === text) return { layout, resumed: true };
  if (begun !== null && stream.columnsGrow === true) {
    // It has grown since it was begun, and goes on as it is.
    const grown = JSON.parse(begun) as Layout;
    if (JSON.stringify(grown.key) === JSON.stringify(layout.key)) return { layout: grown, resumed: true };
  }
  dropBuild(db, request);
  // What an earlier attempt of the run wrote went with its table; that it was read stays true.
  db.prepare(
    'UPDATE _millrace_loads SET rows_written = 0, rejects = 0 WHERE run_id = ? AND connector = ? AND stream = ?',
  ).run(runId, connector, stream.name);
  db.exec(createTable(layout, build));
  db.prepare(
    'UPDATE _millrace_cursors SET build_run = ?, build_layout = ?, build_definition = ? WHERE connector = ? AND stream = ?',
  ).run(runId, text, request.definition, connector, stream.name);
  return { layout, resumed: false };
}

/** As of `Destination.landed`. */
export function landedAs(db: Database, connector: string, stream: string): Landed | null {
  const state = db
    .prepare(
      'SELECT definition, row_count AS rows FROM _millrace_cursors WHERE connector = ? AND stream = ? AND landed = 1',
    )
    .get(connector, stream) as Landed | undefined;
  return state !== undefined && hasTable(db, tableName(connector, stream)) ? state : null;
}

/** The columns that batches of the stream come in at first. */
export function columnsOf({ stream }: WriterRequest, layout: Layout): readonly Column[] {
  return stream.columnsGrow === true ? asColumns(layout.columns) : stream.columns;
}

/** A build that no attempt of its run will finish any more takes space for nothing. */
function dropBuild(db: Database, { connector, stream }: WriterRequest): void {
  db.exec(`DROP TABLE IF EXISTS ${quote(buildName(tableName(connector, stream.name)))}`);
  db.prepare('DELETE FROM _millrace_rejects WHERE connector = ? AND stream = ? AND of_build = 1').run(
    connector,
    stream.name,
  );
  db.prepare(
    'UPDATE _millrace_cursors SET build_run = NULL, build_layout = NULL, build_definition = NULL, build_cursor = NULL, build_rows = 0, build_rejects = 0, build_unkept = 0 WHERE connector = ? AND stream = ?',
  ).run(connector, stream.name);
}

const noCounts: Counts = { rows_read: 0, rows_written: 0, rows_deleted: 0, rejects: 0, bytes_read: 0 };

/** The key a table of this stream has; appended rows have none. */
export function keyOf({ stream }: WriterRequest): readonly string[] {
  return stream.mode === 'append' ? [] : stream.primaryKey;
}

/** True when the file has a table or view of that name; SQLite does not tell upper from lower case in names. */
function hasTable(db: Database, table: string): boolean {
  return db.prepare('SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE').get(table) !== undefined;
}

/**
 * `a__b` + `c` and `a` + `b__c` make the same name, `Orders` and `orders` too, and the file is open to other programs:
 * a table that is not this stream's is never written to, let alone replaced. Throws `invalid_config`.
 */
export function assertFree(db: Database, { connector, stream }: WriterRequest, table: string): void {
  const reserved = /^sqlite_/i.test(table);
  if (!reserved && !hasTable(db, table)) return;
  const other = db
    .prepare(
      'SELECT connector, stream FROM _millrace_cursors WHERE table_name = ? COLLATE NOCASE AND landed = 1 AND (connector <> ? OR stream <> ?)',
    )
    .get(table, connector, stream.name) as
    | { readonly connector: string; readonly stream: string }
    | undefined;
  const why = reserved
    ? 'SQLite keeps names that begin with "sqlite_" for itself'
    : other === undefined
      ? 'the file has a table or view of that name that Millrace did not make'
      : `it is the table of "${other.stream}" of connector "${other.connector}"`;
  throw new MillraceError('invalid_config', `"${stream.name}" cannot land as table "${table}": ${why}.`, {
    hint: reserved
      ? 'Register the connector under another name.'
      : `Give the stream another name: update_connector with "remove_streams": ["${stream.name}"] and the same stream under another "name" in "add_streams".`,
  });
}

/** A later epoch holds the stream. */
export function lost(connector: string, stream: string): MillraceError {
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
