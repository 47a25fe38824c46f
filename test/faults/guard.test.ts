import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { freshDatabaseOn } from '../support/databases.ts';
import { dialects, type ServerKind } from '../support/dialects.ts';
import { startLateWriter } from '../support/late-writer.ts';
import { startMillrace, syncToEnd, temporaryDirectory } from '../support/millrace-process.ts';
import {
  compareMoving,
  createMovingTables,
  isEqual,
  type MovingName,
  movingStream,
} from '../support/moving-source.ts';
import { createRng, testSeed } from '../support/rng.ts';

/**
 * Many small syncs while transactions commit late. The same story is told with the guard and without: the controls
 * have to lose rows, or the others and the kill suite would show nothing.
 */

const NAMES: readonly MovingName[] = ['orders', 'stock', 'events'];
const SYNCS = 10;
/** Without a guard a sync takes a twentieth of the time; the transactions that commit late do not. */
const AT_LEAST_MS = 8_000;

interface Story {
  readonly server: ServerKind;
  /** What guards: the list of open transactions, a look-back where the login may not see it, or nothing. */
  readonly by: 'list' | 'look-back' | 'nothing';
  /** What the runs say of it. */
  readonly guard: RegExp;
}

const WATCHED = /^(open transactions|oldest transaction start|held at the previous mark)/;
const BLIND = /^lookback /;

const stories: readonly Story[] = [
  { server: 'postgresql', by: 'list', guard: WATCHED },
  { server: 'postgresql', by: 'nothing', guard: /^off$/ },
  { server: 'mysql', by: 'list', guard: WATCHED },
  { server: 'mysql', by: 'look-back', guard: BLIND },
  { server: 'mysql', by: 'nothing', guard: /^off$/ },
  { server: 'mariadb', by: 'list', guard: WATCHED },
  { server: 'mariadb', by: 'look-back', guard: BLIND },
  { server: 'mariadb', by: 'nothing', guard: /^off$/ },
];

for (const { server, by, guard } of stories) {
  const promise = by === 'nothing' ? 'control: rows are lost' : 'no row is lost';
  test.concurrent(`late commits on ${dialects[server].title}, guarded by ${by}: ${promise}`, {
    timeout: 180_000,
  }, async () => {
    using directory = temporaryDirectory();
    await using database = await freshDatabaseOn(server);
    await createMovingTables(database, 500);
    const login = await database.login({ reads: true, watches: by !== 'look-back' });
    const preload = pathToFileURL(join(import.meta.dirname, '../support/guard-off.ts')).href;
    const env = by === 'nothing' ? { NODE_OPTIONS: `--import=${preload}` } : {};
    await using millrace = await startMillrace({ dataDir: directory.dataDir, env });
    await millrace.must('register_connector', {
      name: 'shop',
      type: database.dialect.connector,
      config: { ...database.config, ...login },
      streams: NAMES.map((name) => movingStream(name, { windowed: by === 'look-back' })),
      test: false,
    });
    const seed = testSeed();
    const writer = startLateWriter({ database, rng: createRng(seed), slots: 6, tables: NAMES });
    const begun = performance.now();
    for (let turn = 0; turn < SYNCS || performance.now() - begun < AT_LEAST_MS; turn += 1) {
      const run = await syncToEnd(millrace, { connector: 'shop' });
      expect(run, `seed ${seed}`).toMatchObject({ status: 'succeeded', attempt: 1 });
      for (const stream of run.streams) expect(stream.guard).toMatch(guard);
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
    if (by !== 'nothing') expect(unequal, `seed ${seed}`).toEqual([]);
    else {
      expect(unequal.map((difference) => difference.table)).toEqual([...NAMES]);
      for (const difference of unequal) expect(difference.lost).not.toEqual([]);
    }
  });
}
