/**
 * How rows are read from MySQL: in chunks of the order they are read in, over one snapshot or, when the reading takes
 * longer than a snapshot should, over several. What that means for what is read:
 *
 * A load by key. The mark M was settled before the first snapshot (guard.ts): no row with a cursor below M can appear
 * after it. A row that has a cursor below M when the load ends was therefore there, with that cursor, in every
 * snapshot; and it was not changed since, or its cursor would have moved to M or above: that is what a cursor is.
 * So it stood at the same place of the key's order in all of them, and the chunk that passed the place has read
 * it. Every other row has a cursor at or above M and is read by the next run, which begins there. That holds for
 * rows that came into, went from, or moved within the part that was already read, and for a changed primary key as
 * well: the server deletes a row and inserts another, and the other has a new cursor. (A change of the key that
 * leaves the cursor alone is seen by no incremental reading, here or elsewhere; only counts show it.)
 *
 * A run by (cursor, key). A row that was not read yet and changes moves up, to what will still be read, or comes with
 * the next run. A row that was read and changes moves up too and is read again. A row that commits late below what
 * was passed has a cursor at or above the bound that this run will settle, and comes with the next run. Nothing
 * else can happen below the mark.
 *
 * Rows that writers add behind the end faster than they are read would keep a run going for ever: once a snapshot was
 * given up, reading ends where the rows ended in the one before. What is behind that has a cursor at or above M.
 *
 * What does not hold over several snapshots is that the rows landed are those of the last one: some were deleted
 * since they were read, others were added behind the reader. read.ts then reads on from the mark, a little each
 * time, until one snapshot sees all of it: only that makes count() a proof.
 */

import { MillraceError } from '../../core/errors.ts';
import type { Value } from '../../core/types.ts';
import { schemaChanged } from '../sql/plan.ts';
import type { ReadRows, RowReader, Selection } from '../sql/reader.ts';
import type { CatalogueIndex } from './catalogue.ts';
import { asGreatest, asOrdered } from './compare.ts';
import type { OddDates } from './odd-dates.ts';
import {
  asValue,
  fromWhere,
  lessLookback,
  notAfter,
  orderIndex,
  type PlannedColumn,
  type ReadPlan,
  selectRows,
  strictlyAfter,
} from './plan.ts';
import type { RowBatch } from './rows.ts';
import type { Session } from './session.ts';
import { nextRows, type Pace, type Snapshots } from './snapshot.ts';
import { sourceType, type Travel, travelOf } from './types.ts';

type Chosen = Selection<PlannedColumn>;

export interface ReaderContext {
  readonly plan: ReadPlan;
  readonly session: Session;
  readonly snapshots: Snapshots;
  /** Of the table; empty for a view or a query: what they stand on is not ours to know. */
  readonly indexes: readonly CatalogueIndex[];
  readonly pace: Pace;
  readonly oddDates: OddDates;
  /** Hears why a whole reading had to be one statement. */
  readonly onWhole: (order: readonly PlannedColumn[]) => void;
  readonly signal: AbortSignal;
}

/** Reads the stream in chunks, wherever an index gives their order. */
export function chunkReader(context: ReaderContext): RowReader<PlannedColumn> {
  const { plan, session, signal } = context;
  const ask = async (sql: string): Promise<string | null> =>
    (await session.query(sql, [], { signal }))[0]?.[0] ?? null;
  return {
    rows: (selection) => chunks(context, selection),
    count: async (conditions) => Number(await ask(`SELECT COUNT(*)${fromWhere(plan.shape, conditions)}`)),
    asValue,
    lessLookback,
    greatest: (column, values) => ask(asGreatest(plan.shape, column, values)),
    isBefore: async (column, first, second) =>
      (await ask(asOrdered(plan.shape, column, [asValue(column, first), asValue(column, second)]))) === '1',
  };
}

async function* chunks(context: ReaderContext, selection: Chosen): AsyncGenerator<ReadRows, void, void> {
  const { order, conditions } = selection;
  const index = indexFor(context, selection);
  const values = newValues(selection);
  if (index === null) {
    context.onWhole(order);
    return yield* read(context, selection, { values });
  }
  // An index of the key would have every row looked at for a condition on something else: the server chooses.
  const forced = conditions.length === 0 || order[0] === context.plan.cursor ? index : null;
  yield* parts(context, selection, { values, index: forced });
}

function indexFor({ plan, indexes }: ReaderContext, { order }: Chosen): string | null {
  if (order.length === 0 || order.some(({ travel }) => travel.guarded)) return null;
  return orderIndex(indexes, order, plan.shape.relation?.engine ?? '');
}

interface Reading {
  readonly values: NewValues | null;
  readonly index?: string | null;
  readonly limit?: number | null;
}

async function* parts(
  context: ReaderContext,
  whole: Chosen,
  reading: Reading,
): AsyncGenerator<ReadRows, void, void> {
  const { pace, snapshots } = context;
  let selection = whole;
  let end: readonly string[] | null = null;
  let wanted = pace.firstRows;
  while (true) {
    const chunk = whole.ties
      ? await upTo(context, selection, wanted)
      : { selection, limit: wanted, last: null };
    const before = performance.now();
    let rows = 0;
    let bytes = 0;
    let last: readonly string[] | null = null;
    for await (const batch of read(context, chunk.selection, { ...reading, limit: chunk.limit })) {
      rows += batch.rows + (batch.rejects?.length ?? 0);
      bytes += batch.bytes;
      last = batch.last;
      yield batch;
    }
    if (whole.ties ? chunk.last === null : rows < wanted) return;
    const after = whole.ties ? chunk.last : last;
    // A row with no place that could be said: what is left is read as one.
    if (after === null) return yield* read(context, selection, { ...reading, limit: null });
    selection = { ...selection, after };
    wanted = nextRows(pace, { rows, bytes, ms: performance.now() - before });
    if (snapshots.isOld) {
      end ??= await lastPlace(context, whole);
      await snapshots.renew();
    }
    if (end !== null && !(await anyLeft(context, selection, end))) return;
  }
}

interface Chunk {
  readonly selection: Chosen;
  readonly limit: number | null;
  /** Where it ends, when something may follow. */
  readonly last: readonly string[] | null;
}

/** Where ties are no two chunks may share a value: a chunk ends behind all rows that are equal to its last. */
async function upTo(context: ReaderContext, selection: Chosen, rows: number): Promise<Chunk> {
  const last = await place(context, selection, { descending: false, offset: rows - 1 });
  if (last === null) return { selection, limit: null, last };
  const conditions = [...selection.conditions, notAfter(selection.order, last)];
  return { selection: { ...selection, conditions }, limit: null, last };
}

/** The last place that rows of the selection have in the present snapshot. */
function lastPlace(context: ReaderContext, selection: Chosen): Promise<readonly string[] | null> {
  return place(context, selection, { descending: true, offset: 0 });
}

async function place(
  { plan, session, signal }: ReaderContext,
  selection: Chosen,
  { descending, offset }: { readonly descending: boolean; readonly offset: number },
): Promise<readonly string[] | null> {
  const { order } = selection;
  const list = order.map(({ travel, own }) => travel.positionOf(own)).join(', ');
  const by = order.map(({ ref }) => `${ref}${descending ? ' DESC' : ''}`).join(', ');
  const [row] = await session.query(
    `SELECT ${list}${fromWhere(plan.shape, conditionsOf(selection))} ORDER BY ${by} LIMIT 1 OFFSET ${offset}`,
    [],
    { signal },
  );
  return row?.every((text): text is string => text !== null) ? (row as readonly string[]) : null;
}

async function anyLeft(
  { plan, session, signal }: ReaderContext,
  selection: Chosen,
  end: readonly string[],
): Promise<boolean> {
  const conditions = [...conditionsOf(selection), notAfter(selection.order, end)];
  const rows = await session.query(`SELECT 1${fromWhere(plan.shape, conditions)} LIMIT 1`, [], { signal });
  return rows.length > 0;
}

function conditionsOf({ conditions, order, after }: Chosen): readonly string[] {
  return after === null ? conditions : [...conditions, strictlyAfter(order, after)];
}

const text: Travel = travelOf(sourceType('varchar', 'utf8mb4'));
const flag: Travel = travelOf(sourceType('bigint', null));

/** One statement. */
async function* read(
  { plan, session, oddDates, signal }: ReaderContext,
  selection: Chosen,
  { values, index = null, limit = null }: Reading,
): AsyncGenerator<ReadRows, void, void> {
  const { order, flags } = selection;
  const places = order.filter(({ travel }) => travel.literal === null);
  const before = [
    ...(values === null ? [] : [values.hidden]),
    ...flags.map((sql) => ({ sql, travel: flag })),
  ];
  const hidden = [
    ...before,
    ...places.map(({ travel, own }) => ({ sql: travel.positionOf(own), travel: text })),
  ];
  const select = selectRows(plan, {
    hidden: hidden.map(({ sql }) => sql),
    conditions: conditionsOf(selection),
    order,
    limit,
    index,
  });
  const stream = session.rows(select, signal);
  const rowPlan = { columns: plan.columns, hidden: hidden.map(({ travel }) => travel), oddDates };
  const batches = index === null ? stream.batches(rowPlan) : byIndex(stream.batches(rowPlan));
  for await (const batch of batches) {
    const { rows, bytes, rejects } = batch;
    yield {
      values: batch.values,
      rows,
      bytes,
      rejects,
      flags: before.length === 0 ? [] : flagsOf(batch, { values, width: hidden.length, flags: flags.length }),
      last: placeOf(batch, { order, places, from: plan.columns.length + before.length }),
    };
  }
}

/**
 * Of all that the statement names only the index can be gone: the snapshot holds the table and its columns. The next
 * attempt looks for another. An index that the stream's own SQL names was asked for before, and is a mistake there.
 */
async function* byIndex<T>(batches: AsyncIterable<T>): AsyncGenerator<T, void, void> {
  try {
    yield* batches;
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'not_found_at_source')
      throw schemaChanged('the index that gives the order of the rows is gone', error);
    throw error;
  }
}

/** The last row's place in the order. */
function placeOf(
  { last }: RowBatch,
  {
    order,
    places,
    from,
  }: {
    readonly order: readonly PlannedColumn[];
    readonly places: readonly PlannedColumn[];
    readonly from: number;
  },
): readonly string[] | null {
  const texts: string[] = [];
  for (const column of order) {
    const { literal } = column.travel;
    const value = literal === null ? last[from + places.indexOf(column)] : last[column.index];
    const said =
      value === null || value === undefined ? null : literal === null ? String(value) : literal(value);
    if (said === null) return null;
    texts.push(said);
  }
  return texts;
}

/** Tells rows that begin a new value of the order, in one pass through them. */
interface NewValues {
  readonly hidden: { readonly sql: string; readonly travel: Travel };
  /** The value of the row before, `undefined` before the first. */
  before: Value | undefined;
}

/**
 * Values that are equal for the server are made equal here too: a text by its weights, without spaces behind, which
 * some collations ignore (where they do not, rows count as tied that are not, and more is remembered than need be);
 * numbers by their value, since -0 is 0.
 */
function newValues({ ties, order }: Chosen): NewValues | null {
  const [column] = order;
  if (!ties || column === undefined) return null;
  const { travel, own } = column;
  if (travel.type === 'float') return { hidden: { sql: own, travel }, before: undefined };
  const isText = travel.type === 'text' && travel.literal !== null && column.type.charset !== null;
  const sql = isText ? `HEX(WEIGHT_STRING(RTRIM(${own})))` : travel.positionOf(own);
  return { hidden: { sql, travel: text }, before: undefined };
}

function flagsOf(
  { hidden, rows }: RowBatch,
  {
    values,
    width,
    flags,
  }: { readonly values: NewValues | null; readonly width: number; readonly flags: number },
): readonly Value[] {
  const found: Value[] = [];
  for (let row = 0; row < rows; row++) {
    let at = row * width;
    if (values !== null) {
      const value = hidden[at++] ?? null;
      found.push(value !== values.before);
      values.before = value;
    }
    for (let i = 0; i < flags; i++) found.push(hidden[at + i] === 1);
  }
  return found;
}
