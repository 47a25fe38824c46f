import type { Reading, Source } from '../../src/connectors/connector.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Batch, Cursor, ResolvedStream, Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';

export interface Landed {
  readonly stream: ResolvedStream;
  readonly rows: readonly (readonly Value[])[];
  readonly batches: readonly Batch[];
  /** The position after the last batch. */
  readonly cursor: Cursor;
  readonly guard: string;
  readonly warnings: readonly string[];
  readonly resumed: boolean;
  readonly count: number | null;
}

/** Resolves a stream and reads it to the end. */
export async function readAll(
  source: Source,
  stream: Stream,
  from: Cursor | null = null,
  signal: AbortSignal = calm,
): Promise<Landed> {
  const resolved = await source.resolve(stream, signal);
  await using reading = await source.read(resolved, from, signal);
  const { batches, rows } = await drain(reading, resolved);
  return {
    stream: resolved,
    rows,
    batches,
    cursor: batches.at(-1)?.cursor ?? '',
    guard: reading.guard,
    warnings: reading.warnings,
    resumed: reading.resumed,
    count: await reading.count(),
  };
}

/** What is left of a reading. */
export async function drain(
  reading: Reading,
  stream: ResolvedStream,
): Promise<{ readonly batches: readonly Batch[]; readonly rows: readonly (readonly Value[])[] }> {
  const batches: Batch[] = [];
  for await (const batch of reading.batches) batches.push(batch);
  const rows = rowsOfAll(batches, stream.columns.length);
  const width = rows.at(-1)?.length ?? 0;
  return { batches, rows: rows.map((row) => (row.length === width ? row : padded(row, width))) };
}

function padded(row: readonly Value[], width: number): readonly Value[] {
  return [...row, ...Array.from({ length: width - row.length }, () => null)];
}

/** The rows of all batches, each as wide as the columns were when it came: `width`, until a batch brings more of them. */
export function rowsOfAll(batches: readonly Batch[], width: number): readonly (readonly Value[])[] {
  let now = width;
  return batches.flatMap((batch) => {
    now = batch.columns?.length ?? now;
    return rowsOf(batch, now);
  });
}

/** A batch's flat values as rows. */
export function rowsOf(batch: Batch, width: number): readonly (readonly Value[])[] {
  return Array.from({ length: batch.rows }, (_, i) => batch.values.slice(i * width, (i + 1) * width));
}

/** What work fails with; throws when it does not fail. */
export async function failure(work: Promise<unknown>): Promise<MillraceError> {
  return await work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: MillraceError) => error,
  );
}

/** Never fires. */
export const calm = new AbortController().signal;
