/**
 * The use cases: the one thing that `mcp/`, `http/` and `cli/` may call. A tool, a command and a dashboard button
 * do the same thing in the same way because each of them calls the same function here. Every function throws
 * MillraceError and nothing else.
 */

import type { BreakerState } from '../core/breaker.ts';
import type { ErrorView, NextAction } from '../core/errors.ts';
import type { Health } from '../core/health.ts';
import type {
  CheckReport,
  Connector,
  KeptReject,
  LogLine,
  Page,
  PageRequest,
  QueryResult,
  Run,
  RunStatus,
  StreamInfo,
  StreamState,
  TableInfo,
} from '../core/model.ts';
import type { AuditEntry } from '../store/store.ts';

export interface Services {
  readonly connectors: ConnectorService;
  readonly streams: StreamService;
  readonly runs: RunService;
  readonly rejects: RejectService;
  readonly data: DataService;
  readonly secrets: SecretService;
  readonly health: HealthService;
  readonly audit: AuditService;
  readonly changes: ChangeService;
}

/** What a caller may have done: look; also start, stop and replay runs; also change connectors and their secrets. */
export type Scope = 'read' | 'operate' | 'admin';

/** Who calls: for the audit log, and for what they may have done. */
export interface Caller {
  readonly actor: string;
  /** Absent: everything, as whoever started this process may. */
  readonly scopes?: ReadonlySet<Scope>;
}

export interface ConnectorTypeView {
  readonly type: string;
  readonly title: string;
  readonly description: string;
  /** JSON Schema of `config`. */
  readonly config_schema: Readonly<Record<string, unknown>>;
  /** JSON Schema of a stream. This and `examples` only where one type was asked for: they are long. */
  readonly stream_schema?: Readonly<Record<string, unknown>>;
  /** Complete arguments of register_connector. */
  readonly examples?: readonly {
    readonly shows: string;
    readonly connector: Readonly<Record<string, unknown>>;
  }[];
}

/** A text on how to do something, served as `millrace://guides/<topic>`. */
export interface GuideView {
  readonly topic: string;
  readonly title: string;
  /** Markdown. */
  readonly text: string;
}

/** How a connector's schedule is held back after failures; absent when nothing failed since the last success. */
export interface BreakerView {
  readonly state: BreakerState;
  /** Failed runs in a row. */
  readonly failures: number;
  /** Until then scheduled runs are skipped; past when half open. */
  readonly open_until?: string;
  /** Of the last failure. */
  readonly error: ErrorView;
}

export interface ConnectorSummary {
  readonly name: string;
  readonly type: string;
  readonly enabled: boolean;
  readonly health: Health;
  readonly breaker?: Pick<BreakerView, 'state' | 'open_until'>;
  readonly last_run?: { readonly run_id: string; readonly status: RunStatus; readonly finished_at?: string };
  readonly next_run_at?: string;
  readonly streams: readonly string[];
}

/** `connector.config` shows secrets as `••••` plus where they come from. */
export interface ConnectorDetail {
  readonly connector: Connector;
  readonly state: readonly StreamState[];
  readonly schedule?: { readonly next_runs: readonly string[]; readonly notes: readonly string[] };
  readonly health: Health;
  /** Why it is not healthy, and the calls that mend it; absent when it is. */
  readonly health_reasons?: readonly string[];
  readonly next_actions?: readonly NextAction[];
  readonly breaker?: BreakerView;
  readonly recent_runs: readonly Run[];
}

/** What has landed of a connector, without asking the source. */
export interface ConnectorSchema {
  readonly connector: string;
  readonly tables: readonly TableInfo[];
  /** Streams that have landed nothing yet. */
  readonly not_landed: readonly string[];
}

/** A page where a person types what the config asks for with `${ask}`. */
export interface AskView {
  /** On the machine where Millrace runs; for one answer. */
  readonly url: string;
  readonly fields: readonly string[];
  readonly expires_at: string;
  /** What to tell the person, and what to do then. */
  readonly next_step: string;
}

export interface Registered {
  readonly connector: Connector;
  readonly ask?: AskView;
  readonly test?: CheckReport;
  readonly warnings: readonly string[];
  readonly next_actions: readonly NextAction[];
}

export interface Updated {
  readonly connector: Connector;
  readonly ask?: AskView;
  /** One sentence a change. */
  readonly changes: readonly string[];
  readonly warnings: readonly string[];
}

/** Without a confirmation: the plan and its token. With the right one: what was deleted. */
export interface Deletion {
  readonly connector: string;
  readonly keep_data: boolean;
  readonly tables: readonly { readonly table: string; readonly rows: number }[];
  readonly deleted: boolean;
  /** Bound to this very plan; expires after ten minutes. */
  readonly confirmation?: string;
}

/** Inputs come from outside and are validated here, whatever the caller checked. */
export interface ConnectorService {
  types(type?: string): readonly ConnectorTypeView[];
  guides(): readonly GuideView[];
  /** Input: a Connector of the contract, earlier shapes included, plus `test`. Literal secrets are sealed and warned about. */
  register(input: unknown, caller: Caller, signal: AbortSignal): Promise<Registered>;
  list(filter: {
    readonly type?: string;
    readonly enabled?: boolean;
    readonly limit?: number;
    readonly cursor?: string;
  }): Promise<Page<ConnectorSummary>>;
  names(): Promise<readonly string[]>;
  get(name: string): Promise<ConnectorDetail>;
  /** Input: `connector`, and what is to change: any Connector field, `streams` (replaces), `add_streams`, `remove_streams`. */
  update(input: unknown, caller: Caller, signal: AbortSignal): Promise<Updated>;
  delete(
    input: { readonly connector: string; readonly keep_data?: boolean; readonly confirmation?: string },
    caller: Caller,
  ): Promise<Deletion>;
  test(name: string, signal: AbortSignal): Promise<CheckReport>;
  /**
   * Configuration as code: registers what is not there and makes the others what the file says; never deletes one. Throws
   * behind the last when some did not hold.
   */
  apply(inputs: readonly unknown[], caller: Caller): Promise<void>;
}

export interface Preview {
  readonly columns: readonly { readonly name: string; readonly type: string; readonly source_type: string }[];
  readonly rows: readonly (readonly (string | number | boolean | null)[])[];
  readonly would_write: { readonly table: string; readonly mode: string; readonly ddl: string };
  readonly warnings: readonly string[];
}

export interface StreamService {
  discover(
    request: {
      readonly connector: string;
      readonly search?: string;
      readonly limit?: number;
      readonly cursor?: string;
    },
    signal: AbortSignal,
  ): Promise<Page<StreamInfo>>;
  /** `stream`: a name already registered, or a Stream. */
  preview(
    request: { readonly connector: string; readonly stream: unknown; readonly limit?: number },
    signal: AbortSignal,
  ): Promise<Preview>;
}

export interface SyncRequest {
  readonly connector: string;
  readonly streams?: readonly string[];
  readonly full_refresh?: boolean;
}

export interface Joined {
  readonly run: Run;
  /** `own`: begun for this request. Else one that was there: it does what is asked for (`same`), or has to end first (`other`). */
  readonly as: 'own' | 'same' | 'other';
}

export interface RunService {
  /**
   * Starts a run, or the attempt for which one of the same request waits, and waits up to `wait_seconds` (10, at most 25) for
   * its end. `onProgress` hears of every change meanwhile.
   */
  sync(request: SyncRequest & { readonly wait_seconds?: number }, options: RunOptions): Promise<Run>;
  /**
   * For who means to see it through: a run under way is no refusal. One that waits for its next attempt need not wait any
   * longer. Does not wait.
   */
  join(request: SyncRequest, options: Pick<RunOptions, 'caller' | 'trigger'>): Promise<Joined>;
  get(
    request: { readonly run_id: string; readonly wait_seconds?: number; readonly include_log?: boolean },
    options: WaitOptions,
  ): Promise<Run>;
  list(filter: {
    readonly connector?: string;
    readonly status?: RunStatus;
    readonly since?: string;
    readonly limit?: number;
    readonly cursor?: string;
  }): Promise<Page<Run>>;
  /** All that is kept of a run's log, in order of time. Throws `run_not_found`. */
  log(runId: string): Promise<readonly LogLine[]>;
  cancel(runId: string, caller: Caller): Promise<Run>;
  /** Hears of each run that this process brings to an end. Returns how to stop listening. */
  onEnded(listener: (run: Run) => void): () => void;
}

export interface WaitOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: (run: Run) => void;
}

export interface RunOptions extends WaitOptions {
  readonly caller: Caller;
  readonly trigger: 'manual' | 'cli';
}

export interface ReplayRequest {
  readonly connector: string;
  readonly stream: string;
  /** Only these; all of the stream when absent. */
  readonly reject_ids?: readonly number[];
}

export interface Replay {
  readonly replayed: number;
  readonly still_rejected: number;
  /** Of the ids that were asked for: rejects no more, or never. */
  readonly not_found?: number;
  readonly next_actions?: readonly NextAction[];
}

export interface RejectService {
  /** Rows that stand aside, by stream and age. `not_kept`: further ones, that there was no room for. */
  list(filter: {
    readonly connector: string;
    readonly stream?: string;
    readonly run_id?: string;
    readonly limit?: number;
    readonly cursor?: string;
  }): Promise<Page<KeptReject> & { readonly not_kept: number }>;
  /** Lands rows that stand aside as the config of now wants them. Throws `run_in_progress`, `invalid_config`. */
  replay(request: ReplayRequest, caller: Caller, signal: AbortSignal): Promise<Replay>;
}

export interface DataService {
  describe(table?: string): Promise<readonly TableInfo[]>;
  /** Throws `connector_not_found`. */
  schema(connector: string): Promise<ConnectorSchema>;
  query(
    request: { readonly sql: string; readonly limit?: number },
    signal: AbortSignal,
  ): Promise<QueryResult>;
}

export interface SecretService {
  /**
   * Puts a new credential, best a reference, in the place of the one at `field` (`password`, `auth.token`). Tested at the
   * source before it is switched to; when the test fails everything stays as it was, and the report says why.
   * With `${ask}` the answer is a page; the test comes when a person has typed there, and its outcome is told there.
   */
  rotate(
    request: { readonly connector: string; readonly field: string; readonly value: string },
    caller: Caller,
    signal: AbortSignal,
  ): Promise<Rotated>;
}

export interface Rotated {
  readonly rotated: boolean;
  readonly test?: CheckReport;
  readonly ask?: AskView;
  readonly warnings: readonly string[];
}

export interface HealthReport {
  readonly status: Exclude<Health, 'unknown'>;
  /** Of the installation first, then of connectors, each beginning with its name. */
  readonly reasons: readonly string[];
  readonly by_health: Readonly<Record<Health, number>>;
  /** The worst first; at most a hundred. */
  readonly connectors: readonly {
    readonly name: string;
    readonly health: Health;
    readonly reason?: string;
    readonly error?: ErrorView;
  }[];
  readonly connectors_left_out?: number;
  /** Connectors that rest after their failures. */
  readonly resting: number;
  readonly scheduler: { readonly enabled: boolean; readonly detail: string };
  readonly runs: Readonly<Record<RunStatus, number>>;
  readonly storage: {
    readonly data_dir: string;
    readonly store_bytes: number;
    readonly warehouse_bytes: number;
    readonly free_bytes: number;
    readonly disk_bytes: number;
  };
  readonly next_actions: readonly NextAction[];
}

export interface HealthService {
  get(): Promise<HealthReport>;
}

export interface AuditService {
  /** Newest first. */
  list(page: PageRequest): Promise<Page<AuditEntry>>;
}

/** What changed, whoever changed it: this process or another one on the same data folder. */
export type Change =
  | {
      readonly kind: 'run';
      readonly run_id: string;
      readonly connector: string;
      /** False when only its counts moved. */
      readonly status: boolean;
    }
  | { readonly kind: 'connector'; readonly connector: string }
  | { readonly kind: 'audit' }
  | { readonly kind: 'health' };

export interface ChangeService {
  /** Hears of what each look found, together. Costs something only while somebody listens. Returns how to stop. */
  onChange(listener: (changes: readonly Change[]) => void): () => void;
}
