import type { Batch, Cursor, ResolvedStream } from '../../core/model.ts';
import type { Agreement, Reading } from '../connector.ts';
import { findBound, stepsFor, usablePosition } from '../sql/begin.ts';
import type { GuardResult } from '../sql/guard.ts';
import { plain } from '../sql/names.ts';
import { changedMeanwhile } from '../sql/plan.ts';
import { type Position, writePosition } from '../sql/position.ts';
import { everything, landing, type RowReader, type Steps } from '../sql/reader.ts';
import { catalogueIndexes } from './catalogue.ts';
import type { Settings } from './config.ts';
import { engineOf } from './engine.ts';
import type { Guard } from './guard.ts';
import { OddDates } from './odd-dates.ts';
import { type PlannedColumn, planRead, type ReadPlan } from './plan.ts';
import type { SessionPool } from './pool.ts';
import { chunkReader, type ReaderContext } from './reader.ts';
import type { Session } from './session.ts';
import { databasesOf, loadShape, type Shape } from './shape.ts';
import { type Pace, Snapshots } from './snapshot.ts';

export interface ReadContext {
  readonly pool: SessionPool;
  readonly settings: Settings;
  /** The late-commit guard; handed in, so that a test can see what happens without one. */
  readonly guard: Guard;
  readonly pace: Pace;
  readonly signal: AbortSignal;
}

/** Begins to read a stream. The guard has returned before the first snapshot is taken; see guard.ts for why. */
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
    return await beginReading({ ...context, stream, session, release }, from);
  } catch (error) {
    release(false);
    throw session.explain(error, signal);
  }
}

interface Beginning extends ReadContext {
  readonly stream: ResolvedStream;
  readonly session: Session;
  readonly release: (reuse: boolean) => void;
}

async function beginReading(context: Beginning, from: Cursor | null): Promise<Reading> {
  const { session, settings, stream, signal } = context;
  const look = (): Promise<Shape> =>
    loadShape({ session, databases: databasesOf(settings, session.server), signal }, stream.declared);
  const shape = await look();
  const plan = planRead(stream, shape);
  const { position, warnings } = usablePosition(stream, plan, from);
  const engine = await engineOf({ session, signal }, shape);
  const atomic = engine.transactions !== 'none';
  const ask = askGuard(context, plan, look);
  const found = await ask(position);
  const reading = new MysqlReading(
    { ...context, plan, position, ask, indexes: await indexesOf(context, shape), atomic },
    found,
    warnings,
  );
  await reading.begin();
  return reading;
}

type AskGuard = (position: Position | null) => Promise<GuardResult>;

/** Nothing holds the table while the guard is asked. */
function askGuard(
  { session, guard, stream, signal }: Beginning,
  { shape, cursor }: ReadPlan,
  look: () => Promise<Shape>,
): AskGuard {
  return (position) =>
    findBound({
      stream,
      cursor,
      position,
      guard: (question) => guard({ session, shape, signal, ...question }),
    }).catch(async (error) => {
      throw await changedMeanwhile(shape.columns, look, error);
    });
}

async function indexesOf(
  { session, signal }: Beginning,
  { relation }: Shape,
): Promise<ReaderContext['indexes']> {
  if (relation === null || relation.kind === 'view') return [];
  const { schema, name } = relation;
  return (await catalogueIndexes({ session, signal }, { schema, names: [name] })).get(name) ?? [];
}

interface ReadingParts extends Beginning {
  readonly plan: ReadPlan;
  readonly position: Position | null;
  readonly ask: AskGuard;
  readonly indexes: ReaderContext['indexes'];
  /** What is read is of one moment: the engine has snapshots. */
  readonly atomic: boolean;
}

/** How often a reading goes on with what changed while it read, until one snapshot sees all of that. */
const passesMax = 5;

class MysqlReading implements Reading {
  readonly guard: string;
  readonly #warnings: string[];
  readonly #parts: ReadingParts;
  readonly #snapshots: Snapshots;
  readonly #oddDates: OddDates;
  readonly #reader: RowReader<PlannedColumn>;
  #bound: GuardResult;
  #steps: Steps | null = null;
  #agreement: Agreement = 'unknown';
  #whole: readonly PlannedColumn[] | null = null;
  /** A statement was begun and its rows have not all come: the session cannot be used for anything else. */
  #streaming = false;
  #closed = false;

  constructor(parts: ReadingParts, bound: GuardResult, warnings: readonly string[]) {
    this.#parts = parts;
    this.#bound = bound;
    this.guard = bound.guard;
    this.#warnings = [...warnings, ...bound.warnings];
    this.#snapshots = new Snapshots(parts, parts.signal);
    this.#oddDates = new OddDates(parts.settings.zeroDates);
    this.#reader = this.#readerOf(parts.plan, this.#oddDates);
  }

  #readerOf(plan: ReadPlan, oddDates: OddDates): RowReader<PlannedColumn> {
    return chunkReader({
      ...this.#parts,
      plan,
      snapshots: this.#snapshots,
      oddDates,
      onWhole: (order) => {
        this.#whole = order;
      },
    });
  }

  /** Takes the first snapshot, and finds out what is to be read. */
  async begin(): Promise<void> {
    this.#steps = await this.#stepsFrom(this.#parts.position);
    this.#warnings.push(...this.#steps.warnings);
  }

  async #stepsFrom(position: Position | null): Promise<Steps> {
    const { stream, plan } = this.#parts;
    this.#snapshots.taken = 0;
    await this.#snapshots.renew();
    const bound = { settled: this.#bound.bound, lookback: this.#bound.lookback };
    return await stepsFor(stream, { plan, position, bound, reader: this.#reader });
  }

  get warnings(): readonly string[] {
    return this.#warnings;
  }

  get resumed(): boolean {
    return this.#steps?.resumed ?? false;
  }

  get agreement(): Agreement {
    return this.#agreement;
  }

  get batches(): AsyncIterable<Batch> {
    return this.#read();
  }

  /**
   * After a reading over several snapshots the rows that landed are of several moments. What changed since it began has
   * a cursor at or above its mark, so it is read like a run that comes at once, from that mark to a new one; as that
   * takes a part of the time, there is less to be read for the next, until one snapshot sees all of it. Then what
   * landed holds every row of that snapshot, as PostgreSQL's one snapshot gives it, and counts can be compared.
   */
  async *#read(): AsyncGenerator<Batch, void, void> {
    let steps = this.#steps as Steps;
    let mark = startOf(this.#parts.position);
    for (let pass = 1; ; pass++) {
      for (const step of steps.steps) yield* this.#stream(step());
      const { end } = steps;
      yield { values: [], rows: 0, bytes: 0, cursor: writePosition(end) };
      const one = this.#snapshots.taken === 1;
      if (one && !steps.resumed && this.#parts.atomic) this.#agreement = pass === 1 ? 'same' : 'all';
      const settled = end.phase === 'settled' ? end.mark : null;
      if (one || settled === null || settled === mark || pass === passesMax || !this.#parts.atomic) return;
      mark = settled;
      steps = await this.#again(end);
    }
  }

  async #again(position: Position): Promise<Steps> {
    const { session, signal } = this.#parts;
    try {
      await this.#snapshots.end();
      this.#bound = await this.#parts.ask(position);
      return await this.#stepsFrom(position);
    } catch (error) {
      throw session.explain(error, signal);
    }
  }

  async *#stream<T>(rows: AsyncIterable<T>): AsyncGenerator<T, void, void> {
    const { session, signal } = this.#parts;
    this.#streaming = true;
    try {
      yield* rows;
      this.#streaming = false;
    } catch (error) {
      throw session.explain(error, signal);
    }
  }

  noticed(): readonly string[] {
    return [...this.#oddDates.noticed(), ...this.#noticedSnapshots()];
  }

  #noticedSnapshots(): readonly string[] {
    const { all, longestMs } = this.#snapshots;
    const { plan, pace } = this.#parts;
    if (all > 1 && this.#agreement === 'unknown') {
      const then = plan.cursor === null ? 'with the next run' : 'with the next run, by its cursor';
      return [
        `The rows were read in ${all} snapshots, one after another: what changed behind the reader comes ${then}.`,
      ];
    }
    if (longestMs < pace.longMs || this.#whole === null) return [];
    return [
      `One snapshot was open for ${Math.round(longestMs / 1_000)} s, and the server kept old versions of all rows that long: ${whyWhole(plan, this.#whole)}`,
    ];
  }

  count(): Promise<number> {
    return this.#reader.count([]);
  }

  /** Whatever becomes of rows with odd dates: the source has them, so what landed or was kept aside of them stays. */
  async *keys(): AsyncGenerator<Batch, void, void> {
    const { plan } = this.#parts;
    const reader = this.#readerOf({ ...plan, columns: plan.key }, new OddDates('text'));
    for await (const batch of this.#stream(reader.rows(everything))) yield { ...landing(batch), cursor: '' };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const { session, release, plan } = this.#parts;
    if (this.#streaming) session.destroy();
    const ended =
      session.usable &&
      (await this.#snapshots.end().then(
        () => true,
        () => false,
      ));
    // Locks and settings can outlive a rollback, and the user's own SQL may have made some.
    release(ended && !plan.shape.carriesSql);
  }
}

/** The mark that a pass begins at. */
function startOf(position: Position | null): string | null {
  return position?.phase === 'settled' || position?.phase === 'inc' ? position.mark : null;
}

function whyWhole({ shape }: ReadPlan, order: readonly PlannedColumn[]): string {
  const names = order.map(({ name }) => plain(name, 63)).join(', ');
  if (order.length === 0) return 'without a key or a cursor there is no order to read in parts by.';
  if (shape.relation === null || shape.relation.kind === 'view')
    return 'a query or a view is read as one. A stream of the table itself is read in parts.';
  return `no index gives the rows in the order of (${names}). CREATE INDEX on these columns lets them be read in parts.`;
}
