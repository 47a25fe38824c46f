import { afterRun, type Breaker, type BreakerRules, type RunEnd, stateOf } from '../../src/core/breaker.ts';
import { MillraceError } from '../../src/core/errors.ts';
import type { Run } from '../../src/core/model.ts';
import { createScheduler, SCHEDULER } from '../../src/engine/scheduler.ts';
import { createTenure, type Tenure } from '../../src/engine/tenure.ts';
import { openStore } from '../../src/store/open.ts';
import type { Claim, Outcome, Store } from '../../src/store/store.ts';
import { type Stood, stoodFor } from '../support/due-history.ts';
import { connector, type HandClock, handClock, scratch } from './store-support.ts';

/**
 * Several processes over one store: each has a handle, a tenure and a scheduler of its own and works on runs. All that they
 * do is done when a history says so. Beside it stands what must be true, judged after each step.
 */
export interface Machine extends AsyncDisposable {
  readonly clock: HandClock;
  readonly seen: Seen;
  /** Stretches of time between one clock that was put back and the next, the oldest first. */
  readonly ages: readonly Age[];
  /** Runs nobody has ended. */
  active(): Promise<number>;
  /** A process looks to its duty. `asleep`: between reading what is due and writing, it sleeps and others do this. */
  turn(at: number, asleep?: () => Promise<void>): Promise<void>;
  /** The process is gone without a word, and another comes in its place. What it held it may still write to, as a zombie. */
  crash(at: number): void;
  /** The process goes in order, and another comes. */
  leave(at: number): Promise<void>;
  work(at: number): Promise<void>;
  manual(at: number, name: string): Promise<void>;
  end(index: number, how: Ending): Promise<void>;
  /** Whoever lost a run says something about it. */
  zombie(index: number, how: Ending | 'heartbeat'): Promise<void>;
  /** What is left in the history of a connector, by age. */
  stood(name: string): Promise<ReadonlyMap<Age, readonly Stood[]>>;
}

export interface Seen {
  entries: number;
  skipped: number;
  retried: number;
  opened: number;
  zombies: number;
  takeovers: number;
  setBacks: number;
}

/** From when on times count, and up to when somebody has acted on them. Milliseconds. */
export interface Age {
  readonly from: number;
  upTo: number;
}

/** `run_lost`: its holders were lost too often. */
export type Ending = 'succeeded' | 'timeout' | 'auth_failed' | 'run_lost';

export interface MachineOptions {
  readonly start: string;
  readonly settings: { readonly catchUp: 'once' | 'none'; readonly overlap: 'skip' | 'queue' };
  readonly connectors: readonly {
    readonly name: string;
    readonly schedule: string;
    readonly timezone: string;
  }[];
}

export const PROCESSES = 3;
export const SPREAD_MS = 3_000;
const ATTEMPTS = 3;
const RETRY_MS = 5_000;
const RUN_LEASE_MS = 10_000;
const RULES: BreakerRules = { failures: 2, openMs: 90_000 };

interface Process {
  readonly store: Store;
  readonly holder: string;
  readonly tenure: Tenure;
  readonly claims: Claim[];
}

export async function scheduleMachine(options: MachineOptions, seen: Seen): Promise<Machine> {
  const folder = scratch();
  const clock = handClock(Date.parse(options.start));
  let drawn = 0;
  /** The same in each play of a history: ids of one millisecond are in the order they were made. */
  const random = (bytes: number): Uint8Array => {
    drawn += 1;
    return Uint8Array.from({ length: bytes }, (_, at) => Math.floor(drawn / 32 ** (bytes - 1 - at)) % 32);
  };
  const stores: Store[] = [];
  for (let at = 0; at < PROCESSES; at += 1)
    stores.push(await openStore({ file: folder.file, now: clock.now, random, breaker: RULES }));
  const store = storeOf(stores, 0);
  for (const { name, ...more } of options.connectors) await store.connectors.insert(connector(name, more));

  const ages: Age[] = [{ from: clock.now().getTime(), upTo: clock.now().getTime() }];
  const ageOf = new Map<string, Age>();
  const breakers = new Map<string, Breaker>();
  /** By run, whoever may write to it. */
  const current = new Map<string, Claim>();
  const ended = new Set<string>();
  const lost: { readonly claim: Claim; readonly store: Store }[] = [];
  const epochs = new Map<string, number>();
  let asleep: (() => Promise<void>) | undefined;
  let born = 0;

  const start = (at: number): Process => {
    const mine = storeOf(stores, at);
    const holder = `elsewhere:${++born}:x`;
    const { act } = createScheduler({
      schedules: {
        ...mine.schedules,
        async advance(steps) {
          const others = asleep;
          asleep = undefined;
          await others?.();
          return await mine.schedules.advance(steps);
        },
        async setBack(to) {
          await mine.schedules.setBack(to);
          const from = to.now.getTime();
          ages.push({ from, upTo: from });
          seen.setBacks += 1;
          for (const [name, breaker] of breakers) breakers.set(name, putBack(breaker, from));
        },
      },
      settings: { timezone: 'UTC', spreadMs: SPREAD_MS, retryMaxMs: 60_000, ...options.settings },
      now: clock.now,
      onQueued: () => undefined,
      onFault: fail,
    });
    const { leases } = mine;
    const tenure = createTenure({ name: SCHEDULER, holder, leases, now: clock.now, act, onFault: fail });
    return { store: mine, holder, tenure, claims: [] };
  };
  const processes = stores.map((_, at) => start(at));
  const processAt = (at: number): Process => processes[at % PROCESSES] ?? fail('no process');

  /** Entries that came since the last look: each where it may be. */
  const look = async (): Promise<void> => {
    const now = clock.now().getTime();
    for (const run of await everyRun(store)) {
      if (ageOf.has(run.run_id)) continue;
      ageOf.set(run.run_id, ages.at(-1) ?? fail('no age'));
      if (run.trigger !== 'schedule') continue;
      seen.entries += 1;
      if (run.skipped) seen.skipped += 1;
      const state = stateOf(breakers.get(run.connector) ?? null, now);
      if (run.error?.code === 'circuit_open' && state !== 'open') fail(`skipped, but ${state}`);
      if (!run.skipped && state === 'open') fail(`run ${run.run_id} though the breaker is open`);
    }
  };

  /** Whoever had it before has it no more. */
  const given = (claim: Claim, by: Process): void => {
    if (claim.epoch <= (epochs.get(claim.connector) ?? 0)) fail(`epoch ${claim.epoch} is not new`);
    epochs.set(claim.connector, claim.epoch);
    if (ended.has(claim.run_id)) fail(`run ${claim.run_id} has ended already`);
    current.set(claim.run_id, claim);
    for (const process of processes) lose(process, (one) => one.run_id === claim.run_id);
    by.claims.push(claim);
  };

  const lose = ({ claims, store: mine }: Process, which: (claim: Claim) => boolean): void => {
    for (const claim of claims.filter(which)) {
      claims.splice(claims.indexOf(claim), 1);
      lost.push({ claim, store: mine });
    }
  };

  /** As the runner concludes. */
  const conclude = async (process: Process, claim: Claim, how: Ending): Promise<void> => {
    const { runs } = process.store;
    process.claims.splice(process.claims.indexOf(claim), 1);
    current.delete(claim.run_id);
    if (how === 'timeout' && claim.attempt < ATTEMPTS) {
      const at = new Date(clock.now().getTime() + RETRY_MS);
      if (!(await runs.retry(claim, at, { streams: [], error: errorOf(how) }))) fail('a holder was refused');
      seen.retried += 1;
      return;
    }
    if (!(await runs.finish(claim, outcomeOf(how)))) fail('a holder was refused');
    if (ended.has(claim.run_id)) fail(`run ${claim.run_id} ended twice`);
    ended.add(claim.run_id);
    const before = breakers.get(claim.connector) ?? null;
    const now = clock.now().getTime();
    const after = afterRun(before, endOf(how), { rules: RULES, now });
    if (after?.open !== undefined && before?.open === undefined) seen.opened += 1;
    if (after === null) breakers.delete(claim.connector);
    else breakers.set(claim.connector, after);
  };

  return {
    clock,
    seen,
    ages,
    async active() {
      const { queued, running } = await store.runs.counts();
      return queued + running;
    },
    async turn(at, others) {
      const { tenure } = processAt(at);
      const before = tenure.isHeld();
      const now = clock.now().getTime();
      asleep = others;
      await tenure.turn();
      const slept = others !== undefined && asleep === undefined;
      asleep = undefined;
      if (tenure.isHeld() && !before) seen.takeovers += 1;
      const age = ages.at(-1);
      if (tenure.isHeld() && !slept && age !== undefined) age.upTo = Math.max(age.upTo, now);
      await look();
    },
    crash(at) {
      lose(processAt(at), () => true);
      processes[at % PROCESSES] = start(at % PROCESSES);
    },
    async leave(at) {
      const { tenure, claims, store: mine } = processAt(at);
      tenure.stop();
      await tenure.leave();
      for (const claim of claims) {
        if (!(await mine.runs.handBack(claim, []))) fail('a holder was refused');
        current.delete(claim.run_id);
        lost.push({ claim, store: mine });
      }
      processes[at % PROCESSES] = start(at % PROCESSES);
    },
    async work(at) {
      const process = processAt(at);
      const claim = await process.store.runs.claim(process.holder, RUN_LEASE_MS);
      if (claim === null) return;
      given(claim, process);
      if (claim.attempt > ATTEMPTS) await conclude(process, claim, 'run_lost');
    },
    async manual(at, name) {
      const request = { connector: name, trigger: 'manual', fullRefresh: false } as const;
      await processAt(at)
        .store.runs.enqueue(request)
        .catch((error: unknown) => {
          if (!(error instanceof MillraceError) || error.code !== 'run_in_progress') throw error;
        });
      await look();
    },
    async end(index, how) {
      const held = processes.flatMap((process) => process.claims.map((claim) => ({ process, claim })));
      const one = held[index % Math.max(1, held.length)];
      if (one !== undefined) await conclude(one.process, one.claim, how);
    },
    async zombie(index, how) {
      const one = lost[index % Math.max(1, lost.length)];
      // Until somebody else takes the run over, it is still its holder's to end.
      if (one === undefined || current.get(one.claim.run_id) === one.claim) return;
      seen.zombies += 1;
      const { runs } = one.store;
      if (how === 'heartbeat') {
        if ((await runs.heartbeat(one.claim, RUN_LEASE_MS, [])) !== 'lost') fail('a zombie holds a run');
      } else if (await runs.finish(one.claim, outcomeOf(how))) fail('a zombie has ended a run');
    },
    async stood(name) {
      const byAge = new Map<Age, Stood[]>(ages.map((age) => [age, []]));
      for (const run of await everyRun(store, { connector: name })) {
        if (run.trigger !== 'schedule') continue;
        if (!run.skipped && !ended.has(run.run_id)) fail(`run ${run.run_id} is ${run.status} and not ended`);
        const age = ageOf.get(run.run_id) ?? fail('never seen');
        byAge.get(age)?.push(stoodFor(run, await store.runs.readLog(run.run_id, 500)));
      }
      if (stateOf((await store.breakers.get(name)) ?? null, 0) !== stateOf(breakers.get(name) ?? null, 0))
        fail('the breaker is not what the runs make of it');
      return byAge;
    },
    async [Symbol.asyncDispose]() {
      for (const one of stores) await one[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

async function everyRun(store: Store, filter: { readonly connector?: string } = {}): Promise<readonly Run[]> {
  const runs: Run[] = [];
  let cursor: string | undefined;
  do {
    const page = await store.runs.list(filter, {
      limit: 1_000,
      ...(cursor === undefined ? {} : { cursor }),
    });
    runs.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return runs;
}

/** What the clock that is put back makes of an open breaker: it rests as long as it was to rest. */
function putBack(breaker: Breaker, now: number): Breaker {
  const { open: was } = breaker;
  if (was === undefined || was.since <= now) return breaker;
  return { ...breaker, open: { since: now, until: now + was.until - was.since } };
}

function errorOf(how: Exclude<Ending, 'succeeded'>): ReturnType<MillraceError['toView']> {
  return new MillraceError(how, 'it broke', { hint: 'mend it' }).toView();
}

function outcomeOf(how: Ending): Outcome {
  return how === 'succeeded'
    ? { status: 'succeeded', streams: [] }
    : { status: 'failed', streams: [], error: errorOf(how) };
}

function endOf(how: Ending): RunEnd {
  return how === 'succeeded'
    ? { status: 'succeeded', errors: [] }
    : { status: 'failed', errors: [errorOf(how)] };
}

function storeOf(stores: readonly Store[], at: number): Store {
  return stores[at] ?? fail('no store');
}

function fail(what: string): never {
  throw new Error(what);
}
