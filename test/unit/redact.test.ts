import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import { isSecretName, redact, Secret, scrub } from '../../src/core/redact.ts';

describe('a secret', () => {
  test('shows a mask however it is printed, and comes out in one way only', () => {
    const secret = new Secret('hunter2');
    const shown = [
      `${secret}`,
      String(secret),
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ deep: [secret] }),
      Object.keys(secret).join(),
    ];
    expect(shown.join('\n')).not.toContain('hunter2');
    expect(inspect({ deep: [secret] }, { showHidden: true, depth: 9 })).not.toContain('hunter2');
    expect(structuredClone({ ...secret })).toEqual({});
    expect(secret.expose()).toBe('hunter2');
  });
});

describe('names of credentials', () => {
  test.each([
    'password',
    'Password',
    'PGPASSWORD',
    'clientSecret',
    'client_secret',
    'X-Api-Key',
    'apiKey',
    'refresh_token',
    'tokens',
    'Authorization',
    'cookie',
    'private-key',
    'MILLRACE_MASTER_KEY',
    'passphrase',
    'pwd',
  ])('%s is one', (name) => {
    expect(isSecretName(name)).toBe(true);
  });
  test.each([
    'host',
    'primary_key',
    'token_url',
    'cursor',
    'key',
    'keyId',
    'passwords_changed_at',
    'secretary',
    'name',
    '',
  ])('%s is none', (name) => {
    expect(isSecretName(name)).toBe(false);
  });
});

describe('redacting', () => {
  test('masks by name at any depth, keeps references, empties and switches', () => {
    expect(
      redact({
        list: [{ deep: { deeper: { password: 'hunter2' } } }],
        token: { value: 'hunter2' },
        password: '${env:SHOP}',
        secret: null,
        cookie: false,
        pwd: 12345,
        plain: 'stays',
        when: new Date(0),
        big: 10n ** 30n,
        bytes: new Uint8Array(3),
        wrapped: new Secret('hunter2'),
        map: new Map([['a', 1]]),
      }),
    ).toEqual({
      list: [{ deep: { deeper: { password: '••••' } } }],
      token: '••••',
      password: '${env:SHOP}',
      secret: null,
      cookie: false,
      pwd: '••••',
      plain: 'stays',
      when: '1970-01-01T00:00:00.000Z',
      big: '1000000000000000000000000000000',
      bytes: '<3 bytes>',
      wrapped: '••••',
      map: [['a', 1]],
    });
  });

  test("drivers' errors keep code and words and nothing that hangs on them", () => {
    const cause = Object.assign(new Error('password authentication failed for "me"'), {
      code: '28P01',
      query: "ALTER USER me PASSWORD 'hunter2'",
      client: { connectionParameters: { password: 'hunter2' } },
    });
    const error = new MillraceError('auth_failed', 'The source refused postgres://me:hunter2@db/shop.', {
      hint: 'try password=hunter2',
      cause,
    });
    const shown = redact({ error, also: new AggregateError([cause], 'all of them') });
    expect(JSON.stringify(shown)).not.toContain('hunter2');
    expect(shown).toMatchObject({
      error: {
        name: 'MillraceError',
        code: 'auth_failed',
        message: 'The source refused postgres://me:••••@db/shop.',
        cause: { code: '28P01', at: expect.any(Array) },
      },
      also: { errors: [{ code: '28P01' }] },
    });
  });

  test('ends on circles, depth and length', () => {
    const circle: Record<string, unknown> = { name: 'me' };
    circle['self'] = circle;
    expect(redact(circle)).toEqual({ name: 'me', self: '…' });
    let deep: unknown = 'bottom';
    for (let level = 0; level < 1_000; level += 1) deep = { deep };
    expect(JSON.stringify(redact(deep)).length).toBeLessThan(200);
    expect(redact(Array.from({ length: 150 }, () => 1))).toHaveLength(101);
    expect(String(redact('x'.repeat(100_000))).length).toBeLessThan(9_000);
  });

  test('whatever it is given, it neither throws nor shows what stands under a secret name', () => {
    fc.assert(
      fc.property(
        fc.anything(),
        fc.constantFrom('password', 'apiKey', 'client_secret'),
        fc.nat(5),
        (value, name, depth) => {
          let nested: unknown = { [name]: 'hunter2', value };
          for (let level = 0; level < depth; level += 1) nested = level % 2 === 0 ? [nested] : { nested };
          expect(JSON.stringify(redact(nested))).not.toContain('hunter2');
        },
      ),
    );
  });
});

describe('scrubbing', () => {
  test.each([
    'could not connect to postgres://me:hunter2@db:5432/shop',
    'mysql://me:p@ss/hunter2@db/shop and more',
    'redis://:hunter2@cache',
    'host=db user=me password=hunter2 dbname=shop',
    "host=db password = 'it''s hunter2' dbname=shop",
    'PGPASSWORD=hunter2 psql',
    'GET /v1?page=2&api_key=hunter2&x=1',
    '{"user":"me","password":"a\\"hunter2"}',
    'Authorization: Bearer hunter2hunter2',
    'Basic hunter2hunter2==',
    '-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----',
  ])('%s', (text) => {
    const clean = scrub(text);
    expect(clean).not.toContain('hunter2');
    expect(clean).toContain('••••');
  });

  test.each([
    'relation "public.orders" does not exist',
    'connect ECONNREFUSED 10.0.0.7:5432',
    'password authentication failed for user "me"',
    'see https://example.com/a?page=2#top',
    'postgres://me@db/shop',
    'password=${env:SHOP_PASSWORD}',
    'mysql://me:${secret:shop.url.password}@db/shop',
  ])('leaves %s', (text) => {
    expect(scrub(text)).toBe(text);
  });

  test('a hostile text costs milliseconds', () => {
    const texts = [
      'a://b:'.repeat(20_000),
      'password='.repeat(20_000),
      `"password":"${'\\'.repeat(100_000)}`,
      '-----BEGIN PRIVATE KEY-----'.repeat(5_000),
      'a'.repeat(100_000),
    ];
    const started = performance.now();
    for (const text of texts) expect(scrub(text).length).toBeLessThan(20_000);
    expect(performance.now() - started).toBeLessThan(500);
  });
});
