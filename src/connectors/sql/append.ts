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
 * Ties are found by the server, or as it would find them: equal values need not have equal texts.
 */

import { type Position, writePosition } from './position.ts';
import {
  everything,
  landing,
  type ReadColumn,
  type ReadRows,
  type RowReader,
  type Step,
  type StepContext,
  type Steps,
} from './reader.ts';

type AppendPosition = Extract<Position, { readonly phase: 'append' }>;

/** What is left to append from the position on. */
export async function appendSteps<C extends ReadColumn>(context: StepContext<C>): Promise<Steps> {
  const { plan, position, reader } = context;
  const cursor = plan.cursor as C;
  const start = position?.phase === 'append' ? position : await begin(context, cursor);
  const steps: Step[] = [];
  if (start.nulls) steps.push(nullStep(reader, cursor, start));
  const highBelowNext = await isBelowNext(reader, cursor, start);
  const landed: { high: string | null } = { high: start.high };
  steps.push(rowStep(reader, cursor, { start: { ...start, nulls: false }, highBelowNext, landed }));
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
async function begin<C extends ReadColumn>(
  { plan, position, bound, reader }: StepContext<C>,
  cursor: C,
): Promise<AppendPosition> {
  const before = position?.phase === 'appended' ? position : null;
  const { mark, held } = bound.settled;
  // Before `next` nothing is remembered, so a look-back that grew cannot reach behind it.
  const candidates = [
    ...(mark === null ? [] : [reader.lessLookback(cursor, mark, bound.lookback)]),
    ...(before?.next == null ? [] : [reader.asValue(cursor, before.next)]),
  ];
  const greatest = mark === null ? null : await reader.greatest(cursor, candidates);
  return {
    phase: 'append',
    of: plan.of,
    bound: { mark, held: [...held] },
    next: greatest ?? before?.next ?? null,
    at: before?.next ?? null,
    high: before?.high ?? null,
    nulls: before === null && !cursor.notNull,
  };
}

/** Rows without a cursor come once, in the first load, first; a crash among them reads all of them again. */
function nullStep<C extends ReadColumn>(reader: RowReader<C>, cursor: C, start: AppendPosition): Step {
  const position = writePosition(start);
  return async function* () {
    const selection = { ...everything, conditions: [`${cursor.ref} IS NULL`] };
    for await (const batch of reader.rows(selection))
      yield { ...landing(batch), cursor: position, overlap: { from: 0, reset: false } };
  };
}

/** Whether everything landed before this reading lies below `next`. */
async function isBelowNext<C extends ReadColumn>(
  reader: RowReader<C>,
  cursor: C,
  { high, next }: AppendPosition,
): Promise<boolean> {
  if (high === null) return true;
  return next !== null && (await reader.isBefore(cursor, high, next));
}

interface RowStep {
  readonly start: AppendPosition;
  /** Everything landed before this reading lies below `next`. */
  readonly highBelowNext: boolean;
  /** Told of the highest cursor that has landed. */
  readonly landed: { high: string | null };
}

/** Flags of each row: a new value of the cursor, at or above `next`, above `high`. */
const flagsOfRow = 3;

function rowStep<C extends ReadColumn>(
  reader: RowReader<C>,
  cursor: C,
  { start, highBelowNext, landed }: RowStep,
): Step {
  const bound = (operator: string, text: string | null): string =>
    text === null ? `${cursor.ref} IS NOT NULL` : `${cursor.ref} ${operator} ${reader.asValue(cursor, text)}`;
  const selection = {
    conditions: [bound('>=', start.at)],
    order: [cursor],
    after: null,
    ties: true,
    flags: [bound('>=', start.next), bound('>', start.high)],
  };
  return async function* () {
    let at = start.at;
    let reachedNext = false;
    for await (const batch of reader.rows(selection)) {
      const seen = look(batch);
      const text = batch.last?.[0] ?? null;
      if (text !== null) at = text;
      const mayForget = text !== null && seen.tie >= 0 && !reachedNext && seen.lastAboveHigh && highBelowNext;
      if (text !== null && seen.lastAboveHigh) landed.high = text;
      reachedNext ||= seen.next < batch.rows;
      const overlap = {
        from: text === null ? 0 : Math.min(Math.max(seen.tie, 0), seen.next),
        reset: mayForget,
      };
      const position: AppendPosition = { ...start, at, high: landed.high };
      yield { ...landing(batch), cursor: writePosition(position), overlap };
    }
  };
}

interface Seen {
  /** Where the values equal to the last one begin; -1: in an earlier batch. */
  readonly tie: number;
  /** The first row at or above `next`; the number of rows when there is none. */
  readonly next: number;
  readonly lastAboveHigh: boolean;
}

function look({ flags, rows }: ReadRows): Seen {
  let tie = rows - 1;
  while (tie >= 0 && flags[tie * flagsOfRow] !== true) tie--;
  let next = rows;
  while (next > 0 && flags[(next - 1) * flagsOfRow + 1] === true) next--;
  return { tie, next, lastAboveHigh: flags[(rows - 1) * flagsOfRow + 2] === true };
}
