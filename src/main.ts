#!/usr/bin/env node
// Nothing is imported before this: an old Node has to get one sentence, not a crash inside a dependency
// (better-sqlite3 13 segfaults on Node 20, undici 8 does not load).
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(
    `Millrace needs Node 22.19 or newer; this is ${process.versions.node}. Install a current one: https://nodejs.org/en/download\n`,
  );
  process.exit(1);
}

// The main thread keeps the young generation it begins with (1 MB), and the threads of jobs begin with the one they are
// allowed (`resourceLimits`), since with this neither grows. Left alone the main thread's grows while it starts, to
// 16 MB and more, is touched bit by bit, and counts twice: 1,000,000 records of an API took 245 MB and 5,000,000 290;
// now 222 and 237, as fast, and it starts as fast. V8 reads these flags whenever it makes a heap or lets one grow
// (`Heap::ConfigureHeap`, `NewSpace::Grow` in src/heap), so they count although it runs already.
const { setFlagsFromString } = await import('node:v8');
setFlagsFromString('--semi-space-growth-factor=1');
setFlagsFromString('--min-semi-space-size=16');

const { runCommand } = await import('./cli/command.ts');
process.exitCode = await runCommand(process.argv.slice(2), process.env);

export {};
