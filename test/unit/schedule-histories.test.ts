import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseCron } from '../../src/core/cron.ts';
import { type Stood, standingFor } from '../support/due-history.ts';
import {
  type Age,
  type Ending,
  type Machine,
  type MachineOptions,
  PROCESSES,
  type Seen,
  SPREAD_MS,
  scheduleMachine,
} from './schedule-machine.ts';

/**
 * Random histories of schedule, leases, queue, retries and breaker together: three processes that crash, sleep in the
 * middle of a turn and come back as zombies, runs that end in every way or never, a machine that sleeps, a clock that is
 * set forwards and back, daylight saving in five zones. Each due time is stood for by exactly one entry of the history, as
 * the policies say, and nobody ever holds what another one has. `MILLRACE_HISTORIES` sets how many.
 */
test('no due time is run twice, none is lost against the policy, and no two hold the same', {
  timeout: 3_600_000,
}, async () => {
  const seen: Seen = {
    entries: 0,
    skipped: 0,
    retried: 0,
    opened: 0,
    zombies: 0,
    takeovers: 0,
    setBacks: 0,
  };
  await fc.assert(
    fc.asyncProperty(
      options,
      fc.array(action, { minLength: 30, maxLength: 90, size: 'max' }),
      async (given, actions) => {
        await using machine = await scheduleMachine(given, seen);
        for (const next of actions) await apply(machine, next);
        await bringToAnEnd(machine);
        for (const { name } of given.connectors) {
          const stood = await machine.stood(name);
          assertEachOnce(given, name, stood);
          assertPolicies(given, [...stood.values()].flat());
        }
      },
    ),
    { numRuns: Number(process.env['MILLRACE_HISTORIES'] ?? HISTORIES), endOnFailure: true },
  );
  // Histories in which nothing happens would agree with anything.
  expect(seen.entries).toBeGreaterThan(HISTORIES);
  for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(0);
});

const HISTORIES = 25;
const HOUR_MS = 3_600_000;
const DUE_TIMES_MAX = 3_000;

const process_ = fc.nat(PROCESSES - 1);
const NAMES = ['shop', 'till'] as const;
const index = fc.nat(1_000);
const ending = fc.constantFrom<Ending>('succeeded', 'succeeded', 'timeout', 'timeout', 'auth_failed');
const longMs = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 10_000, max: 9 * HOUR_MS }) },
  { weight: 1, arbitrary: fc.integer({ min: -50_000, max: -1_000 }) },
  { weight: 3, arbitrary: fc.integer({ min: -6 * HOUR_MS, max: -2 * 60_000 }) },
);
/** In the middle of a turn: longer than the lease, or the clock is put back. */
const asleepMs = fc.constantFrom(3_000, 21_000, 25_000, 45_000, -2 * HOUR_MS);

const action = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constant('turn' as const), by: process_ }) },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('sleep' as const), by: process_, ms: asleepMs }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.constantFrom(400, 1_000, 7_000, 21_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: longMs }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), by: process_ }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), by: process_ }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('work' as const), by: process_ }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('end' as const), index, how: ending }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('zombie' as const),
      index,
      how: fc.constantFrom('heartbeat' as const, 'succeeded' as const, 'timeout' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('manual' as const),
      by: process_,
      name: fc.constantFrom(...NAMES),
    }),
  },
);
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never;

const schedule = fc.constantFrom(
  '*/5 * * * * *',
  '* * * * *',
  '*/5 * * * *',
  '*/15 * * * *',
  '30 2 * * *',
  '0,30 1-3 * * *',
  '@hourly',
);
const timezone = fc.constantFrom(
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'America/Santiago',
  'Asia/Tokyo',
);
const options = fc.record({
  // Shortly before one of them changes its clocks.
  start: fc.constantFrom(
    '2027-03-28T00:50:00Z',
    '2027-10-31T00:20:00Z',
    '2027-04-03T14:00:00Z',
    '2027-11-07T05:00:00Z',
    '2027-09-05T03:30:00Z',
  ),
  settings: fc.record({
    catchUp: fc.constantFrom('once' as const, 'none' as const),
    overlap: fc.constantFrom('skip' as const, 'queue' as const),
  }),
  connectors: fc.tuple(...NAMES.map((name) => fc.record({ name: fc.constant(name), schedule, timezone }))),
}) satisfies fc.Arbitrary<MachineOptions>;

async function apply(machine: Machine, next: Action): Promise<void> {
  // Whoever lives looks to the duty each second: nobody works for long by a clock that no holder has seen.
  const unseenMs = machine.clock.now().getTime() - (machine.ages.at(-1)?.upTo ?? 0);
  if (WORKING.includes(next.do) && unseenMs > 20_000) await allTurn(machine, 0);
  switch (next.do) {
    case 'turn':
      return await allTurn(machine, next.by);
    case 'sleep':
      return await sleepInATurn(machine, next);
    case 'pass':
      return machine.clock.pass(next.ms);
    case 'crash':
      return machine.crash(next.by);
    case 'leave':
      return await machine.leave(next.by);
    case 'work':
      return await machine.work(next.by);
    case 'manual':
      return await machine.manual(next.by, next.name);
    case 'end':
      return await machine.end(next.index, next.how);
    case 'zombie':
      return await machine.zombie(next.index, next.how);
    default:
      return next satisfies never;
  }
}

const WORKING: readonly Action['do'][] = ['work', 'manual', 'end'];

/** The first that has something to write falls asleep before it does, and the others go on. */
async function sleepInATurn(
  machine: Machine,
  { by, ms }: { readonly by: number; readonly ms: number },
): Promise<void> {
  let asleep: number | undefined;
  for (let at = by; at < by + PROCESSES; at += 1) {
    if (asleep !== undefined) continue;
    await machine.turn(at, async () => {
      asleep = at;
      machine.clock.pass(ms);
      for (let other = at + 1; other < at + PROCESSES; other += 1) await machine.turn(other);
    });
  }
}

async function allTurn(machine: Machine, from: number): Promise<void> {
  for (let at = 0; at < PROCESSES; at += 1) await machine.turn(from + at);
}

/** Leases of whoever crashed end, and somebody is there until nothing is left to do. */
async function bringToAnEnd(machine: Machine): Promise<void> {
  machine.clock.pass(11 * 60_000);
  const settle = async (): Promise<void> => {
    machine.clock.pass(1_000);
    await allTurn(machine, 0);
    await machine.work(0);
    await machine.work(1);
    for (let one = 0; one < 4; one += 1) await machine.end(one, 'succeeded');
  };
  // A retry may have a minute to wait; behind it waits what `queue` has kept.
  for (let second = 0; second < 15 || ((await machine.active()) > 0 && second < 90); second += 1)
    await settle();
  for (let second = 0; second < 15; second += 1) await settle();
  for (let more = 0; (await machine.active()) > 0; more += 1) {
    if (more > 30) throw new Error(`${await machine.active()} runs do not end`);
    machine.clock.pass(2_000);
    await machine.work(0);
    await machine.end(0, 'succeeded');
    await machine.end(0, 'succeeded');
  }
}

/**
 * In each stretch of time between two clocks that were put back, each time once. One that still waited for a run to end
 * when the clock was put back is made up for in the next.
 */
function assertEachOnce(
  { connectors, settings }: MachineOptions,
  name: string,
  byAge: ReadonlyMap<Age, readonly Stood[]>,
): void {
  const { schedule: text, timezone: zone } = connectors.find((one) => one.name === name) ?? {
    schedule: '',
    timezone: '',
  };
  const times = parseCron(text, zone);
  const ages = [...byAge];
  const told = JSON.stringify(
    ages.map(([age, stood]) => [
      spanOf(age),
      stood.map(({ since, until, run }) => [since, until, run.status, run.error?.code]),
    ]),
  );
  for (const [at, [age, stood]] of ages.entries()) {
    const upTo = age.upTo - SPREAD_MS - 2_000;
    let counted = 0;
    for (
      let due = times.nextAfter(new Date(age.from));
      due !== null && due.getTime() <= upTo && counted < DUE_TIMES_MAX;
      counted += 1
    ) {
      const here = standingFor(stood, due).length;
      const waited = here === 0 && settings.overlap === 'queue' && isMadeUpFor(due, ages.slice(at + 1));
      if (here !== 1 && !waited) throw new Error(`${name}: ${due.toISOString()} ${here} times in ${told}`);
      due = times.nextAfter(due);
    }
    for (const [one, entry] of stood.entries())
      for (const other of stood.slice(one + 1))
        if (entry.since <= other.until && other.since <= entry.until)
          throw new Error(`${name}: two entries for the same times: ${told}`);
  }
}

/** In a later stretch of time, or it comes again there. */
function isMadeUpFor(due: Date, later: readonly (readonly [Age, readonly Stood[]])[]): boolean {
  return later.some(([{ from }, stood]) => from < due.getTime() || standingFor(stood, due).length > 0);
}

function assertPolicies({ settings }: MachineOptions, stood: readonly Stood[]): void {
  const codes = new Set(stood.map(({ run }) => (run.skipped ? run.error?.code : undefined)));
  if (settings.catchUp === 'once') expect(codes).not.toContain('time_missed');
  if (settings.overlap === 'queue') expect(codes).not.toContain('run_in_progress');
}

function spanOf({ from, upTo }: Age): string {
  return `${new Date(from).toISOString()}..${new Date(upTo).toISOString()}`;
}
