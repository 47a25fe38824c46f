/**
 * How each type of MySQL and MariaDB is read: what stands in the SELECT list, what it means and lands as, and how a
 * value of it is said in SQL.
 *
 * | source | lands as |
 * |---|---|
 * | tinyint … bigint, signed and unsigned below 64 bit, bool, year | integer; tinyint(1) is one too: it holds 2 to 127 as well |
 * | bigint unsigned | decimal text: SQLite's integers end at 2^63-1 |
 * | bit(1) to bit(63) / bit(64) | integer / decimal text, as b'…' + 0: bits are numbers in both servers' arithmetic |
 * | decimal | decimal text with every digit |
 * | float, double | float; of a float the shortest number that means the same 32 bits |
 * | date, datetime, timestamp | date; timestamp; timestamptz in UTC; always six digits |
 * | time | text as the server prints it: it is a span, to 838 hours and below zero |
 * | char, varchar, text, enum, set, uuid, inet4, inet6 | text, whatever character set it is stored in |
 * | json (MySQL), json (MariaDB: a text that is checked) | json text as the server holds it |
 * | binary, varbinary, blob, geometry, vector | bytes: of a geometry its SRID and WKB, of a vector its floats, little-endian |
 */

import type { LogicalType, Value } from '../../core/types.ts';
import { binaryCollation, type Field, fieldFlags, wireTypes } from './fields.ts';
import { literal as quotedText } from './sql-text.ts';

/** A column's type, from the catalogue or from the description of a result. */
export interface SourceType {
  /** Lower case, without what stands in parentheses and behind: `bigint`, `varchar`, `point`, `uuid`. */
  readonly name: string;
  /** As it is written in a table's definition: `bigint(20) unsigned`, `decimal(10,2)`. */
  readonly sql: string;
  readonly unsigned: boolean;
  /** Of a text: the character set it is stored in; null for everything else. */
  readonly charset: string | null;
  /** Of bit: how many. */
  readonly bits: number;
}

/** A type as the catalogue writes it: `COLUMN_TYPE` and `CHARACTER_SET_NAME` of information_schema.COLUMNS. */
export function sourceType(columnType: string, charset: string | null): SourceType {
  const sql = columnType.trim();
  const [, name = '', inside = ''] = /^(\w+(?: precision)?)\s*(?:\(([^)]*)\))?/i.exec(sql) ?? [];
  return {
    name: name.toLowerCase(),
    sql,
    unsigned: /\bunsigned\b/i.test(sql.replace(/'(?:[^'\\]|''|\\.)*'/g, '')),
    charset,
    bits: Number.parseInt(inside, 10) || 1,
  };
}

/** The type of a result's column, for streams that are a query. */
export function fieldType(field: Field): SourceType {
  const unsigned = (field.flags & fieldFlags.unsigned) !== 0;
  const name = fieldTypeName(field);
  const sized = sizes(name, field, unsigned);
  const isNumber = unsigned && numeric.has(name);
  return {
    name,
    sql: `${name}${sized}${isNumber ? ' unsigned' : ''}`,
    unsigned,
    charset: field.collation === binaryCollation ? null : charsetOf(field.collation),
    bits: field.type === wireTypes.bit ? field.length : 1,
  };
}

const numeric = new Set(['tinyint', 'smallint', 'mediumint', 'int', 'bigint', 'decimal', 'float', 'double']);

const wireNames: ReadonlyMap<number, string> = new Map([
  [wireTypes.decimal, 'decimal'],
  [wireTypes.newdecimal, 'decimal'],
  [wireTypes.tiny, 'tinyint'],
  [wireTypes.short, 'smallint'],
  [wireTypes.int24, 'mediumint'],
  [wireTypes.long, 'int'],
  [wireTypes.longlong, 'bigint'],
  [wireTypes.float, 'float'],
  [wireTypes.double, 'double'],
  [wireTypes.null, 'null'],
  [wireTypes.timestamp, 'timestamp'],
  [wireTypes.date, 'date'],
  [wireTypes.newdate, 'date'],
  [wireTypes.time, 'time'],
  [wireTypes.datetime, 'datetime'],
  [wireTypes.year, 'year'],
  [wireTypes.bit, 'bit'],
  [wireTypes.vector, 'vector'],
  [wireTypes.json, 'json'],
  [wireTypes.enum, 'enum'],
  [wireTypes.set, 'set'],
  [wireTypes.geometry, 'geometry'],
]);

function fieldTypeName(field: Field): string {
  if (field.format === 'json') return 'json';
  if (field.extended !== null) return field.extended;
  if ((field.flags & fieldFlags.enum) !== 0) return 'enum';
  if ((field.flags & fieldFlags.set) !== 0) return 'set';
  const known = wireNames.get(field.type);
  if (known) return known;
  const binary = field.collation === binaryCollation;
  if (field.type === wireTypes.string) return binary ? 'binary' : 'char';
  if (field.type === wireTypes.varstring || field.type === wireTypes.varchar)
    return binary ? 'varbinary' : 'varchar';
  return binary ? 'longblob' : 'longtext';
}

function sizes(name: string, field: Field, unsigned: boolean): string {
  switch (name) {
    case 'decimal': {
      // A sign and a point have a place of their own in the length.
      const digits = field.length - (unsigned ? 0 : 1) - (field.decimals > 0 ? 1 : 0);
      return `(${digits},${field.decimals})`;
    }
    case 'binary':
    case 'varbinary':
    case 'bit':
      return `(${field.length})`;
    case 'time':
    case 'datetime':
    case 'timestamp':
      return field.decimals > 0 && field.decimals <= 6 ? `(${field.decimals})` : '';
    default:
      return '';
  }
}

/** How a column of some type travels. */
export interface Travel {
  readonly type: LogicalType;
  /**
   * A text in a character set that can hold what the server has no UTF-8 for. `select` then is two items: the text,
   * and its bytes where the server would put a `?` in their place.
   */
  readonly guarded: boolean;
  /** Whether rows can be put in order by it. */
  readonly orderable: boolean;
  /** What stands in the SELECT list for a column given as SQL. */
  select(ref: string): string;
  /** The expression that follows the column's own order and can be compared with `sql(…)`: for most the column. */
  compared(ref: string): string;
  /**
   * A landed value as text for a position, from which `sql` makes exactly that value; null where the landed form
   * does not say it: then `positionOf` is selected besides and its text is the position.
   */
  readonly literal: ((value: Value) => string | null) | null;
  /** The position's text, selected from a column given as SQL. */
  positionOf(ref: string): string;
  /** A position's text as an expression to compare `compared` with. */
  sql(text: string): string;
}

/** How a column of this type travels. */
export function travelOf(type: SourceType): Travel {
  const name = synonyms[type.name] ?? type.name;
  switch (name) {
    case 'tinyint':
    case 'smallint':
    case 'mediumint':
    case 'int':
    case 'year':
      return integer;
    case 'bigint':
      return type.unsigned ? decimal : integer;
    case 'bit':
      return type.bits > 63 ? wideBits : bits;
    case 'decimal':
      return decimal;
    case 'float':
      return float;
    case 'double':
      return double;
    case 'date':
      return date;
    case 'datetime':
      return timestamp;
    case 'timestamp':
      return timestamptz;
    case 'enum':
    case 'set':
      return label;
    case 'json':
      return json;
    case 'binary':
    case 'varbinary':
    case 'tinyblob':
    case 'blob':
    case 'mediumblob':
    case 'longblob':
      return bytes;
    case 'time':
      return time;
    case 'null':
    case 'uuid':
    case 'inet4':
    case 'inet6':
      return plainText;
    default:
      if (spatial.has(name)) return opaque;
      if (type.charset === null && !textual.has(name)) return bytes;
      return type.charset === null || convertible.has(type.charset) ? plainText : guardedText;
  }
}

const synonyms: Readonly<Record<string, string>> = {
  bool: 'tinyint',
  boolean: 'tinyint',
  integer: 'int',
  numeric: 'decimal',
  dec: 'decimal',
  fixed: 'decimal',
  real: 'double',
  'double precision': 'double',
};

const spatial = new Set([
  'geometry',
  'point',
  'linestring',
  'polygon',
  'multipoint',
  'multilinestring',
  'multipolygon',
  'geometrycollection',
  'geomcollection',
  'vector',
]);
const textual = new Set(['char', 'varchar', 'tinytext', 'text', 'mediumtext', 'longtext']);

const itself = (ref: string): string => ref;
const say = (value: Value): string => String(value);

/** A travel of whose parts only some differ from the plain case: selected, compared and said as itself. */
function travel(type: LogicalType, parts: Partial<Travel> = {}): Travel {
  return {
    type,
    guarded: false,
    orderable: true,
    select: itself,
    compared: itself,
    literal: say,
    positionOf: (ref) => `CAST(${ref} AS CHAR)`,
    sql: quotedText,
    ...parts,
  };
}

/** A position comes from our own state: what is no number in it is a quoted text, and harmless. */
const number = (text: string): string => (/^-?\d+(\.\d+)?$/.test(text) ? text : quotedText(text));

const integer = travel('integer', { sql: number });
const decimal = travel('decimal', { sql: number });

/** With an exponent it is a DOUBLE, without it would be a DECIMAL, and the comparison another. */
const doubleSql = (text: string): string =>
  /^-?\d+(\.\d+)?$/.test(text)
    ? `${text}e0`
    : /^-?\d+(\.\d+)?e[+-]?\d+$/.test(text)
      ? text
      : quotedText(text);
const double = travel('float', { sql: doubleSql });
/** A FLOAT is compared as the double it is exactly: 0.1 is 0.10000000149011612. */
const float = travel('float', { literal: (value) => String(Math.fround(Number(value))), sql: doubleSql });

const bits = travel('integer', { sql: number, positionOf: (ref) => `CAST(${ref} + 0 AS CHAR)` });
const wideBits: Travel = { ...bits, type: 'decimal' };

const ownMoment = (value: Value): string => String(value).replace('T', ' ').replace('Z', '');
const date = travel('date');
const timestamp = travel('timestamp', { literal: ownMoment });
const timestamptz = travel('timestamptz', { literal: ownMoment });

const textOnly = (value: Value): string | null => (typeof value === 'string' ? value : null);
const plainText = travel('text', { literal: textOnly });
const time = travel('text', { literal: textOnly, sql: (text) => `TIME${quotedText(text)}` });

/** Both are put in order by their number, and compared with a text by their text: the position is the number. */
const label = travel('text', {
  literal: null,
  compared: (ref) => `(${ref} + 0)`,
  positionOf: (ref) => `CAST(${ref} + 0 AS CHAR)`,
  sql: number,
});

const json = travel('json', { orderable: false });

const hexOf = (value: Value): string | null =>
  value instanceof Uint8Array
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')
    : null;
const bytes = travel('bytes', {
  literal: hexOf,
  positionOf: (ref) => `HEX(${ref})`,
  sql: (text) => `X'${/^(?:[0-9a-f]{2})*$/i.test(text) ? text : Buffer.from(text).toString('hex')}'`,
});
const opaque: Travel = { ...bytes, orderable: false };

/**
 * The server writes `?` (in tis620 U+FFFD) for a character that Unicode does not have. Then, and only then, the two
 * lengths differ, and the bytes as they are stored land in place of a text that is not there.
 */
const guardedText: Travel = {
  ...plainText,
  guarded: true,
  select: (ref) =>
    `${ref}, IF(CHAR_LENGTH(REPLACE(REPLACE(CONVERT(${ref} USING utf8mb4), '?', ''), _utf8mb4 X'EFBFBD', ''))` +
    ` <> CHAR_LENGTH(REPLACE(${ref}, '?', '')), CAST(${ref} AS BINARY), NULL)`,
};

/**
 * Character sets of which every stored text has its UTF-8: tried code by code on both servers. Not ascii: MariaDB
 * takes any byte for one.
 */
const convertible = new Set(
  (
    'utf8mb4 utf8mb3 utf8 ucs2 utf16 utf16le utf32 gb18030 latin1 latin2 latin5 latin7 ' +
    'cp850 cp852 cp866 keybcs2 koi8r koi8u macce macroman'
  ).split(' '),
);

/**
 * The character set of a collation, as far as it matters here: by number, since a result says no more. MariaDB adds
 * 1024 for NO PAD, and counts from 2048 for its UCA 14 collations, which are all of Unicode.
 */
function charsetOf(collation: number): string {
  if (collation >= 2048) return 'utf8mb4';
  const id = collation & 1023;
  if ([5, 8, 15, 31, 47, 48, 49, 94].includes(id)) return 'latin1';
  const unicode = [33, 35, 45, 46, 54, 55, 56, 60, 61, 62, 83, 90].includes(id) || (id >= 101 && id < 700);
  return unicode || id === 736 ? 'utf8mb4' : 'other';
}
