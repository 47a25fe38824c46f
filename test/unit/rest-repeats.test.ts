import { describe, expect, it } from 'vitest';
import { createRepeats } from '../../src/connectors/rest-api/repeats.ts';

/** Rows that two windows of time both answer, where no key tells it. */

describe('rows of one window in the next', () => {
  it('are known as often as they came, and only there', () => {
    const repeats = createRepeats();
    for (const row of [['a'], ['a'], ['b']]) repeats.remember(row);
    expect(repeats.again(['a'])).toBe(false);
    repeats.turn();
    expect([['a'], ['a'], ['a'], ['b'], ['c']].map((row) => repeats.again(row))).toEqual([
      true,
      true,
      false,
      true,
      false,
    ]);
    repeats.turn();
    expect(repeats.again(['a'])).toBe(false);
    expect(repeats.notices()).toEqual([]);
  });

  it('are kept up to a number, equal ones as one; that there were more is said', () => {
    const repeats = createRepeats(2);
    for (const row of [['a'], ['b'], ['b']]) repeats.remember(row);
    expect(repeats.notices()).toEqual([]);
    repeats.remember(['c']);
    repeats.remember(['a']);
    repeats.turn();
    expect([['a'], ['a'], ['b'], ['b'], ['c']].map((row) => repeats.again(row))).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
    expect(repeats.notices().join()).toContain('2 different rows');
    expect(repeats.notices().join()).toContain('"window"');
    // Each window has as many.
    repeats.remember(['c']);
    repeats.turn();
    expect(repeats.again(['c'])).toBe(true);
  });
});
