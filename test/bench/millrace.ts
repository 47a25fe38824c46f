import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import type { Run } from '../../src/core/model.ts';
import { peakMemoryMb } from './processes.ts';
import type { BenchSource } from './source.ts';
import { TABLE_NAMES, type TableName } from './tables.ts';

/** One run, as its caller saw it and as the program says. */
export interface SyncTiming {
  readonly run: Run;
  /** From the call of `sync_connector` to the answer that says it ended. */
  readonly outsideMs: number;
  /** Round trips of `get_health` made meanwhile, milliseconds. */
  readonly health: readonly number[];
}

/** The built program as a client has it: over stdio, with the current protocol. */
export interface BenchedMillrace extends AsyncDisposable {
  /** One run of one table, of what changed or whole; fails unless it succeeded. */
  sync(table: TableName, options?: { readonly fullRefresh: boolean }): Promise<SyncTiming>;
  /** A full load, whatever has landed, while `get_health` is called all the time. */
  loadAsked(table: TableName): Promise<SyncTiming>;
  peakMemoryMb(): number | null;
}

/** Often enough for a p99, seldom enough not to be the load that it measures. */
const HEALTH_EVERY_MS = 25;

/** Starts `dist/main.js` on a new data folder and registers the source, one stream a table: tested, as a conversation does. */
export async function startBenched(source: BenchSource, dataDir: string): Promise<BenchedMillrace> {
  const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
  if (!existsSync(main)) throw new Error('dist/main.js is not there: run `npm run build` first.');
  const config = `${dataDir}.json`;
  // An API of the benchmark listens on this machine, where REST connectors may not reach by themselves.
  await writeFile(config, JSON.stringify({ millrace: { network: { allowPrivateHttp: ['127.0.0.1'] } } }));
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [main, '--config', config, '--data-dir', dataDir, '--log-level', 'warn'],
    stderr: 'inherit',
  });
  const client = new Client(
    { name: 'millrace-bench', version: '1' },
    { versionNegotiation: { mode: { pin: '2026-07-28' } } },
  );
  await client.connect(transport);
  const call = (name: string, input: Record<string, unknown> = {}): Promise<unknown> =>
    callTool(client, name, input);
  await call('register_connector', {
    name: 'bench',
    type: source.type,
    config: source.config,
    streams: TABLE_NAMES.map((table) => ({
      name: table,
      cursor: 'updated_at',
      mode: 'merge',
      ...source.stream(table),
    })),
  });
  return {
    sync: (table, { fullRefresh } = { fullRefresh: false }) =>
      timeSync(call, table, { asked: false, fullRefresh }),
    loadAsked: (table) => timeSync(call, table, { asked: true, fullRefresh: true }),
    peakMemoryMb: () => (transport.pid === null ? null : peakMemoryMb(transport.pid)),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

type Call = (name: string, input?: Record<string, unknown>) => Promise<unknown>;

async function timeSync(
  call: Call,
  table: TableName,
  { asked, fullRefresh }: { readonly asked: boolean; readonly fullRefresh: boolean },
): Promise<SyncTiming> {
  const done = new AbortController();
  const health = asked ? pollHealth(call, done.signal) : Promise.resolve([]);
  const began = performance.now();
  // 10 s is what a client gets without asking; a longer run is waited for through get_run.
  let { run } = (await call('sync_connector', {
    connector: 'bench',
    streams: [table],
    full_refresh: fullRefresh,
  })) as {
    readonly run: Run;
  };
  while (run.status === 'queued' || run.status === 'running') {
    ({ run } = (await call('get_run', { run_id: run.run_id, wait_seconds: 25 })) as { readonly run: Run });
  }
  const outsideMs = performance.now() - began;
  done.abort();
  if (run.status !== 'succeeded')
    throw new Error(`The run ended ${run.status}: ${JSON.stringify(run.error ?? run.streams)}`);
  return { run, outsideMs, health: await health };
}

async function pollHealth(call: Call, signal: AbortSignal): Promise<readonly number[]> {
  const times: number[] = [];
  while (!signal.aborted) {
    const began = performance.now();
    await call('get_health');
    times.push(performance.now() - began);
    await sleep(HEALTH_EVERY_MS);
  }
  return times;
}

async function callTool(client: Client, name: string, input: Record<string, unknown>): Promise<unknown> {
  const result = await client.callTool({ name, arguments: input });
  if (result.isError)
    throw new Error(`${name}: ${JSON.stringify(result.structuredContent ?? result.content)}`);
  return result.structuredContent;
}
