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
import type { Column, Value } from '../core/types.ts';

/** The code for one kind of system. Importing one must not load its driver: `open` does that. */
export interface ConnectorType<Config = unknown> {
  readonly type: string;
  readonly title: string;
  readonly description: string;
  /** Validates and fills defaults; unknown keys are refused. Secret fields accept references as text. */
  readonly config: z.ZodType<Config>;
  /** Names of the config fields that hold credentials, as paths: `password`, `auth.token`. */
  readonly secrets: readonly string[];
  /** Config fields with the addresses that credentials are sent to: when one names another host, they are asked for again. */
  readonly boundTo?: readonly string[];
  /** From when on they are bound: from the beginning, or once it has worked, so that a mistyped host is corrected with one call. */
  readonly boundFrom?: 'registered' | 'worked';
  /** What a stream is declared by; `table` and `query` when absent. */
  readonly streamsBy?: readonly ('table' | 'query' | 'path')[];
  /** Served as `millrace://guides/<topic>`. */
  readonly guide?: ConnectorGuide;
  /** Connects lazily: an unreachable source fails in the first call, not here. Secrets in `config` are in clear. */
  open(config: Config, options: OpenOptions): Promise<Source>;
  /** What is being read, wherever it lives and whoever reads it: the database's name. Rows of another are other rows. Pure. */
  definition(config: Config): string;
  /** A cursor as a person wants to see it, e.g. the settled mark; null before the first complete read. Pure. */
  showCursor(cursor: Cursor): string | null;
}

/** How to declare connectors of a type, by examples. */
export interface ConnectorGuide {
  readonly topic: string;
  readonly title: string;
  /** Markdown. */
  text(): string;
  readonly examples: readonly GuideExample[];
}

export interface GuideExample {
  /** What it is an example of, in a clause. */
  readonly shows: string;
  /** Complete arguments of register_connector. */
  readonly connector: Readonly<Record<string, unknown>>;
}

export interface OpenOptions {
  /** Which hosts may be reached; throws `host_not_allowed`. Absent: anywhere. */
  readonly assertHost?: (host: string, port: number) => void;
  /** All streams of the connector, for those that are asked about by rows of another. */
  readonly streams?: readonly Stream[];
  /** The same rules as they were written, for who judges each address itself (HTTP). Absent: the strictest. */
  readonly network?: NetworkRules;
  /** So long somebody waits for an answer: what a source asks to wait beyond that is said and not done. Absent: a run, which waits. */
  readonly answerWithinMs?: number;
  /** What lives in the program and not in this job: absent where nothing outlives it, as in a test of one source. */
  readonly host?: HostServices;
}

/** `millrace.network` of the config file: each entry a `host`, `host:port`, `*.domain` or CIDR. */
export interface NetworkRules {
  /** When not empty, the only hosts that may be reached. */
  readonly allow: readonly string[];
  /** Private, loopback and link-local places that HTTP may reach all the same. */
  readonly allowPrivateHttp: readonly string[];
}

/** What the program does for all its jobs together: they run in threads, several at a time. */
export interface HostServices {
  /**
   * Waits until one more request may go to that host under these limits, which all jobs of this process share.
   * Release it when the answer has been read. Throws the signal's reason.
   */
  turn(host: string, limits: TurnLimits, signal: AbortSignal): Promise<Release>;
  readonly secrets: KeptSecrets;
}

export interface TurnLimits {
  /** Requests a second; absent: as many as `concurrency` lets through. */
  readonly requestsPerSecond?: number;
  /** Requests under way at one time. */
  readonly concurrency: number;
  /** Throws `rate_limited` where a server has asked for a longer rest than this. Absent: however long. */
  readonly withinMs?: number;
}

/** Ends a turn. With `pauseMs` nobody gets a turn at that host before then: the server has asked for it. */
export type Release = (pauseMs?: number) => void;

/** Secrets that a connector gets while it works, as OAuth tokens are: sealed at rest, removed with the connector. */
export interface KeptSecrets {
  /** Null when nothing is kept under that name. */
  load(field: string): Promise<string | null>;
  /** Resolves when it is on disk. */
  save(field: string, value: string): Promise<void>;
  /** Waits until nobody else in any process holds it. Lost when this process dies, after some seconds. Throws the signal's reason. */
  lock(field: string, signal: AbortSignal): Promise<() => void>;
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
  /** What is to be said of a previewed stream besides its notes, as sentences: the next request that would be made. */
  remarks?(stream: ResolvedStream): readonly string[];
  /**
   * How a row that was kept aside is judged by the config of now: its values, in the order of these columns, are changed
   * in place as reading them would; the answer is why it must not land, or null. Absent: nothing to judge. Pure.
   */
  judge?(columns: readonly Column[]): (values: Value[]) => string | null;
  /**
   * Begins to read from a position; null means from the beginning. `parents`: the values of `parentColumn` that have rows
   * here, as text; null where they are not known, or do not matter.
   */
  read(
    stream: ResolvedStream,
    from: Cursor | null,
    signal: AbortSignal,
    parents?: readonly string[] | null,
  ): Promise<Reading>;
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
  /** Rows the stream has in this reading's snapshot; null where it cannot be told, or was compared already. Call after the batches. */
  count(): Promise<number | null>;
  /** The position after the batches, with the word that the rows of this snapshot have been compared; null where that is not kept. */
  compared?(): Cursor | null;
  /** Every primary key in the same snapshot, in primary-key column order; cursors in these batches mean nothing. */
  keys(): AsyncIterable<Batch>;
}
