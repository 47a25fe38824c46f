import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import type { Run, Stream, StreamResult } from '../../src/core/model.ts';
import type { FromThread } from '../../src/engine/messages.ts';
import { createRunner } from '../../src/engine/runner.ts';
import type { Threads } from '../../src/engine/threads.ts';
import type { Store } from '../../src/store/store.ts';
import { connector, open, result, scratch } from './store-support.ts';

/** What a run comes to, over a real store and threads that do as they are told. */

const streams: readonly Stream[] = ['orders', 'stock', 'events'].map((name) => ({ name, table: name }));
/** No process has this number. */
const GONE = `${hostname()}:4194999:x`;
const tookTooLong = new MillraceError('timeout', 'The source did not answer.', { hint: 'Look at its load.' });

test.each([
  ['internal', 'failed', new MillraceError('internal', 'The sync ran out of memory.', { hint: 'Exclude.' })],
  ['timeout', 'failed', tookTooLong],
  ['cancelled', 'cancelled', new MillraceError('cancelled', 'The run was cancelled.', { hint: 'Again.' })],
] as const)('a thread that ended with %s leaves no stream under way', async (code, status, error) => {
  await using world = await opened(async (tell) => {
    tell([
      result('orders', { status: 'succeeded', rows_written: 5 }),
      result('stock', { rows_written: 3 }),
      result('events', { status: 'pending' }),
    ]);
    throw error;
  });
  const run = await world.runToEnd();
  expect(run).toMatchObject({ status, error: { code }, totals: { rows_written: 8 } });
  expect(run.streams.map((stream) => [stream.stream, stream.status, stream.error?.code])).toEqual([
    ['orders', 'succeeded', undefined],
    ['stock', status, status === 'failed' ? code : undefined],
    ['events', status, status === 'failed' ? code : undefined],
  ]);
});

test('a run whose process ended in the last attempt says so, and what the attempts before had failed with', async () => {
  await using world = await opened(() => Promise.reject(tookTooLong));
  const { runs } = world.store;
  const { run_id } = await world.queue();
  const first = await runs.claim(GONE, 60_000);
  if (first === null) throw new Error('nothing to claim');
  const failed = [result('orders', { status: 'failed', error: tookTooLong.toView() })];
  await runs.retry(first, new Date(0), { streams: failed, error: tookTooLong.toView() });
  const second = await runs.claim(GONE, 60_000);
  if (second === null) throw new Error('nothing to claim');
  expect(second).toMatchObject({ attempt: 2, failure: { code: 'timeout' } });
  expect((await runs.get(run_id)).error).toBeUndefined();
  await runs.heartbeat(second, 60_000, [result('orders', { rows_written: 7 })]);
  const run = await world.runToEnd(run_id);
  expect(run).toMatchObject({ status: 'failed', attempt: 3, error: { code: 'run_lost' } });
  expect(run.error?.message).toBe(
    'The process that held this run ended during attempt 2, and no attempt is left. An attempt before had failed with timeout: The source did not answer.',
  );
  expect(run.error?.hint).toContain('Look at its load.');
  expect(run.streams).toMatchObject([{ status: 'failed', rows_written: 7, error: { code: 'run_lost' } }]);
});

test('a run whose attempts were made fewer while it waited ends with what it failed with', async () => {
  await using world = await opened(() => Promise.reject(tookTooLong));
  const { runs } = world.store;
  const { run_id } = await world.queue();
  for (let attempt = 1; attempt <= 2; attempt += 1) {
    const claim = await runs.claim(GONE, 60_000);
    if (claim === null) throw new Error('nothing to claim');
    await runs.retry(claim, new Date(0), { streams: [], error: tookTooLong.toView() });
  }
  expect(await world.runToEnd(run_id)).toMatchObject({ status: 'failed', error: { code: 'timeout' } });
});

type Work = (tell: (streams: readonly StreamResult[]) => void) => Promise<unknown>;

/** A runner of two attempts over a connector "shop" whose every thread does this. */
async function opened(work: Work) {
  const folder = scratch();
  const store = await open(folder.file, () => new Date());
  const shop = connector('shop', { streams });
  await store.connectors.insert(shop);
  const threads: Threads = {
    run: (_job, { onMessage }) =>
      work((told) => onMessage?.({ type: 'progress', streams: told } satisfies FromThread)),
    [Symbol.asyncDispose]: async () => undefined,
  };
  const network = { allow: [], allowPrivateHttp: [] };
  const runner = createRunner({
    runs: store.runs,
    threads,
    open: async () => ({
      connector: shop,
      source: { connector: 'shop', type: 'postgresql', config: {}, revealed: [], declared: streams, network },
    }),
    warehouseFile: folder.file,
    settings: { concurrent: 1, attempts: 2, backoffMs: [1, 1], timeoutMs: 60_000 },
    random: Math.random,
    now: () => new Date(),
    onFault: () => undefined,
  });
  const queue = (): Promise<Run> =>
    store.runs.enqueue({ connector: 'shop', trigger: 'manual', fullRefresh: false });
  return {
    store,
    queue,
    async runToEnd(queued?: string): Promise<Run> {
      const id = queued ?? (await queue()).run_id;
      runner.start();
      return await untilEnded(store, id);
    },
    async [Symbol.asyncDispose]() {
      await runner[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

async function untilEnded(store: Store, id: string): Promise<Run> {
  const until = Date.now() + 10_000;
  for (;;) {
    const run = await store.runs.get(id);
    if (run.finished_at !== undefined) return run;
    if (Date.now() > until) throw new Error(`it does not end: ${JSON.stringify(run)}`);
    await sleep(10);
  }
}
