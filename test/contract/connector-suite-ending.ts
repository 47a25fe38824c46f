import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { Cursor, Stream } from '../../src/core/model.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import { type Asked, numbered, stamp } from './connector-questions.ts';
import { calm, drain, failure, readAll } from './reading-support.ts';

const PAD = 'x'.repeat(1000);
/** Long beside what a cancelled question may take, short beside what a test may. */
const SILENCE_S = 25;
/** A person who cancels sees it done. */
const AT_ONCE_MS = 1_200;

/** Cancelled, too late, cut off, closed: the right word for each, at once, and nothing left behind. */
export function endingQuestions({ kind, subject, source }: Asked): void {
  let large: Promise<Stream> | undefined;
  /** A table of some 20 MB, more than any buffer on the way. */
  const manyRows = (): Promise<Stream> => {
    large ??= subject()
      .make(
        { name: 'many', columns: { id: 'integer', at: 'stamp', t: 'text' }, key: ['id'] },
        numbered(20_000, (i) => [i, stamp(i), PAD]),
      )
      .then((table) => ({ name: 'many', table: table.ref, mode: 'merge' }));
    return large;
  };
  const silent = (): Stream => ({ name: 'silent', query: subject().silence(SILENCE_S), mode: 'replace' });

  /** The source behind a proxy of its own. */
  async function behindProxy(
    changes: object = {},
  ): Promise<AsyncDisposable & { source: Source; proxy: ChaosProxy }> {
    const { host, port } = subject().config as { host: string; port: number };
    const proxy = await startChaosProxy({ host, port });
    const behind = await subject().open({ host: proxy.host, port: proxy.port, ...changes });
    return {
      source: behind,
      proxy,
      async [Symbol.asyncDispose]() {
        await behind[Symbol.asyncDispose]();
        await proxy[Symbol.asyncDispose]();
      },
    };
  }

  test('a signal that has fired already: cancelled, nothing is asked', async () => {
    await using behind = await behindProxy();
    const stream = await source().resolve(silent(), calm);
    const fired = AbortSignal.abort();
    const { source: asked } = behind;
    for (const question of [
      asked.discover({ limit: 1 }, fired),
      asked.resolve(silent(), fired),
      asked.preview(stream, 1, fired),
      asked.read(stream, null, fired),
    ])
      expect(await failure(question)).toMatchObject({ code: 'cancelled', retryable: false });
    expect(behind.proxy.accepted()).toBe(0);
  });

  test('cancelled while it connects', async () => {
    await using behind = await behindProxy();
    behind.proxy.stall();
    for (const ask of [
      (signal: AbortSignal) => behind.source.discover({ limit: 1 }, signal),
      (signal: AbortSignal) => behind.source.resolve({ name: 'x', table: 'x' }, signal),
    ])
      expect(await cancelled(ask, 150)).toMatchObject({ code: 'cancelled' });
    const report = await cancelled(
      (signal) =>
        behind.source.check([], signal).then((seen) => Promise.reject(seen.error ?? new Error('it worked'))),
      150,
    );
    expect(report).toMatchObject({ code: 'cancelled' });
    // A stalled proxy notices nothing.
    await behind.proxy.heal();
    await expect.poll(() => behind.proxy.open()).toBe(0);
  });

  test('cancelled while the server says nothing, and the server stops too', async () => {
    const stream = await source().resolve(silent(), calm);
    const error = await cancelled(async (signal) => {
      await using reading = await source().read(stream, null, signal);
      await drain(reading, stream);
    }, 300);
    expect(error).toMatchObject({ code: 'cancelled' });
    await expect.poll(() => subject().sessions(), { timeout: 5_000 }).toMatchObject({ busy: 0 });
    expect(await cancelled((signal) => source().preview(stream, 1, signal), 300)).toMatchObject({
      code: 'cancelled',
    });
    await expect.poll(() => subject().sessions(), { timeout: 5_000 }).toMatchObject({ busy: 0 });
  });

  test('cancelled while rows are flowing, and while they have stopped on the way', async () => {
    const stream = await source().resolve(await manyRows(), calm);
    await using behind = await behindProxy();
    for (const stall of [false, true]) {
      let rows = 0;
      const stop = new AbortController();
      await using reading = await behind.source.read(stream, null, stop.signal);
      const error = await failure(
        (async () => {
          for await (const batch of reading.batches) {
            if (rows === 0 && stall) behind.proxy.stall();
            if (rows === 0) setTimeout(() => stop.abort(), stall ? 200 : 1);
            rows += batch.rows;
            await sleep(1);
          }
        })(),
      );
      expect(error).toMatchObject({ code: 'cancelled' });
      await behind.proxy.heal();
    }
    expect(await readAll(behind.source, await manyRows())).toMatchObject({ count: 20_000 });
  });

  test('silence beyond statement_timeout_ms is a timeout, of the server and of the way to it', async () => {
    await using impatient = await subject().open({ statement_timeout_ms: 300 });
    const stream = await impatient.resolve(silent(), calm);
    const startedAt = performance.now();
    const read = async (asked: Source, of: Stream): Promise<void> => {
      const resolved = await source().resolve(of, calm);
      await using reading = await asked.read(resolved, null, calm);
      await drain(reading, resolved);
    };
    expect(await failure(read(impatient, silent()))).toMatchObject({ code: 'timeout', retryable: true });
    expect(await failure(impatient.preview(stream, 1, calm))).toMatchObject({
      code: 'timeout',
      retryable: true,
    });
    {
      await using behind = await behindProxy({ statement_timeout_ms: 1_000 });
      behind.proxy.stallAfter(2_000_000);
      expect(await failure(read(behind.source, await manyRows()))).toMatchObject({
        code: 'timeout',
        retryable: true,
      });
    }
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    await expect.poll(() => subject().sessions(), { timeout: 5_000 }).toMatchObject({ busy: 0 });
  });

  test('a reader that takes its time is no silent server', async () => {
    await using impatient = await subject().open({ statement_timeout_ms: 300 });
    const stream = await impatient.resolve(await manyRows(), calm);
    await using reading = await impatient.read(stream, null, calm);
    let rows = 0;
    for await (const batch of reading.batches) {
      if (rows < 1_000) await sleep(500);
      rows += batch.rows;
    }
    expect(rows).toBe(20_000);
  });

  test('a session that is ended in the middle: connection_lost, and the next one goes on behind the last batch', async () => {
    const stream = await source().resolve(await manyRows(), calm);
    const read: unknown[] = [];
    let position: Cursor | null = null;
    const cut = async (): Promise<void> => {
      await using reading = await source().read(stream, null, calm);
      for await (const batch of reading.batches) {
        if (position === null) await subject().endSessions();
        read.push(...batch.values.filter((_, i) => i % 3 === 0));
        position = batch.cursor;
      }
    };
    expect(await failure(cut())).toMatchObject({ code: 'connection_lost', retryable: true });
    expect(read.length).toBeLessThan(20_000);
    const rest = await readAll(source(), await manyRows(), position);
    expect(rest.resumed).toBe(true);
    expect([...read, ...rest.rows.map(([id]) => id)]).toEqual(numbered(20_000, (i) => i));
  });

  test('sessions that were ended between two questions are not noticed', async () => {
    await using own = await subject().open();
    const stream = await own.resolve(await manyRows(), calm);
    await subject().endSessions();
    await sleep(50);
    expect(await own.preview(stream, 1, calm)).toHaveLength(1);
  });

  test('an error behind some rows comes after these', async () => {
    await subject().make(
      { name: 'items', columns: { id: 'integer' }, key: ['id'] },
      numbered(50_000, (i) => [i]),
    );
    const { query, code } = kind.expects.failing;
    const stream = await source().resolve({ name: 'failing', query: query(40_000), mode: 'replace' }, calm);
    let rows = 0;
    const read = async (): Promise<void> => {
      await using reading = await source().read(stream, null, calm);
      for await (const batch of reading.batches) rows += batch.rows;
    };
    expect(await failure(read())).toMatchObject({ code });
    expect(rows).toBeGreaterThan(20_000);
    expect(rows).toBeLessThan(40_000);
  });

  test('a source that is closed in the middle of a read ends it', async () => {
    const own = await subject().open();
    const stream = await own.resolve(silent(), calm);
    await using reading = await own.read(stream, null, calm);
    setTimeout(() => void own[Symbol.asyncDispose](), 100);
    expect(await failure(drain(reading, stream))).toMatchObject({ code: 'connection_lost' });
  });

  test('closing leaves no session at the server and no handle here, whatever went before', async () => {
    const quiet = await subject().isolated();
    const before = sockets();
    const own = await quiet.open();
    const stream: Stream = { name: 'q', query: 'SELECT 1 AS a', mode: 'replace' };
    await own.check([stream], calm);
    await own.discover({ limit: 5 }, calm);
    const resolved = await own.resolve(stream, calm);
    await own.preview(resolved, 1, calm);
    await readAll(own, stream);
    await cancelled((signal) => own.preview({ ...resolved, declared: silent() }, 1, signal), 100).catch(
      () => undefined,
    );
    await failure(own.resolve({ name: 'x', table: 'nowhere' }, calm));
    const many = await own.resolve(await manyRows(), calm);
    {
      // Left in the middle, as a run does that is cut short.
      await using reading = await own.read(many, null, calm);
      for await (const batch of reading.batches) if (batch.rows > 0) break;
    }
    await own.discover({ limit: 5 }, calm);
    expect((await quiet.sessions()).open).toBeGreaterThan(0);
    await own[Symbol.asyncDispose]();
    await expect.poll(() => quiet.sessions(), { timeout: 5_000 }).toEqual({ open: 0, busy: 0 });
    await expect.poll(sockets, { timeout: 5_000 }).toBeLessThanOrEqual(before);
    await own[Symbol.asyncDispose]();
  });

  test('any number of readings at once, each whole', async () => {
    await using own = await subject().open({ pool: { min: 0, max: 4 } });
    const stream = await manyRows();
    const all = await Promise.all(numbered(4, () => readAll(own, stream)));
    for (const { rows } of all) expect(rows).toHaveLength(20_000);
  });
}

/** What a question fails with that is cancelled after so long; it must be soon. */
async function cancelled(ask: (signal: AbortSignal) => Promise<unknown>, afterMs: number): Promise<unknown> {
  const stop = new AbortController();
  let at = 0;
  setTimeout(() => {
    at = performance.now();
    stop.abort();
  }, afterMs);
  const error = await failure(ask(stop.signal));
  expect(performance.now() - at).toBeLessThan(AT_ONCE_MS);
  return error;
}

/** TCP sockets of this process. */
function sockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
}
