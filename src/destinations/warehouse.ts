import type { MillraceError } from '../core/errors.ts';
import type { KeptReject, Page, PageRequest, QueryResult, StreamState, TableInfo } from '../core/model.ts';

/** Reading what has landed, from the main thread. Catalogue reads are small; user queries run in a process of their own. */
export interface Warehouse extends AsyncDisposable {
  tables(filter: { readonly connector?: string; readonly table?: string }): readonly TableInfo[];
  states(connector: string): readonly StreamState[];
  /** What stands aside, by stream and age: a page of bounded texts, found by an index. Throws `invalid_config` for a cursor that is none. */
  rejects(filter: RejectFilter, page: PageRequest): Promise<Page<KeptReject>>;
  /** How many rows stand aside, of each stream that has any; of all connectors when none is named. */
  rejectCounts(connector?: string): Promise<readonly RejectCount[]>;
  /** One SELECT with caps; killed when `timeoutMs` has passed or the signal fires. */
  query(sql: string, caps: QueryCaps, signal: AbortSignal): Promise<QueryResult>;
  /** Removes a connector's tables and everything kept about its streams, off the main thread. */
  drop(connector: string): Promise<void>;
  /** Why it cannot be read now; null when it can, or is not there yet. */
  unreadable(): Promise<MillraceError | null>;
  /** What SQLite's own check finds wrong with the file, off the main thread; null when it is intact or not there yet. */
  problem(): Promise<string | null>;
  /** Bytes on disk, write-ahead log included. */
  sizeBytes(): number;
}

export interface RejectFilter {
  readonly connector: string;
  readonly stream?: string;
  /** Those that this run was the last to meet. */
  readonly run_id?: string;
}

export interface RejectCount {
  readonly connector: string;
  readonly stream: string;
  readonly kept: number;
  /** Met when there was no room any more; a full refresh reads them again. */
  readonly not_kept: number;
}

export interface QueryCaps {
  readonly timeoutMs: number;
  readonly maxRows: number;
  /** Bytes of the result's JSON text. */
  readonly maxBytes: number;
}
