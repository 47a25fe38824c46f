/** Who may still commit rows with an older cursor value: one look at the server, and who of an earlier look is left. */

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../core/errors.ts';
import type { Session, TextRow } from './session.ts';

/** A connection that works or has a transaction open, as one look saw it. */
export interface Writer {
  /** 0: a prepared transaction whose connection is gone. */
  readonly connection: string;
  /** When InnoDB began its transaction, by the server's clock and zone; null: it has touched no table yet. */
  readonly started: string | null;
  /** InnoDB's number for it; null while it has written nothing. */
  readonly number: string | null;
  /** The transaction's event in performance_schema; null where that is not to be had. */
  readonly event: string | null;
  /** Unix time at which its statement began; null when none is running. */
  readonly statement: number | null;
  /** Unix time of the look. */
  readonly seenAt: number;
  /** How long it has been at work, at least: seconds. */
  readonly ageS: number;
}

/** One look at the server. */
export interface Look {
  /** Which server, and since when it runs: numbers of connections mean nothing across a restart. */
  readonly server: string;
  readonly now: number;
  readonly writers: readonly Writer[];
  /** Every connection there is. */
  readonly connections: ReadonlySet<string>;
  /** Whether performance_schema shows transactions that have touched no table yet. */
  readonly showsBegun: boolean;
}

export interface Asking {
  readonly session: Session;
  readonly signal: AbortSignal;
}

/**
 * InnoDB answers from a cache that is made anew only when nobody has read it for a tenth of a second: what a monitor
 * asked for just before us would be our answer, from before our question. So each look asks inside a transaction
 * of its own, which a fresh answer must show with the very text of the question.
 */
export const cacheMs = 110;
const freshTriesMax = 10;

/**
 * The statements first, then the transactions: guard.ts says why. `hidden`: the login may not see them (PROCESS).
 * `stale`: somebody else asks so often that there never is a fresh answer.
 */
export async function lookAround(asking: Asking): Promise<Look | 'hidden' | 'stale'> {
  for (let tries = 0; tries < freshTriesMax; tries++) {
    const look = await lookOnce(asking);
    if (look !== 'stale') return look;
    await sleep(cacheMs, undefined, { signal: asking.signal }).catch(() => asking.signal.throwIfAborted());
  }
  return 'stale';
}

async function lookOnce({ session, signal }: Asking): Promise<Look | 'hidden' | 'stale'> {
  const question = randomUUID();
  const options = { signal };
  const processes = await session.query(processSql, [], options);
  await session.command('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY', options);
  try {
    const transactions = await session.query(transactionSql(question), [], options);
    const own = transactions.find(([, , , , asked]) => asked?.includes(question));
    if (own === undefined) return 'stale';
    const begun = await begunTransactions({ session, signal });
    const server = await serverIdentity({ session, signal });
    return gather(processes, { transactions, ownStart: own[1] ?? '', begun, server });
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'permission_denied') return 'hidden';
    throw error;
  } finally {
    if (session.usable) await session.command('ROLLBACK');
  }
}

/**
 * A thread shows itself here before its statement takes the time that NOW() will be. Daemons, those who send the binary
 * log and those who are not logged in yet write nothing; the threads of replication are not for a primary.
 */
const processSql = `
SELECT id, command, time, user, UNIX_TIMESTAMP(), id = CONNECTION_ID() FROM information_schema.processlist`;

const idle = new Set(['Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID']);
const nobody = new Set(['unauthenticated user', 'system user', 'event_scheduler']);

/** Started, in the zone of the server's own process: only differences between its lines mean anything. */
const transactionSql = (question: string): string => `
SELECT /* ${question} */ trx_mysql_thread_id, trx_started, trx_id, trx_is_read_only, trx_query
FROM information_schema.innodb_trx`;

/** Numbers from here on, and 0, are stand-ins for a transaction that has written nothing. */
const standIns = 1n << 48n;

interface Begun {
  readonly event: string;
  readonly ageS: number;
}

/** Transactions by connection, from BEGIN on, whether or not they have touched a table; null when they are not shown. */
async function begunTransactions({ session, signal }: Asking): Promise<ReadonlyMap<string, Begun> | null> {
  try {
    const rows = await session.query(
      `SELECT t.processlist_id, e.thread_id, e.event_id, e.access_mode, e.timer_wait / 1000000000000, t.processlist_id = CONNECTION_ID()
       FROM performance_schema.events_transactions_current e
       JOIN performance_schema.threads t ON t.thread_id = e.thread_id
       WHERE e.state = 'ACTIVE' AND t.processlist_id IS NOT NULL`,
      [],
      { signal },
    );
    // Our own is open: where it is not shown, others are not either.
    if (!rows.some((row) => row[5] === '1')) return null;
    const writing = rows.filter((row) => row[5] !== '1' && row[3] !== 'READ ONLY');
    return new Map(
      writing.map(([connection, thread, event, , age]) => [
        connection ?? '',
        { event: `${thread}.${event}`, ageS: Math.ceil(Number(age ?? 0)) },
      ]),
    );
  } catch (error) {
    if (error instanceof MillraceError && session.usable && !signal.aborted) return null;
    throw error;
  }
}

async function serverIdentity({ session, signal }: Asking): Promise<string> {
  const [names] = await session.query('SELECT @@hostname, @@port, @@server_id, UNIX_TIMESTAMP()', [], {
    signal,
  });
  const [uptime] = await session.query("SHOW GLOBAL STATUS LIKE 'Uptime'", [], { signal });
  const [host, port, id, now] = names ?? [];
  return `${host}:${port}:${id} ${Number(now) - Number(uptime?.[1] ?? 0)}`;
}

interface Seen {
  readonly transactions: readonly TextRow[];
  readonly ownStart: string;
  readonly begun: ReadonlyMap<string, Begun> | null;
  readonly server: string;
}

function gather(processes: readonly TextRow[], { transactions, ownStart, begun, server }: Seen): Look {
  const own = processes.find((row) => row[5] === '1')?.[0] ?? '';
  const now = Math.max(...processes.map((row) => Number(row[4])));
  const readers = new Set(transactions.filter((row) => row[3] === '1').map(([connection]) => connection));
  const working = new Map<string, number>();
  for (const [connection, command, time, user] of processes) {
    if (connection == null || connection === own || readers.has(connection)) continue;
    if (idle.has(command ?? '') || nobody.has(user ?? '')) continue;
    working.set(connection, now - Number(time ?? 0) - 1);
  }
  const writing = transactions.filter(([connection, , , readOnly]) => readOnly !== '1' && connection !== own);
  const known = new Set([...writing.map(([connection]) => connection), ...readers]);
  const others = new Set([...working.keys(), ...(begun?.keys() ?? [])].filter((id) => !known.has(id)));
  const lines: readonly TextRow[] = [...writing, ...[...others].map((id): TextRow => [id, null, null])];
  return {
    server,
    now,
    connections: new Set(processes.map(([connection]) => connection ?? '')),
    showsBegun: begun !== null,
    writers: lines.map(([connection, started, number]): Writer => {
      const id = connection ?? '0';
      const statement = working.get(id) ?? null;
      const event = begun?.get(id);
      const ages = [
        started == null ? 0 : secondsBetween(started, ownStart),
        statement === null ? 0 : now - statement,
        event?.ageS ?? 0,
      ];
      return {
        connection: id,
        started: started ?? null,
        number: number == null || number === '0' || BigInt(number) >= standIns ? null : number,
        event: event?.event ?? null,
        statement,
        seenAt: now,
        // The clock has been set back meanwhile, or its zone's offset was: it can be any age.
        ageS: ages.some((age) => age < 0) ? Number.POSITIVE_INFINITY : Math.max(...ages) + 1,
      };
    }),
  };
}

function secondsBetween(earlier: string, later: string): number {
  const seconds = (text: string): number => Date.parse(`${text.replace(' ', 'T')}Z`) / 1_000;
  return Math.round(seconds(later) - seconds(earlier));
}

/** A restart takes longer than this, and the same start comes out a second apart at most. */
const startSlackS = 3;

/** Whether the writer of an earlier look, perhaps of an earlier run, may still be at it. When in doubt it is. */
export function isStill(before: Writer, look: Look): boolean {
  if (before.number !== null && look.writers.some(({ number }) => number === before.number)) return true;
  if (before.connection === '0') return false;
  // It may have prepared itself, and its connection may have gone, after we saw it.
  if (before.number === null && look.writers.some(({ connection }) => connection === '0')) return true;
  if (before.event !== null && !look.showsBegun) return look.connections.has(before.connection);
  const now = look.writers.find(({ connection }) => connection === before.connection);
  if (now === undefined) return false;
  if (before.event !== null && now.event !== null) return before.event === now.event;
  if (now.started !== null && mayBeSame(before, now)) return true;
  return before.statement !== null && now.statement !== null && now.statement <= before.seenAt + 1;
}

/** Begun in the same second; or not yet begun for InnoDB at the earlier look. */
function mayBeSame(before: Writer, now: Writer): boolean {
  if (before.number !== null && now.number !== null) return before.number === now.number;
  return before.started === null || before.started === now.started;
}

/** Whether two looks were at one server that has not been started anew in between. */
export function sameServer(first: string, second: string): boolean {
  const [name, started] = first.split(' ');
  const [otherName, otherStarted] = second.split(' ');
  return name === otherName && Math.abs(Number(started) - Number(otherStarted)) <= startSlackS;
}

/** A writer as it is remembered in a position. */
export function writerText(writer: Writer): string {
  const { connection, started, number, event, statement, seenAt } = writer;
  return JSON.stringify([connection, started, number, event, statement, seenAt]);
}

/** A remembered writer; null for what this version cannot read: it counts as gone only with the server. */
export function readWriter(text: string): Writer | null {
  try {
    const [connection, started, number, event, statement, seenAt] = JSON.parse(text) as readonly [
      string,
      string | null,
      string | null,
      string | null,
      number | null,
      number,
    ];
    return { connection, started, number, event, statement, seenAt, ageS: 0 };
  } catch {
    return null;
  }
}
