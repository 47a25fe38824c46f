import { spawnSync } from 'node:child_process';
import { existsSync, globSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { MillraceError } from '../core/errors.ts';
import { type DebianPackage, unpackedPackage, unpackedProgram } from './debian-packages.ts';
import { serverEnvironment } from './embedded-server.ts';

/** They speak the same protocol and are two servers: each is found by what it says of itself, not by its file's name. */
export type MysqlKind = 'mysql' | 'mariadb';

/** A server program that runs here. */
export interface MysqlProgram {
  readonly kind: MysqlKind;
  /** As the server says: `9.7.4-2`, `10.11.18-MariaDB-0+deb12u1`. */
  readonly version: string;
  /** What to execute: the server, or a loader of programs with the server as its argument. */
  readonly command: readonly [program: string, ...args: string[]];
  /** Options that tell an unpacked server where its parts are. */
  readonly options: readonly string[];
  /** Folders that may hold the SQL from which MariaDB makes its system tables. */
  readonly shares: readonly string[];
}

const NAMES: Readonly<Record<MysqlKind, string>> = { mysql: 'MySQL', mariadb: 'MariaDB' };
const OLDEST: Readonly<Record<MysqlKind, number>> = { mysql: 8_00, mariadb: 10_06 };
/**
 * What makes fsync do nothing. Neither server can be told to leave it out everywhere, as PostgreSQL can, and waiting
 * for the disk a thousand tables take MariaDB 23 s instead of 1, MySQL 26 instead of 9. A server that is killed loses
 * nothing by it.
 */
const NO_FSYNC = { package: 'libeatmydata1', library: 'libeatmydata.so' };
/** Debian's stable releases carry MariaDB alone; MySQL is only in sid. */
const PACKAGES: Readonly<Record<MysqlKind, DebianPackage>> = {
  mariadb: { name: 'mariadb-server-core', release: 'own', besides: [NO_FSYNC.package] },
  mysql: { name: 'mysql-server-core', release: 'sid', besides: [NO_FSYNC.package] },
};
/** Where Debian, Fedora and Homebrew put servers; an ordinary user's PATH has not all of them. */
const FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/libexec', '/usr/local/bin', '/opt/homebrew/bin'];

/** How a kind is called among people. */
export function mysqlName(kind: MysqlKind): string {
  return NAMES[kind];
}

export interface MysqlProgramOptions {
  /** Of Debian, to take the server from whatever is on the PATH: `trixie` has MariaDB 11.8. */
  readonly release?: string;
  /** Told when something takes long: the first time, a server may have to be fetched. */
  readonly notify?: (words: string) => void;
}

/**
 * A server of that kind: one on the PATH, or on Debian the packages, fetched without installing them. Throws
 * `not_found_at_source` where neither can be had.
 */
export async function mysqlProgram(
  kind: MysqlKind,
  options: MysqlProgramOptions = {},
): Promise<MysqlProgram> {
  const found = options.release === undefined ? onPath(kind) : null;
  const program = found ?? (await fetched(kind, options));
  if (program) return program;
  throw new MillraceError('not_found_at_source', `There is no ${NAMES[kind]} server on this machine.`, {
    hint: getOne(kind),
    who: 'person',
  });
}

function onPath(kind: MysqlKind): MysqlProgram | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...FOLDERS];
  const names = kind === 'mariadb' ? ['mariadbd', 'mysqld'] : ['mysqld'];
  for (const file of new Set(folders.flatMap((folder) => names.map((name) => join(folder, name))))) {
    if (!existsSync(file)) continue;
    const found = ask([file], []);
    if (found?.kind === kind) return { ...found, shares: sharesBeside(realpathSync(file)) };
  }
  return null;
}

function getOne(kind: MysqlKind): string {
  const program = kind === 'mariadb' ? 'mariadbd (10.6 or later)' : 'mysqld (8.0 or later)';
  const variable = `MILLRACE_TEST_${kind.toUpperCase()}_URL`;
  return `Install one so that ${program} is on the PATH. On Debian nothing has to be installed: apt-get, dpkg-deb and the package debian-archive-keyring are enough, since the server is then fetched and unpacked. The tests also take a running one: ${variable}=mysql://root:password@127.0.0.1:3306 (they make and drop databases and users there).`;
}

async function fetched(kind: MysqlKind, options: MysqlProgramOptions): Promise<MysqlProgram | null> {
  let place: string | null;
  try {
    const release = options.release ?? PACKAGES[kind].release;
    place = await unpackedPackage({ ...PACKAGES[kind], release }, options.notify);
  } catch (cause) {
    throw new MillraceError(
      'not_found_at_source',
      `There is no ${NAMES[kind]} server on this machine, and fetching one from Debian failed: ${(cause as Error).message.replace(/\.+$/, '')}.`,
      { hint: `Try again when the archive can be reached. ${getOne(kind)}`, who: 'person', cause },
    );
  }
  return place === null ? null : inFolder(place);
}

function inFolder(root: string): MysqlProgram | null {
  const command = ['usr/sbin/mariadbd', 'usr/sbin/mysqld']
    .map((program) => unpackedProgram(root, program, [NO_FSYNC.library]))
    .find((found) => found !== null);
  if (command === undefined) return null;
  const shares = ['mysql', 'mariadb'].map((name) => join(root, 'usr/share', name)).filter(existsSync);
  const share = shares[0] ?? '';
  const plugins = globSync('usr/lib/{mysql,mariadb}/plugin', { cwd: root })[0] ?? '';
  const options = [
    `--basedir=${join(root, 'usr')}`,
    `--lc-messages-dir=${share}`,
    `--character-sets-dir=${join(share, 'charsets')}`,
    `--plugin-dir=${join(root, plugins)}`,
  ];
  return ask(command, options, shares);
}

/** Asking the program itself sees missing libraries and `noexec`, and tells the two kinds apart. */
function ask(
  command: MysqlProgram['command'],
  options: readonly string[],
  shares: readonly string[] = [],
): MysqlProgram | null {
  const [program, ...args] = command;
  const { status, stdout } = spawnSync(program, [...args, '--no-defaults', '--version'], {
    cwd: '/',
    env: serverEnvironment(),
    encoding: 'utf8',
    timeout: 10_000,
  });
  const version = /\bVer (\S+)/.exec(status === 0 ? stdout : '')?.[1];
  if (version === undefined) return null;
  const kind = /MariaDB/i.test(version) ? 'mariadb' : 'mysql';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major * 100 + minor < OLDEST[kind]) return null;
  return { kind, version, command, options, shares };
}

function sharesBeside(server: string): readonly string[] {
  const prefix = join(dirname(server), '..');
  return ['share/mysql', 'share/mariadb', 'share'].map((at) => join(prefix, at)).concat('/usr/share/mysql');
}
