import type { ResolvedStream } from '../../core/model.ts';
import type { Value } from '../../core/types.ts';
import * as decode from './decode.ts';
import { fromWhere, type PlannedColumn, planRead } from './plan.ts';
import { loadShape, type ShapeContext } from './shape.ts';

/** A previewed value is cut at the source: a look must not carry 100 MB. */
const cellCharsMax = 2_000;
const rowsMax = 100;

/** The first rows as they lie, long values cut. To be called in a transaction that cannot write. */
export async function previewRows(
  context: ShapeContext,
  stream: ResolvedStream,
  limit: number,
): Promise<readonly (readonly Value[])[]> {
  const { session, types, signal } = context;
  const plan = planRead(stream, await loadShape(context, stream.declared), types);
  const rows = Math.max(0, Math.min(rowsMax, Math.floor(limit)));
  const select = `SELECT ${plan.columns.map(cut).join(', ')}${fromWhere(plan.shape)} LIMIT ${rows}`;
  // Under the extended protocol first, which refuses anything but one SELECT: COPY would not.
  await session.describe(`SELECT * FROM (${select}) AS p LIMIT 0`, [], { signal });
  const shown: Value[][] = [];
  const width = plan.columns.length;
  for await (const batch of session
    .copy(select, signal)
    .batches({ decoders: plan.columns.map(decoderOf), hidden: [] })) {
    for (let row = 0; row < batch.rows; row++) shown.push(batch.values.slice(row * width, (row + 1) * width));
  }
  return shown;
}

function cut({ ref, travel, castTo }: PlannedColumn): string {
  if (travel.type === 'bytes') return `pg_catalog.substring(${ref}::${castTo}, 1, ${cellCharsMax})`;
  if (travel.type !== 'text' && travel.type !== 'json') return travel.select(ref);
  const text =
    travel.type === 'json' && travel.select(ref) === ref
      ? `pg_catalog.to_json(${ref})::text`
      : `(${travel.select(ref)})::text`;
  return `pg_catalog.left(${text}, ${cellCharsMax})`;
}

function decoderOf({ travel }: PlannedColumn): decode.Decoder {
  return travel.type === 'text' || travel.type === 'json' ? decode.text : travel.decode;
}
