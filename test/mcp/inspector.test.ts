import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tools } from '../../src/mcp/tools/index.ts';
import { connectHttp, millraceCommand } from '../support/mcp-client.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { type ServeProcess, startServe } from '../support/serve-process.ts';

/**
 * The Inspector's command line as others script it: every tool with arguments that hold and with some that do not, over
 * stdio and HTTP, in both eras. Its exit code is 0 for an answer and 5 for one with `isError`. A call is a process of half
 * a second, over stdio two, so by default each tool is
 * called well over one transport and badly over the other, in turns, as are the eras; `MILLRACE_INSPECTOR=all` makes every call.
 */

const cli = join(
  dirname(createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector/package.json')),
  'clients/launcher/build/index.js',
);
const lanes = 3;
/** A connector does one of these at a time: another is rightly told `run_in_progress`, so they take turns here. */
const occupying: ReadonlySet<string> = new Set(['sync_connector', 'replay_rejects', 'delete_connector']);
type Era = 'legacy' | 'modern';

interface Arguments {
  readonly valid: object;
  readonly bad: object;
  /** What the bad ones are answered with. */
  readonly code: string;
}

/** By tool, in the order of the list: each finds the connector `shop` and its first run, and leaves them there. */
const calls: Readonly<Record<string, Arguments>> = {
  list_connector_types: { valid: { type: 'mysql' }, bad: { type: 'oracle' }, code: 'invalid_config' },
  register_connector: {
    valid: {
      name: 'NEW',
      type: 'postgresql',
      config: { host: '127.0.0.1', database: 'x', username: 'x' },
      test: false,
    },
    bad: { name: 'Not a name', type: 'postgresql', config: {} },
    code: 'invalid_config',
  },
  list_connectors: { valid: { limit: 1 }, bad: { limit: 0 }, code: 'invalid_config' },
  get_connector: { valid: { connector: 'shop' }, bad: { connector: 'shoop' }, code: 'connector_not_found' },
  update_connector: {
    valid: { connector: 'shop', description: 'x' },
    bad: { connector: 'shop', enabld: 1 },
    code: 'invalid_config',
  },
  delete_connector: {
    valid: { connector: 'shop' },
    bad: { connector: 'shop', confirmation: 'x' },
    code: 'confirmation_invalid',
  },
  test_connector: { valid: { connector: 'shop' }, bad: {}, code: 'invalid_config' },
  rotate_secret: {
    valid: { connector: 'shop', field: 'password', value: '${env:MILLRACE_PG}' },
    bad: { connector: 'shop', field: 'host', value: 'x' },
    code: 'invalid_config',
  },
  discover_streams: {
    valid: { connector: 'shop' },
    bad: { connector: 'shop', cursor: 'x' },
    code: 'invalid_config',
  },
  preview_stream: {
    valid: { connector: 'shop', stream: 't' },
    bad: { connector: 'shop', stream: 'tt' },
    code: 'invalid_config',
  },
  sync_connector: {
    valid: { connector: 'shop' },
    bad: { connector: 'shop', streams: ['x'] },
    code: 'invalid_config',
  },
  get_run: { valid: { run_id: 'RUN' }, bad: { run_id: 'none' }, code: 'run_not_found' },
  list_runs: { valid: { connector: 'shop' }, bad: { status: 'done' }, code: 'invalid_config' },
  cancel_run: { valid: { run_id: 'RUN' }, bad: { run_id: 'none' }, code: 'run_not_found' },
  list_rejects: { valid: { connector: 'shop' }, bad: { connector: 'x' }, code: 'connector_not_found' },
  replay_rejects: {
    valid: { connector: 'shop', stream: 't' },
    bad: { connector: 'shop' },
    code: 'invalid_config',
  },
  describe_data: { valid: {}, bad: { table: 'none' }, code: 'invalid_config' },
  query_data: {
    valid: { sql: 'SELECT * FROM shop__t' },
    bad: { sql: 'DROP TABLE shop__t' },
    code: 'query_rejected',
  },
  get_health: { valid: {}, bad: { all: true }, code: 'invalid_config' },
};

let folder: string;
let database: TestDatabase;
let serve: ServeProcess;
let runId: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-inspector-'));
  database = await freshDatabase();
  await database.query('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)');
  serve = await startServe({ env: { MILLRACE_PG: database.config.password } });
  await using client = await connectHttp({ generation: 'modern', url: `${serve.origin}/mcp` });
  await client.must('register_connector', {
    name: 'shop',
    type: 'postgresql',
    config: { ...database.config, password: '${env:MILLRACE_PG}' },
    streams: [{ name: 't', table: 'public.t' }],
  });
  const { run } = await client.must<{ run: { run_id: string } }>('sync_connector', {
    connector: 'shop',
    wait_seconds: 25,
  });
  runId = run.run_id;
}, 60_000);

afterAll(async () => {
  await serve?.[Symbol.asyncDispose]();
  await database?.drop();
  rmSync(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function inspector(target: readonly string[], args: readonly string[]): Promise<Ended> {
  const env = {
    ...process.env,
    MILLRACE_PG: database.config.password,
    MCP_CATALOG_PATH: join(folder, 'catalog.json'),
    NODE_COMPILE_CACHE: join(folder, 'compiled'),
  };
  return new Promise((resolve) => {
    const all = [
      cli,
      '--cli',
      ...target,
      ...args,
      '--format',
      'json',
      '-q',
      '-e',
      `NODE_COMPILE_CACHE=${env.NODE_COMPILE_CACHE}`,
      '-e',
      `MILLRACE_PG=${env.MILLRACE_PG}`,
    ];
    execFile(process.execPath, all, { env, timeout: 60_000, maxBuffer: 16_000_000 }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err }),
    );
  });
}

/** Both speak to one data folder: the server over HTTP is there already, one over stdio comes with each call. */
const transports: Readonly<Record<string, () => readonly string[]>> = {
  http: () => [`${serve.origin}/mcp`],
  stdio: () => millraceCommand(serve.dataDir),
};

interface Call {
  readonly tool: string;
  readonly kind: 'valid' | 'bad';
  readonly era: Era;
}

function callsOver(transport: string): readonly Call[] {
  const eras: readonly Era[] = ['modern', 'legacy'];
  const isAll = process.env['MILLRACE_INSPECTOR'] === 'all';
  return tools.flatMap(({ name: tool }, index) =>
    (['valid', 'bad'] as const).flatMap((kind, offset) => {
      const isOurTurn = (index + offset) % 2 === (transport === 'http' ? 0 : 1);
      const turn = eras[Math.floor(index / 2) % 2] ?? 'modern';
      if (!isAll && !isOurTurn) return [];
      return (isAll ? eras : [turn]).map((era) => ({ tool, kind, era }));
    }),
  );
}

/** What is wrong with how a call ended: nothing, mostly. */
function wrongWith({ tool, kind, era }: Call, { code, out, err }: Ended): readonly string[] {
  const said = `${tool} ${kind} ${era}: ${code} ${out.slice(0, 300)} ${err.slice(0, 200)}`;
  const { result } = JSON.parse(out || '{}') as {
    result?: {
      isError?: boolean;
      content?: { text?: string }[];
      structuredContent?: { error?: { code: string } };
    };
  };
  const text = result?.content?.[0]?.text ?? '';
  if (kind === 'valid')
    return code === 0 && result?.isError !== true && text === JSON.stringify(result?.structuredContent)
      ? []
      : [said];
  const wanted = calls[tool]?.code ?? '';
  const error = result?.structuredContent?.error;
  const right =
    code === 5 && result?.isError === true && error?.code === wanted && text.startsWith(`${wanted}: `);
  return right && err.includes('"code":"tool_is_error"') ? [] : [said];
}

describe.each(Object.keys(transports))('over %s', (transport) => {
  const target = (): readonly string[] => transports[transport]?.() ?? [];

  test('tools/list is clean under --strict, in both eras', async () => {
    for (const era of ['modern', 'legacy']) {
      const { code, out, err } = await inspector(target(), [
        '--method',
        'tools/list',
        '--strict',
        '--protocol-era',
        era,
      ]);
      expect({ code, err }, era).toEqual({ code: 0, err: '' });
      const { result } = JSON.parse(out) as { result: { tools: { name: string }[] } };
      expect(result.tools.map(({ name }) => name)).toEqual(Object.keys(calls));
    }
  });

  test('every tool answers what holds, and says what does not', { timeout: 300_000 }, async () => {
    const waiting = [...callsOver(transport)];
    const wrong: string[] = [];
    let turn: Promise<unknown> = Promise.resolve();
    const inTurn = (ask: () => Promise<Ended>): Promise<Ended> => {
      const ended = turn.then(ask);
      turn = ended;
      return ended;
    };
    const lane = async (): Promise<void> => {
      for (let call = waiting.shift(); call !== undefined; call = waiting.shift()) {
        const { tool, kind, era } = call;
        const args = JSON.stringify(calls[tool]?.[kind])
          .replace('RUN', runId)
          .replace('NEW', `new_${transport}_${era}`);
        const options = [
          '--method',
          'tools/call',
          '--tool-name',
          tool,
          '--tool-args-json',
          args,
          '--protocol-era',
          era,
        ];
        const ask = (): Promise<Ended> => inspector(target(), options);
        wrong.push(...wrongWith(call, await (occupying.has(tool) ? inTurn(ask) : ask())));
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    expect(wrong).toEqual([]);
  });
});
