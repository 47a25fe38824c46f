import { MillraceError } from '../../core/errors.ts';

/** How long a session beyond `min` waits for its next use. */
const idleMs = 10_000;

/** What a pool needs to know of a session. */
export interface PooledSession {
  /** False once its connection is gone. */
  readonly usable: boolean;
  /** Ends it as the protocol wants. */
  close(): Promise<void>;
  /** Ends it now, whatever it is doing. */
  destroy(): void;
}

export interface PoolOptions<Session> {
  /** Sessions kept between two questions. */
  readonly min: number;
  /** Sessions at most at one time. */
  readonly max: number;
  readonly open: (signal: AbortSignal) => Promise<Session>;
}

/**
 * The sessions of one opened connector: at most `max` at a time, and used again where that is safe. Closing it ends
 * them all, also those at work.
 */
export class Pool<Session extends PooledSession> implements AsyncDisposable {
  readonly #options: PoolOptions<Session>;
  readonly #idle: Session[] = [];
  readonly #busy = new Set<Session>();
  readonly #waiting: (() => void)[] = [];
  #opening = 0;
  #closed = false;

  constructor(options: PoolOptions<Session>) {
    this.#options = options;
  }

  /** A session that is set up and in no transaction. */
  async acquire(signal: AbortSignal): Promise<Session> {
    while (true) {
      if (signal.aborted) throw cancelled(signal);
      if (this.#closed) throw closed();
      const idle = this.#idle.pop();
      if (idle?.usable) {
        this.#busy.add(idle);
        return idle;
      }
      if (idle) continue;
      if (this.#hasRoom()) return await this.#open(signal);
      await this.#turn(signal);
    }
  }

  #hasRoom(): boolean {
    return this.#busy.size + this.#opening < this.#options.max;
  }

  async #open(signal: AbortSignal): Promise<Session> {
    this.#opening += 1;
    try {
      const session = await this.#options.open(signal);
      if (this.#closed) {
        session.destroy();
        throw closed();
      }
      this.#busy.add(session);
      return session;
    } finally {
      this.#opening -= 1;
      if (this.#hasRoom()) this.#waiting.shift()?.();
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const { promise: turn, resolve } = Promise.withResolvers<void>();
    const go = (): void => resolve();
    this.#waiting.push(go);
    signal.addEventListener('abort', go, { once: true });
    await turn;
    signal.removeEventListener('abort', go);
    if (!signal.aborted) return;
    // It takes no session: whoever comes next must not wait behind it, nor for a call that it has had.
    const at = this.#waiting.indexOf(go);
    if (at >= 0) this.#waiting.splice(at, 1);
    else this.#waiting.shift()?.();
  }

  /** Gives a session back. `reuse` only when nothing of the user's SQL ran in it: locks and settings can outlive a rollback. */
  release(session: Session, reuse: boolean): void {
    this.#busy.delete(session);
    if (reuse && session.usable && !this.#closed) {
      this.#idle.push(session);
      setTimeout(() => this.#trim(session), idleMs).unref();
    } else {
      void session.close();
    }
    this.#waiting.shift()?.();
  }

  #trim(session: Session): void {
    const at = this.#idle.indexOf(session);
    if (at < 0 || this.#idle.length <= this.#options.min) return;
    this.#idle.splice(at, 1);
    void session.close();
  }

  /** Runs `work` with a session of its own; `reusable` as for `release`. */
  async use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>, reusable = true): Promise<T> {
    const session = await this.acquire(signal);
    // Whatever it is waiting for: a statement, or rows that do not come.
    const stop = (): void => session.destroy();
    signal.addEventListener('abort', stop, { once: true });
    let done = false;
    try {
      const result = await work(session);
      done = true;
      return result;
    } finally {
      signal.removeEventListener('abort', stop);
      this.release(session, done && reusable);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const session of this.#busy) session.destroy();
    this.#busy.clear();
    await Promise.all(this.#idle.splice(0).map((session) => session.close()));
    for (const go of this.#waiting.splice(0)) go();
  }
}

/** What work ends with whose signal has fired: the reason given, or that it was cancelled. */
export function cancelled({ reason }: AbortSignal): MillraceError {
  if (reason instanceof MillraceError) return reason;
  return new MillraceError('cancelled', 'The work with the server was cancelled.', {
    hint: 'Call again to go on from the last stored position.',
  });
}

function closed(): MillraceError {
  return new MillraceError('cancelled', 'The connector was closed while it worked.', {
    hint: 'Start the work again.',
  });
}
