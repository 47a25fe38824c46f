import { createTenure, type TenureParts } from './tenure.ts';

/**
 * What one process at a time does for all: it holds a lease of the store, and acts about once a second while it does.
 * Clients start the program several times and kill it without a word, so the others look every second whether the lease
 * is free; of a holder on their own machine they see at once that it is gone.
 */
export interface Duty extends AsyncDisposable {
  start(): void;
  /** Acts now and not at the next turn. */
  wake(): void;
  isHeld(): boolean;
}

/** A duty that waits to be started. Closing it gives the lease back. */
export function createDuty(parts: TenureParts): Duty {
  const tenure = createTenure(parts);
  let timer: NodeJS.Timeout | undefined;
  let turning: Promise<void> | undefined;
  let again = false;
  let started = false;
  let closed = false;

  const look = (): void => {
    clearTimeout(timer);
    if (turning !== undefined) {
      again = true;
      return;
    }
    again = false;
    turning = tenure.turn().then((waitMs) => {
      turning = undefined;
      if (closed) return;
      timer = setTimeout(look, again ? 0 : waitMs);
      timer.unref();
    });
  };

  return {
    start() {
      started = true;
      look();
    },
    wake() {
      if (started && tenure.isHeld() && !closed) look();
    },
    isHeld: tenure.isHeld,
    async [Symbol.asyncDispose]() {
      closed = true;
      clearTimeout(timer);
      tenure.stop();
      await turning;
      await tenure.leave();
    },
  };
}
