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

/**
 * A copy: a view would keep the whole chunk alive, and carry all of it across a thread. The small ones of a batch share
 * a block: with a buffer each, a million of them cost more than all other columns together (2.4 of 6.5 s in the
 * garbage collector, 100 MB more memory), and a message carries a block once however many views it has.
 */
export const bytes: Decoder = (b, o, n) => {
  if (n > blockBytes / 4) {
    const own = new Uint8Array(n);
    b.copy(own, 0, o, o + n);
    return own;
  }
  if (blockFill + n > block.length) {
    block = new Uint8Array(blockBytes);
    blockFill = 0;
  }
  b.copy(block, blockFill, o, o + n);
  const view = new Uint8Array(block.buffer, blockFill, n);
  blockFill += n;
  return view;
};

const blockBytes = 32 * 1024;
let block = new Uint8Array(0);
let blockFill = 0;

/** Called between batches: two messages that share a block would each carry all of it. */
export function endBlock(): void {
  if (blockFill > 0) block = new Uint8Array(0);
  blockFill = 0;
}

/** One flat string; see `timestampText` for why. */
export const uuid: Decoder = (b, o) => {
  let at = 0;
  for (let i = 0; i < 16; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) at++;
    const byte = b[o + i] as number;
    uuidScratch[at++] = hexDigits[byte >> 4] as number;
    uuidScratch[at++] = hexDigits[byte & 15] as number;
  }
  return uuidScratch.latin1Slice(0, 36);
};

const hexDigits = Buffer.from('0123456789abcdef', 'latin1');
const uuidScratch = Buffer.from('--------------------------------------'.slice(0, 36), 'latin1');

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
