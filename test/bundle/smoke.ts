import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectMillrace, type Generation } from '../support/mcp-client.ts';
import { answer, serve, type TestApi } from '../support/rest-apis.ts';

/** What an installed program has shown that it does. */
export interface Shown {
  readonly protocol: string;
  readonly tools: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

interface Manifest {
  readonly server: {
    readonly mcp_config: {
      readonly command: string;
      readonly args: readonly string[];
      readonly env: Readonly<Record<string, string>>;
    };
  };
  readonly user_config: Readonly<Record<string, { readonly default: string }>>;
}

/** A client's part: starts the unpacked bundle as its manifest says, with what the person has typed. */
export function launch(
  folder: string,
  typed: Readonly<Record<string, string>>,
): { readonly command: readonly [string, ...string[]]; readonly env: Readonly<Record<string, string>> } {
  const { server, user_config } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;
  const values: Record<string, string> = { __dirname: folder };
  for (const [key, { default: usual }] of Object.entries(user_config))
    values[`user_config.${key}`] = typed[key] ?? usual;
  const filled = (text: string): string =>
    text.replaceAll(/\$\{([\w.]+)\}/g, (whole, name: string) => values[name] ?? whole);
  const { command, args, env } = server.mcp_config;
  if (command !== 'node') throw new Error(`the bundle starts ${command}`);
  return {
    command: [process.execPath, ...args.map(filled)],
    env: Object.fromEntries(Object.entries(env).map(([name, text]) => [name, filled(text)])),
  };
}

/** Lists the tools, brings an API's three records over with a token from the environment, and asks for them in SQL. */
export async function tryOut(
  folder: string,
  generation: Generation,
  start: (files: { readonly config: string; readonly data: string }) => ReturnType<typeof launch>,
): Promise<Shown> {
  await using api = await tokenApi();
  mkdirSync(folder, { recursive: true });
  const files = { config: join(folder, 'config.json'), data: join(folder, 'data') };
  writeFileSync(files.config, JSON.stringify({ millrace: { network: { allowPrivateHttp: [api.host] } } }));
  await using client = await connectMillrace({ generation, dataDir: files.data, ...start(files) });
  const tools = (await client.listTools()).map(({ name }) => name);
  await client.must('register_connector', {
    name: 'mill',
    type: 'rest_api',
    config: { base_url: `http://${api.host}`, auth: { type: 'bearer', token: '${env:MILLRACE_TOKEN}' } },
    streams: [{ name: 'sacks', path: '/sacks', primary_key: ['id'] }],
  });
  const { run } = await client.must<{ run: { status: string } }>('sync_connector', {
    connector: 'mill',
    wait_seconds: 25,
  });
  if (run.status !== 'succeeded') throw new Error(`the run ended as ${JSON.stringify(run)}`);
  const { rows } = await client.must<Shown>('query_data', {
    sql: 'SELECT id, grain FROM mill__sacks ORDER BY id',
  });
  return { protocol: client.protocolVersion, tools, rows };
}

export const token = 'tk-of-the-person';

function tokenApi(): Promise<TestApi> {
  const sacks = ['rye', 'oats', 'spelt'].map((grain, index) => ({ id: index + 1, grain }));
  return serve((request, response) => {
    const known = request.headers.authorization === `Bearer ${token}`;
    answer(response, known ? 200 : 401, known ? sacks : { error: 'who are you?' });
  });
}
