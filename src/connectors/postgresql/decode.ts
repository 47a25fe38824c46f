/**
 * PostgreSQL's binary formats into the one JavaScript form of each logical type (src/core/types.ts). A decoder
 * gets the whole chunk, where its field begins and how long it is: cutting a Buffer for every field costs more
 * than decoding it.
 */

import { isUtf8 } from 'node:buffer';
import type { Value } from '../../core/types.ts';
import { dayText, timestampText } from './time.ts';

declare global {
  /** What `toString` calls inside, without its reading of arguments: a quarter of the time of a short text. */
  interface Buffer {
    latin1Slice(start: number, end: number): string;
    utf8Slice(start: number, end: number): string;
    hexSlice(start: number, end: number): string;
  }
}

/** Field bytes in, value out. `null` never comes here. */
export type Decoder = (chunk: Buffer, offset: number, length: number) => Value;

export const int2: Decoder = (b, o) => b.readInt16BE(o);
export const int4: Decoder = (b, o) => b.readInt32BE(o);
export const oid: Decoder = (b, o) => b.readUInt32BE(o);
export const bool: Decoder = (b, o) => b[o] === 1;

/** A number while it is safe, else a bigint: the high word tells, but for -2^53. */
export const int8: Decoder = (b, o) => {
  const high = b.readInt32BE(o);
  if (high > 2_097_151 || high < -2_097_152) return b.readBigInt64BE(o);
  const value = high * 4_294_967_296 + b.readUInt32BE(o + 4);
  return value === -9_007_199_254_740_992 ? BigInt(value) : value;
};

export const float8: Decoder = (b, o) => floatForm(b.readDoubleBE(o));

/**
 * The shortest decimal that means the same float4, which is what PostgreSQL prints: the double nearest to 0.1 is
 * what people compare with, not 0.10000000149011612.
 */
export const float4: Decoder = (b, o) => {
  const exact = b.readFloatBE(o);
  if (!Number.isFinite(exact) || Number.isInteger(exact)) return floatForm(exact);
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(exact.toPrecision(digits));
    if (Math.fround(short) === exact) return short;
  }
  return Number(exact.toPrecision(9));
};

function floatForm(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

/** Above this V8 makes no string (2^29 - 24 characters). */
const stringBytesMax = 536_870_888;

/**
 * Text as a string. Bytes that are not UTF-8 (a SQL_ASCII database holds whatever it was given) stay bytes: a
 * string of U+FFFD would be a silent loss.
 */
export const text: Decoder = (b, o, n) => {
  if (n < 40) {
    const end = o + n;
    for (let i = o; i < end; i++) {
      if ((b[i] as number) > 127) return wideText(b, o, n);
    }
    return b.latin1Slice(o, end);
  }
  return wideText(b, o, n);
};

function wideText(b: Buffer, o: number, n: number): Value {
  if (n > stringBytesMax) return bytes(b, o, n);
  const value = b.utf8Slice(o, o + n);
  return value.includes('\uFFFD') && !isUtf8(b.subarray(o, o + n)) ? bytes(b, o, n) : value;
}

/** One version byte, then text. */
export const jsonb: Decoder = (b, o, n) => text(b, o + 1, n - 1);

/** A copy with a buffer of its own: a view would keep the whole chunk alive, and carry all of it across a thread. */
export const bytes: Decoder = (b, o, n) => {
  const copy = new Uint8Array(n);
  copy.set(b.subarray(o, o + n));
  return copy;
};

export const uuid: Decoder = (b, o) => {
  const hex = b.hexSlice(o, o + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};

export const date: Decoder = (b, o) => dayText(b.readInt32BE(o));
export const timestamp: Decoder = (b, o) => timestampText(b.readInt32BE(o), b.readUInt32BE(o + 4), false);
export const timestamptz: Decoder = (b, o) => timestampText(b.readInt32BE(o), b.readUInt32BE(o + 4), true);

/** Base-10,000 digits with a weight; every digit and the scale are kept. */
export const numeric: Decoder = (b, o) => {
  const digits = b.readUInt16BE(o);
  const weight = b.readInt16BE(o + 2);
  const sign = b.readUInt16BE(o + 4);
  const scale = b.readUInt16BE(o + 6);
  if (sign !== 0 && sign !== 0x4000)
    return sign === 0xc000 ? 'NaN' : sign === 0xd000 ? 'Infinity' : '-Infinity';
  let value = sign === 0x4000 ? '-' : '';
  if (weight < 0) value += '0';
  for (let i = 0; i <= weight; i++) {
    const digit = i < digits ? b.readUInt16BE(o + 8 + 2 * i) : 0;
    value += i === 0 ? digit : padded(digit);
  }
  if (scale === 0) return value;
  let fraction = '';
  for (let i = weight + 1; fraction.length < scale; i++) {
    fraction += padded(i >= 0 && i < digits ? b.readUInt16BE(o + 8 + 2 * i) : 0);
  }
  return `${value}.${fraction.length === scale ? fraction : fraction.slice(0, scale)}`;
};

function padded(digit: number): string {
  return digit > 999 ? String(digit) : digit > 99 ? `0${digit}` : digit > 9 ? `00${digit}` : `000${digit}`;
}
