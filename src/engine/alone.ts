import { MillraceError } from '../core/errors.ts';
import type { LeaseStore, RunStore } from '../store/store.ts';
import { holderName, isGone } from './holder.ts';

/**
 * Work on a connector's data that is no run: under an epoch of its own, so that no run of the connector writes
 * meanwhile in any process, and one that was thought dead is shut out. Throws `run_in_progress`.
 */
export type Alone = <T>(connector: string, work: Work<T>, signal: AbortSignal) => Promise<T>;
type Work<T> = (epoch: number, signal: AbortSignal) => Promise<T>;

export interface AloneParts {
  readonly runs: Pick<RunStore, 'hold'>;
  readonly leases: LeaseStore;
  readonly random: () => number;
}

/** As of a run: a holder that does not renew within this time is taken to be gone. */
const leaseMs = 10_000;
const renewMs = 2_000;

/** Work alone on a connector, as this process. */
export function createAlone({ runs, leases, random }: AloneParts): Alone {
  const holder = holderName(random);
  return async (connector, work, signal) => {
    const lease = await runs.hold(connector, { holder, leaseMs, isGone });
    const lost = new AbortController();
    const beat = setInterval(() => {
      // A store that is busy for a moment is asked again; one that says no has given the connector to somebody else.
      leases.renew(lease, leaseMs).then(
        (held) => held || lost.abort(takenOver(connector)),
        () => undefined,
      );
    }, renewMs);
    try {
      return await work(lease.epoch, AbortSignal.any([signal, lost.signal]));
    } finally {
      clearInterval(beat);
      await leases.release(lease);
    }
  };
}

function takenOver(connector: string): MillraceError {
  return new MillraceError('run_lost', `Another process has taken "${connector}" over.`, {
    hint: 'What was done stays. Call again when its run has ended; list_runs shows it.',
    nextActions: [
      { tool: 'list_runs', arguments: { connector }, why: 'shows the run that holds the connector' },
    ],
  });
}
