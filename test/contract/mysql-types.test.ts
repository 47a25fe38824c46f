import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Session } from '../../src/connectors/mysql/session.ts';
import type { Travel } from '../../src/connectors/mysql/types.ts';
import type { LogicalType, Value } from '../../src/core/types.ts';
import { freshMysql, type MysqlKind, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { openSession, type ReadBack, readBack, shown } from './mysql-types-support.ts';

/**
 * Every type of MySQL and MariaDB against nasty values. The judge is the server itself: what landed is the text, or
 * the bytes, that it says the value is, and said to it again as a position it is that very value.
 *
 * One protocol is used for rows, the binary one; the last test shows what the text protocol loses on each server.
 */

/** What the server is asked about a value, and how the landed one must look beside that. */
const judges = {
  /** Its text. */
  text: (c: string) => `CAST(${c} AS CHAR)`,
  /** Its text, padded to six digits, with `T`, and with `Z` for a timestamp: the session is in UTC. */
  moment: (c: string) => `CAST(${c} AS CHAR)`,
  /** Its bytes. */
  bytes: (c: string) => `HEX(${c})`,
  /** Its value as a number. */
  number: (c: string) => `CAST(${c} + 0 AS CHAR)`,
  /** Nothing: no text of the server's is exact. Said again as a position it is equal. */
  float: () => "''",
} as const;

interface Case {
  /** As in a CREATE TABLE. */
  readonly column: string;
  readonly lands: LogicalType;
  readonly judge: keyof typeof judges;
  /** SQL; each becomes a row. NULL is always added. */
  readonly values: readonly string[];
  /** Since which version the server has it. */
  readonly since?: number;
}

const wholeNumbers = (bits: number): readonly string[] => [
  `${-(2n ** BigInt(bits - 1))}`,
  `${2n ** BigInt(bits - 1) - 1n}`,
  '0',
  '-1',
  '1',
];
const naturals = (bits: number): readonly string[] => [`${2n ** BigInt(bits) - 1n}`, '0', '1'];
const quoted = (texts: readonly string[]): readonly string[] =>
  texts.map((text) => `_utf8mb4 X'${Buffer.from(text).toString('hex')}'`);

const planes = [
  '',
  'a',
  ' padded',
  '\u0000\u0001\u001f\u007f',
  'éß',
  '中文',
  '\ufffd',
  '😀\u{10ffff}',
  'l1\nl2\t"\\',
  '\u202e\u200d',
  "quote ' end",
  '%_`',
];

const integer = (column: string, values: readonly string[]): Case => ({
  column,
  lands: 'integer',
  judge: 'number',
  values,
});
const decimal = (column: string, values: readonly string[], judge: Case['judge'] = 'text'): Case => ({
  column,
  lands: 'decimal',
  judge,
  values,
});
const text = (column: string, values: readonly string[] = quoted(planes)): Case => ({
  column,
  lands: 'text',
  judge: 'text',
  values,
});
const bytes = (column: string, values: readonly string[]): Case => ({
  column,
  lands: 'bytes',
  judge: 'bytes',
  values,
});
const geometry = (column: string, wkt: string): Case =>
  bytes(column, [`ST_GeomFromText('${wkt}')`, `ST_GeomFromText('${wkt}', 4326)`]);
const bits = (n: number): Case => ({
  column: `bit(${n})`,
  lands: n > 63 ? 'decimal' : 'integer',
  judge: 'number',
  values: ["b'0'", "b'1'", `b'${'1'.repeat(n)}'`, `b'1${'0'.repeat(n - 1)}'`],
});

const moments = ["'1000-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'2024-02-29 12:34:56.000001'"];
const longs = [
  '-9223372036854775808',
  '9223372036854775807',
  '9007199254740991',
  '9007199254740992',
  '9007199254740993',
  '-9007199254740991',
  '-9007199254740992',
  '-9007199254740993',
  '4294967296',
  '-1',
  '0',
];
const doubles = [
  '0',
  '-0e0',
  '0.1',
  '5e-324',
  '2.2250738585072014e-308',
  '1.7976931348623157e308',
  '-1.7976931348623157e308',
  '9007199254740993',
  '0.30000000000000004',
  '123456789.12345679',
];
const singles = [
  '0',
  '0.1',
  '16777217',
  '3.4028235e38',
  '1.4e-45',
  '1.17549435e-38',
  '0.33333334',
  '123456.79',
  '8388608.5',
];
const blobs = ["''", "X'00'", "X'00FF10'", "REPEAT(X'AB', 300)", 'UNHEX(SHA2(1, 512))'];

/** What both servers have. A type that is forgotten for one of them is a type error below. */
const shared = {
  tinyint: [
    integer('tinyint', wholeNumbers(8)),
    integer('tinyint unsigned', naturals(8)),
    integer('tinyint(1)', ['0', '1', '2', '127', '-128']),
    integer('bool', ['true', 'false', '2', '127']),
    integer('tinyint(3) unsigned zerofill', ['7', '255']),
  ],
  smallint: [integer('smallint', wholeNumbers(16)), integer('smallint unsigned', naturals(16))],
  mediumint: [integer('mediumint', wholeNumbers(24)), integer('mediumint unsigned', naturals(24))],
  int: [
    integer('int', wholeNumbers(32)),
    integer('int unsigned', naturals(32)),
    integer('int(10) unsigned zerofill', ['42', '4294967295']),
  ],
  bigint: [
    integer('bigint', longs),
    decimal('bigint unsigned', [...naturals(64), '9223372036854775808', '9007199254740993'], 'number'),
    decimal('bigint(20) unsigned zerofill', ['42', '18446744073709551615'], 'number'),
  ],
  year: [integer('year', ["'1901'", "'2155'", "'0000'", '2024'])],
  bit: [1, 7, 8, 9, 31, 32, 33, 53, 54, 63, 64].map(bits),
  decimal: [
    decimal('decimal(65,30)', [
      `${'9'.repeat(35)}.${'9'.repeat(30)}`,
      `-${'9'.repeat(35)}.${'9'.repeat(30)}`,
      '0',
      '0.000000000000000000000000000001',
      '-1.5',
    ]),
    decimal('decimal(65,0)', ['9'.repeat(65), `-${'9'.repeat(65)}`]),
    decimal('decimal(30,30)', [`0.${'9'.repeat(30)}`, '0']),
    decimal('decimal(12,2) unsigned', ['0.10', '9999999999.99']),
    decimal('decimal(10,2) unsigned zerofill', ['1.50', '0', '12345678.90'], 'number'),
  ],
  float: [
    { column: 'float', lands: 'float', judge: 'float', values: singles },
    { column: 'float(10,3)', lands: 'float', judge: 'float', values: ['0.125', '1234.567'] },
  ],
  double: [
    { column: 'double', lands: 'float', judge: 'float', values: doubles },
    { column: 'double unsigned zerofill', lands: 'float', judge: 'float', values: ['0.1', '42'] },
  ],
  date: [
    {
      column: 'date',
      lands: 'date',
      judge: 'text',
      values: ["'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'0001-01-01'"],
    },
  ],
  datetime: [0, 3, 6].map(
    (digits): Case => ({
      column: `datetime(${digits})`,
      lands: 'timestamp',
      judge: 'moment',
      values: digits === 6 ? moments : ["'1000-01-01 00:00:00'", "'2024-02-29 12:34:56.5'"],
    }),
  ),
  timestamp: [0, 1, 6].map(
    (digits): Case => ({
      column: `timestamp(${digits}) NULL`,
      lands: 'timestamptz',
      judge: 'moment',
      values: ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'2024-03-31 01:30:00.4'"],
    }),
  ),
  time: [
    text('time', ["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'", "'9:8:7'"]),
    text('time(3)', ["'-838:59:59'", "'100:00:00.001'", "'00:00:00'"]),
    text('time(6)', ["'-838:59:59.000000'", "'838:59:58.999999'", "'-00:00:00.000001'", "'23:59:59.5'"]),
  ],
  char: [
    text('char(40)'),
    text('char(10) COLLATE utf8mb4_bin', quoted(['ab  ', '', 'ÄäA'])),
    text('char(0)', ["''"]),
  ],
  varchar: [
    text('varchar(40)'),
    text('varchar(10)', quoted(['ab  ', '  '])),
    text('varchar(40) CHARACTER SET latin1', quoted(['é€ß', '\u0081\u008d', ''])),
    text('varchar(40) CHARACTER SET utf16', quoted(planes)),
    text('varchar(40) CHARACTER SET sjis', quoted(['日本ｱ', 'abc'])),
    text('varchar(40) CHARACTER SET gbk', quoted(['汉字', '€'.slice(0, 0)])),
    text('varchar(40) CHARACTER SET ascii', quoted(['plain ?', ''])),
  ],
  tinytext: [text('tinytext')],
  text: [text('text', [...quoted(planes), "REPEAT('x', 60000)", `REPEAT(_utf8mb4 X'F09F9880', 15000)`])],
  mediumtext: [
    text('mediumtext', [
      ...quoted(planes),
      "REPEAT('x', 300000)",
      "REPEAT('é', 200)",
      "REPEAT('y', 250)",
      "REPEAT('z', 251)",
    ]),
  ],
  longtext: [
    text('longtext', ["REPEAT('x', 65535)", "REPEAT('y', 65536)", `REPEAT(_utf8mb4 X'E4B8AD', 100000)`]),
  ],
  binary: [bytes('binary(4)', ["''", "X'00FF'", "'ab'"])],
  varbinary: [bytes('varbinary(400)', blobs)],
  tinyblob: [bytes('tinyblob', ["''", "X'00FF10'"])],
  blob: [bytes('blob', blobs)],
  mediumblob: [bytes('mediumblob', [...blobs, "REPEAT(X'00FF', 200000)"])],
  longblob: [bytes('longblob', blobs)],
  enum: [text("enum('a','B','it''s','c,d','','ünï')", ["'a'", "'B'", "'it''s'", "'c,d'", "''", "'ünï'"])],
  set: [text("set('a','b','it''s','ü','')", ["''", "'a'", "'b,a'", "'a,b,it''s,ü'", '16', '31'])],
  json: [
    {
      column: 'json',
      lands: 'json',
      judge: 'text',
      values: quoted([
        '{"a": 12345678901234567890, "b": [1.5, null, true], "a": 2}',
        '18446744073709551615',
        '-9223372036854775808',
        '9007199254740993',
        'null',
        '"😀 \\u0000 \\" \\\\"',
        '[]',
        '{}',
        '{"":""}',
      ]),
    },
  ],
  geometry: [
    geometry('geometry', 'POINT(1 2)'),
    bytes('geometry', ["ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
  ],
  point: [geometry('point', 'POINT(-1.5 2.25)')],
  linestring: [geometry('linestring', 'LINESTRING(0 0,1 1,2 0.1)')],
  polygon: [geometry('polygon', 'POLYGON((0 0,0 1,1 1,0 0))')],
  multipoint: [geometry('multipoint', 'MULTIPOINT(0 0,1 1)')],
  multilinestring: [geometry('multilinestring', 'MULTILINESTRING((0 0,1 1),(2 2,3 3))')],
  multipolygon: [geometry('multipolygon', 'MULTIPOLYGON(((0 0,0 1,1 1,0 0)))')],
  geometrycollection: [geometry('geometrycollection', 'GEOMETRYCOLLECTION(POINT(1 1))')],
} satisfies Record<string, readonly Case[]>;

const ips = ["'::'", "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'", "'2001:db8::1'", "'::ffff:192.0.2.1'"];

/** What one of them has besides. */
type MysqlOnly = 'vector';
type MariadbOnly = 'uuid' | 'inet4' | 'inet6' | 'vector';

/** The whole table, server by server. */
const matrix = {
  mysql: {
    ...shared,
    vector: [
      {
        ...bytes('vector(3)', [
          "STRING_TO_VECTOR('[1,-2.5,3.4028235e38]')",
          "STRING_TO_VECTOR('[0,0,1.17549435e-38]')",
        ]),
        since: 90_000,
      },
    ],
  },
  mariadb: {
    ...shared,
    uuid: [
      text('uuid', [
        "'00000000-0000-0000-0000-000000000000'",
        "'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF'",
        "'123e4567-e89b-12d3-a456-426614174000'",
      ]),
    ],
    inet4: [text('inet4', ["'0.0.0.0'", "'255.255.255.255'", "'192.0.2.1'"])],
    inet6: [text('inet6', ips)],
    vector: [{ ...bytes('vector(2)', ["VEC_FromText('[1,-2.5]')"]), since: 110_700 }],
  },
} satisfies {
  readonly mysql: Record<MysqlOnly | keyof typeof shared, readonly Case[]>;
  readonly mariadb: Record<MariadbOnly | keyof typeof shared, readonly Case[]>;
} satisfies Record<MysqlKind, unknown>;

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

  test.for(Object.entries(matrix[kind]))('%s', async ([, cases]) => {
    for (const one of cases as readonly Case[]) {
      if (session.server.number >= (one.since ?? 0)) await holds(one);
      else
        await expect(database.query(`CREATE TABLE t (c ${one.column})`)).rejects.toThrow(
          /syntax|Unknown data type/,
        );
    }
  });

  async function holds(one: Case): Promise<void> {
    const c = `\`c\``;
    await database.query('DROP TABLE IF EXISTS t');
    await database.query(`CREATE TABLE t (id int PRIMARY KEY, c ${one.column})`);
    const rows = [...one.values, 'NULL'].map((value, i) => `(${i}, ${value})`);
    for (const row of rows) {
      // ZEROFILL and display widths are deprecated, and a mode would refuse year 0000.
      await database.query(`SET sql_mode = 'NO_ENGINE_SUBSTITUTION'; INSERT INTO t VALUES ${row}`);
    }
    const said = await session.query(
      `SELECT ${judges[one.judge](c)} FROM \`${database.name}\`.t ORDER BY id`,
    );
    const byTable = await readBack(session, database, { table: 't' });
    const byQuery = await readBack(session, database, { query: `SELECT * FROM \`${database.name}\`.t` });
    for (const read of [byTable, byQuery]) {
      expect(read.columns[1]?.travel.type, `${one.column} lands as`).toBe(one.lands);
      expect(read.rejects).toEqual([]);
      for (const [i, [, value]] of read.rows.entries())
        expect(shown(value), `${one.column}: ${one.values[i]}`).toBe(
          asLanded(one, said[i]?.[0] ?? null, value),
        );
    }
    await readsBack(one, byTable);
  }

  /** What landed, said to the server as a position, is that very value. */
  async function readsBack(one: Case, { columns, rows }: ReadBack): Promise<void> {
    const { travel, ref } = columns[1] as { travel: Travel; ref: string };
    if (!travel.orderable) return;
    for (const [id, [, value = null]] of rows.entries()) {
      if (value === null) continue;
      const [own] = await session.query(
        `SELECT ${travel.positionOf(ref)} FROM \`${database.name}\`.t WHERE id = ${id}`,
      );
      const position = travel.literal === null ? (own?.[0] ?? null) : travel.literal(value);
      expect(position, `${one.column} as a position`).not.toBeNull();
      const [found] = await session.query(
        `SELECT COUNT(*) FROM \`${database.name}\`.t WHERE id = ${id} AND ${travel.compared(ref)} = ${travel.sql(position ?? '')}`,
      );
      expect(found?.[0], `${one.column}: ${one.values[id]} as ${position}`).toBe('1');
    }
  }
});

/** How a value must have landed of which the server says this. */
function asLanded({ judge, lands }: Case, said: string | null, value: Value | undefined): string | null {
  if (judge === 'float') return shown(value);
  if (said === null || judge !== 'moment') return said;
  const [day = '', clock = ''] = said.split(' ');
  const [seconds = '', fraction = ''] = clock.split('.');
  return `${day}T${seconds}.${fraction.padEnd(6, '0')}${lands === 'timestamptz' ? 'Z' : ''}`;
}
