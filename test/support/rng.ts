/**
 * Randomness that can be had again. Every random test draws from one seeded generator and prints its seed when
 * it fails; `MILLRACE_TEST_SEED=<seed>` plays the same draws again.
 */

export interface Rng {
  readonly seed: number;
  /** A number in [0, 1). */
  next(): number;
  /** An integer in [low, high], both ends included. */
  int(low: number, high: number): number;
  /** True with that probability. */
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  /** A generator of its own, so that lanes running side by side do not disturb each other's draws. */
  fork(label: string): Rng;
}

/** The seed of this test run: from the environment, else new. */
export function testSeed(): number {
  const given = process.env['MILLRACE_TEST_SEED'];
  return given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
}

/** mulberry32: 32 bits of state are plenty for a test, and the whole of it can be printed. */
export function createRng(seed: number): Rng {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    seed,
    next,
    int: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: (probability) => next() < probability,
    pick: (items) => {
      const item = items[Math.floor(next() * items.length)];
      if (item === undefined) throw new Error('cannot pick from nothing');
      return item;
    },
    fork: (label) => createRng(seed ^ hash(label)),
  };
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const character of text) value = Math.imul(value ^ (character.codePointAt(0) ?? 0), 0x01000193);
  return value >>> 0;
}
