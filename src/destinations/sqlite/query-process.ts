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
  | { readonly id: number; readonly do: 'check'; readonly file: string };

export type QueryOutcome =
  | Omit<QueryResult, 'elapsed_ms'>
  | { readonly refused: string }
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
  /** Throws `query_timeout` after `timeoutMs`, `cancelled` when the signal fires; either way the process is gone. */
  ask(
    request: WithoutId<QueryRequest>,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<QueryOutcome | string | null>;
}

/** One process answers in 2 ms when warm and takes some 40 ms to start. */
const idleMs = 60_000;
/** More queries than this wait for their turn: each holds up to 256 MB. */
const processesMax = 2;

export function createQueryProcesses(): QueryProcesses {
  const idle: ChildProcess[] = [];
  const all = new Set<ChildProcess>();
  const waiting: (() => void)[] = [];
  let busy = 0;
  let lastId = 0;

  const start = (): ChildProcess => {
    const file = import.meta.url.endsWith('.ts') ? './query-worker.ts' : './query-worker.js';
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
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
    if (!child.connected) return;
    child.unref();
    child.channel?.unref();
    idle.push(child);
    setTimeout(() => {
      const at = idle.indexOf(child);
      if (at < 0) return;
      idle.splice(at, 1);
      child.kill('SIGKILL');
    }, idleMs).unref();
  };

  const takeTurn = async (): Promise<void> => {
    if (busy >= processesMax) await new Promise<void>((resolve) => waiting.push(resolve));
    else busy += 1;
  };
  const giveTurn = (): void => {
    const next = waiting.shift();
    if (next === undefined) busy -= 1;
    else next();
  };

  return {
    async ask(request, timeoutMs, signal) {
      await takeTurn();
      let child = idle.pop();
      while (child !== undefined && !child.connected) child = idle.pop();
      child ??= start();
      child.ref();
      child.channel?.ref();
      lastId += 1;
      try {
        const answer = await exchange(child, { ...request, id: lastId } as QueryRequest, {
          timeoutMs,
          ...(signal === undefined ? {} : { signal }),
        });
        rest(child);
        return answer;
      } catch (error) {
        child.kill('SIGKILL');
        throw error;
      } finally {
        giveTurn();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const child of all) child.kill('SIGKILL');
    },
  };
}

function exchange(
  child: ChildProcess,
  request: QueryRequest,
  limits: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<QueryOutcome | string | null> {
  const { promise, resolve, reject } = Promise.withResolvers<QueryOutcome | string | null>();
  const onMessage = (answer: QueryAnswer): void => {
    if (answer.id !== request.id) return;
    if ('failure' in answer) reject(failed(answer.failure));
    else resolve(answer.result);
  };
  const onExit = (): void => reject(outOfMemory());
  const onAbort = (): void =>
    reject(
      new MillraceError('cancelled', 'The query was stopped on request.', { hint: 'Call query_data again.' }),
    );
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

function outOfMemory(): MillraceError {
  return new MillraceError('query_rejected', 'The query needed more memory than it may have.', {
    hint: 'Ask for less: filter with WHERE, aggregate, or select fewer and smaller columns.',
  });
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
