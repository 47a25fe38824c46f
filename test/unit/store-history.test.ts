import { setImmediate as turn } from 'node:timers/promises';
import BetterSqlite from 'better-sqlite3';
import { Kysely, sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import { createRetention } from '../../src/engine/retention.ts';
import type { Database } from '../../src/store/database.ts';
import { sqliteDialect } from '../../src/store/driver.ts';
import { runIdFloor } from '../../src/store/run-id.ts';
import { matching } from '../../src/store/run-list.ts';
import type { RunFilter, Store } from '../../src/store/store.ts';
import { connector, handClock, open, scratch } from './store-support.ts';

/** A history that stays useful: old runs go in steps nobody notices, and the newest page never depends on how many there are. */

const DAY_MS = 24 * 3_600_000;
const START = Date.parse('2026-11-02T08:00:00.000Z');

interface Past {
  readonly connector: string;
  readonly daysAgo: number;
  readonly status?: string;
  readonly lines?: number;
}

/** Runs as they would be after years, written past the store: ids are those of their time. */
function past(file: string, runs: readonly Past[]): void {
  const db = new BetterSqlite(file);
  try {
    const run = db.prepare(
      "INSERT INTO runs (run_id, connector, trigger, status, attempt, full_refresh, queued_at) VALUES (?, ?, 'manual', ?, 1, 0, ?)",
    );
    const line = db.prepare("INSERT INTO run_log VALUES (?, ?, 0, 'info', 'x')");
    db.transaction(() => {
      for (const [at, { connector, daysAgo, status = 'succeeded', lines = 0 }] of runs.entries()) {
        const queued = START - daysAgo * DAY_MS;
        const id = `${runIdFloor(new Date(queued))}${String(at).padStart(6, '0')}`;
        run.run(id, connector, status, queued);
        for (let n = 1; n <= lines; n += 1) line.run(id, n);
      }
    })();
  } finally {
    db.close();
  }
}

async function history(runs: readonly Past[]) {
  const folder = scratch();
  const clock = handClock(START);
  const store = await open(folder.file, clock.now);
  for (const name of new Set(runs.map((run) => run.connector)))
    await store.connectors.insert(connector(name));
  past(folder.file, runs);
  return {
    store,
    clock,
    file: folder.file,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

const sweep = async (store: Store, settings: { keepDays: number; keepRuns: number }): Promise<void> => {
  const chore = createRetention({ runs: store.runs, settings, now: () => new Date(START), pauseMs: 0 });
  await chore.run(new AbortController().signal);
};

const ages = async (store: Store, of: string): Promise<readonly number[]> =>
  (await store.runs.list({ connector: of }, { limit: 1_000 })).items.map(({ queued_at }) =>
    Math.round((START - Date.parse(queued_at)) / DAY_MS),
  );

describe('retention', () => {
  test('by age and by number; what says how a connector is stays, however old', async () => {
    await using world = await history([
      ...[400, 300, 200, 91, 90, 89, 3, 2, 1].map((daysAgo) => ({ connector: 'shop', daysAgo })),
      // The last success is long ago, and so is everything.
      { connector: 'yearly', daysAgo: 700 },
      { connector: 'yearly', daysAgo: 600 },
      { connector: 'yearly', daysAgo: 500, status: 'failed' },
      { connector: 'yearly', daysAgo: 400, status: 'failed' },
      { connector: 'busy', daysAgo: 200, status: 'running' },
    ]);
    await sweep(world.store, { keepDays: 90, keepRuns: 1_000 });
    expect(await ages(world.store, 'shop')).toEqual([1, 2, 3, 89, 90]);
    expect(await ages(world.store, 'yearly')).toEqual([400, 600]);
    expect(await ages(world.store, 'busy')).toEqual([200]);
    await sweep(world.store, { keepDays: 90, keepRuns: 2 });
    expect(await ages(world.store, 'shop')).toEqual([1, 2]);
    expect(await world.store.runs.counts()).toMatchObject({ succeeded: 3, failed: 1, running: 1 });
  });

  test('runs of connectors that are gone go too, and nothing else: audit, leases, secrets', async () => {
    await using world = await history([
      { connector: 'gone', daysAgo: 100, lines: 3 },
      { connector: 'gone', daysAgo: 99, lines: 3 },
    ]);
    await world.store.audit.append({ actor: 'a', action: 'b', subject: 'gone', detail: {} });
    await world.store.connectors.remove('gone');
    const before = rows(world.file);
    await sweep(world.store, { keepDays: 90, keepRuns: 10 });
    expect(rows(world.file)).toEqual({ ...before, runs: 1, run_log: 3 });
  });

  test('a step is small: so many runs, fewer when they have said much, and other work comes between', async () => {
    await using world = await history([
      ...Array.from({ length: 250 }, () => ({ connector: 'shop', daysAgo: 200 })),
      ...Array.from({ length: 20 }, () => ({ connector: 'talks', daysAgo: 200, lines: 500 })),
      { connector: 'shop', daysAgo: 1 },
      { connector: 'talks', daysAgo: 1 },
    ]);
    const rules = { olderThan: new Date(START - 90 * DAY_MS), keepRuns: 1_000 };
    const removed: number[] = [];
    for (let at: string | null = 'shop'; at !== null; ) {
      const step: { connector: string | null; removed: number } = await world.store.runs.sweep(rules, at);
      at = step.connector;
      removed.push(step.removed);
    }
    expect(removed).toEqual([50, 50, 50, 50, 50, 0, 4, 4, 4, 4, 4, 0]);
  });

  test('ends when the process leaves, and goes on where the rest is', async () => {
    await using world = await history(
      Array.from({ length: 950 }, (_, at) => ({ connector: 'shop', daysAgo: at === 949 ? 1 : 200 })),
    );
    const chore = createRetention({
      runs: world.store.runs,
      settings: { keepDays: 90, keepRuns: 10_000 },
      now: world.clock.now,
      pauseMs: 1,
    });
    const leaving = new AbortController();
    const work = chore.run(leaving.signal);
    while ((await ages(world.store, 'shop')).length > 700) await turn();
    leaving.abort();
    await work;
    const left = (await ages(world.store, 'shop')).length;
    expect(left).toBeGreaterThan(1);
    expect(left).toBeLessThanOrEqual(700);
    await chore.run(new AbortController().signal);
    expect(await ages(world.store, 'shop')).toEqual([1]);
  });

  test('comes a minute after a process has the chores, then hourly; also when the clock was put back', async () => {
    const runs = { sweep: async () => ({ connector: null, removed: 0 }) };
    const chore = createRetention({
      runs,
      settings: { keepDays: 1, keepRuns: 1 },
      now: () => new Date(START),
    });
    const dueAfter = (ms: number): boolean => chore.due(new Date(START + ms), new Date(START));
    expect([59_000, 60_000, -60_000].map(dueAfter)).toEqual([false, true, true]);
    await chore.run(new AbortController().signal);
    expect([60_000, 3_600_000, -3_600_000].map(dueAfter)).toEqual([false, true, true]);
  });
});

/** How many rows each table has. */
function rows(file: string): Readonly<Record<string, number>> {
  const db = new BetterSqlite(file, { readonly: true });
  try {
    return Object.fromEntries(
      ['runs', 'run_log', 'audit', 'leases', 'secrets', 'connectors'].map((table) => [
        table,
        db.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number,
      ]),
    );
  } finally {
    db.close();
  }
}

describe('the newest page', () => {
  const filters: readonly RunFilter[] = [
    {},
    { connector: 'shop' },
    { status: 'failed' },
    { connector: 'shop', status: 'failed' },
  ];
  const cases = filters.flatMap((filter) =>
    [{}, { since: '2026-10-01T00:00:00Z' }].flatMap((since) =>
      [null, 'r0123456789abcde'].map((before) => ({ filter: { ...filter, ...since }, before })),
    ),
  );

  test.each(cases)(
    '$filter before $before: found by an index, read in its order',
    async ({ filter, before }) => {
      await using world = await history([{ connector: 'shop', daysAgo: 1 }]);
      const db = new Kysely<Database>({ dialect: sqliteDialect(new BetterSqlite(world.file), world.file) });
      const plan = await matching(db, filter, before)
        .limit(21)
        .explain<{ detail: string }>(undefined, sql`query plan`);
      await db.destroy();
      const told = plan.map(({ detail }) => detail).join('\n');
      // Without any condition the index is walked from its end; `SCAN … USING INDEX` is that.
      expect(told).toMatch(/^(SEARCH|SCAN) runs USING INDEX/);
      expect(told).not.toMatch(/TEMP B-TREE|SCAN runs$/);
      if (filter.connector !== undefined) expect(told).toContain('connector=?');
      if (filter.status !== undefined) expect(told).toContain('status=?');
      if (filter.since !== undefined || before !== null) expect(told).toMatch(/run_id[<>]\?/);
    },
  );
});
