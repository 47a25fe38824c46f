import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freshDatabaseOn, type ServerDatabase } from '../support/databases.ts';
import { expectEachOnce, readStood, type Stood } from '../support/due-history.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { startLateWriter } from '../support/late-writer.ts';
import {
  type MillraceProcess,
  runToEnd,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import {
  compareMoving,
  createMovingTables,
  isEqual,
  movingNames,
  movingTables,
} from '../support/moving-source.ts';
import { createRng, type Rng, testSeed } from '../support/rng.ts';

/**
 * Three processes on one data folder, a schedule of seconds, a source that another writer moves all the while, and SIGKILL.
 * Afterwards the history has to account for each due time once, no two runs of the connector were under way at once, and
 * what landed is what the source holds. `MILLRACE_SOAK_SECONDS` and `MILLRACE_KILLS` make it longer.
 */

const SOAK_SECONDS = Number(process.env['MILLRACE_SOAK_SECONDS'] ?? 15);
const KILLS = Number(process.env['MILLRACE_KILLS'] ?? 10);
const ROWS = 4_000;
const PROCESSES = 3;
const HOUR_MS = 3_600_000;

let database: ServerDatabase;
beforeEach(async () => {
  database = await freshDatabaseOn('postgresql');
  await createMovingTables(database, ROWS);
});
afterEach(() => database.drop());

test(`any of three processes is killed for ${SOAK_SECONDS} s: each due time once, none beside another, no row lost`, {
  timeout: HOUR_MS,
}, async () => {
  const rng = createRng(testSeed()).fork('soak');
  let kills = 0;
  const told = await live({ schedule: '*/2 * * * * *', rng }, async (fleet) => {
    const end = performance.now() + SOAK_SECONDS * 1_000;
    while (performance.now() < end) {
      await sleep(rng.int(200, 2_500));
      await fleet.replace(rng.pick(fleet.members));
      kills += 1;
    }
  });
  expect(kills).toBeGreaterThan(2);
  console.log(`soak of ${SOAK_SECONDS} s: ${kills} kills, ${told}, seed ${rng.seed}`);
});

test(`who starts the runs is killed during ${KILLS} of them: each ends once, as done, retried or dead`, {
  timeout: HOUR_MS,
}, async () => {
  const rng = createRng(testSeed()).fork('holder');
  const told = await live({ schedule: '* * * * * *', rng }, async (fleet) => {
    for (let kill = 0; kill < KILLS; kill += 1) {
      let holder: MillraceProcess | null = null;
      const duringARun = (): boolean => {
        holder = fleet.holder();
        return holder !== null && fleet.runner('shop') !== null;
      };
      await expect.poll(duringARun, { timeout: 60_000, interval: 10 }).toBe(true);
      await sleep(rng.int(0, 100));
      if (holder !== null) await fleet.replace(holder);
    }
  });
  console.log(`${KILLS} kills of the holder: ${told}, seed ${rng.seed}`);
});

/** A connector's life in a fleet: what is done to it, and whether all is well afterwards. In words, what it came to. */
async function live(
  { schedule, rng }: { readonly schedule: string; readonly rng: Rng },
  hurt: (fleet: Fleet) => Promise<void>,
): Promise<string> {
  using folder = temporaryDirectory();
  const { dataDir } = folder;
  const config = { runs: { backoffMs: [10, 50] } };
  await using fleet = await startFleet(PROCESSES, { dataDir, config });
  const streams = movingNames.map((name) => movingTables[name].stream);
  const shop = { name: 'shop', type: 'postgresql', config: database.config, streams, schedule };
  await fleet.any().must('register_connector', shop);
  const from = new Date();
  const writer = startLateWriter({ database, rng });
  await hurt(fleet);
  const upTo = new Date();
  await writer.stop();

  const millrace = fleet.any();
  await expect
    .poll(async () => (await readStood(millrace, 'shop')).at(-1)?.until ?? '', {
      timeout: 60_000,
      interval: 500,
    })
    .toSatisfy((newest: string) => newest >= upTo.toISOString());
  await millrace.must('update_connector', { connector: 'shop', schedule: '' });
  for (const { run } of await readStood(millrace, 'shop')) await runToEnd(millrace, run.run_id);
  const stood = await readStood(millrace, 'shop');
  expectEachOnce(stood, { schedule, from, upTo });
  assertOneAtATime(stood);

  await syncToEnd(millrace, { connector: 'shop' });
  const last = await syncToEnd(millrace, { connector: 'shop' });
  expect(last.status, JSON.stringify(last)).toBe('succeeded');
  const warehouse = join(dataDir, 'warehouse.db');
  const differences = await compareMoving({ database, warehouse, connector: 'shop' });
  expect(differences.filter((difference) => !isEqual(difference))).toEqual([]);
  return summary(stood);
}

/** From its start to its end, however many attempts and processes that took. */
function assertOneAtATime(stood: readonly Stood[]): void {
  const real = stood.map(({ run }) => run).filter((run) => !run.skipped);
  const inOrder = real.toSorted((a, b) => (a.started_at ?? '').localeCompare(b.started_at ?? ''));
  for (const [at, run] of inOrder.entries()) {
    const before = inOrder[at - 1];
    if (before === undefined) continue;
    const both = JSON.stringify([before, run]);
    expect(Date.parse(run.started_at ?? ''), both).toBeGreaterThanOrEqual(
      Date.parse(before.finished_at ?? ''),
    );
  }
}

function summary(stood: readonly Stood[]): string {
  const count = (holds: (one: Stood) => boolean): number => stood.filter(holds).length;
  const done = count(({ run }) => run.status === 'succeeded');
  const again = count(({ run }) => run.status === 'succeeded' && run.attempt > 1);
  const dead = count(({ run }) => run.status === 'failed' || run.status === 'partial');
  const merged = count(({ since, until }) => since < until);
  return `${stood.length} entries: ${done} done (${again} after losing a process), ${dead} dead, ${count(({ run }) => run.skipped === true)} skipped, ${merged} that stand for several times`;
}
