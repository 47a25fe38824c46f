import type { Run } from '../../src/core/model.ts';
import { createScheduler, type Scheduler, type SchedulerParts } from '../../src/engine/scheduler.ts';
import type { Store } from '../../src/store/store.ts';
import { connector, type HandClock, handClock, open, scratch } from './store-support.ts';

/** A store, schedulers over it and a clock, all turned by hand: nothing happens by itself. */
export interface SchedulerWorld extends AsyncDisposable {
  readonly store: Store;
  readonly file: string;
  readonly clock: HandClock;
  readonly faults: readonly string[];
  scheduler(settings?: Partial<SchedulerParts['settings']>): Scheduler;
  /** One turn of a scheduler that has held its duty for a while. */
  act(
    scheduler: Scheduler,
    turn?: { readonly first?: boolean; readonly setBack?: boolean },
  ): Promise<number | undefined>;
  register(name: string, schedule: string, timezone?: string): Promise<void>;
  /** Claims a run and ends it. */
  finishOne(status?: 'succeeded' | 'failed'): Promise<string | null>;
  /** All runs, the oldest due time first. */
  history(name?: string): Promise<readonly Run[]>;
}

export async function schedulerWorld(start?: string): Promise<SchedulerWorld> {
  const folder = scratch();
  const clock = handClock(start === undefined ? undefined : Date.parse(start));
  const store = await open(folder.file, clock.now);
  const faults: string[] = [];
  const signal = new AbortController().signal;
  return {
    store,
    file: folder.file,
    clock,
    faults,
    scheduler: (settings = {}) =>
      createScheduler({
        schedules: store.schedules,
        settings: {
          timezone: 'UTC',
          catchUp: 'once',
          overlap: 'skip',
          spreadMs: 0,
          retryMaxMs: 60_000,
          ...settings,
        },
        now: clock.now,
        onQueued: () => undefined,
        onFault: (detail) => faults.push(detail),
      }),
    act: (scheduler, turn = {}) => scheduler.act({ first: false, setBack: false, signal, ...turn }),
    async register(name, schedule, timezone) {
      await store.connectors.insert(
        connector(name, { schedule, ...(timezone === undefined ? {} : { timezone }) }),
      );
    },
    async finishOne(status = 'succeeded') {
      const claim = await store.runs.claim('test', 10_000);
      if (claim) await store.runs.finish(claim, { status, streams: [] });
      return claim?.run_id ?? null;
    },
    async history(name) {
      const runs: Run[] = [];
      let cursor: string | undefined;
      do {
        const page = await store.runs.list(name === undefined ? {} : { connector: name }, {
          limit: 1_000,
          ...(cursor === undefined ? {} : { cursor }),
        });
        runs.push(...page.items);
        cursor = page.next_cursor;
      } while (cursor !== undefined);
      return runs.toSorted((a, b) => (a.due_at ?? '').localeCompare(b.due_at ?? ''));
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}
