import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectMillrace, GENERATIONS, type PersonsAnswer } from '../support/mcp-client.ts';
import { connectTaskClient } from '../support/task-client.ts';

/** A person is asked before a connector is deleted, where the client can show a form. */

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-confirm-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const register = (name: string) => ({
  name,
  type: 'postgresql',
  config: { host: '127.0.0.1', port: 1, database: 'x', username: 'u', password: '${env:MILLRACE_X}' },
  test: false,
});

describe.each(GENERATIONS)('a %s client with a person', (generation) => {
  test('deletes only what the person agrees to', async () => {
    const asked: string[] = [];
    const answers: PersonsAnswer[] = [
      { action: 'decline' },
      { action: 'cancel' },
      { action: 'accept', content: { confirm: false } },
      { action: 'accept', content: { confirm: true } },
    ];
    await using client = await connectMillrace({
      generation,
      dataDir: join(folder, `person-${generation}`),
      person: (message) => {
        asked.push(message);
        return answers[asked.length - 1] ?? { action: 'cancel' };
      },
    });
    await client.must('register_connector', register('shop'));
    for (let n = 0; n < 3; n += 1) {
      const kept = await client.must('delete_connector', { connector: 'shop' });
      expect(kept).toMatchObject({ connector: 'shop', deleted: false, declined: true });
      expect(kept).not.toHaveProperty('confirmation');
      expect((await client.must<{ connectors: object[] }>('list_connectors')).connectors).toHaveLength(1);
    }
    expect(await client.must('delete_connector', { connector: 'shop' })).toMatchObject({ deleted: true });
    expect((await client.must<{ connectors: object[] }>('list_connectors')).connectors).toEqual([]);
    expect(asked).toEqual(Array(4).fill('Delete the connector "shop"? Nothing of it has landed.'));
    const gone = await client.call('delete_connector', { connector: 'shop' });
    expect(gone.structured).toMatchObject({ error: { code: 'connector_not_found' } });
    expect(asked).toHaveLength(4);
  });

  test('and one without a person gets the plan and its token, as ever', async () => {
    await using client = await connectMillrace({ generation, dataDir: join(folder, `alone-${generation}`) });
    await client.must('register_connector', register('shop'));
    const { confirmation } = await client.must<{ confirmation: string }>('delete_connector', {
      connector: 'shop',
    });
    expect(confirmation).toMatch(/^[\w-]{16,}$/);
    expect(await client.must('delete_connector', { connector: 'shop', confirmation })).toMatchObject({
      deleted: true,
    });
  });
});

test('what comes back with an answer has to be what went out with that question', async () => {
  await using client = await connectTaskClient(join(folder, 'forged'));
  const call = (name: string, args: object, retry: object = {}): ReturnType<typeof client.request> =>
    client.request('tools/call', { name, arguments: args, ...retry });
  for (const name of ['shop', 'other']) await call('register_connector', register(name));
  const question = await call('delete_connector', { connector: 'shop' });
  expect(question).toMatchObject({ kind: 'result', result: { resultType: 'input_required' } });
  const result = question.kind === 'result' ? (question.result as { requestState: string }) : undefined;
  const requestState = result?.requestState ?? '';
  const inputResponses = { confirm: { action: 'accept', content: { confirm: true } } };

  const forged = `${requestState.slice(0, -3)}AAA`;
  const refused = await call(
    'delete_connector',
    { connector: 'shop' },
    { requestState: forged, inputResponses },
  );
  expect(refused).toMatchObject({ kind: 'error', error: { code: -32_602 } });
  for (const args of [{ connector: 'other' }, { connector: 'shop', keep_data: false }])
    expect(await call('delete_connector', args, { requestState, inputResponses })).toMatchObject({
      result: { isError: true, structuredContent: { error: { code: 'confirmation_invalid' } } },
    });
  // An answer without a question is none.
  expect(await call('delete_connector', { connector: 'shop' }, { inputResponses })).toMatchObject({
    result: { resultType: 'input_required' },
  });
  const done = await call('delete_connector', { connector: 'shop' }, { requestState, inputResponses });
  expect(done).toMatchObject({ result: { structuredContent: { deleted: true } } });
  const again = await call('delete_connector', { connector: 'shop' }, { requestState, inputResponses });
  expect(again).toMatchObject({ result: { isError: true } });
  const rest = await call('list_connectors', {});
  expect(rest).toMatchObject({ result: { structuredContent: { connectors: [{ name: 'other' }] } } });
});
