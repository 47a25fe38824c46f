import { doubtfulLength } from '../../../core/exact-json.ts';
import { tooLarge, unreadable } from './failures.ts';
import { envelopeBytesMax, groupBytes, recordBytesMax } from './page.ts';

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openObject = 0x7b;
const openArray = 0x5b;
const closeArray = 0x5d;
const closeObject = 0x7d;
const digit9 = 0x39;

/**
 * What a byte means outside of strings, so that the hot loop asks once: 1 quote, 2 opens, 3 closes, 4 comma, 5 only ends
 * a number, 6 may be an exponent.
 */
const meaning = new Uint8Array(256);
meaning[quote] = 1;
meaning[openObject] = meaning[openArray] = 2;
meaning[closeObject] = meaning[closeArray] = 3;
meaning[comma] = 4;
for (const byte of [colon, 0x20, 0x0a, 0x0d, 0x09]) meaning[byte] = 5;
meaning[0x65] = meaning[0x45] = 6;

/** Some whole records. */
export interface Records {
  /** The inside of a JSON array. */
  readonly bytes: Buffer;
  /** Whether they may hold a number that a double would change: looking for it here costs a third of doing so in the text. */
  readonly doubtful: boolean;
}

/**
 * Finds the records of a JSON page at a plain path while its bytes come. It only looks for where things begin and end:
 * whether it is JSON at all is found out by who parses the pieces, all of which are handed on or kept. UTF-8 never has a
 * byte below 0x80 inside of a character, so that bytes can be looked at one by one.
 */
export class RecordScanner {
  /** Whether the path led to a list, an object or null. */
  found = false;
  readonly #path: readonly string[];
  #state: 'outside' | 'list' | 'one' = 'outside';
  #inString = false;
  #escaped = false;

  /** Outside of the records: the open containers, true for an object. */
  readonly #open: boolean[] = [];
  /** How many of them, from the outermost, lie on the path. */
  #onPath = 0;
  #keyNext = false;
  #valueNext = true;
  /** The bytes of the key that is being read. */
  #key: Buffer[] | null = null;
  #lastKey = '';
  readonly #envelope: Buffer[] = [];
  #envelopeBytes = 0;

  /** Inside of the records. */
  #depth = 0;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #afterComma = false;
  /** Bytes of a number, or a word, that the last chunk ended with. */
  #token = 0;
  #doubtful = false;
  #out: Records[] = [];

  constructor(path: readonly string[]) {
    this.#path = path;
  }

  /** Takes more of the page. Returns groups of whole records. */
  push(chunk: Buffer): readonly Records[] {
    let at = 0;
    while (at < chunk.length)
      at = this.#state === 'outside' ? this.#outside(chunk, at) : this.#inside(chunk, at);
    const out = this.#out;
    this.#out = [];
    return out;
  }

  /** True when the page was whole. */
  get complete(): boolean {
    return this.#state === 'outside' && this.#open.length === 0 && !this.#inString && !this.#valueNext;
  }

  get keptEnvelope(): boolean {
    return this.#envelopeBytes <= envelopeBytesMax;
  }

  /** The page with an empty list, or null, in the place of its records. */
  envelope(): Buffer {
    if (this.#envelopeBytes > envelopeBytesMax) {
      throw tooLarge(
        `What surrounds the records is larger than ${envelopeBytesMax} bytes`,
        'Ask the API for fewer fields, or for pages that hold only the records.',
      );
    }
    return Buffer.concat(this.#envelope);
  }

  #outside(chunk: Buffer, from: number): number {
    let at = from;
    for (; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (this.#inString) {
        this.#stringByte(chunk, at, byte);
        continue;
      }
      if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) continue;
      if (this.#valueNext && byte !== closeArray) {
        this.#valueNext = false;
        if (this.#isTarget()) {
          if (byte === openArray || byte === openObject) return this.#enter(chunk, from, at);
          if (byte === 0x6e) this.found = true;
        }
      }
      this.#structure(byte);
      if (this.#inString && this.#keyNext && this.#onPath === this.#open.length) this.#key = [];
    }
    this.#keep(chunk.subarray(from, at));
    return at;
  }

  /** One byte of a string outside of the records. Keys are gathered, for the path is made of them. */
  #stringByte(chunk: Buffer, at: number, byte: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (byte === backslash) this.#escaped = true;
    else if (byte === quote) {
      this.#inString = false;
      this.#keyNext = false;
      if (this.#key !== null) this.#lastKey = keyText(Buffer.concat(this.#key));
      this.#key = null;
      return;
    }
    this.#key?.push(chunk.subarray(at, at + 1));
  }

  #structure(byte: number): void {
    switch (meaning[byte]) {
      case 1:
        this.#inString = true;
        return;
      case 2: {
        const object = byte === openObject;
        if (object && this.#valueOnPath()) this.#onPath = this.#open.length + 1;
        this.#open.push(object);
        this.#keyNext = object;
        this.#valueNext = !object;
        return;
      }
      case 3:
        if (this.#open.pop() === undefined) throw unreadable('it is no JSON: more is closed than was opened');
        this.#onPath = Math.min(this.#onPath, this.#open.length);
        this.#keyNext = false;
        this.#valueNext = false;
        return;
      case 4:
        this.#keyNext = this.#open.at(-1) === true;
        this.#valueNext = !this.#keyNext;
        return;
      default:
        if (byte === colon) this.#valueNext = true;
    }
  }

  /** Whether the value that begins here stands where the path leads, or on the way there. */
  #valueOnPath(): boolean {
    const depth = this.#open.length;
    return depth === 0 || (this.#onPath === depth && this.#lastKey === this.#path[depth - 1]);
  }

  #isTarget(): boolean {
    return this.#open.length === this.#path.length && this.#valueOnPath();
  }

  #enter(chunk: Buffer, from: number, at: number): number {
    this.found = true;
    this.#depth = 0;
    this.#token = 0;
    this.#afterComma = false;
    if (chunk[at] === openArray) {
      this.#state = 'list';
      this.#keep(chunk.subarray(from, at + 1));
      return at + 1;
    }
    this.#state = 'one';
    this.#keep(chunk.subarray(from, at));
    this.#keep(Buffer.from('null'));
    return at;
  }

  #inside(chunk: Buffer, from: number): number {
    const { length } = chunk;
    let start = from;
    let depth = this.#depth;
    let inString = this.#inString;
    let token = from - this.#token;
    const one = this.#state === 'one';
    for (let at = from; at < length; at++) {
      if (inString) {
        if (this.#escaped) {
          this.#escaped = false;
          continue;
        }
        // The tightest loop of all: most bytes of most pages stand in strings.
        while (at < length && chunk[at] !== quote && chunk[at] !== backslash) at++;
        if (at === length) break;
        if (chunk[at] === backslash) this.#escaped = true;
        else {
          inString = false;
          token = at + 1;
        }
        continue;
      }
      const means = meaning[chunk[at] ?? 0] ?? 0;
      if (means === 0) continue;
      if (means === 6) {
        // The words `true` and `false` have one too.
        if (at === from || (chunk[at - 1] ?? 0) <= digit9) this.#doubtful = true;
        continue;
      }
      if (at - token >= doubtfulLength) this.#doubtful = true;
      token = at + 1;
      switch (means) {
        case 1:
          inString = true;
          break;
        case 2:
          depth++;
          break;
        case 3:
          if (depth === 0) return this.#leave(chunk, start, at);
          depth--;
          if (depth === 0 && one) return this.#leave(chunk, start, at + 1);
          break;
        case 4:
          if (depth === 0 && this.#pendingBytes + at - start >= groupBytes) {
            this.#emit(chunk.subarray(start, at), true);
            start = at + 1;
          }
          break;
        default:
      }
    }
    this.#depth = depth;
    this.#inString = inString;
    this.#token = inString ? 0 : length - token;
    this.#hold(chunk.subarray(start));
    return length;
  }

  /** The records end; what follows belongs to the envelope again. */
  #leave(chunk: Buffer, start: number, end: number): number {
    this.#inString = false;
    if (this.#state === 'list' && chunk[end] !== closeArray)
      throw unreadable('it is no JSON: a list ends with "}"');
    this.#emit(chunk.subarray(start, end), false);
    if (this.#state === 'list') {
      this.#open.push(false);
    }
    this.#state = 'outside';
    this.#depth = 0;
    this.#valueNext = false;
    this.#keyNext = false;
    return end;
  }

  #hold(rest: Buffer): void {
    if (rest.length === 0) return;
    this.#pending.push(rest);
    this.#pendingBytes += rest.length;
    if (this.#pendingBytes > recordBytesMax + groupBytes) {
      throw tooLarge(
        `One record is larger than ${recordBytesMax} bytes`,
        'Set "records" to the list inside of it, or ask the API for fewer fields.',
      );
    }
  }

  #emit(last: Buffer, more: boolean): void {
    const bytes = this.#pending.length === 0 ? last : Buffer.concat([...this.#pending, last]);
    this.#pending = [];
    this.#pendingBytes = 0;
    const blank = isBlank(bytes);
    if (blank && (more || this.#afterComma))
      throw unreadable('it is no JSON: a record is missing beside a comma');
    this.#afterComma = more;
    if (!blank) this.#out.push({ bytes, doubtful: this.#doubtful });
    this.#doubtful = false;
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#envelopeBytes += bytes.length;
    if (this.#envelopeBytes > envelopeBytesMax) this.#envelope.length = 0;
    else this.#envelope.push(bytes);
  }
}

function keyText(bytes: Buffer): string {
  try {
    return JSON.parse(`"${bytes.toString('utf8')}"`) as string;
  } catch (error) {
    throw unreadable('it is no JSON: a key is broken', error);
  }
}

function isBlank(bytes: Buffer): boolean {
  for (const byte of bytes) {
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return false;
  }
  return true;
}
