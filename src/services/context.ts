import type { NetworkRules } from '../connectors/connector.ts';
import { connectorTypes, findConnectorType } from '../connectors/index.ts';
import { MillraceError } from '../core/errors.ts';
import type { Connector } from '../core/model.ts';
import type { RevealedValue } from '../core/redact.ts';
import type { Warehouse } from '../destinations/warehouse.ts';
import type { Alone } from '../engine/alone.ts';
import type { Answers, Question, SourceSpec } from '../engine/messages.ts';
import type { Runner } from '../engine/runner.ts';
import type { Threads } from '../engine/threads.ts';
import type { ScheduleStore } from '../store/schedules.ts';
import type {
  AlertStore,
  AuditStore,
  BreakerStore,
  CheckStore,
  ConnectorRecord,
  ConnectorStore,
  HealthFactStore,
  LeaseStore,
  RunStore,
} from '../store/store.ts';
import type { SecretTools, Typed } from '../vault/secret-tools.ts';
import type { Caller, Scope } from './services.ts';

/** What the use cases work with; `app.ts` puts it together. */
export interface Context {
  readonly connectors: ConnectorStore;
  readonly runs: RunStore;
  readonly breakers: BreakerStore;
  readonly health: HealthFactStore;
  readonly checks: CheckStore;
  readonly alerts: AlertStore;
  readonly audit: AuditStore;
  readonly schedules: ScheduleStore;
  readonly leases: Pick<LeaseStore, 'look'>;
  /** Whether this process has the duty of starting scheduled runs. */
  readonly schedulesHere: () => boolean;
  readonly warehouse: Warehouse;
  readonly secrets: SecretTools;
  readonly asks: Asks;
  readonly threads: Threads;
  readonly runner: Runner;
  readonly alone: Alone;
  readonly settings: Settings;
  readonly now: () => Date;
  readonly randomToken: () => string;
  readonly storage: () => {
    readonly store_bytes: number;
    readonly free_bytes: number;
    /** Of the whole file system. */
    readonly disk_bytes: number;
  };
}

/** Where people are asked for secrets, outside the conversation. */
export interface Asks {
  /** Opens a page for one question; it can be reached until it is answered or expires. */
  open(question: SecretQuestion): Promise<{ readonly url: string; readonly expires_at: string }>;
}

export interface SecretQuestion {
  readonly connector: string;
  /** Of what kind it is, as people call it: `PostgreSQL`. */
  readonly type: string;
  /** Where what is typed will be sent. */
  readonly host: string;
  readonly fields: readonly string[];
  /** What was typed, by field. A MillraceError is shown to the person, who may type again. */
  readonly onTyped: (typed: Typed, signal: AbortSignal) => Promise<Typing>;
}

/** How it went, for the person who typed. */
export interface Typing {
  /** Whether the question is answered; else it may be tried again. */
  readonly done: boolean;
  /** A sentence or two. */
  readonly words: string;
}

export interface Settings {
  readonly readOnly: boolean;
  readonly dataDir: string;
  readonly warehouseFile: string;
  readonly network: NetworkRules;
  readonly scheduler: {
    readonly enabled: boolean;
    readonly timezone: string;
    readonly catchUp: 'once' | 'none';
    readonly overlap: 'skip' | 'queue';
  };
  readonly query: { readonly timeoutMs: number; readonly maxRows: number; readonly maxBytes: number };
}

/** Throws `read_only` when this server may not change anything, `scope_missing` when the caller may not have that done. */
export function assertMay(context: Context, caller: Caller, scope: Exclude<Scope, 'read'>): void {
  if (caller.scopes !== undefined && !caller.scopes.has(scope)) throw scopeMissing(caller, scope);
  assertWritable(context.settings.readOnly);
}

/** Throws `read_only` when this process may not change anything. */
export function assertWritable(readOnly: boolean): void {
  if (!readOnly) return;
  throw new MillraceError(
    'read_only',
    'Millrace was started read-only: nothing can be registered, changed, synced or deleted.',
    {
      hint: 'Start millrace without --read-only to allow changes.',
    },
  );
}

function scopeMissing(caller: Caller, scope: Scope): MillraceError {
  const has = [...(caller.scopes ?? [])].join(', ');
  return new MillraceError('scope_missing', `This needs the scope "${scope}"; the token has ${has}.`, {
    hint: `Whoever runs this server gives the token the scope "${scope}" in "http.tokens" of its config file (or the authorization server does), or makes one that has it. Nothing was changed.`,
  });
}

/** A connector ready to be opened in a thread: its secrets in clear. */
export async function sourceSpec(
  context: Pick<Context, 'secrets' | 'settings'>,
  connector: Connector,
): Promise<SourceSpec> {
  const type = findConnectorType(connector.type);
  const revealed: RevealedValue[] = [];
  const config = await context.secrets.reveal(connector.name, connector.config, type.secrets, (value) =>
    revealed.push(value),
  );
  return {
    connector: connector.name,
    type: connector.type,
    config,
    revealed,
    declared: connector.streams,
    network: context.settings.network,
  };
}

/** Clients end calls near 60 s, and then nobody hears the hint (anthropics/claude-code#22542). */
const questionMs = 45_000;

/** Asks a connector's source a question that moves nothing; `timeout` after `timeoutMs`. */
export async function ask<Q extends Question>(
  context: Context,
  {
    connector,
    question,
    timeoutMs = questionMs,
  }: { readonly connector: Connector; readonly question: Q; readonly timeoutMs?: number },
  signal: AbortSignal,
): Promise<Answers[Q['ask']]> {
  const source = await sourceSpec(context, connector);
  const answer = await withinTime(connector.name, { signal, timeoutMs }, (inTime) =>
    context.threads.run({ kind: 'probe', source, question, withinMs: timeoutMs }, {}, inTime),
  );
  return answer as Answers[Q['ask']];
}

/** Work that a client waits for: stopped by `timeout` when it takes longer than clients do. */
export async function withinTime<T>(
  connector: string,
  { signal, timeoutMs = questionMs }: { readonly signal: AbortSignal; readonly timeoutMs?: number },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(tookTooLong(connector, timeoutMs)), timeoutMs);
  try {
    return await work(AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

function tookTooLong(connector: string, timeoutMs: number): MillraceError {
  return new MillraceError('timeout', `"${connector}" did not answer within ${timeoutMs / 1000} s.`, {
    hint: 'Look at the source and the network between; `test_connector` shows which step takes the time.',
    nextActions: [
      { tool: 'test_connector', arguments: { connector }, why: 'shows how far a connection gets' },
    ],
  });
}

/** A stored connector as the outside may see it. */
export function shownConnector(context: Context, record: ConnectorRecord | Connector): Connector {
  const type = connectorTypes.find((candidate) => candidate.type === record.type);
  return {
    name: record.name,
    type: record.type,
    config: context.secrets.show(record.config, type?.secrets ?? []),
    streams: record.streams,
    ...(record.schedule === undefined ? {} : { schedule: record.schedule }),
    ...(record.timezone === undefined ? {} : { timezone: record.timezone }),
    enabled: record.enabled,
    ...(record.description === undefined ? {} : { description: record.description }),
  };
}
