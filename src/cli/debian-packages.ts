import { execFile } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { cachedFolder, cachedPath, type Workplace } from './cache.ts';
import { lastWords, serverEnvironment } from './embedded-server.ts';

/** A package of Debian and the release to take it from. */
export interface DebianPackage {
  readonly name: string;
  /** `sid`, or `own` for the release this machine runs. */
  readonly release: string;
  /** Packages that it does not need, to be there besides. */
  readonly besides?: readonly string[];
  /** Files wanted of it, as tar's wildcard; then nothing else is unpacked, and nothing that it depends on is fetched. */
  readonly only?: string;
}

const KEYRINGS = ['debian-archive-keyring.gpg', 'debian-archive-keyring.pgp'].map((name) =>
  join('/usr/share/keyrings', name),
);
const TRIES = 3;
const RETRY_AFTER_MS = 2_000;
const COMMAND_TIMEOUT_MS = 300_000;
/** No server of ours runs a Perl script, and Perl is a fifth of the download. */
const UNWANTED = /^(lib)?perl/;
/** A quarter of what is unpacked, and no program reads it. */
const UNREAD = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/gdb', 'usr/share/lintian'];

const UNPACK_SOME = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards "$3"';

const run = promisify(execFile);

/**
 * The folder with that package and all that it needs, down to the C library, unpacked and not installed: nothing of
 * the machine changes and no root is needed. Null where apt-get, dpkg-deb or Debian's keys are missing. Fetched
 * once; apt checks the archive's signature.
 */
export async function unpackedPackage(
  wanted: DebianPackage,
  notify: (words: string) => void = () => {},
): Promise<string | null> {
  const keyring = KEYRINGS.find((file) => existsSync(file));
  const architecture = keyring ? await debianArchitecture() : null;
  if (!keyring || !architecture) return null;
  const release = wanted.release === 'own' ? ownRelease() : wanted.release;
  const names = [wanted.name, ...(wanted.besides ?? [])].join('+');
  const place = `servers/${names}${wanted.only === undefined ? '' : '-part'}-${release}-${architecture}`;
  if (!existsSync(cachedPath(place)))
    notify(`fetching ${wanted.name} from Debian ${release}, once, into ${cachedPath(place)}`);
  const source = `deb [arch=${architecture} signed-by=${keyring}] ${mirror()} ${release} main`;
  for (let tries = 1; ; tries++) {
    try {
      return await cachedFolder(place, (workplace) => fetchInto(workplace, wanted, source));
    } catch (error) {
      // sid changes four times a day: an index read before and packages fetched after may not fit together.
      if (tries === TRIES) throw error;
      await sleep(RETRY_AFTER_MS * tries);
    }
  }
}

/**
 * How a program of an unpacked package is executed: by the loader that came with it, since the machine's own C library
 * may be older. Null when it is not there. `preload` are libraries that come before all others, if they are there.
 */
export function unpackedProgram(
  root: string,
  program: string,
  preload: readonly string[] = [],
): readonly [string, ...string[]] | null {
  const libraries = globSync(['lib/*-linux-gnu*', 'usr/lib/*-linux-gnu*'], { cwd: root });
  const loader = globSync(
    libraries.map((folder) => `${folder}/ld-linux*.so.*`),
    { cwd: root },
  )[0];
  if (loader === undefined || !existsSync(join(root, program))) return null;
  const path = libraries.map((folder) => join(root, folder)).join(':');
  const first = globSync(
    preload.flatMap((name) => libraries.map((folder) => `${folder}/${name}`)),
    { cwd: root },
  ).map((file) => join(root, file));
  return [
    join(root, loader),
    ...['--inhibit-cache', '--library-path', path],
    ...(first.length > 0 ? ['--preload', first.join(' ')] : []),
    join(root, program),
  ];
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
  { into, scratch: work }: Workplace,
  wanted: DebianPackage,
  source: string,
): Promise<void> {
  const debs = join(work, 'debs');
  for (const folder of ['state/lists/partial', 'cache/archives/partial', 'debs'])
    await mkdir(join(work, folder), { recursive: true });
  await writeFile(join(work, 'sources.list'), `${source}\n`);
  // Nothing is installed in this state: so all that the package needs is named, the C library too.
  await writeFile(join(work, 'state/status'), '');
  await writeFile(join(work, 'apt.conf'), aptConfig(work));
  const apt = async (...args: readonly string[]): Promise<string> =>
    (await command('apt-get', ['-c', join(work, 'apt.conf'), '-q', ...args], debs)).toString();
  await apt('update');
  const plan = await apt('install', '-s', '--no-install-recommends', wanted.name, ...(wanted.besides ?? []));
  const packages = [...plan.matchAll(/^Inst (\S+) \((\S+)/gm)].flatMap(([, name = '', version = '']) =>
    UNWANTED.test(name) || (wanted.only !== undefined && name !== wanted.name) ? [] : [`${name}=${version}`],
  );
  await apt('download', ...packages);
  const files = (await readdir(debs)).filter((file) => file.endsWith('.deb'));
  if (files.length !== packages.length || files.length === 0)
    throw new Error(`${files.length} of ${packages.length} packages arrived`);
  // Two at a time: unpacking is bound by the processor, and the smallest machine has two.
  const half = Math.ceil(files.length / 2);
  const unpack = async (some: readonly string[]): Promise<void> => {
    for (const file of some)
      await (wanted.only === undefined
        ? command('dpkg-deb', ['-x', file, into], debs)
        : command('sh', ['-c', UNPACK_SOME, 'unpack', file, into, wanted.only], debs));
  };
  await Promise.all([unpack(files.slice(0, half)), unpack(files.slice(half))]);
  for (const folder of UNREAD) await rm(join(into, folder), { recursive: true, force: true });
  await writeFile(join(into, 'packages.txt'), `${packages.join('\n')}\n`);
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
