import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync } from 'node:fs';
import { isAbsolute, relative, sep } from 'node:path';
import { MillraceError } from '../core/errors.ts';

/** More than any credential or certificate bundle; a reference to a log or a device ends here. */
const FILE_BYTES_MAX = 256 * 1024;

/**
 * The text of a file that a reference names, without the newline that editors and `echo` leave at its end. Links are
 * followed first and the rules asked about where they lead. Throws `secret_refused`, `secret_missing`.
 */
export function readSecretFile(path: string, allowed: readonly string[], dataDir: string): string {
  if (!isAbsolute(path))
    throw refused(path, 'is not an absolute path', 'Write the whole path: "${file:/run/secrets/shop}".');
  // What may not be read is not told apart from what is not there: the answer would say which files exist.
  const real = realPath(path);
  const subject = real ?? path;
  if (!allowed.some((prefix) => within(realPath(prefix) ?? prefix, subject))) throw notAllowed(path, allowed);
  if (real === null) throw missing(path, 'ENOENT');
  if (within(realPath(dataDir) ?? dataDir, real)) {
    throw refused(
      path,
      'lies in the data folder of Millrace',
      'Keep credentials in a file elsewhere, or store them with `millrace secret set NAME`.',
    );
  }
  return readWhole(path, real);
}

function readWhole(path: string, real: string): string {
  let handle: number | undefined;
  try {
    handle = openSync(real, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
    const stat = fstatSync(handle);
    if (!stat.isFile())
      throw refused(path, 'is not a regular file', 'Name a file that holds nothing but the value.');
    if (stat.size > FILE_BYTES_MAX)
      throw refused(
        path,
        `is larger than ${FILE_BYTES_MAX / 1024} KiB`,
        'Name a file that holds nothing but the value.',
      );
    const text = readFileSync(handle, 'utf8').replace(/\r?\n$/, '');
    if (text === '') throw missing(path, 'it is empty');
    return text;
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    throw missing(path, (error as NodeJS.ErrnoException).code ?? 'unreadable');
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/** By whole path parts: `/run/secrets` holds `/run/secrets/a`, not `/run/secrets2/a`. */
function within(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

function notAllowed(path: string, allowed: readonly string[]): MillraceError {
  const what = allowed.length === 0 ? 'no file may be read' : `allowed: ${allowed.join(', ')}`;
  return refused(
    path,
    `may not be read (${what})`,
    `Add it to millrace.secrets.files in the config file and restart: "files": ${JSON.stringify([...allowed, path])}. Links are followed: name where the file really is.`,
  );
}

function refused(path: string, what: string, hint: string): MillraceError {
  return new MillraceError('secret_refused', `The file ${path} ${what}.`, { hint });
}

function missing(path: string, why: string): MillraceError {
  return new MillraceError('secret_missing', `The file ${path} could not be read (${why}).`, {
    hint: `Put the value into that file, readable for the user that runs Millrace: \`ls -l '${path}'\` shows who may read it.`,
  });
}
