/** What a job asks of the program around it, as messages: the thread's side is `hostOf`, the main thread's `serveHost`. */

import type { HostServices, Release, TurnLimits } from '../connectors/connector.ts';
import { asMillraceError, type ErrorView, MillraceError } from '../core/errors.ts';

export type HostCall =
  | { readonly ask: 'turn'; readonly host: string; readonly limits: TurnLimits }
  | { readonly ask: 'load'; readonly field: string }
  | { readonly ask: 'save'; readonly field: string; readonly value: string }
  | { readonly ask: 'lock'; readonly field: string };

/** `release` ends a turn or a lock that was given under that id; `forget` ends the wait for one. */
export type ToHost =
  | { readonly type: 'call'; readonly id: number; readonly call: HostCall }
  | { readonly type: 'release'; readonly id: number; readonly pauseMs: number }
  | { readonly type: 'forget'; readonly id: number };

export type FromHost =
  | { readonly type: 'answer'; readonly id: number; readonly value: string | null }
  | { readonly type: 'refusal'; readonly id: number; readonly error: ErrorView };

/**
 * The services as one job sees them. `hear` takes what the main thread answers. Disposed with the job: what is left of it
 * then asks for nothing more, or the next job's connector would answer.
 */
export interface RemoteHost extends HostServices, Disposable {
  hear(answer: FromHost): void;
}

/** Services over messages, for the thread of a job. */
export function hostOf(send: (message: ToHost) => void): RemoteHost {
  const waiting = new Map<number, PromiseWithResolvers<string | null>>();
  let last = 0;
  let over = false;

  const post = (message: ToHost): void => {
    if (!over) send(message);
  };

  const call = async (
    what: HostCall,
    signal?: AbortSignal,
  ): Promise<{ id: number; value: string | null }> => {
    signal?.throwIfAborted();
    if (over) throw jobOver();
    last += 1;
    const id = last;
    const settled = Promise.withResolvers<string | null>();
    waiting.set(id, settled);
    const forget = (): void => {
      // An answer that is already on its way finds nobody waiting, and the main thread has given the turn back by then.
      if (!waiting.delete(id)) return;
      post({ type: 'forget', id });
      settled.reject(signal?.reason);
    };
    signal?.addEventListener('abort', forget, { once: true });
    post({ type: 'call', id, call: what });
    try {
      return { id, value: await settled.promise };
    } finally {
      signal?.removeEventListener('abort', forget);
    }
  };

  const releaseOf = (id: number): Release => {
    let released = false;
    return (pauseMs = 0) => {
      if (!released) post({ type: 'release', id, pauseMs });
      released = true;
    };
  };

  return {
    turn: async (host, limits, signal) => releaseOf((await call({ ask: 'turn', host, limits }, signal)).id),
    secrets: {
      load: async (field) => (await call({ ask: 'load', field })).value,
      save: async (field, value) => void (await call({ ask: 'save', field, value })),
      lock: async (field, signal) => {
        const release = releaseOf((await call({ ask: 'lock', field }, signal)).id);
        return () => release();
      },
    },
    hear(answer) {
      const settled = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (answer.type === 'answer') settled?.resolve(answer.value);
      else settled?.reject(MillraceError.fromView(answer.error));
    },
    [Symbol.dispose]() {
      over = true;
      for (const settled of waiting.values()) settled.reject(jobOver());
      waiting.clear();
    },
  };
}

function jobOver(): MillraceError {
  return new MillraceError('cancelled', 'The job is over.', { hint: 'Call again to start it anew.' });
}

/** The main thread's side for one job. Closing it gives back every turn and lock the job still has: its thread may be gone. */
export interface HostDesk extends Disposable {
  hear(message: ToHost): void;
}

/** Answers a job's calls with these services. */
export function serveHost(services: HostServices, post: (message: FromHost) => void): HostDesk {
  const given = new Map<number, Release>();
  const waiting = new Map<number, AbortController>();
  const end = new AbortController();

  const answer = async (id: number, call: HostCall): Promise<void> => {
    const stop = new AbortController();
    waiting.set(id, stop);
    const signal = AbortSignal.any([stop.signal, end.signal]);
    try {
      const value = await carryOut(id, call, signal);
      if (!signal.aborted) post({ type: 'answer', id, value });
    } catch (error) {
      if (!signal.aborted) post({ type: 'refusal', id, error: asMillraceError(error).toView() });
    } finally {
      waiting.delete(id);
    }
  };

  /** What was given to who no longer waits goes back at once. */
  const give = (id: number, release: Release, signal: AbortSignal): null => {
    if (signal.aborted) release();
    else given.set(id, release);
    return null;
  };

  const carryOut = async (id: number, call: HostCall, signal: AbortSignal): Promise<string | null> => {
    switch (call.ask) {
      case 'turn':
        return give(id, await services.turn(call.host, call.limits, signal), signal);
      case 'lock':
        return give(id, await services.secrets.lock(call.field, signal), signal);
      case 'load':
        return await services.secrets.load(call.field);
      case 'save':
        await services.secrets.save(call.field, call.value);
        return null;
      default:
        throw call satisfies never;
    }
  };

  const giveBack = (id: number, pauseMs: number): void => {
    given.get(id)?.(pauseMs);
    given.delete(id);
  };

  return {
    hear(message) {
      if (message.type === 'call') void answer(message.id, message.call);
      else if (message.type === 'release') giveBack(message.id, message.pauseMs);
      else {
        waiting.get(message.id)?.abort();
        giveBack(message.id, 0);
      }
    },
    [Symbol.dispose]() {
      end.abort();
      for (const id of [...given.keys()]) giveBack(id, 0);
    },
  };
}
