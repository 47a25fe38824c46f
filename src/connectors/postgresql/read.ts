import { MillraceError } from '../../core/errors.ts';
import type { Batch, Cursor, ResolvedStream } from '../../core/model.ts';
import type { Reading } from '../connector.ts';
import { type Lookback, parseLookback } from '../sql/lookback.ts';
import { plain } from '../sql/names.ts';
import { type Position, readPosition, type Settled, writePosition } from '../sql/position.ts';
import { appendSteps } from './append.ts';
import { type Guard, readerName } from './guard.ts';
import { mergeSteps } from './merge.ts';
import { changedMeanwhile, fromWhere, planRead, type ReadPlan, schemaChanged, selectRows } from './plan.ts';
import type { SessionPool } from './pool.ts';
import { type Session, textSettings } from './session.ts';
import { loadShape } from './shape.ts';
import type { TypeCache } from './types.ts';

export interface ReadContext {
  readonly pool: SessionPool;
  readonly types: TypeCache;
  readonly schemas: readonly string[];
  /** The late-commit guard; handed in, so that a test can see what happens without one. */
  readonly guard: Guard;
  readonly signal: AbortSignal;
}

/** One SELECT on the way to the end of a reading, and the batches it becomes. */
export interface Step {
  readonly select: string;
  batches(session: Session, signal: AbortSignal): AsyncIterable<Batch>;
}

/** What a reading is made of, besides its session. */
export interface Steps {
  readonly steps: readonly Step[];
  /** The position when everything has been read. */
  readonly end: Position;
  readonly resumed: boolean;
  readonly warnings: readonly string[];
}

/** What the guard found, when a new run has to know it; a resumed one keeps the bound of its first part. */
export interface Bound {
  readonly settled: Settled;
  readonly lookback: Lookback | null;
}

export interface StepContext {
  readonly plan: ReadPlan;
  readonly position: Position | null;
  readonly bound: Bound;
  /** In the snapshot. */
  readonly session: Session;
  readonly signal: AbortSignal;
}

/**
 * Begins to read a stream in one snapshot: REPEATABLE READ, READ ONLY, one session from the first batch to the
 * count and the keys. The guard has returned before the snapshot is taken; see guard.ts for why that matters.
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
    const guarded = await findBound(context, { session, stream, plan, position }).catch(async (error) => {
      throw await changedMeanwhile({ ...context, session }, { stream: stream.declared, shape }, error);
    });
    await session.command(beginSql, { signal });
    await holdShape(session, plan, signal);
    const bound = { settled: guarded.settled, lookback: guarded.lookback };
    const parts = await stepsFor(stream, { plan, position, bound, session, signal });
    return new PostgresReading({
      session,
      plan,
      parts,
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

/** COPY runs for hours: its silence is watched here, not by the server's clock. */
const beginSql = [
  'BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY',
  `SET LOCAL application_name = '${readerName}'`,
  'SET LOCAL statement_timeout = 0',
  ...textSettings.map((setting) => `SET LOCAL ${setting}`),
].join('; ');

/**
 * The first statement of the snapshot: it locks the table against changes of its columns, refuses whatever is not
 * one SELECT (the same words go into COPY later, where nothing would), and shows the types that will come: of a
 * domain, what it stands on.
 */
async function holdShape(session: Session, plan: ReadPlan, signal: AbortSignal): Promise<void> {
  const list = plan.columns.map((column) => column.ref).join(', ');
  let fields: Awaited<ReturnType<Session['describe']>>['fields'];
  try {
    ({ fields } = await session.describe(`SELECT ${list}${fromWhere(plan.shape)} LIMIT 0`, [], { signal }));
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'not_found_at_source')
      throw schemaChanged('a column or the table is gone', error);
    throw error;
  }
  for (const [i, column] of plan.columns.entries()) {
    if (fields[i]?.type !== column.base)
      throw schemaChanged(`column "${plain(column.name, 63)}" has another type`);
  }
}

/** A stored position, or null and a word when it was made for another cursor or key. */
function usablePosition(
  stream: ResolvedStream,
  plan: ReadPlan,
  from: Cursor | null,
): { readonly position: Position | null; readonly warnings: readonly string[] } {
  if (stream.mode === 'replace') return { position: null, warnings: [] };
  const position = readPosition(from);
  const appends = position?.phase === 'append' || position?.phase === 'appended';
  if (position === null) return { position, warnings: [] };
  if (position.phase !== 'replace' && position.of === plan.of && appends === (stream.mode === 'append'))
    return { position, warnings: [] };
  if (stream.mode === 'append') {
    throw new MillraceError(
      'cursor_invalid',
      `The stored position of "${stream.name}" belongs to another cursor, type or mode: going on would add rows twice.`,
      {
        hint: 'Run sync_connector with full_refresh: true; or give the stream a new name, and it lands in a new table.',
        nextActions: [],
      },
    );
  }
  return {
    position: null,
    warnings: [
      'The cursor or key of the stream is not the one of the stored position: everything is read again, and merged.',
    ],
  };
}

interface BoundRequest {
  readonly session: Session;
  readonly stream: ResolvedStream;
  readonly plan: ReadPlan;
  readonly position: Position | null;
}

async function findBound(
  { guard, signal }: ReadContext,
  { session, stream, plan, position }: BoundRequest,
): Promise<Bound & { readonly guard: string; readonly warnings: readonly string[] }> {
  const declared = stream.declared.lookback === undefined ? null : parseLookback(stream.declared.lookback);
  const { cursor } = plan;
  if (stream.mode === 'replace' || cursor === null) {
    return {
      settled: { mark: null, held: [] },
      lookback: null,
      guard: 'one snapshot of everything',
      warnings: [],
    };
  }
  if (position?.phase === 'load' || position?.phase === 'inc' || position?.phase === 'append') {
    return {
      settled: position.bound,
      lookback: declared,
      guard: 'as at the beginning of this run, which is being resumed',
      warnings: [],
    };
  }
  const settled =
    position?.phase === 'settled' || position?.phase === 'appended' ? position : { mark: null, held: [] };
  const found = await guard({
    session,
    shape: plan.shape,
    cursor,
    settled: { mark: settled.mark, held: settled.held },
    lookback: declared,
    signal,
  });
  return { settled: found.bound, lookback: found.lookback, guard: found.guard, warnings: found.warnings };
}

async function stepsFor(stream: ResolvedStream, context: StepContext): Promise<Steps> {
  switch (stream.mode) {
    case 'merge':
      return await mergeSteps(context);
    case 'append':
      return await appendSteps(context);
    case 'replace':
      return replaceSteps(context);
    default:
      throw stream.mode satisfies never;
  }
}

/** Everything in the order in which it lies: never resumed, since the order is not ours to repeat. */
function replaceSteps({ plan }: StepContext): Steps {
  const end: Position = { phase: 'replace' };
  const cursor = writePosition(end);
  const select = selectRows(plan, {});
  const step: Step = {
    select,
    async *batches(session, signal) {
      const copy = session.copy(select, signal);
      for await (const batch of copy.batches({
        decoders: plan.columns.map(({ travel }) => travel.decode),
        hidden: [],
      })) {
        yield { values: batch.values, rows: batch.rows, bytes: batch.bytes, cursor };
      }
    },
  };
  return { steps: [step], end, resumed: false, warnings: [] };
}

interface ReadingParts {
  readonly session: Session;
  readonly plan: ReadPlan;
  readonly parts: Steps;
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

  get batches(): AsyncIterable<Batch> {
    return this.#read();
  }

  async *#read(): AsyncGenerator<Batch, void, void> {
    const { parts } = this.#parts;
    for (const step of parts.steps) yield* this.#copy(step);
    yield { values: [], rows: 0, bytes: 0, cursor: writePosition(parts.end) };
  }

  async *#copy(step: Step): AsyncGenerator<Batch, void, void> {
    const { session, signal } = this.#parts;
    this.#copying = true;
    try {
      yield* step.batches(session, signal);
      this.#copying = false;
    } catch (error) {
      throw session.explain(error, signal);
    }
  }

  async count(): Promise<number | null> {
    const { session, plan, signal } = this.#parts;
    const [row] = await session.query(`SELECT count(*)${fromWhere(plan.shape)}`, [], { signal });
    return Number(row?.[0] ?? 0);
  }

  async *keys(): AsyncGenerator<Batch, void, void> {
    const { plan } = this.#parts;
    const narrow: ReadPlan = { ...plan, columns: plan.key };
    const select = selectRows(narrow, {});
    yield* this.#copy({
      select,
      async *batches(session, signal) {
        const copy = session.copy(select, signal);
        for await (const batch of copy.batches({
          decoders: plan.key.map(({ travel }) => travel.decode),
          hidden: [],
        })) {
          yield { values: batch.values, rows: batch.rows, bytes: batch.bytes, cursor: '' };
        }
      },
    });
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
