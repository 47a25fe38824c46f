/**
 * PostgreSQL's binary formats into the one JavaScript form of each logical type (src/core/types.ts). A decoder
 * gets the whole chunk, where its field begins and how long it is: cutting a Buffer for every field costs more
 * than decoding it.
 */

import { type Decoder, shortFloat, text } from '../sql/bytes.ts';
import { dayText, timestampText } from './time.ts';

export { bytes, type Decoder, endBlock, text } from '../sql/bytes.ts';

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

/** What PostgreSQL prints. */
export const float4: Decoder = (b, o) => {
  const exact = b.readFloatBE(o);
  return Number.isFinite(exact) ? shortFloat(exact) : floatForm(exact);
};

function floatForm(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

/** One version byte, then text. */
export const jsonb: Decoder = (b, o, n) => text(b, o + 1, n - 1);

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
