import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/core/errors.ts';
import { createAsks } from '../../src/http/ask.ts';
import type { SecretQuestion, Typing } from '../../src/services/context.ts';
import { type Answered, ask, openForm, type } from '../support/ask-form.ts';
import { handClock } from './store-support.ts';

/** The page where a secret is typed, over real HTTP: what it lets through, and for how long. */

function subject(question: Partial<SecretQuestion> = {}) {
  const clock = handClock();
  const faults: unknown[] = [];
  const logger = { error: (fields: unknown) => void faults.push(fields) };
  const asks = createAsks({ now: clock.now, logger });
  const typed: Record<string, string>[] = [];
  const whole: SecretQuestion = {
    connector: 'shop',
    type: 'PostgreSQL',
    host: 'db.example.com',
    fields: ['password'],
    onTyped: async (values) => {
      typed.push(Object.fromEntries(values));
      return { done: true, words: 'It is kept.' };
    },
    ...question,
  };
  return {
    clock,
    faults,
    typed,
    asks,
    open: async () => (await asks.open(whole)).url,
    [Symbol.asyncDispose]: () => asks[Symbol.asyncDispose](),
  };
}

const closed = (url: string): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('connect', () => resolve(false)).on('error', () => resolve(true));
  return promise.finally(() => socket.destroy());
};

async function send(url: string, change: (form: URLSearchParams) => void, headers = {}): Promise<Answered> {
  const form = await openForm(url);
  const body = new URLSearchParams({ ...form.fields, secret0: 'hunter2' });
  change(body);
  return await ask(url, { method: 'POST', headers: { ...form.headers, ...headers }, body: body.toString() });
}

test('a person types, and the question is gone; looking at the page any number of times does not use it up', async () => {
  await using it = subject();
  const url = await it.open();
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/ask\/[A-Za-z0-9_-]{43}$/);
  for (let look = 0; look < 3; look += 1) expect((await ask(url)).body).toContain('<input type="password"');
  const after = await type(url, 'hunter2 & <co> ${env:X}');
  expect(it.typed).toEqual([{ password: 'hunter2 & <co> ${env:X}' }]);
  expect(after.body).toContain('It is kept.');
  expect(after.body).not.toMatch(/<form|hunter2/);
  expect((await type(url, 'another')).status).toBe(403);
  expect(it.typed).toHaveLength(1);
});

test('a form that was open in two places is answered once', async () => {
  await using it = subject();
  const url = await it.open();
  const { headers, fields } = await openForm(url);
  for (const secret0 of ['first', 'second']) {
    const body = new URLSearchParams({ ...fields, secret0 }).toString();
    expect((await ask(url, { method: 'POST', headers, body })).status).toBe(303);
  }
  expect(it.typed).toEqual([{ password: 'first' }]);
});

test('the answer to the form is no page: a browser keeps nothing to send again', async () => {
  await using it = subject();
  const url = await it.open();
  const sent = await send(url, () => undefined);
  expect(sent).toMatchObject({ status: 303, body: '', headers: { location: new URL(url).pathname } });
});

test('what a browser may do with the page', async () => {
  await using it = subject();
  const { headers, body } = await ask(await it.open());
  const policy = String(headers['content-security-policy']);
  expect(policy).toMatch(
    /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'$/,
  );
  expect(headers).toMatchObject({
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  });
  expect(headers['access-control-allow-origin']).toBeUndefined();
  expect(String(headers['set-cookie'])).toMatch(
    /; Path=\/ask\/[A-Za-z0-9_-]{43}; HttpOnly; SameSite=Strict$/,
  );
  expect(body).toContain('<input type="password" id="secret0" name="secret0" autocomplete="off"');
  expect(body).not.toMatch(/<script|<a |src=| on[a-z]+=/);
});

test('the label names connector, kind, host and field; none of them is markup', async () => {
  const evil = '"><script>alert(1)</script>';
  await using it = subject({ connector: 'shop', type: 'PostgreSQL', host: evil, fields: [`a'${evil}`, 'b'] });
  const { body } = await ask(await it.open());
  expect(body).not.toContain('<script');
  expect(body).toMatch(/<label for="secret0">a&#39;&#34;&#62;&#60;script&#62;.* of shop \(PostgreSQL, &#34;/);
  expect(body).toContain('<label for="secret1">b of shop (PostgreSQL');
});

describe('refused, and nothing is taken', () => {
  test.each<readonly [string, (form: URLSearchParams) => void, Record<string, string>, number]>([
    ['another token', (form) => form.set('token', 'x'.repeat(43)), {}, 403],
    ['no token', (form) => form.delete('token'), {}, 403],
    ['no cookie', () => undefined, { cookie: '' }, 403],
    ['another cookie', () => undefined, { cookie: `millrace_ask=${'x'.repeat(43)}` }, 403],
    ['another Origin', () => undefined, { origin: 'http://evil.example' }, 403],
    ['the null Origin alone', () => undefined, { origin: 'null' }, 403],
    ['another port of this machine', () => undefined, { origin: 'http://127.0.0.1:1' }, 403],
    ['another site', () => undefined, { 'sec-fetch-site': 'cross-site' }, 403],
    ['another program of this machine', () => undefined, { 'sec-fetch-site': 'same-site' }, 403],
    ['a Host that rebinds', () => undefined, { host: 'evil.example' }, 403],
    ['localhost, which is another name', () => undefined, { host: 'localhost' }, 403],
    ['more than 16 KB', (form) => form.set('secret0', 'x'.repeat(17 * 1024)), {}, 413],
    ['far more', (form) => form.set('secret0', 'x'.repeat(5 * 1024 * 1024)), {}, 413],
  ])('%s', async (_what, change, headers, status) => {
    await using it = subject();
    const url = await it.open();
    expect((await send(url, change, headers)).status).toBe(status);
    expect(it.typed).toEqual([]);
    expect(
      (await send(url, () => undefined, { origin: 'null', 'sec-fetch-site': 'same-origin' })).status,
    ).toBe(303);
    expect(it.typed).toEqual([{ password: 'hunter2' }]);
  });

  test.each(['', 'x'.repeat(10_001)])(
    'a value of a wrong length: the page says so and stays',
    async (value) => {
      await using it = subject();
      const url = await it.open();
      expect((await type(url, value)).body).toContain('Each field takes 1 to 10000 characters.');
      expect(it.typed).toEqual([]);
      await type(url, 'right');
      expect(it.typed).toEqual([{ password: 'right' }]);
    },
  );

  test('other methods, other addresses; many wrong ones are slowed down and keep nobody from the right one', async () => {
    await using it = subject();
    const url = await it.open();
    expect((await ask(url, { method: 'PUT' })).status).toBe(405);
    const elsewhere = ['/', '/ask/', '/ask/x', `/ask/${'x'.repeat(43)}`, `/ask/${'x'.repeat(43)}/`, '/%2e'];
    for (const path of elsewhere) expect((await ask(new URL(path, url).href)).status).toBe(404);
    const many = await Promise.all(
      Array.from({ length: 40 }, () => ask(new URL(`/ask/${'y'.repeat(43)}`, url).href)),
    );
    const slowed = many.filter(({ status }) => status === 429);
    expect(slowed.length).toBeGreaterThanOrEqual(10);
    expect(Number(slowed[0]?.headers['retry-after'])).toBeGreaterThan(0);
    expect((await ask(url)).status).toBe(200);
  });
});

describe('what was typed and does not work', () => {
  test('the page says why and takes another', async () => {
    const answers: Typing[] = [
      { done: false, words: 'The source refused <it>.' },
      { done: true, words: 'It works.' },
    ];
    await using it = subject({ onTyped: async () => answers.shift() as Typing });
    const url = await it.open();
    const first = await type(url, 'wrong');
    expect(first.body).toContain('<p role="alert">The source refused &#60;it&#62;.</p>');
    expect(first.body).toContain('<form');
    expect((await type(url, 'right')).body).toContain('<p role="status">It works.</p>');
  });

  test('an error of ours is told with its hint; a mistake goes to the log without what was typed', async () => {
    const errors: Error[] = [
      new TypeError('a mistake'),
      new MillraceError('secret_refused', 'Another host.', { hint: 'Ask why.' }),
    ];
    await using it = subject({ onTyped: () => Promise.reject(errors.shift() as Error) });
    const url = await it.open();
    expect((await type(url, 'hunter2')).body).toContain('Something went wrong here; the log says what.');
    expect(it.faults).toEqual([{ event: 'ask_failed', error: expect.any(TypeError) }]);
    expect((await type(url, 'hunter2')).body).toContain('Another host. Ask why.');
    expect(it.faults).toHaveLength(1);
  });

  test('a form that is sent twice is one answer', async () => {
    const { promise, resolve } = Promise.withResolvers<Typing>();
    let calls = 0;
    await using it = subject({
      onTyped: () => {
        calls += 1;
        return promise;
      },
    });
    const url = await it.open();
    const both = [send(url, () => undefined), send(url, () => undefined)];
    await expect.poll(() => calls, { timeout: 10_000 }).toBe(1);
    resolve({ done: true, words: 'Once.' });
    expect((await Promise.all(both)).map(({ status }) => status)).toEqual([303, 303]);
    expect(calls).toBe(1);
  });
});

describe('how long', () => {
  test('ten minutes; with the last question the listener goes too, and comes back with the next', async () => {
    await using it = subject();
    const url = await it.open();
    it.clock.pass(10 * 60_000 - 1);
    expect((await ask(url)).status).toBe(200);
    it.clock.pass(1);
    expect((await ask(url)).status).toBe(404);
    await expect.poll(() => closed(url), { timeout: 10_000 }).toBe(true);
    expect((await ask(await it.open())).status).toBe(200);
  });

  test('an answered one says so for a minute', async () => {
    await using it = subject();
    const url = await it.open();
    await type(url, 'x');
    it.clock.pass(59_000);
    expect((await ask(url)).body).toContain('It is kept.');
    it.clock.pass(1_000);
    expect((await ask(url)).status).toBe(404);
    await expect.poll(() => closed(url), { timeout: 10_000 }).toBe(true);
  });

  test('twenty at a time: the oldest gives way', async () => {
    await using it = subject();
    const urls: string[] = [];
    for (let count = 0; count < 21; count += 1) urls.push(await it.open());
    expect(new Set(urls).size).toBe(21);
    const [first = '', second = ''] = urls;
    expect((await ask(first)).status).toBe(404);
    expect((await ask(second)).status).toBe(200);
    expect((await ask(urls.at(-1) ?? '')).status).toBe(200);
  });

  test('the end of the program stops what is being tested', async () => {
    let stopped = false;
    const it = subject({
      onTyped: (_values, signal) => {
        const { promise, reject } = Promise.withResolvers<Typing>();
        signal.addEventListener('abort', () => {
          stopped = true;
          reject(signal.reason as Error);
        });
        void it.asks[Symbol.asyncDispose]();
        return promise;
      },
    });
    const url = await it.open();
    expect((await send(url, () => undefined)).status).toBe(303);
    expect(stopped).toBe(true);
    await expect.poll(() => closed(url), { timeout: 10_000 }).toBe(true);
  });
});
