import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { ApiCall } from './api-process.ts';
import type { BenchSource } from './source.ts';

/** An API of the benchmark's own: JSON, a thousand records a page, a cursor to the next one, `since` for what is new. */
export async function restSource(): Promise<BenchSource> {
  const child = fork(new URL('api-process.ts', import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const heard = async (): Promise<number> => ((await once(child, 'message')) as [number])[0];
  const url = `http://127.0.0.1:${await heard()}`;
  const call = (message: ApiCall): Promise<number> => {
    child.send(message);
    return heard();
  };
  return {
    title: 'REST API, 1,000 JSON records a page',
    type: 'rest_api',
    config: { base_url: url },
    stream: (table) => ({
      path: `/${table}`,
      primary_key: ['id'],
      rest: {
        records: 'data',
        pagination: { type: 'cursor', cursor_param: 'after', next: 'next' },
        cursor_param: 'since',
      },
    }),
    async fill(table, rows) {
      await call({ op: 'fill', table, rows });
    },
    changeOnePercent: (table) => call({ op: 'touch', table }),
    async drop(table) {
      await call({ op: 'drop', table });
    },
    // Pages are in memory, and nothing is written down.
    settle: async () => undefined,
    ceiling: { run: 'ceiling-rest.ts', env: { BENCH_URL: url } },
    pipe: null,
    wanted: { ofCeiling: { narrow: 0.6, wide: 0.6 }, ofPipe: null, nothingMs: null },
    async [Symbol.asyncDispose]() {
      child.disconnect();
      await once(child, 'exit');
    },
  };
}
