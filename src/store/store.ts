import type { ErrorView } from '../core/errors.ts';
import type {
  Connector,
  LogLine,
  Page,
  PageRequest,
  Run,
  RunStatus,
  StreamResult,
  Trigger,
} from '../core/model.ts';

/** Everything Millrace remembers about itself: `store.db`. Never rows of a source. */
export interface Store extends AsyncDisposable {
  readonly connectors: ConnectorStore;
  readonly secrets: SecretStore;
  readonly runs: RunStore;
  readonly audit: AuditStore;
  readonly leases: LeaseStore;
  /** What SQLite's own check finds wrong with the file; null when it is intact. Reads all of it. */
  problem(): Promise<string | null>;
  /** Bytes on disk, write-ahead log included. */
  sizeBytes(): number;
  /** Null when SQLite finds the file intact, else what it found first. Reads the whole file: for `doctor`. */
  integrity(): Promise<string | null>;
}

export interface ConnectorRecord extends Connector {
  readonly created_at: string;
  readonly updated_at: string;
}

export interface ConnectorStore {
  /** Stores the connector and the secrets sealed for it, together or not at all. Throws `connector_exists`. */
  insert(connector: Connector, sealed?: readonly SealedSecret[]): Promise<ConnectorRecord>;
  /** Throws `connector_not_found`, with the nearest known names in the hint. */
  get(name: string): Promise<ConnectorRecord>;
  list(
    filter: { readonly type?: string; readonly enabled?: boolean },
    page: PageRequest,
  ): Promise<Page<ConnectorRecord>>;
  names(): Promise<readonly string[]>;
  /**
   * Replaces the record and stores the secrets sealed for it, together or not at all; secrets of its own that the
   * new config no longer names are removed. Throws `connector_not_found`.
   */
  update(connector: Connector, sealed?: readonly SealedSecret[]): Promise<ConnectorRecord>;
  /**
   * Removes the connector with its streams and secrets; its runs stay in the history. A queued run is cancelled, a
   * running one is asked to stop. Throws `connector_not_found`.
   */
  remove(name: string): Promise<void>;
}

/** A secret sealed by the vault. `owner` is authenticated with it: moved to another row it does not open. */
export interface SealedSecret {
  readonly owner: string;
  readonly keyId: string;
  readonly sealed: Uint8Array;
}

export interface SecretStore {
  put(secret: SealedSecret): Promise<void>;
  get(owner: string): Promise<SealedSecret | null>;
  /** Owners only. */
  list(prefix: string): Promise<readonly { readonly owner: string; readonly created_at: string }[]>;
  remove(owner: string): Promise<boolean>;
  /** Which keys the stored values were sealed with, and how many values each. */
  keyIds(): Promise<readonly { readonly keyId: string; readonly secrets: number }[]>;
  /** Up to `limit` values that other keys than this one sealed, in order of owner, behind `after`. */
  sealedByOthers(
    keyId: string,
    page: { readonly after: string; readonly limit: number },
  ): Promise<readonly SealedSecret[]>;
  /** Puts each `to` in the place of exactly its `from`, in one transaction; how many: another value may stand there by now. */
  exchange(pairs: readonly { readonly from: SealedSecret; readonly to: SealedSecret }[]): Promise<number>;
  /** From now on nothing sealed by this key is taken in; false, and nothing changed, while something is stored that needs it. */
  retire(keyId: string): Promise<boolean>;
}

/** What one holder in all processes has for a while. Run claims are leases of their own, in `RunStore`. */
export interface LeaseStore {
  /** Null while somebody else holds it. Atomic across processes. */
  acquire(name: string, holder: string, leaseMs: number): Promise<Lease | null>;
  /** False when it is no longer ours. */
  renew(lease: Lease, leaseMs: number): Promise<boolean>;
  /** Nothing happens when it is no longer ours. */
  release(lease: Lease): Promise<void>;
}

export interface Lease {
  readonly name: string;
  /** Grows with every holder. */
  readonly epoch: number;
}

export interface RunRequest {
  readonly connector: string;
  readonly trigger: Trigger;
  /** Only these streams; all when absent. */
  readonly streams?: readonly string[];
  readonly fullRefresh: boolean;
  /** For scheduled runs the due time is part of the identity: two processes that see it make one run. */
  readonly dueAt?: Date;
}

/** A run that this process now holds. */
export interface Claim {
  readonly run_id: string;
  readonly connector: string;
  readonly attempt: number;
  /**
   * Grows with every claim of this connector and never repeats, also after the connector was deleted and registered
   * anew, and after `store.db` was restored from an older copy: it is never below the time of the claim in ms.
   */
  readonly epoch: number;
  readonly streams?: readonly string[];
  readonly fullRefresh: boolean;
  /** True when an earlier holder disappeared without finishing. */
  readonly recovered: boolean;
}

export interface Outcome {
  readonly status: Exclude<RunStatus, 'queued' | 'running'>;
  readonly streams: readonly StreamResult[];
  readonly error?: ErrorView;
}

export interface RunFilter {
  readonly connector?: string;
  readonly status?: RunStatus;
  /** ISO 8601; runs queued at or after it. */
  readonly since?: string;
}

export interface RunStore {
  /**
   * Queues a run. When one of the connector is already queued or running: throws `run_in_progress`, its hint and
   * next action naming that run. A scheduled run whose `dueAt` is already known is returned as it stands. Throws
   * `connector_not_found`.
   */
  enqueue(request: RunRequest): Promise<Run>;
  /**
   * Takes the oldest run that may start now: queued with no `retry_at` ahead, or running with an expired lease
   * (then attempt + 1). At most one run of a connector is held at a time. Atomic across processes. Runs whose holder
   * disappeared after somebody asked them to stop are ended as cancelled on the way.
   */
  claim(holder: string, leaseMs: number): Promise<Claim | null>;
  /** Makes runs held by holders that are known to be gone claimable at once. Returns the run ids. */
  release(isGone: (holder: string) => boolean): Promise<readonly string[]>;
  /** Renews the lease and shows progress. `lost`: a later epoch holds it, stop. `cancelled`: somebody asked, stop and finish. */
  heartbeat(
    claim: Claim,
    leaseMs: number,
    streams: readonly StreamResult[],
  ): Promise<'held' | 'lost' | 'cancelled'>;
  /** Ends the run; false when it is no longer ours. */
  finish(claim: Claim, outcome: Outcome): Promise<boolean>;
  /**
   * Puts the run back into the queue for a later attempt, or ends it as cancelled when that was asked for; false when
   * it is no longer ours.
   */
  retry(claim: Claim, at: Date, outcome: Pick<Outcome, 'streams' | 'error'>): Promise<boolean>;
  /** Queued: cancelled at once. Running: asked to stop. Ended: returned as it is. Throws `run_not_found`. */
  cancel(runId: string): Promise<Run>;
  get(runId: string): Promise<Run>;
  list(filter: RunFilter, page: PageRequest): Promise<Page<Run>>;
  /** Adds a line to the run's log: scrubbed, cut to 2,000 characters; the newest 500 lines are kept. */
  log(runId: string, level: LogLine['level'], message: string): Promise<void>;
  /** Newest `limit` lines in order of time. */
  readLog(runId: string, limit: number): Promise<readonly LogLine[]>;
  /**
   * When the next run may be claimed, for the runner's timer: a queued one when its time has come, a running one when
   * its lease ends (so that a run whose holder dies is found). Null when there is neither.
   */
  nextStart(): Promise<Date | null>;
  counts(): Promise<Readonly<Record<RunStatus, number>>>;
}

export interface AuditEntry {
  readonly at: string;
  /** Who: `stdio`, `cli`, later a principal. */
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  /** Redacted JSON. */
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface AuditStore {
  append(entry: Omit<AuditEntry, 'at'>): Promise<void>;
  list(page: PageRequest): Promise<Page<AuditEntry>>;
  /** Whether every entry is as it was written and none is missing; `problem` says what is wrong. Reads all of them. */
  verify(): Promise<{ readonly entries: number; readonly problem: string | null }>;
}
