import type { ResolvedStream } from '../../core/model.ts';
import type { Value } from '../../core/types.ts';
import { layOver } from '../sql/plan.ts';
import { OddDates } from './odd-dates.ts';
import { fromWhere } from './plan.ts';
import type { ResolveContext } from './resolve.ts';
import { loadShape, type SourceColumn } from './shape.ts';
import { travelOf } from './types.ts';

/** A previewed value is cut at the source: a look must not carry 100 MB. */
const cellCharsMax = 2_000;
const rowsMax = 100;

/** Types of which a value may be long, by how they are cut. The binary ones have no characters. */
const longTexts = /^(?:char|varchar|tinytext|text|mediumtext|longtext|json)$/;
const longBytes = /^(?:binary|varbinary|tinyblob|blob|mediumblob|longblob)$/;

/** The first rows as they lie, long values cut. To be called in a transaction that cannot write. */
export async function previewRows(
  context: ResolveContext,
  stream: ResolvedStream,
  limit: number,
): Promise<readonly (readonly Value[])[]> {
  const { session, signal, zeroDates } = context;
  const shape = await loadShape(context, stream.declared);
  const { columns } = layOver(stream, shape.columns, (column) => ({
    ...column,
    travel: travelOf(column.type),
  }));
  const rows = Math.max(0, Math.min(rowsMax, Math.floor(limit)));
  const list = columns.map((column) => column.travel.select(cut(column))).join(', ');
  const select = `SELECT ${list}${fromWhere(shape)} LIMIT ${rows}`;
  const shown: Value[][] = [];
  const width = columns.length;
  for await (const batch of session
    .rows(select, signal)
    .batches({ columns, hidden: [], oddDates: new OddDates(zeroDates) })) {
    for (let row = 0; row < batch.rows; row++) shown.push(batch.values.slice(row * width, (row + 1) * width));
  }
  return shown;
}

function cut({ type, ref }: SourceColumn): string {
  if (longTexts.test(type.name)) return `LEFT(${ref}, ${cellCharsMax})`;
  return longBytes.test(type.name) ? `SUBSTRING(${ref}, 1, ${cellCharsMax})` : ref;
}
