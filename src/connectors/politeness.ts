import type { HostServices, Release, TurnLimits } from './connector.ts';

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
    return await host.turn(limits, signal);
  };
}

/**
 * Requests go this much slower than they might. Two that leave on time may arrive closer together, and a server counts
 * arrivals: with 1% of a second of catching up, 1.5% are left for the way, so that no second sees one too many.
 */
const INTERVAL_MARGIN = 1.025;
/** A timer that fires late is caught up with, or each would cost its lateness: at 100 a second a tenth of the rate. */
const CATCH_UP_MS = 10;

interface Waiting {
  readonly limits: TurnLimits;
  readonly go: () => void;
}

class Host {
  readonly #now: () => number;
  readonly #forget: () => void;
  readonly #queue: Waiting[] = [];
  #running = 0;
  /** When the next request of a limited rate is due. */
  #due = 0;
  #pausedUntil = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(now: () => number, forget: () => void) {
    this.#now = now;
    this.#forget = forget;
  }

  async turn(limits: TurnLimits, signal: AbortSignal): Promise<Release> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { limits, go: resolve };
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
      const wait = this.#waitFor(first.limits);
      if (wait > 0) {
        this.#timer = setTimeout(() => this.#look(), Math.ceil(wait));
        return;
      }
      this.#queue.shift();
      this.#running += 1;
      first.go();
    }
    const restMs = Math.max(this.#due, this.#pausedUntil) - this.#now();
    if (this.#running > 0) return;
    if (restMs <= 0) this.#forget();
    else this.#timer = setTimeout(() => this.#look(), Math.ceil(restMs)).unref();
  }

  /** Milliseconds until a request under these limits may go; taking the place on the timetable when that is now. */
  #waitFor({ requestsPerSecond }: TurnLimits): number {
    const at = this.#now();
    if (at < this.#pausedUntil) return this.#pausedUntil - at;
    if (requestsPerSecond === undefined) return 0;
    if (at < this.#due) return this.#due - at;
    this.#due = Math.max(this.#due, at - CATCH_UP_MS) + (1000 / requestsPerSecond) * INTERVAL_MARGIN;
    return 0;
  }
}
