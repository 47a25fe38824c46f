/**
 * The late-commit guard: how far a stream may be called settled.
 *
 * A mark M is settled when no row with a cursor below M can appear any more. The greatest cursor value we see, m,
 * is not settled by being seen: a transaction that took its timestamp or number before m was taken may commit after
 * we have looked, with a value below m, and a reader that goes on from m never sees its rows (dlt-hub/dlt#2269,
 * airbytehq/airbyte#80152). Values are given out in order; only commits are not. So:
 *
 *   1. read m, in a snapshot s1;
 *   2. list the statements under way (information_schema.processlist);
 *   3. then list the transactions that InnoDB has open (information_schema.innodb_trx);
 *   4. wait until every one of them is gone, or do not use m;
 *   5. only then take the first snapshot that reads rows, s2.
 *
 * NOW(), and with it every CURRENT_TIMESTAMP that a column takes by itself, is here the start of the statement, not of
 * the transaction; an AUTO_INCREMENT number is taken inside the statement too, whatever innodb_autoinc_lock_mode
 * is. InnoDB knows of a transaction from its first table on: a statement that is being parsed, or waits for a
 * metadata lock behind an ALTER TABLE of an hour, has its stamp and is not in innodb_trx. A thread is shown as
 * working before its statement takes the time, and until it is done. Hence a statement that took a value below m
 * began before 2 looked at its thread, since m was there at 1, and
 *
 *   - is under way at 2: it is listed, and waited for, then its transaction;
 *   - or was over at 2 and its transaction open at 3: listed, and waited for;
 *   - or its transaction had ended: it is in s2, as a transaction leaves the list after it has become visible.
 *
 * One that begins after 2 takes values that are not below m: values in the future are no m (`greatest`). In the other
 * order, 3 before 2, a statement could enter InnoDB behind 3 and end before 2, and be in neither list. A list can
 * be older than its question: see open-transactions.ts. XA transactions that are prepared stay in innodb_trx, under
 * connection 0 once theirs is gone. Transactions that were begun READ ONLY, and selects outside of transactions,
 * are marked so and write nothing: dumps begun so, and our own readings, hold nothing back.
 *
 * A stamp that was put aside, `SELECT NOW(6) INTO @t` or an application's variable filled from it, and is written by a
 * later statement: its transaction is seen as soon as it has touched a table, so BEGIN; SELECT … FROM …; is seen. One
 * that has only begun is in performance_schema.events_transactions_current, which is asked too: it is there, and
 * on, in MySQL for those who may read it (GRANT SELECT ON performance_schema.*), and off in MariaDB unless its
 * configuration says otherwise. Where it cannot be asked such a transaction, and everywhere a stamp that was taken
 * before BEGIN, is not seen: that is what `lookback` is for, as for stamps of an application's own clock.
 *
 * MyISAM and its like have no transactions, but statements: step 2 is theirs, and holds. Of other engines with
 * transactions of their own, of a replica, whose transactions are open elsewhere, and of a member of a cluster
 * nothing is seen, and without the PROCESS privilege neither: then a window behind the mark has to do.
 *
 * If somebody stays open (a dump of three hours), m is remembered with who stood in its way; the run that finds
 * them all gone may use it. Meanwhile, for times, the start of the oldest serves, less a margin: statements may have
 * waited for so long before InnoDB saw them. As with PostgreSQL it is not the start itself, but the greatest value v
 * in the table that is not above it: a column may hold shortened stamps, then a statement begun at x writes
 * f(x) <= x, and v <= x with v = f(v) gives v <= f(x), which x itself would not.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { type GuardResult, heldWarning, remember } from '../sql/guard.ts';
import { type Lookback, shownLookback } from '../sql/lookback.ts';
import { plain } from '../sql/names.ts';
import type { Held, Settled } from '../sql/position.ts';
import { asGreatest } from './compare.ts';
import { engineOf } from './engine.ts';
import {
  cacheMs,
  isStill,
  type Look,
  lookAround,
  readWriter,
  sameServer,
  type Writer,
  writerText,
} from './open-transactions.ts';
import { asValue, fromWhere, type PlannedColumn } from './plan.ts';
import type { Session, TextRow } from './session.ts';
import type { Shape } from './shape.ts';
import { askedTooOften, notGranted, type Unseen, whyUnseen, withWindow } from './window.ts';

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

/** Must be called, and have returned, before the first snapshot that reads is taken. */
export type Guard = (request: GuardRequest) => Promise<GuardResult>;

/** How long a run waits for transactions that are about to end: most live for milliseconds. Three looks. */
const patienceMs = 350;
/** How much older than its transaction a stamp may be, where only the start of the transaction is known. */
const marginS = 300;

/** The real one. */
export const lateCommitGuard: Guard = async (request) => {
  const top = await greatest(request);
  const warnings = top.future === null ? [] : [futureWarning(request.cursor, top.future)];
  const seen = await whoWrites(request);
  if ('reason' in seen) {
    const mark = await later(request, [top.mark, request.settled.mark]);
    return withWindow(request, seen, { mark, warnings });
  }
  const { settled, lookback } = request;
  const declared = lookback === null ? '' : `, and a look-back of ${shownLookback(lookback)}`;
  const { look, open } = await waitFor(request, seen);
  const calm = { guard: `open transactions (innodb_trx)${declared}`, warnings, lookback };
  if (top.mark === null) return { bound: { mark: settled.mark, held: settled.held }, ...calm };
  if (open.length === 0) {
    return { bound: { mark: await later(request, [top.mark, settled.mark]), held: [] }, ...calm };
  }
  return await heldBack(request, { mark: top.mark, look, open, warnings, declared });
};

async function whoWrites(request: GuardRequest): Promise<Look | Unseen> {
  const unseen = await whyUnseen(request, await engineOf(request, request.shape));
  if (unseen !== null) return unseen;
  const look = await lookAround(request);
  if (look === 'hidden') return notGranted(request.session);
  return look === 'stale' ? askedTooOften : look;
}

interface Top {
  /** The greatest value that is not in the future. */
  readonly mark: string | null;
  /** The greatest value, when that is in the future. */
  readonly future: string | null;
}

/**
 * Step 1. A value in the future (one typo, 2099) is no mark: all that comes in the next decades lies below it.
 */
async function greatest({ session, shape, cursor, signal }: GuardRequest): Promise<Top> {
  const { ref, own, travel, type } = cursor;
  const now = 'UTC_TIMESTAMP(6)';
  const limit = latestOf(type.name, now);
  const top = (extra: string, conditions: readonly string[]): string =>
    `SELECT ${travel.positionOf(own)}${extra}${fromWhere(shape, [`${ref} IS NOT NULL`, ...conditions])} ORDER BY ${ref} DESC LIMIT 1`;
  const ask = (sql: string): Promise<readonly TextRow[]> => askStream({ session, shape, signal }, sql);
  const extra = limit === null ? '' : `, ${ref} <= ${limit}, ${ref} > ${nowhereYet(type.name, now)}`;
  const [row] = await ask(top(extra, []));
  const text = row?.[0] ?? null;
  if (limit === null || text === null || row?.[1] === '1') return { mark: text, future: null };
  const [below] = await ask(top('', [`${ref} <= ${limit}`]));
  return { mark: below?.[0] ?? null, future: row?.[2] === '1' ? text : null };
}

const inServerZone = (utc: string): string => `CONVERT_TZ(${utc}, '+00:00', @@GLOBAL.time_zone)`;

/**
 * The latest value that a column of times can have been given by a moment of UTC; null for other types. DATETIME and
 * DATE have no zone: the earlier of UTC and the zone of the server. That zone's clock may be put back, by two hours at
 * most anywhere (Troll), and then gives times a second time that are marks already: in the three hours before, its time
 * is the one after the change. The other half of the year must not be asked: half a year from the last hour of summer is
 * summer again.
 */
export function latestOf(type: string, utc: string): string | null {
  if (type === 'timestamp') return utc;
  if (type !== 'datetime' && type !== 'date') return null;
  const ahead = 'INTERVAL 3 HOUR';
  const other = `(${inServerZone(`(${utc} + ${ahead})`)} - ${ahead})`;
  // CONVERT_TZ is NULL for a named zone while the tables of zones are empty: the earliest zone there is.
  const least = `LEAST(${utc}, COALESCE(LEAST(${inServerZone(utc)}, ${other}), ${utc} - INTERVAL 13 HOUR))`;
  return type === 'date' ? `CAST(${least} AS DATE)` : least;
}

/**
 * What is later than this is no time that has been, in neither zone, nor one that was rounded up to a second: worth a
 * word. What lies between the two, as local times east of UTC always do, is read again for as many hours, silently.
 */
function nowhereYet(type: string, utc: string): string {
  const latest =
    type === 'timestamp'
      ? utc
      : `GREATEST(${utc}, COALESCE(${inServerZone(utc)}, ${utc} + INTERVAL 14 HOUR))`;
  return `${latest} + INTERVAL 1 SECOND`;
}

function futureWarning(cursor: PlannedColumn, value: string): string {
  return (
    `The newest value of "${plain(cursor.name, 63)}" (${plain(value, 40)}) lies in the future, by UTC and by the server's own zone: ` +
    'such rows are read again in every run, and the mark stays behind them.'
  );
}

interface Waited {
  readonly look: Look;
  readonly open: readonly Writer[];
}

/** Step 4: those of the first look that are still there when patience ends. */
async function waitFor({ session, signal }: GuardRequest, first: Look): Promise<Waited> {
  let look = first;
  let open = first.writers;
  const until = performance.now() + patienceMs;
  while (open.length > 0 && performance.now() < until) {
    await sleep(cacheMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    const next = await lookAround({ session, signal });
    if (typeof next === 'string') break;
    look = next;
    open = open.flatMap((writer) => (isStill(writer, next) ? [asNow(writer, next)] : []));
    // Whoever is prepared now may have been one of the list when that was made.
    const listed = new Set(open.map(({ number }) => number));
    open = [...open, ...next.writers.filter((each) => each.connection === '0' && !listed.has(each.number))];
  }
  return { look, open };
}

/** What has been learnt of a writer since: its transaction has begun, or has a number now. */
function asNow(writer: Writer, look: Look): Writer {
  const now = look.writers.find(({ connection }) => connection === writer.connection);
  if (now === undefined) return writer;
  return {
    ...writer,
    started: writer.started ?? now.started,
    number: writer.number ?? now.number,
    ageS: Math.max(writer.ageS, now.ageS),
  };
}

interface HeldBack {
  readonly mark: string;
  readonly look: Look;
  readonly open: readonly Writer[];
  readonly warnings: readonly string[];
  readonly declared: string;
}

/** Somebody stays open: the best mark that is settled nevertheless, and what to remember. */
async function heldBack(
  request: GuardRequest,
  { mark, look, open, warnings, declared }: HeldBack,
): Promise<GuardResult> {
  const { settled } = request;
  const isGone = (entry: Held): boolean =>
    !sameServer(entry.server, look.server) ||
    entry.open.every((text) => {
      const writer = readWriter(text);
      return writer !== null && !isStill(writer, look);
    });
  const now = { mark, server: look.server, open: open.map(writerText) };
  const { released, held } = remember(settled.held, now, isGone);
  const started = await belowOldestStart(request, open);
  const best = await later(request, [settled.mark, started, ...released]);
  const moved = best !== settled.mark;
  const guard = moved
    ? best === started
      ? 'oldest transaction start'
      : 'open transactions (innodb_trx)'
    : 'held at the previous mark';
  const where = 'information_schema.innodb_trx and SHOW PROCESSLIST (and XA RECOVER)';
  return {
    bound: { mark: best, held },
    guard: `${guard}${declared}`,
    warnings: best === null || !moved ? [...warnings, heldWarning(open.length, best, where)] : warnings,
    lookback: request.lookback,
  };
}

async function belowOldestStart(
  { session, shape, cursor, signal }: GuardRequest,
  open: readonly Writer[],
): Promise<string | null> {
  const oldestS = Math.max(...open.map(({ ageS }) => ageS));
  const limit = latestOf(cursor.type.name, `(UTC_TIMESTAMP(6) - INTERVAL ${oldestS + marginS} SECOND)`);
  if (limit === null || !Number.isFinite(oldestS)) return null;
  const { ref, own, travel } = cursor;
  const sql = `SELECT ${travel.positionOf(own)}${fromWhere(shape, [`${ref} <= ${limit}`])} ORDER BY ${ref} DESC LIMIT 1`;
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

/** The latest of some values, by the column's own order: a mark never moves back. */
async function later(
  { session, shape, cursor, signal }: GuardRequest,
  values: readonly (string | null)[],
): Promise<string | null> {
  const known = [...new Set(values.filter((value) => value !== null))];
  if (known.length < 2) return known[0] ?? null;
  const list = known.map((value) => asValue(cursor, value));
  const [row] = await askStream({ session, shape, signal }, asGreatest(shape, cursor, list));
  return row?.[0] ?? null;
}
