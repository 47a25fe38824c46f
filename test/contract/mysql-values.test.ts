import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Session } from '../../src/connectors/mysql/session.ts';
import type { Value } from '../../src/core/types.ts';
import { freshMysql, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { createRng, type Rng, testSeed } from '../support/rng.ts';
import { openSession, readBack, shown } from './mysql-types-support.ts';

/** Values that no list has: at random, in every character set, at every change of clocks, in no calendar. */

describe.each(mysqlKinds)('%s', (kind) => {
  let database: TestMysql;
  let session: Session & AsyncDisposable;

  beforeAll(async () => {
    database = await freshMysql(kind);
    session = await openSession(database.config);
  });

  afterAll(async () => {
    await session[Symbol.asyncDispose]();
    await database.drop();
  });

  const fill = async (statements: readonly string[]): Promise<void> => {
    const connection = await database.pool.getConnection();
    try {
      // What was allowed when a table was filled need not be allowed today.
      await connection.query("SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'");
      for (const statement of statements) await connection.query(statement);
    } finally {
      connection.destroy();
    }
  };

  test('5,000 random rows of eleven types', async () => {
    const rng = createRng(testSeed());
    const numbers: { readonly double: number; readonly float: number }[] = [];
    const rows = Array.from({ length: 5_000 }, (_, id) => {
      const double = randomDouble(rng);
      const float = randomFloat(rng);
      numbers.push({ double, float });
      return `(${id}, ${double}, ${float}, ${randomRow(rng).join(', ')})`;
    });
    await fill([
      `CREATE TABLE random (id int PRIMARY KEY, d double, f float, i bigint, u bigint unsigned, n decimal(65,30),
         dt datetime(6), ts timestamp(6) NULL, tm time(6), t varchar(60), b varbinary(60), x bit(64), e bit(63))`,
      ...chunks(rows, 1_000).map((part) => `INSERT INTO random VALUES ${part.join(', ')}`),
    ]);
    const said = await session.query(
      `SELECT CAST(i AS CHAR), CAST(u AS CHAR), CAST(n AS CHAR), REPLACE(CAST(dt AS CHAR), ' ', 'T'), CONCAT(REPLACE(CAST(ts AS CHAR), ' ', 'T'), 'Z'),
         CAST(tm AS CHAR), t, HEX(b), CAST(x + 0 AS CHAR), CAST(e + 0 AS CHAR) FROM \`${database.name}\`.random ORDER BY id`,
    );
    const { rows: landed } = await readBack(session, database, { table: 'random' });
    expect(landed).toHaveLength(rows.length);
    for (const [id, [, d, f, ...others]] of landed.entries()) {
      expect(others.map(shown), `seed ${rng.seed}: ${rows[id]}`).toEqual(said[id]);
      expect(d, `seed ${rng.seed}`).toBe(numbers[id]?.double);
      // The shortest number that means the same 32 bits.
      expect(Math.fround(Number(f)), `seed ${rng.seed}`).toBe(numbers[id]?.float);
      expect(String(f).length).toBeLessThanOrEqual(String(numbers[id]?.float).length);
    }
  });

  test('every code of every character set: its text, or its bytes where the server has none', async () => {
    const sets = await session.query(
      "SELECT character_set_name, maxlen FROM information_schema.character_sets WHERE character_set_name <> 'binary' ORDER BY 1",
    );
    expect(sets.length).toBeGreaterThan(35);
    for (const [name = '', width] of sets) {
      await fill([
        'DROP TABLE IF EXISTS cs',
        `CREATE TABLE cs (id int PRIMARY KEY, wanted varbinary(4), c varchar(8) CHARACTER SET ${name})`,
        ...chunks(codesOf(name ?? '', Number(width)), 4_000).map(
          (part) =>
            `INSERT IGNORE INTO cs VALUES ${part.map(([id, hex]) => `(${id}, X'${hex}', X'${hex}')`).join(', ')}`,
        ),
        // A code that the set does not have was not stored as it is.
        'DELETE FROM cs WHERE CAST(c AS BINARY) <> wanted',
      ]);
      const said = await session.query(
        `SELECT HEX(CONVERT(c USING utf8mb4)), HEX(c) FROM \`${database.name}\`.cs ORDER BY id`,
      );
      for (const stream of [{ table: 'cs' }, { query: `SELECT * FROM \`${database.name}\`.cs` }]) {
        const { rows } = await readBack(session, database, stream);
        const wrong = rows.flatMap(([, , value], i) => {
          const [text = '', stored = ''] = said[i] ?? [];
          const lost =
            /^(3F)+$|EFBFBD/.test(text ?? '') && !/^(00)*3F(00)*$/.test(stored ?? '') && stored !== text;
          const good =
            value instanceof Uint8Array
              ? shown(value) === stored || isSurrogate(text)
              : hexOf(value) === text;
          return good && value instanceof Uint8Array === (lost || isSurrogate(text))
            ? []
            : [[stored, text, value]];
        });
        expect(wrong.slice(0, 5), name ?? '').toEqual([]);
        expect(rows.length).toBeGreaterThan(100);
      }
    }
  }, 60_000);

  test('timestamps, whatever zone they were written in, through every change of clocks', async () => {
    const zones = [
      'Europe/Berlin',
      'America/New_York',
      'Australia/Lord_Howe',
      'Asia/Kolkata',
      '-11:30',
      '+13:00',
    ];
    const clocks = [
      '2024-03-31 01:59:59.999999',
      '2024-03-31 03:00:00',
      '2024-10-27 02:30:00',
      '2024-11-03 01:30:00.5',
      '2024-04-07 01:45:00',
    ];
    const written = zones.flatMap((zone) => clocks.map((clock) => ({ zone, clock })));
    await fill([
      'CREATE TABLE zoned (id int PRIMARY KEY, ts timestamp(6) NULL, dt datetime(6))',
      ...written.flatMap(({ zone, clock }, id) => [
        `SET time_zone = '${zone}'`,
        `INSERT IGNORE INTO zoned VALUES (${id}, '${clock}', '${clock}')`,
      ]),
    ]);
    const said = await session.query(`SELECT UNIX_TIMESTAMP(ts) FROM \`${database.name}\`.zoned ORDER BY id`);
    const { rows } = await readBack(session, database, { table: 'zoned' });
    for (const [id, [, ts, dt]] of rows.entries()) {
      const [seconds = '', micros = ''] = (said[id]?.[0] ?? '').split('.');
      const iso = new Date(Number(seconds) * 1_000).toISOString().slice(0, 19);
      expect(ts, JSON.stringify(written[id])).toBe(`${iso}.${micros.padEnd(6, '0')}Z`);
      expect(dt).toBe(
        `${written[id]?.clock.replace(' ', 'T').slice(0, 26)}${written[id]?.clock.includes('.') ? '' : '.'}`.padEnd(
          26,
          '0',
        ),
      );
    }
  });

  describe('dates that no calendar has', () => {
    const odd = [
      ['0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00.000', '0000-00-00 00:00:00.000000'],
      ['2024-00-15', '2024-00-15 01:02:03', '2024-00-15 01:02:03.500', '0000-00-00 00:00:00.000000'],
      ['2024-02-31', '2024-02-30 23:59:59', '2023-02-29 01:02:03.500', '0000-00-00 00:00:00.000000'],
      ['0000-01-00', '2024-11-31 00:00:00', '2024-01-00 01:02:03.500', '0000-00-00 00:00:00.000000'],
    ];
    const regular = [
      '2024-02-29',
      '0000-01-01T00:00:00.000000',
      '2024-12-31T23:59:59.999000',
      '2024-06-15T12:00:00.000001Z',
    ];

    beforeAll(async () => {
      const rows = odd.map((row, i) => `(${2 * i}, ${row.map((value) => `'${value}'`).join(', ')})`);
      const plain = `'${regular.map((value) => value.replace('T', ' ').replace('Z', '')).join("', '")}'`;
      await fill([
        'CREATE TABLE odd (id int PRIMARY KEY, d date, dt datetime, dt3 datetime(3), ts timestamp(6) NULL)',
        `INSERT INTO odd VALUES ${rows.join(', ')}`,
        ...odd.map((_, i) => `INSERT INTO odd VALUES (${2 * i + 1}, ${plain})`),
        'INSERT INTO odd VALUES (100, NULL, NULL, NULL, NULL)',
      ]);
    });

    test('"text": as the server writes them, counted', async () => {
      const { rows, rejects, noticed } = await readBack(session, database, { table: 'odd' });
      expect(rows.filter(([id]) => Number(id) % 2 === 0).map(([, ...row]) => row)).toEqual([
        ...odd,
        [null, null, null, null],
      ]);
      expect(rows.filter(([id]) => Number(id) % 2 === 1).map(([, ...row]) => row)).toEqual(
        odd.map(() => regular),
      );
      expect(rejects).toEqual([]);
      expect(noticed).toHaveLength(4);
      expect(noticed[0]).toBe(
        '4 values of "d" are dates that no calendar has, such as 0000-00-00: landed as the server writes them (zero_dates is "text").',
      );
    });

    test('"null": as NULL, counted', async () => {
      const { rows, noticed } = await readBack(session, database, { table: 'odd' }, { zeroDates: 'null' });
      expect(rows.filter(([id]) => Number(id) % 2 === 0).map(([, ...row]) => row)).toEqual(
        [...odd, []].map(() => [null, null, null, null]),
      );
      expect(rows.filter(([id]) => Number(id) % 2 === 1).map(([, ...row]) => row)).toEqual(
        odd.map(() => regular),
      );
      expect(noticed.join()).toMatch(/4 values of "ts".*landed as NULL/);
    });

    test('"reject": rows kept aside with their values and the reason, counted', async () => {
      const { rows, rejects, noticed } = await readBack(
        session,
        database,
        { table: 'odd' },
        { zeroDates: 'reject' },
      );
      expect(rows.map(([id]) => id)).toEqual([1, 3, 5, 7, 100]);
      expect(rejects.map(({ row }) => JSON.parse(row) as unknown)).toEqual(
        odd.map(([d, dt, dt3, ts], i) => ({ id: 2 * i, d, dt, dt3, ts })),
      );
      expect(rejects[1]?.reason).toBe('no calendar has the date 2024-00-15 in "d" (zero_dates is "reject")');
      expect(noticed.join()).toMatch(/kept aside/);
    });
  });

  test('columns that are generated, invisible, or named in any way', async () => {
    const invisible = kind === 'mysql' || session.server.number >= 100_300 ? 'INVISIBLE' : '';
    await fill([
      `CREATE TABLE \`odd.na\`\`me 日本\` (id int PRIMARY KEY, \`a\`\`b.c\` int, \`Größe "x"\` varchar(20) CHARACTER SET latin1,
         v int GENERATED ALWAYS AS (id * 2) VIRTUAL, s varchar(20) GENERATED ALWAYS AS (CONCAT('n', id)) STORED, hidden int DEFAULT 7 ${invisible})`,
      'INSERT INTO `odd.na``me 日本` (id, `a``b.c`, `Größe "x"`) VALUES (1, 2, \'é\')',
    ]);
    const { columns, rows } = await readBack(session, database, { table: '`odd.na``me 日本`' });
    expect(columns.map(({ name }) => name)).toEqual(['id', 'a`b.c', 'Größe "x"', 'v', 's', 'hidden']);
    expect(rows).toEqual([[1, 2, 'é', 2, 'n1', 7]]);
    const query = await readBack(session, database, {
      query: `SELECT * FROM \`${database.name}\`.\`odd.na\`\`me 日本\``,
    });
    expect(query.columns.map(({ name }) => name)).toEqual(['id', 'a`b.c', 'Größe "x"', 'v', 's']);
    expect(query.rows).toEqual([[1, 2, 'é', 2, 'n1']]);
  });

  test('the text protocol would lose what the binary one keeps', async () => {
    await fill([
      'CREATE TABLE lossy (id int PRIMARY KEY, f float, d double, z int(5) unsigned zerofill)',
      'INSERT INTO lossy VALUES (1, 16777215, 0.30000000000000004, 42), (2, 0.33333334, 1.7976931348623157e308, 7)',
    ]);
    const { rows } = await readBack(session, database, { table: 'lossy' });
    expect(rows).toEqual([
      [1, 16777215, 0.30000000000000004, 42],
      [2, 0.33333334, 1.7976931348623157e308, 7],
    ]);
    const text = await session.query(`SELECT f, d, z FROM \`${database.name}\`.lossy ORDER BY id`);
    expect(text).toEqual([
      ['16777200', '0.30000000000000004', '00042'],
      ['0.333333', '1.7976931348623157e308', '00007'],
    ]);
  });
});

function randomRow(rng: Rng): readonly string[] {
  const big = (bits: number): bigint => {
    let value = 0n;
    for (let at = 0; at < bits; at += 16) value = (value << 16n) | BigInt(rng.int(0, 65_535));
    return value & ((1n << BigInt(rng.int(1, bits))) - 1n);
  };
  const digits = (n: number): string => Array.from({ length: n }, () => rng.int(0, 9)).join('');
  const two = (high: number, low = 0): string => String(rng.int(low, high)).padStart(2, '0');
  const clock = (): string => `${two(23)}:${two(59)}:${two(59)}.${digits(6)}`;
  const text = Array.from({ length: rng.int(0, 15) }, () => String.fromCodePoint(randomCode(rng))).join('');
  const bytes = Array.from({ length: rng.int(0, 40) }, () => two(99)).join('');
  const sign = rng.chance(0.5) ? '-' : '';
  return [
    `${sign}${big(63)}`,
    String(big(64)),
    `${sign}${digits(rng.int(1, 35))}.${digits(rng.int(1, 30))}`,
    `'${rng.int(1, 9)}${digits(3)}-${two(12, 1)}-${two(28, 1)} ${clock()}'`,
    rng.chance(0.1) ? 'NULL' : `'${rng.int(1971, 2037)}-${two(12, 1)}-${two(28, 1)} ${clock()}'`,
    `'${sign}${rng.int(0, 837)}:${two(59)}:${two(59)}.${digits(6)}'`,
    `_utf8mb4 X'${Buffer.from(text).toString('hex')}'`,
    `X'${bytes}'`,
    String(big(64)),
    String(big(63)),
  ];
}

function randomCode(rng: Rng): number {
  const code = rng.chance(0.5) ? rng.int(0, 0x2ff) : rng.int(0, 0x10ffff);
  return code >= 0xd800 && code <= 0xdfff ? 0x20ac : code;
}

function randomDouble(rng: Rng): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, rng.int(0, 2 ** 32 - 1));
  view.setUint32(4, rng.int(0, 2 ** 32 - 1));
  const value = view.getFloat64(0);
  return Number.isFinite(value) ? value : 0.1;
}

function randomFloat(rng: Rng): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, rng.int(0, 2 ** 32 - 1));
  const value = view.getFloat32(0);
  return Number.isFinite(value) ? value : 0.5;
}

function chunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}

/** Codes that a character set may have, as hexadecimal; those it has not are not stored. */
function codesOf(name: string, width: number): readonly (readonly [id: number, hex: string])[] {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  const codes: string[] = [];
  if (/^(utf8|utf16|utf32|ucs2)/.test(name)) {
    const to = /utf8mb3|ucs2/.test(name) ? 0xffff : 0x10ffff;
    for (let code = 1; code <= to; code += code < 0x3000 ? 1 : 37) {
      if (code < 0xd800 || code > 0xdfff) codes.push(encoded(name, code));
    }
  } else {
    for (let code = 1; code < 256; code++) codes.push(hex(code, 2));
    if (width > 1) {
      for (let lead = 0x80; lead < 256; lead++)
        for (let trail = 0x40; trail < 256; trail += 3) codes.push(hex(lead * 256 + trail, 4));
    }
  }
  return codes.map((code, id) => [id, code] as const);
}

function encoded(name: string, code: number): string {
  if (name.startsWith('utf8')) return Buffer.from(String.fromCodePoint(code)).toString('hex');
  if (name === 'utf32') return code.toString(16).padStart(8, '0');
  const units = Buffer.from(String.fromCodePoint(code), 'utf16le');
  return (name === 'utf16le' ? units : units.swap16()).toString('hex');
}

function hexOf(value: Value | undefined): string {
  return Buffer.from(String(value)).toString('hex').toUpperCase();
}

function isSurrogate(text: string | null): boolean {
  return /^ED[AB]/.test(text ?? '');
}
