import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { OpenPage } from '../../src/connectors/rest-api/exchange.ts';
import { keepLooked } from '../../src/connectors/rest-api/looked.ts';
import { get } from '../support/http-support.ts';

/** The page that a look took goes to one reading, at once, and only to one that would ask for the very same. */

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

const here = get('https://api.example.com/v1/orders?limit=10');
const bytes = Buffer.from('[{"id":1}]');

function page(more: Partial<OpenPage> = {}): OpenPage {
  return {
    status: 200,
    url: here.url,
    contentType: 'application/json',
    header: () => null,
    content: { format: 'json', why: 'it says so', body: nothing() },
    rule: null,
    missing: null,
    complete: true,
    at: 1,
    skewMs: null,
    close: () => undefined,
    ...more,
  };
}

async function* nothing(): AsyncGenerator<Buffer, void, void> {}

test('it is given once, with the bytes that were looked at', async () => {
  const looked = keepLooked(here, page(), bytes);
  const taken = looked?.take({ ...here, headers: { accept: 'application/json' } });
  expect(taken).toMatchObject({ status: 200, at: 1, complete: true });
  const body: Buffer[] = [];
  for await (const chunk of taken?.content?.body ?? []) body.push(chunk);
  expect(Buffer.concat(body)).toEqual(bytes);
  expect(looked?.take(here)).toBeNull();
});

test.each([
  ['another address', { url: new URL('https://api.example.com/v1/orders?limit=10&since=2026') }],
  ['another method', { method: 'POST' }],
  ['another body', { body: '{}' }],
])('not to %s, and not afterwards', (_, more) => {
  const looked = keepLooked(here, page(), bytes);
  expect(looked?.take({ ...here, ...more })).toBeNull();
  expect(looked?.take(here)).toBeNull();
});

test('not when it is old', () => {
  const looked = keepLooked(here, page(), bytes);
  vi.advanceTimersByTime(30_001);
  expect(looked?.take(here)).toBeNull();
});

test.each([
  ['only begun', { complete: false }, bytes],
  ['without content', { content: null }, bytes],
  ['larger than what may wait', {}, Buffer.alloc(1024 * 1024 + 1)],
])('a page %s is not kept', (_, more, body) => {
  expect(keepLooked(here, page(more), body)).toBeNull();
});
