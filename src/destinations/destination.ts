import type { Batch, Counts, Cursor, ResolvedStream } from '../core/model.ts';
import type { Column, Value } from '../core/types.ts';

/** Where rows land and cursors are kept. One handle belongs to one thread. */
export interface Destination extends AsyncDisposable {
  /** What there is of a stream; null when it has not landed. */
  landed(connector: string, stream: string): Promise<Landed | null>;
  /**
   * Opens a stream for writing under an epoch. Creates the table or brings it up to the stream's columns (added
   * columns are added, changed types widen, dropped columns stay: `changes` says which). Throws `run_lost`
   * when a later epoch has already written.
   */
  writer(request: WriterRequest): Promise<Writer>;
  /**
   * Opens what stands aside of a stream that has landed, for landing it after all, under an epoch as a writer.
   * Throws `invalid_config` when the table is another stream's by now, `run_lost`.
   */
  replayer(request: ReplayRequest): Promise<Replayer>;
}

/** As what a stream has landed. */
export interface Landed {
  /** As of `WriterRequest`. */
  readonly definition: string;
  /** Those marked as deleted included. */
  readonly rows: number;
}

export interface WriterRequest {
  readonly connector: string;
  readonly stream: ResolvedStream;
  readonly runId: string;
  /** Grows with every claim of the connector; an older one is refused, not raced. */
  readonly epoch: number;
  /** Build anew beside the present table and swap at the end, whatever the mode; also what `replace` always does. */
  readonly rebuild: boolean;
  /** What the stream's position means: a stream whose definition has another text is read anew. */
  readonly definition: string;
  /** The same definition as versions before wrote it, where that was another text. */
  readonly formerly?: string;
}

export interface ReplayRequest extends Omit<WriterRequest, 'runId' | 'rebuild'> {
  /** Only these rejects; all of the stream when absent. */
  readonly ids?: readonly number[];
}

/** Lands rows that were kept aside. A row lands and leaves the rejects in one transaction, or does neither. */
export interface Replayer extends AsyncDisposable {
  /** The columns that rows are to be given in. */
  readonly columns: readonly Column[];
  /** The next rows, oldest first, bounded in number and bytes; none at the end. */
  next(): Promise<readonly KeptRow[]>;
  /**
   * ONE transaction. A row whose key the table has replaces what is there only when it is known to be newer: that is so
   * for rejects of this version of the file, because they go when a newer version of their row is read.
   */
  land(judged: readonly JudgedRow[]): Promise<Replayed>;
}

export interface KeptRow {
  readonly id: number;
  /** As of `Reject`. */
  readonly row: string;
  readonly reason: string;
  readonly cut: boolean;
}

/** A kept row as it is to land, or why it still cannot. */
export type JudgedRow =
  | { readonly id: number; readonly values: readonly Value[] }
  | { readonly id: number; readonly reason: string };

export interface Replayed {
  readonly replayed: number;
  readonly still_rejected: number;
}

/** What one commit did. */
export interface Committed {
  /** Rows the destination now holds because of this batch: unchanged re-reads count nothing. */
  readonly written: number;
  /** Rows that this run had written before and that came otherwise now; absent when there are none. */
  readonly again?: number;
  readonly rejects: number;
  /** Of the rejects, those that there was no room to keep; absent when all were kept. */
  readonly unkept?: number;
  /** What the batch's columns changed on the landed table, as sentences. */
  readonly changes?: readonly string[];
}

export interface Writer extends AsyncDisposable {
  /** The position committed last; for a rebuild, that of the rebuild under way. */
  readonly cursor: Cursor | null;
  /** Counts already committed for this run and stream, by an earlier attempt. */
  readonly counts: Counts;
  /** What was changed on the landed table, as sentences. */
  readonly changes: readonly string[];
  /** The columns that batches come in until one brings others: the stream's, or of one that grows those that have landed. */
  readonly columns: readonly Column[];
  /** Rows go to a table built aside: asked for, or because the definition has changed. */
  readonly rebuilding: boolean;
  /** Rows of the stream were kept aside, by this run or an earlier one: its table may hold fewer than the source. */
  readonly hasRejects: boolean;
  /** ONE transaction: rows, rejects, cursor, counts; `run_lost` and nothing written when the epoch is stale. */
  commit(batch: Batch): Promise<Committed>;
  /** The different values of a column of the landed table, as text; null where texts may be other ones than the source's. */
  valuesOf(column: string): Promise<readonly string[] | null>;
  /** Rows in the landed table (the one being built, for a rebuild) that are not marked deleted. */
  liveRows(): Promise<number>;
  /** Adds keys that exist at the source, for `markDeleted`. Kept outside the landed data until then. */
  seenKeys(keys: readonly Value[], rows: number): Promise<void>;
  /**
   * Marks rows whose key was not seen (`_mr_deleted_at`), in one transaction, and forgets the seen keys.
   * Refuses (`shrink_refused`) above `ceiling`, a share of the live rows between 0 and 1.
   */
  markDeleted(ceiling: number): Promise<number>;
  /**
   * The stream is complete. A rebuild becomes visible now, in one transaction, after its count was found equal
   * to `expectedRows` (less rejects), and is refused (`shrink_refused`) when it shrank below `minimumShare` of
   * what the table held, unless that is null.
   */
  finish(check: {
    readonly expectedRows: number | null;
    readonly minimumShare: number | null;
  }): Promise<void>;
}
