import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import { runId, runIdFloor } from '../../src/store/run-id.ts';
import type { Claim, RunRequest, Store } from '../../src/store/store.ts';
import { connector, handClock, open, result, scratch } from './store-support.ts';

const LEASE_MS = 30_000;
const manual = (name: string) => ({ connector: name, trigger: 'manual', fullRefresh: false }) as const;

async function opened(...names: readonly string[]) {
  const folder = scratch();
  const clock = handClock();
  const store = await open(folder.file, clock.now);
  for (const name of names) await store.connectors.insert(connector(name));
  return {
    store,
    clock,
    runs: store.runs,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

async function claimed(store: Store, holder = 'p1'): Promise<Claim> {
  const claim = await store.runs.claim(holder, LEASE_MS);
  if (!claim) throw new Error('nothing to claim');
  return claim;
}

async function code(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing thrown',
    (error: unknown) => (error instanceof MillraceError ? error.code : String(error)),
  );
}

describe('run ids', () => {
  test('are sixteen characters, in order of time, and begin at their floor', () => {
    fc.assert(
      fc.property(
        fc.nat(2 ** 44),
        fc.nat(2 ** 44),
        fc.uint8Array({ minLength: 6, maxLength: 6 }),
        (a, b, bytes) => {
          const id = runId(new Date(a), () => bytes);
          expect(id).toMatch(/^r[0-9a-hjkmnp-tv-z]{15}$/);
          expect(id >= runIdFloor(new Date(a))).toBe(true);
          if (a < b) expect(id < runIdFloor(new Date(b))).toBe(true);
        },
      ),
    );
  });
});

describe('the life of a run', () => {
  test('queued, claimed, watched, finished', async () => {
    await using world = await opened('shop');
    const { runs, clock } = world;
    const queued = await runs.enqueue({ ...manual('shop'), streams: ['orders'], fullRefresh: true });
    expect(queued).toEqual({
      run_id: expect.stringMatching(/^r[0-9a-z]{15}$/),
      connector: 'shop',
      trigger: 'manual',
      status: 'queued',
      attempt: 1,
      queued_at: '2026-11-02T08:00:00.000Z',
      totals: { rows_read: 0, rows_written: 0, rows_deleted: 0, rejects: 0, bytes_read: 0 },
      streams: [],
    });
    clock.pass(500);
    const claim = await claimed(world.store);
    expect(claim).toEqual({
      run_id: queued.run_id,
      connector: 'shop',
      attempt: 1,
      epoch: expect.any(Number),
      streams: ['orders'],
      fullRefresh: true,
      recovered: false,
    });
    expect(await runs.claim('p2', LEASE_MS)).toBeNull();
    clock.pass(1_000);
    expect(await runs.heartbeat(claim, LEASE_MS, [result('orders', { rows_read: 7, bytes_read: 70 })])).toBe(
      'held',
    );
    expect(await runs.get(queued.run_id)).toMatchObject({
      status: 'running',
      totals: { rows_read: 7, bytes_read: 70 },
    });
    const streams = [result('orders', { status: 'succeeded', rows_read: 9, rows_written: 8, rejects: 1 })];
    expect(await runs.finish(claim, { status: 'partial', streams })).toBe(true);
    expect(await runs.get(queued.run_id)).toMatchObject({
      status: 'partial',
      started_at: '2026-11-02T08:00:00.500Z',
      finished_at: '2026-11-02T08:00:01.500Z',
      duration_ms: 1_000,
      totals: { rows_read: 9, rows_written: 8, rows_deleted: 0, rejects: 1, bytes_read: 0 },
      streams,
    });
    expect(await runs.heartbeat(claim, LEASE_MS, [])).toBe('lost');
    expect(await runs.finish(claim, { status: 'failed', streams: [] })).toBe(false);
    expect(await runs.retry(claim, clock.now(), { streams: [] })).toBe(false);
    expect(await runs.nextStart()).toBeNull();
  });

  test('a second one is refused with the id of the first, and a connector that is not there too', async () => {
    await using world = await opened('shop');
    const { run_id } = await world.runs.enqueue(manual('shop'));
    const error = await world.runs.enqueue(manual('shop')).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'run_in_progress', hint: expect.stringContaining(run_id) });
    expect((error as MillraceError).nextActions[0]).toMatchObject({ tool: 'get_run', arguments: { run_id } });
    expect(await code(world.runs.enqueue(manual('shoop')))).toBe('connector_not_found');
    expect(await code(world.runs.get('rnope'))).toBe('run_not_found');
    expect(await code(world.runs.cancel('rnope'))).toBe('run_not_found');
    await world.runs.cancel(run_id);
    await world.runs.enqueue(manual('shop'));
  });

  test('a due time makes one run, also after it has ended', async () => {
    await using world = await opened('shop');
    const due = { ...manual('shop'), trigger: 'schedule', dueAt: new Date('2026-11-02T09:00:00Z') } as const;
    const first = await world.runs.enqueue(due);
    expect(await world.runs.enqueue(due)).toEqual(first);
    await world.runs.finish(await claimed(world.store), { status: 'succeeded', streams: [] });
    expect((await world.runs.enqueue(due)).status).toBe('succeeded');
    expect((await world.runs.enqueue({ ...due, dueAt: new Date('2026-11-02T10:00:00Z') })).status).toBe(
      'queued',
    );
  });

  test('a retry waits for its time and counts an attempt', async () => {
    await using world = await opened('shop');
    const { runs, clock } = world;
    const { run_id } = await runs.enqueue(manual('shop'));
    const error = { code: 'timeout', message: 'm', hint: 'h', retryable: true, who: 'person' } as const;
    const at = new Date(clock.now().getTime() + 60_000);
    expect(await runs.retry(await claimed(world.store), at, { streams: [result('orders')], error })).toBe(
      true,
    );
    expect(await runs.get(run_id)).toMatchObject({
      status: 'queued',
      attempt: 2,
      retry_at: at.toISOString(),
      error,
    });
    expect(await runs.nextStart()).toEqual(at);
    clock.pass(59_999);
    expect(await runs.claim('p1', LEASE_MS)).toBeNull();
    clock.pass(1);
    expect(await claimed(world.store)).toMatchObject({ run_id, attempt: 2, recovered: false });
    expect(await runs.get(run_id)).not.toHaveProperty('error');
  });

  test('a holder that disappears is found when its lease ends, and shut out', async () => {
    await using world = await opened('shop');
    const { runs, clock } = world;
    await runs.enqueue(manual('shop'));
    const lost = await claimed(world.store, 'gone');
    expect(await runs.nextStart()).toEqual(new Date(clock.now().getTime() + LEASE_MS));
    clock.pass(LEASE_MS - 1);
    expect(await runs.claim('p2', LEASE_MS)).toBeNull();
    clock.pass(1);
    expect(await runs.heartbeat(lost, LEASE_MS, [])).toBe('held'); // late, but nobody took it
    clock.pass(LEASE_MS);
    const found = await claimed(world.store, 'p2');
    expect(found).toMatchObject({ run_id: lost.run_id, attempt: 2, recovered: true });
    expect(found.epoch).toBeGreaterThan(lost.epoch);
    expect(await runs.heartbeat(lost, LEASE_MS, [])).toBe('lost');
    expect(await runs.finish(lost, { status: 'succeeded', streams: [] })).toBe(false);
    expect(await runs.heartbeat(found, LEASE_MS, [])).toBe('held');
  });

  test('runs of holders that are known to be gone need not wait for the lease', async () => {
    await using world = await opened('a', 'b');
    await world.runs.enqueue(manual('a'));
    await world.runs.enqueue(manual('b'));
    const first = await claimed(world.store, 'dead');
    await claimed(world.store, 'alive');
    expect(await world.runs.release((holder) => holder === 'dead')).toEqual([first.run_id]);
    expect(await world.runs.release((holder) => holder === 'dead')).toEqual([]);
    expect(await claimed(world.store, 'alive')).toMatchObject({ run_id: first.run_id, recovered: true });
    expect(await world.runs.claim('alive', LEASE_MS)).toBeNull();
  });

  test('the oldest goes first, whatever its connector', async () => {
    await using world = await opened('a', 'b', 'c');
    for (const name of ['c', 'a', 'b']) {
      await world.runs.enqueue(manual(name));
      world.clock.pass(1);
    }
    const order = [await claimed(world.store), await claimed(world.store), await claimed(world.store)];
    expect(order.map((claim) => claim.connector)).toEqual(['c', 'a', 'b']);
  });
});

describe('cancelling', () => {
  test('queued: at once; ended: as it is; running: asked, heard of, and a retry after it is an end', async () => {
    await using world = await opened('shop');
    const { runs } = world;
    const first = await runs.enqueue(manual('shop'));
    expect(await runs.cancel(first.run_id)).toMatchObject({
      status: 'cancelled',
      finished_at: expect.any(String),
    });
    expect(await runs.cancel(first.run_id)).toMatchObject({ status: 'cancelled' });
    const second = await runs.enqueue(manual('shop'));
    const claim = await claimed(world.store);
    expect(await runs.cancel(second.run_id)).toMatchObject({ status: 'running' });
    expect(await runs.heartbeat(claim, LEASE_MS, [result('a', { status: 'succeeded' }), result('b')])).toBe(
      'cancelled',
    );
    const streams = [result('a', { status: 'succeeded' }), result('b')];
    expect(await runs.retry(claim, world.clock.now(), { streams })).toBe(true);
    const ended = await runs.get(second.run_id);
    expect(ended.status).toBe('cancelled');
    expect(ended.streams.map(({ status }) => status)).toEqual(['succeeded', 'cancelled']);
    expect(await runs.claim('p2', LEASE_MS)).toBeNull();
    await runs.enqueue(manual('shop'));
  });

  test('a run whose holder is gone is ended and not handed out again', async () => {
    await using world = await opened('a', 'b');
    const { runs, clock } = world;
    const first = await runs.enqueue(manual('a'));
    const gone = await claimed(world.store, 'gone');
    await runs.cancel(first.run_id);
    clock.pass(LEASE_MS);
    await runs.enqueue(manual('b'));
    expect(await claimed(world.store)).toMatchObject({ connector: 'b' });
    expect(await runs.get(first.run_id)).toMatchObject({ status: 'cancelled' });
    expect(await runs.finish(gone, { status: 'succeeded', streams: [] })).toBe(false);
    const second = await runs.enqueue(manual('a'));
    await claimed(world.store, 'gone');
    clock.pass(LEASE_MS);
    expect(await runs.cancel(second.run_id)).toMatchObject({ status: 'cancelled' });
  });
});

describe('epochs', () => {
  test('never repeat: not after a deletion, not after the clock went back, not in a new store', async () => {
    await using world = await opened('shop');
    const { runs, clock } = world;
    const epochs: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      await runs.enqueue(manual('shop'));
      const claim = await claimed(world.store);
      epochs.push(claim.epoch);
      await runs.finish(claim, { status: 'succeeded', streams: [] });
      if (round === 1) {
        await world.store.connectors.remove('shop');
        await world.store.connectors.insert(connector('shop'));
      }
      if (round === 3) clock.pass(-86_400_000);
    }
    expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b));
    await using later = await opened('shop');
    later.clock.pass(3_600_000);
    await later.runs.enqueue(manual('shop'));
    expect((await claimed(later.store)).epoch).toBeGreaterThan(Math.max(...epochs));
  });
});

describe('deleting a connector', () => {
  test('cancels what waits, asks what runs to stop, and keeps the history', async () => {
    await using world = await opened('a', 'b');
    const { runs } = world;
    const waiting = await runs.enqueue(manual('a'));
    const running = await runs.enqueue(manual('b'));
    await runs.log(running.run_id, 'info', 'begun');
    await runs.cancel(waiting.run_id);
    const queued = await runs.enqueue(manual('a'));
    world.clock.pass(1);
    const claims = [await claimed(world.store), await claimed(world.store)];
    const held = claims.find((claim) => claim.connector === 'b') as Claim;
    const other = claims.find((claim) => claim.connector === 'a') as Claim;
    await runs.retry(other, world.clock.now(), { streams: [] });
    await world.store.connectors.remove('a');
    await world.store.connectors.remove('b');
    expect((await runs.get(queued.run_id)).status).toBe('cancelled');
    expect(await runs.heartbeat(held, LEASE_MS, [])).toBe('cancelled');
    await runs.finish(held, { status: 'cancelled', streams: [] });
    expect((await runs.list({}, { limit: 10 })).items).toHaveLength(3);
    expect(await runs.readLog(running.run_id, 10)).toHaveLength(1);
  });
});

describe('a run that waits for its next attempt', () => {
  const later = (world: { clock: { now(): Date } }): Date => new Date(world.clock.now().getTime() + 60_000);
  const error = (retryable: 'timeout' | 'permission_denied') =>
    new MillraceError(retryable, 'it broke', { hint: 'mend it' }).toView();

  async function waiting(request: object = {}) {
    const world = await opened('shop');
    const { run_id } = await world.runs.enqueue({ ...manual('shop'), ...request });
    const streams = [
      result('orders', { status: 'succeeded', rows_written: 5 }),
      result('stock', { status: 'failed', rows_read: 3, error: error('timeout') }),
      result('prices', { status: 'failed', error: error('permission_denied') }),
    ];
    await world.runs.retry(await claimed(world.store), later(world), { streams, error: error('timeout') });
    return { ...world, run_id, streams };
  }

  test('is brought forward by who asks for the same, with every stream that failed', async () => {
    await using world = await waiting();
    expect(await world.runs.claim('p1', LEASE_MS)).toBeNull();
    const forward = await world.runs.enqueue(manual('shop'));
    expect(forward).toMatchObject({ run_id: world.run_id, status: 'queued', attempt: 2 });
    expect(forward.retry_at).toBeUndefined();
    expect(forward.streams).toEqual([
      world.streams[0],
      result('stock', { status: 'pending', rows_read: 3 }),
      result('prices', { status: 'pending' }),
    ]);
    expect(await world.runs.get(world.run_id)).toEqual(forward);
    expect(await claimed(world.store)).toMatchObject({ run_id: world.run_id, attempt: 2 });
    expect((await world.runs.list({}, { limit: 9 })).items).toHaveLength(1);
  });

  test.each<[Partial<RunRequest>, Partial<RunRequest>]>([
    [{}, { streams: ['orders'] }],
    [{}, { fullRefresh: true }],
    [{}, { trigger: 'schedule', dueAt: new Date(0) }],
    [{ streams: ['orders'] }, {}],
    [{ streams: ['orders'] }, { streams: ['orders', 'stock'] }],
  ])('asked for %j, it is not what asks for %j', async (request, other) => {
    await using world = await waiting(request);
    const refused = await world.runs
      .enqueue({ ...manual('shop'), ...other })
      .catch((thrown: unknown) => thrown);
    expect(refused).toMatchObject({ code: 'run_in_progress' });
    // What it advises first is what brings it forward.
    const [advice] = (refused as MillraceError).nextActions;
    expect(advice).toMatchObject({ tool: 'sync_connector', arguments: { connector: 'shop' } });
    const forward = await world.runs.enqueue({ ...manual('shop'), ...advice?.arguments });
    expect(forward.run_id).toBe(world.run_id);
  });

  test.each<[Partial<RunRequest>, Partial<RunRequest>]>([
    [{ streams: ['stock', 'orders'] }, { streams: ['orders', 'stock'] }],
    [{ fullRefresh: true }, {}],
    [{}, { trigger: 'cli' }],
  ])('asked for %j, it does what asks for %j', async (request, other) => {
    await using world = await waiting(request);
    expect(await world.runs.enqueue({ ...manual('shop'), ...other })).toMatchObject({ run_id: world.run_id });
  });

  test('one that was handed back goes on at once and has used no attempt up', async () => {
    await using world = await opened('shop');
    const { run_id } = await world.runs.enqueue(manual('shop'));
    const claim = await claimed(world.store);
    const streams = [result('orders', { status: 'cancelled', rows_written: 5 })];
    expect(await world.runs.handBack(claim, streams)).toBe(true);
    expect(await world.runs.handBack(claim, streams)).toBe(false);
    expect(await world.runs.get(run_id)).toMatchObject({ status: 'queued', attempt: 1, streams });
    const next = await claimed(world.store, 'p2');
    expect(next).toMatchObject({ run_id, attempt: 1, recovered: false });
    await world.runs.cancel(run_id);
    await world.runs.handBack(next, streams);
    expect((await world.runs.get(run_id)).status).toBe('cancelled');
  });
});

test('the run that opens the breaker says so in its log', async () => {
  await using world = await opened('shop');
  const { run_id } = await world.runs.enqueue(manual('shop'));
  const error = new MillraceError('auth_failed', 'refused', { hint: 'mend it' }).toView();
  await world.runs.finish(await claimed(world.store), { status: 'failed', streams: [], error });
  expect((await world.runs.readLog(run_id, 9)).map(({ message }) => message)).toEqual([
    'This run failed (auth_failed): no scheduled run starts until 2026-11-02T08:05:00.000Z. sync_connector starts one at any time.',
  ]);
});

describe('history', () => {
  test('is listed newest first, filtered and paged without a gap; counts agree', async () => {
    await using world = await opened('a', 'b');
    const { runs, clock } = world;
    const ids: string[] = [];
    for (let index = 0; index < 30; index += 1) {
      const { run_id } = await runs.enqueue(manual(index % 3 === 0 ? 'b' : 'a'));
      ids.unshift(run_id);
      const status = index % 5 === 0 ? 'failed' : 'succeeded';
      await runs.finish(await claimed(world.store), { status, streams: [] });
      clock.pass(1_000);
    }
    const seen: string[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < 10; page += 1) {
      const found = await runs.list({}, { limit: 7, ...(cursor ? { cursor } : {}) });
      seen.push(...found.items.map(({ run_id }) => run_id));
      cursor = found.next_cursor;
      if (cursor === undefined) break;
    }
    expect(seen).toEqual(ids);
    expect((await runs.list({ connector: 'b' }, { limit: 99 })).items).toHaveLength(10);
    expect((await runs.list({ connector: 'b', status: 'failed' }, { limit: 99 })).items).toHaveLength(2);
    expect((await runs.list({ since: '2026-11-02T08:00:25.000Z' }, { limit: 99 })).items).toHaveLength(5);
    expect(await code(runs.list({ since: 'yesterday' }, { limit: 9 }))).toBe('invalid_config');
    expect(await runs.counts()).toEqual({
      queued: 0,
      running: 0,
      succeeded: 24,
      partial: 0,
      failed: 6,
      cancelled: 0,
    });
  });

  test('the log keeps the newest lines, cut and scrubbed', async () => {
    await using world = await opened('shop');
    const { run_id } = await world.runs.enqueue(manual('shop'));
    for (let line = 1; line <= 503; line += 1) await world.runs.log(run_id, 'info', `line ${line}`);
    const all = await world.runs.readLog(run_id, 10_000);
    expect(all).toHaveLength(500);
    expect([all[0]?.message, all.at(-1)?.message]).toEqual(['line 4', 'line 503']);
    await world.runs.log(run_id, 'error', `postgres://u:hunter2@h/d ${'x'.repeat(5_000)}`);
    const [last] = await world.runs.readLog(run_id, 1);
    expect(last?.message).toHaveLength(2_000);
    expect(last).toMatchObject({ at: '2026-11-02T08:00:00.000Z', level: 'error' });
    expect(last?.message).not.toContain('hunter2');
  });
});

describe('holding a connector without a run', () => {
  const as = (holder: string, gone: readonly string[] = []) => ({
    holder,
    leaseMs: LEASE_MS,
    isGone: (other: string) => gone.includes(other),
  });

  test('not while a run waits or works, nor for two; and no run begins meanwhile', async () => {
    await using world = await opened('shop', 'other');
    const { runs, store } = world;
    const { run_id } = await runs.enqueue(manual('shop'));
    const refused = await runs.hold('shop', as('a')).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'run_in_progress', hint: expect.stringContaining(run_id) });
    const claim = await claimed(store);
    expect(await code(runs.hold('shop', as('a')))).toBe('run_in_progress');
    await runs.finish(claim, { status: 'succeeded', streams: [] });

    const lease = await runs.hold('shop', as('a'));
    expect(lease.epoch).toBeGreaterThan(claim.epoch);
    expect(await code(runs.hold('shop', as('b')))).toBe('run_in_progress');
    await runs.enqueue(manual('shop'));
    await runs.enqueue(manual('other'));
    expect((await claimed(store)).connector).toBe('other');
    expect(await runs.claim('p1', LEASE_MS)).toBeNull();
    await store.leases.release(lease);
    expect((await claimed(store)).epoch).toBeGreaterThan(lease.epoch);
  });

  test('a holder that is gone, or does not renew, is in nobody’s way', async () => {
    await using world = await opened('shop');
    const first = await world.runs.hold('shop', as('a'));
    const second = await world.runs.hold('shop', as('b', ['a']));
    expect(second.epoch).toBeGreaterThan(first.epoch);
    expect(await world.store.leases.renew(first, LEASE_MS)).toBe(false);
    world.clock.pass(LEASE_MS + 1);
    expect((await world.runs.hold('shop', as('c'))).epoch).toBeGreaterThan(second.epoch);
  });
});
