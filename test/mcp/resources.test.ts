import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { resourceKinds } from '../../src/mcp/resources/kinds.ts';
import { connectMillrace, GENERATIONS, type MillraceClient } from '../support/mcp-client.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';

/** Resources, completions, prompts and subscriptions, as real clients of both generations see them. */

const single = ['health', 'connectors', 'runs', 'audit'].map((name) => `millrace://${name}`);
const guides = ['rest', 'incremental', 'cron', 'troubleshooting', 'security'].map(
  (topic) => `millrace://guides/${topic}`,
);

describe.each(GENERATIONS)('a %s client', (generation) => {
  let database: TestDatabase;
  let client: MillraceClient;
  let folder: string;
  let dataDir: string;
  let run: Run;

  async function read<T = Record<string, unknown>>(uri: string): Promise<T> {
    return JSON.parse(await client.readResource(uri)) as T;
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-resources-'));
    dataDir = join(folder, 'data');
    database = await freshDatabase();
    await database.query(
      `create table orders (id int primary key, "note\u202e" text, updated_at timestamptz not null default now());
       insert into orders (id) select generate_series(1, 10)`,
    );
    client = await connectMillrace({ generation, dataDir });
    await client.must('register_connector', {
      name: 'shop',
      type: 'postgresql',
      config: database.config,
      streams: [
        { name: 'orders', table: 'public.orders', cursor: 'updated_at' },
        { name: 'nothing', table: 'public.nothing' },
      ],
    });
    const reply = await client.must<{ run: Run }>('sync_connector', { connector: 'shop', wait_seconds: 25 });
    run = reply.run;
  });

  afterAll(async () => {
    await client?.close();
    await database?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test('lists what there is, and templates for the rest', async () => {
    const listed = await client.listResources();
    expect(listed).toEqual([...single, ...guides, 'millrace://connectors/shop']);
    expect([...single, ...(await client.listTemplates())].toSorted()).toEqual(
      resourceKinds.map(({ uri }) => uri).toSorted(),
    );
    for (const uri of listed) expect((await client.readResource(uri)).length, uri).toBeGreaterThan(10);
  });

  test('reads each as the tools tell it', async () => {
    expect(run.status).toBe('partial');
    const { connectors } = await read<{ connectors: { name: string }[] }>('millrace://connectors');
    expect(connectors.map(({ name }) => name)).toEqual(['shop']);
    const one = await read<{ connector: object; recent_runs: Run[] }>('millrace://connectors/shop');
    expect(one.connector).toMatchObject({
      name: 'shop',
      config: { password: expect.stringContaining('••••') },
    });
    expect(one.recent_runs[0]?.run_id).toBe(run.run_id);
    expect(await read('millrace://connectors/shop/schema')).toMatchObject({
      connector: 'shop',
      tables: [{ table: 'shop__orders', rows: 10 }],
      not_landed: ['nothing'],
    });
    const { runs } = await read<{ runs: Run[] }>('millrace://runs');
    expect(runs.map(({ run_id }) => run_id)).toEqual([run.run_id]);
    expect(await read(`millrace://runs/${run.run_id}`)).toMatchObject({ run: { status: 'partial' } });
    expect(await client.readResource(`millrace://runs/${run.run_id}/log`)).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z info {2}started$/m,
    );
    expect(await read('millrace://health')).toMatchObject({ status: 'degraded' });
    expect(await read('millrace://audit')).toMatchObject({
      entries: [
        { action: 'sync_connector', actor: 'mcp:millrace-test' },
        { action: 'register_connector', subject: 'shop' },
      ],
    });
  });

  test('shows what names hide', async () => {
    const text = await client.readResource('millrace://connectors/shop/schema');
    expect(text).toContain('note\\\\u202e');
    expect(text).not.toContain('\u202e');
  });

  test.each([
    ['millrace://helth', /Did you mean "millrace:\/\/health"/],
    ['millrace://connectors/shpo', /no connector.*"shop"/i],
    ['millrace://connectors/shpo/schema', /"shop"/],
    ['millrace://connectors/shop/schemas', /millrace:\/\/connectors\/\{connector\}\/schema"/],
    ['millrace://guides/crom', /no guide "crom".*"cron"/],
    ['millrace://runs/%zz', /no resource/],
    ['millrace://runs/', /no resource/],
    ['file:///etc/passwd', /no resource/],
    ['millrace://connectors/..%2f..%2fetc', /no connector/i],
  ])('%s is not there, and says what is', async (uri, says) => {
    const refused = await client.readResource(uri).then(
      () => undefined,
      (error: Error & { code?: number }) => error,
    );
    expect(refused?.message).toMatch(says);
    expect(refused?.message.length).toBeLessThan(1_500);
    expect([-32_602, -32_002]).toContain(refused?.code);
  });

  test('an address of any length is answered shortly', async () => {
    const long = `millrace://runs/${'x'.repeat(10_000)}`;
    const refused = await client.readResource(long).catch((error: Error) => error.message);
    expect(refused).toMatch(/no resource/);
    expect(refused.length).toBeLessThan(1_500);
  });

  test('a mistyped run id is answered with the near one', async () => {
    const near = `${run.run_id.slice(0, -1)}_`;
    await expect(client.readResource(`millrace://runs/${near}/log`)).rejects.toThrow(run.run_id);
  });

  test('completes names, ids and topics', async () => {
    const of = (uri: string) => ({ type: 'ref/resource', uri }) as const;
    const complete = (uri: string, name: string, value: string) => client.complete(of(uri), { name, value });
    expect(await complete('millrace://connectors/{connector}', 'connector', 's')).toEqual(['shop']);
    expect(await complete('millrace://connectors/{connector}/schema', 'connector', 'hop')).toEqual(['shop']);
    expect(await complete('millrace://runs/{run_id}', 'run_id', '')).toEqual([run.run_id]);
    expect(await complete('millrace://guides/{topic}', 'topic', 'cro')).toEqual(['cron']);
    const prompt = { type: 'ref/prompt', name: 'review_schema_changes' } as const;
    const stream = { name: 'stream', value: 'o' };
    expect(await client.complete(prompt, stream, { connector: 'shop' })).toEqual(['orders', 'nothing']);
    expect(await client.complete(prompt, stream)).toEqual([]);
    expect(await client.complete(prompt, { name: 'nothing_such', value: '' })).toEqual([]);
    const explore = { type: 'ref/prompt', name: 'explore_data' } as const;
    expect(await client.complete(explore, { name: 'table', value: 'shop' })).toEqual(['shop__orders']);
    await expect(complete('millrace://runs/{id}', 'id', '')).rejects.toThrow(/Did you mean.*\{run_id\}/);
    await expect(
      client.complete({ type: 'ref/prompt', name: 'diagnose' }, { name: 'run_id', value: '' }),
    ).rejects.toThrow(/diagnose_run/);
  });

  test('picks prompts, filled with what was given', async () => {
    expect(await client.listPrompts()).toEqual([
      'set_up_connector',
      'diagnose_run',
      'review_schema_changes',
      'explore_data',
    ]);
    expect(await client.getPrompt('diagnose_run', { run_id: run.run_id, connector: '' })).toContain(
      `get_run {"run_id":"${run.run_id}","include_log":true}`,
    );
    await expect(client.getPrompt('review_schema_changes')).rejects.toThrow(/needs "connector"/);
    await expect(client.getPrompt('explore_data', { tabel: 'x' })).rejects.toThrow(/"table"/);
    await expect(client.getPrompt('explore')).rejects.toThrow(/"explore_data"/);
    await expect(client.getPrompt('explore_data', { question: 'x'.repeat(3_000) })).rejects.toThrow(/longer/);
  });

  test('finds the log linked in what tools answer about a run', async () => {
    const { links } = await client.call('get_run', { run_id: run.run_id });
    expect(links).toEqual([`millrace://runs/${run.run_id}/log`]);
    expect(await client.readResource(links[0] ?? '')).toContain('started');
  });

  test('hears of runs and health while it follows them, whichever process changes them', async () => {
    await using following = await client.follow('millrace://runs', 'millrace://health', 'millrace://audit');
    await database.query('create table nothing (id int primary key)');
    await using other = await connectMillrace({ generation, dataDir });
    const { run: next } = await other.must<{ run: Run }>('sync_connector', {
      connector: 'shop',
      wait_seconds: 25,
    });
    expect(next.status).toBe('succeeded');
    await heard(following.heard, ['millrace://audit', 'millrace://health', 'millrace://runs']);
    expect(await read('millrace://health')).toMatchObject({ status: 'healthy' });
    expect(following.heard.every((uri) => single.includes(uri))).toBe(true);
  });

  test('hears of one run and its log, and after that of nothing', async () => {
    await client.must('register_connector', {
      name: 'slow',
      type: 'postgresql',
      config: database.config,
      streams: [{ name: 'rows', query: 'select n, pg_sleep(0.01)::text from generate_series(1, 100000) n' }],
    });
    const queued = await client.must<{ run: Run }>('sync_connector', { connector: 'slow', wait_seconds: 0 });
    const uri = `millrace://runs/${queued.run.run_id}`;
    const following = await client.follow(uri, `${uri}/log`);
    const earlier = following.heard.length;
    await client.must('cancel_run', { run_id: queued.run.run_id });
    const since = (): readonly string[] => [...new Set(following.heard.slice(earlier))].toSorted();
    await expect.poll(since, { timeout: 30_000 }).toEqual([uri, `${uri}/log`]);
    await expect.poll(() => read(uri), { timeout: 30_000 }).toMatchObject({ run: { status: 'cancelled' } });
    await following[Symbol.asyncDispose]();
    // Answers come in order: what was on its way has come by then.
    await client.must('get_health');
    const before = following.heard.length;
    await client.must('sync_connector', { connector: 'shop', wait_seconds: 25 });
    expect(following.heard.length).toBe(before);
  });
});

async function heard(so: readonly string[], wanted: readonly string[]): Promise<void> {
  const until = performance.now() + 30_000;
  while (performance.now() < until && !wanted.every((uri) => so.includes(uri))) await sleep(50);
  expect([...new Set(so)].toSorted()).toEqual(wanted);
}
