import BetterSqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { type SchedulerWorld, schedulerWorld } from './scheduler-support.ts';
import { connector } from './store-support.ts';

const HOUR_MS = 3_600_000;

const told = (runs: readonly Run[]): readonly string[] =>
  runs.map((run) => `${run.due_at?.slice(11, 19)} ${run.skipped ? run.error?.code : run.status}`);

describe('a due time', () => {
  test('becomes one run, at its time and not before', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    await world.register('shop', '15 * * * *');
    expect(await world.act(scheduler)).toBe(15 * 60_000);
    world.clock.pass(15 * 60_000 - 1);
    expect(await world.act(scheduler)).toBe(1);
    expect(await world.history()).toEqual([]);
    world.clock.pass(1);
    await world.act(scheduler);
    await world.act(scheduler);
    const [run] = await world.history();
    expect(run).toMatchObject({ trigger: 'schedule', status: 'queued', due_at: '2026-11-02T08:15:00.000Z' });
    expect(await world.history()).toHaveLength(1);
  });

  test('is a time of the connector’s zone, else of the config’s', async () => {
    await using world = await schedulerWorld();
    await world.register('here', '0 12 * * *');
    await world.register('there', '0 12 * * *', 'Asia/Tokyo');
    await world.act(world.scheduler({ timezone: 'America/New_York' }));
    expect(await world.store.schedules.nextDue()).toEqual({
      connector: 'here',
      dueAt: new Date('2026-11-02T17:00:00.000Z'),
    });
    // Another process, with another default: what was planned by the first one's is planned anew.
    await world.act(world.scheduler({ timezone: 'Europe/Berlin' }), { first: true });
    expect((await world.store.schedules.nextDue())?.dueAt).toEqual(new Date('2026-11-02T11:00:00.000Z'));
  });

  test('counts from when the schedule was set, not from when somebody looked', async () => {
    await using world = await schedulerWorld();
    world.clock.pass(15 * 60_000 - 100);
    await world.register('shop', '15 * * * *');
    world.clock.pass(500);
    await world.act(world.scheduler());
    expect(told(await world.history())).toEqual(['08:15:00 queued']);
  });

  test('goes with its connector, its schedule and being enabled', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    const { connectors, schedules } = world.store;
    await world.register('shop', '15 * * * *');
    await world.act(scheduler);
    await connectors.update(connector('shop', { schedule: '45 * * * *' }));
    await world.act(scheduler);
    expect((await schedules.nextDue())?.dueAt.getUTCMinutes()).toBe(45);
    await connectors.update(connector('shop', { schedule: '45 * * * *', enabled: false }));
    expect(await schedules.nextDue()).toBeNull();
    await connectors.update(connector('shop', { schedule: '45 * * * *' }));
    await world.act(scheduler);
    expect(await schedules.nextDue()).not.toBeNull();
    await connectors.remove('shop');
    expect(await schedules.nextStart()).toBeNull();
  });

  test('of a hundred connectors is spread, the same way each time and by no more than a tenth of the interval', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler({ spreadMs: 10_000 });
    for (let n = 0; n < 100; n += 1) await world.register(`shop_${n}`, n < 50 ? '@hourly' : '*/10 * * * * *');
    const starts = async (): Promise<Map<string, number>> => {
      await world.act(scheduler);
      const db = new BetterSqlite(world.file, { readonly: true });
      const rows = db.prepare('SELECT connector, start_at - due_at AS late FROM schedules').all();
      db.close();
      return new Map((rows as { connector: string; late: number }[]).map((row) => [row.connector, row.late]));
    };
    const first = await starts();
    world.clock.pass(HOUR_MS + 20_000);
    expect(await starts()).toEqual(first);
    const hourly = [...first].filter(([name]) => Number(name.slice(5)) < 50).map(([, late]) => late);
    const often = [...first].filter(([name]) => Number(name.slice(5)) >= 50).map(([, late]) => late);
    expect(new Set(hourly.map((late) => Math.floor(late / 1_000))).size).toBeGreaterThanOrEqual(8);
    expect(Math.max(...hourly)).toBeLessThan(10_000);
    expect(Math.max(...often)).toBeLessThan(1_000);
    expect(Math.min(...hourly, ...often)).toBeGreaterThanOrEqual(0);
  });

  test('of a schedule that an earlier version kept unread harms nobody else', async () => {
    await using world = await schedulerWorld();
    await world.register('bad', 'every morning');
    await world.register('good', '15 * * * *');
    const scheduler = world.scheduler();
    expect(await world.act(scheduler)).toBe(15 * 60_000);
    await world.act(scheduler);
    expect(world.faults).toEqual([expect.stringContaining('schedule of bad: The schedule "every morning"')]);
    expect((await world.store.schedules.nextDue())?.connector).toBe('good');
  });
});

describe('times that passed while nobody was there', () => {
  const asleep = async (world: SchedulerWorld, catchUp: 'once' | 'none', ms: number): Promise<void> => {
    const scheduler = world.scheduler({ catchUp });
    await world.register('shop', '*/15 * * * *');
    await world.act(scheduler);
    world.clock.pass(ms);
    await world.act(scheduler);
  };

  test('once: one run for all of them, which says so', async () => {
    await using world = await schedulerWorld();
    await asleep(world, 'once', 5 * HOUR_MS + 5 * 60_000);
    expect(told(await world.history())).toEqual(['13:00:00 queued']);
    const [run] = await world.history();
    expect(await world.store.runs.readLog(run?.run_id ?? '', 9)).toMatchObject([
      { message: expect.stringContaining('makes up for the scheduled times since 2026-11-02T08:15:00.000Z') },
    ]);
  });

  test('none: in the history as skipped, how many and which', async () => {
    await using world = await schedulerWorld();
    await asleep(world, 'none', 2 * HOUR_MS + 5 * 60_000);
    const [run] = await world.history();
    expect(told(await world.history())).toEqual(['10:00:00 time_missed']);
    expect(run?.error?.message).toBe(
      '8 scheduled times, from 2026-11-02T08:15:00.000Z to 2026-11-02T10:00:00.000Z, passed while no server was running.',
    );
    expect(run?.status).toBe('cancelled');
    expect(run?.started_at).toBeUndefined();
  });

  test('none: what is younger than a minute runs, for a holder that died is replaced by then', async () => {
    await using world = await schedulerWorld();
    await asleep(world, 'none', 2 * HOUR_MS + 30_000);
    expect(told(await world.history())).toEqual(['09:45:00 time_missed', '10:00:00 queued']);
  });

  test('a year of seconds is one run, at once', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    await world.register('shop', '* * * * * *');
    await world.act(scheduler);
    world.clock.pass(365 * 24 * HOUR_MS);
    await world.act(scheduler);
    expect(told(await world.history())).toEqual(['08:00:00 queued']);
  });
});

describe('a due time while a run is under way', () => {
  test('skip: in the history, with the run that was in the way and the next time', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    await world.register('shop', '* * * * *');
    await world.act(scheduler);
    for (let minute = 0; minute < 3; minute += 1) {
      world.clock.pass(60_000);
      await world.act(scheduler);
    }
    expect(told(await world.history())).toEqual([
      '08:01:00 queued',
      '08:02:00 run_in_progress',
      '08:03:00 run_in_progress',
    ]);
    const [first, second] = await world.history();
    expect(second?.error?.message).toContain(`run ${first?.run_id} was still waiting to start`);
    expect(second?.error?.message).toContain('The next time is 2026-11-02T08:03:00.000Z');
    // How the connector is doing looks past them.
    expect((await world.store.runs.latest('shop'))?.run_id).toBe(first?.run_id);
  });

  test('queue: one run when it has ended, for all times that came meanwhile', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler({ overlap: 'queue', catchUp: 'none' });
    await world.register('shop', '* * * * *');
    await world.act(scheduler);
    for (let minute = 0; minute < 5; minute += 1) {
      world.clock.pass(60_000);
      await world.act(scheduler);
    }
    expect(told(await world.history())).toEqual(['08:01:00 queued']);
    await world.finishOne();
    world.clock.pass(1_000);
    await world.act(scheduler);
    expect(told(await world.history())).toEqual(['08:01:00 succeeded', '08:05:00 queued']);
    const [, run] = await world.history();
    expect((await world.store.runs.readLog(run?.run_id ?? '', 9))[0]?.message).toContain(
      'stands for the scheduled times since 2026-11-02T08:02:00.000Z',
    );
  });

  test('an open breaker: until when and why; afterwards the run is the probe', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    await world.register('shop', '* * * * *');
    await world.act(scheduler);
    const at = world.clock.now().getTime();
    const error = {
      code: 'auth_failed',
      message: 'The password was refused.',
      hint: 'Mend it.',
      who: 'person',
    };
    const db = new BetterSqlite(world.file);
    db.prepare('INSERT INTO breakers VALUES (?, 5, ?, ?, ?)').run(
      'shop',
      at,
      at + 90_000,
      JSON.stringify(error),
    );
    db.close();
    for (let minute = 0; minute < 2; minute += 1) {
      world.clock.pass(60_000);
      await world.act(scheduler);
    }
    expect(told(await world.history())).toEqual(['08:01:00 circuit_open', '08:02:00 queued']);
    const [skipped] = await world.history();
    expect(skipped?.error).toMatchObject({
      message:
        'Scheduled runs of "shop" rest until 2026-11-02T08:01:30.000Z: 5 runs failed in a row (auth_failed: The password was refused).',
      hint: 'Mend it.',
      who: 'person',
    });
  });
});

describe('a clock that is set', () => {
  test('forward by hours is missed times', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    await world.register('shop', '0 * * * *');
    await world.act(scheduler);
    world.clock.pass(7 * HOUR_MS);
    await world.act(scheduler);
    expect(told(await world.history())).toEqual(['15:00:00 queued']);
  });

  test('back by hours: what comes again runs again, and nothing waits for the old time', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    await world.register('shop', '0 * * * *');
    await world.act(scheduler);
    world.clock.pass(5 * HOUR_MS);
    await world.act(scheduler);
    const claim = await world.store.runs.claim('test', 10_000);
    if (!claim) throw new Error('nothing to claim');
    await world.store.runs.retry(claim, new Date(world.clock.now().getTime() + 50_000), { streams: [] });
    world.clock.pass(-4 * HOUR_MS - 30 * 60_000);
    await world.act(scheduler, { setBack: true });
    const waiting = await world.store.runs.get(claim.run_id);
    expect(Date.parse(waiting.retry_at ?? '') - world.clock.now().getTime()).toBe(60_000);
    world.clock.pass(60_000);
    expect(await world.finishOne()).toBe(claim.run_id);
    for (let hour = 0; hour < 5; hour += 1) {
      world.clock.pass(HOUR_MS);
      await world.act(scheduler);
      await world.finishOne();
    }
    expect(told(await world.history())).toEqual(
      ['09', '10', '11', '12', '13', '13'].map((hour) => `${hour}:00:00 succeeded`),
    );
  });

  test('back by hours: a time that waits for a run to end is still made up for', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler({ overlap: 'queue' });
    await world.register('shop', '0 * * * *');
    await world.act(scheduler);
    for (let hour = 0; hour < 5; hour += 1) {
      world.clock.pass(HOUR_MS);
      await world.act(scheduler);
    }
    expect(told(await world.history())).toEqual(['09:00:00 queued']);
    world.clock.pass(-90 * 60_000);
    await world.act(scheduler, { setBack: true });
    await world.finishOne();
    world.clock.pass(1_000);
    await world.act(scheduler);
    expect(told(await world.history())).toEqual(['09:00:00 succeeded', '11:00:00 queued']);
    const [, run] = await world.history();
    expect((await world.store.runs.readLog(run?.run_id ?? '', 9))[0]?.message).toContain(
      'since 2026-11-02T10:00:00.000Z',
    );
  });

  test('back by seconds doubles nothing, also when the schedule is set anew meanwhile', async () => {
    await using world = await schedulerWorld();
    const scheduler = world.scheduler();
    await world.register('shop', '0 * * * *');
    await world.act(scheduler);
    world.clock.pass(HOUR_MS);
    await world.act(scheduler);
    world.clock.pass(-10_000);
    await world.store.connectors.update(connector('shop', { schedule: '0 * * * MON' }));
    for (let second = 0; second < 20; second += 1) {
      world.clock.pass(1_000);
      await world.act(scheduler);
    }
    expect(told(await world.history())).toEqual(['09:00:00 queued']);
  });
});
