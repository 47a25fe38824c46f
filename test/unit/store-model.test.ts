import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Claim, Store } from '../../src/store/store.ts';
import { connector, type HandClock, handClock, open, scratch } from './store-support.ts';

/**
 * The run queue against a model of thirty lines, over random histories: several holders through two handles of one file,
 * holders that stop in the middle and come back as zombies, cancels, retries, deletions. A crash needs no action of its
 * own: it is a claim that is never used again, or only after its lease has ended.
 */
test('the run queue behaves as its model', async () => {
  let steps = 0;
  let zombies = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 20, maxLength: 80, size: 'max' }), async (actions) => {
      await using world = await newWorld();
      for (const next of actions) {
        zombies += await apply(world, next);
        await assertInvariants(world);
        steps += 1;
      }
    }),
    { numRuns: 120 },
  );
  // A model whose actions find nothing to act on would agree with anything.
  expect(steps).toBeGreaterThan(4_500);
  expect(zombies).toBeGreaterThan(250);
}, 120_000);

const NAMES = ['a', 'b', 'c'] as const;
const LEASE_MS = 1_000;

const pick = fc.nat(1_000);
const action = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('enqueue' as const), name: fc.constantFrom(...NAMES) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('claim' as const),
      holder: fc.constantFrom('p', 'q', 'r'),
      handle: fc.nat(1),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('heartbeat' as const), claim: pick, handle: fc.nat(1) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('finish' as const), claim: pick, handle: fc.nat(1) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('retry' as const),
      claim: pick,
      delayMs: fc.constantFrom(0, 300, 5_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('handBack' as const), claim: pick }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), run: pick }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.constantFrom(1, 400, 999, 1_000, 6_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('release' as const), holder: fc.constantFrom('p', 'q', 'r') }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('replace' as const), name: fc.constantFrom(...NAMES) }),
  },
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

interface ModelRun {
  readonly id: string;
  readonly connector: string;
  status: 'queued' | 'running' | 'succeeded' | 'cancelled';
  attempt: number;
  retryAt: number;
  cancel: boolean;
  epoch: number;
  holder: string;
  leaseEnds: number;
}

interface World extends AsyncDisposable {
  readonly clock: HandClock;
  readonly handles: readonly [Store, Store];
  /** In the order of their ids. */
  readonly runs: ModelRun[];
  readonly claims: Claim[];
  readonly latestEpoch: Map<string, number>;
}

async function newWorld(): Promise<World> {
  const folder = scratch();
  const clock = handClock();
  const handles = [await open(folder.file, clock.now), await open(folder.file, clock.now)] as const;
  for (const name of NAMES) await handles[0].connectors.insert(connector(name));
  return {
    clock,
    handles,
    runs: [],
    claims: [],
    latestEpoch: new Map(),
    async [Symbol.asyncDispose]() {
      for (const handle of handles) await handle[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

/** Does it to both and compares; 1 when a zombie was shut out. */
async function apply(world: World, next: Action): Promise<number> {
  const { clock, runs } = world;
  const [store] = world.handles;
  const now = clock.now().getTime();
  switch (next.do) {
    case 'enqueue': {
      const active = runs.find((run) => run.connector === next.name && isActive(run));
      const work = store.runs.enqueue({ connector: next.name, trigger: 'manual', fullRefresh: false });
      if (active?.status === 'queued' && active.retryAt > 0) {
        expect((await work).run_id).toBe(active.id);
        active.retryAt = 0;
      } else if (active) {
        expect(await work.catch((error: MillraceError) => error.code)).toBe('run_in_progress');
      } else {
        const { run_id: id } = await work;
        runs.push({
          id,
          connector: next.name,
          status: 'queued',
          attempt: 1,
          retryAt: 0,
          cancel: false,
          epoch: 0,
          holder: '',
          leaseEnds: 0,
        });
        clock.pass(1); // ids of one millisecond have no order
      }
      return 0;
    }
    case 'claim': {
      const expected = modelClaim(world, next.holder, now);
      const claim = await (world.handles[next.handle] ?? store).runs.claim(next.holder, LEASE_MS);
      expect(claim?.run_id).toBe(expected?.id);
      if (claim && expected) {
        expect(claim).toMatchObject({ attempt: expected.attempt, connector: expected.connector });
        expect(claim.epoch).toBeGreaterThan(world.latestEpoch.get(claim.connector) ?? 0);
        world.latestEpoch.set(claim.connector, claim.epoch);
        expected.epoch = claim.epoch;
        world.claims.push(claim);
      }
      return 0;
    }
    case 'heartbeat': {
      const claim = chosen(world.claims, next.claim);
      if (!claim) return 0;
      const run = held(world, claim);
      const answer = await (world.handles[next.handle] ?? store).runs.heartbeat(claim, LEASE_MS, []);
      expect(answer).toBe(run ? (run.cancel ? 'cancelled' : 'held') : 'lost');
      if (run) run.leaseEnds = now + LEASE_MS;
      return run ? 0 : 1;
    }
    case 'finish': {
      const claim = chosen(world.claims, next.claim);
      if (!claim) return 0;
      const run = held(world, claim);
      const done = await (world.handles[next.handle] ?? store).runs.finish(claim, {
        status: 'succeeded',
        streams: [],
      });
      expect(done).toBe(run !== undefined);
      if (run) Object.assign(run, { status: 'succeeded', leaseEnds: 0 });
      return run ? 0 : 1;
    }
    case 'retry': {
      const claim = chosen(world.claims, next.claim);
      if (!claim) return 0;
      const run = held(world, claim);
      expect(await store.runs.retry(claim, new Date(now + next.delayMs), { streams: [] })).toBe(
        run !== undefined,
      );
      if (run?.cancel) Object.assign(run, { status: 'cancelled', leaseEnds: 0 });
      else if (run)
        Object.assign(run, {
          status: 'queued',
          attempt: run.attempt + 1,
          retryAt: now + next.delayMs,
          leaseEnds: 0,
        });
      return run ? 0 : 1;
    }
    case 'handBack': {
      const claim = chosen(world.claims, next.claim);
      if (!claim) return 0;
      const run = held(world, claim);
      expect(await store.runs.handBack(claim, [])).toBe(run !== undefined);
      if (run) Object.assign(run, { status: run.cancel ? 'cancelled' : 'queued', leaseEnds: 0 });
      return run ? 0 : 1;
    }
    case 'cancel': {
      const run = chosen(runs, next.run);
      if (!run) return 0;
      modelCancel(run, now);
      expect((await store.runs.cancel(run.id)).status).toBe(run.status);
      return 0;
    }
    case 'pass':
      clock.pass(next.ms);
      return 0;
    case 'release': {
      const gone = runs.filter(
        (run) => run.status === 'running' && run.leaseEnds > now && run.holder === next.holder,
      );
      for (const run of gone) run.leaseEnds = 0;
      expect(await store.runs.release((holder) => holder === next.holder)).toEqual(gone.map(({ id }) => id));
      return 0;
    }
    case 'replace': {
      for (const run of runs) if (run.connector === next.name && isActive(run)) modelCancel(run, now);
      await store.connectors.remove(next.name);
      await store.connectors.insert(connector(next.name));
      return 0;
    }
    default:
      return next satisfies never;
  }
}

function modelClaim({ runs }: World, holder: string, now: number): ModelRun | undefined {
  for (const run of runs) {
    const free =
      run.status === 'running' ? run.leaseEnds <= now : run.status === 'queued' && run.retryAt <= now;
    if (!free) continue;
    if (run.cancel) {
      run.status = 'cancelled';
      continue;
    }
    if (run.status === 'running') run.attempt += 1;
    return Object.assign(run, { status: 'running', holder, leaseEnds: now + LEASE_MS, retryAt: 0 });
  }
  return undefined;
}

function modelCancel(run: ModelRun, now: number): void {
  if (!isActive(run)) return;
  run.cancel = true;
  if (run.status === 'queued' || run.leaseEnds <= now) run.status = 'cancelled';
}

function held(world: World, claim: Claim): ModelRun | undefined {
  return world.runs.find(
    (run) => run.id === claim.run_id && run.epoch === claim.epoch && run.status === 'running',
  );
}

function isActive(run: ModelRun): boolean {
  return run.status === 'queued' || run.status === 'running';
}

function chosen<T>(all: readonly T[], index: number): T | undefined {
  return all[index % Math.max(1, all.length)];
}

/** Nothing is lost, nothing is there twice, one holder of a connector at most, the timer knows when to look again. */
async function assertInvariants(world: World): Promise<void> {
  const [, other] = world.handles;
  const { items } = await other.runs.list({}, { limit: 1_000 });
  const shown = items.map(({ run_id, status, attempt }) => ({ run_id, status, attempt }));
  expect(shown.reverse()).toEqual(
    world.runs.map(({ id, status, attempt }) => ({ run_id: id, status, attempt })),
  );
  const counts = await other.runs.counts();
  expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(world.runs.length);
  for (const name of NAMES)
    expect(world.runs.filter((run) => run.connector === name && isActive(run)).length).toBeLessThanOrEqual(1);
  const next = await other.runs.nextStart();
  const active = world.runs.filter(isActive);
  expect(next === null).toBe(active.length === 0);
  const now = world.clock.now().getTime();
  const due = active.some((run) => (run.status === 'running' ? run.leaseEnds <= now : run.retryAt <= now));
  if (next) expect(next.getTime() <= now).toBe(due);
}
