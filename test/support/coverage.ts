import { spawnSync } from 'node:child_process';
import { chmodSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import type { Profiler } from 'node:inspector';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { mergeScriptCovs } from '@bcoe/v8-coverage';
import { createCoverageMap } from '@vitest/istanbul-lib-coverage';
import { create, createContext } from '@vitest/istanbul-lib-report';
import { convert } from 'ast-v8-to-istanbul';
import { parseAst } from 'vitest/node';

/**
 * `npm run coverage [-- vitest arguments]`: the suite under V8's own coverage, and lines covered of src.
 *
 * vitest's provider sees only its own processes, while most of the code runs in worker threads and in spawned
 * `node src/main.ts`. NODE_V8_COVERAGE follows both: every thread and process leaves a file when it ends. Node
 * strips types by blanking them, so offsets of what ran are offsets of the source, and no source map is needed.
 * Lines are counted from the syntax tree: comments, types and blank lines count neither way. A process that was
 * killed outright (SIGKILL, as the fault suites do) leaves nothing, so the figure errs on the low side.
 */
const LINES_MIN = 90;
const FILES_MIN = 30;

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const dumps = mkdtempSync(join(tmpdir(), 'millrace-coverage-'));
// A test runs the program as another user, which has to leave its file here too.
chmodSync(dumps, 0o777);
try {
  const tests = spawnSync(
    process.execPath,
    [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...process.argv.slice(2)],
    { cwd: root, stdio: 'inherit', env: { ...process.env, NODE_V8_COVERAGE: dumps } },
  );
  const share = await report(readDumps());
  if (tests.status !== 0) fail('Tests failed; the coverage above is of what ran.');
  if (share < LINES_MIN) fail(`Lines covered: ${share} %, at least ${LINES_MIN} % are wanted.`);
} finally {
  rmSync(dumps, { recursive: true, force: true });
}

/** What every process saw of every file of src, by URL. One dump at a time: together they can be gigabytes. */
function readDumps(): ReadonlyMap<string, readonly Profiler.ScriptCoverage[]> {
  const src = pathToFileURL(join(root, 'src/')).href;
  const seen = new Map<string, Profiler.ScriptCoverage[]>();
  for (const name of readdirSync(dumps)) {
    const dump = readDump(join(dumps, name));
    for (const script of dump) {
      if (!script.url.startsWith(src)) continue;
      const list = seen.get(script.url) ?? [];
      list.push(script);
      // Folded from time to time, or hundreds of processes pile up.
      seen.set(script.url, list.length < 50 ? list : [merged(list)]);
    }
  }
  return seen;
}

/** A process killed while it wrote leaves half a file: that is no coverage, and no reason to stop. */
function readDump(file: string): readonly Profiler.ScriptCoverage[] {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as Profiler.TakePreciseCoverageReturnType).result;
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

async function report(seen: ReadonlyMap<string, readonly Profiler.ScriptCoverage[]>): Promise<number> {
  const files = globSync('src/**/*.ts', { cwd: root }).sort();
  if (files.length < FILES_MIN) fail(`Only ${files.length} files in src: the report would lie.`);
  const map = createCoverageMap();
  for (const file of files) {
    const path = join(root, file);
    const url = pathToFileURL(path).href;
    const code = stripTypeScriptTypes(readFileSync(path, 'utf8'));
    const { functions } = merged(seen.get(url) ?? [neverLoaded(url, code.length)]);
    map.merge(await convert({ code, ast: parseAst(code), coverage: { url, functions: [...functions] } }));
  }
  const context = createContext({ dir: join(root, 'coverage'), coverageMap: map });
  create('text', { skipFull: true, maxCols: 120 }).execute(context);
  create('html').execute(context);
  const { lines } = map.getCoverageSummary();
  console.log(
    `Lines covered: ${lines.covered} of ${lines.total} (${lines.pct} %). Details: coverage/index.html`,
  );
  return Number(lines.pct);
}

function merged(scripts: readonly Profiler.ScriptCoverage[]): Profiler.ScriptCoverage {
  const one = mergeScriptCovs(scripts);
  if (!one) throw new Error('nothing to merge');
  return one;
}

function neverLoaded(url: string, length: number): Profiler.ScriptCoverage {
  const ranges = [{ startOffset: 0, endOffset: length, count: 0 }];
  return { scriptId: '0', url, functions: [{ functionName: '', isBlockCoverage: true, ranges }] };
}

function fail(message: string): void {
  console.error(message);
  process.exitCode = 1;
}
