/** Reading for `merge`: a first load by key, then what changed by (cursor, key). Every batch is a checkpoint. */

import type { Lookback } from './lookback.ts';
import { plain } from './names.ts';
import { type Held, type Position, type Settled, writePosition } from './position.ts';
import {
  landing,
  type ReadColumn,
  type RowReader,
  type Step,
  type StepContext,
  type Steps,
} from './reader.ts';

/** What is left to read from the position on. */
export async function mergeSteps<C extends ReadColumn>(context: StepContext<C>): Promise<Steps> {
  const { position } = context;
  if (position === null || position.phase === 'load' || position.phase === 'done') return loadSteps(context);
  return await changeSteps(context);
}

/**
 * Everything in key order, so that it can go on after any batch. The mark of its end was settled before it began:
 * what changes behind its back has a cursor at or above that, and comes with the next run.
 */
function loadSteps<C extends ReadColumn>({ plan, position, bound, reader }: StepContext<C>): Steps {
  const resumed = position?.phase === 'load';
  const { of } = plan;
  const settled = copied(bound.settled);
  const at = (after: readonly string[] | null): Position => ({
    phase: 'load',
    of,
    bound: settled,
    after: after && [...after],
  });
  const after = resumed ? position.after : null;
  const step = keyedStep(reader, { conditions: [], order: plan.key, after, start: at(after), at });
  const end: Position = plan.cursor === null ? { phase: 'done', of } : { phase: 'settled', of, ...settled };
  const warnings = resumed && plan.cursor === null ? [resumedWithoutCursor] : [];
  return { steps: [step], end, resumed, warnings };
}

const resumedWithoutCursor =
  'This load was resumed: what changed meanwhile in the part already read comes with the next run, since there is no cursor to find it by.';

/** What has a cursor at or above the mark, and what has none, in the order of (cursor, key). */
async function changeSteps<C extends ReadColumn>(context: StepContext<C>): Promise<Steps> {
  const { plan, position, bound, reader } = context;
  const cursor = plan.cursor as C;
  const resumed = position?.phase === 'inc';
  const mark = position?.phase === 'inc' || position?.phase === 'settled' ? position.mark : null;
  const settled = copied(bound.settled);
  const at = (place: Place | null): Position => ({
    phase: 'inc',
    of: plan.of,
    mark,
    bound: settled,
    at: place,
    ...(bound.lookback === null ? {} : { lookback: bound.lookback }),
  });
  const done = resumed ? position.at : null;

  const steps: Step[] = [];
  let start = at(done);
  const nulls = done !== null && done.cursor !== null ? 0 : await nullRows(context, cursor);
  if (nulls > 0) {
    steps.push(
      keyedStep(reader, {
        conditions: [`${cursor.ref} IS NULL`],
        order: plan.key,
        after: done === null ? null : done.key,
        start,
        at: (key) => at({ cursor: null, key: [...key] }),
      }),
    );
    start = at(null);
  }
  const after = done === null || done.cursor === null ? null : [done.cursor, ...done.key];
  steps.push(
    keyedStep(reader, {
      conditions: after === null ? [lowerBound(reader, cursor, { mark, lookback: bound.lookback })] : [],
      order: [cursor, ...plan.key],
      after,
      start,
      at: ([value = '', ...key]) => at({ cursor: value, key }),
    }),
  );
  return {
    steps,
    end: { phase: 'settled', of: plan.of, mark: bound.settled.mark ?? mark, held: settled.held },
    resumed,
    warnings: nulls > 0 ? [nullWarning(cursor, nulls)] : [],
  };
}

interface Place {
  readonly cursor: string | null;
  readonly key: string[];
}

function copied({ mark, held }: Settled): { mark: string | null; held: Held[] } {
  return { mark, held: [...held] };
}

function lowerBound<C extends ReadColumn>(
  reader: RowReader<C>,
  cursor: C,
  { mark, lookback }: { readonly mark: string | null; readonly lookback: Lookback | null },
): string {
  return mark === null
    ? `${cursor.ref} IS NOT NULL`
    : `${cursor.ref} >= ${reader.lessLookback(cursor, mark, lookback)}`;
}

async function nullRows<C extends ReadColumn>({ reader }: StepContext<C>, cursor: C): Promise<number> {
  return cursor.notNull ? 0 : await reader.count([`${cursor.ref} IS NULL`]);
}

function nullWarning(cursor: ReadColumn, rows: number): string {
  const name = plain(cursor.name, 63);
  return `${rows} ${rows === 1 ? 'row has' : 'rows have'} NULL in "${name}" and ${rows === 1 ? 'is' : 'are'} read in every run, since nothing tells whether ${rows === 1 ? 'it' : 'they'} changed.`;
}

interface KeyedStep<C extends ReadColumn> {
  readonly conditions: readonly string[];
  /** The order of the rows, and what the position after a row is made of. */
  readonly order: readonly C[];
  /** The row this step goes on behind. */
  readonly after: readonly string[] | null;
  /** Where this step begins. */
  readonly start: Position;
  readonly at: (texts: readonly string[]) => Position;
}

function keyedStep<C extends ReadColumn>(
  reader: RowReader<C>,
  { conditions, order, after, start, at }: KeyedStep<C>,
): Step {
  return async function* () {
    let cursor = writePosition(start);
    for await (const batch of reader.rows({ conditions, order, after, ties: false, flags: [] })) {
      // A key that has no text leaves the position where it was: then a little more is read again.
      if (batch.last !== null) cursor = writePosition(at(batch.last));
      yield { ...landing(batch), cursor };
    }
  };
}
