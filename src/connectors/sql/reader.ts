/**
 * What the reading of rows needs from a kind of SQL database. The order of the rows, the position after each batch
 * and the rows that may come twice are written once, in merge.ts and append.ts; how SQL says it, and over how many
 * snapshots the rows are read, is the dialect's own.
 */

import type { Batch, Reject } from '../../core/model.ts';
import type { Value } from '../../core/types.ts';
import type { Lookback } from './lookback.ts';
import type { Position, Settled } from './position.ts';

/** A column that lands, as far as the order of reading needs to know it. */
export interface ReadColumn {
  readonly name: string;
  /** What follows its order and is compared, as SQL. */
  readonly ref: string;
  readonly notNull: boolean;
}

/** Which rows are read, and in which order. */
export interface Selection<C extends ReadColumn> {
  readonly conditions: readonly string[];
  /** Empty: as they lie. */
  readonly order: readonly C[];
  /** Only rows strictly behind these values in that order. */
  readonly after: readonly string[] | null;
  /** The order tells rows apart only by its value: `flags` then begin with whether a row starts a new value. */
  readonly ties: boolean;
  /** Conditions that are judged for each row and come with it. */
  readonly flags: readonly string[];
}

/** Every row, as they lie. */
export const everything: Selection<never> = {
  conditions: [],
  order: [],
  after: null,
  ties: false,
  flags: [],
};

/** Some rows on their way, flat. */
export interface ReadRows {
  readonly values: readonly Value[];
  readonly rows: number;
  readonly bytes: number;
  /** Rows that were read and do not land. */
  readonly rejects?: readonly Reject[];
  /** Of each row: booleans in the order in which they were asked for. */
  readonly flags: readonly Value[];
  /** The last row's values of the order's columns, for a position; null when one has no text that reads back as it. */
  readonly last: readonly string[] | null;
}

/** The part of a batch that rows are: the position is still to come. */
export function landing({ values, rows, bytes, rejects = [] }: ReadRows): Omit<Batch, 'cursor'> {
  return rejects.length === 0 ? { values, rows, bytes } : { values, rows, bytes, rejects };
}

/** Reads one stream at the source. */
export interface RowReader<C extends ReadColumn> {
  rows(selection: Selection<C>): AsyncIterable<ReadRows>;
  count(conditions: readonly string[]): Promise<number>;
  /** A text of the source as a value of the column's type, in SQL. */
  asValue(column: C, text: string): string;
  /** A mark, less the look-back window, in SQL: in the cursor's own type, so that its index still serves. */
  lessLookback(cursor: C, mark: string, lookback: Lookback | null): string;
  /** The greatest of some values, given as SQL, by the column's own order; its text. */
  greatest(column: C, values: readonly string[]): Promise<string | null>;
  /** Whether the first text comes before the second in the column's own order. */
  isBefore(column: C, first: string, second: string): Promise<boolean>;
}

/** What positions of a stream are made of. */
export interface Keyed<C extends ReadColumn> {
  readonly key: readonly C[];
  readonly cursor: C | null;
  /** Which cursor and key positions belong to. */
  readonly of: string;
}

/** What the guard found, when a new run has to know it; a resumed one keeps the bound of its first part. */
export interface Bound {
  readonly settled: Settled;
  readonly lookback: Lookback | null;
}

export interface StepContext<C extends ReadColumn> {
  readonly plan: Keyed<C>;
  readonly position: Position | null;
  readonly bound: Bound;
  readonly reader: RowReader<C>;
}

/** One way through rows on the way to the end of a reading. */
export type Step = () => AsyncIterable<Batch>;

/** What a reading is made of. */
export interface Steps {
  readonly steps: readonly Step[];
  /** The position when everything has been read. */
  readonly end: Position;
  readonly resumed: boolean;
  readonly warnings: readonly string[];
}
