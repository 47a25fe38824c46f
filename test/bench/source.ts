import type { TableName } from './tables.ts';

/** A database system that is moved from, as the benchmark needs it: nothing else here knows what kinds there are. */
export interface BenchSource extends AsyncDisposable {
  /** `PostgreSQL 18.4` */
  readonly title: string;
  /** The connector's type and config. */
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** What a stream of the table declares beside its name, cursor and mode. */
  stream(table: TableName): Readonly<Record<string, unknown>>;
  /** Makes the table with that many rows, an index on its cursor, and statistics. */
  fill(table: TableName, rows: number): Promise<void>;
  /** Touches every hundredth row as an application would. Returns how many. */
  changeOnePercent(table: TableName): Promise<number>;
  drop(table: TableName): Promise<void>;
  /** Has written down what it still holds in memory, so that no contender waits for that. */
  settle(): Promise<void>;
  /** (a): a script beside this file that takes TABLE and FILE. */
  readonly ceiling: Contender<string>;
  /** (b); null where a person would type no such line. */
  readonly pipe: Pipe | null;
  readonly wanted: Wanted;
}

export interface Contender<What> {
  readonly run: What;
  readonly env: Readonly<Record<string, string>>;
}

/** The source's own client into `sqlite3`. */
export interface Pipe {
  readonly title: string;
  /** A line of shell that takes $BENCH_TABLE and $BENCH_FILE; null where the tools for it are missing. */
  readonly shell: Contender<string> | null;
  /** What to say where it is left out. */
  readonly missing: string;
}

/** What is asked of Millrace beside the others: at least that share of their rows a second. */
export interface Wanted {
  readonly ofCeiling: Readonly<Record<TableName, number>>;
  /** Null: told, not asked. */
  readonly ofPipe: Readonly<Record<TableName, number>> | null;
  /** The longest that a run may take which finds nothing new; null: told, not asked. */
  readonly nothingMs: number | null;
}
