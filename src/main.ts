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

const { runCommand } = await import('./cli/command.ts');
process.exitCode = await runCommand(process.argv.slice(2), process.env);

export {};
