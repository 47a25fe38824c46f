/**
 * One error class and one table of codes. A failure is raised where it is understood (drivers' errors are
 * classified once, at the edge) and its recovery is read from the table, never from its message.
 */

/** How the engine recovers: run it again later, stop the run, or keep the row aside and go on. */
export type Recovery = 'retry' | 'abort' | 'reject';

/** Who has to act before the same call can succeed. */
export type Who = 'assistant' | 'person' | 'administrator';

interface CodeEntry {
  readonly recovery: Recovery;
  readonly who: Who;
  /** What the code means, for the README's table: one clause, no full stop. */
  readonly meaning: string;
}

/** Every code a user can meet. The README's troubleshooting table is checked against it in both directions. */
export const ERROR_CODES = {
  connector_not_found: { recovery: 'abort', who: 'assistant', meaning: 'no connector has that name' },
  connector_exists: { recovery: 'abort', who: 'assistant', meaning: 'the name is taken' },
  invalid_config: {
    recovery: 'abort',
    who: 'assistant',
    meaning: 'the configuration or an argument does not hold',
  },
  secret_missing: {
    recovery: 'abort',
    who: 'person',
    meaning: 'a reference names a secret that is not there',
  },
  secret_refused: {
    recovery: 'abort',
    who: 'administrator',
    meaning: 'the reference or literal is not allowed here',
  },
  host_unreachable: { recovery: 'retry', who: 'person', meaning: 'nothing answered at that host and port' },
  host_not_allowed: { recovery: 'abort', who: 'administrator', meaning: 'network rules forbid that host' },
  tls_failed: { recovery: 'abort', who: 'person', meaning: 'no secure connection could be agreed' },
  auth_failed: { recovery: 'abort', who: 'person', meaning: 'the source refused the credentials' },
  permission_denied: { recovery: 'abort', who: 'administrator', meaning: 'the login may not read that' },
  timeout: { recovery: 'retry', who: 'person', meaning: 'the source did not answer in time' },
  connection_lost: {
    recovery: 'retry',
    who: 'person',
    meaning: 'the connection broke or the server is restarting',
  },
  rate_limited: { recovery: 'retry', who: 'person', meaning: 'the source asks for fewer requests' },
  source_failed: {
    recovery: 'retry',
    who: 'person',
    meaning: 'the source answered that it has a fault of its own',
  },
  not_found_at_source: {
    recovery: 'abort',
    who: 'assistant',
    meaning: 'the table, column or endpoint is not there',
  },
  cursor_invalid: { recovery: 'abort', who: 'assistant', meaning: 'the cursor column cannot order the rows' },
  key_not_unique: {
    recovery: 'abort',
    who: 'assistant',
    meaning: 'rows share a primary key, so a merge would lose some',
  },
  schema_changed: {
    recovery: 'retry',
    who: 'assistant',
    meaning: 'the stream changed during the read: its shape, or which rows there are',
  },
  shrink_refused: {
    recovery: 'abort',
    who: 'assistant',
    meaning: 'a full load came back much smaller than the last one',
  },
  response_invalid: { recovery: 'abort', who: 'person', meaning: 'the source answered something unreadable' },
  pagination_loop: { recovery: 'abort', who: 'assistant', meaning: 'the source repeats a page' },
  circuit_open: {
    recovery: 'retry',
    who: 'person',
    meaning: 'the connector failed too often and is resting',
  },
  run_in_progress: { recovery: 'abort', who: 'assistant', meaning: 'the connector is already syncing' },
  time_missed: {
    recovery: 'abort',
    who: 'assistant',
    meaning: 'a scheduled time passed while no server was running',
  },
  run_not_found: { recovery: 'abort', who: 'assistant', meaning: 'no run has that id' },
  run_lost: {
    recovery: 'abort',
    who: 'assistant',
    meaning: 'another process took the run over; this one was shut out',
  },
  destination_failed: {
    recovery: 'abort',
    who: 'person',
    meaning: 'the local data file could not be written or read',
  },
  destination_busy: {
    recovery: 'retry',
    who: 'person',
    meaning: 'another program keeps the local data file locked',
  },
  disk_full: { recovery: 'retry', who: 'person', meaning: 'no space is left for the data folder' },
  data_dir_unusable: {
    recovery: 'abort',
    who: 'person',
    meaning: 'the data folder cannot be used by this program',
  },
  row_invalid: {
    recovery: 'reject',
    who: 'assistant',
    meaning: 'one row could not be stored and was kept as a reject',
  },
  query_rejected: { recovery: 'abort', who: 'assistant', meaning: 'only one SELECT may run here' },
  query_timeout: { recovery: 'abort', who: 'assistant', meaning: 'the query took too long and was stopped' },
  confirmation_invalid: {
    recovery: 'abort',
    who: 'assistant',
    meaning: 'the confirmation does not belong to this plan',
  },
  read_only: { recovery: 'abort', who: 'administrator', meaning: 'this server was started read-only' },
  scope_missing: { recovery: 'abort', who: 'administrator', meaning: 'the token may not have that done' },
  cancelled: { recovery: 'abort', who: 'assistant', meaning: 'somebody asked for it to stop' },
  internal: { recovery: 'abort', who: 'administrator', meaning: 'a mistake of ours' },
} as const satisfies Record<string, CodeEntry>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** A tool call that would help, ready to be made. */
export interface NextAction {
  readonly tool: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly why: string;
}

/** An error as the outside sees it (contract §4). */
export interface ErrorView {
  readonly code: ErrorCode;
  readonly message: string;
  /** What mends it: the exact command, GRANT, config line or call. */
  readonly hint: string;
  readonly retryable: boolean;
  readonly who: Who;
  readonly next_actions?: readonly NextAction[];
}

export interface ErrorDetails {
  readonly hint: string;
  readonly cause?: unknown;
  readonly who?: Who;
  readonly nextActions?: readonly NextAction[];
}

/**
 * The one error of this program. `message` says what happened and where; `hint` says what mends it. Neither
 * may hold a secret. `cause` is for the log, and is redacted there.
 */
export class MillraceError extends Error {
  override readonly name = 'MillraceError';
  readonly code: ErrorCode;
  readonly hint: string;
  readonly who: Who;
  readonly nextActions: readonly NextAction[];

  constructor(code: ErrorCode, message: string, details: ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.who = details.who ?? ERROR_CODES[code].who;
    this.nextActions = details.nextActions ?? [];
  }

  get recovery(): Recovery {
    return ERROR_CODES[this.code].recovery;
  }

  get retryable(): boolean {
    return this.recovery === 'retry';
  }

  /** Plain data for results, the store and messages between threads. */
  toView(): ErrorView {
    return {
      code: this.code,
      message: this.message,
      hint: this.hint,
      retryable: this.retryable,
      who: this.who,
      ...(this.nextActions.length > 0 ? { next_actions: this.nextActions } : {}),
    };
  }

  /** The error again, on the other side of a thread or a store. */
  static fromView(view: ErrorView): MillraceError {
    return new MillraceError(view.code, view.message, {
      hint: view.hint,
      who: view.who,
      ...(view.next_actions ? { nextActions: view.next_actions } : {}),
    });
  }
}

/** Any thrown thing as our error; what nobody classified is `internal`, with its message kept from the outside. */
export function asMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  return new MillraceError('internal', 'Something unexpected happened inside Millrace.', {
    hint: 'Run `millrace doctor`; the log line with code "internal" on stderr has the cause.',
    cause: error,
  });
}

/** The stack and its causes as text, for the log of this program only: it may hold what a driver said. */
export function faultOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? error.message;
  return error.cause === undefined ? own : `${own}\ncaused by ${faultOf(error.cause)}`;
}
