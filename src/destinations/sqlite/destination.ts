import type { Destination } from '../destination.ts';
import { closeWriting, guarded, openForWriting } from './driver.ts';
import { prepareWarehouse } from './meta.ts';
import { landedAs } from './open-stream.ts';
import { openReplay } from './replay.ts';
import { openWriter } from './writer.ts';

/** The SQLite destination at `file`, which is made when it is not there. Throws `data_dir_unusable`, `destination_failed`, `disk_full`. */
export function openSqliteDestination(file: string, now: () => Date = () => new Date()): Destination {
  const db = openForWriting(file);
  try {
    guarded(file, () => prepareWarehouse(db, file));
  } catch (error) {
    db.close();
    throw error;
  }
  return {
    landed: async (connector, stream) => guarded(file, () => landedAs(db, connector, stream)),
    writer: async (request) => openWriter({ db, file, now }, request),
    replayer: async (request) => openReplay({ db, file }, request),
    async [Symbol.asyncDispose]() {
      closeWriting(db);
    },
  };
}
