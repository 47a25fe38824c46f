import fc from 'fast-check';
import { expect, it } from 'vitest';
import { compareMarks } from '../../src/connectors/rest-api/marks.ts';

/** How far an API has been read: values of the cursor, in their order. */

it('law: times finer than a microsecond are in the order of time, however they are written', () => {
  const written = fc
    .record({
      ns: fc.bigInt({ min: 0n, max: 3_000_000_000n }),
      zone: fc.integer({ min: -840, max: 840 }),
      more: fc.nat(3),
    })
    .map(({ ns, zone, more }) => {
      const whole = ns / 1_000_000_000n;
      const fraction = `${String(ns % 1_000_000_000n)
        .padStart(9, '0')
        .replace(/0+$/, '')}${'0'.repeat(more)}`;
      const local = new Date((1_700_000_000 + Number(whole) + zone * 60) * 1000).toISOString().slice(0, 19);
      const [hours, minutes] = [Math.floor(Math.abs(zone) / 60), Math.abs(zone) % 60];
      const offset = `${zone < 0 ? '-' : '+'}${String(hours).padStart(2, '0')}:${String(minutes).padStart(2, '0')}`;
      return { ns, text: `${local}${fraction === '' ? '' : `.${fraction}`}${zone === 0 ? 'Z' : offset}` };
    });
  fc.assert(
    fc.property(written, written, (one, other) => {
      const order = one.ns < other.ns ? -1 : one.ns > other.ns ? 1 : 0;
      expect(Math.sign(compareMarks(one.text, other.text, 'text')), `${one.text} ${other.text}`).toBe(order);
    }),
    { numRuns: 2_000 },
  );
});

it('times are compared with whatever way of writing an offset, and without seconds', () => {
  expect(compareMarks('2024-01-03T10:00:00.1234567+02', '2024-01-03T09:00:00.7654321Z', 'text')).toBeLessThan(
    0,
  );
  expect(compareMarks('2024-01-03 10:00+0200', '2024-01-03T08:00:00.0000001Z', 'text')).toBeLessThan(0);
});
