import BetterSqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { MIGRATIONS } from '../../src/store/migrations.ts';
import type { ScheduleEntry, Step } from '../../src/store/schedules.ts';
import { connector, handClock, open, scratch } from './store-support.ts';

const MINUTE_MS = 60_000;

/** The entry moved to its next time, and a run for the one it waited for. */
function step(entry: ScheduleEntry, next: Date): Step {
  return {
    entry,
    next: { spec: 's|UTC', dueAt: next, startAt: next },
    overlap: { kind: 'skip' },
    ...(entry.dueAt === null ? {} : { run: { dueAt: entry.dueAt } }),
  };
}

describe('an entry of the timetable', () => {
  test('is moved by one of two processes that read it, and its run is made once', async () => {
    using folder = scratch();
    const clock = handClock();
    await using one = await open(folder.file, clock.now);
    await using two = await open(folder.file, clock.now);
    await one.connectors.insert(connector('shop', { schedule: '* * * * *' }));
    const at = (minutes: number): Date => new Date(clock.now().getTime() + minutes * MINUTE_MS);
    const [fresh] = await one.schedules.due(clock.now(), 9);
    if (!fresh) throw new Error('not there');
    expect(await one.schedules.advance([step(fresh, at(1))])).toEqual(['moved']);
    expect(await two.schedules.advance([step(fresh, at(1))])).toEqual(['lost']);
    clock.pass(MINUTE_MS);
    const [mine] = await one.schedules.due(clock.now(), 9);
    const [theirs] = await two.schedules.due(clock.now(), 9);
    if (!mine || !theirs) throw new Error('not due');
    expect(await two.schedules.advance([step(theirs, at(1))])).toEqual(['queued']);
    expect(await one.schedules.advance([step(mine, at(1))])).toEqual(['lost']);
    expect((await one.runs.list({}, { limit: 9 })).items).toHaveLength(1);
  });

  test('is not moved when its schedule, its zone or its being enabled has changed meanwhile', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const shop = connector('shop', { schedule: '* * * * *', timezone: 'UTC' });
    await store.connectors.insert(shop);
    for (const change of [{ schedule: '@daily' }, { timezone: 'Asia/Tokyo' }, { enabled: false }]) {
      const [read] = await store.schedules.due(clock.now(), 9);
      if (!read) throw new Error('not there');
      await store.connectors.update({ ...shop, ...change }); // in the same millisecond
      expect(await store.schedules.advance([step(read, clock.now())])).toEqual(['lost']);
      await store.connectors.update(shop);
    }
  });

  test('survives what does not concern it', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const shop = connector('shop', { schedule: '* * * * *' });
    await store.connectors.insert(shop);
    const [fresh] = await store.schedules.due(clock.now(), 9);
    if (!fresh) throw new Error('not there');
    const dueAt = new Date(clock.now().getTime() + MINUTE_MS);
    await store.schedules.advance([step(fresh, dueAt)]);
    await store.connectors.update({ ...shop, description: 'the web shop' });
    expect(await store.schedules.nextDue()).toEqual({ connector: 'shop', dueAt });
  });
});

test('a store of the version before has its schedules planned, and keeps its runs', async () => {
  using folder = scratch();
  const old = new BetterSqlite(folder.file);
  old.exec(MIGRATIONS[0] ?? '');
  old.pragma(`application_id = ${0x4d696c6c}`);
  old.pragma('user_version = 1');
  const insert = old.prepare("INSERT INTO connectors VALUES (?, 'postgresql', '{}', ?, NULL, ?, NULL, 1, 1)");
  insert.run('on', '@hourly', 1);
  insert.run('off', '@hourly', 0);
  insert.run('none', null, 1);
  old
    .prepare(
      "INSERT INTO runs (run_id, connector, trigger, status, attempt, full_refresh, due_at, queued_at) VALUES ('r1', 'on', 'manual', 'succeeded', 1, 0, NULL, 1)",
    )
    .run();
  old.close();
  const clock = handClock();
  await using store = await open(folder.file, clock.now);
  const due = await store.schedules.due(clock.now(), 9);
  expect(due.map((entry) => entry.connector)).toEqual(['on']);
  // From now on: there was nobody to miss the times since 1970.
  expect(due[0]?.startAt).toEqual(new Date(0));
  expect((await store.runs.latest('on'))?.run_id).toBe('r1');
  // When it took effect is not known until it changes.
  expect((await store.health.of(['on']))[0]).not.toHaveProperty('scheduledAt');
  await store.connectors.update(connector('on', { schedule: '@daily' }));
  expect((await store.health.of(['on']))[0]).toMatchObject({ scheduledAt: clock.now().getTime() });
});

test('a store from before standings were kept has its health from the runs it had', async () => {
  using folder = scratch();
  const old = new BetterSqlite(folder.file);
  for (const script of MIGRATIONS.slice(0, 2)) old.exec(script);
  old.pragma(`application_id = ${0x4d696c6c}`);
  old.pragma('user_version = 2');
  const insert = old.prepare(
    "INSERT INTO connectors VALUES (?, 'postgresql', '{}', NULL, NULL, 1, NULL, 1, 1)",
  );
  const stream = old.prepare("INSERT INTO streams VALUES (?, ?, ?, '{}')");
  const run = old.prepare(
    "INSERT INTO runs (run_id, connector, trigger, status, attempt, only_streams, full_refresh, queued_at, finished_at, streams, error) VALUES (?, ?, 'manual', ?, 1, ?, 0, ?, ?, ?, ?)",
  );
  for (const name of ['failed', 'good', 'new', 'partial']) {
    insert.run(name);
    for (const [at, one] of ['a', 'b'].entries()) stream.run(name, at, one);
  }
  const error = JSON.stringify({ code: 'not_found_at_source', message: 'gone' });
  const results = `[{"stream":"a","status":"succeeded"},{"stream":"b","status":"failed","error":${error}}]`;
  for (const name of ['failed', 'good', 'partial'])
    run.run(`r1${name}`, name, 'succeeded', null, 10, 11, '[]', null);
  run.run('r2', 'good', 'succeeded', '["a"]', 20, 21, '[]', null);
  run.run('r3', 'partial', 'partial', null, 30, 31, results, error);
  run.run('r4', 'failed', 'failed', null, 40, 41, '[]', error);
  old.close();
  await using store = await open(folder.file, handClock().now);
  const facts = await store.health.page('', 9);
  const fresh = { succeededAt: 11, succeededFrom: 10 };
  expect(facts).toMatchObject([
    { connector: 'failed', ...fresh, ended: { run_id: 'r4', status: 'failed', error: JSON.parse(error) } },
    { connector: 'good', ...fresh, ended: { run_id: 'r2', status: 'succeeded', failedStreams: [] } },
    { connector: 'new' },
    {
      connector: 'partial',
      ...fresh,
      ended: { run_id: 'r3', status: 'partial', failedStreams: ['b'], error: JSON.parse(error) },
    },
  ]);
  expect(facts[2]).not.toHaveProperty('ended');
});

test('a tick looks at one index, however many connectors are not due', async () => {
  using folder = scratch();
  const clock = handClock();
  await using store = await open(folder.file, clock.now);
  await store.connectors.insert(connector('shop', { schedule: '@hourly' }));
  const db = new BetterSqlite(folder.file);
  const plan = (sql: string): string =>
    (db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all() as { detail: string }[])
      .map(({ detail }) => detail)
      .join('; ');
  const due =
    'select connector, schedule, timezone, spec, due_at, start_at from schedules inner join connectors on connectors.name = schedules.connector where start_at <= 1 order by start_at limit 25';
  expect(plan(due)).toMatch(
    /SEARCH schedules USING (COVERING )?INDEX schedules_next \(start_at<\?\); SEARCH connectors USING PRIMARY KEY/,
  );
  expect(plan('select start_at from schedules order by start_at limit 1')).toMatch(
    /USING COVERING INDEX schedules_next/,
  );
  expect(
    plan("select * from runs where connector = 'a' and skipped = 0 order by run_id desc limit 1"),
  ).toMatch(/SEARCH runs USING INDEX runs_real \(connector=\?\)$/);

  // The same by counting: what a tick reads with 100 and with 10,000 that are not due.
  const fill = db.prepare(
    "INSERT INTO connectors VALUES (?, 'postgresql', '{}', '@hourly', NULL, 1, NULL, 9e15, 9e15)",
  );
  const cost = async (upTo: number): Promise<number> => {
    const { n } = db.prepare('SELECT count(*) AS n FROM connectors').get() as { n: number };
    db.transaction(() => {
      for (let index = n; index < upTo; index += 1) fill.run(`c${index}`);
    })();
    await store.schedules.due(new Date(0), 25);
    const begun = performance.now();
    for (let turn = 0; turn < 200; turn += 1) {
      await store.schedules.due(new Date(0), 25);
      await store.schedules.nextStart();
    }
    return performance.now() - begun;
  };
  const few = await cost(100);
  const many = await cost(10_000);
  db.close();
  expect(many).toBeLessThan(few * 5 + 50);
});

describe('a lease', () => {
  test('of a holder that is gone is free at once; of one that is not, when it ends', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const { leases } = store;
    await leases.acquire('duty', 'first', 20_000);
    expect(await leases.free('duty', () => false)).toBe(false);
    expect(await leases.acquire('duty', 'second', 20_000)).toBeNull();
    expect((await leases.look('duty'))?.holder).toBe('first');
    expect(await leases.free('duty', (holder) => holder === 'first')).toBe(true);
    expect((await leases.look('duty'))?.holder).toBeNull();
    const second = await leases.acquire('duty', 'second', 20_000);
    expect(second).not.toBeNull();
    clock.pass(20_000);
    expect(await leases.acquire('duty', 'third', 20_000)).not.toBeNull();
    expect(second && (await leases.renew(second, 20_000))).toBe(false);
  });

  test('from before the clock was put back is not waited for', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    const held = await store.leases.acquire('duty', 'first', 20_000);
    const seenAt = clock.now();
    expect(held && (await store.leases.renew(held, 20_000, seenAt))).toBe(true);
    clock.pass(-10_000);
    expect(await store.leases.acquire('duty', 'second', 20_000)).toBeNull();
    clock.pass(-3 * 3_600_000);
    expect(await store.leases.acquire('duty', 'second', 20_000)).not.toBeNull();
    // And whoever takes it over can see that the clock was put back.
    expect((await store.leases.look('duty'))?.seenAt).toEqual(seenAt);
  });

  test('of a run from before the clock was put back is not waited for either', async () => {
    using folder = scratch();
    const clock = handClock();
    await using store = await open(folder.file, clock.now);
    await store.connectors.insert(connector('shop'));
    const { run_id } = await store.runs.enqueue({ connector: 'shop', trigger: 'manual', fullRefresh: false });
    await store.runs.claim('first', 10_000);
    clock.pass(-3 * 3_600_000);
    expect(await store.runs.claim('second', 10_000)).toMatchObject({ run_id, recovered: true, attempt: 2 });
  });
});
