import { describe, expect, test } from 'vitest';
import { mysqlConfig, settingsOf } from '../../src/connectors/mysql/config.ts';
import { identifier, literal, withValues } from '../../src/connectors/mysql/sql-text.ts';
import { fieldType, sourceType, travelOf } from '../../src/connectors/mysql/types.ts';

const fields = { host: 'h', database: 'd', username: 'u', password: 'canary-7f3a' };

describe('config', () => {
  test('fields, with what is left open filled', () => {
    expect(settingsOf(mysqlConfig.parse(fields))).toEqual({
      host: 'h',
      port: 3306,
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
      zeroDates: 'text',
    });
  });

  test.each([
    [
      'mysql://u:p%40%2F@h/d',
      { host: 'h', port: 3306, database: 'd', username: 'u', password: 'p@/', ssl: 'prefer' },
    ],
    [
      'mariadb://u@[::1]:3307/my%20db?ssl-mode=VERIFY_CA&connect_timeout=3&charset=utf8mb4',
      { host: '::1', port: 3307, database: 'my db', password: '', ssl: 'verify-ca', connectTimeoutMs: 3000 },
    ],
    ['mysql://u:p@h/d?sslMode=VERIFY_IDENTITY', { ssl: 'verify-full' }],
    ['mysql://u:p@h/d?sslmode=require', { ssl: 'require' }],
    ['mysql://u:p@h/d?ssl=true', { ssl: 'require' }],
    ['mysql://u:p@h/d?useSSL=false', { ssl: 'disable' }],
  ])('the URL %s', (url, wanted) => {
    expect(settingsOf(mysqlConfig.parse({ url }))).toMatchObject(wanted);
  });

  test('ssl beside a URL wins over the one in it', () => {
    expect(
      settingsOf(mysqlConfig.parse({ url: 'mysql://u:p@h/d?ssl-mode=disabled', ssl: 'require' })).ssl,
    ).toBe('require');
  });

  test.each([
    'nonsense',
    'postgresql://u:canary-7f3a@h/d',
    'mysql://u:canary-7f3a@h',
    'mysql://h/d',
    'mysql://u:canary-7f3a@h1,h2/d',
    'mysql://u:canary-7f3a%@h/d',
    'mysql://u:canary-7f3a@h/d?ssl-mode=maybe',
    'mysql://u:canary-7f3a@h/d?ssl-ca=/etc/passwd',
    'mysql://u:canary-7f3a@h/d?multipleStatements=true',
    'mysql://u:canary-7f3a@h/d?password=canary-7f3a',
  ])('refused, its secret not repeated: %s', (url) => {
    let told = '';
    try {
      settingsOf(mysqlConfig.parse({ url }));
    } catch (error) {
      const { code, message, hint } = error as { code: string; message: string; hint: string };
      expect(code).toBe('invalid_config');
      told = `${message} ${hint}`;
    }
    expect(told).not.toBe('');
    expect(told).not.toContain('canary');
  });

  test.each([
    [{ url: 'mysql://u:p@h/d', host: 'h' }, /belongs into/],
    [{ url: 'mysql://u:p@h/d', password: 'x' }, /belongs into/],
    [{ host: 'h' }, /database|username/],
    [{ ...fields, port: 0 }, />=1/],
    [{ ...fields, ssl: 'always' }, /verify-ca/],
    [{ ...fields, zero_dates: 'zero' }, /reject/],
    [{ ...fields, pool: { min: 5, max: 2 } }, /max/],
    [{ ...fields, hots: 'x' }, /hots/],
    [{ ...fields, multipleStatements: true }, /multipleStatements/],
  ])('%j is refused', (config, word) => {
    const parsed = mysqlConfig.safeParse(config);
    expect(parsed.success).toBe(false);
    expect(JSON.stringify(parsed.error?.issues)).toMatch(word);
  });
});

describe('SQL', () => {
  test('a name is a name whatever it holds', () => {
    expect(identifier('a`b.c')).toBe('`a``b.c`');
  });

  test.each([
    ['2024-01-01 00:00:00.000000', "'2024-01-01 00:00:00.000000'"],
    ['plain', "'plain'"],
    ["it's", "_utf8mb4 X'69742773'"],
    ['back\\slash', "_utf8mb4 X'6261636b5c736c617368'"],
    ['é', "_utf8mb4 X'c3a9'"],
    ['line\n', "_utf8mb4 X'6c696e650a'"],
    ['', "_utf8mb4 X''"],
  ])('%j is a literal no mode reads otherwise', (text, sql) => {
    expect(literal(text)).toBe(sql);
  });

  test('values in the order of their places', () => {
    expect(withValues('SELECT ? AS a, ?, ?', ['x?y', 7, null])).toBe(
      "SELECT _utf8mb4 X'783f79' AS a, 7, NULL",
    );
    expect(withValues("SELECT '?'", [])).toBe("SELECT '?'");
  });
});

describe('types', () => {
  test.each([
    ['bigint(20) unsigned zerofill', { name: 'bigint', unsigned: true }],
    ["enum('a','unsigned','x)')", { name: 'enum', unsigned: false }],
    ['double precision', { name: 'double precision', unsigned: false }],
    ['BIT(64)', { name: 'bit', bits: 64 }],
    ['datetime(6)', { name: 'datetime' }],
  ])('%s', (written, wanted) => {
    expect(sourceType(written, null)).toMatchObject(wanted);
  });

  test.each([
    ['tinyint(1)', null, 'integer'],
    ['bigint unsigned', null, 'decimal'],
    ['bit(63)', null, 'integer'],
    ['bit(64)', null, 'decimal'],
    ['time(6)', null, 'text'],
    ['year', null, 'integer'],
    ['a_type_of_tomorrow', null, 'bytes'],
    ['a_type_of_tomorrow', 'utf8mb4', 'text'],
  ])('%s in %s lands as %s', (written, charset, lands) => {
    expect(travelOf(sourceType(written, charset)).type).toBe(lands);
  });

  test('a position that is not what it should be stays a harmless literal', () => {
    const { sql } = travelOf(sourceType('int', null));
    expect(sql('-12')).toBe('-12');
    expect(sql("1' OR 1")).toBe("_utf8mb4 X'3127204f522031'");
    expect(travelOf(sourceType('blob', null)).sql("'")).toBe("X'27'");
    expect(travelOf(sourceType('double', null)).sql('0.1')).toBe('0.1e0');
  });

  test('the type of a result', () => {
    const field = { name: 'n', schema: '', table: '', column: '', flags: 0, extended: null, format: null };
    expect(fieldType({ ...field, type: 246, collation: 63, length: 14, decimals: 2 }).sql).toBe(
      'decimal(12,2)',
    );
    expect(fieldType({ ...field, type: 246, collation: 63, length: 12, decimals: 0, flags: 32 }).sql).toBe(
      'decimal(12,0) unsigned',
    );
    expect(fieldType({ ...field, type: 253, collation: 45, length: 40, decimals: 0 })).toMatchObject({
      sql: 'varchar',
      charset: 'utf8mb4',
    });
    expect(fieldType({ ...field, type: 253, collation: 1032, length: 40, decimals: 0 })).toMatchObject({
      charset: 'latin1',
    });
    expect(fieldType({ ...field, type: 253, collation: 13, length: 40, decimals: 0 })).toMatchObject({
      charset: 'other',
    });
    expect(
      fieldType({ ...field, type: 252, collation: 45, length: 40, decimals: 0, format: 'json' }).name,
    ).toBe('json');
    expect(fieldType({ ...field, type: 12, collation: 63, length: 40, decimals: 6 }).sql).toBe('datetime(6)');
  });
});
