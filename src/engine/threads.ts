import { Worker } from 'node:worker_threads';
import type { HostServices } from '../connectors/connector.ts';
import { MillraceError } from '../core/errors.ts';
import { serveHost } from './host-calls.ts';
import type { FromThread, Job, ThreadData, ToThread } from './messages.ts';

/** Threads that jobs live in, so that the main thread never touches a row and answers at once. */
export interface Threads extends AsyncDisposable {
  /**
   * Runs a job. When the signal fires the job is asked to stop at its next edge, and its thread is ended after
   * `graceMs` if it did not: every commit is a transaction, so that loses nothing. Rejects with MillraceError.
   */
  run(job: Job, listener: Listener, signal: AbortSignal): Promise<unknown>;
}

export interface Listener {
  readonly onMessage?: (message: FromThread) => void;
}

/** How long a job may take to reach an edge before its thread is ended: cancel has to be done within a second. */
const graceMs = 700;
/** An idle thread is kept this long: starting one costs some 60 ms, most of it loading drivers. */
const idleMs = 60_000;
/**
 * Rows are short-lived garbage, and what outlives the young generation is garbage too. Under a heap of at most 1 GB V8
 * lets that grow to twice of what is alive before it collects, else to four times: 188 against 220 MB for the whole
 * process. With 16 MB for the young ones little gets so far, and it is as fast as without limits (wide rows). A large
 * value counts little here: texts beyond 1 MB lie outside of the heap.
 */
const resourceLimits = { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 1024 };

export interface ThreadsOptions {
  /** So many threads are kept warm for the next job. */
  readonly idle: number;
  /** Whether those who ask something come before the rows, where cores are short. */
  readonly standBack: boolean;
  /** What the program does for the jobs of a connector. */
  readonly hostFor: (connector: string) => HostServices;
}

/** Threads for jobs. */
export function createThreads(options: ThreadsOptions): Threads {
  const idle: Thread[] = [];
  const busy = new Set<Thread>();

  const take = (): Thread => {
    for (let thread = idle.pop(); thread !== undefined; thread = idle.pop()) {
      if (thread.alive) return thread;
    }
    return createThread({ standsBack: options.standBack });
  };

  return {
    async run(job, listener, signal) {
      const thread = take();
      busy.add(thread);
      try {
        const value = await thread.run(
          job,
          { listener, host: options.hostFor(job.source.connector) },
          signal,
        );
        if (idle.length < options.idle && thread.alive) {
          idle.push(thread);
          thread.rest();
        } else {
          await thread.end();
        }
        return value;
      } catch (error) {
        // What failed may have left a driver in an odd state; a fresh thread costs less than finding out.
        await thread.end();
        throw error;
      } finally {
        busy.delete(thread);
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...idle, ...busy].map((thread) => thread.end()));
    },
  };
}

interface Thread {
  readonly alive: boolean;
  run(job: Job, around: Surroundings, signal: AbortSignal): Promise<unknown>;
  /** Lets the process exit while the thread waits, and ends it when nobody needed it for a while. */
  rest(): void;
  end(): Promise<void>;
}

interface Surroundings {
  readonly listener: Listener;
  readonly host: HostServices;
}

function createThread(workerData: ThreadData): Thread {
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js';
  const worker = new Worker(new URL(file, import.meta.url), { resourceLimits, stdout: true, workerData });
  let alive = true;
  let timer: NodeJS.Timeout | undefined;
  let settle: ((message: FromThread) => void) | undefined;

  // stdout belongs to MCP: whatever a library prints in a thread goes to stderr.
  worker.stdout.pipe(process.stderr, { end: false });
  worker.on('message', (message: FromThread) => settle?.(message));
  worker.on('error', (error: Error) => {
    alive = false;
    settle?.({ type: 'failed', error: threadDied(error).toView() });
  });
  worker.on('exit', () => {
    alive = false;
    settle?.({ type: 'failed', error: threadDied(undefined).toView() });
  });

  return {
    get alive() {
      return alive;
    },
    run(job, { listener, host }, signal) {
      clearTimeout(timer);
      worker.ref();
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      const desk = serveHost(host, (answer) => send(worker, { type: 'host', answer }));
      let grace: NodeJS.Timeout | undefined;
      const cancel = (): void => {
        const error = cancellation(signal);
        send(worker, { type: 'cancel', error: error.toView() });
        grace = setTimeout(() => {
          finish();
          alive = false;
          void worker.terminate().then(() => reject(error));
        }, graceMs);
      };
      const finish = (): void => {
        settle = undefined;
        desk[Symbol.dispose]();
        clearTimeout(grace);
        signal.removeEventListener('abort', cancel);
      };
      settle = (message) => {
        if (message.type === 'host') {
          desk.hear(message.message);
          return;
        }
        listener.onMessage?.(message);
        if (message.type === 'done') {
          finish();
          resolve(message.value);
        } else if (message.type === 'failed') {
          finish();
          reject(MillraceError.fromView(message.error));
        }
      };
      send(worker, { type: 'start', job });
      if (signal.aborted) cancel();
      else signal.addEventListener('abort', cancel, { once: true });
      return promise;
    },
    rest() {
      worker.unref();
      timer = setTimeout(() => void worker.terminate(), idleMs);
      timer.unref();
    },
    async end() {
      clearTimeout(timer);
      alive = false;
      await worker.terminate();
    },
  };
}

function send(worker: Worker, message: ToThread): void {
  worker.postMessage(message);
}

/** The reason an abort carries is ours when we aborted; anything else is somebody's wish to stop. */
function cancellation(signal: AbortSignal): MillraceError {
  if (signal.reason instanceof MillraceError) return signal.reason;
  return new MillraceError('cancelled', 'The work was stopped on request.', {
    hint: 'Call again to start it anew.',
  });
}

function threadDied(cause: Error | undefined): MillraceError {
  const memory = (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY';
  return new MillraceError(
    'internal',
    memory ? 'The sync ran out of memory.' : 'The thread of this job ended unexpectedly.',
    {
      hint: memory
        ? 'Exclude very large columns with `columns.exclude` on the stream, or start Node with a larger --max-old-space-size.'
        : 'Start the run again: it goes on from the last committed batch. If it happens again, the log on stderr has the cause.',
      cause,
    },
  );
}
