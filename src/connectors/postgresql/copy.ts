/**
 * Rows out of `COPY … TO STDOUT (FORMAT binary)`. The driver parses each message into an object and copies its
 * bytes; this takes the socket's bytes before it does, decodes them where they lie, and hands everything that is
 * not a row back to the driver. Measured: 4 times the rows of the driver's own row messages.
 */

import type { Submittable } from 'pg';
import { MillraceError } from '../../core/errors.ts';
import type { Value } from '../../core/types.ts';
import { type Decoder, endBlock } from './decode.ts';

/** What we use of a socket, TLS or not. */
export interface CopySocket {
  pause(): unknown;
  resume(): unknown;
  destroy(): unknown;
  listeners(event: 'data'): unknown[];
  on(event: 'data', listener: (chunk: Buffer) => void): unknown;
  removeListener(event: 'data', listener: (chunk: Buffer) => void): unknown;
}

/** Rows on their way out: flat values in column order, and the hidden columns of the last row. */
export interface RowBatch {
  readonly values: Value[];
  readonly rows: number;
  readonly bytes: number;
  /** Flat values of the hidden columns, all rows; empty when there are none. */
  readonly hidden: Value[];
}

export interface CopyPlan {
  /** Of the columns that land. */
  readonly decoders: readonly Decoder[];
  /** Of the columns behind them, which are for us. */
  readonly hidden: readonly Decoder[];
}

/** A batch ends when it holds this many values or bytes, whichever comes first; one row may be larger. */
const batchValuesMax = 13_000;
const batchBytesMax = 256 * 1024;
/** Batches parsed ahead of the consumer before the socket is paused; what is in one chunk comes on top. */
const queuedBatchesMax = 1;

interface CopyOptions {
  /** Longest silence of the server while we are ready to read. */
  readonly stallMs: number;
  readonly onStall: () => void;
  readonly explain: (error: unknown) => MillraceError;
}

const copyData = 0x64;
const copyOutResponse = 0x48;
const noticeResponse = 0x4e;
const parameterStatus = 0x53;
const notification = 0x41;

/** One COPY under way. `batches` may be called once. */
export class CopyOut implements Submittable {
  readonly #sql: string;
  readonly #options: CopyOptions;
  readonly #queue: RowBatch[] = [];
  #socket: CopySocket | null = null;
  #driver: ((chunk: Buffer) => void) | null = null;
  #builder: BatchBuilder | null = null;
  #early: Buffer[] = [];
  #paused = false;
  #finished = false;
  #failure: unknown = null;
  #wake: (() => void) | null = null;
  #lastSign = 0;
  /** A message that is split over chunks: what has come of it. */
  #partial: Buffer | null = null;
  #partialFill = 0;

  constructor(sql: string, options: CopyOptions) {
    this.#sql = sql;
    this.#options = options;
  }

  /** The rows, pulled: the socket is read only as far as a small, bounded queue has room. */
  async *batches(plan: CopyPlan): AsyncGenerator<RowBatch, void, void> {
    this.#builder = new BatchBuilder(plan);
    this.#lastSign = performance.now();
    const watch = setInterval(() => this.#watch(), Math.min(1_000, this.#options.stallMs / 2));
    try {
      for (const chunk of this.#early.splice(0)) this.#receive(chunk);
      while (true) {
        const batch = this.#queue.shift();
        if (batch) {
          if (this.#queue.length === 0) this.#resume();
          yield batch;
        } else if (this.#failure !== null) {
          throw this.#options.explain(this.#failure);
        } else if (this.#finished) {
          return;
        } else {
          this.#resume();
          await new Promise<void>((settle) => {
            this.#wake = settle;
          });
        }
      }
    } finally {
      clearInterval(watch);
    }
  }

  submit(connection: unknown): void {
    const { stream, query } = connection as { stream: CopySocket; query(sql: string): void };
    const driver = stream.listeners('data')[0] as (chunk: Buffer) => void;
    this.#socket = stream;
    this.#driver = driver;
    stream.removeListener('data', driver);
    stream.on('data', this.#receive);
    query.call(connection, this.#sql);
  }

  handleError(error: unknown): void {
    this.#failure ??= error;
    this.#end();
  }

  handleReadyForQuery(): void {
    this.#end();
  }

  handleRowDescription(): void {}
  handleCommandComplete(): void {}
  handleCopyData(): void {}

  #end(): void {
    this.#giveBack();
    this.#finished = true;
    const last = this.#builder?.take();
    if (last && last.rows > 0 && this.#failure === null) this.#queue.push(last);
    this.#signal();
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#lastSign = performance.now();
    this.#socket?.resume();
  }

  #watch(): void {
    if (this.#paused || this.#finished || performance.now() - this.#lastSign < this.#options.stallMs) return;
    this.#failure ??= new MillraceError('timeout', 'The server stopped sending rows.', {
      hint: 'Millrace tries again from the last stored position. If its first row really takes that long, raise statement_timeout_ms of the connector or index the cursor column.',
    });
    this.#end();
    this.#options.onStall();
  }

  /** Returns the socket to the driver. */
  #giveBack(): void {
    if (!this.#driver) return;
    this.#socket?.removeListener('data', this.#receive);
    this.#socket?.on('data', this.#driver);
    this.#driver = null;
    if (this.#paused) this.#resume();
  }

  readonly #receive = (chunk: Buffer): void => {
    if (!this.#builder) {
      // The rows may come before the consumer does.
      this.#early.push(chunk);
      this.#paused = true;
      this.#socket?.pause();
      return;
    }
    this.#lastSign = performance.now();
    try {
      const whole = this.#partial === null ? 0 : this.#complete(chunk);
      if (this.#partial === null && this.#driver) this.#messages(chunk, whole);
    } catch (error) {
      this.#failure ??= error;
      this.#end();
      this.#options.onStall();
      return;
    }
    if (this.#queue.length >= queuedBatchesMax && !this.#paused && !this.#finished) {
      this.#paused = true;
      this.#socket?.pause();
    }
    if (this.#queue.length > 0) this.#signal();
  };

  /**
   * Takes from the chunk what the split message lacks; returns where the next one begins. The buffer is made once,
   * at the message's full length: joining chunks as they come is quadratic, and a value may have 1 GB.
   */
  #complete(chunk: Buffer): number {
    let partial = this.#partial as Buffer;
    let used = 0;
    if (partial.length === 5) {
      used = chunk.copy(partial, this.#partialFill, 0);
      this.#partialFill += used;
      if (this.#partialFill < 5) return used;
      const message = Buffer.allocUnsafeSlow(messageLength(partial, 0));
      partial.copy(message);
      partial = message;
      this.#partial = message;
    }
    const copied = chunk.copy(partial, this.#partialFill, used);
    this.#partialFill += copied;
    used += copied;
    if (this.#partialFill < partial.length) return used;
    this.#partial = null;
    this.#messages(partial, 0, chunk.subarray(used));
    // Once the socket is the driver's again it has been given the rest of the chunk as well.
    return this.#driver ? used : chunk.length;
  }

  /** Every whole message in the chunk; keeps the begun one. `behind` is what follows the chunk, for the driver. */
  #messages(chunk: Buffer, from: number, behind?: Buffer): void {
    const builder = this.#builder as BatchBuilder;
    let at = from;
    while (chunk.length - at >= 5) {
      const length = messageLength(chunk, at);
      const end = at + length;
      if (end > chunk.length) break;
      const code = chunk[at];
      if (code === copyData) {
        if (builder.rowMessage(chunk, at + 5, end)) this.#queue.push(builder.take());
      } else if (code === noticeResponse || code === parameterStatus || code === notification) {
        // May come between rows, and are the driver's.
        this.#driver?.(chunk.subarray(at, end));
      } else if (code !== copyOutResponse) {
        // CopyDone, or an error in the middle: the driver goes on from here.
        const driver = this.#driver;
        this.#giveBack();
        driver?.(chunk.subarray(at));
        if (behind && behind.length > 0) driver?.(behind);
        return;
      }
      at = end;
    }
    if (at < chunk.length) this.#keep(chunk, at);
  }

  #keep(chunk: Buffer, at: number): void {
    const have = chunk.length - at;
    const partial = Buffer.allocUnsafeSlow(have < 5 ? 5 : messageLength(chunk, at));
    chunk.copy(partial, 0, at);
    this.#partial = partial;
    this.#partialFill = have;
  }
}

/** Code byte and body of the message at `at`. */
function messageLength(chunk: Buffer, at: number): number {
  const length = chunk.readInt32BE(at + 1) + 1;
  if (length < 5) throw unreadable();
  return length;
}

/** Gathers decoded rows until a batch is full. */
class BatchBuilder {
  readonly #decoders: readonly Decoder[];
  readonly #hiddenDecoders: readonly Decoder[];
  #values: Value[] = [];
  #hidden: Value[] = [];
  #blank: Value[] = [];
  #rows = 0;
  #bytes = 0;
  #headerSeen = false;

  constructor({ decoders, hidden }: CopyPlan) {
    this.#decoders = decoders;
    this.#hiddenDecoders = hidden;
  }

  /** Decodes the row of one CopyData message; true when the batch is full. */
  rowMessage(chunk: Buffer, from: number, end: number): boolean {
    let at = from;
    if (!this.#headerSeen) {
      // Signature, flags, and an extension area nobody uses yet; it shares the first row's message.
      if (end - at < 19) throw unreadable();
      at += 19 + chunk.readInt32BE(at + 15);
      this.#headerSeen = true;
      if (at >= end) return false;
    }
    const count = chunk.readInt16BE(at);
    if (count === -1) return false;
    const decoders = this.#decoders;
    const visible = decoders.length;
    if (count !== visible + this.#hiddenDecoders.length) throw unreadable();
    const values = this.#values;
    let fill = this.#rows * visible;
    at += 2;
    for (let i = 0; i < visible; i++) {
      const length =
        ((chunk[at] as number) << 24) |
        ((chunk[at + 1] as number) << 16) |
        ((chunk[at + 2] as number) << 8) |
        (chunk[at + 3] as number);
      at += 4;
      if (length < 0) {
        values[fill++] = null;
      } else {
        if (at + length > end) throw unreadable();
        values[fill++] = (decoders[i] as Decoder)(chunk, at, length);
        at += length;
      }
    }
    for (const decoder of this.#hiddenDecoders) {
      const length = chunk.readInt32BE(at);
      at += 4;
      this.#hidden.push(length < 0 ? null : decoder(chunk, at, length));
      if (length > 0) at += length;
    }
    if (at !== end) throw unreadable();
    this.#rows += 1;
    this.#bytes += end - from;
    return this.#rows * visible >= batchValuesMax || this.#bytes >= batchBytesMax;
  }

  /**
   * As large as the last batch was: growing to it would copy the array seventeen times. And without holes: V8 writes an
   * array that may have some as a list of properties when it crosses to another thread, at a multiple of the cost.
   */
  #likeLast(): Value[] {
    const size = this.#rows * this.#decoders.length;
    if (this.#blank.length < size) this.#blank = Array.from({ length: size }, () => 0);
    return this.#blank.slice(0, size);
  }

  /** What was gathered, and a new beginning. */
  take(): RowBatch {
    endBlock();
    const width = this.#decoders.length;
    this.#values.length = this.#rows * width;
    const batch = { values: this.#values, rows: this.#rows, bytes: this.#bytes, hidden: this.#hidden };
    this.#values = this.#likeLast();
    this.#hidden = [];
    this.#rows = 0;
    this.#bytes = 0;
    return batch;
  }
}

function unreadable(): MillraceError {
  return new MillraceError(
    'response_invalid',
    'The server sent rows that do not follow its own COPY format.',
    {
      hint: 'Something between Millrace and the server may change the bytes: connect to PostgreSQL itself, not through a proxy that is not one of PostgreSQL.',
    },
  );
}
