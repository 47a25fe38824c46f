import { MillraceError } from '../../core/errors.ts';
import type { Settings } from './config.ts';
import { cancelled, Session, type SessionOptions } from './session.ts';

/** How long a session beyond `pool.min` waits for its next use. */
const idleMs = 10_000;

/**
 * The sessions of one opened connector: at most `pool.max` at a time, and used again where that is safe. Closing
 * it ends them all, also those at work.
 */
export class SessionPool implements AsyncDisposable {
  readonly #settings: Settings;
  readonly #options: SessionOptions;
  readonly #idle: Session[] = [];
  readonly #busy = new Set<Session>();
  readonly #waiting: (() => void)[] = [];
  #opening = 0;
  #closed = false;

  constructor(settings: Settings, options: SessionOptions) {
    this.#settings = settings;
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
      if (this.#busy.size + this.#opening < this.#settings.poolMax) return await this.#open(signal);
      await this.#turn(signal);
    }
  }

  async #open(signal: AbortSignal): Promise<Session> {
    this.#opening += 1;
    try {
      const session = await Session.open(this.#settings, this.#options, signal);
      if (this.#closed) {
        session.destroy();
        throw closed();
      }
      this.#busy.add(session);
      return session;
    } finally {
      this.#opening -= 1;
      if (this.#busy.size + this.#opening < this.#settings.poolMax) this.#waiting.shift()?.();
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    await new Promise<void>((settle) => {
      const go = (): void => {
        signal.removeEventListener('abort', go);
        settle();
      };
      this.#waiting.push(go);
      signal.addEventListener('abort', go, { once: true });
    });
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
    if (at < 0 || this.#idle.length <= this.#settings.poolMin) return;
    this.#idle.splice(at, 1);
    void session.close();
  }

  /** Runs `work` with a session of its own; `reusable` as for `release`. */
  async use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>, reusable = true): Promise<T> {
    const session = await this.acquire(signal);
    let done = false;
    try {
      const result = await work(session);
      done = true;
      return result;
    } finally {
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

function closed(): MillraceError {
  return new MillraceError('cancelled', 'The connector was closed while it worked.', {
    hint: 'Start the work again.',
  });
}
