/** Reading for `merge`: a first load by key, then what changed by (cursor, key). Every batch is a checkpoint. */

import { plain } from '../sql/names.ts';
import { type Held, type Position, type Settled, writePosition } from '../sql/position.ts';
import {
  fromWhere,
  lessLookback,
  type PlannedColumn,
  type ReadPlan,
  rowTexts,
  selectRows,
  strictlyAfter,
} from './plan.ts';
import type { Step, StepContext, Steps } from './read.ts';

/** What is left to read from the position on. */
export async function mergeSteps(context: StepContext): Promise<Steps> {
  const { position } = context;
  if (position === null || position.phase === 'load' || position.phase === 'done') return loadSteps(context);
  return await changeSteps(context);
}

/**
 * Everything in key order, so that it can go on after any batch. The mark of its end was settled before it began:
 * what changes behind its back has a cursor at or above that, and comes with the next run.
 */
function loadSteps({ plan, position, bound }: StepContext): Steps {
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
  const conditions = after === null ? [] : [strictlyAfter(plan.key, after)];
  const step = keyedStep(plan, { conditions, order: plan.key, start: at(after), at });
  const end: Position = plan.cursor === null ? { phase: 'done', of } : { phase: 'settled', of, ...settled };
  const warnings = resumed && plan.cursor === null ? [resumedWithoutCursor] : [];
  return { steps: [step], end, resumed, warnings };
}

const resumedWithoutCursor =
  'This load was resumed: what changed meanwhile in the part already read comes with the next run, since there is no cursor to find it by.';

/** What has a cursor at or above the mark, and what has none, in the order of (cursor, key). */
async function changeSteps(context: StepContext): Promise<Steps> {
  const { plan, position, bound } = context;
  const cursor = plan.cursor as PlannedColumn;
  const resumed = position?.phase === 'inc';
  const mark = position?.phase === 'inc' || position?.phase === 'settled' ? position.mark : null;
  const settled = copied(bound.settled);
  const at = (place: Place | null): Position => ({
    phase: 'inc',
    of: plan.of,
    mark,
    bound: settled,
    at: place,
  });
  const done = resumed ? position.at : null;

  const steps: Step[] = [];
  let start = at(done);
  const nulls = done !== null && done.cursor !== null ? 0 : await nullRows(context, cursor);
  if (nulls > 0) {
    const conditions = [
      `${cursor.ref} IS NULL`,
      ...(done === null ? [] : [strictlyAfter(plan.key, done.key)]),
    ];
    steps.push(
      keyedStep(plan, {
        conditions,
        order: plan.key,
        start,
        at: (key) => at({ cursor: null, key: [...key] }),
      }),
    );
    start = at(null);
  }
  const ordered = [cursor, ...plan.key];
  const from =
    done !== null && done.cursor !== null
      ? strictlyAfter(ordered, [done.cursor, ...done.key])
      : lowerBound(cursor, mark, bound.lookback);
  steps.push(
    keyedStep(plan, {
      conditions: [from],
      order: ordered,
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

function lowerBound(
  cursor: PlannedColumn,
  mark: string | null,
  lookback: StepContext['bound']['lookback'],
): string {
  return mark === null
    ? `${cursor.ref} IS NOT NULL`
    : `${cursor.ref} >= ${lessLookback(cursor, mark, lookback)}`;
}

async function nullRows({ plan, session, signal }: StepContext, cursor: PlannedColumn): Promise<number> {
  if (cursor.notNull) return 0;
  const [row] = await session.query(
    `SELECT count(*)${fromWhere(plan.shape, [`${cursor.ref} IS NULL`])}`,
    [],
    { signal },
  );
  return Number(row?.[0] ?? 0);
}

function nullWarning(cursor: PlannedColumn, rows: number): string {
  const name = plain(cursor.name, 63);
  return `${rows} ${rows === 1 ? 'row has' : 'rows have'} NULL in "${name}" and ${rows === 1 ? 'is' : 'are'} read in every run, since nothing tells whether ${rows === 1 ? 'it' : 'they'} changed.`;
}

interface KeyedStep {
  readonly conditions: readonly string[];
  /** The order of the rows, and what the position after a row is made of. */
  readonly order: readonly PlannedColumn[];
  /** Where this step begins. */
  readonly start: Position;
  readonly at: (texts: readonly string[]) => Position;
}

function keyedStep(plan: ReadPlan, { conditions, order, start, at }: KeyedStep): Step {
  const last = rowTexts(plan, order);
  const select = selectRows(plan, {
    hidden: last.hidden,
    conditions,
    order: order.map((column) => column.ref),
  });
  return {
    select,
    async *batches(session, signal) {
      let cursor = writePosition(start);
      const copy = session.copy(select, signal);
      for await (const batch of copy.batches({
        decoders: plan.columns.map(({ travel }) => travel.decode),
        hidden: last.decoders,
      })) {
        // A key that has no text leaves the position where it was: then a little more is read again.
        const texts = last.read(batch);
        if (texts !== null) cursor = writePosition(at(texts));
        yield { values: batch.values, rows: batch.rows, bytes: batch.bytes, cursor };
      }
    },
  };
}
