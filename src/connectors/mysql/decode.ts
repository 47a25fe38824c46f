/**
 * The binary protocol's values into the one JavaScript form of each logical type (src/core/types.ts). The binary
 * protocol because the text one is not exact: both servers cut FLOAT to six digits in it, and pad what is ZEROFILL. A
 * date or time comes as its parts, so that no calendar of ours can refuse one. What has no binary form (decimals,
 * texts, json, enum, set, uuid) comes as the server's own text in either.
 */

import type { LogicalType } from '../../core/types.ts';
import { ascii, bytes, type Decoder, shortFloat, text } from '../sql/bytes.ts';
import { type Field, fieldFlags, wireTypes } from './fields.ts';

/** How a field of a row is taken apart. `size` is 0 where its length stands before it. */
export interface FieldReader {
  readonly size: number;
  readonly decode: Decoder;
}

/** How a field becomes a value of that logical type; null when the two do not fit: the column is another now. */
export function fieldReader(type: LogicalType, field: Field): FieldReader | null {
  if (field.type === wireTypes.null) return nothing;
  switch (type) {
    case 'integer':
      return integers(field);
    case 'decimal':
      return decimals(field);
    case 'float':
      return floats(field);
    case 'date':
      return field.type === wireTypes.date || field.type === wireTypes.newdate ? dates : null;
    case 'timestamp':
      return field.type === wireTypes.datetime ? moments(field, false) : null;
    case 'timestamptz':
      return field.type === wireTypes.timestamp ? moments(field, true) : null;
    case 'bytes':
      return isString(field.type) ? byteStrings : null;
    case 'json':
      return isString(field.type) ? texts : null;
    case 'text':
      if (field.type === wireTypes.time) return times(field);
      return isString(field.type) ? texts : null;
    case 'boolean':
      return null;
    default:
      throw type satisfies never;
  }
}

function isString(type: number): boolean {
  return type === wireTypes.varchar || (type >= wireTypes.vector && type !== wireTypes.newdecimal);
}

/** What is not regular in a calendar has been decoded so often; see `isOdd`. */
export let oddDates = 0;

const lengthBefore = 0;
const nothing: FieldReader = { size: lengthBefore, decode: () => null };
const texts: FieldReader = { size: lengthBefore, decode: text };

const byteStrings: FieldReader = { size: lengthBefore, decode: bytes };

function integers({ type, flags }: Field): FieldReader | null {
  const unsigned = (flags & fieldFlags.unsigned) !== 0;
  switch (type) {
    case wireTypes.tiny:
      return { size: 1, decode: unsigned ? uint1 : int1 };
    case wireTypes.short:
    case wireTypes.year:
      return { size: 2, decode: unsigned || type === wireTypes.year ? uint2 : int2 };
    case wireTypes.int24:
    case wireTypes.long:
      return { size: 4, decode: unsigned ? uint4 : int4 };
    case wireTypes.longlong:
      return unsigned ? null : { size: 8, decode: int8 };
    case wireTypes.bit:
      return { size: lengthBefore, decode: bits };
    default:
      return null;
  }
}

function decimals({ type, flags }: Field): FieldReader | null {
  switch (type) {
    case wireTypes.decimal:
    case wireTypes.newdecimal:
      return { size: lengthBefore, decode: (flags & fieldFlags.zerofill) === 0 ? ascii : unpadded };
    case wireTypes.longlong:
      return { size: 8, decode: (flags & fieldFlags.unsigned) === 0 ? int8Text : uint8Text };
    case wireTypes.bit:
      return { size: lengthBefore, decode: bitsText };
    default:
      return null;
  }
}

function floats({ type }: Field): FieldReader | null {
  if (type === wireTypes.double) return { size: 8, decode: float8 };
  return type === wireTypes.float ? { size: 4, decode: float4 } : null;
}

const int1: Decoder = (b, o) => ((b[o] as number) << 24) >> 24;
const uint1: Decoder = (b, o) => b[o] as number;
const int2: Decoder = (b, o) => (((b[o] as number) | ((b[o + 1] as number) << 8)) << 16) >> 16;
const uint2: Decoder = (b, o) => (b[o] as number) | ((b[o + 1] as number) << 8);
const int4: Decoder = (b, o) =>
  (b[o] as number) |
  ((b[o + 1] as number) << 8) |
  ((b[o + 2] as number) << 16) |
  ((b[o + 3] as number) << 24);
const uint4: Decoder = (b, o) => (int4(b, o, 4) as number) >>> 0;

/** A number while it is safe, else a bigint: the high word tells, but for -2^53. */
const int8: Decoder = (b, o) => {
  const high = int4(b, o + 4, 4) as number;
  if (high > 2_097_151 || high < -2_097_152) return b.readBigInt64LE(o);
  const value = high * 4_294_967_296 + (uint4(b, o, 4) as number);
  return value === -9_007_199_254_740_992 ? BigInt(value) : value;
};

const int8Text: Decoder = (b, o) => String(int8(b, o, 8));

/** Unsigned to 2^64-1: as decimal text, since SQLite's integers end at 2^63-1. */
const uint8Text: Decoder = (b, o) => {
  const high = uint4(b, o + 4, 4) as number;
  return high > 2_097_151
    ? b.readBigUInt64LE(o).toString()
    : String(high * 4_294_967_296 + (uint4(b, o, 4) as number));
};

/** bit(1) to bit(63), most significant byte first. */
const bits: Decoder = (b, o, n) => {
  let value = 0;
  for (let i = 0; i < n; i++) value = value * 256 + (b[o + i] as number);
  return Number.isSafeInteger(value) ? value : bigBits(b, o, n);
};

const bitsText: Decoder = (b, o, n) => bigBits(b, o, n).toString();

function bigBits(b: Buffer, o: number, n: number): bigint {
  return n === 0 ? 0n : BigInt(`0x${b.hexSlice(o, o + n)}`);
}

const float8: Decoder = (b, o) => b.readDoubleLE(o);
const float4: Decoder = (b, o) => shortFloat(b.readFloatLE(o));

/** ZEROFILL is how a number is shown, not what it is. */
const unpadded: Decoder = (b, o, n) => ascii(b, o, n).replace(/^0+(?=\d)/, '');

/**
 * One flat string made from bytes, and the day written only when it changes: a string put together from pieces is a
 * tree, which costs eight times the garbage and is flattened when it crosses to the writing thread.
 */
const scratch = Buffer.from('0000-00-00T00:00:00.000000Z', 'latin1');
let scratchDay = 0;

/** Writes a day given as its four bytes; false when no calendar has it. */
function writeDay(b: Buffer, o: number): boolean {
  const day = int4(b, o, 4) as number;
  if (day !== scratchDay) {
    const year = day & 0xffff;
    const century = (year / 100) | 0;
    writeTwo(0, century);
    writeTwo(2, year - century * 100);
    writeTwo(5, (day >>> 16) & 0xff);
    writeTwo(8, day >>> 24);
    scratchDay = day;
  }
  return isDay(day & 0xffff, (day >>> 16) & 0xff, day >>> 24);
}

const zeroDay = Buffer.alloc(4);

function writeTwo(at: number, value: number): void {
  const tens = (value / 10) | 0;
  scratch[at] = 48 + tens;
  scratch[at + 1] = 48 + value - tens * 10;
}

/** Whether the proleptic Gregorian calendar has the day. */
function isDay(year: number, month: number, day: number): boolean {
  if (day === 0 || month === 0 || month > 12) return false;
  if (day < 29) return true;
  if (month === 2) return day === 29 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return day < 31 || (day === 31 && month !== 4 && month !== 6 && month !== 9 && month !== 11);
}

const dates: FieldReader = {
  size: lengthBefore,
  decode: (b, o, n) => {
    if (!(n === 0 ? writeDay(zeroDay, 0) : writeDay(b, o))) oddDates += 1;
    return ascii(scratch, 0, 10);
  },
};

/** DATETIME and TIMESTAMP; the session's time zone is UTC. In no calendar: as the server prints it, without `T` and `Z`. */
function moments(field: Field, zoned: boolean): FieldReader {
  const end = zoned ? 27 : 26;
  const ownEnd = field.decimals === 0 ? 19 : 20 + Math.min(field.decimals, 6);
  return {
    size: lengthBefore,
    decode: (b, o, n) => {
      const regular = n === 0 ? writeDay(zeroDay, 0) : writeDay(b, o);
      writeTwo(11, n > 4 ? (b[o + 4] as number) : 0);
      writeTwo(14, n > 4 ? (b[o + 5] as number) : 0);
      writeTwo(17, n > 4 ? (b[o + 6] as number) : 0);
      writeMicros(n > 7 ? (int4(b, o + 7, 4) as number) : 0);
      if (regular) return scratch.latin1Slice(0, end);
      oddDates += 1;
      return `${scratch.latin1Slice(0, 10)} ${scratch.latin1Slice(11, ownEnd)}`;
    },
  };
}

function writeMicros(micros: number): void {
  let rest = micros;
  for (let at = 25; at >= 20; at--) {
    const next = (rest / 10) | 0;
    scratch[at] = 48 + rest - next * 10;
    rest = next;
  }
}

/** Whether a decoded date or moment is one that no calendar has. */
export function isOdd(type: LogicalType, value: string): boolean {
  if (type !== 'date') return value.charCodeAt(10) === 32;
  const [year, month, day] = value.split('-').map(Number);
  return !isDay(year ?? 0, month ?? 0, day ?? 0);
}

/** A span from -838:59:59 to 838:59:59, as the server prints it, with as many digits as the column has. */
function times(field: Field): FieldReader {
  const digits = field.decimals > 6 ? null : field.decimals;
  return {
    size: lengthBefore,
    decode: (b, o, n) => {
      const hours = n === 0 ? 0 : (int4(b, o + 1, 4) as number) * 24 + (b[o + 5] as number);
      const clock = `${two(hours)}:${two(n === 0 ? 0 : (b[o + 6] as number))}:${two(n === 0 ? 0 : (b[o + 7] as number))}`;
      const micros = n > 8 ? (int4(b, o + 8, 4) as number) : 0;
      const wanted = digits ?? (micros === 0 ? 0 : 6);
      const fraction = wanted === 0 ? '' : `.${String(micros).padStart(6, '0').slice(0, wanted)}`;
      return `${n > 0 && b[o] === 1 ? '-' : ''}${clock}${fraction}`;
    },
  };
}

function two(value: number): string {
  return value > 9 ? String(value) : `0${value}`;
}
