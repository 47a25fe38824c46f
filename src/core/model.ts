/**
 * The nouns.
 *
 * connector type  the code for one kind of system: `postgresql`
 * connector       a registered, named configuration of a type: where, with which credentials, which streams, when
 * stream          one table, view or query of a connector; has columns, perhaps a primary key and a cursor
 * cursor          how far a stream has been read; opaque to everything but the source that made it
 * batch           rows and the cursor after them: stored together or not at all
 * run             one execution of a connector's sync, over all its streams or some; has attempts and an outcome
 * destination     where rows land, and where cursors are kept
 * reject          a row that could not be stored, kept with its reason
 * secret          a credential; exists in clear only between the vault and the driver
 */

import type { ErrorView, NextAction } from './errors.ts';
import type { RestStream } from './rest.ts';
import type { Column, Value } from './types.ts';

/** How the rows of a stream land. `history` is not served yet. */
export type Mode = 'merge' | 'append' | 'replace';

/** A stream as somebody declares it (contract §3). Exactly one of `table`, `query` and `path`. */
export interface Stream {
  readonly name: string;
  /** `schema.table`, quoted as in SQL where a part holds dots, spaces or upper case. */
  readonly table?: string;
  /** One SELECT, without a semicolon. */
  readonly query?: string;
  /** Below the API's `base_url`: `/v1/orders`. */
  readonly path?: string;
  /** How an API is asked and what its answer means; only beside `path`. */
  readonly rest?: RestStream;
  readonly mode?: Mode;
  readonly cursor?: string;
  readonly primary_key?: readonly string[];
  /** How far behind the settled mark each run reads again: `"5m"` for time cursors, a number for numeric ones. */
  readonly lookback?: string | number;
  readonly columns?: { readonly include?: readonly string[]; readonly exclude?: readonly string[] };
  /** SQL condition on the source's rows. */
  readonly where?: string;
  /** `detect` (default for `merge` with a key): count, and when rows are missing find which. `ignore`: never look. */
  readonly deletes?: 'detect' | 'ignore';
}

/** A stream after the source was asked: everything chosen, nothing left open. */
export interface ResolvedStream {
  readonly name: string;
  readonly declared: Stream;
  readonly mode: Mode;
  readonly columns: readonly Column[];
  /** Empty when there is none. For `merge` never empty. */
  readonly primaryKey: readonly string[];
  readonly cursor: string | null;
  /** Whether rows that disappeared are to be looked for. */
  readonly detectDeletes: boolean;
  /** The table that a name without a schema led to, as SQL; absent where the name says it itself. */
  readonly relation?: string;
  /**
   * Lists are read for the values of another stream, from a mark on, and this column has the value: of one without a row
   * here everything is read.
   */
  readonly parentColumn?: string;
  /**
   * The columns are what was seen so far: batches may bring more, or wider ones (`Batch.columns`), and a column that is
   * not among them is not gone. What has landed before is kept as it is until then.
   */
  readonly columnsGrow?: boolean;
  /** What was chosen for the user and why, and what to watch: sentences. */
  readonly notes: readonly string[];
}

/** How far a stream has been read, as text only its source can interpret. */
export type Cursor = string;

/**
 * Rows and the position after them. `values` is row-major and flat, `rows * columns.length` long: crossing a
 * thread as one flat array of primitives costs a third of what arrays of arrays do (README, performance).
 */
export interface Batch {
  readonly values: readonly Value[];
  readonly rows: number;
  /** Roughly the bytes these rows had on the wire: for the bound on what is in flight, and for the counts. */
  readonly bytes: number;
  /** The position after the last row. Stored in the same transaction as the rows. */
  readonly cursor: Cursor;
  /**
   * For `append` only: the rows from this index on may be read again, by a later run or after a crash, and
   * must be recognised then. `reset`: forget what was to be recognised before this batch. `complete`: this reading has
   * asked for everything that could come again; what it did not meet, and the one before neither, is forgotten.
   */
  readonly overlap?: { readonly from: number; readonly reset: boolean; readonly complete?: boolean };
  /** From this batch on the stream has these columns: those before, perhaps wider, and new ones behind. Laid out anew in the same transaction. */
  readonly columns?: readonly Column[];
  /** Rows that were read before the position and that the source itself does not pass on. Stored in the same transaction. */
  readonly rejects?: readonly Reject[];
}

/** A row that could not be stored. */
export interface Reject {
  /** The row as JSON text, columns by name; bytes as `\x…`. */
  readonly row: string;
  readonly reason: string;
  /** Values of the row were too long and are kept in part: it can be looked at, and not be landed. */
  readonly cut?: boolean;
}

/** A reject as it is kept, for `list_rejects`. */
export interface KeptReject {
  readonly id: number;
  readonly stream: string;
  /** The run that met it last. */
  readonly run_id: string;
  readonly reason: string;
  /** The row as JSON text; the beginning of it when it is long. */
  readonly row: string;
  readonly cut?: boolean;
  readonly first_seen: string;
  readonly last_seen: string;
  /** How often it was met. */
  readonly count: number;
}

export interface Counts {
  readonly rows_read: number;
  readonly rows_written: number;
  readonly rows_deleted: number;
  readonly rejects: number;
  readonly bytes_read: number;
}

export type Trigger = 'manual' | 'schedule' | 'retry' | 'cli' | 'config';
export type RunStatus = 'queued' | 'running' | 'succeeded' | 'partial' | 'failed' | 'cancelled';
export type StreamStatus = 'pending' | 'running' | 'succeeded' | 'failed' | 'cancelled';

/** What became of one stream in one run (contract §4). */
export interface StreamResult {
  readonly stream: string;
  readonly status: StreamStatus;
  readonly mode?: Mode;
  readonly rows_read: number;
  readonly rows_written: number;
  readonly rows_deleted: number;
  readonly rejects: number;
  readonly bytes_read: number;
  readonly cursor_before?: string;
  readonly cursor_after?: string;
  /** Which protection against late commits was in force. */
  readonly guard?: string;
  readonly warnings?: readonly string[];
  /** Milliseconds by stage: `connect`, `read`, `deletes`, `finish`. */
  readonly ms: Readonly<Record<string, number>>;
  /** Some of the rejects, when one run is shown. */
  readonly reject_sample?: readonly Pick<KeptReject, 'id' | 'reason' | 'row'>[];
  readonly error?: ErrorView;
}

/** A run as the outside sees it. Times are ISO 8601 UTC with milliseconds. */
export interface Run {
  readonly run_id: string;
  readonly connector: string;
  readonly trigger: Trigger;
  readonly status: RunStatus;
  /** A due time that no run came of: cancelled before it began, by nobody; `error` says why. */
  readonly skipped?: true;
  readonly attempt: number;
  /** The time of the schedule that it is for. */
  readonly due_at?: string;
  readonly queued_at: string;
  readonly started_at?: string;
  readonly finished_at?: string;
  readonly duration_ms?: number;
  readonly retry_at?: string;
  readonly totals: Counts;
  readonly streams: readonly StreamResult[];
  readonly error?: ErrorView;
  readonly next_actions?: readonly NextAction[];
  /** Present when asked for with `include_log`. */
  readonly log?: readonly LogLine[];
}

export interface LogLine {
  readonly at: string;
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
}

/** A registered connector as it is kept: secrets in `config` are references, never values. */
export interface Connector {
  readonly name: string;
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly streams: readonly Stream[];
  readonly schedule?: string;
  readonly timezone?: string;
  readonly enabled: boolean;
  readonly description?: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Opaque; absent on the last page. */
  readonly next_cursor?: string;
}

export interface PageRequest {
  readonly limit: number;
  readonly cursor?: string;
}

/** One thing `test_connector` looked at. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly ms: number;
}

export interface CheckReport {
  readonly ok: boolean;
  readonly checks: readonly Check[];
  readonly server_version?: string;
  /** Round trip of a trivial query. */
  readonly latency_ms?: number;
  /** How far the source's clock is ahead of this machine's; absent when it does not say. */
  readonly clock_skew_ms?: number;
  readonly warnings: readonly string[];
  readonly error?: ErrorView;
}

export interface CursorCandidate {
  readonly column: string;
  readonly reasons: readonly string[];
  readonly risks: readonly string[];
}

export type StreamKind =
  | 'table'
  | 'view'
  | 'materialized_view'
  | 'partitioned_table'
  | 'foreign_table'
  | 'endpoint';

/** One thing that could become a stream, as `discover_streams` shows it. */
export interface StreamInfo {
  /** A valid stream name made from the table's. */
  readonly name: string;
  /** What to write into `Stream.table`, or into `Stream.path` for an API. */
  readonly table: string;
  readonly kind: StreamKind;
  readonly columns: readonly {
    readonly name: string;
    readonly type: string;
    readonly source_type: string;
    readonly nullable: boolean;
  }[];
  readonly primary_key: readonly string[];
  /** The server's own estimate; absent when it has none. */
  readonly estimated_rows?: number;
  readonly cursor_candidates: readonly CursorCandidate[];
  /** Ready for `register_connector` or `update_connector`. */
  readonly suggested: Stream;
}

/** One landed table, for `describe_data`. */
export interface TableInfo {
  readonly table: string;
  readonly connector: string;
  readonly stream: string;
  readonly rows: number;
  readonly columns: readonly { readonly name: string; readonly type: string; readonly source_type: string }[];
  readonly last_synced_at?: string;
}

/** Where a stream stands, for `get_connector`. */
export interface StreamState {
  readonly stream: string;
  readonly table: string;
  readonly cursor: string | null;
  readonly rows: number;
  readonly last_synced_at?: string;
}

export interface QueryResult {
  readonly columns: readonly string[];
  /** Integers beyond 2^53 as text, bytes as `\x…`, long texts cut and marked. */
  readonly rows: readonly (readonly (string | number | null)[])[];
  readonly row_count: number;
  readonly truncated: boolean;
  readonly elapsed_ms: number;
}
