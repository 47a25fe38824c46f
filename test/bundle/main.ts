import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bundle, unbundle } from './bundle.ts';
import { packageFile, root } from './package.ts';
import { launch, type Shown, token, tryOut } from './smoke.ts';

/** `npm run bundle`: makes the `.mcpb`, and uses it and the npm package as people get them. */
const run = promisify(execFile);
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

/** The bundle, unpacked elsewhere and started as its manifest says. */
async function tryBundle(file: string, folder: string): Promise<Shown> {
  await unbundle(file, folder);
  return await tryOut(join(folder, 'state'), 'modern', ({ config, data }) =>
    launch(folder, { token, config_file: config, data_folder: data }),
  );
}

/** The package, installed by npm from its tarball as `npm install -g millrace` would. */
async function tryPackage(folder: string): Promise<Shown> {
  mkdirSync(folder);
  const { stdout } = await run(npm, ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
    cwd: root,
  });
  const [packed] = JSON.parse(stdout) as { readonly filename: string }[];
  const tarball = join(folder, packed?.filename ?? '');
  await run(npm, ['install', '--global', '--omit=optional', '--no-audit', '--prefix', folder, tarball]);
  const millrace = join(folder, 'bin', 'millrace');
  const help = await run(millrace, ['--help']);
  if (!help.stdout.includes('millrace serve')) throw new Error(`--help says ${help.stdout}`);
  return await tryOut(join(folder, 'state'), 'legacy', ({ config, data }) => ({
    command: [millrace, '--config', config, '--data-dir', data],
    env: { MILLRACE_TOKEN: token },
  }));
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

const { name, version } = packageFile();
const scratch = mkdtempSync(join(tmpdir(), 'millrace-try-'));
try {
  await run(npm, ['run', 'build'], { cwd: root });
  const file = join(root, `${name}-${version}.mcpb`);
  await bundle(file);
  const bytes = readFileSync(file);
  say(
    `${file}: ${(bytes.length / 1e6).toFixed(1)} MB, SHA-256 ${createHash('sha256').update(bytes).digest('hex')}`,
  );
  for (const [what, shown] of [
    ['bundle', await tryBundle(file, join(scratch, 'bundle'))],
    ['npm package', await tryPackage(join(scratch, 'package'))],
  ] as const)
    say(
      `${what}: protocol ${shown.protocol}, ${shown.tools.length} tools, ${shown.rows.length} rows synced and queried`,
    );
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
