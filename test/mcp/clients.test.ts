import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import type { ErrorView, NextAction } from '../../src/core/errors.ts';
import type { Run } from '../../src/core/model.ts';
import { tools } from '../../src/mcp/tools/index.ts';
import { freshDatabaseOn, type ServerDatabase, serverKinds } from '../support/databases.ts';
import { dialects } from '../support/dialects.ts';
import { connectMillrace, GENERATIONS, type MillraceClient, type Progress } from '../support/mcp-client.ts';

/** The conversation of the product, by real clients of both generations, against a real server and source. */

const outputs = new Map<string, z.ZodObject>(tools.map((tool) => [tool.name, tool.output]));

const conversations = serverKinds.flatMap((kind) => GENERATIONS.map((generation) => ({ generation, kind })));

describe.each(conversations)('a $generation client about $kind', ({ generation, kind }) => {
  const { connector: type } = dialects[kind];
  let database: ServerDatabase;
  let client: MillraceClient;
  let folder: string;
  const called = new Set<string>();

  /** Calls, and holds the answer against the strict schema and its own text. */
  async function ask<T = Record<string, unknown>>(
    name: string,
    args: Record<string, unknown> = {},
  ): Promise<T> {
    const reply = await client.call(name, args);
    expect(reply.isError, reply.text).toBe(false);
    expect(JSON.parse(reply.text)).toEqual(reply.structured);
    expect(outputs.get(name)?.safeParse(reply.structured).error?.issues).toBeUndefined();
    called.add(name);
    return reply.structured as T;
  }

  async function refused(name: string, args: Record<string, unknown>): Promise<ErrorView> {
    const reply = await client.call(name, args);
    expect(reply.isError, reply.text).toBe(true);
    const error = reply.structured['error'] as ErrorView;
    expect(reply.text.startsWith(`${error.code}: `), reply.text).toBe(true);
    expect(error.hint).not.toBe('');
    return error;
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-clients-'));
    database = await freshDatabaseOn(kind);
    const { types, now, quote, series } = database.dialect;
    await database.run(
      `create table orders (id bigint primary key, status varchar(9) not null, total decimal(12,2), updated_at ${types.stamp} not null)`,
      `insert into orders select n, case when n % 2 = 0 then 'open' else 'paid' end, n * 1.25, ${now} - interval '1' day from ${series(1_000)}`,
      `create table ${quote('odd \u202ename')} (id int primary key)`,
    );
    client = await connectMillrace({ generation, dataDir: join(folder, 'data') });
  });

  afterAll(async () => {
    await client?.close();
    await database?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test('agrees on its own protocol, and is told how to work', async () => {
    expect(client.protocolVersion).toBe(generation === 'modern' ? '2026-07-28' : '2025-11-25');
    expect(client.instructions).toContain('register_connector');
    expect((await client.listTools()).map((tool) => tool.name)).toEqual([...outputs.keys()]);
  });

  test('reads the guides, and hears of one that is not there', async () => {
    expect(await client.listResources()).toContain('millrace://guides/rest');
    const guide = await client.readResource('millrace://guides/rest');
    expect(guide).toContain('# REST APIs');
    expect(guide).toContain('oauth2_client_credentials');
    await expect(client.readResource('millrace://guides/nothing')).rejects.toThrow();
  });

  test('finds the type, registers and tests', async () => {
    const { types } = await ask<{ types: { type: string; config_schema: object }[] }>('list_connector_types');
    expect(types.map((known) => known.type)).toContain(type);
    expect(JSON.stringify(types)).toContain('password');

    const registered = await ask<{
      connector: { name: string };
      test: { ok: boolean };
      next_actions: NextAction[];
    }>('register_connector', { name: 'shop', type, config: database.config });
    expect(registered.connector.name).toBe('shop');
    expect(registered.test.ok).toBe(true);
    expect(registered.next_actions[0]?.tool).toBe('discover_streams');

    const report = await ask<{ ok: boolean; checks: unknown[] }>('test_connector', { connector: 'shop' });
    expect(report.ok).toBe(true);
    expect(report.checks.length).toBeGreaterThan(1);
  });

  test('discovers in pages, previews, and adds what was suggested', async () => {
    const first = await ask<Discovered>('discover_streams', { connector: 'shop', limit: 1 });
    expect(first.has_more).toBe(true);
    const second = await ask<Discovered>('discover_streams', {
      connector: 'shop',
      limit: 1,
      cursor: first.next_cursor,
    });
    expect(second.has_more).toBe(false);
    const found = [...first.streams, ...second.streams];
    expect(JSON.stringify(found)).not.toContain('\u202e');
    const orders = found.find((stream) => stream.name === 'orders');
    expect(orders?.primary_key).toEqual(['id']);

    const suggested = orders?.suggested ?? {};
    const preview = await ask<{ rows: unknown[][]; would_write: { table: string } }>('preview_stream', {
      connector: 'shop',
      stream: suggested,
      limit: 3,
    });
    expect(preview.rows).toHaveLength(3);
    expect(preview.would_write.table).toBe('shop__orders');

    const updated = await ask<{ changes: string[] }>('update_connector', {
      connector: 'shop',
      add_streams: [suggested],
    });
    expect(updated.changes).toEqual(['stream "orders" added']);
  });

  test('syncs, and again only what changed', async () => {
    const progress: Progress[] = [];
    const first = await client.must<{ run: Run }>(
      'sync_connector',
      { connector: 'shop', wait_seconds: 25 },
      { onProgress: (update) => progress.push(update) },
    );
    called.add('sync_connector');
    expect(first.run).toMatchObject({ status: 'succeeded', totals: { rows_written: 1_000 } });
    expect(progress.length).toBeGreaterThan(0);
    expect(progress[0]?.message).toContain('shop: ');

    await database.run(
      `update orders set status = 'sent', updated_at = ${database.dialect.now} where id <= 7`,
    );
    const { run } = await ask<{ run: Run }>('sync_connector', { connector: 'shop', wait_seconds: 25 });
    expect(run).toMatchObject({ status: 'succeeded', totals: { rows_written: 7 } });

    const shown = await ask<{ run: Run }>('get_run', { run_id: run.run_id, include_log: true });
    expect(shown.run.log?.length).toBeGreaterThan(0);
    const { runs } = await ask<{ runs: Run[] }>('list_runs', { connector: 'shop', limit: 1 });
    expect(runs.map((one) => one.run_id)).toEqual([run.run_id]);
    expect((await ask<{ run: Run }>('cancel_run', { run_id: run.run_id })).run.status).toBe('succeeded');
  });

  test('asks questions of what landed', async () => {
    const { tables } = await ask<{ tables: { table: string; rows: number }[] }>('describe_data');
    expect(tables).toMatchObject([{ table: 'shop__orders', rows: 1_000 }]);
    const answer = await ask<{ rows: unknown[][]; truncated: boolean }>('query_data', {
      sql: 'select status, count(*) from shop__orders group by 1 order by 1',
    });
    expect(answer.rows).toEqual([
      ['open', 497],
      ['paid', 496],
      ['sent', 7],
    ]);
    expect(answer.truncated).toBe(false);

    const all = await client.call('query_data', { sql: 'select * from shop__orders' });
    expect(all.text.length).toBeLessThanOrEqual(25_000);
    expect(all.structured['truncated']).toBe(true);
    expect(all.structured['row_count']).toBe((all.structured['rows'] as unknown[]).length);
  });

  test('looks after it', async () => {
    const { connectors } = await ask<{ connectors: object[] }>('list_connectors');
    expect(connectors).toMatchObject([{ name: 'shop', health: 'healthy', streams: ['orders'] }]);
    const detail = await ask<{ state: object[]; recent_runs: object[] }>('get_connector', {
      connector: 'shop',
    });
    expect(detail.state).toMatchObject([{ stream: 'orders', rows: 1_000 }]);
    expect(detail.recent_runs).toHaveLength(2);
    expect(await ask('get_health')).toMatchObject({ status: 'healthy', runs: { succeeded: 2 } });
    expect(await ask('list_rejects', { connector: 'shop' })).toMatchObject({ rejects: [] });
    expect(await ask('replay_rejects', { connector: 'shop', stream: 'orders' })).toMatchObject({
      replayed: 0,
    });
    const { password } = database.config;
    const rotated = await ask('rotate_secret', { connector: 'shop', field: 'password', value: password });
    expect(rotated).toMatchObject({ rotated: true, test: { ok: true } });
  });

  test.each([
    ['list_connector_types', { type: 'mongo' }, 'invalid_config'],
    ['register_connector', { name: 'shop', type, config: {} }, 'connector_exists'],
    ['register_connector', { name: 'b', type, config: { hots: 'x' } }, 'invalid_config'],
    ['register_connector', { name: 'B', type, config: {} }, 'invalid_config'],
    ['register_connector', { name: 'b', type, config: {}, tset: true }, 'invalid_config'],
    ['list_connectors', { limit: 0 }, 'invalid_config'],
    ['get_connector', { connector: 'shpo' }, 'connector_not_found'],
    ['get_connector', {}, 'invalid_config'],
    ['update_connector', { connector: 'shop', remove_streams: ['nope'] }, 'invalid_config'],
    ['delete_connector', { connector: 'shop', confirmation: 'yes' }, 'confirmation_invalid'],
    ['test_connector', { connector: 'nope' }, 'connector_not_found'],
    ['discover_streams', { connector: 'shop', limit: 1_000 }, 'invalid_config'],
    ['preview_stream', { connector: 'shop', stream: 'nope' }, 'invalid_config'],
    ['preview_stream', { connector: 'shop', stream: { name: 'x', table: 'nope' } }, 'not_found_at_source'],
    ['rotate_secret', { connector: 'shop', field: 'host', value: 'x' }, 'invalid_config'],
    ['rotate_secret', { connector: 'shop', field: 'password' }, 'invalid_config'],
    ['list_rejects', { connector: 'shop', stream: 'nope' }, 'invalid_config'],
    ['replay_rejects', { connector: 'shop', stream: 'nope' }, 'invalid_config'],
    ['sync_connector', { connector: 'shop', streams: ['nope'] }, 'invalid_config'],
    ['sync_connector', { connector: 'shop', wait_seconds: '5' }, 'invalid_config'],
    ['get_run', { run_id: 'nope' }, 'run_not_found'],
    ['list_runs', { status: 'done' }, 'invalid_config'],
    ['cancel_run', { run_id: 'nope' }, 'run_not_found'],
    ['describe_data', { table: 'nope' }, 'invalid_config'],
    ['query_data', { sql: 'drop table shop__orders' }, 'query_rejected'],
    ['query_data', { sqll: 'select 1' }, 'invalid_config'],
    ['get_health', { verbose: true }, 'invalid_config'],
  ])('%s %j is refused with %s', async (name, args, code) => {
    expect((await refused(name, args)).code).toBe(code);
  });

  test('a tool that is not there is a mistake in the protocol, answered with the near ones', async () => {
    await expect(client.call('sync_connectors')).rejects.toThrow(
      /no tool "sync_connectors".*"sync_connector"/,
    );
  });

  test('deletes in two calls', async () => {
    const plan = await ask<{ deleted: boolean; confirmation: string }>('delete_connector', {
      connector: 'shop',
    });
    expect(plan.deleted).toBe(false);
    const done = await ask('delete_connector', { connector: 'shop', confirmation: plan.confirmation });
    expect(done).toMatchObject({ deleted: true, keep_data: true });
    expect(await ask('list_connectors')).toMatchObject({ connectors: [] });
  });

  test('has called every tool', () => {
    expect([...called].sort()).toEqual([...outputs.keys()].sort());
  });
});

interface Discovered {
  readonly streams: readonly {
    readonly name: string;
    readonly primary_key: readonly string[];
    readonly suggested: object;
  }[];
  readonly has_more: boolean;
  readonly next_cursor?: string;
}
