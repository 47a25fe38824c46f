import type { AlertState } from '../core/alerts.ts';
import type { Breaker } from '../core/breaker.ts';
import type { ErrorView } from '../core/errors.ts';
import type { ConnectorFacts } from '../core/health.ts';
import type {
  CheckReport,
  Connector,
  LogLine,
  Page,
  PageRequest,
  Run,
  RunStatus,
  StreamResult,
  Trigger,
} from '../core/model.ts';
import type { ScheduleStore } from './schedules.ts';

/** Everything Millrace remembers about itself: `store.db`. Never rows of a source. */
export interface Store extends AsyncDisposable {
  readonly connectors: ConnectorStore;
  readonly secrets: SecretStore;
  readonly runs: RunStore;
  readonly breakers: BreakerStore;
  readonly audit: AuditStore;
  readonly leases: LeaseStore;
  readonly health: HealthFactStore;
  readonly checks: CheckStore;
  readonly alerts: AlertStore;
  readonly schedules: ScheduleStore;
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
   * new config no longer names are removed. Null, and nothing stored, when `seen` is given and is no longer what stands
   * there. Throws `connector_not_found`.
   */
  update(
    connector: Connector,
    sealed?: readonly SealedSecret[],
    seen?: ConnectorRecord,
  ): Promise<ConnectorRecord | null>;
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
  /** False when it is no longer ours. `seenAt` is kept with it, for whoever holds it next. */
  renew(lease: Lease, leaseMs: number, seenAt?: Date): Promise<boolean>;
  /** Nothing happens when it is no longer ours. */
  release(lease: Lease): Promise<void>;
  /** Who holds it now, if anybody, and what its last holder saw; null when nobody ever held it. */
  look(name: string): Promise<LeaseView | null>;
  /** Takes it from a holder that is known to be gone; false when it is not. */
  free(name: string, isGone: (holder: string) => boolean): Promise<boolean>;
}

export interface Lease {
  readonly name: string;
  /** Grows with every holder. */
  readonly epoch: number;
}

export interface LeaseView {
  /** Null while nobody does. */
  readonly holder: string | null;
  /** What the clock said when a holder last renewed it with `seenAt`. */
  readonly seenAt: Date | null;
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
  /** What the last attempt that came to an end failed with; absent when none did. */
  readonly failure?: ErrorView;
}

/** Which runs are old. */
export interface SweepRules {
  readonly olderThan: Date;
  /** Of each connector so many are not, unless they are older than that. */
  readonly keepRuns: number;
}

/** A run that is queued or running, and what it was asked for. */
export interface ActiveRun extends Pick<RunRequest, 'streams' | 'fullRefresh'> {
  readonly run: Run;
}

export interface Holding {
  readonly holder: string;
  readonly leaseMs: number;
  /** Whether a holder is known to be gone: nobody need wait for its lease to end. */
  readonly isGone: (holder: string) => boolean;
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
   * next action naming that run. One that waits for its next attempt and is what somebody asks for is not refused but
   * brought forward, with all of its streams that failed. A scheduled run whose `dueAt` is already known is returned as it stands. Throws
   * `connector_not_found`.
   */
  enqueue(request: RunRequest): Promise<Run>;
  /**
   * Takes the oldest run that may start now: queued with no `retry_at` ahead, or running with an expired lease
   * (then attempt + 1). At most one run of a connector is held at a time. Atomic across processes. Runs whose holder
   * disappeared after somebody asked them to stop are ended as cancelled on the way. `only`: that run or none.
   */
  claim(holder: string, leaseMs: number, only?: string): Promise<Claim | null>;
  /**
   * Holds a connector without a run, for other work on its data: no run of it is claimed before the lease is released or
   * has run out, as of `LeaseStore`. Throws `run_in_progress` while one is queued or running, or somebody else holds it.
   */
  hold(connector: string, as: Holding): Promise<Lease>;
  /** Makes runs held by holders that are known to be gone claimable at once. Returns the run ids. */
  release(isGone: (holder: string) => boolean): Promise<readonly string[]>;
  /** Renews the lease and shows progress. `lost`: a later epoch holds it, stop. `cancelled`: somebody asked, stop and finish. */
  heartbeat(
    claim: Claim,
    leaseMs: number,
    streams: readonly StreamResult[],
  ): Promise<'held' | 'lost' | 'cancelled'>;
  /** Ends the run, and with it opens or closes the connector's breaker; false when it is no longer ours. */
  finish(claim: Claim, outcome: Outcome): Promise<boolean>;
  /**
   * Puts the run back into the queue for a later attempt, or ends it as cancelled when that was asked for; false when
   * it is no longer ours.
   */
  retry(claim: Claim, at: Date, outcome: Pick<Outcome, 'streams' | 'error'>): Promise<boolean>;
  /**
   * The same for a holder that has to leave: another goes on at once, and no attempt is used up, so that a client which
   * is closed now and then does not end a load that takes days.
   */
  handBack(claim: Claim, streams: readonly StreamResult[]): Promise<boolean>;
  /** Queued: cancelled at once. Running: asked to stop. Ended: returned as it is. Throws `run_not_found`. */
  cancel(runId: string): Promise<Run>;
  get(runId: string): Promise<Run>;
  /** The run of the connector that is queued or running; there is at most one. */
  active(connector: string): Promise<ActiveRun | null>;
  /** The newest run of the connector that is not a skipped due time. */
  latest(connector: string): Promise<Run | null>;
  list(filter: RunFilter, page: PageRequest): Promise<Page<Run>>;
  /** Adds a line to the run's log: scrubbed, cut to 2,000 characters; the newest 500 lines are kept. */
  log(runId: string, level: LogLine['level'], message: string): Promise<void>;
  /** Newest `limit` lines in order of time. */
  readLog(runId: string, limit: number): Promise<readonly LogLine[]>;
  /**
   * One small step of removing old runs: some of that connector's, begun with `''`. Returns the connector to go on with,
   * null at the end. Of each connector the newest run and the newest that brought rows stay. Log lines go with their run.
   */
  sweep(
    rules: SweepRules,
    connector: string,
  ): Promise<{ readonly connector: string | null; readonly removed: number }>;
  /**
   * When the next run may be claimed, for the runner's timer: a queued one when its time has come, a running one when
   * its lease ends (so that a run whose holder dies is found). Null when there is neither.
   */
  nextStart(): Promise<Date | null>;
  counts(): Promise<Readonly<Record<RunStatus, number>>>;
}

/** Which connectors are left in peace. Runs count when they end, in `RunStore.finish`; a changed connector begins anew. */
export interface BreakerStore {
  /** Null: closed, and nothing failed since the last success. */
  get(connector: string): Promise<Breaker | null>;
  /** Of every connector that failed since it last succeeded, by name. */
  all(): Promise<ReadonlyMap<string, Breaker>>;
  /** The next scheduled run need not wait: it finds out. True when it would have waited. */
  testPassed(connector: string): Promise<boolean>;
  /** As if nothing had ever failed. */
  close(connector: string): Promise<void>;
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
  /** Whether that was ever done to it, whatever else it goes by. */
  has(action: string, subject: string): Promise<boolean>;
  /** Whether every entry is as it was written and none is missing; `problem` says what is wrong. Reads all of them. */
  verify(): Promise<{ readonly entries: number; readonly problem: string | null }>;
}

/** What the store knows of a connector's health. */
export interface StoredFacts extends Omit<ConnectorFacts, 'rejects' | 'promisedAt'> {
  readonly schedule?: string;
  readonly timezone?: string;
  /** Since when it has that schedule and is on, where that is known; milliseconds. */
  readonly scheduledAt?: number;
  /** When somebody last changed the connector; milliseconds. */
  readonly changedAt: number;
  /** When the last run over all streams that left none behind was queued: its data are at least so new; milliseconds. */
  readonly succeededFrom?: number;
}

export interface HealthFactStore {
  /** Connectors after that name, in order of names; empty at the end. */
  page(after: string, limit: number): Promise<readonly StoredFacts[]>;
  /** Those of these names that there are. */
  of(names: readonly string[]): Promise<readonly StoredFacts[]>;
  /** How many enabled connectors have a schedule. */
  scheduled(): Promise<number>;
}

export interface CheckStore {
  /** Keeps what a look at the source found, in place of the one before. Nothing happens when the connector is gone. */
  put(connector: string, report: CheckReport): Promise<void>;
  /**
   * Enabled connectors whose source nobody has met since then: neither looked at nor synced well; longest unseen first.
   * Not one that is syncing, nor one whose login was refused: an account is not to be locked out by looking.
   */
  due(since: Date, limit: number): Promise<readonly string[]>;
}

/** An alert on its way. `body` is JSON, as it is sent. */
export interface WaitingAlert {
  readonly id: string;
  readonly at: Date;
  readonly body: string;
  readonly attempts: number;
}

export interface AlertStore {
  states(): Promise<readonly AlertState[]>;
  /** Both or neither. An alert takes the place of one of the same subject that was not delivered yet. */
  remember(
    states: readonly AlertState[],
    alerts: readonly { readonly subject: string; readonly id: string; readonly body: object }[],
  ): Promise<void>;
  /** Forgets the states of connectors that are no more. */
  forget(): Promise<void>;
  /** Those to be sent now, the one that has waited longest first. */
  due(limit: number): Promise<readonly WaitingAlert[]>;
  /** After an attempt that failed. */
  postpone(id: string, to: Date, error: string): Promise<void>;
  remove(id: string): Promise<void>;
  /** How many have failed so far, and one reason. */
  undelivered(): Promise<{ readonly alerts: number; readonly error?: string }>;
}
