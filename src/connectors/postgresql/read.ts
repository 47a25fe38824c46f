import type { Batch, Cursor, ResolvedStream } from '../../core/model.ts';
import type { Agreement, Reading } from '../connector.ts';
import { findBound, stepsFor, usablePosition } from '../sql/begin.ts';
import { changedMeanwhile } from '../sql/plan.ts';
import { writePosition } from '../sql/position.ts';
import { everything, type Steps } from '../sql/reader.ts';
import type { Guard } from './guard.ts';
import { planRead, type ReadPlan } from './plan.ts';
import type { SessionPool } from './pool.ts';
import { copyReader } from './reader.ts';
import type { Session } from './session.ts';
import { loadShape } from './shape.ts';
import { beginSnapshot } from './snapshot.ts';
import type { TypeCache } from './types.ts';

export interface ReadContext {
  readonly pool: SessionPool;
  readonly types: TypeCache;
  readonly schemas: readonly string[];
  /** The late-commit guard; handed in, so that a test can see what happens without one. */
  readonly guard: Guard;
  readonly signal: AbortSignal;
}

/**
 * Begins to read a stream in one snapshot: REPEATABLE READ, READ ONLY, one session from the first batch to the
 * count and the keys. The guard has returned before the snapshot is taken; see guard.ts for why that matters, and
 * snapshot.ts for what comes in between.
 */
export async function openReading(
  context: ReadContext,
  stream: ResolvedStream,
  from: Cursor | null,
): Promise<Reading> {
  const { pool, signal } = context;
  const session = await pool.acquire(signal);
  const stop = (): void => session.destroy();
  signal.addEventListener('abort', stop, { once: true });
  const release = (reuse: boolean): void => {
    signal.removeEventListener('abort', stop);
    pool.release(session, reuse);
  };
  try {
    const shape = await loadShape({ ...context, session }, stream.declared);
    const plan = planRead(stream, shape, context.types);
    const { position, warnings } = usablePosition(stream, plan, from);
    const guarded = await findBound({
      stream,
      cursor: plan.cursor,
      position,
      guard: (question) => context.guard({ session, shape, signal, ...question }),
    }).catch(async (error) => {
      throw await changedMeanwhile(
        shape.columns,
        () => loadShape({ ...context, session }, stream.declared),
        error,
      );
    });
    await beginSnapshot(session, plan, signal);
    const bound = { settled: guarded.bound, lookback: guarded.lookback };
    const snapshot = await snapshotName(session, plan, signal);
    const reader = copyReader({ plan, session, signal });
    const parts = await stepsFor(stream, { plan, position, bound, reader });
    return new PostgresReading({
      session,
      plan,
      parts,
      snapshot,
      counted: position?.phase === 'settled' && snapshot !== null && position.counted === snapshot,
      guard: guarded.guard,
      warnings: [...warnings, ...guarded.warnings, ...parts.warnings],
      release,
      // Locks and settings can outlive a rollback, and the user's own SQL may have made some.
      reusable: !shape.carriesSql,
      signal,
    });
  } catch (error) {
    release(false);
    throw session.explain(error, signal);
  }
}

/**
 * Which transactions a snapshot sees: two with the same list, of the same start of the server, see the same rows, so what
 * was counted in one need not be in the other. Null where more than committed rows decides what is read (views, foreign
 * tables, SQL of the stream's own), and on a standby, which plays back what others wrote.
 */
async function snapshotName(
  session: Session,
  { shape }: ReadPlan,
  signal: AbortSignal,
): Promise<string | null> {
  const kind = shape.relation?.kind;
  if (shape.carriesSql || (kind !== 'table' && kind !== 'partitioned_table')) return null;
  const [row] = await session.query(
    `SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()
       THEN pg_catalog.txid_current_snapshot()::text || ' ' || pg_catalog.pg_postmaster_start_time()::text END`,
    [],
    { signal },
  );
  return row?.[0] ?? null;
}

interface ReadingParts {
  readonly session: Session;
  readonly plan: ReadPlan;
  readonly parts: Steps;
  readonly snapshot: string | null;
  /** What has landed was compared with this very snapshot, by an earlier run. */
  readonly counted: boolean;
  readonly guard: string;
  readonly warnings: readonly string[];
  readonly release: (reuse: boolean) => void;
  readonly reusable: boolean;
  readonly signal: AbortSignal;
}

class PostgresReading implements Reading {
  readonly guard: string;
  readonly warnings: readonly string[];
  readonly resumed: boolean;
  readonly #parts: ReadingParts;
  /** A COPY was begun and not ended: the session cannot be used for anything else. */
  #copying = false;
  #closed = false;

  constructor(parts: ReadingParts) {
    this.guard = parts.guard;
    this.warnings = parts.warnings;
    this.resumed = parts.parts.resumed;
    this.#parts = parts;
  }

  /** What a resumed one goes on behind was read in another snapshot. */
  get agreement(): Agreement {
    return this.resumed ? 'unknown' : 'same';
  }

  get batches(): AsyncIterable<Batch> {
    return this.#read();
  }

  async *#read(): AsyncGenerator<Batch, void, void> {
    const { parts, counted } = this.#parts;
    for (const step of parts.steps) yield* this.#copy(step());
    const cursor = counted ? this.compared() : null;
    yield { values: [], rows: 0, bytes: 0, cursor: cursor ?? writePosition(parts.end) };
  }

  compared(): Cursor | null {
    const { parts, snapshot } = this.#parts;
    const { end } = parts;
    return snapshot === null || end.phase !== 'settled' ? null : writePosition({ ...end, counted: snapshot });
  }

  async *#copy<T>(rows: AsyncIterable<T>): AsyncGenerator<T, void, void> {
    const { session, signal } = this.#parts;
    this.#copying = true;
    try {
      yield* rows;
      this.#copying = false;
    } catch (error) {
      throw session.explain(error, signal);
    }
  }

  async count(): Promise<number | null> {
    return this.#parts.counted ? null : await copyReader(this.#parts).count([]);
  }

  async *keys(): AsyncGenerator<Batch, void, void> {
    const { plan, session, signal } = this.#parts;
    const reader = copyReader({ plan: { ...plan, columns: plan.key }, session, signal });
    for await (const { values, rows, bytes } of this.#copy(reader.rows(everything)))
      yield { values, rows, bytes, cursor: '' };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const { session, release, reusable } = this.#parts;
    if (this.#copying) session.destroy();
    const ended =
      session.usable &&
      (await session.command('ROLLBACK').then(
        () => true,
        () => false,
      ));
    release(ended && reusable);
  }
}
