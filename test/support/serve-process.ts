import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `millrace serve` as a process of its own, on a port that was free. */
export interface ServeProcess extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly origin: string;
  readonly pid: number;
  readonly dataDir: string;
  /** Everything it wrote to stderr so far. */
  stderr(): string;
  /** Ends it; how long that took, and its exit code. */
  stop(signal?: NodeJS.Signals): Promise<{ readonly ms: number; readonly code: number | null }>;
}

export interface ServeOptions {
  /** The `millrace` section of its config file. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
}

/** Starts it and waits until it says where it listens. Rejects with its last words. */
export async function startServe({
  config = {},
  env = {},
  args = [],
}: ServeOptions = {}): Promise<ServeProcess> {
  const dataDir = mkdtempSync(join(tmpdir(), 'millrace-serve-'));
  const file = join(dataDir, 'config.json');
  writeFileSync(file, JSON.stringify({ millrace: config }));
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    [main, 'serve', '--port', '0', '--config', file, '--data-dir', join(dataDir, 'data'), ...args],
    { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let out = '';
  let err = '';
  const { promise: said, resolve } = Promise.withResolvers<void>();
  child.stdout.on('data', (part) => {
    out += String(part);
    if (out.includes('\n')) resolve();
  });
  child.stderr.on('data', (part) => {
    err += String(part);
  });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  await Promise.race([said, exited]);
  const origin = /http:\/\/\S+?(?=\/mcp)/.exec(out)?.[0];
  const clear = (): void => rmSync(dataDir, { recursive: true, force: true });
  if (origin === undefined) {
    clear();
    throw new Error(`millrace serve did not come up: ${out}${err}`);
  }
  const stop: ServeProcess['stop'] = async (signal = 'SIGTERM') => {
    const began = performance.now();
    child.kill(signal);
    const [code] = await exited;
    return { ms: performance.now() - began, code };
  };
  return {
    origin,
    pid: child.pid ?? -1,
    dataDir: join(dataDir, 'data'),
    stderr: () => err,
    stop,
    async [Symbol.asyncDispose]() {
      await stop('SIGKILL');
      clear();
    },
  };
}
