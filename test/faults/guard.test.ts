import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { startLateWriter } from '../support/late-writer.ts';
import { startMillrace, syncToEnd, temporaryDirectory } from '../support/millrace-process.ts';
import {
  compareMoving,
  createMovingTables,
  isEqual,
  type MovingName,
  movingTables,
} from '../support/moving-source.ts';
import { freshDatabase } from '../support/postgres.ts';
import { createRng, testSeed } from '../support/rng.ts';

/**
 * Many small syncs while transactions commit late. The same story is told twice, with the guard and without: the
 * control has to lose rows, or the first half and the kill suite would show nothing.
 */

const NAMES: readonly MovingName[] = ['orders', 'stock', 'events'];
const SYNCS = 20;
/** Without a guard a sync takes a twentieth of the time; the transactions that commit late do not. */
const AT_LEAST_MS = 8_000;

for (const guard of ['on', 'off'] as const) {
  const promise = guard === 'on' ? 'no row is lost' : 'control: rows are lost';
  test(`late commits with the guard ${guard}: ${promise}`, { timeout: 120_000 }, async () => {
    using directory = temporaryDirectory();
    await using database = await freshDatabase();
    await createMovingTables(database, 500);
    const preload = pathToFileURL(join(import.meta.dirname, '../support/guard-off.ts')).href;
    const env = guard === 'off' ? { NODE_OPTIONS: `--import=${preload}` } : {};
    await using millrace = await startMillrace({ dataDir: directory.dataDir, env });
    await millrace.must('register_connector', {
      name: 'shop',
      type: 'postgresql',
      config: database.config,
      streams: NAMES.map((name) => movingTables[name].stream),
      test: false,
    });
    const seed = testSeed();
    const writer = startLateWriter({ database, rng: createRng(seed), slots: 6, tables: NAMES });
    const begun = performance.now();
    for (let turn = 0; turn < SYNCS || performance.now() - begun < AT_LEAST_MS; turn += 1) {
      const run = await syncToEnd(millrace, { connector: 'shop' });
      expect(run, `seed ${seed}`).toMatchObject({ status: 'succeeded', attempt: 1 });
      const guards = new Set(run.streams.map((stream) => stream.guard));
      if (guard === 'off') expect(guards).toEqual(new Set(['off']));
      else expect(guards).not.toContain('off');
    }
    const { late } = await writer.stop();
    expect(late).toBeGreaterThan(20);
    await syncToEnd(millrace, { connector: 'shop' });
    const differences = await compareMoving({
      database,
      warehouse: join(directory.dataDir, 'warehouse.db'),
      connector: 'shop',
      names: NAMES,
    });
    const unequal = differences.filter((difference) => !isEqual(difference));
    if (guard === 'on') expect(unequal, `seed ${seed}`).toEqual([]);
    else {
      expect(unequal.map((difference) => difference.table)).toEqual([...NAMES]);
      for (const difference of unequal) expect(difference.lost).not.toEqual([]);
    }
  });
}
