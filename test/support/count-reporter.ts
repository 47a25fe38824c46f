import { writeFileSync } from 'node:fs';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/**
 * Writes `N passed, N failed` to the file that `MILLRACE_TEST_COUNTS` names, for .ci/run. What fails outside
 * a test counts as well: a file that does not load or whose hooks throw, and an error nobody caught.
 */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const file = process.env['MILLRACE_TEST_COUNTS'];
    if (!file) return;
    let passed = 0;
    let failed = unhandled.length;
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed += 1;
        if (state === 'failed') failedHere += 1;
      }
      if (!module.ok() && failedHere === 0) failedHere = 1;
      failed += failedHere;
    }
    writeFileSync(file, `${passed} passed, ${failed} failed\n`);
  }
}
