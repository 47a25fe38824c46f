/**
 * The late-commit guard: how far a stream may be called settled.
 *
 * A mark M is settled when no row with a cursor below M can appear any more. The greatest cursor value we see, m,
 * is not settled by being seen: a transaction that took its timestamp or sequence number before m was taken may
 * commit after we have looked, with a value below m, and a reader that goes on from m never sees its rows
 * (dlt-hub/dlt#2269, airbytehq/airbyte#80152). Values are given out in order; only commits are not. So:
 *
 *   1. read m, in a snapshot s1;
 *   2. list the transactions open in this database;
 *   3. wait until every one of them is gone, or do not use m;
 *   4. only then take the snapshot s2 that reads the rows.
 *
 * A transaction that wrote a value below m either ended before s1, and is in s2; or was open at s1. In that case
 * it was still open at step 2, is waited for, and is in s2 if it committed; or it ended between 1 and 2, and
 * is in s2. One that began after s1 takes values that are not below m. Hence s2 holds all rows below m there
 * will ever be, and m is settled. The order of the steps is the proof: none may move behind step 4.
 *
 * Step 2 needs no grants. Every transaction holds a lock on its own virtual id for as long as it lives, pg_locks
 * shows these to everybody, and the lock goes after the transaction has become visible to new snapshots.
 * Prepared transactions hold none, are listed apart, and are looked at after the locks: a transaction that
 * prepares itself in between appears there before its lock goes.
 *
 * What this rests on, and what `lookback` is for when it does not hold: values are taken inside the transaction
 * that writes them, from the server's clock or from a sequence, in order. It does not hold for stamps of the
 * application's clock, for sequences with CACHE above 1 (each session gives out its own numbers), and on a
 * standby, whose pg_locks does not show the primary's transactions.
 *
 * If somebody stays open (a dump of three hours), m is remembered with who stood in its way; the run that finds
 * them all gone may use it. Meanwhile, for timestamptz, the start of the oldest open transaction serves, when
 * all starts are visible: not the start itself, but the greatest value v in the table that is not above it. A
 * column may hold shortened stamps (date_trunc, timestamptz(0)): then a transaction begun at x writes f(x) <= x,
 * and v <= x with v = f(v) gives v <= f(x), which x itself would not.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../core/errors.ts';
import { type GuardResult, heldWarning, remember } from '../sql/guard.ts';
import { type Lookback, shownLookback } from '../sql/lookback.ts';
import { plain } from '../sql/names.ts';
import type { Held, Settled } from '../sql/position.ts';
import { asValue, cursorKind, fromWhere, type PlannedColumn } from './plan.ts';
import type { QueryOptions, Session, TextRow } from './session.ts';
import type { Shape } from './shape.ts';

export interface GuardRequest {
  /** Outside of any transaction. */
  readonly session: Session;
  readonly shape: Shape;
  readonly cursor: PlannedColumn;
  /** What is settled so far. */
  readonly settled: Settled;
  readonly lookback: Lookback | null;
  readonly signal: AbortSignal;
}

/** Must be called, and have returned, before the snapshot that reads is taken. */
export type Guard = (request: GuardRequest) => Promise<GuardResult>;

/** How long a run waits for transactions that are about to end: most live for milliseconds. */
const patienceMs = 250;
const standbyLookback: Lookback = { kind: 'time', ms: 300_000 };
const preparedName = 'prepared: ';

/** The application_name of a transaction of ours that only reads: other readers of ours need not wait for it. */
export const readerName = 'millrace (reading)';

/** The real one. */
export const lateCommitGuard: Guard = async (request) => {
  const top = await greatest(request);
  const warnings = top.future === null ? [] : [futureWarning(request.cursor, top.future)];
  const look = await lookAround(request);
  if (look === 'standby' || look === 'hidden') return withWindow(request, top.mark, look, warnings);
  const { settled, lookback } = request;
  const declared = lookback === null ? '' : `, and a look-back of ${shownLookback(lookback)}`;
  const open = await waitFor(request, look);
  if (top.mark === null) {
    return {
      bound: { mark: settled.mark, held: settled.held },
      guard: `open transactions (pg_locks)${declared}`,
      warnings,
      lookback,
    };
  }
  if (open.length === 0) {
    const mark = await later(request, [top.mark, settled.mark]);
    return {
      bound: { mark, held: [] },
      guard: `open transactions (pg_locks)${declared}`,
      warnings,
      lookback,
    };
  }
  return await heldBack(request, { mark: top.mark, look, open, warnings, declared });
};

interface Top {
  /** The greatest value that is not in the future. */
  readonly mark: string | null;
  /** The greatest value, when that is in the future. */
  readonly future: string | null;
}

/**
 * Step 1. A value in the future (one typo, 2099) is no mark: all that comes in the next decades lies below it. Infinity
 * and NaN are never marks.
 */
async function greatest({ session, shape, cursor, signal }: GuardRequest): Promise<Top> {
  const limits = limitsOf(cursor);
  const top = (conditions: readonly string[]): string =>
    `SELECT ${cursor.ref}${fromWhere(shape, [`${cursor.ref} IS NOT NULL`, ...conditions])} ORDER BY ${cursor.ref} DESC LIMIT 1`;
  const sql =
    limits === null
      ? `SELECT top.c::text, NULL FROM (${top([])}) AS top(c)`
      : `SELECT CASE WHEN top.c <= ${limits.mark} THEN top.c ELSE (${top([`${cursor.ref} <= ${limits.mark}`])}) END::text,
           CASE WHEN top.c > ${limits.past} THEN top.c::text END FROM (${top([])}) AS top(c)`;
  const [row] = await askStream({ session, shape, signal }, sql);
  return { mark: row?.[0] ?? null, future: row?.[1] ?? null };
}

const now = 'pg_catalog.statement_timestamp()';
const serverZone = "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone')";

interface Limits {
  /** No value that is written from now on is below this. */
  readonly mark: string;
  /** Whatever is above this is no time that has been. Up to here a value that is no mark is not worth a word. */
  readonly past: string;
}

function limitsOf({ base, castTo }: PlannedColumn): Limits | null {
  if (base === 1184) return same(now);
  if (base === 1114) return localLimits;
  if (base === 1082) return { mark: `${localLimits.mark}::date`, past: `${localLimits.past}::date` };
  // Above every number, in PostgreSQL's order: Infinity, then NaN.
  if (base === 700) return same(`'3.4028235e38'::${castTo}`);
  if (base === 701) return same(`'1.7976931348623157e308'::${castTo}`);
  if (base === 1700) return same('1e131071::numeric');
  return null;
}

const same = (limit: string): Limits => ({ mark: limit, past: limit });

/** Now, by the clock of the server's zone as it was or will be set so many hours from now. */
const localNow = (hours: number): string =>
  `((${now} + interval '${hours} hours') AT TIME ZONE ${serverZone} - interval '${hours} hours')`;

/**
 * Times without a zone are taken for UTC or for the server's own zone, whichever is earlier. That zone's clock may be
 * put back, by two hours at most anywhere (Troll), and then gives times a second time that are marks already: in the
 * three hours before, its time is the one after the change. The other half of the year must not be asked: half a year
 * from the last hour of summer is summer again.
 */
const localLimits: Limits = {
  mark: `least(${now} AT TIME ZONE 'UTC', ${localNow(0)}, ${localNow(3)})`,
  past: `greatest(${now} AT TIME ZONE 'UTC', ${localNow(0)}, ${localNow(-3)})`,
};

function futureWarning(cursor: PlannedColumn, value: string): string {
  return (
    `The newest value of "${plain(cursor.name, 63)}" (${plain(value, 40)}) lies in the future or beyond all numbers: ` +
    'such rows are read again in every run, and the mark stays behind them.'
  );
}

interface OpenTransaction {
  /** Virtual transaction id, or the name of a prepared one. */
  readonly id: string;
  readonly startedAt: string | null;
}

interface Look {
  readonly server: string;
  readonly open: readonly OpenTransaction[];
  readonly mayPrepare: boolean;
}

/**
 * Step 2. Sessions without a user are the server's own (autovacuum) and write no rows. The virtual id of a lock's
 * owner equals the locked one only for the transaction itself; others with such a lock are waiting for it.
 */
const openSql = `
SELECT l.virtualtransaction, a.xact_start::text
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND l.virtualxid = l.virtualtransaction AND l.pid <> pg_catalog.pg_backend_pid()
  AND a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND coalesce(a.application_name, '') <> '${readerName}'
  AND coalesce(a.backend_type, 'client backend') NOT IN ('walsender', 'autovacuum worker')`;

async function lookAround({ session, signal }: GuardRequest): Promise<Look | 'standby' | 'hidden'> {
  const [facts] = await session.query(
    `SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time()::text, pg_catalog.current_setting('max_prepared_transactions') <> '0'`,
    [],
    { signal },
  );
  if (facts?.[0] === 't') return 'standby';
  try {
    const rows = await session.query(openSql, [], { signal });
    const mayPrepare = facts?.[2] === 't';
    const prepared = mayPrepare ? await preparedNow(session, { signal }) : [];
    const open = rows.map(([id, startedAt]) => ({ id: id ?? '', startedAt: startedAt ?? null }));
    return { server: facts?.[1] ?? '', open: [...open, ...prepared], mayPrepare };
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'permission_denied') return 'hidden';
    throw error;
  }
}

async function preparedNow(session: Session, options: QueryOptions): Promise<readonly OpenTransaction[]> {
  const rows = await session.query(
    'SELECT transaction::text, gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()',
    [],
    options,
  );
  return rows.map(([xid, gid]) => ({ id: `${preparedName}${xid} ${gid}`, startedAt: null }));
}

/** Step 3: those of the list that are still there when patience ends. */
async function waitFor({ session, signal }: GuardRequest, look: Look): Promise<readonly OpenTransaction[]> {
  let open = look.open;
  const until = performance.now() + patienceMs;
  for (let pauseMs = 2; open.length > 0 && performance.now() < until; pauseMs = Math.min(50, pauseMs * 2)) {
    await sleep(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    const rows = await session.query(openSql, [], { signal });
    const there = new Set(rows.map(([id]) => id));
    const prepared = look.mayPrepare ? await preparedNow(session, { signal }) : [];
    // Whoever is prepared now may have been one of the list when that was made.
    open = [...open.filter(({ id }) => there.has(id)), ...prepared];
  }
  return open;
}

interface HeldBack {
  readonly mark: string;
  readonly look: Look;
  readonly open: readonly OpenTransaction[];
  readonly warnings: readonly string[];
  readonly declared: string;
}

/** Somebody stays open: the best mark that is settled nevertheless, and what to remember. */
async function heldBack(
  request: GuardRequest,
  { mark, look, open, warnings, declared }: HeldBack,
): Promise<GuardResult> {
  const { settled } = request;
  const still = new Set(open.map(({ id }) => id));
  // Whatever is prepared now may be one that was remembered under its virtual id.
  const inDoubt = open.some(({ id }) => id.startsWith(preparedName));
  const gone = (entry: Held): boolean =>
    !inDoubt && (entry.server !== look.server || entry.open.every((id) => !still.has(id)));
  const ids = open.map(({ id }) => id);
  const { released, held } = remember(settled.held, { mark, server: look.server, open: ids }, gone);
  const started = await belowOldestStart(request, open);
  const best = await later(request, [settled.mark, started, ...released]);
  const moved = best !== settled.mark;
  const guard = moved
    ? best === started
      ? 'oldest transaction start'
      : 'open transactions (pg_locks)'
    : 'held at the previous mark';
  return {
    bound: { mark: best, held },
    guard: `${guard}${declared}`,
    warnings:
      best === null || !moved ? [...warnings, heldWarning(open.length, best, 'pg_stat_activity')] : warnings,
    lookback: request.lookback,
  };
}

async function belowOldestStart(
  { session, shape, cursor, signal }: GuardRequest,
  open: readonly OpenTransaction[],
): Promise<string | null> {
  const starts = open.map(({ startedAt }) => startedAt);
  if (cursor.base !== 1184 || starts.some((start) => start === null)) return null;
  const oldest = `least(${[...starts.map((start) => `'${start}'::timestamptz`), 'pg_catalog.statement_timestamp()'].join(', ')})`;
  const sql = `SELECT ${cursor.ref}::text${fromWhere(shape, [`${cursor.ref} <= ${oldest}`])} ORDER BY ${cursor.ref} DESC LIMIT 1`;
  const [row] = await askStream({ session, shape, signal }, sql);
  return row?.[0] ?? null;
}

/** The stream's own SQL may call functions: only in a transaction that cannot write. */
async function askStream(
  { session, shape, signal }: Pick<GuardRequest, 'session' | 'shape' | 'signal'>,
  sql: string,
): Promise<readonly TextRow[]> {
  const ask = (): Promise<readonly TextRow[]> => session.query(sql, [], { signal });
  return shape.carriesSql ? await session.readOnly(ask) : await ask();
}

/** No list of open transactions: a window behind the mark has to do. */
async function withWindow(
  request: GuardRequest,
  mark: string | null,
  why: 'standby' | 'hidden',
  warnings: readonly string[],
): Promise<GuardResult> {
  const { cursor, settled } = request;
  const lookback = request.lookback ?? (cursorKind(cursor.base) === 'time' ? standbyLookback : null);
  const reason =
    why === 'standby' ? "a standby does not show the primary's transactions" : 'pg_locks may not be read';
  const none = `No guard against late commits is possible here (${reason}): give the stream a \`lookback\`, such as 10000 for a sequence.`;
  const bound = { mark: await later(request, [mark, settled.mark]), held: [] };
  if (lookback === null) return { bound, guard: `none: ${reason}`, warnings: [...warnings, none], lookback };
  return { bound, guard: `lookback ${shownLookback(lookback)}: ${reason}`, warnings, lookback };
}

/** The latest of some values, by the type's own order: a mark never moves back. */
async function later(
  { session, cursor, signal }: GuardRequest,
  values: readonly (string | null)[],
): Promise<string | null> {
  const known = [...new Set(values.filter((value) => value !== null))];
  if (known.length < 2) return known[0] ?? null;
  const list = known.map((value) => asValue(cursor, value)).join(', ');
  const [row] = await session.query(`SELECT greatest(${list})::text`, [], { signal });
  return row?.[0] ?? null;
}
