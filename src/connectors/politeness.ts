import { MillraceError } from '../core/errors.ts';
import type { HostServices, Release, TurnLimits } from './connector.ts';
import { createTimetable, type Timetable } from './timetable.ts';

/**
 * Turns at hosts, first come first served. One of these for all jobs of a process, so that two runs together keep to
 * what one of them may do. `now`: milliseconds, monotonic.
 */
export function createPoliteness(now: () => number = () => performance.now()): HostServices['turn'] {
  const hosts = new Map<string, Host>();
  return async (name, limits, signal) => {
    signal.throwIfAborted();
    const host = hosts.get(name) ?? new Host(now, () => hosts.delete(name));
    hosts.set(name, host);
    const restMs = host.restMs();
    if (restMs > (limits.withinMs ?? Number.POSITIVE_INFINITY)) throw resting(name, restMs);
    return await host.turn(limits, signal);
  };
}

function resting(host: string, restMs: number): MillraceError {
  return new MillraceError('rate_limited', `${host} has asked for a rest, and is not asked meanwhile.`, {
    hint: `It is to wait ${Math.ceil(restMs / 1000)} s: call again then. Set rate_limit.requests_per_second of the connector to what the API's documentation grants.`,
  });
}

/** How often a host that fell silent is looked at. */
const FORGET_MS = 2_000;

interface Waiting {
  readonly since: number;
  readonly limits: TurnLimits;
  readonly go: () => void;
}

class Host {
  readonly #now: () => number;
  readonly #forget: () => void;
  readonly #queue: Waiting[] = [];
  #running = 0;
  /** One a rate. Two connectors that know different rates of one host each keep to their own. */
  readonly #timetables = new Map<number, Timetable>();
  #pausedUntil = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(now: () => number, forget: () => void) {
    this.#now = now;
    this.#forget = forget;
  }

  /** How much of the rest is left that the server asked for. */
  restMs(): number {
    return Math.max(0, this.#pausedUntil - this.#now());
  }

  async turn(limits: TurnLimits, signal: AbortSignal): Promise<Release> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { since: this.#now(), limits, go: resolve };
    const giveUp = (): void => {
      const place = this.#queue.indexOf(waiting);
      if (place < 0) return;
      this.#queue.splice(place, 1);
      reject(signal.reason);
      this.#look();
    };
    signal.addEventListener('abort', giveUp, { once: true });
    this.#queue.push(waiting);
    this.#look();
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
    return this.#release();
  }

  #release(): Release {
    let released = false;
    return (pauseMs = 0) => {
      if (released) return;
      released = true;
      this.#running -= 1;
      this.#pausedUntil = Math.max(this.#pausedUntil, this.#now() + pauseMs);
      this.#look();
    };
  }

  /** Lets go who may, and sets the clock for who may not yet. */
  #look(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if (this.#running >= first.limits.concurrency) return;
      const wait = this.#waitFor(first);
      if (wait > 0) {
        this.#timer = setTimeout(() => this.#look(), Math.ceil(wait));
        return;
      }
      this.#queue.shift();
      this.#running += 1;
      first.go();
    }
    this.#forgetSoon();
  }

  /** Milliseconds until a request under these limits may go; put down in every timetable when that is now. */
  #waitFor({ since, limits: { requestsPerSecond } }: Waiting): number {
    const at = this.#now();
    if (at < this.#pausedUntil) return this.#pausedUntil - at;
    if (requestsPerSecond !== undefined) {
      const timetable = this.#timetables.get(requestsPerSecond) ?? createTimetable(requestsPerSecond);
      this.#timetables.set(requestsPerSecond, timetable);
      const wait = timetable.waitMs(at);
      if (wait > 0) return wait;
    }
    for (const timetable of this.#timetables.values()) timetable.leave(at, since);
    return 0;
  }

  /** A host that nobody asks and that holds nobody back need not be remembered. */
  #forgetSoon(): void {
    if (this.#running > 0 || this.#queue.length > 0) return;
    const at = this.#now();
    const isIdle = at >= this.#pausedUntil && [...this.#timetables.values()].every((one) => one.isIdle(at));
    if (isIdle) this.#forget();
    else this.#timer = setTimeout(() => this.#look(), FORGET_MS).unref();
  }
}
