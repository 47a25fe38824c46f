/** How a connector is, from what is known of it. */

import type { ErrorCode, ErrorView, NextAction } from './errors.ts';

export type Health = 'healthy' | 'degraded' | 'failing' | 'unknown';

/** What is known of a connector. Times in milliseconds since 1970. */
export interface ConnectorFacts {
  readonly connector: string;
  readonly enabled: boolean;
  /** The newest run that came to an end of its own: one that was skipped or cancelled says nothing of the source. */
  readonly ended?: EndedRun;
  /** The run that is queued or under way. */
  readonly active?: ActiveRun;
  /** When the last run that brought everything ended. */
  readonly succeededAt?: number;
  readonly breaker?: BreakerFacts;
  /** The last look at the source. */
  readonly check?: CheckFacts;
  /** Rows kept aside, by stream. */
  readonly rejects: readonly { readonly stream: string; readonly rows: number }[];
  /** By when the schedule promised newer data than there are. Absent without a schedule. */
  readonly promisedAt?: number;
}

export interface EndedRun {
  readonly run_id: string;
  readonly status: 'succeeded' | 'partial' | 'failed';
  readonly at: number;
  readonly failedStreams: readonly string[];
  readonly error?: ErrorView;
}

export interface ActiveRun {
  readonly run_id: string;
  readonly status: 'queued' | 'running';
  readonly attempt: number;
  readonly queuedAt: number;
  readonly retryAt?: number;
  readonly error?: ErrorView;
}

export interface BreakerFacts {
  readonly failures: number;
  /** Until when scheduled runs are skipped; absent while it is closed. */
  readonly openUntil?: number;
  readonly error?: ErrorView;
}

export interface CheckFacts {
  readonly at: number;
  readonly ok: boolean;
  /** Only streams did not hold: the source itself answers and lets us in. */
  readonly streamsOnly: boolean;
  readonly error?: ErrorView;
  readonly clockSkewMs?: number;
}

/** One thing that is not as it should be. */
export interface Finding {
  readonly health: 'degraded' | 'failing';
  readonly reason: string;
  readonly error?: ErrorView;
  readonly actions: readonly NextAction[];
}

/** The word, why, and what to do. */
export interface Verdict {
  readonly health: Health;
  readonly reasons: readonly string[];
  readonly error?: ErrorView;
  readonly next_actions: readonly NextAction[];
}

/** How long after its due time a run may take to start and end before data count as late. */
export const staleAfterMs = 10 * 60_000;
/** How long a run may wait for a free place before that is said. */
const waitingMaxMs = 15 * 60_000;
/** Below this the clocks of two machines may differ without anybody having to look. */
const skewMaxMs = 60_000;

/** How a connector is. What was found is in the order of the rules, the word that of the worst. */
export function connectorHealth(facts: ConnectorFacts, now: number): Verdict {
  if (!facts.enabled) {
    return { health: 'unknown', reasons: ['it is switched off ("enabled": false)'], next_actions: [] };
  }
  const verdict = judge(RULES.flatMap((rule) => rule(facts, now) ?? []));
  if (verdict.health !== 'healthy' || facts.ended !== undefined) return verdict;
  return { health: 'unknown', reasons: [], next_actions: [] };
}

/** The worst of what was found; healthy when nothing was. */
export function judge(findings: readonly Finding[]): Verdict {
  const error = findings.find((finding) => finding.error !== undefined)?.error;
  return {
    health: findings.some(({ health }) => health === 'failing')
      ? 'failing'
      : findings.length > 0
        ? 'degraded'
        : 'healthy',
    reasons: findings.map(({ reason }) => reason),
    ...(error === undefined ? {} : { error }),
    next_actions: distinct(findings.flatMap(({ actions }) => actions)),
  };
}

type Rule = (facts: ConnectorFacts, now: number) => Finding | undefined;

const RULES: readonly Rule[] = [breaker, lastRun, retrying, source, stale, waiting, rejects, clock];

function breaker({ connector, breaker: open }: ConnectorFacts, now: number): Finding | undefined {
  if (open?.openUntil === undefined) return undefined;
  const cause = open.error === undefined ? '' : ` (${open.error.code})`;
  const failed = open.failures === 1 ? 'a run failed' : `${open.failures} runs failed in a row`;
  const actions = mending(connector, open.error);
  const error = open.error === undefined ? {} : { error: open.error };
  if (open.openUntil <= now) {
    const reason = `scheduled runs rested because ${failed}${cause}; the next one is the probe`;
    return { health: 'degraded', reason, ...error, actions };
  }
  return {
    health: 'failing',
    reason: `no scheduled run starts until ${iso(open.openUntil)}, or until test_connector passes, because ${failed}${cause}`,
    ...error,
    actions,
  };
}

function lastRun({ connector, ended, check }: ConnectorFacts): Finding | undefined {
  if (ended === undefined || ended.status === 'succeeded') return undefined;
  const { error } = ended;
  const why = error === undefined ? '' : `: ${said(error)}`;
  const since =
    check?.ok === true && check.at > ended.at ? `; the source passed a check at ${iso(check.at)}` : '';
  const more = { ...(error === undefined ? {} : { error }), actions: mending(connector, error) };
  if (ended.status === 'failed')
    return { health: 'failing', reason: `the last run failed${why}${since}`, ...more };
  const streams = listed(ended.failedStreams);
  return {
    health: 'degraded',
    reason: `runs left streams behind (${streams})${why}${since}`,
    ...more,
  };
}

function retrying({ active }: ConnectorFacts): Finding | undefined {
  if (active === undefined || (active.attempt <= 1 && active.retryAt === undefined)) return undefined;
  const { error, retryAt } = active;
  const why = error === undefined ? '' : ` (${said(error)})`;
  const next =
    retryAt === undefined ? `attempt ${active.attempt} is under way` : `the next starts at ${iso(retryAt)}`;
  return {
    health: 'degraded',
    reason: `attempt ${active.attempt - 1} of run ${active.run_id} failed${why}; ${next}`,
    ...(error === undefined ? {} : { error }),
    actions: [
      {
        tool: 'get_run',
        arguments: { run_id: active.run_id, include_log: true },
        why: 'shows the attempts and what each one met',
      },
    ],
  };
}

/** What the last check found, unless a run has met the source since, or has said the same already. */
function source({ connector, check, ended }: ConnectorFacts): Finding | undefined {
  if (check === undefined || check.ok || check.at <= (ended?.at ?? 0)) return undefined;
  if (ended !== undefined && ended.error !== undefined && ended.error.code === check.error?.code)
    return undefined;
  const why = check.error === undefined ? '' : `: ${said(check.error)}`;
  return {
    health: check.streamsOnly ? 'degraded' : 'failing',
    reason: `the source did not pass the check of ${iso(check.at)}${why}`,
    ...(check.error === undefined ? {} : { error: check.error }),
    actions: mending(connector, check.error),
  };
}

function stale(
  { connector, promisedAt, succeededAt, active }: ConnectorFacts,
  now: number,
): Finding | undefined {
  if (promisedAt === undefined || active !== undefined || now - promisedAt <= staleAfterMs) return undefined;
  const last =
    succeededAt === undefined ? 'no run has succeeded yet' : `the last success was at ${iso(succeededAt)}`;
  return {
    health: 'degraded',
    reason: `its data are stale: a run was due at ${iso(promisedAt)} and ${last}`,
    actions: [{ tool: 'sync_connector', arguments: { connector }, why: 'brings the data up to date now' }],
  };
}

function waiting({ active }: ConnectorFacts, now: number): Finding | undefined {
  if (active?.status !== 'queued' || active.retryAt !== undefined || active.attempt > 1) return undefined;
  if (now - active.queuedAt <= waitingMaxMs) return undefined;
  return {
    health: 'degraded',
    reason: `run ${active.run_id} waits to start since ${iso(active.queuedAt)}: more runs are due than runs.concurrent lets run at one time`,
    actions: [
      {
        tool: 'list_runs',
        arguments: { status: 'running' },
        why: 'shows which runs take the places there are',
      },
    ],
  };
}

function rejects({ connector, rejects: kept }: ConnectorFacts): Finding | undefined {
  const rows = kept.reduce((sum, one) => sum + one.rows, 0);
  if (rows === 0) return undefined;
  const where = listed(kept.map((one) => `${one.stream}: ${one.rows}`));
  return {
    health: 'degraded',
    reason: `${rows} ${rows === 1 ? 'row was' : 'rows were'} kept aside as rejects (${where})`,
    actions: [
      {
        tool: 'list_rejects',
        arguments: { connector },
        why: 'shows each row and why it could not be stored; replay_rejects lands them once that is mended',
      },
    ],
  };
}

function clock({ connector, check }: ConnectorFacts): Finding | undefined {
  const skew = check?.clockSkewMs ?? 0;
  if (Math.abs(skew) <= skewMaxMs) return undefined;
  const apart = `${Math.round(Math.abs(skew) / 1000)} s ${skew > 0 ? 'ahead of' : 'behind'}`;
  return {
    health: 'degraded',
    reason: `the clock of its source is ${apart} this machine's; let both follow a time server`,
    actions: [
      {
        tool: 'test_connector',
        arguments: { connector },
        why: 'compares the clocks again when they were set right',
      },
    ],
  };
}

/** What a change of the connector's config mends. */
const IN_CONFIG: ReadonlySet<ErrorCode> = new Set([
  'auth_failed',
  'secret_missing',
  'secret_refused',
  'invalid_config',
  'host_not_allowed',
  'tls_failed',
]);

/** The calls that lead out of a failure, in order: mend, see that it is mended, go on. */
function mending(connector: string, error: ErrorView | undefined): readonly NextAction[] {
  const own = error?.next_actions ?? [];
  const config: readonly NextAction[] =
    error !== undefined && IN_CONFIG.has(error.code)
      ? [
          {
            tool: 'update_connector',
            arguments: { connector, config: {} },
            why: `with the fields that mend ${error.code}: ${error.hint}`,
          },
        ]
      : [];
  return [
    ...own,
    ...config,
    {
      tool: 'test_connector',
      arguments: { connector },
      why: 'shows whether the source answers now, and how far a connection gets',
    },
    {
      tool: 'sync_connector',
      arguments: { connector },
      why: 'goes on from the last committed batch once the cause is mended',
    },
  ];
}

function distinct(actions: readonly NextAction[]): readonly NextAction[] {
  const byCall = new Map(actions.map((action) => [JSON.stringify([action.tool, action.arguments]), action]));
  return [...byCall.values()];
}

function said({ code, message }: ErrorView): string {
  return `${code}: ${message}`;
}

const LISTED_MAX = 5;

function listed(items: readonly string[]): string {
  const more = items.length > LISTED_MAX ? ` and ${items.length - LISTED_MAX} more` : '';
  return `${items.slice(0, LISTED_MAX).join(', ')}${more}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
