import type { Batch, Cursor, Mode, ResolvedStream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';

/**
 * A source in memory that behaves like a database with a cursor column: transactions take their cursor value
 * when they begin and may commit long after others (late commits), many rows share a value (ties), some rows
 * cannot be stored. Its reader keeps positions as the PostgreSQL reader does: keyset inside a run, a closed
 * settled mark between runs.
 */
export interface ModelSource {
  /** Rows that are committed, by id. */
  readonly committed: ReadonlyMap<number, ModelRow>;
  tick(): void;
  /** A transaction that takes the clock's value as the cursor of all its rows. */
  begin(): number;
  insert(transaction: number, bad: boolean): void;
  /** A new version of a committed row; nothing when another open transaction holds it. */
  update(transaction: number, pick: number): void;
  commit(transaction: number): void;
  openTransactions(): readonly number[];
  read(request: ModelRead): Iterator<Batch>;
}

export interface ModelRow {
  readonly id: number;
  readonly c: number;
  readonly version: number;
  readonly bad: boolean;
}

export interface ModelRead {
  readonly mode: Mode;
  readonly from: Cursor | null;
  readonly batchRows: number;
  /** Off: the mark runs ahead of transactions still open, which is what loses rows in other tools. */
  readonly guard: boolean;
}

/** Where a reading stands; for `append` what may come again is everything at or after `at`. */
type Position =
  | { readonly phase: 'load'; readonly bound: number; readonly after: number }
  | {
      readonly phase: 'inc';
      readonly mark: number;
      readonly bound: number;
      readonly c: number;
      readonly id: number;
    }
  | { readonly phase: 'settled'; readonly mark: number }
  | { readonly phase: 'append'; readonly at: number; readonly high: number }
  | { readonly phase: 'replace' };

/** Before every cursor value. */
const START = -1;

export function modelStream(mode: Mode): ResolvedStream {
  return {
    name: 'rows',
    declared: { name: 'rows', table: 'public.rows' },
    mode,
    columns: [
      { name: 'id', type: 'integer', sourceType: 'integer', nullable: false },
      { name: 'c', type: 'integer', sourceType: 'integer', nullable: false },
      { name: 'v', type: 'text', sourceType: 'text', nullable: false },
    ],
    primaryKey: mode === 'append' ? [] : ['id'],
    cursor: mode === 'replace' ? null : 'c',
    detectDeletes: false,
    notes: [],
  };
}

/** The mark below which nothing can appear any more, if the cursor says so; null while a load or run is unfinished. */
export function settledMark(cursor: Cursor | null): number | null {
  if (cursor === null) return null;
  const position = JSON.parse(cursor) as Position;
  if (position.phase === 'settled') return position.mark;
  return position.phase === 'append' ? position.at : null;
}

export function createModelSource(): ModelSource {
  const committed = new Map<number, ModelRow>();
  const open = new Map<number, { readonly start: number; readonly writes: Map<number, ModelRow> }>();
  let clock = 0;
  let nextTransaction = 1;
  let nextId = 1;
  let version = 0;
  return {
    committed,
    tick() {
      clock += 1;
    },
    begin() {
      const transaction = nextTransaction++;
      open.set(transaction, { start: clock, writes: new Map() });
      return transaction;
    },
    insert(transaction, bad) {
      const { start, writes } = opened(transaction);
      const id = nextId++;
      writes.set(id, { id, c: start, version: ++version, bad });
    },
    update(transaction, pick) {
      const { start, writes } = opened(transaction);
      const ids = [...committed.keys()];
      const id = ids[pick % Math.max(ids.length, 1)];
      if (id === undefined) return;
      for (const [other, { writes: held }] of open) if (other !== transaction && held.has(id)) return;
      writes.set(id, { id, c: start, version: ++version, bad: false });
    },
    commit(transaction) {
      for (const [id, row] of opened(transaction).writes) committed.set(id, row);
      open.delete(transaction);
    },
    openTransactions: () => [...open.keys()],
    read(request) {
      // The bound is taken before the snapshot, as the real guard must: everything below it is in the snapshot.
      let bound = START;
      for (const row of committed.values()) bound = Math.max(bound, row.c);
      if (request.guard) for (const { start } of open.values()) bound = Math.min(bound, start);
      const position = request.from === null ? null : (JSON.parse(request.from) as Position);
      return readers[request.mode]({
        rows: [...committed.values()],
        bound,
        position,
        size: request.batchRows,
      });
    },
  };

  function opened(transaction: number): { readonly start: number; readonly writes: Map<number, ModelRow> } {
    const found = open.get(transaction);
    if (found === undefined) throw new Error(`transaction ${transaction} is not open`);
    return found;
  }
}

interface Plan {
  readonly rows: readonly ModelRow[];
  readonly bound: number;
  readonly position: Position | null;
  readonly size: number;
}

const readers = { merge: readMerge, append: readAppend, replace: readReplace } as const;

function* readMerge({ rows, bound, position, size }: Plan): Generator<Batch> {
  if (position === null || position.phase === 'load') {
    const settled = position === null ? bound : position.bound;
    const after = position === null ? START : position.after;
    const todo = rows.filter((row) => row.id > after).sort((a, b) => a.id - b.id);
    for (const part of slices(todo, size))
      yield batch(part, { phase: 'load', bound: settled, after: last(part).id });
    yield batch([], { phase: 'settled', mark: settled });
    return;
  }
  if (position.phase !== 'inc' && position.phase !== 'settled') throw new Error('not a position of merge');
  const { mark } = position;
  const goal = position.phase === 'inc' ? position.bound : Math.max(bound, mark);
  const todo = rows
    .filter((row) => row.c >= mark)
    .filter(
      (row) =>
        position.phase === 'settled' || row.c > position.c || (row.c === position.c && row.id > position.id),
    )
    .sort((a, b) => a.c - b.c || a.id - b.id);
  for (const part of slices(todo, size)) {
    yield batch(part, { phase: 'inc', mark, bound: goal, c: last(part).c, id: last(part).id });
  }
  yield batch([], { phase: 'settled', mark: goal });
}

/**
 * Without a key the position is a closed bound. Everything at or after it may come again and has to be known
 * then. What was remembered may only be forgotten when the position has passed all of it (`high`): forgetting
 * at each step of the position forgets rows of an earlier run that this one has yet to read again.
 */
function* readAppend({ rows, bound, position, size }: Plan): Generator<Batch> {
  let at = position?.phase === 'append' ? position.at : START;
  let high = position?.phase === 'append' ? position.high : START;
  const todo = rows.filter((row) => row.c >= at).sort((a, b) => a.c - b.c || a.id - b.id);
  for (const part of slices(todo, size)) {
    at = Math.max(at, Math.min(last(part).c, bound));
    const from = part.findIndex((row) => row.c >= at);
    const reset = at > high;
    high = Math.max(high, last(part).c);
    const overlap = { from: from === -1 ? part.length : from, reset };
    yield { ...batch(part, { phase: 'append', at, high }), overlap };
  }
}

function* readReplace({ rows, size }: Plan): Generator<Batch> {
  for (const part of slices(rows, size)) yield batch(part, { phase: 'replace' });
}

function batch(rows: readonly ModelRow[], position: Position): Batch {
  return {
    values: rows.flatMap((row) => [row.id, row.c, landedForm(row)]),
    rows: rows.length,
    bytes: rows.length * 20,
    cursor: JSON.stringify(position),
  };
}

/** An integer beyond 64 bits has no place in SQLite: such a row becomes a reject. */
function landedForm(row: ModelRow): Value {
  return row.bad ? 2n ** 70n : `v${row.version}`;
}

function* slices<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}

function last<T>(items: readonly T[]): T {
  const item = items[items.length - 1];
  if (item === undefined) throw new Error('a batch without rows has no last one');
  return item;
}
