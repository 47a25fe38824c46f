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
  /** The same, shortened to tenths of a second, so that many rows share it. */
  readonly tenth: string;
  /** A moment that lies that many seconds before now; `seconds` is an SQL expression. */
  readonly ago: (seconds: string) => string;
  /** A FROM item `s` with the numbers 1 to `count` in its column `n`. */
  readonly series: (count: number) => string;
  /** Division of integers, rounded down. */
  readonly over: (dividend: string, divisor: number) => string;
  /** The clause of ALTER TABLE that gives a column another type, its values converted. */
  readonly retype: (column: string, type: string) => string;
  /** One SELECT of one row `a` that says nothing for so long. */
  readonly silence: (seconds: number) => string;
  /** Makes the server look at its tables anew, for its estimates. */
  readonly analyze: (tables: readonly string[]) => string;
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

const mysqlFamily = {
  connector: 'mysql',
  quote: (name) => `\`${name.replaceAll('`', '``')}\``,
  types: {
    integer: 'int',
    big: 'bigint',
    decimal: 'decimal(20,4)',
    name: 'varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin',
    text: 'longtext',
    // Said in full: older MariaDB makes the first bare TIMESTAMP column one that follows every change.
    stamp: 'timestamp(6) NULL DEFAULT NULL',
    moment: 'datetime(6)',
    day: 'date',
    bytes: 'longblob',
    unordered: 'geometry',
  },
  literal: mysqlLiteral,
  stampText: (ref) => `date_format(${ref}, '%Y-%m-%dT%H:%i:%s.%fZ')`,
  now: 'now(6)',
  tenth: 'from_unixtime(floor(unix_timestamp(now(6)) * 10) / 10)',
  ago: (seconds) => `now(6) - interval (${seconds}) * 1000000 microsecond`,
  series: (count) =>
    `JSON_TABLE(concat('[0', repeat(',0', ${count - 1}), ']'), '$[*]' COLUMNS (n FOR ORDINALITY)) AS s`,
  over: (dividend, divisor) => `(${dividend}) DIV ${divisor}`,
  retype: (column, type) => `MODIFY COLUMN ${column} ${type}`,
  silence: (seconds) => `SELECT sleep(${seconds}) AS a`,
  analyze: (tables) => `ANALYZE TABLE ${tables.join(', ')}`,
} as const satisfies Omit<Dialect, 'title'>;

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
    stampText: (ref) => `to_char(${ref} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`,
    now: 'now()',
    tenth: `date_bin('100 ms', now(), 'epoch')`,
    ago: (seconds) => `now() - (${seconds}) * interval '1 second'`,
    series: (count) => `generate_series(1, ${count}) AS s(n)`,
    over: (dividend, divisor) => `(${dividend}) / ${divisor}`,
    retype: (column, type) => `ALTER COLUMN ${column} TYPE ${type} USING ${column}::${type}`,
    silence: (seconds) => `SELECT 1 AS a FROM pg_sleep(${seconds})`,
    analyze: (tables) => `ANALYZE ${tables.join(', ')}`,
  },
  mysql: { ...mysqlFamily, title: 'MySQL' },
  mariadb: { ...mysqlFamily, title: 'MariaDB' },
};
