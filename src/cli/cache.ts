import { randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { findPackageJSON } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** The nearest one up: built, this file lies elsewhere than its source. */
const PROJECT = dirname(findPackageJSON(import.meta.url) ?? import.meta.dirname);
/** Working folders of others older than this are nobody's. */
const ABANDONED_MS = 24 * 60 * 60_000;

/** Whether this is a checkout to be worked in: there a server starts again and again. */
export const isCheckout = existsSync(join(PROJECT, 'src')) && writable(PROJECT);

/**
 * Inside the project when this is a checkout: `.cache` is ignored by git, and unlike anything below node_modules it
 * survives `npm ci`. Where Millrace is an installed package, the user's own cache.
 */
const CACHE = isCheckout
  ? join(PROJECT, '.cache')
  : join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'millrace');

/** Where something is made: what shall be kept goes into `into`, all else may lie in `scratch` and is removed. */
export interface Workplace {
  readonly into: string;
  readonly scratch: string;
}

/** Where the folder of that name is, whether or not it has been made. */
export function cachedPath(name: string): string {
  return join(CACHE, name);
}

/**
 * The folder of that name in the cache, made the first time. Two processes may do it at once and either may be killed:
 * each works in a folder of its own, which takes the name when it is whole.
 */
export async function cachedFolder(name: string, make: (place: Workplace) => Promise<void>): Promise<string> {
  const place = cachedPath(name);
  if (existsSync(place)) return place;
  const parent = join(place, '..');
  await mkdir(parent, { recursive: true });
  await sweep(parent);
  const work = join(parent, `.making-${process.pid}-${randomBytes(4).toString('hex')}`);
  const [into, scratch] = [join(work, 'into'), join(work, 'scratch')];
  try {
    for (const folder of [into, scratch]) await mkdir(folder, { recursive: true });
    await make({ into, scratch });
    // Whoever comes second finds the name taken by the same files.
    await rename(into, place).catch((error: unknown) => {
      if (!existsSync(place)) throw error;
    });
    return place;
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Removes what killed processes left. */
async function sweep(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = /^\.making-(\d+)-/.exec(name)?.[1];
    if (pid === undefined) continue;
    const folder = join(parent, name);
    const age = Date.now() - ((await stat(folder).catch(() => null))?.mtimeMs ?? 0);
    if (age > ABANDONED_MS || !alive(Number(pid))) await rm(folder, { recursive: true, force: true });
  }
}

function writable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
