import type { WriterRequest } from '../destination.ts';
import { type Database, guarded, transaction } from './driver.ts';
import { lost } from './open-stream.ts';

/** One transaction that only the holder of the stream's newest epoch may make; throws `run_lost` and does nothing for others. */
export type Fence = <T>(work: () => T) => T;

/** The fence of one stream for one epoch. */
export function createFence(
  { db, file }: { readonly db: Database; readonly file: string },
  { connector, stream, epoch }: Pick<WriterRequest, 'connector' | 'stream' | 'epoch'>,
): Fence {
  const newest = db.prepare('SELECT epoch FROM _millrace_cursors WHERE connector = ? AND stream = ?');
  return (work) =>
    guarded(file, () =>
      transaction(db, () => {
        const found = newest.get(connector, stream.name) as { readonly epoch: number } | undefined;
        if (found?.epoch !== epoch) throw lost(connector, stream.name);
        return work();
      }),
    );
}
