import { setTimeout as sleep } from 'node:timers/promises';
import type { RunStore } from '../store/store.ts';
import type { Chore } from './chores.ts';

export interface RetentionParts {
  readonly runs: Pick<RunStore, 'sweep'>;
  readonly settings: { readonly keepDays: number; readonly keepRuns: number };
  readonly now: () => Date;
  /** Between two steps: what waits for the store has its turn. */
  readonly pauseMs?: number;
}

const dayMs = 24 * 3_600_000;
/** Soon after a process has the chores, because many live for less than the time between two rounds. */
const firstMs = 60_000;
const roundMs = 3_600_000;

/** Old runs leave the history, in steps that nobody notices. The audit log is not touched. */
export function createRetention({ runs, settings, now, pauseMs = 20 }: RetentionParts): Chore {
  let swept = false;
  return {
    name: 'old runs',
    due: (at, last) => Math.abs(at.getTime() - last.getTime()) >= (swept ? roundMs : firstMs),
    async run(signal) {
      swept = true;
      const rules = {
        olderThan: new Date(now().getTime() - settings.keepDays * dayMs),
        keepRuns: settings.keepRuns,
      };
      for (let connector: string | null = ''; connector !== null && !signal.aborted; ) {
        const step: { readonly connector: string | null; readonly removed: number } = await runs.sweep(
          rules,
          connector,
        );
        connector = step.connector;
        await sleep(step.removed > 0 ? pauseMs : 1);
      }
    },
  };
}
