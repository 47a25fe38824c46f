import { Worker } from 'node:worker_threads';
import { type ErrorView, MillraceError } from '../core/errors.ts';
import type { Batch, Counts, Cursor } from '../core/model.ts';
import type { Column, Value } from '../core/types.ts';
import type {
  Committed,
  JudgedRow,
  KeptRow,
  Landed,
  Replayed,
  ReplayRequest,
  WriterRequest,
} from '../destinations/destination.ts';

/**
 * The writing half of a run, in a thread of its own: reading and parsing one batch while the one before is being
 * written is what makes a sync faster than a single loop. Batches are committed in the order they were sent.
 */
export interface Landing extends AsyncDisposable {
  /** Opens the warehouse for a job. */
  begin(warehouseFile: string): Promise<void>;
  /** As of `Destination.landed`. */
  landed(connector: string, stream: string): Promise<Landed | null>;
  open(request: WriterRequest): Promise<LandingWriter>;
  /** Opens what stands aside of a stream; see `Destination.replayer`. */
  replay(request: ReplayRequest): Promise<LandingReplay>;
  /** Closes the warehouse; the thread stays for the next job. */
  end(): Promise<void>;
}

export interface LandingWriter {
  readonly cursor: Cursor | null;
  readonly before: Counts;
  readonly changes: readonly string[];
  /** What batches have changed on the landed table since, as sentences. */
  readonly grown: readonly string[];
  /** As of `Writer.columns`. */
  readonly columns: readonly Column[];
  readonly rebuilding: boolean;
  /** Rows of the stream stand aside, as far as batches have been committed. */
  readonly hasRejects: boolean;
  /** Committed so far by this writer. */
  readonly written: number;
  /** As of `Committed.again`, of all batches. */
  readonly again: number;
  readonly rejects: number;
  /** Of the rejects, those that there was no room to keep. */
  readonly unkept: number;
  /** Waits while too much is in flight; rejects when an earlier batch failed. */
  room(): Promise<void>;
  /** Hands a batch over. Call `room` before making the batch: one that waits is garbage that lives long. */
  send(batch: Batch): void;
  /** Waits until everything sent is committed. */
  drain(): Promise<void>;
  /** As of `Writer.valuesOf`. */
  valuesOf(column: string): Promise<readonly string[] | null>;
  liveRows(): Promise<number>;
  seenKeys(keys: readonly Value[], rows: number): Promise<void>;
  markDeleted(ceiling: number): Promise<number>;
  finish(check: {
    readonly expectedRows: number | null;
    readonly minimumShare: number | null;
  }): Promise<void>;
  close(): Promise<void>;
}

/** `Replayer`, on the other side of a thread. */
export interface LandingReplay {
  readonly columns: readonly Column[];
  next(): Promise<readonly KeptRow[]>;
  land(judged: readonly JudgedRow[]): Promise<Replayed>;
  close(): Promise<void>;
}

/** What is on its way between the two threads: a batch may go while less than either of these is. Two batches keep the writer busy. */
const inFlightBatches = 2;
const inFlightBytes = 2 * 1024 * 1024;
/** As of the reading thread (threads.ts); less garbage is made here. */
const resourceLimits = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 1024 };

/** Messages to the landing thread, answered in order by id. */
export type LandingCall =
  | { readonly op: 'begin'; readonly warehouseFile: string }
  | { readonly op: 'landed'; readonly connector: string; readonly stream: string }
  | { readonly op: 'open'; readonly request: WriterRequest }
  | { readonly op: 'commit'; readonly batch: Batch }
  | { readonly op: 'valuesOf'; readonly column: string }
  | { readonly op: 'liveRows' }
  | { readonly op: 'seenKeys'; readonly keys: readonly Value[]; readonly rows: number }
  | { readonly op: 'markDeleted'; readonly ceiling: number }
  | { readonly op: 'finish'; readonly expectedRows: number | null; readonly minimumShare: number | null }
  | { readonly op: 'replay'; readonly request: ReplayRequest }
  | { readonly op: 'next' }
  | { readonly op: 'land'; readonly judged: readonly JudgedRow[] }
  | { readonly op: 'close' }
  | { readonly op: 'end' };

export type LandingReply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: ErrorView; readonly fault?: string };

export interface OpenedWriter {
  readonly cursor: Cursor | null;
  readonly counts: Counts;
  readonly changes: readonly string[];
  readonly columns: readonly Column[];
  readonly rebuilding: boolean;
  readonly hasRejects: boolean;
}

/** `onFault` hears the stack of errors that nobody classified. */
export function createLanding(onFault: (detail: string) => void): Landing {
  const file = import.meta.url.endsWith('.ts') ? './landing-thread.ts' : './landing-thread.js';
  const worker = new Worker(new URL(file, import.meta.url), { resourceLimits });
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let lastId = 0;
  let dead: MillraceError | undefined;

  worker.on('message', (reply: LandingReply) => {
    const call = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ('error' in reply) {
      if (reply.fault !== undefined) onFault(reply.fault);
      call?.reject(MillraceError.fromView(reply.error));
    } else call?.resolve(reply.value);
  });
  const fail = (cause: unknown): void => {
    dead = new MillraceError('internal', 'The writing thread ended unexpectedly.', {
      hint: 'Start the run again: it goes on from the last committed batch.',
      cause,
    });
    for (const call of waiting.values()) call.reject(dead);
    waiting.clear();
  };
  worker.on('error', fail);
  worker.on('exit', fail);

  const call = <T>(message: LandingCall): Promise<T> => {
    if (dead) return Promise.reject(dead);
    lastId += 1;
    const pending = Promise.withResolvers<unknown>();
    waiting.set(lastId, pending);
    worker.postMessage({ id: lastId, ...message });
    return pending.promise as Promise<T>;
  };

  return {
    begin: (warehouseFile) => call<void>({ op: 'begin', warehouseFile }),
    landed: (connector, stream) => call<Landed | null>({ op: 'landed', connector, stream }),
    open: async (request) => createWriter(await call<OpenedWriter>({ op: 'open', request }), call),
    replay: async (request) => ({
      columns: await call<readonly Column[]>({ op: 'replay', request }),
      next: () => call<readonly KeptRow[]>({ op: 'next' }),
      land: (judged) => call<Replayed>({ op: 'land', judged }),
      close: () => call<void>({ op: 'close' }),
    }),
    end: () => call<void>({ op: 'end' }),
    async [Symbol.asyncDispose]() {
      worker.off('exit', fail);
      await worker.terminate();
    },
  };
}

function createWriter(opened: OpenedWriter, call: <T>(message: LandingCall) => Promise<T>): LandingWriter {
  let written = 0;
  let again = 0;
  let rejects = 0;
  let unkept = 0;
  let batches = 0;
  let bytes = 0;
  const grown: string[] = [];
  let failure: unknown;
  let wake: (() => void) | undefined;

  const settled = (batch: Batch): void => {
    batches -= 1;
    bytes -= batch.bytes;
    wake?.();
    wake = undefined;
  };
  const until = async (enough: () => boolean): Promise<void> => {
    while (failure === undefined && !enough()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (failure !== undefined) throw failure;
  };

  return {
    cursor: opened.cursor,
    before: opened.counts,
    changes: opened.changes,
    grown,
    columns: opened.columns,
    rebuilding: opened.rebuilding,
    get written() {
      return written;
    },
    get again() {
      return again;
    },
    get rejects() {
      return rejects;
    },
    get unkept() {
      return unkept;
    },
    get hasRejects() {
      return opened.hasRejects || rejects > 0;
    },
    room: () => until(() => batches < inFlightBatches && bytes < inFlightBytes),
    send(batch) {
      batches += 1;
      bytes += batch.bytes;
      call<Committed>({ op: 'commit', batch }).then(
        (committed) => {
          written += committed.written;
          again += committed.again ?? 0;
          rejects += committed.rejects;
          unkept += committed.unkept ?? 0;
          grown.push(...(committed.changes ?? []));
          settled(batch);
        },
        (error: unknown) => {
          failure ??= error;
          settled(batch);
        },
      );
    },
    drain: () => until(() => batches === 0),
    valuesOf: (column) => call<readonly string[] | null>({ op: 'valuesOf', column }),
    liveRows: () => call<number>({ op: 'liveRows' }),
    seenKeys: (keys, rows) => call<void>({ op: 'seenKeys', keys, rows }),
    markDeleted: (ceiling) => call<number>({ op: 'markDeleted', ceiling }),
    finish: (check) => call<void>({ op: 'finish', ...check }),
    close: () => call<void>({ op: 'close' }),
  };
}
