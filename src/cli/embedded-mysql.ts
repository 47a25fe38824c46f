import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants, existsSync, readFileSync, rmSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { MillraceError } from '../core/errors.ts';
import { cachedFolder, isCheckout } from './cache.ts';
import {
  type MysqlKind,
  type MysqlProgram,
  type MysqlProgramOptions,
  mysqlName,
  mysqlProgram,
} from './embedded-mysql-binaries.ts';
import {
  EMBEDDED_HOST,
  lastWords,
  ServerProcess,
  type ServerSpec,
  type ShutdownMode,
  serverEnvironment,
} from './embedded-server.ts';

export interface EmbeddedMysqlOptions extends MysqlProgramOptions {
  readonly kind: MysqlKind;
  /** Where the server keeps itself; kept after `stop`, and started again from. Absent: a temporary folder. */
  readonly dir?: string;
  /** Options of the server, over ours: `{ 'lower-case-table-names': '1' }`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Databases to create (utf8mb4); the first one is what `database` and `url` name. Absent: `mysql`. */
  readonly databases?: readonly string[];
  /** PEM texts; with them the server also accepts TLS. */
  readonly ssl?: { readonly cert: string; readonly key: string };
}

/** A running server on 127.0.0.1 whose superuser logs in with a password. */
export interface EmbeddedMysql extends AsyncDisposable {
  readonly kind: MysqlKind;
  readonly version: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly url: string;
  readonly dataDir: string;
  readonly logFile: string;
  /** Down and up again on the same port. `immediate` loses nothing that was committed. */
  restart(mode: ShutdownMode): Promise<void>;
  /** Ends the server and removes what was temporary. Safe to call twice. */
  stop(): Promise<void>;
}

const SUPERUSER = 'root';
const SHAPING = /^(innodb|lower|character|collation|sql)/;
const COPY = { recursive: true, mode: constants.COPYFILE_FICLONE } as const;
const START_TIMEOUT_MS = 60_000;
/** What a socket's address holds, with room for the file's name and MySQL's `.lock` beside it. */
const SOCKET_FOLDER_MAX = 80;

/**
 * Durability against a failing machine is off, against a killed server it is not: with 2 a commit is in the
 * system's hands before it is answered. Small, because two of them and a PostgreSQL run beside the tests.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  'innodb-flush-log-at-trx-commit': '2',
  'innodb-flush-method': 'nosync',
  'innodb-doublewrite': 'OFF',
  'innodb-buffer-pool-size': '64M',
  'character-set-server': 'utf8mb4',
  'max-connections': '100',
  'skip-log-bin': '',
  'skip-name-resolve': '',
};
/** What only one of the two knows or needs. Keys of its own let MySQL's logins do without TLS. */
const KIND_SETTINGS: Readonly<Record<MysqlKind, Readonly<Record<string, string>>>> = {
  mysql: { 'innodb-redo-log-capacity': '32M', mysqlx: 'OFF', 'auto-generate-certs': 'OFF' },
  mariadb: { 'innodb-log-file-size': '32M' },
};

/**
 * Starts a real MySQL or MariaDB for the demo and the tests: a program on the PATH, or one fetched from Debian. It
 * never outlives this process, however that ends. Throws `not_found_at_source` when no server can be had and
 * `internal` with the server's last words when it does not start.
 */
export async function startEmbeddedMysql(options: EmbeddedMysqlOptions): Promise<EmbeddedMysql> {
  const program = await mysqlProgram(options.kind, options);
  // The socket lies here in any case: its address is cut short by the system, and a given folder may be deep.
  const scratch = await scratchFolder();
  const base = options.dir === undefined ? scratch : resolve(options.dir);
  try {
    const place: Place = { base, dataDir: join(base, 'data'), scratch, program };
    for (const folder of [join(base, 'files'), join(scratch, 'tmp')])
      await mkdir(folder, { recursive: true, mode: 0o700 });
    const flags = flagsOf(await settingsOf(place, options));
    // What shapes files or the system tables cannot be put over plain ones.
    const plain = !Object.keys(options.settings ?? {}).some((name) => SHAPING.test(name));
    const password = await initialise(place, flags, plain);
    const server = new ServerProcess(serverSpec(place, flags));
    await server.start();
    const login = { host: EMBEDDED_HOST, port: server.port, user: SUPERUSER, password };
    await createDatabases(login, options.databases ?? []).catch(async (error: unknown) => {
      await server.stop('immediate');
      throw error;
    });
    const database = options.databases?.[0] ?? 'mysql';
    const stop = async (): Promise<void> => {
      await server.stop(options.dir === undefined ? 'immediate' : 'fast');
      await rm(scratch, { recursive: true, force: true, maxRetries: 3 });
    };
    return {
      kind: program.kind,
      version: program.version,
      ...login,
      database,
      url: `mysql://${SUPERUSER}:${password}@${EMBEDDED_HOST}:${server.port}/${encodeURIComponent(database)}`,
      dataDir: place.dataDir,
      logFile: join(base, 'server.log'),
      restart: async (mode) => {
        await server.stop(mode);
        await server.start();
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
    throw error;
  }
}

interface Place {
  readonly base: string;
  readonly dataDir: string;
  readonly scratch: string;
  readonly program: MysqlProgram;
}

function scratchFolder(): Promise<string> {
  const parent = tmpdir().length <= SOCKET_FOLDER_MAX ? tmpdir() : '/tmp';
  return mkdtemp(join(parent, 'millrace-my-'));
}

async function settingsOf(
  place: Place,
  options: EmbeddedMysqlOptions,
): Promise<Readonly<Record<string, string>>> {
  const tls: Record<string, string> = {};
  if (options.ssl) {
    for (const part of ['cert', 'key'] as const) {
      const file = join(place.base, `server.${part}`);
      await writeFile(file, options.ssl[part], { mode: 0o600 });
      tls[`ssl-${part}`] = file;
    }
  }
  return {
    ...SETTINGS,
    ...KIND_SETTINGS[options.kind],
    ...tls,
    // What SQL may write to or read from disk: not this machine's files, whoever the server runs as.
    'secure-file-priv': join(place.base, 'files'),
    // A starting MariaDB removes what looks like temporary tables in its folder: in /tmp also those of another server.
    tmpdir: join(place.scratch, 'tmp'),
    // Both refuse to run as root unless told; there is no other user who can read every checkout.
    ...(process.getuid?.() === 0 ? { user: 'root' } : {}),
    ...options.settings,
  };
}

function flagsOf(settings: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(settings).map(([name, value]) => (value === '' ? `--${name}` : `--${name}=${value}`));
}

function commandOf(place: Place, flags: readonly string[]): readonly [string, ...string[]] {
  const { command, options } = place.program;
  // First, or the files of a system-wide server are read.
  return [...command, '--no-defaults', ...options, `--datadir=${place.dataDir}`, ...flags];
}

/** Makes the system tables when there are none; returns the superuser's password. */
async function initialise(place: Place, flags: readonly string[], plain: boolean): Promise<string> {
  const passwordFile = join(place.base, 'superuser.password');
  if (existsSync(passwordFile)) return (await readFile(passwordFile, 'utf8')).trim();
  const password = randomBytes(18).toString('base64url');
  await rm(place.dataDir, { recursive: true, force: true });
  if (plain && isCheckout) await cp(await plainTables(place), place.dataDir, COPY);
  else await makeTables(place, flags);
  // Read at every start, before the server listens: nobody ever reaches one without a password.
  await writeFile(join(place.base, 'superuser.sql'), superuserSql(password), { mode: 0o600 });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  return password;
}

/** Nobody has logged in there yet: making them takes MySQL 3 s, copying them 0.1 s, and tests start many servers. */
function plainTables({ program, base, scratch }: Place): Promise<string> {
  const name = `servers/${program.kind}-${program.version.replaceAll(/[^\w.-]/g, '_')}-tables`;
  return cachedFolder(name, async ({ into }) => {
    await rm(into, { recursive: true });
    const place = { program, base, scratch, dataDir: into };
    await makeTables(place, flagsOf(await settingsOf(place, { kind: program.kind })));
    // Who a server is among others: it takes a new name when it has none.
    await rm(join(into, 'auto.cnf'), { force: true });
  });
}

async function makeTables(place: Place, flags: readonly string[]): Promise<void> {
  if (place.program.kind === 'mysql') return runServer(place, [...flags, '--initialize-insecure'], '');
  await mkdir(place.dataDir, { mode: 0o700 });
  return runServer(place, [...flags, '--bootstrap'], mariadbSystemTables(place.program));
}

/** One statement a line, as `init-file` wants it. Names are not resolved, so TCP logins are from 127.0.0.1. */
function superuserSql(password: string): string {
  const accounts = ['localhost', EMBEDDED_HOST].map((host) => `'${SUPERUSER}'@'${host}'`);
  return accounts
    .flatMap((account) => [
      `CREATE USER IF NOT EXISTS ${account};`,
      `ALTER USER ${account} IDENTIFIED BY '${password}';`,
      `GRANT ALL PRIVILEGES ON *.* TO ${account} WITH GRANT OPTION;`,
    ])
    .concat('')
    .join('\n');
}

/** What mariadb-install-db feeds to the server, without the script: that would start the server in its own way. */
function mariadbSystemTables(program: MysqlProgram): string {
  const find = (name: string): string | undefined =>
    program.shares
      .flatMap((share) =>
        ['mariadb_', 'mysql_', 'maria_'].map((prefix) => join(share, `${prefix}${name}.sql`)),
      )
      .find(existsSync);
  const system = find('system_tables');
  if (system === undefined)
    throw notStarted(program, `mysql_system_tables.sql is in none of ${program.shares.join(', ')}`);
  const rest = ['performance_tables', 'system_tables_data', 'add_gis_sp_bootstrap', 'sys_schema'].map(find);
  const files = [system, ...rest.filter((file) => file !== undefined)];
  const texts = files.map((file) => readFileSync(file, 'utf8'));
  return ['CREATE DATABASE mysql;', 'USE mysql;', ...texts].join('\n');
}

async function runServer(place: Place, flags: readonly string[], input: string): Promise<void> {
  const [program, ...args] = commandOf(place, flags);
  const child = spawn(program, args, {
    cwd: place.base,
    env: serverEnvironment(),
    timeout: START_TIMEOUT_MS,
  });
  let words = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      words = (words + text).slice(-8_000);
    });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const status = await new Promise<number | null>((settle, fail) =>
    child.once('error', fail).once('close', settle),
  ).catch((cause: unknown) => {
    throw notStarted(place.program, words, cause);
  });
  if (status !== 0) throw notStarted(place.program, words);
}

function serverSpec(place: Place, flags: readonly string[]): ServerSpec {
  const { base, scratch, program } = place;
  const logFile = join(base, 'server.log');
  return {
    command: (port) =>
      commandOf(place, [
        ...flags,
        `--bind-address=${EMBEDDED_HOST}`,
        `--port=${port}`,
        `--socket=${join(scratch, 'sock')}`,
        `--pid-file=${join(scratch, 'pid')}`,
        `--init-file=${join(base, 'superuser.sql')}`,
      ]),
    cwd: base,
    logFile,
    owner: null,
    ready: () => /ready for connections/.test(readFileSync(logFile, 'utf8')),
    startTimeoutMs: START_TIMEOUT_MS,
    portTaken: /Address already in use/,
    signals: { fast: 'SIGTERM', immediate: 'SIGKILL' },
    removeFolder: scratch,
    notStarted: (words) => notStarted(program, words),
  };
}

async function createDatabases(
  login: { readonly host: string; readonly port: number; readonly user: string; readonly password: string },
  databases: readonly string[],
): Promise<void> {
  if (databases.length === 0) return;
  const connection = await createConnection(login);
  try {
    for (const name of databases)
      await connection.query(`CREATE DATABASE IF NOT EXISTS \`${name.replaceAll('`', '``')}\``);
  } finally {
    await connection.end();
  }
}

function notStarted(program: MysqlProgram, words: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'internal',
    `The embedded ${mysqlName(program.kind)} ${program.version} did not start: ${lastWords(words)}.`,
    {
      hint: 'Put another server on the PATH; or remove the folder .cache/servers, so that one is fetched anew.',
      who: 'person',
      cause,
    },
  );
}
