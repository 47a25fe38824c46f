import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { clockChanges, clockNotes } from '../../src/core/clock-changes.ts';
import { assertComes, parseCron } from '../../src/core/cron.ts';
import type { MillraceError } from '../../src/core/errors.ts';

/** North, south, half an hour, a jump at midnight, and none. */
const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'America/Santiago', 'Asia/Tokyo'];
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** Every minute of some days: when it is, and what a clock on the wall shows. */
interface Minute {
  readonly at: number;
  readonly day: string;
  readonly time: string;
}

const walls = new Map<string, readonly Minute[]>();

/** Four days around `middle`, from Intl alone: nothing of what is under test. */
function wall(zone: string, middle: number): readonly Minute[] {
  const key = `${zone} ${middle}`;
  const known = walls.get(key);
  if (known) return known;
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
  const minutes = Array.from({ length: (4 * DAY_MS) / MINUTE_MS }, (_, index) => {
    const at = middle - 2 * DAY_MS + index * MINUTE_MS;
    const [day = '', time = ''] = format.format(at).split(' ');
    return { at, day, time };
  });
  walls.set(key, minutes);
  return minutes;
}

/** The rule as the README states it, minute by minute. */
function expected(
  minutes: readonly Minute[],
  hours: readonly number[] | null,
  at: readonly number[],
): number[] {
  const two = (value: number): string => String(value).padStart(2, '0');
  const isMeant = ({ time }: Minute): boolean =>
    at.includes(Number(time.slice(3))) && (hours === null || hours.includes(Number(time.slice(0, 2))));
  if (hours === null) return minutes.filter(isMeant).map((minute) => minute.at);
  const times = new Set<number>();
  for (const day of new Set(minutes.map((minute) => minute.day))) {
    for (const time of hours.flatMap((hour) => at.map((minute) => `${two(hour)}:${two(minute)}`))) {
      const first =
        minutes.find((minute) => minute.day === day && minute.time === time) ??
        minutes.find((minute) => minute.day > day || (minute.day === day && minute.time > time));
      if (first) times.add(first.at);
    }
  }
  return [...times].sort((a, b) => a - b);
}

/** Days on which clocks change, and one on which none does. */
const middles = ZONES.flatMap((zone) => [
  ...clockChanges(zone, new Date('2027-01-01T00:00:00Z'), new Date('2028-01-01T00:00:00Z')).map(({ at }) => ({
    zone,
    middle: Math.floor(at.getTime() / DAY_MS) * DAY_MS,
  })),
  { zone, middle: Date.parse('2027-06-15T00:00:00Z') },
]);

const some = (max: number, most: number): fc.Arbitrary<number[]> =>
  fc.uniqueArray(fc.nat(max), { minLength: 1, maxLength: most });

describe('the times of a schedule', () => {
  test('four of the five zones change their clocks twice a year', () => {
    expect(middles.length).toBe(4 * 2 + 5);
  });

  test('are those of the stated rule, through every change of the clocks', () => {
    let crossed = 0;
    fc.assert(
      fc.property(
        fc.constantFrom(...middles),
        some(59, 3),
        fc.oneof(fc.constant(null), some(5, 3), some(23, 3)),
        ({ zone, middle }, minutes, hours) => {
          const schedule = `${minutes.join(',')} ${hours?.join(',') ?? '*'} * * *`;
          const times = parseCron(schedule, zone);
          // A day at either end is left out: what it jumps to may lie outside.
          const [from, until] = [middle - DAY_MS, middle + DAY_MS];
          const wanted = expected(wall(zone, middle), hours, minutes).filter(
            (at) => at >= from && at < until,
          );
          const found: number[] = [];
          let next = times.nextAfter(new Date(from - 1_000));
          while (next !== null && next.getTime() < until) {
            found.push(next.getTime());
            next = times.nextAfter(next);
          }
          expect(found, `${schedule} in ${zone}`).toEqual(wanted);
          crossed += 1;
        },
      ),
      { numRuns: 300 },
    );
    expect(crossed).toBeGreaterThanOrEqual(300);
  });

  test('the newest up to a moment is the one that the next ones were counted to', () => {
    const schedules = fc.constantFrom(
      ...[
        '30 2 * * *',
        '*/7 * * * *',
        '15,45 0-3 * * *',
        '*/20 * * * * *',
        '0 0 L * *',
        '0 12 * * FRI#2',
        '@hourly',
      ],
      ...['0 9 15W * *', '5 0 * * MON-FRI', '45 1 * * *', '0 0 * JAN,JUL SUN'],
    );
    const moments = fc.oneof(
      fc
        .constantFrom(...middles)
        .chain(({ middle }) => fc.integer({ min: -DAY_MS, max: DAY_MS }).map((by) => middle + by)),
      fc.integer({ min: Date.parse('2026-01-01'), max: Date.parse('2036-01-01') }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...ZONES), schedules, moments, (zone, schedule, moment) => {
        const times = parseCron(schedule, zone);
        const at = new Date(moment);
        const latest = times.latestUpTo(at);
        if (latest === null) throw new Error('there is always an earlier one');
        expect(latest.getTime()).toBeLessThanOrEqual(moment);
        expect(times.nextAfter(new Date(latest.getTime() - 1))).toEqual(latest);
        expect(times.nextAfter(latest)?.getTime()).toBeGreaterThan(moment);
        expect(times.latestUpTo(latest)).toEqual(latest);
      }),
      { numRuns: 500 },
    );
  });

  test('a second-wise schedule after ten years is as cheap as after a second', () => {
    const times = parseCron('* * * * * *', 'Europe/Berlin');
    const at = new Date('2036-11-02T08:00:00.400Z');
    expect(times.latestUpTo(at)).toEqual(new Date('2036-11-02T08:00:00.000Z'));
  });
});

describe('what cannot be read', () => {
  const refused = (schedule: string, zone = 'UTC'): MillraceError => {
    try {
      assertComes(parseCron(schedule, zone), schedule, new Date('2026-11-02T08:00:00Z'));
    } catch (error) {
      return error as MillraceError;
    }
    throw new Error(`"${schedule}" in ${zone} was taken`);
  };

  test.each([
    ['', 'has not five or six fields'],
    ['* * *', 'has not five or six fields'],
    ['0 0 1 1 * * 2030', 'has not five or six fields'],
    ['2030-01-01T00:00:00', 'has not five or six fields'],
    ['61 * * * *', 'Invalid value for minute: 61'],
    ['0 0 * * NOD', 'illegal characters'],
    ['@reboot', 'not supported'],
    ['0 0 31 2 *', 'never comes'],
  ])('%s', (schedule, said) => {
    const error = refused(schedule);
    expect(error.code).toBe('invalid_config');
    expect(error.message).toContain(said);
    const example = /"([^"]+)" for every quarter/.exec(error.hint)?.[1] ?? '';
    expect(parseCron(example, 'UTC').nextAfter(new Date(0))).toEqual(new Date(900_000));
  });

  test('zones, with the nearest there is', () => {
    expect(refused('@daily', 'Europe/Berln').hint).toContain('Did you mean "Europe/Berlin"');
    expect(refused('@daily', '+02:00').message).toContain('There is no time zone "+02:00"');
  });
});

describe('in words', () => {
  const from = new Date('2026-11-30T12:00:00Z');

  test('a time that is jumped over, and one that is repeated', () => {
    const [spring, autumn] = clockNotes('30 2 * * *', 'Europe/Berlin', from);
    expect(spring).toContain('On 2027-03-28 the clocks in Europe/Berlin go forward from 02:00 to 03:00');
    expect(spring).toContain('02:30 is not there that day, and one run comes at 03:00 instead');
    expect(spring).toContain('60 minutes earlier in UTC');
    expect(autumn).toContain(
      'go back from 03:00 to 02:00: 02:30 comes twice, and the run only the first time',
    );
  });

  test('half an hour, in the south', () => {
    expect(clockNotes('15 2 * * *', 'Australia/Lord_Howe', from)).toEqual([
      expect.stringContaining(
        'On 2027-04-04 the clocks in Australia/Lord_Howe go back from 02:00 to 01:30: no time',
      ),
      expect.stringContaining(
        'go forward from 02:00 to 02:30: 02:15 is not there that day, and one run comes at 02:30',
      ),
    ]);
  });

  test('an interval goes on in real time', () => {
    const notes = clockNotes('*/15 * * * *', 'America/New_York', from);
    expect(notes).toHaveLength(2);
    expect(notes.every((note) => note.includes('the interval goes on in real time'))).toBe(true);
  });

  test('nothing where clocks never change', () => {
    expect(clockNotes('30 2 * * *', 'Asia/Tokyo', from)).toEqual([]);
    expect(clockNotes('30 2 * * *', 'UTC', from)).toEqual([]);
  });
});
