import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Without a cache vitest begins with the largest files, and these are small and long: last, one of them would run alone. */
const LONG = ['connector', 'kill', 'rest-kill', 'soak', 'inspector', 'failing-source'];

class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification): boolean =>
      LONG.some((name) => moduleId.endsWith(`/${name}.test.ts`));
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

/**
 * Tests start hundreds of processes, and half of each start is making JavaScript of TypeScript and compiling it: 0.7 s of
 * CPU against 0.4 from this cache. Not under coverage, which a cached function's positions would blur.
 */
if (!process.env['NODE_V8_COVERAGE']) process.env['NODE_COMPILE_CACHE'] ??= resolve('.cache/compiled');

/**
 * `npm test` is the truth: every suite, on real servers. Node loads the TypeScript itself (no bundler between a
 * test and the code it tests), so tests, worker threads and spawned `node src/main.ts` run the very same text,
 * and V8's coverage of all of them speaks of the same offsets (test/support/coverage.ts).
 */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: process.env['NODE_V8_COVERAGE'] ? ['test/support/coverage-flush.ts'] : [],
    globalSetup: ['test/support/global-setup.ts'],
    reporters: ['default', './test/support/count-reporter.ts'],
    // Processes, not threads: the code under test starts worker threads of its own and listens for signals.
    sequence: { sequencer: LongFirst },
    pool: 'forks',
    // Two: what the smallest machine has on which the suite must pass; more makes time-bounded tests starve.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    experimental: { viteModuleRunner: false, nodeLoader: false },
  },
});
