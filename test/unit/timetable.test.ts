import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createTimetable } from '../../src/connectors/timetable.ts';

/** Requests that are all there from the beginning, let go by timers that are late by what `lateMs` says. */
function departures(rate: number, count: number, lateMs: (n: number) => number): readonly number[] {
  const timetable = createTimetable(rate);
  const left: number[] = [];
  let now = 1_000;
  while (left.length < count) {
    const wait = timetable.waitMs(now);
    if (wait > 0) now += wait + lateMs(left.length);
    else {
      timetable.leave(now, 1_000);
      left.push(now);
    }
  }
  return left;
}

describe('a timetable', () => {
  const rates = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.double({ min: 0.1, max: 20, noNaN: true }));

  test('never lets more go in its window than the rate says, however late the timers are', () => {
    fc.assert(
      fc.property(
        rates,
        fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 50 }),
        (rate, late) => {
          const left = departures(rate, 300, (n) => late[n % late.length] ?? 0);
          const most = Math.max(1, Math.floor(rate));
          const windowMs = (most / rate) * 1000;
          for (let n = most; n < left.length; n += 1)
            expect((left[n] ?? 0) - (left[n - most] ?? 0)).toBeGreaterThan(windowMs);
        },
      ),
    );
  });

  test('loses next to nothing to timers that are late by a few milliseconds', () => {
    for (const rate of [0.5, 1, 7, 50, 200, 1_000]) {
      const count = Math.max(20, rate * 20);
      const left = departures(rate, count, (n) => n % 4);
      const used = (count - 1) / (((left.at(-1) ?? 0) - (left[0] ?? 0)) * (rate / 1000));
      expect(used, String(rate)).toBeGreaterThan(0.95);
    }
  });

  test('waits no longer than its window for others that did not ask', () => {
    const timetable = createTimetable(5);
    for (let n = 0; n < 1_000; n += 1) timetable.leave(10_000 + n, 10_000 + n);
    expect(timetable.waitMs(11_000)).toBeLessThan(1_050);
    expect(timetable.waitMs(12_050)).toBe(0);
  });

  test('lets a tenth of a second go at once after a rest, and the rest evenly', () => {
    const timetable = createTimetable(100);
    const left: number[] = [];
    for (let now = 5_000; now < 5_500; now += 1) {
      while (timetable.waitMs(now) === 0) {
        timetable.leave(now, 5_000);
        left.push(now);
      }
    }
    expect(left.filter((at) => at === 5_000).length).toBeLessThanOrEqual(11);
    expect(left.filter((at) => at > 5_000 && at <= 5_100).length).toBeLessThanOrEqual(10);
    expect(timetable.isIdle(5_500)).toBe(false);
    expect(timetable.isIdle(7_000)).toBe(true);
  });
});
