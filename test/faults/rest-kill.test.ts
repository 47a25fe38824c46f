import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import {
  type MillraceProcess,
  type StartOptions,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { listStreams, type MovingList, serveMovingList, type Way } from '../support/moving-list.ts';
import { type Difference, isEqual } from '../support/moving-source.ts';
import { createRng, type Rng, testSeed } from '../support/rng.ts';

/**
 * SIGKILL at random pages of first loads, merges, refreshes and replaces of an API whose list changes with every request.
 * After every one to three kills two syncs in peace have to bring all rows as the API has them, each once. The controls
 * tell the same story without one protection each and have to lose rows. `MILLRACE_KILLS` sets how many kills have to hit
 * a run on each API, `MILLRACE_TEST_SEED` draws the same again.
 */

const ROWS = 300;
const KILLS = Number(process.env['MILLRACE_KILLS'] ?? 6);
/** Most kills hit a run; a harness whose kills do not is broken. */
const TRIES_A_KILL = 2;
/** From the answer that a kill waits for to the kill: as long as a few pages take. */
const KILL_AFTER_MS = 12;
/** A control ends with the first row that is lost; nearly always that is in the first chapter. */
const CONTROL_CHAPTERS = 12;

interface Story {
  readonly way: Way;
  readonly without: 'mark' | 'overlap' | null;
}

const stories: readonly Story[] = [
  { way: 'cursor', without: null },
  { way: 'offset', without: null },
  { way: 'cursor', without: 'mark' },
  { way: 'offset', without: 'overlap' },
];

for (const story of stories) {
  const { way, without } = story;
  const promise =
    without === null ? 'nothing lost or doubled' : `control without the ${without}: rows are lost`;
  test.concurrent(`REST API paged by ${way}, killed while it is read: ${promise}`, {
    timeout: 1_800_000,
  }, async () => {
    const seed = testSeed();
    const begun = performance.now();
    await using shop = await openShop(story, createRng(seed).fork(`${way} ${without}`));
    const seen = await (without === null ? live(shop, seed) : loseRows(shop, seed));
    console.log(
      `REST, paged by ${way}${without === null ? '' : `, without the ${without}`}: ${seen.kills} kills, ` +
        `${seen.hit} of them in a run that had read pages, ${seen.inside} with a part of a list landed; ` +
        `compared ${seen.compared} times, ${seen.lost} rows lost, ${seen.doubled} doubled; ` +
        `${Math.round((performance.now() - begun) / 1000)} s, seed ${seed}`,
    );
  });
}

interface Seen {
  kills: number;
  hit: number;
  inside: number;
  compared: number;
  lost: number;
  doubled: number;
}

const nothingYet: Seen = { kills: 0, hit: 0, inside: 0, compared: 0, lost: 0, doubled: 0 };

async function live(shop: Shop, seed: number): Promise<Seen> {
  const seen = { ...nothingYet };
  while (seen.hit < KILLS && seen.kills < KILLS * TRIES_A_KILL) {
    const told = `seed ${seed}, chapter ${seen.compared}, after ${seen.kills} kills`;
    const { unequal, writtenWhenQuiet } = await playChapter(shop, seen);
    expect(unequal, told).toEqual([]);
    expect(writtenWhenQuiet, `${told}: rows written by a run that found nothing new`).toBe(0);
  }
  // Kills that hit nothing, or fell before anything had landed, would have shown nothing.
  expect(seen.hit).toBeGreaterThanOrEqual(KILLS);
  expect(seen.inside).toBeGreaterThanOrEqual(KILLS / 4);
  return seen;
}

async function loseRows(shop: Shop, seed: number): Promise<Seen> {
  const seen = { ...nothingYet };
  while (seen.lost === 0 && seen.compared < CONTROL_CHAPTERS) await playChapter(shop, seen);
  expect(seen.lost, `seed ${seed}: rows lost in ${seen.compared} chapters`).toBeGreaterThan(0);
  return seen;
}

/** What a chapter of a life is about. */
const chapters = ['first load', 'merge', 'refresh', 'merge'] as const;
type Chapter = (typeof chapters)[number];
/** Requests that a sync takes, about: kills fall on all of them. */
const span: Readonly<Record<Chapter, number>> = { 'first load': 70, merge: 40, refresh: 70 };

interface Shop extends AsyncDisposable {
  readonly story: Story;
  readonly list: MovingList;
  readonly rng: Rng;
  directory: ReturnType<typeof temporaryDirectory>;
  /** The process that brought peace, and begins the next chapter. */
  millrace: MillraceProcess | undefined;
}

async function openShop(story: Story, rng: Rng): Promise<Shop> {
  const list = await serveMovingList(ROWS, rng.fork('writer'));
  const shop: Shop = {
    story,
    list,
    rng,
    directory: temporaryDirectory(),
    millrace: undefined,
    async [Symbol.asyncDispose]() {
      await shop.millrace?.kill();
      shop.directory[Symbol.dispose]();
      await list[Symbol.asyncDispose]();
    },
  };
  return shop;
}

function optionsOf({ story: { without }, directory }: Shop): StartOptions {
  const preload = pathToFileURL(join(import.meta.dirname, '../support/rest-guard-off.ts')).href;
  return {
    dataDir: directory.dataDir,
    env: without === null ? {} : { NODE_OPTIONS: `--import=${preload}?${without}` },
    config: {
      runs: { attempts: 20, backoffMs: [10, 50] },
      network: { allowPrivateHttp: ['127.0.0.1'] },
    },
  };
}

/** What differs when nobody writes or kills any more. */
interface Peace {
  readonly unequal: readonly Difference[];
  /** By the last of three quiet runs, over the streams that do not build anew each time. */
  readonly writtenWhenQuiet: number;
}

/** One to three lives while the list changes: the first begins a run, the next ones go on with what was left. Then peace. */
async function playChapter(shop: Shop, seen: Seen): Promise<Peace> {
  const { list, rng } = shop;
  const chapter = chapters[seen.compared % chapters.length] ?? 'merge';
  if (chapter === 'first load') await register(shop);
  else list.churn();
  list.restless = true;
  for (let lives = rng.int(1, 3); lives > 0; lives -= 1) await killOnce(shop, chapter, seen);
  list.restless = false;
  const peace = await inPeace(shop);
  seen.compared += 1;
  for (const { lost, doubled } of peace.unequal) {
    seen.lost += lost.length;
    seen.doubled += doubled.length;
  }
  return peace;
}

async function register(shop: Shop): Promise<void> {
  const { list, story } = shop;
  await shop.millrace?.kill();
  shop.directory[Symbol.dispose]();
  shop.directory = temporaryDirectory();
  shop.millrace = await startMillrace(optionsOf(shop));
  await shop.millrace.must('register_connector', {
    name: 'shop',
    type: 'rest_api',
    config: { base_url: list.url },
    streams: listStreams(story.way),
    test: false,
  });
}

/** One life: start, sync, die. The clock of the kill is the pages that the API has answered. */
async function killOnce(shop: Shop, chapter: Chapter, seen: Seen): Promise<void> {
  const { list, rng, directory } = shop;
  list.begin();
  const reached = list.untilAnswered(rng.int(2, span[chapter]));
  const millrace = shop.millrace ?? (await startMillrace(optionsOf(shop)));
  shop.millrace = undefined;
  try {
    const full = chapter === 'refresh' ? { full_refresh: true } : {};
    const ended = syncToEnd(millrace, { connector: 'shop', ...full });
    ended.catch(() => undefined);
    await Promise.race([reached, ended]);
    await sleep(rng.int(0, KILL_AFTER_MS));
  } finally {
    await millrace.kill();
  }
  seen.kills += 1;
  if (list.pages() > 0 && isUnderWay(directory.dataDir)) seen.hit += 1;
  if (isInside(directory.dataDir)) seen.inside += 1;
}

function isUnderWay(dataDir: string): boolean {
  return asks(join(dataDir, 'store.db'), `SELECT 1 FROM runs WHERE status = 'running'`);
}

/** A part of a list has landed, and the position that is stored with it names the page to go on with. */
function isInside(dataDir: string): boolean {
  const left = (column: string): string => `json_extract(${column}, '$.run') IS NOT NULL`;
  const sql = `SELECT 1 FROM _millrace_cursors WHERE ${left('cursor')} OR ${left('build_cursor')}`;
  return asks(join(dataDir, 'warehouse.db'), sql);
}

/** Whether a query finds anything. */
function asks(file: string, sql: string): boolean {
  const db = new Database(file, { readonly: true });
  try {
    return db.prepare(sql).get() !== undefined;
  } finally {
    db.close();
  }
}

async function inPeace(shop: Shop): Promise<Peace> {
  const { list, directory } = shop;
  const millrace = await startMillrace(optionsOf(shop));
  shop.millrace = millrace;
  // The first run may be what a kill left behind: the second sees what changed behind its place of reading.
  for (let run = 0; run < 2; run += 1) {
    const { status, error } = await syncToEnd(millrace, { connector: 'shop' });
    expect(status, JSON.stringify(error)).toBe('succeeded');
  }
  const differences = list.compare(join(directory.dataDir, 'warehouse.db'), 'shop');
  const quiet = await syncToEnd(millrace, { connector: 'shop', streams: ['orders', 'stock', 'moves'] });
  return {
    unequal: differences.filter((difference) => !isEqual(difference)),
    writtenWhenQuiet: quiet.totals.rows_written,
  };
}
