import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { asMillraceError, ERROR_CODES, faultOf, MillraceError } from '../../src/core/errors.ts';
import { nearest, suggestion } from '../../src/core/nearest.ts';
import { createHostRules } from '../../src/core/network.ts';
import { backoffMs } from '../../src/core/retry.ts';
import { earlierStream, registerSchema, streamSchema } from '../../src/core/schema.ts';
import { validate } from '../../src/core/validate.ts';

describe('errors', () => {
  it('cross a thread as plain data and come back the same', () => {
    const error = new MillraceError('auth_failed', 'refused', {
      hint: 'mend it',
      nextActions: [{ tool: 'test_connector', arguments: {}, why: 'see' }],
    });
    const view = structuredClone(error.toView());
    expect(MillraceError.fromView(view).toView()).toEqual(error.toView());
    expect(view).toMatchObject({ code: 'auth_failed', retryable: false, who: 'person' });
  });

  it('keep what nobody classified away from the outside, and its stack for the log', () => {
    const cause = new Error('password=hunter2');
    const error = asMillraceError(new Error('outer', { cause }));
    expect(JSON.stringify(error.toView())).not.toContain('hunter2');
    expect(faultOf(error)).toContain('hunter2');
    expect(asMillraceError(error)).toBe(error);
  });

  it('say for every code what it means and who mends it', () => {
    for (const entry of Object.values(ERROR_CODES)) {
      expect(entry.meaning).toMatch(/^[a-z].*[^.]$/);
      expect(['retry', 'abort', 'reject']).toContain(entry.recovery);
    }
  });
});

describe('nearest', () => {
  it('finds what was meant and nothing far-fetched', () => {
    expect(nearest('pasword', ['password', 'port', 'host'])).toEqual(['password']);
    expect(nearest('orders', ['public.orders', 'invoices'])).toEqual(['public.orders']);
    expect(nearest('zzzzzz', ['password', 'port'])).toEqual([]);
    expect(suggestion('x', [])).toBe('');
    expect(suggestion('zzzzzz', ['a', 'b'])).toBe('Known: "a", "b".');
  });
});

describe('validate', () => {
  const schema = z.strictObject({ host: z.string(), nested: z.strictObject({ min: z.number() }).optional() });

  it('names the place and the nearest key', () => {
    expect(() => validate(schema, { hots: 'x' }, 'The config')).toThrow(
      /unknown option "hots" \(Did you mean "host"\?\)/,
    );
    expect(() => validate(schema, { host: 'x', nested: { mni: 1, min: 1 } }, 'The config')).toThrow(
      /"nested.mni" \(Did you mean "min"\?\)/,
    );
    expect(() => validate(schema, { host: 1 }, 'The config')).toThrow(/host: /);
  });

  it('returns what holds', () => {
    expect(validate(schema, { host: 'x' }, 'The config')).toEqual({ host: 'x' });
  });
});

describe('backoff', () => {
  it('lies between zero and an exponentially growing ceiling that is capped', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        (attempt, random) => {
          const delay = backoffMs(attempt, [1_000, 60_000], () => random);
          expect(delay).toBeGreaterThanOrEqual(0);
          expect(delay).toBeLessThanOrEqual(Math.min(60_000, 1_000 * 2 ** (attempt - 1)));
        },
      ),
    );
  });
});

describe('host rules', () => {
  it.each([
    [['db.example.com'], 'DB.example.com', 5432, true],
    [['db.example.com:5432'], 'db.example.com', 5433, false],
    [['*.example.com'], 'a.b.example.com', 1, true],
    [['*.example.com'], 'example.com', 1, false],
    [['10.0.0.0/8'], '10.255.1.2', 1, true],
    [['10.0.0.0/8'], '11.0.0.1', 1, false],
    [['2001:db8::/32'], '2001:db8::1', 1, true],
    [['[::1]:5432'], '::1', 5432, true],
    [['::1'], '::1', 9, true],
    [[], 'anything', 1, true],
    [[], '169.254.169.254', 80, false],
    [['169.254.169.254'], '169.254.169.254', 80, false],
    [[], 'fe80::1', 1, false],
    [[], '[fe80::1]', 1, false],
  ] as const)('%j lets %s:%d through: %s', (allow, host, port, passes) => {
    const check = createHostRules(allow);
    if (passes) expect(() => check(host, port)).not.toThrow();
    else expect(() => check(host, port)).toThrow(expect.objectContaining({ code: 'host_not_allowed' }));
  });
});

describe('schemas', () => {
  it('take either a table or a query', () => {
    expect(() => streamSchema.parse({ name: 'a' })).toThrow();
    expect(() => streamSchema.parse({ name: 'a', table: 't', query: 'select 1' })).toThrow();
    expect(streamSchema.parse({ name: 'a', table: 't' })).toEqual({ name: 'a', table: 't' });
  });

  it('turn the earlier shape into one stream', () => {
    const given = registerSchema.parse({
      name: 'shop',
      type: 'postgresql',
      config: {},
      table: 'public."Order Items"',
      incremental: true,
      timestamp_column: 'updated_at',
    });
    expect(earlierStream(given)).toEqual({
      name: 'order_items',
      table: 'public."Order Items"',
      cursor: 'updated_at',
    });
    expect(earlierStream({ name: 'shop', table: '2024', incremental: false, timestamp_column: 't' })).toEqual(
      { name: 'rows', table: '2024', mode: 'replace' },
    );
    expect(earlierStream({ name: 'shop', query: 'select 1' })).toEqual({ name: 'rows', query: 'select 1' });
    expect(earlierStream({ name: 'shop' })).toBeNull();
  });
});
