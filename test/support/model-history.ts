import fc from 'fast-check';
import { MillraceError } from '../../src/core/errors.ts';
import type { Batch, Cursor, Mode } from '../../src/core/model.ts';
import type { Destination, Writer } from '../../src/destinations/destination.ts';
import {
  createModelSource,
  type ModelRow,
  type ModelSource,
  modelStream,
  settledMark,
} from './model-source.ts';

/** One thing that happens. Which transaction, row or process is meant is `pick` modulo how many there are. */
export type Step =
  | { readonly do: 'tick' | 'begin' }
  | { readonly do: 'insert'; readonly pick: number; readonly rows: number; readonly bad: boolean }
  | { readonly do: 'update' | 'commit'; readonly pick: number }
  | { readonly do: 'claim' | 'crash'; readonly who: number }
  /** So many times the next thing that process would do: claim, open, pull, store, … , finish. */
  | { readonly do: 'advance'; readonly who: number; readonly times: number };

export interface History {
  readonly mode: Mode;
  readonly batchRows: number;
  readonly steps: readonly Step[];
}

/** What is deliberately broken, to see that the model notices. */
export interface Broken {
  /** The cursor is kept in a place of its own, written before or after the rows. */
  readonly cursorApart?: 'before' | 'after';
  /** The reader ignores open transactions. */
  readonly guardOff?: boolean;
  /** All processes use one epoch: nobody is shut out. */
  readonly fenceOff?: boolean;
}

/** Counted over many histories, so that a test can say what it has seen. */
export interface Seen {
  histories: number;
  crashes: number;
  zombies: number;
  rejects: number;
  rows: number;
}

/** What the model needs from the place where rows land. */
export interface World {
  /** Opens the data file anew; each process has a handle of its own. */
  openDestination(): Destination;
  landed(connector: string): readonly LandedRow[];
  rejects(connector: string): number;
}

export interface LandedRow {
  readonly id: number;
  readonly c: number;
  readonly v: string;
}

/** Random histories: two processes and any number of transactions, a crash at any step. */
export function histories(mode: Mode): fc.Arbitrary<History> {
  const pick = fc.nat(7);
  const who = fc.nat(1);
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 2, arbitrary: fc.constant({ do: 'tick' as const }) },
    { weight: 2, arbitrary: fc.constant({ do: 'begin' as const }) },
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant('insert' as const),
        pick,
        rows: fc.integer({ min: 1, max: 3 }),
        bad: fc.nat(11).map((draw) => draw === 11),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('update' as const), pick }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('commit' as const), pick }) },
    {
      weight: 10,
      arbitrary: fc.record({
        do: fc.constant('advance' as const),
        who,
        times: fc.integer({ min: 1, max: 7 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('claim' as const), who }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), who }) },
  );
  const steps = fc.array(step, { minLength: 20, maxLength: 90, size: 'max' });
  return fc.record({ mode: fc.constant(mode), batchRows: fc.integer({ min: 1, max: 4 }), steps });
}

/**
 * Plays one history and then lets everything come to rest: open transactions commit, one process runs to its
 * end. Throws when a row was lost or doubled, when a zombie wrote, or when a mark stood above a missing row.
 */
export async function play(history: History, setting: Setting): Promise<void> {
  const source = createModelSource();
  const transactions: number[] = [];
  const system = createSystem(history, source, setting);
  setting.seen.histories += 1;
  try {
    for (const step of history.steps) {
      if ('who' in step) await system.step(step);
      else happen(step, { source, transactions, updates: history.mode !== 'append' });
    }
    for (const transaction of transactions) source.commit(transaction);
    // The first may resume what a crash left, up to the bound that was taken when it began: the second sees the rest.
    await system.runToEnd(0);
    await system.runToEnd(1);
    system.assertEqual();
    if (history.mode !== 'replace') {
      const written = await system.runToEnd(0);
      if (written !== 0) throw new Error(`a run that found nothing new wrote ${written} rows`);
      system.assertEqual();
    }
  } finally {
    setting.seen.rows += source.committed.size;
    await system.close();
  }
}

export interface Setting {
  readonly world: World;
  readonly connector: string;
  readonly broken: Broken;
  readonly seen: Seen;
}

interface Writers {
  readonly source: ModelSource;
  readonly transactions: number[];
  /** Off for `append`, which promises exactly once for rows that never change. */
  readonly updates: boolean;
}

function happen(
  step: Exclude<Step, { readonly who: number }>,
  { source, transactions, updates }: Writers,
): void {
  if (!('pick' in step)) {
    if (step.do === 'tick') source.tick();
    else transactions.push(source.begin());
    return;
  }
  if (transactions.length === 0) transactions.push(source.begin());
  const transaction = transactions[step.pick % Math.max(transactions.length, 1)];
  if (transaction === undefined) return;
  if (step.do === 'insert') {
    for (let row = 0; row < step.rows; row += 1) source.insert(transaction, step.bad && row === 0);
  } else if (step.do === 'update') {
    if (updates) source.update(transaction, step.pick);
  } else {
    source.commit(transaction);
    transactions.splice(transactions.indexOf(transaction), 1);
  }
}

interface Process {
  destination: Destination;
  epoch: number;
  writer: Writer | null;
  batches: Iterator<Batch> | null;
  pulled: Batch | null;
  ended: boolean;
  total: number;
  written: number;
}

interface System {
  step(step: Extract<Step, { readonly who: number }>): Promise<void>;
  /** A run without faults, from claim to finish; rows it wrote. */
  runToEnd(who: number): Promise<number>;
  assertEqual(): void;
  close(): Promise<void>;
}

function createSystem(history: History, source: ModelSource, setting: Setting): System {
  const { world, connector, broken, seen } = setting;
  const stream = modelStream(history.mode);
  const started = (): Process => ({
    destination: world.openDestination(),
    epoch: 0,
    writer: null,
    batches: null,
    pulled: null,
    ended: false,
    total: 0,
    written: 0,
  });
  const processes: Process[] = [started(), started()];
  let epoch = 0;
  let opened = 0;
  let cursorApart: Cursor | null = null;

  /** Runs one call of the destination; a stale process must be refused, a current one must not. */
  const fenced = async <T>(process: Process, call: () => Promise<T>): Promise<T | null> => {
    const stale = process.epoch < opened;
    const before = stale ? JSON.stringify(world.landed(connector)) : '';
    try {
      const result = await call();
      if (stale) throw new Error(`epoch ${process.epoch} wrote although ${opened} had opened the stream`);
      return result;
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'run_lost' || !stale) throw error;
      if (JSON.stringify(world.landed(connector)) !== before) throw new Error('a refused call changed rows');
      seen.zombies += 1;
      await leave(process);
      return null;
    }
  };
  const leave = async (process: Process): Promise<void> => {
    const { writer } = process;
    Object.assign(process, { writer: null, batches: null, pulled: null, ended: false, epoch: 0 });
    await writer?.[Symbol.asyncDispose]();
  };
  const actions = {
    async claim(process: Process) {
      await leave(process);
      epoch += 1;
      process.epoch = broken.fenceOff === true ? 1 : epoch;
    },
    async open(process: Process) {
      if (process.epoch === 0 || process.writer !== null) return;
      const rebuild = history.mode === 'replace';
      const writer = await fenced(process, () =>
        process.destination.writer({
          connector,
          stream,
          runId: `r${process.epoch}`,
          epoch: process.epoch,
          rebuild,
          definition: 'public.rows',
        }),
      );
      if (writer === null) return;
      opened = process.epoch;
      const from = rebuild ? null : broken.cursorApart === undefined ? writer.cursor : cursorApart;
      const guard = broken.guardOff !== true;
      const batches = source.read({ mode: history.mode, from, batchRows: history.batchRows, guard });
      Object.assign(process, { writer, batches, total: source.committed.size, written: 0 });
    },
    async pull(process: Process) {
      if (process.batches === null || process.pulled !== null || process.ended) return;
      const next = process.batches.next();
      if (next.done === true) process.ended = true;
      else process.pulled = next.value;
      if (broken.cursorApart === 'before' && process.pulled !== null) cursorApart = process.pulled.cursor;
    },
    async store(process: Process) {
      const { writer, pulled } = process;
      if (writer === null || pulled === null) return;
      const done = await fenced(process, () => writer.commit(pulled));
      if (done === null) return;
      seen.rejects += done.rejects;
      process.written += done.written;
      process.pulled = null;
      // Kept apart and written after: between the two is where the other tools double their rows.
      if (broken.cursorApart === 'after') process.pulled = { ...pulled, values: [], rows: 0 };
      if (broken.cursorApart === 'after' && pulled.rows === 0) {
        cursorApart = pulled.cursor;
        process.pulled = null;
      }
      if (broken.cursorApart === undefined)
        assertMark(history.mode, source, world.landed(connector), pulled.cursor);
    },
    async finish(process: Process) {
      const { writer } = process;
      if (writer === null || !process.ended) return;
      const expectedRows = history.mode === 'replace' ? process.total : null;
      await fenced(process, () => writer.finish({ expectedRows, minimumShare: null }));
      await leave(process);
    },
    async crash(process: Process) {
      if (process.epoch !== 0) seen.crashes += 1;
      await leave(process);
      await process.destination[Symbol.asyncDispose]();
      process.destination = world.openDestination();
    },
  };
  const nextOf = (process: Process): 'claim' | 'open' | 'pull' | 'store' | 'finish' => {
    if (process.epoch === 0) return 'claim';
    if (process.writer === null) return 'open';
    if (process.pulled !== null) return 'store';
    return process.ended ? 'finish' : 'pull';
  };
  const processOf = (who: number): Process => {
    const process = processes[who];
    if (process === undefined) throw new Error(`there is no process ${who}`);
    return process;
  };
  return {
    async step(step) {
      const process = processOf(step.who);
      if (step.do !== 'advance') return actions[step.do](process);
      for (let turn = 0; turn < step.times; turn += 1) await actions[nextOf(process)](process);
    },
    async runToEnd(who) {
      const process = processOf(who);
      await actions.claim(process);
      await actions.open(process);
      for (let turn = 0; !process.ended; turn += 1) {
        if (turn > 10_000) throw new Error('the reading does not end');
        await actions.pull(process);
        while (process.pulled !== null) await actions.store(process);
      }
      const { written } = process;
      await actions.finish(process);
      return written;
    },
    assertEqual() {
      assertEqual(source, world.landed(connector));
      const bad = [...source.committed.values()].filter((row) => row.bad).length;
      if (world.rejects(connector) < bad)
        throw new Error(`${bad} rows cannot be stored, ${world.rejects(connector)} rejects`);
    },
    async close() {
      for (const process of processes) {
        await leave(process);
        await process.destination[Symbol.asyncDispose]();
      }
    },
  };
}

/** Every storable row exactly once in its last version, and nothing else but older versions of unstorable ones. */
function assertEqual(source: ModelSource, landed: readonly LandedRow[]): void {
  const seen = new Set<number>();
  for (const row of landed) {
    if (seen.has(row.id)) throw new Error(`row ${row.id} is doubled`);
    seen.add(row.id);
    const origin = source.committed.get(row.id);
    if (origin === undefined) throw new Error(`row ${row.id} was never committed`);
    if (!origin.bad && !same(origin, row))
      throw new Error(`row ${row.id} landed as ${row.v} of ${row.c}, is v${origin.version} of ${origin.c}`);
  }
  for (const row of source.committed.values()) {
    if (!row.bad && !seen.has(row.id)) throw new Error(`row ${row.id} of ${row.c} is lost`);
  }
}

/** Invariant 1, at every moment: below a settled mark nothing is missing, and nothing is ever there twice. */
function assertMark(mode: Mode, source: ModelSource, landed: readonly LandedRow[], cursor: Cursor): void {
  const ids = new Set(landed.map((row) => row.id));
  if (ids.size !== landed.length) throw new Error('a row is doubled');
  const mark = mode === 'replace' ? null : settledMark(cursor);
  if (mark === null) return;
  for (const row of source.committed.values()) {
    if (row.c < mark && !row.bad && !ids.has(row.id))
      throw new Error(`the mark stands at ${mark} and row ${row.id} of ${row.c} is not here`);
  }
}

function same(origin: ModelRow, row: LandedRow): boolean {
  return origin.c === row.c && `v${origin.version}` === row.v;
}
