/** A thread beside the query: ends the process when it takes too much of the machine, or when nobody waits for it. */

import { parentPort, workerData } from 'node:worker_threads';

/** Resident memory in bytes. SQLite's own limit is compiled out of the library (`hard_heap_limit` changes nothing). */
const memoryMax = 512 * 1024 * 1024;
/** What one request may write to temporary files, in blocks of 512 bytes: 1 GiB. Big sorts spill to disk, not into memory. */
const blocksMax = (1024 * 1024 * 1024) / 512;
const everyMs = 20;

/** The process that asked. When it is gone, the system gives its children another parent. */
const asker = (workerData as { readonly asker: number }).asker;
let blocksBefore = 0;
let limited = false;

/** True when a query begins, false when maintenance does: dropping large tables may write as much as it has to. */
parentPort?.on('message', (query: boolean) => {
  limited = query;
  blocksBefore = process.resourceUsage().fsWrite;
});

setInterval(() => {
  const tooMuch =
    limited &&
    (process.memoryUsage.rss() > memoryMax || process.resourceUsage().fsWrite - blocksBefore > blocksMax);
  // SIGKILL, because the main thread is inside SQLite and hears nothing else.
  if (tooMuch || process.ppid !== asker) process.kill(process.pid, 'SIGKILL');
}, everyMs);
