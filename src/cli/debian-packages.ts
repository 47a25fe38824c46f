import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, constants, existsSync, globSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { lastWords, serverEnvironment } from './embedded-server.ts';

/** A package of Debian and the release to take it from. */
export interface DebianPackage {
  readonly name: string;
  /** `sid`, or `own` for the release this machine runs. */
  readonly release: string;
}

const KEYRINGS = ['debian-archive-keyring.gpg', 'debian-archive-keyring.pgp'].map((name) =>
  join('/usr/share/keyrings', name),
);
const TRIES = 3;
const RETRY_AFTER_MS = 2_000;
const COMMAND_TIMEOUT_MS = 300_000;
/** Working folders of others older than this are nobody's. */
const ABANDONED_MS = 24 * 60 * 60_000;
/** No server of ours runs a Perl script, and Perl is a fifth of the download. */
const UNWANTED = /^(lib)?perl/;
/** A quarter of what is unpacked, and no program reads it. */
const UNREAD = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/gdb', 'usr/share/lintian'];

const run = promisify(execFile);

/**
 * The folder with that package and all that it needs, down to the C library, unpacked and not installed: nothing of
 * the machine changes and no root is needed. Null where apt-get, dpkg-deb or Debian's keys are missing. Fetched
 * once; apt checks the archive's signature. Two processes may do it at once and either may be killed: each works
 * in a folder of its own, which takes the final name when it is whole.
 */
export async function unpackedPackage(
  wanted: DebianPackage,
  notify: (words: string) => void = () => {},
): Promise<string | null> {
  const keyring = KEYRINGS.find((file) => existsSync(file));
  const architecture = keyring ? await debianArchitecture() : null;
  if (!keyring || !architecture) return null;
  const release = wanted.release === 'own' ? ownRelease() : wanted.release;
  const cache = cacheFolder();
  const place = join(cache, `${wanted.name}-${release}-${architecture}`);
  if (existsSync(place)) return place;
  await mkdir(cache, { recursive: true });
  await sweep(cache);
  notify(`fetching ${wanted.name} and what it needs from Debian ${release}, once, into ${place}`);
  const source = `deb [arch=${architecture} signed-by=${keyring}] ${mirror()} ${release} main`;
  for (let tries = 1; ; tries++) {
    const work = join(cache, `.fetch-${process.pid}-${randomBytes(4).toString('hex')}`);
    try {
      await fetchInto(work, { name: wanted.name, source });
      await takeName(join(work, 'root'), place);
      return place;
    } catch (error) {
      // sid changes four times a day: an index read before and packages fetched after may not fit together.
      if (tries === TRIES) throw error;
      await sleep(RETRY_AFTER_MS * tries);
    } finally {
      await rm(work, { recursive: true, force: true, maxRetries: 3 });
    }
  }
}

/**
 * Inside the project when this is a checkout: `.cache` is ignored by git, and unlike anything below node_modules it
 * survives `npm ci`. Where Millrace is an installed package, the user's own cache.
 */
export function cacheFolder(): string {
  const project = resolve(import.meta.dirname, '../..');
  if (existsSync(join(project, 'src')) && writable(project)) return join(project, '.cache', 'servers');
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'millrace', 'servers');
}

function writable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

async function debianArchitecture(): Promise<string | null> {
  try {
    await run('apt-get', ['--version']);
    return (await run('dpkg', ['--print-architecture'])).stdout.trim();
  } catch {
    return null;
  }
}

/** On a system made from Debian, whose release Debian does not know, the stable one: all libraries come along. */
function ownRelease(): string {
  const facts = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const fact = (name: string): string | undefined =>
    new RegExp(`^${name}="?([^"\n]+)"?$`, 'm').exec(facts)?.[1];
  return fact('ID') === 'debian' ? (fact('VERSION_CODENAME') ?? 'sid') : 'stable';
}

/** The archive this machine already uses, which may be the only one that it can reach. */
function mirror(): string {
  const files = [
    '/etc/apt/sources.list',
    ...globSync(['/etc/apt/sources.list.d/*.list', '/etc/apt/sources.list.d/*.sources']),
  ];
  const lines = files
    .filter((file) => existsSync(file))
    .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
    .filter((line) => !line.trimStart().startsWith('#'));
  const uri = lines.map((line) => /\bhttps?:\/\/\S+\/debian\/?(?=\s|$)/.exec(line)?.[0]).find(Boolean);
  return uri ?? 'http://deb.debian.org/debian';
}

async function fetchInto(
  work: string,
  wanted: { readonly name: string; readonly source: string },
): Promise<void> {
  const debs = join(work, 'debs');
  const root = join(work, 'root');
  for (const folder of ['state/lists/partial', 'cache/archives/partial', 'debs', 'root'])
    await mkdir(join(work, folder), { recursive: true });
  await writeFile(join(work, 'sources.list'), `${wanted.source}\n`);
  // Nothing is installed in this state: so all that the package needs is named, the C library too.
  await writeFile(join(work, 'state/status'), '');
  await writeFile(join(work, 'apt.conf'), aptConfig(work));
  const apt = async (...args: readonly string[]): Promise<string> =>
    (await command('apt-get', ['-c', join(work, 'apt.conf'), '-q', ...args], debs)).toString();
  await apt('update');
  const plan = await apt('install', '-s', '--no-install-recommends', wanted.name);
  const packages = [...plan.matchAll(/^Inst (\S+) \((\S+)/gm)].flatMap(([, name = '', version = '']) =>
    UNWANTED.test(name) ? [] : [`${name}=${version}`],
  );
  await apt('download', ...packages);
  const files = (await readdir(debs)).filter((file) => file.endsWith('.deb'));
  if (files.length !== packages.length || files.length === 0)
    throw new Error(`${files.length} of ${packages.length} packages arrived`);
  // Two at a time: unpacking is bound by the processor, and the smallest machine has two.
  const half = Math.ceil(files.length / 2);
  const unpack = async (some: readonly string[]): Promise<void> => {
    for (const file of some) await command('dpkg-deb', ['-x', file, root], debs);
  };
  await Promise.all([unpack(files.slice(0, half)), unpack(files.slice(half))]);
  for (const folder of UNREAD) await rm(join(root, folder), { recursive: true, force: true });
  await writeFile(join(root, 'packages.txt'), `${packages.join('\n')}\n`);
}

/**
 * A file, since only a file can clear a list: hooks of the machine (which would run as whoever we are, and fail) and
 * pinning are left out, its proxies stay. Root downloads as root, because `_apt` can enter few checkouts.
 */
function aptConfig(work: string): string {
  return [
    '#clear APT::Update::Pre-Invoke;',
    '#clear APT::Update::Post-Invoke;',
    '#clear APT::Update::Post-Invoke-Success;',
    '#clear APT::Default-Release;',
    `Dir::State "${work}/state";`,
    `Dir::State::status "${work}/state/status";`,
    `Dir::Cache "${work}/cache";`,
    `Dir::Etc::sourcelist "${work}/sources.list";`,
    'Dir::Etc::sourceparts "/dev/null";',
    'Dir::Etc::preferences "/dev/null";',
    'Dir::Etc::preferencesparts "/dev/null";',
    'APT::Sandbox::User "root";',
    'APT::Update::Error-Mode "any";',
    'APT::Get::AllowUnauthenticated "false";',
    'Acquire::AllowInsecureRepositories "false";',
    'Acquire::Languages "none";',
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
    'Acquire::Retries "3";',
    'Acquire::http::Timeout "30";',
    '',
  ].join('\n');
}

async function command(program: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    const { stdout } = await run(program, [...args], {
      cwd,
      env: { ...process.env, ...serverEnvironment() },
      timeout: COMMAND_TIMEOUT_MS,
      maxBuffer: 16 * 1024 * 1024,
    });
    return stdout;
  } catch (cause) {
    const said = (cause as { readonly stderr?: unknown }).stderr;
    const words = typeof said === 'string' && said.trim() !== '' ? said : String(cause);
    throw new Error(`${program} ${args.find((word) => !/^-|\//.test(word)) ?? ''}: ${lastWords(words)}`, {
      cause,
    });
  }
}

/** Whoever comes second finds the name taken by the same files. */
async function takeName(root: string, place: string): Promise<void> {
  try {
    await rename(root, place);
  } catch (error) {
    if (!existsSync(place)) throw error;
  }
}

/** Removes what killed processes left. */
async function sweep(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const pid = /^\.fetch-(\d+)-/.exec(name)?.[1];
    if (pid === undefined) continue;
    const folder = join(cache, name);
    const age = Date.now() - ((await stat(folder).catch(() => null))?.mtimeMs ?? 0);
    if (age > ABANDONED_MS || !alive(Number(pid))) await rm(folder, { recursive: true, force: true });
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
