import { settingsOf, type ZeroDatePolicy } from '../../src/connectors/mysql/config.ts';
import { OddDates } from '../../src/connectors/mysql/odd-dates.ts';
import type { RowBatch } from '../../src/connectors/mysql/rows.ts';
import { Session } from '../../src/connectors/mysql/session.ts';
import { loadShape, type SourceColumn } from '../../src/connectors/mysql/shape.ts';
import { type Travel, travelOf } from '../../src/connectors/mysql/types.ts';
import type { Reject, Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import type { TestMysql } from '../support/mysql.ts';

/** Never aborted. */
export const forever = new AbortController().signal;

/** A session of the connector's own, as its config would open it. */
export async function openSession(config: object): Promise<Session & AsyncDisposable> {
  const session = await Session.open(settingsOf(config), {}, forever);
  return Object.assign(session, { [Symbol.asyncDispose]: () => session.close() });
}

/** What was read of a stream, by the same path as a sync: catalogue or preparation, SELECT list, rows. */
export interface ReadBack {
  readonly columns: readonly (SourceColumn & { readonly travel: Travel })[];
  /** In the order of the key. */
  readonly rows: readonly (readonly Value[])[];
  readonly rejects: readonly Reject[];
  readonly noticed: readonly string[];
}

export interface ReadOptions {
  readonly zeroDates?: ZeroDatePolicy;
  readonly order?: string;
}

/** Reads a whole table (`table`) or query (`query`), ordered by `id`. */
export async function readBack(
  session: Session,
  database: TestMysql,
  stream: Omit<Stream, 'name'>,
  options: ReadOptions = {},
): Promise<ReadBack> {
  const context = { session, databases: [database.name], signal: forever };
  const shape = await loadShape(context, { name: 's', ...stream });
  const columns = shape.columns.map((column) => ({ ...column, travel: travelOf(column.type) }));
  const list = columns.map(({ ref, travel }) => travel.select(ref)).join(', ');
  const oddDates = new OddDates(options.zeroDates ?? 'text');
  const sql = `SELECT ${list} FROM ${shape.from} ORDER BY ${options.order ?? 'id'}`;
  const batches: RowBatch[] = [];
  for await (const batch of session.rows(sql, forever).batches({ columns, hidden: [], oddDates }))
    batches.push(batch);
  return {
    columns,
    rows: batches.flatMap((batch) => rowsOf(batch, columns.length)),
    rejects: batches.flatMap(({ rejects }) => rejects),
    noticed: oddDates.noticed(),
  };
}

function rowsOf({ values, rows }: RowBatch, width: number): readonly (readonly Value[])[] {
  return Array.from({ length: rows }, (_, row) => values.slice(row * width, (row + 1) * width));
}

/** Bytes as hexadecimal, so that a difference can be read. */
export function shown(value: Value | undefined): string | null {
  if (value === null || value === undefined) return null;
  if (!(value instanceof Uint8Array)) return String(value);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex').toUpperCase();
}
