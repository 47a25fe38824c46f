import { expect, test } from 'vitest';
import { createTenure, type Turn } from '../../src/engine/tenure.ts';
import { handClock, open, scratch } from './store-support.ts';

/** What was acted on has to be known before anything is done: who did it may be gone a moment later. */
test('a clock put back is noticed though the one who saw the time before died in his first turn', async () => {
  using folder = scratch();
  const clock = handClock();
  await using store = await open(folder.file, clock.now);
  const turns: Turn[] = [];
  const next = (holder: string): Promise<number> =>
    createTenure({
      name: 'duty',
      holder: `elsewhere:${holder}`,
      leases: store.leases,
      now: clock.now,
      act: async (turn) => void turns.push(turn),
      onFault: expect.unreachable,
    }).turn();
  await next('1');
  clock.pass(-3_600_000);
  await next('2');
  clock.pass(5 * 3_600_000); // wrong, and soon corrected
  await next('3');
  clock.pass(-4 * 3_600_000);
  await next('4');
  expect(turns.map(({ setBack }) => setBack)).toEqual([false, true, false, true]);
});

test('a clock put back is told to the next when the one who noticed could do nothing about it', async () => {
  using folder = scratch();
  const clock = handClock();
  await using store = await open(folder.file, clock.now);
  const told: boolean[] = [];
  const faults: string[] = [];
  const next = (holder: string, { fails }: { readonly fails: boolean }): Promise<number> =>
    createTenure({
      name: 'duty',
      holder: `elsewhere:${holder}`,
      leases: store.leases,
      now: clock.now,
      async act({ setBack }) {
        told.push(setBack);
        if (fails) throw new Error('no space');
        return undefined;
      },
      onFault: (detail) => faults.push(detail),
    }).turn();
  await next('1', { fails: false });
  clock.pass(-3_600_000);
  await next('2', { fails: true });
  clock.pass(20_000);
  await next('3', { fails: false });
  expect(told).toEqual([false, true, true]);
  expect(faults).toEqual(['duty: Error: no space']);
});
