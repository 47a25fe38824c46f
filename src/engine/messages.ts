/** What passes between the main thread and the thread a job lives in. Plain data only: it is structured-cloned. */

import type { NetworkRules } from '../connectors/connector.ts';
import type { ErrorView } from '../core/errors.ts';
import type {
  CheckReport,
  LogLine,
  Page,
  PageRequest,
  ResolvedStream,
  Stream,
  StreamInfo,
  StreamResult,
} from '../core/model.ts';
import type { RevealedValue } from '../core/redact.ts';
import type { Value } from '../core/types.ts';
import type { FromHost, ToHost } from './host-calls.ts';

/** How to open a connector. `config` is in clear: it lives in this process's memory and nowhere else. */
export interface SourceSpec {
  readonly connector: string;
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** What references in the config stand for: what the source says of it names the reference instead. */
  readonly revealed: readonly RevealedValue[];
  /** All streams of the connector: one may be asked about by rows of another. */
  readonly declared: readonly Stream[];
  /** `millrace.network`. */
  readonly network: NetworkRules;
}

export interface SyncJob {
  readonly kind: 'sync';
  readonly source: SourceSpec;
  readonly warehouseFile: string;
  readonly runId: string;
  readonly epoch: number;
  readonly streams: readonly Stream[];
  readonly fullRefresh: boolean;
  /** What came of earlier attempts of the run. */
  readonly earlier: readonly StreamResult[];
}

/** Landing rows of one stream that were kept aside. */
export interface ReplayJob {
  readonly kind: 'replay';
  readonly source: SourceSpec;
  readonly warehouseFile: string;
  readonly epoch: number;
  readonly stream: Stream;
  /** Only these; all of the stream when absent. */
  readonly ids?: readonly number[];
}

export type Question =
  | { readonly ask: 'check'; readonly streams: readonly Stream[] }
  | { readonly ask: 'discover'; readonly request: PageRequest & { readonly search?: string } }
  | { readonly ask: 'resolve'; readonly stream: Stream }
  | { readonly ask: 'preview'; readonly stream: Stream; readonly limit: number };

/** A question to a source that moves nothing. */
export interface ProbeJob {
  readonly kind: 'probe';
  readonly source: SourceSpec;
  readonly question: Question;
  /** So long somebody waits for the answer. */
  readonly withinMs: number;
}

export type Job = SyncJob | ReplayJob | ProbeJob;

/** The answer's shape for each question. */
export interface Answers {
  readonly check: CheckReport;
  readonly discover: Page<StreamInfo>;
  readonly resolve: ResolvedStream;
  readonly preview: {
    readonly stream: ResolvedStream;
    readonly rows: readonly (readonly Value[])[];
    /** What the source says of a look at it, besides what the stream's notes say of every run. */
    readonly remarks: readonly string[];
    readonly ddl: string;
    readonly table: string;
  };
}

/** What a thread is started with. */
export interface ThreadData {
  readonly standsBack: boolean;
}

export type ToThread =
  | { readonly type: 'start'; readonly job: Job }
  | { readonly type: 'cancel'; readonly error: ErrorView }
  | { readonly type: 'host'; readonly answer: FromHost };

export type FromThread =
  | { readonly type: 'progress'; readonly streams: readonly StreamResult[] }
  | { readonly type: 'log'; readonly level: LogLine['level']; readonly message: string }
  /** An error nobody classified, with its stack: for the log of this program only. */
  | { readonly type: 'fault'; readonly detail: string }
  /** The job asks something of the program around it. */
  | { readonly type: 'host'; readonly message: ToHost }
  | { readonly type: 'done'; readonly value: unknown }
  | { readonly type: 'failed'; readonly error: ErrorView };
