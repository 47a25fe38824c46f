/**
 * A process of its own that writes to a warehouse file: `<file> <what> <epoch> <rows>`. It prints a line for each commit
 * that has returned, so that who kills it knows what must be there.
 */

import { writeSync } from 'node:fs';
import { openSqliteDestination } from '../../src/destinations/index.ts';
import { batchOf, requestOf, streamOf } from './sqlite-support.ts';

process.on('uncaughtException', (error: Error & { readonly code?: string }) => {
  if (error.code !== 'run_lost') writeSync(2, `${error.stack}\n`);
  process.exit(3);
});

const [file = '', what = 'merge', epoch = '1', rows = '1000'] = process.argv.slice(2);
const stream = streamOf({
  name: what,
  mode: what === 'replace' ? 'replace' : what === 'append' ? 'append' : 'merge',
});
const destination = openSqliteDestination(file);
const writer = await destination.writer(requestOf(stream, { epoch: Number(epoch), runId: `run${epoch}` }));
const size = 37;
let next = writer.cursor === null ? 0 : Number(writer.cursor);
writeSync(1, `open ${next}\n`);
while (next < Number(rows)) {
  const end = Math.min(next + size, Number(rows));
  const batch = Array.from({ length: end - next }, (_, index) => [next + index, `e${epoch}`]);
  await writer.commit(batchOf(batch, String(end), { from: batch.length, reset: true }));
  next = end;
  writeSync(1, `${next}\n`);
}
await writer.finish({ expectedRows: Number(rows), minimumShare: null });
writeSync(1, 'done\n');
await destination[Symbol.asyncDispose]();
