import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { connectorTypes, findConnectorType } from '../../src/connectors/index.ts';
import { postgresConfig, settingsOf } from '../../src/connectors/postgresql/config.ts';
import { parseLookback } from '../../src/connectors/sql/lookback.ts';
import { plain, streamName } from '../../src/connectors/sql/names.ts';

const fields = { host: 'h', database: 'd', username: 'u', password: 'canary-7f3a' };

describe('config', () => {
  test('fields, with what is left open filled', () => {
    expect(settingsOf(postgresConfig.parse(fields))).toEqual({
      host: 'h',
      port: 5432,
      database: 'd',
      username: 'u',
      password: 'canary-7f3a',
      ssl: 'prefer',
      ca: undefined,
      schemas: [],
      poolMin: 2,
      poolMax: 10,
      statementTimeoutMs: 300_000,
      connectTimeoutMs: 10_000,
    });
  });

  test.each([
    [
      'postgresql://u:p%40%2F@h/d',
      { host: 'h', port: 5432, database: 'd', username: 'u', password: 'p@/', ssl: 'prefer' },
    ],
    [
      'postgres://u@[::1]:6543/my%20db?sslmode=verify-ca&connect_timeout=3&application_name=x',
      { host: '::1', port: 6543, database: 'my db', password: '', ssl: 'verify-ca', connectTimeoutMs: 3000 },
    ],
    ['postgresql://u:p@h/d?sslmode=allow', { ssl: 'prefer' }],
    ['postgresql://u:p@h/d?ssl=true', { ssl: 'require' }],
  ])('the URL %s', (url, wanted) => {
    expect(settingsOf(postgresConfig.parse({ url }))).toMatchObject(wanted);
  });

  test('ssl beside a URL wins over the one in it', () => {
    expect(
      settingsOf(postgresConfig.parse({ url: 'postgresql://u:p@h/d?sslmode=disable', ssl: 'require' })).ssl,
    ).toBe('require');
  });

  test.each([
    'nonsense',
    'mysql://u:canary-7f3a@h/d',
    'postgresql://u:canary-7f3a@h',
    'postgresql://h/d',
    'postgresql://u:canary-7f3a@h1,h2/d',
    'postgresql://u:canary-7f3a%@h/d',
    'postgresql://u:canary-7f3a@h/d?sslmode=maybe',
    'postgresql://u:canary-7f3a@h/d?sslrootcert=/etc/passwd',
    'postgresql://u:canary-7f3a@h/d?options=-csearch_path%3Dx',
    'postgresql://u:canary-7f3a@h/d?password=canary-7f3a',
  ])('refused, its secret not repeated: %s', (url) => {
    let told = '';
    try {
      settingsOf(postgresConfig.parse({ url }));
    } catch (error) {
      const { code, message, hint } = error as { code: string; message: string; hint: string };
      expect(code).toBe('invalid_config');
      told = `${message} ${hint}`;
    }
    expect(told).not.toBe('');
    expect(told).not.toContain('canary');
  });

  test.each([
    [{ url: 'postgresql://u:p@h/d', host: 'h' }, /"url"/],
    [{ url: 'postgresql://u:p@h/d', password: 'x' }, /"url"/],
    [{ host: 'h' }, /database|username/],
    [{ ...fields, port: 0 }, />=1/],
    [{ ...fields, ssl: 'always' }, /prefer/],
    [{ ...fields, pool: { min: 5, max: 2 } }, /max/],
    [{ url: 'postgresql://u:p@h/d', pool: { min: 5, max: 2 } }, /max/],
    [{ ...fields, hots: 'x' }, /hots/],
  ])('refused: %j', (config, told) => {
    const result = postgresConfig.safeParse(config);
    expect(result.success).toBe(false);
    expect(z.prettifyError(result.error as z.ZodError)).toMatch(told);
  });

  test.each([
    [{}, { min: 2, max: 10 }],
    [{ max: 1 }, { min: 1, max: 1 }],
    [{ max: 5 }, { min: 2, max: 5 }],
    [
      { min: 0, max: 1 },
      { min: 0, max: 1 },
    ],
  ])('a pool of %j', (pool, told) => {
    expect(postgresConfig.parse({ ...fields, pool }).pool).toEqual(told);
  });

  test('every field is described, and the schema can be shown', () => {
    const schema = z.toJSONSchema(postgresConfig, { io: 'input' }) as {
      properties: Record<string, { description?: string }>;
      additionalProperties: boolean;
    };
    expect(schema.additionalProperties).toBe(false);
    for (const [name, property] of Object.entries(schema.properties))
      expect(property.description, name).toBeTruthy();
    expect(Object.keys(schema.properties).toSorted()).toEqual([
      'ca',
      'connect_timeout_ms',
      'database',
      'host',
      'password',
      'pool',
      'port',
      'schemas',
      'ssl',
      'statement_timeout_ms',
      'url',
      'username',
    ]);
  });
});

describe('the list of types', () => {
  test('names PostgreSQL, and an unknown name is answered with the nearest', () => {
    expect(connectorTypes.map(({ type }) => type)).toContain('postgresql');
    expect(findConnectorType('postgresql').secrets).toEqual(['password', 'url']);
    expect(() => findConnectorType('postgres')).toThrow(
      expect.objectContaining({ code: 'invalid_config', hint: expect.stringContaining('"postgresql"') }),
    );
  });

  test('a position as a person wants to see it', () => {
    const { showCursor } = findConnectorType('postgresql');
    expect(showCursor('{"v":1,"phase":"settled","of":"x","mark":"2024-01-01 00:00:00+00","held":[]}')).toBe(
      '2024-01-01 00:00:00+00',
    );
    expect(
      showCursor('{"v":1,"phase":"load","of":"x","bound":{"mark":"5","held":[]},"after":["1"]}'),
    ).toBeNull();
    expect(showCursor('{"v":1,"phase":"replace"}')).toBeNull();
    for (const foreign of ['{"v":2}', 'x', '{"v":1,"phase":"other"}']) {
      expect(() => showCursor(foreign)).toThrow(
        expect.objectContaining({ code: 'cursor_invalid', hint: expect.stringContaining('full_refresh') }),
      );
    }
  });
});

describe('names and windows', () => {
  test.each([
    ['Orders', 'orders'],
    ['Ünï Cödé!', 'uni_code'],
    ['1st', 'st'],
    ['订单', 'stream'],
    ['x'.repeat(100), 'x'.repeat(63)],
    ['_a_', 'a'],
  ])('%s becomes the stream %s', (table, name) => {
    expect(streamName(table)).toBe(name);
    const second = streamName(table, new Set([name]));
    expect(second).toMatch(/^[a-z][a-z0-9_]*_2$/);
    expect(second.length).toBeLessThanOrEqual(63);
  });

  test.each([
    ['5m', { kind: 'time', ms: 300_000 }],
    ['1.5h', { kind: 'time', ms: 5_400_000 }],
    [' 250 ms ', { kind: 'time', ms: 250 }],
    [1000, { kind: 'number', by: '1000' }],
    [0.25, { kind: 'number', by: '0.25' }],
    [1e21, { kind: 'number', by: '1000000000000000000000' }],
  ] as const)('the look-back %j', (value, wanted) => {
    expect(parseLookback(value)).toEqual(wanted);
  });

  test.each(['5', 'five minutes', '-5m', -1, Number.NaN, Number.POSITIVE_INFINITY])(
    'no look-back: %j',
    (value) => {
      expect(() => parseLookback(value)).toThrow(expect.objectContaining({ code: 'invalid_config' }));
    },
  );

  test('plain text', () => {
    expect(plain('a\u0000b\u202Ec\r\nd. ', 80)).toBe('a b c d');
    expect(plain('x'.repeat(90), 10)).toHaveLength(10);
  });
});
