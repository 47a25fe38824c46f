import type { Value } from '../../src/core/types.ts';

/** The SQL servers that the suites ask. A fourth is one entry here and one in `databases.ts`. */
export type ServerKind = 'postgresql' | 'mysql' | 'mariadb';

/** What a column of a test table holds, whatever a server calls it. */
export type ColumnKind =
  | 'integer' // 32 bits
  | 'big' // 64 bits
  | 'decimal' // four digits behind the point
  | 'name' // text that can be a key, compared byte by byte
  | 'text' // of any length
  | 'stamp' // a moment in UTC with microseconds
  | 'moment' // date and time without a zone, with microseconds
  | 'day'
  | 'bytes'
  | 'unordered'; // what cannot be sorted, and so is no cursor

/**
 * What differs between the servers in what the tests do to them: data, so that no suite asks which server it is
 * talking to, and so that a server that leaves something out is a type error.
 */
export interface Dialect {
  readonly title: string;
  /** The connector type that reads it. */
  readonly connector: string;
  /** A name as this server's SQL writes it. */
  readonly quote: (name: string) => string;
  readonly types: Readonly<Record<ColumnKind, string>>;
  /** A landed value as SQL: times as ISO 8601, and so on. */
  readonly literal: (value: Value) => string;
  /** The landed text of a `stamp` column. */
  readonly stampText: (ref: string) => string;
  /** Now, for a `stamp` column: when the transaction (PostgreSQL) or the statement (MySQL) began. */
  readonly now: string;
  /** A moment shortened to tenths of a second, so that many rows share it. */
  readonly tenth: (moment: string) => string;
  /** A moment that lies that many seconds before now; `seconds` is an SQL expression. */
  readonly ago: (seconds: string) => string;
  /** A FROM item `s` with the numbers 1 to `count` in its column `n`. */
  readonly series: (count: number) => string;
  /** Division of integers, rounded down. */
  readonly over: (dividend: string, divisor: number) => string;
  /** The clause of ALTER TABLE that gives a column another type, its values converted. */
  readonly retype: (column: string, type: string) => string;
  /** The clause of ALTER TABLE that takes a table's primary key away. */
  readonly dropKey: (table: string) => string;
  /** One SELECT of one row `a` that says nothing for so long. */
  readonly silence: (seconds: number) => string;
  /** A query over the table `items` whose rows go wrong behind the one with id `at`. */
  readonly failing: (at: number) => string;
  /** Numbers that transactions draw, each given once, in order, and never again: a sequence, or what stands for one. */
  readonly counter: Counter;
  /** Makes the server look at its tables anew, for its estimates. */
  readonly analyze: (tables: readonly string[]) => string;
}

export interface Counter {
  readonly create: (name: string) => string;
  /** The next number to be drawn. */
  readonly set: (name: string, next: number) => string;
  /** Statements, the last of which shows the number as `n` and the moment it was drawn, in tenths, as `at`. */
  readonly draw: (name: string) => readonly string[];
}

const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z?$/;

/** MySQL's own: no zone in a literal (its session is in UTC), a backslash escapes, bytes are `x'…'`. */
function mysqlLiteral(value: Value): string {
  if (value === null) return 'NULL';
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString('hex')}'`;
  if (typeof value !== 'string') return String(value);
  return text(ISO.test(value) ? value.replace('T', ' ').replace('Z', '') : value.replaceAll('\\', '\\\\'));
}

const mysqlStamp = (ref: string): string => `date_format(${ref}, '%Y-%m-%dT%H:%i:%s.%fZ')`;
const mysqlTenth = (moment: string): string => `from_unixtime(floor(unix_timestamp(${moment}) * 10) / 10)`;

const mysqlFamily = {
  connector: 'mysql',
  quote: (name) => `\`${name.replaceAll('`', '``')}\``,
  types: {
    integer: 'int',
    big: 'bigint',
    decimal: 'decimal(20,4)',
    name: 'varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin',
    text: 'longtext',
    stamp: 'timestamp(6)',
    moment: 'datetime(6)',
    day: 'date',
    bytes: 'longblob',
    unordered: 'geometry',
  },
  literal: mysqlLiteral,
  stampText: mysqlStamp,
  now: 'now(6)',
  tenth: mysqlTenth,
  ago: (seconds) => `now(6) - interval (${seconds}) * 1000000 microsecond`,
  series: (count) =>
    `JSON_TABLE(concat('[0', repeat(',0', ${count - 1}), ']'), '$[*]' COLUMNS (n FOR ORDINALITY)) AS s`,
  over: (dividend, divisor) => `(${dividend}) DIV ${divisor}`,
  retype: (column, type) => `MODIFY COLUMN ${column} ${type}`,
  dropKey: () => 'DROP PRIMARY KEY',
  silence: (seconds) => `SELECT sleep(${seconds}) AS a`,
  // Unsigned numbers cannot be negative: an error only from that row on.
  failing: (at) => `SELECT id, cast(${at} AS unsigned) - id AS x FROM items`,
  // The row is written in the statement that takes the moment, so that the transaction is seen from there on.
  counter: {
    create: (name) => `CREATE TABLE ${name} (n bigint AUTO_INCREMENT PRIMARY KEY, at timestamp(6) NULL)`,
    set: (name, next) => `ALTER TABLE ${name} AUTO_INCREMENT = ${next}`,
    draw: (name) => [
      `INSERT INTO ${name} (at) VALUES (${mysqlTenth('now(6)')})`,
      `SELECT n, ${mysqlStamp('at')} AS at FROM ${name} WHERE n = last_insert_id()`,
    ],
  },
  analyze: (tables) => `ANALYZE TABLE ${tables.join(', ')}`,
} as const satisfies Omit<Dialect, 'title'>;

const postgresStamp = (ref: string): string =>
  `to_char(${ref} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
const postgresTenth = (moment: string): string => `date_bin('100 ms', ${moment}, 'epoch')`;

export const dialects: Readonly<Record<ServerKind, Dialect>> = {
  postgresql: {
    title: 'PostgreSQL',
    connector: 'postgresql',
    quote: (name) => `"${name.replaceAll('"', '""')}"`,
    types: {
      integer: 'int',
      big: 'bigint',
      decimal: 'numeric(20,4)',
      name: 'text COLLATE "C"',
      text: 'text',
      stamp: 'timestamptz',
      moment: 'timestamp',
      day: 'date',
      bytes: 'bytea',
      unordered: 'json',
    },
    literal: (value) => {
      if (value === null) return 'NULL';
      if (value instanceof Uint8Array) return `'\\x${Buffer.from(value).toString('hex')}'`;
      return typeof value === 'string' ? text(value) : String(value);
    },
    stampText: postgresStamp,
    now: 'now()',
    tenth: postgresTenth,
    ago: (seconds) => `now() - (${seconds}) * interval '1 second'`,
    series: (count) => `generate_series(1, ${count}) AS s(n)`,
    over: (dividend, divisor) => `(${dividend}) / ${divisor}`,
    retype: (column, type) => `ALTER COLUMN ${column} TYPE ${type} USING ${column}::${type}`,
    dropKey: (table) => `DROP CONSTRAINT ${table}_pkey`,
    silence: (seconds) => `SELECT 1 AS a FROM pg_sleep(${seconds})`,
    failing: (at) => `SELECT id, 1 / (${at} - id) AS x FROM items`,
    counter: {
      create: (name) => `CREATE SEQUENCE ${name}`,
      set: (name, next) => `SELECT setval('${name}', ${next}, false)`,
      draw: (name) => [`SELECT nextval('${name}') AS n, ${postgresStamp(postgresTenth('now()'))} AS at`],
    },
    analyze: (tables) => `ANALYZE ${tables.join(', ')}`,
  },
  mysql: { ...mysqlFamily, title: 'MySQL' },
  mariadb: { ...mysqlFamily, title: 'MariaDB' },
};
