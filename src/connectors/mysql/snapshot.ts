import { MillraceError } from '../../core/errors.ts';
import { schemaChanged } from '../sql/plan.ts';
import { fromWhere, type ReadPlan } from './plan.ts';
import type { Session } from './session.ts';

/**
 * How long a snapshot may stay open, and how much is read at a time.
 *
 * While a snapshot is open InnoDB keeps every older version of every row of the whole server, in its undo log; a read
 * of hours makes that log grow by all that was written in those hours, and every other query walk through it (the
 * history list length of SHOW ENGINE INNODB STATUS). An ALTER TABLE waits for it too, and whoever wants the table
 * behind the ALTER. Ten seconds are what any report query takes, and nobody notices. Most readings end within them: they are one snapshot, as if there were no chunks.
 *
 * A chunk ends by itself; only there can a snapshot be given up without reading anything twice. So it should take a
 * small part of the ten seconds, at the pace at which the rows were really taken off us, destination included: the
 * pace of one chunk decides about the next. A new chunk costs one statement, about a millisecond, and a descent
 * into the index: two seconds make that nothing. The bounds are for what the pace before says nothing about: rows
 * a thousand times as wide, a destination that stops.
 */
export interface Pace {
  readonly snapshotMs: number;
  readonly chunkMs: number;
  readonly firstRows: number;
  readonly rowsMax: number;
  readonly bytesMax: number;
  /** A snapshot that had to stay open for longer is spoken of. */
  readonly longMs: number;
}

export const usualPace: Pace = {
  snapshotMs: 10_000,
  chunkMs: 2_000,
  firstRows: 20_000,
  rowsMax: 1_000_000,
  bytesMax: 256 * 1024 * 1024,
  longMs: 60_000,
};

/** What a chunk was: its rows, their bytes, and how long they took to be taken. */
export interface Taken {
  readonly rows: number;
  readonly bytes: number;
  readonly ms: number;
}

/** Rows of the next chunk, by what the last one took; at most four times as many, since a pace can be an accident. */
export function nextRows(pace: Pace, { rows, bytes, ms }: Taken): number {
  const byTime = (rows * pace.chunkMs) / Math.max(ms, 1);
  const byBytes = (rows * pace.bytesMax) / Math.max(bytes, 1);
  const wanted = Math.min(byTime, byBytes, rows * 4, pace.rowsMax);
  return Math.max(1, Math.floor(wanted));
}

/**
 * The snapshots of one reading, one after another in one session. Each is a transaction that cannot write. It first
 * holds what it reads, and only then begins to see: the server gives a transaction its moment when a statement looks
 * at the first row, whatever that is of. WITH CONSISTENT SNAPSHOT would give it before it holds anything: a statement
 * that then waits for a table gets the one that has its name afterwards, and whoever put that there (RENAME TABLE at
 * the end of gh-ost, or by hand) filled it behind that moment: its rows would be invisible, and the count as well.
 */
export class Snapshots {
  readonly #session: Session;
  readonly #plan: ReadPlan;
  readonly #signal: AbortSignal;
  readonly #pace: Pace;
  #since = 0;
  #shape: string | null = null;
  /** How many there have been since the count was last set to zero. */
  taken = 0;
  /** In all. */
  all = 0;
  #longestMs = 0;

  constructor(
    { session, plan, pace }: { readonly session: Session; readonly plan: ReadPlan; readonly pace: Pace },
    signal: AbortSignal,
  ) {
    this.#session = session;
    this.#plan = plan;
    this.#pace = pace;
    this.#signal = signal;
  }

  /** Ends the one that is open, and begins another. */
  async renew(): Promise<void> {
    await this.end();
    const options = { signal: this.#signal };
    await this.#session.command('START TRANSACTION READ ONLY', options);
    this.#since = performance.now();
    this.taken += 1;
    this.all += 1;
    await this.#hold();
  }

  /** How long the one that has been open longest is or was open. */
  get longestMs(): number {
    return this.#since === 0 ? this.#longestMs : Math.max(this.#longestMs, performance.now() - this.#since);
  }

  get isOld(): boolean {
    return this.#since > 0 && performance.now() - this.#since > this.#pace.snapshotMs;
  }

  /** Ends the open one. */
  async end(): Promise<void> {
    if (this.#since === 0) return;
    this.#longestMs = Math.max(this.#longestMs, performance.now() - this.#since);
    this.#since = 0;
    await this.#session.command('ROLLBACK', { signal: this.#signal });
  }

  /**
   * Locks the tables, those under a view and a query too, against another shape and another name, and asks what the
   * columns are: the same in every snapshot of a reading. A statement locks what it has opened, and preparing one only
   * for that moment: so one of no rows is run first, and its locks stay. Should it look at a row nevertheless, it holds
   * them by then.
   */
  async #hold(): Promise<void> {
    const { columns, shape } = this.#plan;
    const list = columns.map(({ own }) => own).join(', ');
    const nothing = `SELECT ${list}${fromWhere(shape)} LIMIT 0`;
    const options = { signal: this.#signal };
    try {
      await this.#session.query(nothing, [], options);
      const { fields } = await this.#session.describe(nothing, options);
      const now = JSON.stringify(fields);
      if (this.#shape !== null && this.#shape !== now) throw schemaChanged('a column has another type');
      this.#shape = now;
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'not_found_at_source')
        throw schemaChanged('a column or the table is gone', error);
      throw error;
    }
  }
}
