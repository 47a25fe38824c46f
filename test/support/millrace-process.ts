import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ErrorView } from '../../src/core/errors.ts';
import type { Run } from '../../src/core/model.ts';

/**
 * A Millrace process as the fault suites need it: plain JSON-RPC over stdio, started in a moment, killed without
 * ceremony, everything it ever said kept for looking through. Suites about MCP itself use a real client.
 */
export interface MillraceProcess extends AsyncDisposable {
  readonly pid: number;
  /** Calls a tool; rejects when the process dies first or nothing comes back in time. */
  call(tool: string, input?: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<ToolReply>;
  /** The structured answer of a call that has to succeed. */
  must<T = Readonly<Record<string, unknown>>>(
    tool: string,
    input?: Readonly<Record<string, unknown>>,
  ): Promise<T>;
  /** The coded error of a call that has to fail. */
  fails(tool: string, input?: Readonly<Record<string, unknown>>): Promise<ErrorView>;
  /** Gone when this resolves. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  alive(): boolean;
  /** Everything it has said on stdout and stderr so far. */
  stdout(): string;
  stderr(): string;
}

export interface ToolReply {
  readonly isError: boolean;
  readonly text: string;
  readonly structured: Readonly<Record<string, unknown>>;
}

export interface StartOptions {
  readonly dataDir: string;
  /** The `millrace` section of a config file. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** Another main file, relative to this folder: for controls that compose the program differently. */
  readonly entry?: string;
}

const MAIN = process.env['MILLRACE_TEST_DIST'] ? '../../dist/main.js' : '../../src/main.ts';
const CALL_TIMEOUT_MS = 30_000;
let configs = 0;

/** Starts a process and shakes hands with it. Rejects with its last words when it does not come up. */
export async function startMillrace(options: StartOptions): Promise<MillraceProcess> {
  const millrace = spawnMillrace(options);
  try {
    await millrace.ready();
  } catch (error) {
    await millrace.kill();
    throw new Error(`Millrace did not start: ${String(error)}\n${millrace.stderr()}`);
  }
  return millrace;
}

/** The same without waiting for the handshake, to be killed while it is coming up. */
export function spawnMillrace(options: StartOptions): MillraceProcess & { ready(): Promise<void> } {
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
  const config = join(options.dataDir, '..', `config-${++configs}.json`);
  writeFileSync(config, JSON.stringify({ millrace: options.config ?? {} }));
  const main = fileURLToPath(new URL(options.entry ?? MAIN, import.meta.url));
  const args = [main, '--config', config, '--data-dir', options.dataDir, ...(options.args ?? [])];
  const env = { ...process.env, ...options.env };
  const child = spawn(process.execPath, args, { stdio: 'pipe', env });
  const said = { stdout: '', stderr: '' };
  const waiting = new Map<number, PromiseWithResolvers<RpcResult>>();
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text;
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    said.stdout += `${line}\n`;
    answer(line, waiting);
  });
  child.stdin.on('error', () => undefined);
  const exited = exit(child);
  void exited.then(({ code, signal }) => {
    for (const { reject } of waiting.values())
      reject(new Error(`Millrace ended (${code ?? signal}): ${said.stderr.slice(-2000)}`));
    waiting.clear();
  });
  let lastId = 0;
  const request = (method: string, params: unknown, timeoutMs: number): Promise<RpcResult> => {
    const id = ++lastId;
    const pending = Promise.withResolvers<RpcResult>();
    waiting.set(id, pending);
    child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    return bounded(pending.promise, timeoutMs, `${method} ${JSON.stringify(params).slice(0, 200)}`);
  };
  const call: MillraceProcess['call'] = async (tool, input = {}, timeoutMs = CALL_TIMEOUT_MS) => {
    const result = await request('tools/call', { name: tool, arguments: input }, timeoutMs);
    const text = (result.content ?? []).map((part) => part.text ?? '').join('\n');
    return { isError: result.isError === true, text, structured: result.structuredContent ?? {} };
  };
  const kill: MillraceProcess['kill'] = async (signal = 'SIGKILL') => {
    child.kill(signal);
    await exited;
  };
  return {
    pid: child.pid ?? -1,
    call,
    async must(tool, input) {
      const reply = await call(tool, input);
      if (reply.isError) throw new Error(`${tool} failed: ${reply.text}`);
      return reply.structured as never;
    },
    async fails(tool, input) {
      const reply = await call(tool, input);
      if (!reply.isError) throw new Error(`${tool} succeeded: ${reply.text}`);
      return reply.structured['error'] as ErrorView;
    },
    kill,
    exited,
    alive: () => child.exitCode === null && child.signalCode === null,
    stdout: () => said.stdout,
    stderr: () => said.stderr,
    async ready() {
      const clientInfo = { name: 'fault-suite', version: '1' };
      await request(
        'initialize',
        { protocolVersion: '2025-06-18', capabilities: {}, clientInfo },
        CALL_TIMEOUT_MS,
      );
      child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' })}\n`);
    },
    [Symbol.asyncDispose]: () => kill(),
  };
}

const ENDED: readonly string[] = ['succeeded', 'partial', 'failed', 'cancelled'];

/** Waits until the run has ended, however many attempts it takes. */
export async function runToEnd(millrace: MillraceProcess, runId: string, timeoutMs = 60_000): Promise<Run> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    const { run } = await millrace.must<{ run: Run }>('get_run', { run_id: runId, wait_seconds: 5 });
    if (ENDED.includes(run.status)) return run;
    if (Date.now() > until) throw new Error(`run ${runId} does not end: ${JSON.stringify(run)}`);
  }
}

/** Syncs and waits for the end; a run that is already under way is waited for first. */
export async function syncToEnd(
  millrace: MillraceProcess,
  input: Readonly<Record<string, unknown>>,
): Promise<Run> {
  for (let turn = 0; turn < 20; turn += 1) {
    const reply = await millrace.call('sync_connector', { wait_seconds: 20, ...input });
    if (!reply.isError) return await runToEnd(millrace, (reply.structured['run'] as Run).run_id);
    const error = reply.structured['error'] as ErrorView;
    if (error.code !== 'run_in_progress') throw new Error(reply.text);
    const { runs } = await millrace.must<{ runs: Run[] }>('list_runs', { connector: input['connector'] });
    for (const run of runs) if (!ENDED.includes(run.status)) await runToEnd(millrace, run.run_id);
  }
  throw new Error('every sync met another run in progress');
}

/** A folder of one test's own, with a data folder inside; removed when it is disposed of. */
export function temporaryDirectory(): { readonly path: string; readonly dataDir: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'millrace-fault-'));
  return {
    path,
    dataDir: join(path, 'data'),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}

interface RpcResult {
  readonly content?: readonly { readonly text?: string }[];
  readonly structuredContent?: Readonly<Record<string, unknown>>;
  readonly isError?: boolean;
}

function answer(line: string, waiting: Map<number, PromiseWithResolvers<RpcResult>>): void {
  const message = JSON.parse(line) as { id?: number; result?: RpcResult; error?: { message: string } };
  if (message.id === undefined) return;
  const call = waiting.get(message.id);
  waiting.delete(message.id);
  if (message.error) call?.reject(new Error(`protocol error: ${message.error.message}`));
  else call?.resolve(message.result ?? {});
}

async function exit(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal };
}

async function bounded<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  const giveUp = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: giveUp.signal }).then(() => {
    throw new Error(`no answer within ${timeoutMs} ms: ${what}`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    giveUp.abort();
    late.catch(() => undefined);
  }
}
