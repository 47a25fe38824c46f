import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  afterPassedTest,
  afterRun,
  BREAKER_RULES,
  type Breaker,
  type RunEnd,
  stateOf,
} from '../../src/core/breaker.ts';
import { ERROR_CODES, type ErrorCode, type ErrorView, MillraceError } from '../../src/core/errors.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

const errorOf = (code: ErrorCode): ErrorView => new MillraceError(code, code, { hint: 'mend it' }).toView();
const failed = (...codes: readonly ErrorCode[]): RunEnd => ({ status: 'failed', errors: codes.map(errorOf) });

const anyRules = fc.record({
  failures: fc.integer({ min: 1, max: 8 }),
  openMs: fc.integer({ min: 1, max: DAY_MS }),
});
/** Of the source's own, without refused logins. */
const passing = fc.constantFrom<ErrorCode>(
  'host_unreachable',
  'timeout',
  'connection_lost',
  'permission_denied',
);
const ours = fc.constantFrom<ErrorCode>(
  'disk_full',
  'destination_failed',
  'destination_busy',
  'data_dir_unusable',
  'run_lost',
  'internal',
  'secret_missing',
);
const anyEnd = fc.record({
  status: fc.constantFrom('succeeded' as const, 'partial' as const, 'failed' as const, 'cancelled' as const),
  errors: fc.array(fc.constantFrom(...(Object.keys(ERROR_CODES) as ErrorCode[])).map(errorOf), {
    maxLength: 3,
  }),
});
const step = fc.record({ end: anyEnd, afterMs: fc.integer({ min: 0, max: 3 * DAY_MS }) });

/** A breaker that some history has led to, and when. */
const anyHistory = fc
  .record({ rules: anyRules, steps: fc.array(step, { maxLength: 12 }) })
  .map(({ rules, steps }) => {
    let now = 1_000_000;
    let breaker: Breaker | null = null;
    for (const { end, afterMs } of steps) {
      now += afterMs;
      breaker = afterRun(breaker, end, { rules, now });
    }
    return { rules, now, breaker };
  });

describe('laws', () => {
  test('a run that got something closes it, one that was stopped changes nothing', () => {
    fc.assert(
      fc.property(anyHistory, anyEnd, ({ rules, now, breaker }, end) => {
        const ended = (status: RunEnd['status']) => afterRun(breaker, { ...end, status }, { rules, now });
        expect(ended('succeeded')).toBeNull();
        expect(ended('partial')).toBeNull();
        expect(ended('cancelled')).toBe(breaker);
      }),
    );
  });

  test('what failed on our side neither opens nor closes it', () => {
    fc.assert(
      fc.property(anyHistory, fc.array(ours, { maxLength: 3 }), ({ rules, now, breaker }, codes) => {
        expect(afterRun(breaker, failed(...codes), { rules, now })).toBe(breaker);
      }),
    );
  });

  test('it opens with the failure that was one too many in a row, not before, and for the time stated', () => {
    fc.assert(
      fc.property(
        anyRules,
        fc.array(fc.tuple(passing, ours), { minLength: 8, maxLength: 8 }),
        (rules, codes) => {
          let breaker: Breaker | null = null;
          for (const [index, [code, mistake]] of codes.slice(0, rules.failures).entries()) {
            expect(stateOf(breaker, index)).toBe('closed');
            breaker = afterRun(breaker, failed(code), { rules, now: index });
            breaker = afterRun(breaker, failed(mistake), { rules, now: index });
          }
          const opened = rules.failures - 1;
          expect(breaker).toMatchObject({
            failures: rules.failures,
            open: { since: opened, until: opened + rules.openMs },
          });
        },
      ),
    );
  });

  test('a refused login opens it at once, whatever else failed', () => {
    fc.assert(
      fc.property(anyHistory, fc.array(passing, { maxLength: 2 }), ({ rules, now, breaker }, codes) => {
        const after = afterRun(breaker, failed(...codes, 'auth_failed'), { rules, now });
        expect(stateOf(after, now)).toBe('open');
        expect(after?.error.code).toBe('auth_failed');
      }),
    );
  });

  test('open until its time, half open from then on; a failed probe opens it again, a good one closes it', () => {
    fc.assert(
      fc.property(anyHistory, passing, ({ rules, now, breaker }, code) => {
        fc.pre(breaker?.open !== undefined);
        const until = breaker?.open?.until ?? 0;
        expect(stateOf(breaker, until - 1)).toBe('open');
        expect(stateOf(breaker, until)).toBe('half_open');
        const probed = Math.max(now, until);
        const after = afterRun(breaker, failed(code), { rules, now: probed });
        expect(after?.open).toEqual({ since: probed, until: probed + rules.openMs });
        expect(after?.failures).toBe((breaker?.failures ?? 0) + 1);
      }),
    );
  });

  test('no failure makes the rest shorter', () => {
    fc.assert(
      fc.property(anyHistory, anyEnd, ({ rules, now, breaker }, end) => {
        const after = afterRun(breaker, { ...end, status: 'failed' }, { rules, now });
        expect(after?.open?.until ?? 0).toBeGreaterThanOrEqual(breaker?.open?.until ?? 0);
      }),
    );
  });

  test('logins that are refused at every probe: twice as long each time, up to a day', () => {
    fc.assert(
      fc.property(anyRules, fc.integer({ min: 1, max: 40 }), (rules, probes) => {
        let breaker: Breaker | null = null;
        let now = 0;
        for (let probe = 0; probe < probes; probe += 1) {
          breaker = afterRun(breaker, failed('auth_failed'), { rules, now });
          const rest = Math.max(rules.openMs, Math.min(rules.openMs * 2 ** probe, DAY_MS));
          expect(breaker?.open).toEqual({ since: now, until: now + rest });
          now = breaker?.open?.until ?? 0;
        }
        // With the usual rest an account sees fewer logins in its first day than a lockout counts.
        expect(logins(BREAKER_RULES.openMs, DAY_MS)).toBeLessThanOrEqual(9);
      }),
    );
  });

  test('a test that passes makes the next run the probe at once, and changes nothing else', () => {
    fc.assert(
      fc.property(anyHistory, ({ now, breaker }) => {
        const after = afterPassedTest(breaker, now);
        expect(stateOf(after, now)).toBe(breaker?.open === undefined ? 'closed' : 'half_open');
        expect(after === null).toBe(breaker === null);
        expect(after?.failures).toBe(breaker?.failures);
        expect(after?.error).toBe(breaker?.error);
        expect(afterPassedTest(after, now)).toBe(after);
      }),
    );
  });
});

/** How often a wrong password is tried within a time, every probe being made as soon as it may. */
function logins(openMs: number, withinMs: number): number {
  let breaker: Breaker | null = null;
  let count = 0;
  for (let now = 0; now < withinMs; now = breaker?.open?.until ?? withinMs) {
    breaker = afterRun(breaker, failed('auth_failed'), { rules: { failures: 5, openMs }, now });
    count += 1;
  }
  return count;
}
