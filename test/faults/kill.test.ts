import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import {
  freshDatabaseOn,
  type ServerConfig,
  type ServerDatabase,
  serverKinds,
} from '../support/databases.ts';
import { dialects, type ServerKind } from '../support/dialects.ts';
import { startLateWriter } from '../support/late-writer.ts';
import {
  type StartOptions,
  spawnMillrace,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import {
  churnMovingTables,
  compareMoving,
  createMovingTables,
  type Difference,
  isEqual,
  movingNames,
  movingStream,
} from '../support/moving-source.ts';
import { createRng, type Rng, testSeed } from '../support/rng.ts';

/**
 * SIGKILL at random moments of first loads, merges, appends, replaces and refreshes while a second writer
 * inserts, updates, deletes and commits late. Afterwards every landed row equals its source, and no row is there
 * twice. `MILLRACE_KILLS` sets how many kills have to hit a run on each server, `MILLRACE_TEST_SEED` plays the same
 * draws again.
 */

/** What the engine does when it dies is the same for all; what a position and a guard are is each server's own. */
const killsByDefault: Readonly<Record<ServerKind, number>> = { postgresql: 200, mysql: 70, mariadb: 70 };

interface Life {
  /** Whether the login may see who is open. If not, a look-back has to guard. */
  readonly watches: boolean;
  /** What the runs say guarded them, of the streams that have a cursor. */
  readonly guard: RegExp;
  /** Whether a table of this size is read in one snapshot, as it is, or in many, as if it were a thousand times larger. */
  readonly snapshots: 'one' | 'many';
}

const SEEN = /^(open transactions|oldest transaction start|held at the previous mark|as at the beginning)/;
const BLIND = /^(lookback|as at the beginning)/;

/** One after another, each with its share of the server's kills; the servers side by side. */
const lives: Readonly<Record<ServerKind, readonly Life[]>> = {
  postgresql: [{ watches: true, guard: SEEN, snapshots: 'one' }],
  mysql: [
    { watches: true, guard: SEEN, snapshots: 'many' },
    { watches: false, guard: BLIND, snapshots: 'one' },
  ],
  mariadb: [
    { watches: true, guard: SEEN, snapshots: 'one' },
    { watches: false, guard: BLIND, snapshots: 'many' },
  ],
};

const SMALL_PARTS = pathToFileURL(join(import.meta.dirname, '../support/small-parts.ts')).href;
const environment: Readonly<Record<Life['snapshots'], Readonly<Record<string, string>>>> = {
  one: {},
  many: { NODE_OPTIONS: `--import=${SMALL_PARTS}` },
};

const KILLS_A_CHAPTER = 10;
const ROWS = 20_000;
/** A sync takes a few hundred milliseconds: kills fall on all of it, and a few behind it. */
const KILL_AFTER_MS = 450;
/** Most kills hit a run; a harness whose kills do not is broken. */
const TRIES_A_KILL = 3;

/** What a chapter of a life is about. */
const chapters = ['first load', 'merge', 'refresh', 'merge'] as const;
type Chapter = (typeof chapters)[number];

for (const server of serverKinds) {
  const kills = Number(process.env['MILLRACE_KILLS'] ?? killsByDefault[server]);
  const { title } = dialects[server];
  test.concurrent(`${title}: nothing lost or doubled after ${kills} kills in a run`, {
    timeout: 1_800_000,
  }, async () => {
    const seed = testSeed();
    for (const [at, life] of lives[server].entries()) {
      const rng = createRng(seed).fork(`${server} ${at}`);
      const begun = performance.now();
      const share = Math.ceil(kills / lives[server].length);
      const seen = await live({ server, life, kills: share, rng, told: `seed ${seed}` });
      console.log(
        `${title}, ${life.watches ? 'open transactions seen' : 'by look-back'}, ${life.snapshots} snapshot(s): ` +
          `${seen.kills} kills, ${seen.hit} of them in a run, ${seen.late} late commits, ` +
          `${Math.round((performance.now() - begun) / 1000)} s, seed ${seed}`,
      );
    }
  });
}

interface Seen {
  readonly kills: number;
  readonly hit: number;
  readonly late: number;
}

interface LiveRequest {
  readonly server: ServerKind;
  readonly life: Life;
  readonly kills: number;
  readonly rng: Rng;
  /** How to have it again. */
  readonly told: string;
}

async function live({ server, life, kills, rng, told: seed }: LiveRequest): Promise<Seen> {
  await using database = await freshDatabaseOn(server);
  await createMovingTables(database, ROWS);
  const login = await database.login({ reads: true, watches: life.watches });
  const shop: Shop = { database, config: { ...database.config, ...login }, life };
  const seen = { kills: 0, hit: 0, late: 0, chapters: 0 };
  let directory = temporaryDirectory();
  let hitBefore = 0;
  try {
    while (seen.hit < kills && seen.kills < kills * TRIES_A_KILL) {
      const chapter = chapters[seen.chapters % chapters.length] ?? 'merge';
      if (chapter === 'first load') {
        directory[Symbol.dispose]();
        directory = temporaryDirectory();
        hitBefore = 0;
      }
      const told = `${seed}, chapter ${seen.chapters} (${chapter}), after ${seen.kills} kills`;
      const { dataDir } = directory;
      const outcome = await playChapter({ chapter, shop, dataDir, rng, kills: KILLS_A_CHAPTER });
      const unequal = outcome.differences.filter((difference) => !isEqual(difference));
      expect(unequal, told).toEqual([]);
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
  // Kills that hit nothing and writers that were never late would have shown nothing.
  expect(seen.hit).toBeGreaterThanOrEqual(kills);
  expect(seen.late).toBeGreaterThan(kills);
  return seen;
}

interface Shop {
  readonly database: ServerDatabase;
  readonly config: ServerConfig;
  readonly life: Life;
}

interface ChapterRequest {
  readonly chapter: Chapter;
  readonly shop: Shop;
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

async function playChapter({ chapter, shop, dataDir, rng, kills }: ChapterRequest): Promise<ChapterOutcome> {
  const { database, life } = shop;
  const env = environment[life.snapshots];
  const options = { dataDir, env, config: { runs: { attempts: 20, backoffMs: [10, 50] } } };
  if (chapter === 'first load') await register(options, shop);
  else await churnMovingTables(database, { rows: ROWS, part: rng.int(0, 4) });
  const writer = startLateWriter({ database, rng });
  for (let kill = 0; kill < kills; kill += 1) await killOnce(options, chapter, rng);
  const { late } = await writer.stop();

  await using millrace = await startMillrace(options);
  // The first run may be what a kill left behind, with the bound of its beginning: the second sees all the rest.
  await syncToEnd(millrace, { connector: 'shop' });
  const caughtUp = await syncToEnd(millrace, { connector: 'shop' });
  expect(caughtUp.status, JSON.stringify(caughtUp)).toBe('succeeded');
  for (const { mode, guard } of caughtUp.streams) if (mode !== 'replace') expect(guard).toMatch(life.guard);
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

async function register(options: StartOptions, { database, config, life }: Shop): Promise<void> {
  await using millrace = await startMillrace(options);
  await millrace.must('register_connector', {
    name: 'shop',
    type: database.dialect.connector,
    config,
    streams: movingNames.map((name) => movingStream(name, { windowed: !life.watches })),
  });
  // In peace: what it has compiled, its threads too, is left for the many that will be killed.
  await millrace.kill('SIGTERM');
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
