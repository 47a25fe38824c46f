import fc from 'fast-check';
import { expect, test } from 'vitest';
import { afterPassedTest, afterRun, type Breaker, type RunEnd } from '../../src/core/breaker.ts';
import { type ErrorCode, MillraceError } from '../../src/core/errors.ts';
import type { Claim, Outcome, Store } from '../../src/store/store.ts';
import { connector, handClock, open, result, scratch } from './store-support.ts';

/**
 * What the store keeps of breakers against the rules of core/breaker.ts, over random histories through two handles of one
 * file: each run counts once, when it ends and by whoever holds it; attempts, zombies and changes of other things do not.
 */
test('breakers in the store are what the rules make of the runs that ended', async () => {
  const seen = { opened: 0, closed: 0, zombies: 0, halved: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 15, maxLength: 50, size: 'max' }), async (actions) => {
      await using world = await newWorld();
      for (const next of actions) {
        const before = new Map(world.breakers);
        await apply(world, next, seen);
        await assertSame(world);
        for (const name of NAMES) {
          const [was, is] = [before.get(name), world.breakers.get(name)];
          if (was?.open === undefined && is?.open !== undefined) seen.opened += 1;
          if (was?.open !== undefined && is === undefined) seen.closed += 1;
        }
      }
    }),
    { numRuns: 20 },
  );
  // Histories in which nothing happens would agree with anything.
  for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(2);
}, 120_000);

const NAMES = ['a', 'b'] as const;
const RULES = { failures: 3, openMs: 5_000 };
const LEASE_MS = 1_000;

const name = fc.constantFrom(...NAMES);
const handle = fc.nat(1);
const status = fc.constantFrom<Outcome['status']>(
  'succeeded',
  'partial',
  'failed',
  'failed',
  'failed',
  'cancelled',
);
const code = fc.constantFrom<ErrorCode>(
  'timeout',
  'host_unreachable',
  'auth_failed',
  'disk_full',
  'internal',
);
const action = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('run' as const),
      name,
      handle,
      status,
      code,
      inStream: fc.boolean(),
      zombie: fc.nat(5).map((chance) => chance === 0),
      retried: fc.nat(3).map((chance) => chance === 0),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('testPassed' as const), name, handle }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('update' as const),
      name,
      handle,
      what: fc.constantFrom('config', 'streams', 'secret', 'description', 'schedule'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), name, handle }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('replace' as const), name, handle }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 900, 5_000, 60_000) }),
  },
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

interface World extends AsyncDisposable {
  readonly clock: ReturnType<typeof handClock>;
  readonly handles: readonly [Store, Store];
  readonly breakers: Map<string, Breaker>;
  changes: number;
}

async function newWorld(): Promise<World> {
  const folder = scratch();
  const clock = handClock();
  const handles = [
    await open(folder.file, clock.now, RULES),
    await open(folder.file, clock.now, RULES),
  ] as const;
  for (const one of NAMES) await handles[0].connectors.insert(connector(one));
  return {
    clock,
    handles,
    breakers: new Map(),
    changes: 0,
    async [Symbol.asyncDispose]() {
      for (const store of handles) await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

async function apply(world: World, next: Action, seen: { zombies: number; halved: number }): Promise<void> {
  const { clock, handles, breakers } = world;
  if (next.do === 'pass') return clock.pass(next.ms);
  const store = handles[next.handle] ?? handles[0];
  const before = breakers.get(next.name) ?? null;
  const becomes = (after: Breaker | null): void => {
    if (after === null) breakers.delete(next.name);
    else breakers.set(next.name, after);
  };
  switch (next.do) {
    case 'run': {
      const error = new MillraceError(next.code, 'it broke', { hint: 'mend it' }).toView();
      const failing = next.status === 'failed';
      const outcome: Outcome = {
        status: next.status,
        streams: failing && next.inStream ? [result('orders', { status: 'failed', error })] : [],
        ...(failing && !next.inStream ? { error } : {}),
      };
      if (next.zombie) seen.zombies += 1;
      await runToEnd(world, { ...next, outcome });
      const end: RunEnd = { status: next.status, errors: failing ? [error] : [] };
      return becomes(afterRun(before, end, { rules: RULES, now: clock.now().getTime() }));
    }
    case 'testPassed': {
      const after = afterPassedTest(before, clock.now().getTime());
      expect(await store.breakers.testPassed(next.name)).toBe(after !== before);
      if (after !== before) seen.halved += 1;
      return becomes(after);
    }
    case 'update': {
      world.changes += 1;
      const more = changed(next.what, world.changes);
      const { created_at: _c, updated_at: _u, ...kept } = await store.connectors.get(next.name);
      const sealed = { owner: `connector/${next.name}/x`, keyId: 'k', sealed: Buffer.from('s') };
      await store.connectors.update({ ...kept, ...more }, next.what === 'secret' ? [sealed] : []);
      if (['config', 'streams', 'secret'].includes(next.what)) becomes(null);
      return;
    }
    case 'close':
      await store.breakers.close(next.name);
      return becomes(null);
    case 'replace':
      await store.connectors.remove(next.name);
      await store.connectors.insert(connector(next.name));
      return becomes(null);
    default:
      return next satisfies never;
  }
}

interface Life {
  readonly name: string;
  readonly handle: number;
  readonly outcome: Outcome;
  /** Its first holder loses it, and says afterwards that it failed. */
  readonly zombie: boolean;
  readonly retried: boolean;
}

async function runToEnd({ clock, handles }: World, life: Life): Promise<void> {
  const { runs } = handles[life.handle] ?? handles[0];
  const other = handles[1 - life.handle] ?? handles[1];
  const { outcome } = life;
  const take = async (): Promise<Claim> => {
    const claim = await runs.claim('p', LEASE_MS);
    if (claim === null) throw new Error('nothing to claim');
    return claim;
  };
  await runs.enqueue({ connector: life.name, trigger: 'manual', fullRefresh: false });
  let claim = await take();
  if (life.retried) {
    expect(await runs.retry(claim, clock.now(), outcome)).toBe(true);
    claim = await take();
  }
  if (life.zombie) {
    clock.pass(LEASE_MS);
    const lost = claim;
    claim = await take();
    const error = new MillraceError('auth_failed', 'late', { hint: 'too late' }).toView();
    expect(await other.runs.finish(lost, { status: 'failed', streams: [], error })).toBe(false);
  }
  expect(await runs.finish(claim, outcome)).toBe(true);
}

function changed(what: string, turn: number): object {
  if (what === 'config') return { config: { host: `db${turn}.example` } };
  if (what === 'streams') return { streams: [{ name: 'orders', table: `orders${turn}` }] };
  return what === 'secret' ? {} : { [what]: what === 'schedule' ? `${turn % 60} * * * *` : `no. ${turn}` };
}

async function assertSame({ handles, breakers }: World): Promise<void> {
  for (const store of handles) {
    expect(await store.breakers.all()).toEqual(breakers);
    for (const one of NAMES) expect(await store.breakers.get(one)).toEqual(breakers.get(one) ?? null);
  }
}
