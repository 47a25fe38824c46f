/** What the decoders of every SQL connector share: texts and byte strings out of a chunk from the wire. */

import { isUtf8 } from 'node:buffer';
import type { Value } from '../../core/types.ts';

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

/** Above this V8 makes no string (2^29 - 24 characters). */
const stringBytesMax = 536_870_888;

/**
 * Text as a string. Bytes that are not UTF-8 (a SQL_ASCII database holds whatever it was given) stay bytes: a
 * string of U+FFFD would be a silent loss.
 */
export const text: Decoder = (b, o, n) => {
  if (n <= 10) {
    const end = o + n;
    for (let i = o; i < end; i++) {
      if ((b[i] as number) > 127) return wideText(b, o, n);
    }
    return ascii(b, o, n);
  }
  return wideText(b, o, n);
};

const chars = String.fromCharCode as (...codes: readonly (number | undefined)[]) => string;

/** Bytes below 128 as a string. Ten at most go by in a third of the time that the way into C++ and back takes. */
export function ascii(b: Buffer, o: number, n: number): string {
  switch (n) {
    case 0:
      return '';
    case 1:
      return chars(b[o]);
    case 2:
      return chars(b[o], b[o + 1]);
    case 3:
      return chars(b[o], b[o + 1], b[o + 2]);
    case 4:
      return chars(b[o], b[o + 1], b[o + 2], b[o + 3]);
    case 5:
      return chars(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4]);
    case 6:
      return chars(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5]);
    case 7:
      return chars(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6]);
    case 8:
      return chars(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7]);
    case 9:
      return chars(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8]);
    case 10:
      return chars(
        b[o],
        b[o + 1],
        b[o + 2],
        b[o + 3],
        b[o + 4],
        b[o + 5],
        b[o + 6],
        b[o + 7],
        b[o + 8],
        b[o + 9],
      );
    default:
      return b.latin1Slice(o, o + n);
  }
}

function wideText(b: Buffer, o: number, n: number): Value {
  if (n > stringBytesMax) return bytes(b, o, n);
  const value = b.utf8Slice(o, o + n);
  return value.includes('\uFFFD') && !isUtf8(b.subarray(o, o + n)) ? bytes(b, o, n) : value;
}

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

/**
 * The shortest decimal that means the same 32-bit float: the double nearest to 0.1 is what people compare with, not
 * 0.10000000149011612. The argument is finite.
 */
export function shortFloat(exact: number): number {
  if (Number.isInteger(exact)) return exact;
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(exact.toPrecision(digits));
    if (Math.fround(short) === exact) return short;
  }
  return Number(exact.toPrecision(9));
}
