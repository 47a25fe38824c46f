import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { freshWarehouse } from '../support/landed.ts';

/**
 * One page of any size in bounded memory. `MILLRACE_LARGE_MB` makes it larger than the 60 MB of every test run: 500 was
 * measured (see the REST section of src/README.md).
 */

const megabytes = Number(process.env['MILLRACE_LARGE_MB'] ?? 60);
const records = Math.round((megabytes * 1_000_000) / 250);
let child: ChildProcess | undefined;
afterEach(() => {
  child?.kill();
});

test.each(['ndjson', 'json'] as const)(
  `${megabytes} MB of %s in one page`,
  { timeout: 600_000 },
  async (format) => {
    child = fork(new URL('../support/big-api.ts', import.meta.url), [String(records), format]);
    const [port] = (await once(child, 'message')) as [number];
    using warehouse = freshWarehouse();
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss);
    }, 50);
    const startedAt = performance.now();
    const rest = { pagination: { type: 'none' }, ...(format === 'json' ? { records: 'data' } : {}) };
    const result = await warehouse.sync({
      url: `http://127.0.0.1:${port}`,
      stream: { name: 'rows', path: '/rows', primary_key: ['id'], mode: 'merge', rest },
    });
    clearInterval(timer);
    const seconds = (performance.now() - startedAt) / 1_000;
    const grown = (most - before) / 1024 / 1024;
    console.log(
      `${format}: ${records} records, ${(result.bytes_read / 1e6).toFixed(0)} MB in ${seconds.toFixed(1)} s (${Math.round(records / seconds)}/s), RSS ${(most / 1024 / 1024).toFixed(0)} MiB, ${grown.toFixed(0)} more than before`,
    );
    expect(result.error).toBeUndefined();
    expect(result.rows_written).toBe(records);
    // Two threads, their young generations and what is on its way; the page itself is many times that.
    expect(grown).toBeLessThan(220);
  },
);
