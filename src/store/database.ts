import type { Generated } from 'kysely';

/** The tables of `store.db` as Kysely sees them. Times are milliseconds since 1970 (UTC); booleans are 0 or 1. */
export interface Database {
  readonly connectors: ConnectorRow;
  readonly streams: StreamRow;
  readonly secrets: SecretRow;
  readonly runs: RunRow;
  readonly run_counts: RunCountRow;
  readonly run_log: RunLogRow;
  readonly leases: LeaseRow;
  readonly audit: AuditRow;
  readonly retired_keys: RetiredKeyRow;
  readonly schedules: ScheduleRow;
  readonly breakers: BreakerRow;
  readonly standings: StandingRow;
  readonly checks: CheckRow;
  readonly alert_states: AlertStateRow;
  readonly alerts: AlertRow;
}

export interface ConnectorRow {
  readonly name: string;
  readonly type: string;
  /** JSON; secrets are references. */
  readonly config: string;
  readonly schedule: string | null;
  readonly timezone: string | null;
  readonly enabled: number;
  readonly description: string | null;
  readonly created_at: number;
  readonly updated_at: number;
}

export interface StreamRow {
  readonly connector: string;
  readonly position: number;
  readonly name: string;
  /** The Stream as declared, JSON. */
  readonly declared: string;
}

export interface SecretRow {
  readonly owner: string;
  readonly key_id: string;
  readonly sealed: Uint8Array;
  readonly created_at: number;
  readonly updated_at: number;
}

export interface RunRow {
  readonly run_id: string;
  readonly connector: string;
  readonly trigger: string;
  readonly status: string;
  readonly attempt: number;
  /** JSON array of stream names, or null for all. */
  readonly only_streams: string | null;
  readonly full_refresh: number;
  readonly due_at: number | null;
  /** 1: its due time lay ahead when the clock was put back; the same time may come again. */
  readonly before_set_back: number;
  /** 1: a due time that no run came of; `error` says why. */
  readonly skipped: number;
  readonly queued_at: number;
  readonly started_at: number | null;
  readonly finished_at: number | null;
  readonly retry_at: number | null;
  readonly cancel_requested: number;
  /** Of the latest claim; null before the first. */
  readonly epoch: number | null;
  /** StreamResult[], JSON. One text and not rows of their own: it is always read and written whole, with each heartbeat. */
  readonly streams: string;
  /** ErrorView, JSON. */
  readonly error: string | null;
}

export interface RunCountRow {
  readonly status: string;
  readonly runs: number;
}

export interface RunLogRow {
  readonly run_id: string;
  readonly line: number;
  readonly at: number;
  readonly level: string;
  readonly message: string;
}

/** Rows are never deleted: an epoch that was given out once must not be given out again. */
export interface LeaseRow {
  readonly name: string;
  readonly holder: string | null;
  readonly epoch: number;
  /** 0 when nobody holds it. */
  readonly expires_at: number;
  /** What the clock said when its holder last did its duty; null for leases without one. */
  readonly seen_at: number | null;
}

export interface AuditRow {
  readonly id: Generated<number>;
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly detail: string;
  /** Hex; null for entries of version 1. */
  readonly hash: string | null;
}

export interface RetiredKeyRow {
  readonly key_id: string;
  readonly retired_at: number;
}

/** Put here and taken out by triggers on `connectors`. */
export interface ScheduleRow {
  readonly connector: string;
  /** What it was planned by: schedule and time zone. Another one means that it has to be planned anew. */
  readonly spec: string | null;
  /** The time of the schedule that comes next; null before it was planned. */
  readonly due_at: number | null;
  /**
   * When to act on it: `due_at` and the connector's share of the spread. Before it was planned: from when on its times
   * count, 0 for from when it is planned.
   */
  readonly start_at: number;
  /** Since when the connector has this schedule and zone, and is on; null where that was before it was kept. */
  readonly scheduled_at: number | null;
}

export interface BreakerRow {
  readonly connector: string;
  /** Failed runs in a row. */
  readonly failures: number;
  /** Null while closed. */
  readonly opened_at: number | null;
  readonly open_until: number | null;
  /** ErrorView of the last failure, JSON. */
  readonly error: string;
}

/** What a connector's runs have come to, taken together. */
export interface StandingRow {
  readonly connector: string;
  /** Of the newest run over all streams: what is not behind is at least so new. */
  readonly queued_at: number | null;
  readonly finished_at: number | null;
  /** Streams that have not landed since a run left them behind, each with its error if it has one of its own; JSON. */
  readonly behind: string;
  /** ErrorView of the last run that had one, JSON. */
  readonly error: string | null;
  /** What the times were when nothing was behind the last time, while something is. */
  readonly whole_queued_at: number | null;
  readonly whole_finished_at: number | null;
}

export interface CheckRow {
  readonly connector: string;
  readonly at: number;
  readonly ok: number;
  /** CheckReport, JSON. */
  readonly report: string;
}

export interface AlertStateRow {
  /** A connector's name, or `` for the installation. */
  readonly subject: string;
  readonly told: string;
  readonly seen: string;
  /** Since when looks have seen it. */
  readonly since: number;
}

export interface AlertRow {
  readonly subject: string;
  /** The same in every attempt, so that a receiver knows what it had already. */
  readonly id: string;
  readonly at: number;
  /** JSON, as it is sent. */
  readonly body: string;
  readonly attempts: number;
  readonly next_at: number;
  /** Why the last attempt failed. */
  readonly error: string | null;
}
