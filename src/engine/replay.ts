import type { Source } from '../connectors/connector.ts';
import type { Stream } from '../core/model.ts';
import { keptRow, keptValues } from '../core/row-text.ts';
import type { Column, Value } from '../core/types.ts';
import type { JudgedRow, KeptRow, Replayed } from '../destinations/destination.ts';
import { asFound, definitionsOf } from './definition.ts';
import type { Landing } from './landing.ts';

export interface ReplayTask {
  readonly connector: string;
  readonly stream: Stream;
  readonly epoch: number;
  readonly sourceDefinition: string;
  /** Only these rejects; all of the stream when absent. */
  readonly ids?: readonly number[];
}

/**
 * Lands what stands aside of one stream, as a row that is read now would land: the source says what the stream is by now
 * and judges each kept row by the config of now, the table takes or refuses it. Stops between two steps when asked to;
 * what has landed by then has left the rejects.
 */
export async function replayRejects(
  task: ReplayTask,
  { source, landing }: { readonly source: Source; readonly landing: Landing },
  signal: AbortSignal,
): Promise<Replayed> {
  const before = await landing.landed(task.connector, task.stream.name);
  const stream = await source.resolve(asFound(task.stream, before, task.sourceDefinition), signal);
  const replay = await landing.replay({
    connector: task.connector,
    stream,
    epoch: task.epoch,
    ...definitionsOf(stream, task.sourceDefinition),
    ...(task.ids === undefined ? {} : { ids: task.ids }),
  });
  try {
    const judge = judgeOf(source, replay.columns);
    let replayed = 0;
    let still = 0;
    for (;;) {
      signal.throwIfAborted();
      const rows = await replay.next();
      if (rows.length === 0) return { replayed, still_rejected: still };
      const done = await replay.land(rows.map(judge));
      replayed += done.replayed;
      still += done.still_rejected;
    }
  } finally {
    await replay.close().catch(() => undefined);
  }
}

function judgeOf(source: Source, columns: readonly Column[]): (kept: KeptRow) => JudgedRow {
  const judge = source.judge?.(columns);
  return ({ id, row, cut, reason }) => {
    const fields = keptRow(row);
    // What an API sent and nobody could read has no columns: only reading it anew can mend that.
    if (fields === null) return { id, reason };
    if (cut) return { id, reason: reason.endsWith(tooLong) ? reason : `${reason}${tooLong}` };
    const values: Value[] = keptValues(fields, columns);
    const refused = judge?.(values) ?? null;
    return refused === null ? { id, values } : { id, reason: refused };
  };
}

const tooLong = '; the row is kept in part only: full_refresh reads it anew';
