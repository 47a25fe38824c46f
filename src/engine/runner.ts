import { setTimeout as sleep } from 'node:timers/promises';
import { asMillraceError, type ErrorView, MillraceError } from '../core/errors.ts';
import type { Connector, Stream, StreamResult } from '../core/model.ts';
import { backoffMs } from '../core/retry.ts';
import type { Claim, RunStore } from '../store/store.ts';
import { holderName, isGone } from './holder.ts';
import type { FromThread, SourceSpec } from './messages.ts';
import { ended, givenUp, isIncomplete, statusOf } from './outcome.ts';
import type { Threads } from './threads.ts';

/** Claims queued runs and carries them out, each in its own thread. One per process; any number of processes. */
export interface Runner extends AsyncDisposable {
  /** Begins to look for queued runs, once a second and whenever woken; for that one alone when one is named. */
  start(only?: string): void;
  /** Looks for work now, not at the next poll; nothing before `start`. */
  wake(): void;
  /** Stops a run held here at its next edge; false when it is not held here. */
  cancel(runId: string): boolean;
  /** Why the end of a run held here cannot be written, while that is so. */
  unwritten(runId: string): ErrorView | undefined;
  /** Hears of each change of a run held here; `left`: it is held no more. Returns how to stop listening. */
  onChange(listener: (runId: string, left: boolean) => void): () => void;
}

export interface RunnerParts {
  readonly runs: RunStore;
  readonly threads: Threads;
  /** The connector and how to open it, secrets in clear. */
  readonly open: (
    connector: string,
  ) => Promise<{ readonly connector: Connector; readonly source: SourceSpec }>;
  readonly warehouseFile: string;
  readonly settings: {
    readonly concurrent: number;
    readonly attempts: number;
    readonly backoffMs: readonly [number, number];
    readonly timeoutMs: number;
  };
  readonly random: () => number;
  readonly now: () => Date;
  readonly onFault: (detail: string, runId?: string) => void;
}

/** A holder that does not renew within this time is taken to be gone. */
const leaseMs = 10_000;
/** How often a held run renews its lease, shows progress to other processes and hears of a cancel from them. */
const heartbeatMs = 400;
/** How often an idle process looks for runs that another one queued. */
const pollMs = 1_000;

/** A runner over the store's queue; idle until `start`. Closing it hands runs under way back to the queue. */
export function createRunner(parts: RunnerParts): Runner {
  const holder = holderName(parts.random);
  const held = new Map<string, AbortController>();
  const unwritten = new Map<string, ErrorView>();
  const working = new Set<Promise<void>>();
  const listeners = new Set<(runId: string, left: boolean) => void>();
  let timer: NodeJS.Timeout | undefined;
  let looking = false;
  let again = false;
  let started = false;
  let wanted: string | undefined;
  let closed = false;

  const changed = (runId: string, left = false): void => {
    for (const listener of listeners) listener(runId, left);
  };

  const look = async (): Promise<void> => {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      do {
        again = false;
        await parts.runs.release(isGone);
        // Without space a claim could not be written either, and ours would be taken for abandoned ones.
        while (!closed && unwritten.size === 0 && held.size < parts.settings.concurrent) {
          const claim = await parts.runs.claim(holder, leaseMs, wanted);
          if (claim === null) break;
          start(claim);
        }
      } while (again && !closed);
    } catch (error) {
      parts.onFault(String(error));
    } finally {
      looking = false;
      if (!closed) schedule();
    }
  };

  const schedule = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => void look(), pollMs);
    timer.unref();
  };

  const start = (claim: Claim): void => {
    const stop = new AbortController();
    held.set(claim.run_id, stop);
    const work = carryOut(claim, stop)
      .catch((error: unknown) => parts.onFault(String(error), claim.run_id))
      .finally(() => {
        held.delete(claim.run_id);
        working.delete(work);
        changed(claim.run_id, true);
        if (!closed) void look();
      });
    working.add(work);
  };

  const carryOut = async (claim: Claim, stop: AbortController): Promise<void> => {
    const { runs, settings } = parts;
    changed(claim.run_id);
    await runs.log(claim.run_id, claim.recovered ? 'warn' : 'info', openingLine(claim));
    if (claim.attempt > settings.attempts) {
      await runs.finish(claim, givenUp(claim, (await runs.get(claim.run_id)).streams));
      return;
    }
    const earlier = (await runs.get(claim.run_id)).streams;
    let streams: readonly StreamResult[] = earlier;
    const beat = setInterval(() => void heartbeat(), heartbeatMs);
    const heartbeat = async (): Promise<void> => {
      const answer = await runs.heartbeat(claim, leaseMs, streams).catch(() => 'held' as const);
      if (answer !== 'held' && !stop.signal.aborted) stop.abort(answer === 'lost' ? lost() : cancelled());
    };
    const timeout = setTimeout(() => stop.abort(tooLong(settings.timeoutMs)), settings.timeoutMs);
    const hear = (message: FromThread): void => {
      if (message.type === 'progress') {
        streams = merge(earlier, message.streams);
        changed(claim.run_id);
      } else if (message.type === 'log')
        void runs.log(claim.run_id, message.level, message.message).catch(() => undefined);
      else if (message.type === 'fault') parts.onFault(message.detail, claim.run_id);
    };
    let error: MillraceError | undefined;
    try {
      streams = merge(earlier, await sync(claim, earlier, hear, stop.signal));
    } catch (thrown) {
      error = asMillraceError(thrown);
      if (error.code === 'internal') parts.onFault(String(thrown), claim.run_id);
    } finally {
      clearInterval(beat);
      clearTimeout(timeout);
    }
    await untilWritten(claim, () => conclude(claim, streams, error, stop.signal));
  };

  /** What a run came to has to be written; while there is no space for that, it is said and tried again. */
  const untilWritten = async (claim: Claim, write: () => Promise<void>): Promise<void> => {
    try {
      for (;;) {
        const failure = await write().then(() => undefined, asMillraceError);
        if (failure === undefined) return;
        if (failure.code !== 'disk_full' || closed) throw failure;
        unwritten.set(claim.run_id, noSpace(failure).toView());
        changed(claim.run_id);
        await sleep(pollMs);
      }
    } finally {
      unwritten.delete(claim.run_id);
    }
  };

  const sync = async (
    claim: Claim,
    earlier: readonly StreamResult[],
    hear: (message: FromThread) => void,
    signal: AbortSignal,
  ): Promise<readonly StreamResult[]> => {
    const { connector, source } = await parts.open(claim.connector);
    const streams = chosenStreams(connector, claim, earlier);
    const job = {
      kind: 'sync',
      source,
      warehouseFile: parts.warehouseFile,
      runId: claim.run_id,
      epoch: claim.epoch,
      streams,
      fullRefresh: claim.fullRefresh,
      earlier,
    } as const;
    return (await parts.threads.run(job, { onMessage: hear }, signal)) as readonly StreamResult[];
  };

  /** What the run comes to: only the errors' codes decide. */
  const conclude = async (
    claim: Claim,
    streams: readonly StreamResult[],
    thrown: MillraceError | undefined,
    signal: AbortSignal,
  ): Promise<void> => {
    if (signal.aborted && signal.reason instanceof MillraceError && signal.reason.code === 'run_lost') return;
    if (closed && signal.aborted) {
      // This process is leaving: the run goes back to the queue as it is, for the next one to go on with.
      await parts.runs.handBack(claim, streams);
      return;
    }
    const errors = [thrown?.toView(), ...streams.map((stream) => stream.error)].filter(
      (error) => error !== undefined,
    );
    const status = statusOf(streams, thrown);
    const passing = errors.find((error) => error.retryable);
    if (isIncomplete(status) && claim.attempt < parts.settings.attempts && passing !== undefined) {
      const waitMs = backoffMs(claim.attempt, parts.settings.backoffMs, parts.random);
      const at = new Date(parts.now().getTime() + waitMs);
      await parts.runs.log(
        claim.run_id,
        'warn',
        `attempt ${claim.attempt} failed (${passing.code}); the next one starts at ${at.toISOString()}`,
      );
      await parts.runs.retry(claim, at, { streams, error: passing });
      setTimeout(() => void look(), waitMs + 5).unref();
      return;
    }
    const [error] = errors;
    if (isIncomplete(status) && error !== undefined)
      await parts.runs.log(claim.run_id, 'error', lastWords(claim, error, parts.settings));
    const outcome = { status, streams, ...(error === undefined ? {} : { error }) };
    await parts.runs.finish(claim, ended(outcome, thrown?.toView()));
  };

  return {
    start(only) {
      started = true;
      wanted = only;
      void look();
    },
    wake() {
      if (started) void look();
    },
    cancel(runId) {
      const stop = held.get(runId);
      stop?.abort(cancelled());
      return stop !== undefined;
    },
    unwritten: (runId) => unwritten.get(runId),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      clearTimeout(timer);
      for (const stop of held.values()) stop.abort(leaving());
      await Promise.all(working);
    },
  };
}

/**
 * The streams this attempt has to move: those asked for, less those that an earlier attempt of the run finished, and
 * less those that failed in a way no second attempt mends.
 */
function chosenStreams(
  connector: Connector,
  claim: Claim,
  earlier: readonly StreamResult[],
): readonly Stream[] {
  const done = new Set(earlier.filter(isSettled).map((result) => result.stream));
  return connector.streams.filter(
    (stream) =>
      (claim.streams === undefined || claim.streams.includes(stream.name)) && !done.has(stream.name),
  );
}

function isSettled({ status, error }: StreamResult): boolean {
  return status === 'succeeded' || (status === 'failed' && error?.retryable === false);
}

/** Results of this attempt over those of earlier ones, in the order they were first seen. */
function merge(earlier: readonly StreamResult[], now: readonly StreamResult[]): readonly StreamResult[] {
  const fresh = new Map(now.map((result) => [result.stream, result]));
  const kept = earlier.map((result) => fresh.get(result.stream) ?? result);
  const known = new Set(earlier.map((result) => result.stream));
  return [...kept, ...now.filter((result) => !known.has(result.stream))];
}

/** Why nobody tries again, and how that is begun. */
function lastWords(claim: Claim, error: ErrorView, { attempts }: { readonly attempts: number }): string {
  return error.retryable
    ? `attempt ${claim.attempt} of ${attempts} failed (${error.code}) and none is left; sync_connector goes on from what was committed`
    : `failed (${error.code}): trying again would not mend it; once that is done, sync_connector goes on from what was committed`;
}

function openingLine(claim: Claim): string {
  if (claim.recovered)
    return `attempt ${claim.attempt}: the process that held this run is gone; going on from the last committed batch`;
  return claim.attempt === 1 ? 'started' : `attempt ${claim.attempt}`;
}

function noSpace(cause: MillraceError): MillraceError {
  return new MillraceError('disk_full', `The run stands still: ${cause.message}`, {
    hint: 'Free space on that disk (`df -h` shows it). The run then goes on by itself from the last committed batch, or ends when its attempts are spent.',
    cause,
  });
}

function cancelled(): MillraceError {
  return new MillraceError('cancelled', 'The run was cancelled.', {
    hint: 'What was committed stays; sync_connector goes on from there.',
  });
}

function lost(): MillraceError {
  return new MillraceError('run_lost', 'Another process has taken this run over.', {
    hint: 'Follow it with get_run.',
  });
}

function leaving(): MillraceError {
  return new MillraceError('cancelled', 'The server is stopping.', {
    hint: 'The run goes on when a server starts on this data folder again.',
  });
}

function tooLong(timeoutMs: number): MillraceError {
  return new MillraceError('timeout', `The run took longer than ${timeoutMs} ms.`, {
    hint: 'What was committed stays and the next run goes on from there; raise runs.timeoutMs in the config file if that is how long it takes.',
  });
}
