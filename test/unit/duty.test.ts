import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type Chore, createChores, every } from '../../src/engine/chores.ts';
import { createDuty, type Duty } from '../../src/engine/duty.ts';
import type { Turn } from '../../src/engine/tenure.ts';
import type { Store } from '../../src/store/store.ts';
import { handClock, open, scratch } from './store-support.ts';

interface Watched {
  readonly duty: Duty;
  readonly turns: Turn[];
  readonly faults: string[];
}

function watched(
  { leases }: Store,
  more: {
    readonly now: () => Date;
    readonly holder: string;
    readonly act?: (turn: Turn) => Promise<undefined>;
  },
): Watched {
  const turns: Turn[] = [];
  const faults: string[] = [];
  const duty = createDuty({
    name: 'duty',
    leases,
    onFault: (detail) => faults.push(detail),
    ...more,
    async act(turn) {
      turns.push(turn);
      return more.act?.(turn);
    },
  });
  return { duty, turns, faults };
}

describe('a duty', () => {
  test('is of one at a time, and of the next when the first leaves', async () => {
    using folder = scratch();
    const { now } = handClock();
    await using store = await open(folder.file, now);
    const first = watched(store, { now, holder: 'elsewhere:1:a' });
    const second = watched(store, { now, holder: 'elsewhere:2:b' });
    first.duty.start();
    await expect.poll(() => first.turns.length).toBeGreaterThan(0);
    second.duty.start();
    await expect.poll(() => first.turns.length, { timeout: 10_000 }).toBeGreaterThan(2);
    expect(second.turns).toEqual([]);
    expect(first.turns.map((turn) => turn.first)).toEqual(first.turns.map((_, index) => index === 0));
    await first.duty[Symbol.asyncDispose]();
    expect(first.turns.every((turn) => turn.signal.aborted)).toBe(true);
    await expect.poll(() => second.turns.length, { timeout: 10_000 }).toBeGreaterThan(0);
    await second.duty[Symbol.asyncDispose]();
    expect((await store.leases.look('duty'))?.holder).toBeNull();
  });

  test('that failed is tried again; a clock put back is said until a turn has succeeded', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    let failures = 2;
    const { duty, turns, faults } = watched(store, {
      now: clock.now,
      holder: 'elsewhere:1:a',
      async act(turn) {
        if (turn.setBack && failures-- > 0) throw new Error('no space');
        return undefined;
      },
    });
    duty.start();
    await expect.poll(() => turns.length).toBe(1);
    clock.pass(-3_600_000);
    await expect.poll(() => turns.length, { timeout: 20_000 }).toBeGreaterThan(4);
    await duty[Symbol.asyncDispose]();
    expect(turns.slice(0, 5).map((turn) => turn.setBack)).toEqual([false, true, true, true, false]);
    expect(faults).toEqual(['duty: Error: no space', 'duty: Error: no space']);
  });

  test('a holder that comes after the clock was put back is told too', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const first = watched(store, { now: clock.now, holder: 'elsewhere:1:a' });
    first.duty.start();
    await expect.poll(() => first.turns.length).toBeGreaterThan(0);
    clock.pass(6_000); // time to renew, and to write what it has seen
    await expect
      .poll(async () => (await store.leases.look('duty'))?.seenAt, { timeout: 10_000 })
      .not.toBeNull();
    await first.duty[Symbol.asyncDispose]();
    clock.pass(-3_600_000);
    const second = watched(store, { now: clock.now, holder: 'elsewhere:2:b' });
    second.duty.start();
    await expect.poll(() => second.turns.length).toBeGreaterThan(0);
    await second.duty[Symbol.asyncDispose]();
    expect(second.turns[0]?.setBack).toBe(true);
  });

  test('is lost by one who slept through the lease', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const { duty, turns } = watched(store, { now: clock.now, holder: 'elsewhere:1:a' });
    duty.start();
    await expect.poll(() => turns.length).toBeGreaterThan(0);
    clock.pass(60_000);
    expect(await store.leases.acquire('duty', 'elsewhere:2:b', 20_000)).not.toBeNull();
    await expect.poll(() => duty.isHeld(), { timeout: 10_000 }).toBe(false);
    expect(turns.at(-1)?.signal.aborted).toBe(true);
    await duty[Symbol.asyncDispose]();
    expect((await store.leases.look('duty'))?.holder).toBe('elsewhere:2:b');
  });
});

describe('chores', () => {
  test('begin when due, never twice at once, and one that fails harms no other', async () => {
    const clock = handClock();
    const faults: string[] = [];
    const done: string[] = [];
    let finish: () => void = () => undefined;
    const long: Chore = {
      name: 'long',
      due: every(1_000),
      run: () =>
        new Promise((resolve) => {
          done.push('long');
          finish = resolve;
        }),
    };
    const bad: Chore = { name: 'bad', due: every(5_000), run: () => Promise.reject(new Error('no space')) };
    const chores = createChores({
      chores: [long, bad],
      now: clock.now,
      onFault: (detail) => faults.push(detail),
    });
    const { signal } = new AbortController();
    chores.look(signal);
    expect(done).toEqual([]);
    for (let second = 0; second < 5; second += 1) {
      clock.pass(1_000);
      chores.look(signal);
    }
    expect(done).toEqual(['long']);
    await expect.poll(() => faults).toEqual(['chore bad: Error: no space']);
    finish();
    await chores.ended();
    clock.pass(-3_600_000);
    chores.look(signal);
    expect(done).toEqual(['long', 'long']);
    let ended = false;
    void chores.ended().then(() => {
      ended = true;
    });
    await sleep(10);
    expect(ended).toBe(false);
    finish();
    await expect.poll(() => ended).toBe(true);
  });
});
