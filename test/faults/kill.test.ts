import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { startLateWriter } from '../support/late-writer.ts';
import {
  type StartOptions,
  spawnMillrace,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import {
  compareMoving,
  createMovingTables,
  type Difference,
  isEqual,
  movingNames,
  movingTables,
} from '../support/moving-source.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { createRng, type Rng, testSeed } from '../support/rng.ts';

/**
 * SIGKILL at random moments of first loads, merges, appends, replaces and refreshes while a second writer
 * inserts, updates, deletes and commits late. Afterwards every landed row equals its source, and no row is there
 * twice. `MILLRACE_KILLS` sets how many kills have to hit a run, `MILLRACE_TEST_SEED` plays the same draws again.
 */

const KILLS = Number(process.env['MILLRACE_KILLS'] ?? 200);
const LANES = 2;
const KILLS_A_CHAPTER = 10;
const ROWS = 20_000;
/** A sync takes a few hundred milliseconds: kills fall on all of it, and a few behind it. */
const KILL_AFTER_MS = 450;
/** Most kills hit a run; a harness whose kills do not is broken. */
const KILLS_MAX = KILLS * 3;

/** What a chapter of a lane's life is about. */
const chapters = ['first load', 'merge', 'refresh', 'merge'] as const;
type Chapter = (typeof chapters)[number];

for (let lane = 1; lane <= LANES; lane += 1) {
  const kills = Math.ceil(KILLS / LANES);
  test.concurrent(`lane ${lane}: nothing lost or doubled after ${kills} kills in a run`, {
    timeout: 600_000,
  }, async () => {
    const seed = testSeed();
    const rng = createRng(seed).fork(`lane ${lane}`);
    await using database = await freshDatabase();
    await createMovingTables(database, ROWS);
    const seen = { kills: 0, hit: 0, late: 0, chapters: 0 };
    let directory = temporaryDirectory();
    let hitBefore = 0;
    try {
      while (seen.hit < kills && seen.kills < KILLS_MAX / LANES) {
        const chapter = chapters[seen.chapters % chapters.length] ?? 'merge';
        if (chapter === 'first load') {
          directory[Symbol.dispose]();
          directory = temporaryDirectory();
          hitBefore = 0;
        }
        const told = `seed ${seed}, chapter ${seen.chapters} (${chapter}), after ${seen.kills} kills`;
        const { dataDir } = directory;
        const outcome = await playChapter({ chapter, database, dataDir, rng, kills: KILLS_A_CHAPTER });
        expect(
          outcome.differences.filter((difference) => !isEqual(difference)),
          told,
        ).toEqual([]);
        expect(outcome.writtenWhenQuiet, `${told}: rows written by a run that found nothing new`).toBe(0);
        seen.kills += KILLS_A_CHAPTER;
        seen.hit += outcome.interrupted - hitBefore;
        hitBefore = outcome.interrupted;
        seen.late += outcome.late;
        seen.chapters += 1;
      }
    } finally {
      directory[Symbol.dispose]();
    }
    console.log(
      `lane ${lane}: ${seen.kills} kills, ${seen.hit} of them in a run, ${seen.late} late commits, seed ${seed}`,
    );
    // Kills that hit nothing and writers that were never late would have shown nothing.
    expect(seen.hit).toBeGreaterThanOrEqual(kills);
    expect(seen.late).toBeGreaterThan(kills);
  });
}

interface ChapterRequest {
  readonly chapter: Chapter;
  readonly database: TestDatabase;
  readonly dataDir: string;
  readonly rng: Rng;
  readonly kills: number;
}

interface ChapterOutcome {
  readonly differences: readonly Difference[];
  /** By the last of two quiet runs, over the streams that do not build anew each time. */
  readonly writtenWhenQuiet: number;
  /** How often a run of this data folder lost the process that held it. */
  readonly interrupted: number;
  readonly late: number;
}

async function playChapter({
  chapter,
  database,
  dataDir,
  rng,
  kills,
}: ChapterRequest): Promise<ChapterOutcome> {
  const options = { dataDir, config: { runs: { attempts: 20, backoffMs: [10, 50] } } };
  if (chapter === 'first load') await register(options, database);
  else await churn(database, rng);
  const writer = startLateWriter({ database, rng });
  for (let kill = 0; kill < kills; kill += 1) await killOnce(options, chapter, rng);
  const { late } = await writer.stop();

  await using millrace = await startMillrace(options);
  // The first run may be what a kill left behind, with the bound of its beginning: the second sees all the rest.
  await syncToEnd(millrace, { connector: 'shop' });
  const caughtUp = await syncToEnd(millrace, { connector: 'shop' });
  expect(caughtUp.status, JSON.stringify(caughtUp)).toBe('succeeded');
  const differences = await compareMoving({
    database,
    warehouse: join(dataDir, 'warehouse.db'),
    connector: 'shop',
  });
  const quiet = await syncToEnd(millrace, { connector: 'shop', streams: ['orders', 'stock', 'events'] });
  const { runs } = await millrace.must<{ runs: readonly Run[] }>('list_runs', {
    connector: 'shop',
    limit: 100,
  });
  const interrupted = runs.reduce((sum, run) => sum + run.attempt - 1, 0);
  return { differences, writtenWhenQuiet: quiet.totals.rows_written, interrupted, late };
}

async function register(options: StartOptions, database: TestDatabase): Promise<void> {
  await using millrace = await startMillrace(options);
  const streams = movingNames.map((name) => movingTables[name].stream);
  await millrace.must('register_connector', {
    name: 'shop',
    type: 'postgresql',
    config: database.config,
    streams,
    test: false,
  });
}

/** Changes a fifth of everything at once, so that the next incremental runs have something to be killed in. */
async function churn(database: TestDatabase, rng: Rng): Promise<void> {
  const part = rng.int(0, 4);
  await database.query(`
    UPDATE orders SET amount = amount + 1, at = date_bin('100 ms', now(), 'epoch') WHERE id % 5 = ${part};
    UPDATE stock SET amount = amount + 1, version = nextval('numbers') / 5 WHERE item % 5 = ${part};
    INSERT INTO events SELECT nextval('numbers') / 5, 'churn', 'row' FROM generate_series(1, ${ROWS / 5})`);
}

/** One life: start, sync, die. Now and then it dies while it is coming up, or going on with what it found. */
async function killOnce(options: StartOptions, chapter: Chapter, rng: Rng): Promise<void> {
  const millrace = spawnMillrace(options);
  try {
    const dieEarly = rng.chance(0.1);
    const ready = millrace.ready();
    ready.catch(() => undefined);
    if (!dieEarly) {
      await ready;
      const streams = rng.chance(0.5) ? {} : { streams: [rng.pick(movingNames)] };
      const full = chapter === 'refresh' ? { full_refresh: true } : {};
      // Refused when it goes on with the run that the last kill left: as good a moment to be killed in.
      millrace
        .call('sync_connector', { connector: 'shop', wait_seconds: 0, ...streams, ...full })
        .catch(() => undefined);
    }
    await sleep(rng.int(0, KILL_AFTER_MS));
  } finally {
    await millrace.kill();
  }
}
