/** How rows are read from PostgreSQL: one COPY in the reading's snapshot for each way through them. */

import type { Value } from '../../core/types.ts';
import type { ReadRows, RowReader, Selection } from '../sql/reader.ts';
import type { RowBatch } from './copy.ts';
import * as decode from './decode.ts';
import {
  asValue,
  fromWhere,
  lessLookback,
  type PlannedColumn,
  type ReadPlan,
  selectRows,
  strictlyAfter,
} from './plan.ts';
import type { Session } from './session.ts';

interface ReaderContext {
  readonly plan: ReadPlan;
  /** In the snapshot. */
  readonly session: Session;
  readonly signal: AbortSignal;
}

/** Reads the stream in the session's snapshot. */
export function copyReader(context: ReaderContext): RowReader<PlannedColumn> {
  const { plan, session, signal } = context;
  const ask = async (sql: string): Promise<string | null> =>
    (await session.query(sql, [], { signal }))[0]?.[0] ?? null;
  return {
    rows: (selection) => copied(context, selection),
    count: async (conditions) =>
      Number((await ask(`SELECT count(*)${fromWhere(plan.shape, conditions)}`)) ?? 0),
    asValue,
    lessLookback,
    greatest: (_, values) => ask(`SELECT (greatest(${values.join(', ')}))::text`),
    isBefore: async (column, first, second) =>
      (await ask(`SELECT ${asValue(column, first)} < ${asValue(column, second)}`)) === 't',
  };
}

async function* copied(
  { plan, session, signal }: ReaderContext,
  selection: Selection<PlannedColumn>,
): AsyncGenerator<ReadRows, void, void> {
  const { order, after, conditions } = selection;
  const flags = flagsOf(selection);
  const texts = rowTexts(plan, order, flags.length);
  const select = selectRows(plan, {
    hidden: [...flags, ...texts.hidden],
    conditions: after === null ? conditions : [...conditions, strictlyAfter(order, after)],
    order: order.map((column) => column.ref),
  });
  const copy = session.copy(select, signal);
  for await (const batch of copy.batches({
    decoders: plan.columns.map(({ travel }) => travel.decode),
    hidden: [...flags.map(() => decode.bool), ...texts.hidden.map(() => decode.text)],
  })) {
    const { values, rows, bytes } = batch;
    yield { values, rows, bytes, flags: flagsOnly(batch, flags.length), last: texts.last(batch) };
  }
}

function flagsOf({ ties, order, flags }: Selection<PlannedColumn>): readonly string[] {
  const ref = order[0]?.ref;
  if (!ties || ref === undefined) return flags;
  return [`${ref} IS DISTINCT FROM pg_catalog.lag(${ref}) OVER (ORDER BY ${ref})`, ...flags];
}

/** Behind the columns of a row come its flags, and behind those texts for the position. */
function flagsOnly({ hidden, rows }: RowBatch, flags: number): readonly Value[] {
  if (flags === 0) return [];
  const width = hidden.length / rows;
  return width === flags ? hidden : hidden.filter((_, i) => i % width < flags);
}

/** How the values of columns in a batch's last row become texts, for the position. */
interface RowTexts {
  readonly hidden: readonly string[];
  /** Null when a value has no text that the server could read back (bytes that are not UTF-8). */
  last(batch: RowBatch): readonly string[] | null;
}

/** From the landed values where these read back exactly; by a hidden column of text otherwise. */
function rowTexts(plan: ReadPlan, columns: readonly PlannedColumn[], flags: number): RowTexts {
  const hidden = columns.filter(({ travel }) => travel.literal === null);
  const width = plan.columns.length;
  return {
    hidden: hidden.map((column) => `${column.ref}::text`),
    last(batch) {
      const row = (batch.rows - 1) * width;
      const hiddenRow = batch.hidden.length - batch.hidden.length / batch.rows + flags;
      const texts: string[] = [];
      for (const column of columns) {
        const { literal, type } = column.travel;
        const value =
          literal === null
            ? batch.hidden[hiddenRow + hidden.indexOf(column)]
            : batch.values[row + column.index];
        if (value === null || value === undefined) return null;
        if (value instanceof Uint8Array && type !== 'bytes') return null;
        texts.push(literal === null ? String(value) : literal(value));
      }
      return texts;
    },
  };
}
