/**
 * The rows of one SELECT out of the binary protocol: prepared, executed, and taken apart where they lie in the chunk
 * that the socket gave. The driver's own rows are an array or an object each, and its values are not exact.
 */

import { MillraceError } from '../../core/errors.ts';
import { type Command, type InPacket, OutPacket, type Wire } from './connect.ts';
import { extendedMetadata, type Field, isEof, isError, Preparation, readField } from './fields.ts';
import { type RowBatch, RowBuilder, type RowPlan, unreadable } from './row-builder.ts';

export type { RowBatch, RowPlan } from './row-builder.ts';

export interface RowStreamOptions {
  /** Hands the command to the connection. */
  readonly begin: (command: Command) => Promise<void>;
  readonly onEnd: () => void;
  /** Longest silence of the server while we are ready to read. */
  readonly stallMs: number;
  readonly destroy: () => void;
  readonly explain: (error: unknown) => MillraceError;
}

/** Batches made ahead of the consumer before the socket is paused; what is in one chunk comes on top. */
const queuedBatchesMax = 1;

/** One SELECT under way. `batches` may be called once; ending it early ends the session and the statement. */
export class RowStream {
  readonly #sql: string;
  readonly #options: RowStreamOptions;
  readonly #queue: RowBatch[] = [];
  #wire: Wire | null = null;
  #paused = false;
  #finished = false;
  #failure: unknown = null;
  #wake: (() => void) | null = null;
  /** Since when the server has been silent; 0 when it spoke since the last look, so that packets need no clock. */
  #silentSince = 0;

  constructor(sql: string, options: RowStreamOptions) {
    this.#sql = sql;
    this.#options = options;
  }

  /** The rows, pulled: the socket is read only as far as a small, bounded queue has room. */
  async *batches(plan: RowPlan): AsyncGenerator<RowBatch, void, void> {
    const { begin, onEnd, stallMs, destroy, explain } = this.#options;
    const watch = setInterval(() => this.#watch(), Math.min(1_000, stallMs / 2));
    try {
      await begin(this.#command(plan));
      while (true) {
        const batch = this.#queue.shift();
        if (batch) {
          if (this.#queue.length === 0) this.#resume();
          yield batch;
        } else if (this.#failure !== null) {
          throw this.#failure;
        } else if (this.#finished) {
          return;
        } else {
          this.#resume();
          await new Promise<void>((settle) => {
            this.#wake = settle;
          });
        }
      }
    } catch (error) {
      throw explain(error);
    } finally {
      clearInterval(watch);
      // A billion rows may be behind the last one wanted: the server is told, and the socket closed.
      if (!this.#finished) destroy();
      onEnd();
    }
  }

  #command(plan: RowPlan): Command {
    const result = new ResultReader(this.#sql, plan);
    return {
      execute: (packet, connection) => {
        this.#wire = connection;
        this.#silentSince = 0;
        let done = false;
        try {
          done = result.execute(packet, connection);
        } catch (error) {
          this.#end(error);
          this.#options.destroy();
          return true;
        }
        if (result.full !== null) {
          this.#queued(result.full);
          result.full = null;
        }
        if (done) this.#end(result.failure);
        return done;
      },
      onResult: (error) => this.#end(error),
    };
  }

  #queued(batch: RowBatch): void {
    this.#queue.push(batch);
    if (this.#queue.length >= queuedBatchesMax && !this.#paused) {
      this.#paused = true;
      this.#wire?.stream.pause();
    }
    this.#signal();
  }

  #end(failure: unknown): void {
    this.#failure ??= failure;
    this.#finished = true;
    // Whoever comes next reads the same socket.
    this.#resume();
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
    this.#silentSince = 0;
    this.#wire?.stream.resume();
  }

  #watch(): void {
    if (this.#paused || this.#finished) return;
    const now = performance.now();
    if (this.#silentSince === 0) this.#silentSince = now;
    if (now - this.#silentSince < this.#options.stallMs) return;
    this.#failure ??= new MillraceError('timeout', 'The server stopped sending rows.', {
      hint: 'Millrace tries again from the last stored position. If its first row really takes that long, raise statement_timeout_ms of the connector or index the cursor column.',
    });
    this.#signal();
  }
}

const executeCode = 0x17;

/** Goes through the exchange: prepare, execute, columns, rows, close. */
class ResultReader {
  /** A batch that has become full with this packet. */
  full: RowBatch | null = null;
  failure: unknown = null;
  readonly #sql: string;
  readonly #plan: RowPlan;
  #step: 'begin' | 'prepare' | 'header' | 'fields' | 'rows' = 'begin';
  #preparation: Preparation | null = null;
  readonly #fields: Field[] = [];
  #builder: RowBuilder | null = null;

  constructor(sql: string, plan: RowPlan) {
    this.#sql = sql;
    this.#plan = plan;
  }

  /** True when the connection is free again. */
  execute(packet: InPacket | undefined, connection: Wire): boolean {
    if (this.#step === 'rows' && packet !== undefined && packet.buffer[packet.start + 4] === 0) {
      const builder = this.#builder as RowBuilder;
      if (builder.row(packet.buffer, packet.start + 4, packet.end)) this.full = builder.take();
      return false;
    }
    return this.#other(packet, connection);
  }

  #other(packet: InPacket | undefined, connection: Wire): boolean {
    if (packet === undefined || this.#step === 'begin') {
      this.#preparation = Preparation.begin(this.#sql, connection);
      this.#step = 'prepare';
      return false;
    }
    if (isError(packet)) return this.#done(packet.asError('utf8'), connection);
    switch (this.#step) {
      case 'prepare': {
        const preparation = this.#preparation as Preparation;
        if (!preparation.next(packet, () => {})) return false;
        const complaint = preparation.complaint();
        if (complaint) return this.#done(complaint, connection);
        sendExecute(preparation.id, connection);
        this.#step = 'header';
        return false;
      }
      case 'header':
        this.#step = 'fields';
        return false;
      case 'fields':
        if (!isEof(packet)) {
          this.#fields.push(readField(packet, extendedMetadata(connection)));
          return false;
        }
        this.#builder = new RowBuilder(this.#plan, this.#fields);
        this.#step = 'rows';
        return false;
      case 'rows': {
        if (!isEof(packet)) throw unreadable();
        const last = (this.#builder as RowBuilder).take();
        if (last.rows > 0 || last.rejects.length > 0) this.full = last;
        return this.#done(null, connection);
      }
      default:
        throw this.#step satisfies never;
    }
  }

  #done(failure: unknown, connection: Wire): boolean {
    this.failure = failure;
    if (this.#preparation !== null && this.#preparation.id !== 0) this.#preparation.close(connection);
    return true;
  }
}

function sendExecute(id: number, connection: Wire): void {
  const body = Buffer.alloc(9);
  body.writeUInt32LE(id, 0);
  // No cursor (4): the rows come as they are found. One iteration (5), the only number there is.
  body.writeUInt32LE(1, 5);
  connection._resetSequenceId();
  connection.writePacket(new OutPacket(executeCode, body));
}
