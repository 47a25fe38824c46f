import type { z } from 'zod';
import type {
  Batch,
  CheckReport,
  Cursor,
  Page,
  PageRequest,
  ResolvedStream,
  Stream,
  StreamInfo,
} from '../core/model.ts';
import type { Value } from '../core/types.ts';

/** The code for one kind of system. Importing one must not load its driver: `open` does that. */
export interface ConnectorType<Config = unknown> {
  readonly type: string;
  readonly title: string;
  readonly description: string;
  /** Validates and fills defaults; unknown keys are refused. Secret fields accept references as text. */
  readonly config: z.ZodType<Config>;
  /** Names of the config fields that hold credentials, as paths: `password`, `auth.token`. */
  readonly secrets: readonly string[];
  /** Connects lazily: an unreachable source fails in the first call, not here. Secrets in `config` are in clear. */
  open(config: Config, options: OpenOptions): Promise<Source>;
  /** What is being read, wherever it lives and whoever reads it: the database's name. Rows of another are other rows. Pure. */
  definition(config: Config): string;
  /** A cursor as a person wants to see it, e.g. the settled mark; null before the first complete read. Pure. */
  showCursor(cursor: Cursor): string | null;
}

export interface OpenOptions {
  /** Which hosts may be reached; throws `host_not_allowed`. Absent: anywhere. */
  readonly assertHost?: (host: string, port: number) => void;
}

/** An opened connector. Closing ends every connection it made, also while a read is under way. */
export interface Source extends AsyncDisposable {
  /** Never throws for what is wrong with the source: that is the report. */
  check(streams: readonly Stream[], signal: AbortSignal): Promise<CheckReport>;
  discover(
    request: PageRequest & { readonly search?: string },
    signal: AbortSignal,
  ): Promise<Page<StreamInfo>>;
  /** Asks the source about a declared stream and chooses what was left open. Throws a MillraceError on what cannot work. */
  resolve(stream: Stream, signal: AbortSignal): Promise<ResolvedStream>;
  /** The first rows, values cut to a bounded size. Moves nothing, writes nothing. */
  preview(stream: ResolvedStream, limit: number, signal: AbortSignal): Promise<readonly (readonly Value[])[]>;
  /** Begins to read from a position; null means from the beginning. */
  read(stream: ResolvedStream, from: Cursor | null, signal: AbortSignal): Promise<Reading>;
}

/**
 * What has been read, by this reading and those before it, against one snapshot of the source. `same`: this reading saw
 * nothing else. `all`: no row of the snapshot is missing, but some that were read have been deleted since. `unknown`:
 * it goes on behind what another snapshot showed, or needed several, and either may be.
 */
export type Agreement = 'same' | 'all' | 'unknown';

/** One reading of one stream, in one consistent snapshot of the source or, if that is longer than it can bear, in several. */
export interface Reading extends AsyncDisposable {
  /** Which protection against late commits is in force. */
  readonly guard: string;
  readonly warnings: readonly string[];
  /** True when `from` stood in the middle of an unfinished load or run. */
  readonly resumed: boolean;
  /** Pulled one at a time: nothing is read ahead beyond a bounded buffer. The last batch may hold no rows, only the position. */
  readonly batches: AsyncIterable<Batch>;
  /** What was found while reading, as sentences for the run's warnings. Asked once, after the batches or what there was of them. */
  noticed?(): readonly string[];
  /** How what was read compares with the snapshot that `count` and `keys` see. Ask after the batches. */
  readonly agreement: Agreement;
  /** Rows the stream has in this reading's snapshot; null where it cannot be told. Call after the batches. */
  count(): Promise<number | null>;
  /** Every primary key in the same snapshot, in primary-key column order; cursors in these batches mean nothing. */
  keys(): AsyncIterable<Batch>;
}
