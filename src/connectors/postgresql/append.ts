/**
 * Reading for `append`: rows in cursor order, without a key to find them again by.
 *
 * Every read begins at a closed bound, so some rows come twice: those from the settled mark on in the next run,
 * and those tied with the last stored row after a crash. The destination remembers the rows that may come again
 * (as hashes, counted) and drops what it remembers. `overlap` tells it which those are:
 *
 *   - rows at or above `next`, where the next run begins;
 *   - rows tied with the last row of the batch, where this run would go on.
 *
 * What was remembered before may be forgotten (`reset`) once nothing of it can come again: every row landed so
 * far then lies below both. `high` is the highest cursor that has landed, in this run or an earlier one; while
 * the batch ends at or below it, remembered rows are still ahead.
 *
 * Ties are found by the server (`IS DISTINCT FROM lag()`), since equal values need not have equal texts.
 */

import type { Batch } from '../../core/model.ts';
import { type Position, writePosition } from '../sql/position.ts';
import type { RowBatch } from './copy.ts';
import * as decode from './decode.ts';
import { asValue, lessLookback, type PlannedColumn, rowTexts, selectRows } from './plan.ts';
import type { Step, StepContext, Steps } from './read.ts';

type AppendPosition = Extract<Position, { readonly phase: 'append' }>;

/** What is left to append from the position on. */
export async function appendSteps(context: StepContext): Promise<Steps> {
  const { plan, position } = context;
  const cursor = plan.cursor as PlannedColumn;
  const start = position?.phase === 'append' ? position : await begin(context, cursor);
  const steps: Step[] = [];
  if (start.nulls) steps.push(nullStep(context, cursor, start));
  const facts = await compare(context, cursor, start);
  const landed: { high: string | null } = { high: start.high };
  steps.push(
    rowStep(context, cursor, {
      start: { ...start, nulls: false },
      highBelowNext: facts.highBelowNext,
      landed,
    }),
  );
  const { mark, held } = start.bound;
  return {
    steps,
    get end(): Position {
      return { phase: 'appended', of: plan.of, mark, held, next: start.next, high: landed.high };
    },
    resumed: position?.phase === 'append',
    warnings: [],
  };
}

/** A run that begins: from where the last one said, to a `next` that is never before that. */
async function begin(
  { plan, position, bound, session, signal }: StepContext,
  cursor: PlannedColumn,
): Promise<AppendPosition> {
  const before = position?.phase === 'appended' ? position : null;
  const { mark, held } = bound.settled;
  // Before `next` nothing is remembered, so a look-back that grew cannot reach behind it.
  const candidates = [
    ...(mark === null ? [] : [lessLookback(cursor, mark, bound.lookback)]),
    ...(before?.next == null ? [] : [asValue(cursor, before.next)]),
  ];
  const rows =
    mark === null
      ? []
      : await session.query(`SELECT (greatest(${candidates.join(', ')}))::text`, [], { signal });
  return {
    phase: 'append',
    of: plan.of,
    bound: { mark, held: [...held] },
    next: rows[0]?.[0] ?? before?.next ?? null,
    at: before?.next ?? null,
    high: before?.high ?? null,
    nulls: before === null && !cursor.notNull,
  };
}

/** Rows without a cursor come once, in the first load, first; a crash among them reads all of them again. */
function nullStep({ plan }: StepContext, cursor: PlannedColumn, start: AppendPosition): Step {
  const select = selectRows(plan, { conditions: [`${cursor.ref} IS NULL`] });
  const position = writePosition(start);
  return {
    select,
    async *batches(session, signal) {
      const copy = session.copy(select, signal);
      for await (const { values, rows, bytes } of copy.batches({
        decoders: plan.columns.map(({ travel }) => travel.decode),
        hidden: [],
      })) {
        yield { values, rows, bytes, cursor: position, overlap: { from: 0, reset: false } };
      }
    },
  };
}

async function compare(
  { session, signal }: StepContext,
  cursor: PlannedColumn,
  start: AppendPosition,
): Promise<{ readonly highBelowNext: boolean }> {
  if (start.high === null) return { highBelowNext: true };
  if (start.next === null) return { highBelowNext: false };
  const [row] = await session.query(
    `SELECT ${asValue(cursor, start.high)} < ${asValue(cursor, start.next)}`,
    [],
    { signal },
  );
  return { highBelowNext: row?.[0] === 't' };
}

interface RowStep {
  readonly start: AppendPosition;
  /** Everything landed before this reading lies below `next`. */
  readonly highBelowNext: boolean;
  /** Told of the highest cursor that has landed. */
  readonly landed: { high: string | null };
}

/** Flags of each row behind its columns: a new value of the cursor, at or above `next`, above `high`. */
const flags = 3;

function rowStep(
  { plan }: StepContext,
  cursor: PlannedColumn,
  { start, highBelowNext, landed }: RowStep,
): Step {
  const last = rowTexts(plan, [cursor]);
  const hidden = [
    `${cursor.ref} IS DISTINCT FROM pg_catalog.lag(${cursor.ref}) OVER (ORDER BY ${cursor.ref})`,
    start.next === null ? 'true' : `${cursor.ref} >= ${asValue(cursor, start.next)}`,
    start.high === null ? 'true' : `${cursor.ref} > ${asValue(cursor, start.high)}`,
    ...last.hidden,
  ];
  const from =
    start.at === null ? `${cursor.ref} IS NOT NULL` : `${cursor.ref} >= ${asValue(cursor, start.at)}`;
  const select = selectRows(plan, { hidden, conditions: [from], order: [cursor.ref] });
  const decoders = plan.columns.map(({ travel }) => travel.decode);
  return {
    select,
    async *batches(session, signal) {
      let at = start.at;
      let reachedNext = false;
      const copy = session.copy(select, signal);
      const plans = { decoders, hidden: [decode.bool, decode.bool, decode.bool, ...last.decoders] };
      for await (const batch of copy.batches(plans)) {
        const seen = look(batch);
        const text = last.read(withoutFlags(batch))?.[0] ?? null;
        if (text !== null) at = text;
        const mayForget =
          text !== null && seen.tie >= 0 && !reachedNext && seen.lastAboveHigh && highBelowNext;
        if (text !== null && seen.lastAboveHigh) landed.high = text;
        reachedNext ||= seen.next < batch.rows;
        const overlap = {
          from: text === null ? 0 : Math.min(Math.max(seen.tie, 0), seen.next),
          reset: mayForget,
        };
        const position: AppendPosition = { ...start, at, high: landed.high };
        yield {
          values: batch.values,
          rows: batch.rows,
          bytes: batch.bytes,
          cursor: writePosition(position),
          overlap,
        } satisfies Batch;
      }
    },
  };
}

interface Seen {
  /** Where the values equal to the last one begin; -1: in an earlier batch. */
  readonly tie: number;
  /** The first row at or above `next`; the number of rows when there is none. */
  readonly next: number;
  readonly lastAboveHigh: boolean;
}

function look({ hidden, rows }: RowBatch): Seen {
  const width = hidden.length / rows;
  let tie = rows - 1;
  while (tie >= 0 && hidden[tie * width] !== true) tie--;
  let next = rows;
  while (next > 0 && hidden[(next - 1) * width + 1] === true) next--;
  return { tie, next, lastAboveHigh: hidden[(rows - 1) * width + 2] === true };
}

function withoutFlags(batch: RowBatch): RowBatch {
  const width = batch.hidden.length / batch.rows;
  return { ...batch, hidden: batch.hidden.filter((_, i) => i % width >= flags) };
}
