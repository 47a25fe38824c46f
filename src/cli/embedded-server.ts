import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MillraceError } from '../core/errors.ts';

/** Where every server of ours listens: nobody outside this machine can knock. */
export const EMBEDDED_HOST = '127.0.0.1';

/** The user a server runs as. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** How a server goes down: `fast` ends its sessions and shuts down cleanly, `immediate` is a crash. */
export type ShutdownMode = 'fast' | 'immediate';

/** What has to be known of a kind of server to keep one running. */
export interface ServerSpec {
  /** Program and arguments that make it listen on that port of 127.0.0.1. */
  command(port: number): readonly [program: string, ...args: string[]];
  readonly cwd: string;
  readonly logFile: string;
  readonly owner: Owner | null;
  /** Asked every few milliseconds until true; must cost no connection. */
  ready(pid: number | undefined): boolean;
  readonly startTimeoutMs: number;
  /** What its log says when somebody else has the port. */
  readonly portTaken: RegExp;
  readonly signals: Readonly<Record<ShutdownMode, NodeJS.Signals>>;
  /** Removed when this process ends without `stop`; empty: nothing is. */
  readonly removeFolder: string;
  notStarted(words: string): MillraceError;
}

const STOP_TIMEOUT_MS = 15_000;
const PORT_TRIES = 5;

/** A server that is our child: up, down and up again on the same port. It never outlives us, however we end. */
export class ServerProcess {
  port = 0;
  readonly #spec: ServerSpec;
  #child: ChildProcess | null = null;
  #watchdog: ChildProcess | null = null;
  readonly #onExit = (): void => {
    this.#child?.kill(this.#spec.signals.immediate);
  };

  constructor(spec: ServerSpec) {
    this.#spec = spec;
  }

  async start(): Promise<void> {
    let words = '';
    for (let tries = 0; tries < PORT_TRIES; tries++) {
      const port = this.port === 0 ? await freePort() : this.port;
      if (await this.#launch(port)) {
        this.port = port;
        return;
      }
      words = await readFile(this.#spec.logFile, 'utf8');
      // Somebody may have taken the port between our asking for a free one and the server's binding it.
      if (!this.#spec.portTaken.test(words)) break;
      await sleep(50);
    }
    throw this.#spec.notStarted(words);
  }

  async #launch(port: number): Promise<boolean> {
    const { cwd, logFile, owner, removeFolder, signals } = this.#spec;
    const [program, ...args] = this.#spec.command(port);
    const log = openSync(logFile, 'w', 0o600);
    const child = spawn(program, args, {
      env: serverEnvironment(),
      cwd,
      stdio: ['ignore', log, log],
      ...owner,
    });
    closeSync(log);
    const ended = new Promise<boolean>((settle) => {
      child.once('error', () => settle(true));
      child.once('exit', () => settle(true));
    });
    this.#child = child;
    this.#watchdog = child.pid === undefined ? null : watch(child.pid, { removeFolder, signals });
    process.once('exit', this.#onExit);
    // Neither may keep the caller alive: when it ends without `stop`, the watchdog ends the server.
    child.unref();
    const limit = Date.now() + this.#spec.startTimeoutMs;
    while (Date.now() < limit) {
      if (this.#spec.ready(child.pid)) return true;
      if (await Promise.race([ended, sleep(10).then(() => false)])) break;
    }
    await this.stop('immediate');
    return false;
  }

  async stop(mode: ShutdownMode): Promise<void> {
    const child = this.#child;
    this.#child = null;
    process.removeListener('exit', this.#onExit);
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      child.ref();
      const ended = new Promise<void>((settle) => child.once('exit', () => settle()));
      child.kill(this.#spec.signals[mode]);
      const killer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(killer);
    }
    this.#watchdog?.stdin?.end('stopped\n');
    this.#watchdog = null;
  }
}

/** Only what the binaries need: the caller's PGDATA, MYSQL_HOME or locale must not reach them. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const { PATH, SystemRoot } = process.env;
  return { LC_ALL: 'C', TZ: 'UTC', ...(PATH ? { PATH } : {}), ...(SystemRoot ? { SystemRoot } : {}) };
}

/** The last words of a log, fit for an error. */
export function lastWords(log: string, lines = 3): string {
  return log.trim().split('\n').slice(-lines).join(' ').slice(0, 500) || 'it said nothing';
}

/**
 * Ends the server when this process is gone, SIGKILL included: its only sign is the end of a pipe that we hold.
 * Windows has no sh; there the `exit` listener has to do.
 */
function watch(pid: number, spec: Pick<ServerSpec, 'removeFolder' | 'signals'>): ChildProcess | null {
  if (process.platform === 'win32') return null;
  const script = [
    'if read -r line; then exit 0; fi',
    'kill -"$3" "$1" 2>/dev/null',
    'i=0; while kill -0 "$1" 2>/dev/null && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done',
    'kill -"$4" "$1" 2>/dev/null && sleep 1',
    'if [ -n "$2" ]; then rm -rf -- "$2"; fi',
  ].join('\n');
  const names = [spec.signals.fast, spec.signals.immediate].map((signal) => signal.slice('SIG'.length));
  const watchdog = spawn(
    '/bin/sh',
    ['-c', script, 'millrace-watchdog', String(pid), spec.removeFolder, ...names],
    { cwd: '/', detached: true, stdio: ['pipe', 'ignore', 'ignore'] },
  );
  watchdog.on('error', () => {});
  watchdog.stdin.on('error', () => {});
  watchdog.unref();
  (watchdog.stdin as unknown as { unref?: () => void }).unref?.();
  return watchdog;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((settle, fail) => probe.once('error', fail).listen(0, EMBEDDED_HOST, settle));
  const address = probe.address();
  await new Promise<void>((settle) => probe.close(() => settle()));
  return address !== null && typeof address === 'object' ? address.port : 0;
}
