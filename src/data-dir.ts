import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { MillraceError } from './core/errors.ts';

/**
 * Makes the data folder (0700) and sees that it can be written. A folder that is ours or empty is closed to others; one
 * that holds other things is left as it is, our files in it are 0600. Throws `data_dir_unusable`.
 */
export function openDataDir(dir: string): void {
  try {
    makeDir(dir);
    closeToOthers(dir);
    const probe = join(dir, `.writable-${process.pid}`);
    writeFileSync(probe, '', { mode: 0o600 });
    rmSync(probe, { force: true });
    if (existsSync(join(dir, 'store.db'))) accessSync(join(dir, 'store.db'), constants.R_OK | constants.W_OK);
  } catch (error) {
    throw unusable(dir, error);
  }
}

/**
 * Not `recursive`: where the kernel answers ENOENT below a folder that is there (/proc, some network mounts), Node
 * makes the parent and tries again for ever.
 */
function makeDir(dir: string): void {
  if (existsSync(dir)) {
    if (statSync(dir).isDirectory()) return;
    throw Object.assign(new Error(`${dir} is a file`), { code: 'ENOTDIR' });
  }
  makeDir(dirname(dir));
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    // Another process was quicker.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function closeToOthers(dir: string): void {
  if (process.platform === 'win32' || (statSync(dir).mode & 0o077) === 0) return;
  const entries = readdirSync(dir);
  if (entries.length > 0 && !entries.includes('store.db')) return;
  if (statSync(dir).uid === process.getuid?.()) chmodSync(dir, 0o700);
}

function unusable(dir: string, error: unknown): MillraceError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
  const other = 'or start with `--data-dir DIR` (or MILLRACE_DATA_DIR) naming another folder';
  if (code === 'ENOSPC') {
    return new MillraceError('disk_full', `No space is left for the data folder ${dir}.`, {
      hint: `Free space there (\`df -h '${dir}'\`), ${other}.`,
    });
  }
  const isFile = code === 'EEXIST' || code === 'ENOTDIR';
  return new MillraceError(
    'data_dir_unusable',
    `The data folder ${dir} ${isFile ? 'is a file, or lies below one' : `cannot be made or written (${code})`}.`,
    {
      hint: isFile
        ? `Move that file away, ${other}.`
        : `Make it writable for this user: \`mkdir -p '${dir}' && chown "$(id -un)" '${dir}'\`, ${other}.`,
      cause: error,
    },
  );
}
