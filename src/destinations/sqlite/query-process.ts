import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MillraceError } from '../../core/errors.ts';
import type { QueryResult } from '../../core/model.ts';
import type { QueryCaps } from '../warehouse.ts';

export type QueryRequest =
  | {
      readonly id: number;
      readonly do: 'query';
      readonly file: string;
      readonly sql: string;
      readonly caps: QueryCaps;
    }
  | { readonly id: number; readonly do: 'drop'; readonly file: string; readonly connector: string }
  | { readonly id: number; readonly do: 'prepare'; readonly file: string }
  | { readonly id: number; readonly do: 'check'; readonly file: string };

export type QueryOutcome =
  | Omit<QueryResult, 'elapsed_ms'>
  | { readonly refused: string; readonly hint?: string }
  | { readonly sqlError: string; readonly names: readonly string[] };

export type QueryAnswer =
  | { readonly id: number; readonly result: QueryOutcome | string | null }
  | {
      readonly id: number;
      readonly failure: { readonly message: string; readonly code: string; readonly hint?: string };
    };

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

/** Processes that can be killed. Each does one thing at a time; an idle one is kept for a while. */
export interface QueryProcesses extends AsyncDisposable {
  /**
   * Throws `query_timeout` after `timeoutMs` (waiting for a turn may take as long again) and `cancelled` when the
   * signal fires; either way the process is gone.
   */
  ask(
    request: WithoutId<QueryRequest>,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<QueryOutcome | string | null>;
}

/** One process answers in 2 ms when warm and takes some 40 ms to start. */
const idleMs = 60_000;
/** More queries than this wait for their turn: each may hold what `query-watch-thread.ts` allows. */
const processesMax = 2;

/** Starts none before the first request, and none of them keeps this process alive. */
export function createQueryProcesses(): QueryProcesses {
  const idle: { readonly child: ChildProcess; readonly timer: NodeJS.Timeout }[] = [];
  const all = new Set<ChildProcess>();
  const turns = createTurns(processesMax);
  let lastId = 0;
  let closed = false;

  const start = (): ChildProcess => {
    const file = import.meta.url.endsWith('.ts') ? './query-worker.ts' : './query-worker.js';
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), [String(process.pid)], {
      // Nothing of ours is for it to see: no secrets, no options. Its stdout is not MCP's.
      env:
        process.env['NODE_V8_COVERAGE'] === undefined
          ? {}
          : { NODE_V8_COVERAGE: process.env['NODE_V8_COVERAGE'] },
      execArgv: ['--max-old-space-size=256'],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
    });
    all.add(child);
    child.once('exit', () => all.delete(child));
    return child;
  };

  const rest = (child: ChildProcess): void => {
    if (closed || !child.connected) {
      leave(child);
      return;
    }
    child.unref();
    child.channel?.unref();
    const timer = setTimeout(() => {
      const at = idle.findIndex((one) => one.timer === timer);
      if (at >= 0) idle.splice(at, 1);
      leave(child);
    }, idleMs).unref();
    idle.push({ child, timer });
  };

  const take = (): ChildProcess => {
    for (let one = idle.pop(); one !== undefined; one = idle.pop()) {
      clearTimeout(one.timer);
      if (!one.child.connected) continue;
      one.child.ref();
      one.child.channel?.ref();
      return one.child;
    }
    return start();
  };

  return {
    async ask(request, timeoutMs, signal) {
      const limits = { timeoutMs, ...(signal === undefined ? {} : { signal }) };
      await turns.take(limits);
      let child: ChildProcess | undefined;
      try {
        if (closed) throw stopped();
        child = take();
        lastId += 1;
        const answer = await exchange(child, { ...request, id: lastId } as QueryRequest, limits);
        rest(child);
        return answer;
      } catch (error) {
        child?.kill('SIGKILL');
        throw error;
      } finally {
        turns.give();
      }
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      for (const { child, timer } of idle.splice(0)) {
        clearTimeout(timer);
        all.delete(child);
        leave(child);
      }
      for (const child of all) child.kill('SIGKILL');
    },
  };
}

/** An idle process ends by itself when nobody can ask it any more. */
function leave(child: ChildProcess): void {
  if (child.connected) child.disconnect();
}

interface Limits {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

interface Turns {
  /** Waits until one of the places is free; throws `query_timeout` and `cancelled`, and holds none then. */
  take(limits: Limits): Promise<void>;
  give(): void;
}

function createTurns(places: number): Turns {
  const waiting: (() => void)[] = [];
  let free = places;
  return {
    async take({ timeoutMs, signal }) {
      if (signal?.aborted === true) throw stopped();
      if (free > 0) {
        free -= 1;
        return;
      }
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const onAbort = (): void => reject(stopped());
      const timer = setTimeout(() => reject(noTurn(timeoutMs)), timeoutMs);
      signal?.addEventListener('abort', onAbort, { once: true });
      waiting.push(resolve);
      await promise.finally(() => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        const at = waiting.indexOf(resolve);
        if (at >= 0) waiting.splice(at, 1);
      });
    },
    give() {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    },
  };
}

function exchange(
  child: ChildProcess,
  request: QueryRequest,
  limits: Limits,
): Promise<QueryOutcome | string | null> {
  const { promise, resolve, reject } = Promise.withResolvers<QueryOutcome | string | null>();
  const onMessage = (answer: QueryAnswer): void => {
    if (answer.id !== request.id) return;
    if ('failure' in answer) reject(failed(answer.failure));
    else resolve(answer.result);
  };
  const onExit = (): void => reject(tookTooMuch());
  const onAbort = (): void => reject(stopped());
  const timer = setTimeout(() => reject(tooSlow(limits.timeoutMs)), limits.timeoutMs);
  child.on('message', onMessage);
  child.once('exit', onExit);
  child.once('error', onExit);
  limits.signal?.addEventListener('abort', onAbort, { once: true });
  if (limits.signal?.aborted === true) onAbort();
  child.send(request, (error) => {
    if (error !== null) reject(failed({ message: error.message, code: '' }));
  });
  return promise.finally(() => {
    clearTimeout(timer);
    child.off('message', onMessage);
    child.off('exit', onExit);
    child.off('error', onExit);
    limits.signal?.removeEventListener('abort', onAbort);
  });
}

function tooSlow(timeoutMs: number): MillraceError {
  return new MillraceError('query_timeout', `The query was stopped after ${timeoutMs / 1000} s.`, {
    hint: 'Ask for less: filter with WHERE, aggregate, join on the key columns; or raise query.timeoutMs in the config file.',
  });
}

function noTurn(timeoutMs: number): MillraceError {
  return new MillraceError(
    'query_timeout',
    `Other queries took the whole ${timeoutMs / 1000} s in which this one could have begun.`,
    { hint: `Call query_data again when they are done: ${processesMax} queries run at a time.` },
  );
}

function stopped(): MillraceError {
  return new MillraceError('cancelled', 'The query was stopped on request.', {
    hint: 'Call query_data again.',
  });
}

/** The process ended without an answer: its watcher ended it, or the system did for want of memory. */
function tookTooMuch(): MillraceError {
  return new MillraceError(
    'query_rejected',
    'The query needed more memory or temporary disk than it may have.',
    {
      hint: 'Ask for less: filter with WHERE, aggregate, or select fewer and smaller columns before sorting.',
    },
  );
}

function failed({
  message,
  code,
  hint,
}: {
  readonly message: string;
  readonly code: string;
  readonly hint?: string;
}): MillraceError {
  return new MillraceError(
    code === 'SQLITE_FULL' ? 'disk_full' : 'destination_failed',
    message.slice(0, 500),
    { hint: hint ?? 'Run `millrace doctor`.' },
  );
}
