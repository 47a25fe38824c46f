import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { LogicalType, Value } from '../../src/core/types.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { openSource, readAll } from './postgresql-support.ts';

/**
 * Every type of PostgreSQL against nasty values. The judge is PostgreSQL itself: what landed is cast back and must
 * not be distinct from what it was, and where the stated form is the source's own text, it must be that text.
 */

interface Case {
  readonly type: string;
  readonly lands: LogicalType;
  /** Literals; each becomes a row as `literal::type`. NULL is always added. */
  readonly values: readonly string[];
  /** The landed text equals what the server prints. */
  readonly ownText?: boolean;
}

const text = (values: readonly string[]): readonly string[] => values.map((value) => `U&'${value}'`);
const planes = [
  '',
  'a',
  ' padded ',
  '\\0001\\001F\\007F',
  '\\00E9\\00DF',
  '\\4E2D\\6587',
  '\\FFFD',
  '\\+01F600\\+10FFFF',
  'l1\\000Al2\\0009"\\\\',
  '\\202E\\200D',
  "quote '' end",
];

const cases: readonly Case[] = [
  { type: 'boolean', lands: 'boolean', values: ["'t'", "'f'"] },
  { type: 'smallint', lands: 'integer', values: ["'-32768'", "'32767'", "'0'"], ownText: true },
  { type: 'integer', lands: 'integer', values: ["'-2147483648'", "'2147483647'", "'0'"], ownText: true },
  {
    type: 'bigint',
    lands: 'integer',
    values: [
      "'-9223372036854775808'",
      "'9223372036854775807'",
      "'9007199254740991'",
      "'9007199254740992'",
      "'9007199254740993'",
      "'-9007199254740991'",
      "'-9007199254740992'",
      "'-9007199254740993'",
      "'4294967296'",
      "'-1'",
    ],
    ownText: true,
  },
  { type: 'oid', lands: 'integer', values: ["'0'", "'4294967295'"], ownText: true },
  {
    type: 'numeric',
    lands: 'decimal',
    values: [
      "'0'",
      "'0.000'",
      "'-0.00000000000000000001'",
      "'1e-100'",
      "'12345678901234567890.123456789012345678901234567890'",
      `'${'9'.repeat(1000)}'`,
      `'-0.${'0'.repeat(499)}${'7'.repeat(500)}'`,
      `'1${'0'.repeat(131_000)}'`,
      "'NaN'",
      "'Infinity'",
      "'-Infinity'",
      "'10000'",
      "'9999.9999'",
      "'100000000.00000001'",
    ],
    ownText: true,
  },
  { type: 'numeric(12,2)', lands: 'decimal', values: ["'0.10'", "'-9999999999.99'", "'1'"], ownText: true },
  { type: 'numeric(5,-2)', lands: 'decimal', values: ["'1234567'", "'-4950'"], ownText: true },
  {
    type: 'real',
    lands: 'float',
    values: [
      "'0'",
      "'-0'",
      "'0.1'",
      "'16777217'",
      "'3.4028235e38'",
      "'1.4e-45'",
      "'1.17549435e-38'",
      "'NaN'",
      "'Infinity'",
      "'-Infinity'",
      "'0.33333334'",
      "'123456.79'",
      "'8388608.5'",
      "'1e10'",
    ],
  },
  {
    type: 'double precision',
    lands: 'float',
    values: [
      "'0'",
      "'-0'",
      "'0.1'",
      "'5e-324'",
      "'1.7976931348623157e308'",
      "'9007199254740993'",
      "'NaN'",
      "'Infinity'",
      "'-Infinity'",
      "'0.30000000000000004'",
    ],
  },
  {
    type: 'text',
    lands: 'text',
    values: [...text(planes), "repeat('x', 300000)", "repeat(U&'\\+01F600', 50000)"],
    ownText: true,
  },
  { type: 'character varying(40)', lands: 'text', values: text(planes), ownText: true },
  { type: 'character(10)', lands: 'text', values: ["'ab'", "''", "'0123456789'"], ownText: true },
  { type: 'name', lands: 'text', values: ["'ab'", "'Zoë'"], ownText: true },
  { type: '"char"', lands: 'text', values: ["'a'", "''", "'\\101'", "'\\377'"], ownText: true },
  {
    type: 'uuid',
    lands: 'text',
    values: [
      "'00000000-0000-0000-0000-000000000000'",
      "'ffffffff-FFFF-ffff-ffff-ffffffffffff'",
      "'123e4567-e89b-12d3-a456-426614174000'",
    ],
    ownText: true,
  },
  {
    type: 'bytea',
    lands: 'bytes',
    values: ["''", "'\\x00'", "'\\x00ff10'", "decode(repeat('ab', 200000), 'hex')"],
  },
  {
    type: 'json',
    lands: 'json',
    values: [
      '\'{"a": 12345678901234567890.123456789, "a" : 1}\'',
      "'null'",
      "' [1,  2]'",
      '\'"\\u00e9\\ud83d\\ude00"\'',
    ],
    ownText: true,
  },
  {
    type: 'jsonb',
    lands: 'json',
    values: [
      '\'{"b": 12345678901234567890.123456789, "a": [1e400, null]}\'',
      "'null'",
      '\'"x"\'',
      "'9007199254740993'",
    ],
    ownText: true,
  },
  {
    type: 'date',
    lands: 'date',
    values: [
      "'2000-01-01'",
      "'1999-12-31'",
      "'2024-02-29'",
      "'0001-01-01'",
      "'9999-12-31'",
      "'1970-01-01'",
      "'1582-10-10'",
      "'10000-01-01'",
      "'5874897-12-31'",
      "'0001-12-31 BC'",
      "'4713-01-01 BC'",
      "'infinity'",
      "'-infinity'",
      "'1900-03-01'",
    ],
    ownText: true,
  },
  {
    type: 'timestamp',
    lands: 'timestamp',
    values: [
      "'2024-02-29 23:59:59.999999'",
      "'2000-01-01'",
      "'1999-12-31 23:59:59.999999'",
      "'0001-01-01 00:00:00.000001'",
      "'9999-12-31 23:59:59.999999'",
      "'1714-09-01 12:34:56.123456'",
      "'2285-06-06 01:02:03.000004'",
      "'2286-01-01 00:00:00.1'",
      "'10000-01-01 01:02:03.5'",
      "'294276-12-31 23:59:59.999999'",
      "'0001-12-31 23:59:59.5 BC'",
      "'4714-11-24 00:00:00 BC'",
      "'infinity'",
      "'-infinity'",
      "'1969-12-31 23:59:59.9'",
    ],
  },
  {
    type: 'timestamptz',
    lands: 'timestamptz',
    values: [
      "'2024-02-29 23:59:59.999999+05:30'",
      "'2024-03-31 02:30:00 Europe/Paris'",
      "'0001-01-01 00:00:00+00'",
      "'9999-12-31 23:59:59.999999+00'",
      "'10000-01-01 00:00:00+00'",
      "'294276-12-31 23:59:59.999999+00'",
      "'0044-03-15 12:00:00+00 BC'",
      "'4714-11-24 00:00:00+00 BC'",
      "'infinity'",
      "'-infinity'",
      "'1500-01-01 00:00:00.000001+00'",
      "'2500-01-01 00:00:00.000001+00'",
    ],
  },
  { type: 'timestamptz(3)', lands: 'timestamptz', values: ["'2024-02-29 23:59:59.9996+00'"] },
  { type: 'time', lands: 'text', values: ["'00:00'", "'24:00:00'", "'23:59:59.999999'"], ownText: true },
  { type: 'timetz', lands: 'text', values: ["'00:00+00'", "'23:59:59.999999-15:59'"], ownText: true },
  {
    type: 'interval',
    lands: 'text',
    values: [
      "'0'",
      "'-1 year 2 mons -3 days 04:05:06.000007'",
      "'178000000 years'",
      "'infinity'",
      "'1 day -00:00:01'",
    ],
    ownText: true,
  },
  { type: 'money', lands: 'text', values: ["'12.34'", "'-92233720368547758.08'"], ownText: true },
  {
    type: 'inet',
    lands: 'text',
    values: ["'192.168.1.5'", "'192.168.1.5/24'", "'::1'", "'::ffff:1.2.3.4/96'"],
    ownText: true,
  },
  {
    type: 'cidr',
    lands: 'text',
    values: ["'10.0.0.0/8'", "'10.1.2.3/32'", "'2001:db8::/32'"],
    ownText: true,
  },
  { type: 'macaddr', lands: 'text', values: ["'08:00:2b:01:02:03'"], ownText: true },
  { type: 'macaddr8', lands: 'text', values: ["'08:00:2b:01:02:03:04:05'"], ownText: true },
  { type: 'bit(5)', lands: 'text', values: ["B'10101'"], ownText: true },
  { type: 'bit varying', lands: 'text', values: ["B''", "B'1'", "repeat('10', 500)"], ownText: true },
  { type: 'xml', lands: 'text', values: ['\'<a b="1">é</a>\''] },
  {
    type: 'tsvector',
    lands: 'text',
    values: ["to_tsvector('english', 'The quick, brown ''fox'' \\ jumped')", "''"],
    ownText: true,
  },
  { type: 'tsquery', lands: 'text', values: ["to_tsquery('english', 'fat & (rat | cat:*)')"], ownText: true },
  { type: 'point', lands: 'text', values: ["'(1.5,-2e300)'", "'(NaN,Infinity)'"], ownText: true },
  { type: 'line', lands: 'text', values: ["'{1,2,3}'"], ownText: true },
  { type: 'lseg', lands: 'text', values: ["'[(0,0),(1,1)]'"], ownText: true },
  { type: 'box', lands: 'text', values: ["'(1,1),(0,0)'"], ownText: true },
  { type: 'path', lands: 'text', values: ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"], ownText: true },
  { type: 'polygon', lands: 'text', values: ["'((0,0),(1,1),(1,0))'"], ownText: true },
  { type: 'circle', lands: 'text', values: ["'<(0.1,2),3>'"], ownText: true },
  { type: 'int4range', lands: 'text', values: ["'[1,5]'", "'empty'", "'(,)'"], ownText: true },
  { type: 'numrange', lands: 'text', values: ["'[1.10,5.000)'"], ownText: true },
  { type: 'tstzrange', lands: 'text', values: ["'[2024-01-01 00:00+02,infinity)'"], ownText: true },
  { type: 'int8multirange', lands: 'text', values: ["'{[1,2],[5,9]}'", "'{}'"], ownText: true },
  { type: 'pg_lsn', lands: 'text', values: ["'16/B374D848'"], ownText: true },
  { type: 'xid8', lands: 'text', values: ["'18446744073709551615'"], ownText: true },
  { type: 'txid_snapshot', lands: 'text', values: ["'10:20:10,14'"], ownText: true },
  { type: 'regclass', lands: 'text', values: ["'pg_class'"], ownText: true },
  { type: 'jsonpath', lands: 'text', values: ["'$.a[*] ? (@ > 1)'"], ownText: true },
  { type: 'int2vector', lands: 'text', values: ["'1 2 3'"], ownText: true },
  { type: 'hstore', lands: 'text', values: [`'a=>1, "b c"=>NULL, "q\\"uote"=>"x"'`, "''"], ownText: true },
  { type: 'citext', lands: 'text', values: ["'MiXed'"], ownText: true },
  { type: 'cube', lands: 'text', values: ["'(1,2),(3,4)'"], ownText: true },
  { type: 'ltree', lands: 'text', values: ["'Top.Science'"], ownText: true },
  { type: '"Odd ""enum"""', lands: 'text', values: ["'sad'", "'it''s \"ok\"'"], ownText: true },
  { type: 'positive', lands: 'integer', values: ["'7'"], ownText: true },
  { type: 'nested_domain', lands: 'integer', values: ["'7'"], ownText: true },
  { type: 'email', lands: 'text', values: ["'a@b'"], ownText: true },
];

const arrays: readonly Case[] = [
  ['smallint[]', ["'{1,NULL,-32768}'", "'{}'", "'{{1,2},{3,4}}'", "'[0:1]={5,6}'"]],
  [
    'integer[]',
    ["'{1,NULL,2147483647}'", "'{}'", "'{{{1},{2}},{{3},{4}}}'", "'[2:3][1:2]={{1,2},{3,NULL}}'"],
  ],
  ['bigint[]', ["'{9223372036854775807,-9007199254740993,1}'"]],
  ['boolean[]', ["'{t,f,NULL}'", "'[5:6]={t,f}'"]],
  [
    'text[]',
    [
      "ARRAY['', 'null', 'NULL', NULL, 'a,b', '{x}', E'q\"\\\\', E'\\t\\n', '😀']",
      "'{}'",
      `'[0:5]={"","null",NULL,"a b","q\\"\\\\","{}"}'`,
    ],
  ],
  ['character varying(20)[]', ["ARRAY['x', NULL]"]],
  ['numeric[]', ["'{1.10,NaN,Infinity,-Infinity,NULL,1e-20}'", "'[0:1]={1.5,NaN}'"]],
  ['uuid[]', ["'{123e4567-e89b-12d3-a456-426614174000,NULL}'"]],
  ['real[]', ["'{0.1,NaN,Infinity,NULL}'"]],
  ['double precision[]', ["'{0.1,1e300,-0}'", "'[0:0]={1}'"]],
  ['timestamptz[]', ["'{2024-01-01 00:00+02,infinity,NULL}'"]],
  ['timestamp[]', ["'{2024-01-01 00:00:00.000001}'"]],
  ['date[]', ["'{2024-01-01,infinity}'"]],
  ['bytea[]', ["ARRAY['\\x00ff'::bytea, NULL]"]],
  ['json[]', ['ARRAY[\'{"a": 12345678901234567890}\'::json, NULL]']],
  ['jsonb[]', ['ARRAY[\'{"a": 12345678901234567890}\'::jsonb]']],
  ['inet[]', ["'{10.0.0.1,10.0.0.0/8}'"]],
  ['interval[]', ["'{1 day,NULL}'"]],
  ['hstore[]', ["ARRAY['a=>1'::hstore]"]],
  ['"Odd ""enum"""[]', ['ARRAY[\'sad\', NULL]::"Odd ""enum"""[]', "'[0:0]={sad}'"]],
  ['int4range[]', ["ARRAY['[1,3)'::int4range]"]],
  ['pair[]', ["ARRAY[ROW(1, 'x')::pair, NULL]"]],
  ['positive[]', ["'{1,2}'"]],
  ['ints', ["'{1,2,3}'", "'[0:1]={1,2}'", "'{}'"]],
].map(([type, values]) => ({ type: type as string, lands: 'json' as const, values: values as string[] }));

const composites: readonly Case[] = [
  { type: 'pair', lands: 'json', values: ["ROW(1, 'x')", 'ROW(NULL, NULL)'] },
  {
    type: 'deep',
    lands: 'json',
    values: [
      "ROW(ROW(9, 'in \"ner')::pair, ARRAY[1,NULL], 12345678901234567890.5, '{\"k\": 12345678901234567890}', '2024-01-01 00:00:00.000001+00', '\\x00ff')",
    ],
  },
  { type: 'pair_domain', lands: 'json', values: ["ROW(1, 'x')::pair"] },
];

let database: TestDatabase;
let source: Source;

beforeAll(async () => {
  database = await freshDatabase();
  await database.query(`
    CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION cube; CREATE EXTENSION ltree;
    CREATE TYPE "Odd ""enum""" AS ENUM ('sad', 'it''s "ok"');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN nested_domain AS positive CHECK (VALUE < 100);
    CREATE DOMAIN email AS citext;
    CREATE DOMAIN ints AS int[];
    CREATE TYPE pair AS (a int, "b ""c" text);
    CREATE DOMAIN pair_domain AS pair;
    CREATE TYPE deep AS (p pair, l int[], n numeric, j json, t timestamptz, b bytea)`);
  source = openSource(database.config);
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await database.drop();
});

let tables = 0;

async function roundTrip(
  type: string,
  values: readonly string[],
): Promise<readonly (readonly [Value, Value])[]> {
  tables += 1;
  const table = `m${tables}`;
  await database.query(`CREATE TABLE ${table} (id int PRIMARY KEY, v ${type})`);
  for (const [i, value] of [...values, 'NULL'].entries())
    await database.query(`INSERT INTO ${table} VALUES (${i}, (${value})::${type})`);
  const { rows, stream } = await readAll(source, { name: table, table, mode: 'merge' });
  expect(stream.columns.map(({ name }) => name)).toEqual(['id', 'v']);
  expect(rows).toHaveLength(values.length + 1);
  expect(rows.at(-1)).toEqual([values.length, null]);
  return rows.slice(0, -1) as unknown as readonly (readonly [Value, Value])[];
}

/** What the server prints for row `id`, and whether the landed text, cast back, is not distinct from it. */
async function judge(
  type: string,
  id: Value,
  landed: string,
): Promise<{ readonly printed: string; readonly same: boolean }> {
  const [row] = await database.query(
    `SELECT format('%s', v) AS printed, format('%s', $2::text::${type}) = format('%s', v) AS same FROM m${tables} WHERE id = $1`,
    [id, landed],
  );
  return row as { printed: string; same: boolean };
}

const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/;

describe('type matrix', () => {
  test.each(cases)('$type lands as $lands, and means the same', async ({ type, lands, values, ownText }) => {
    const rows = await roundTrip(type, values);
    const resolved = await source.resolve({ name: 'x', table: `m${tables}` }, new AbortController().signal);
    expect(resolved.columns[1]?.type).toBe(lands);
    for (const [id, landed] of rows) {
      const asText =
        landed instanceof Uint8Array
          ? `\\x${Buffer.from(landed).toString('hex')}`
          : Object.is(landed, -0)
            ? '-0'
            : String(landed);
      const { printed, same } = await judge(type, id, asText);
      expect(same, `${type} row ${id}: ${asText.slice(0, 80)} is not ${printed.slice(0, 80)}`).toBe(true);
      if (ownText) expect(asText).toBe(printed);
      if (lands === 'timestamp')
        expect(iso.test(asText) ? asText : null).toBe(/BC|infinity|^\d{5}/.test(printed) ? null : asText);
      if (lands === 'timestamptz')
        expect(iso.test(asText.slice(0, -1)) && asText.endsWith('Z')).toBe(
          !/BC|infinity|^\d{5}/.test(printed),
        );
      if (lands === 'integer') {
        const size = BigInt(asText) < 0n ? -BigInt(asText) : BigInt(asText);
        expect(typeof landed).toBe(size <= 9_007_199_254_740_991n ? 'number' : 'bigint');
      }
      if (lands === 'boolean') expect(typeof landed).toBe('boolean');
      if (lands === 'float') expect(typeof landed).toBe(/[NI]/.test(asText) ? 'string' : 'number');
    }
  });

  test.each(arrays)(
    '$type lands as JSON with every digit, or as its literal when its bounds are odd',
    async ({ type, values }) => {
      for (const [id, landed] of await roundTrip(type, values)) {
        const [row] = await database.query(
          `SELECT format('%s', v) AS printed, to_json(v)::text AS json FROM m${tables} WHERE id = $1`,
          [id],
        );
        const { printed, json } = row as { printed: string; json: string };
        expect(landed).toBe(printed.startsWith('[') ? printed : json);
      }
    },
  );

  test.each(composites)('$type lands as the JSON that PostgreSQL makes of it', async ({ type, values }) => {
    for (const [id, landed] of await roundTrip(type, values)) {
      const [row] = await database.query(`SELECT to_json(v)::text AS json FROM m${tables} WHERE id = $1`, [
        id,
      ]);
      expect(landed).toBe(row?.['json']);
    }
  });

  test('float4 is the shortest decimal, as the server prints it', async () => {
    const rows = await roundTrip('real', ["'0.1'", "'1.17549435e-38'", "'16777216'", "'0.33333334'"]);
    expect(rows.map(([, value]) => value)).toEqual([0.1, 1.1754944e-38, 16777216, 0.33333334]);
  });

  test('timestamps have six digits and a T, in UTC with Z', async () => {
    expect(await roundTrip('timestamptz', ["'2024-03-31 02:30:00.5+02'"])).toEqual([
      [0, '2024-03-31T00:30:00.500000Z'],
    ]);
    expect(await roundTrip('timestamp', ["'2024-03-31 02:30:00'"])).toEqual([
      [0, '2024-03-31T02:30:00.000000'],
    ]);
  });

  test('random dates, timestamps, numbers and texts, 20,000 rows against the server', async () => {
    await database.query(`CREATE TABLE sample AS SELECT i AS id,
      (date '0001-01-01' + (random() * 4000000)::int) AS d,
      timestamp '2000-01-01' + (random() - 0.5) * 9000 * interval '1 year' AS ts,
      (random() * 10 ^ (random() * 30 - 15))::numeric AS n,
      ((random() - 0.5) * 10 ^ (random() * 60 - 30))::float8 AS f8,
      ((random() - 0.5) * 10 ^ (random() * 60 - 30))::float4 AS f4,
      ((random() - 0.5) * 2 ^ 63)::int8 AS i8
      FROM generate_series(1, 20000) i; ALTER TABLE sample ADD PRIMARY KEY (id)`);
    const { rows } = await readAll(source, { name: 's', table: 'sample', mode: 'merge' });
    expect(rows).toHaveLength(20_000);
    const columns = (i: number): string[] => rows.map((row) => String(row[i]));
    const [wrong] = await database.query(
      `SELECT count(*)::int AS n FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
         AS l(id, d, ts, n, f8, f4, i8) FULL JOIN sample s USING (id)
       WHERE l.d::date IS DISTINCT FROM s.d OR l.ts::timestamp IS DISTINCT FROM s.ts OR l.n IS DISTINCT FROM s.n::text
         OR l.f8::float8 IS DISTINCT FROM s.f8 OR l.f4::float4 IS DISTINCT FROM s.f4 OR l.i8 IS DISTINCT FROM s.i8::text`,
      [rows.map((row) => row[0]), ...[1, 2, 3, 4, 5, 6].map(columns)],
    );
    expect(wrong).toEqual({ n: 0 });
  });
});
