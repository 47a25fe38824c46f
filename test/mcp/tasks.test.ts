import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type JsonRpcResponse, resultFromTaskOutcome } from '@modelcontextprotocol/ext-tasks/client';
import { isCreateTaskResultV2, isDetailedTaskV2 } from '@modelcontextprotocol/ext-tasks/core/v2';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run } from '../../src/core/model.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { connectTaskClient, type TaskClient } from '../support/task-client.ts';

/** The extension io.modelcontextprotocol/tasks, as the extension's own client speaks it. */

describe('a client that follows tasks', () => {
  let database: TestDatabase;
  let client: TaskClient;
  let folder: string;

  const call = (name: string, args: object, own?: Record<string, unknown>): Promise<JsonRpcResponse> =>
    client.request('tools/call', { name, arguments: args }, own);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'millrace-tasks-'));
    database = await freshDatabase();
    await database.query(
      'create table numbers (id int primary key); insert into numbers select generate_series(1, 100)',
    );
    client = await connectTaskClient(join(folder, 'data'));
    const streams = [{ name: 'numbers', table: 'public.numbers' }];
    const slow = [
      { name: 'rows', query: 'select n, pg_sleep(0.01)::text as s from generate_series(1, 100000) n' },
    ];
    for (const [name, declared] of [['shop', streams] as const, ['slow', slow] as const]) {
      const args = { name, type: 'postgresql', config: database.config, streams: declared };
      resultIn(await call('register_connector', args));
    }
  });

  afterAll(async () => {
    await client?.[Symbol.asyncDispose]();
    await database?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test('gets a task for sync_connector at once, and follows it to the result of the tool', async () => {
    const execution = await client.session.callTool('sync_connector', { connector: 'shop' });
    const seen: string[] = [];
    const { outcome } = await execution.settle({
      onEvent: (event) => {
        if (event.type === 'task') seen.push(event.task.taskId);
      },
    });
    const result = resultFromTaskOutcome(outcome) as { structuredContent?: { run: Run } };
    const run = result.structuredContent?.run;
    expect(run).toMatchObject({ status: 'succeeded', totals: { rows_written: 100 } });
    expect([...new Set(seen)]).toEqual([run?.run_id]);
    const plain = resultIn(await call('get_run', { run_id: run?.run_id }));
    expect(plain['structuredContent']).toMatchObject({ run: { run_id: run?.run_id, status: 'succeeded' } });
  });

  test('the run id is the task id; cancelling the task cancels the run', async () => {
    const created = resultIn(await call('sync_connector', { connector: 'slow' }));
    expect(isCreateTaskResultV2(created), JSON.stringify(created)).toBe(true);
    const { taskId } = created as { taskId: string };
    const working = resultIn(await client.request('tasks/get', { taskId }));
    expect(isDetailedTaskV2(working), JSON.stringify(working)).toBe(true);
    expect(working).toMatchObject({ taskId, status: 'working', resultType: 'complete' });
    expect(resultIn(await client.request('tasks/update', { taskId, inputResponses: {} }))).toMatchObject({
      resultType: 'complete',
    });
    expect(resultIn(await client.request('tasks/cancel', { taskId }))).toMatchObject({
      resultType: 'complete',
    });
    const run = resultIn(await call('get_run', { run_id: taskId, wait_seconds: 25 }));
    expect(run['structuredContent']).toMatchObject({ run: { status: 'cancelled' } });
    const ended = resultIn(await client.request('tasks/get', { taskId }));
    expect(isDetailedTaskV2(ended), JSON.stringify(ended)).toBe(true);
    expect(ended).toMatchObject({ status: 'cancelled' });
    // Once more changes nothing and is no error.
    resultIn(await client.request('tasks/cancel', { taskId }));
  });

  test('a call that cannot begin is answered at once, as without tasks', async () => {
    const result = resultIn(await call('sync_connector', { connector: 'shpo' }));
    expect(result).toMatchObject({
      isError: true,
      resultType: 'complete',
      structuredContent: { error: { code: 'connector_not_found' } },
    });
  });

  test('what takes no time is no task', async () => {
    expect(resultIn(await call('get_health', {}))).toMatchObject({ resultType: 'complete' });
  });

  test.each(['tasks/get', 'tasks/update', 'tasks/cancel'])(
    '%s of an unknown task is a wrong parameter',
    async (method) => {
      const response = await client.request(method, { taskId: 'nope', inputResponses: {} });
      expect(response).toMatchObject({ kind: 'error', error: { code: -32_602 } });
      const without = await client.request(method, {});
      expect(without).toMatchObject({ kind: 'error', error: { code: -32_602 } });
    },
  );

  test.each(['tasks/list', 'tasks/result'])('%s is no method', async (method) => {
    expect(await client.request(method, { taskId: 'x' })).toMatchObject({
      kind: 'error',
      error: { code: -32_601 },
    });
  });

  test('a request that does not declare the extension gets no task, and may not ask for one', async () => {
    const plain = resultIn(await call('sync_connector', { connector: 'shop', wait_seconds: 25 }, {}));
    expect(plain).toMatchObject({
      resultType: 'complete',
      structuredContent: { run: { status: 'succeeded' } },
    });
    const refused = await client.request('tasks/get', { taskId: 'x' }, {});
    expect(refused).toMatchObject({
      kind: 'error',
      error: {
        code: -32_021,
        data: { requiredCapabilities: { extensions: { 'io.modelcontextprotocol/tasks': {} } } },
      },
    });
  });
});

function resultIn(response: JsonRpcResponse): Readonly<Record<string, unknown>> {
  if (response.kind === 'error') throw new Error(JSON.stringify(response.error));
  return response.result as Readonly<Record<string, unknown>>;
}
