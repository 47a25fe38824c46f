import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Cursor, ResolvedStream, Stream } from '../../src/core/model.ts';
import { type ChaosProxy, startChaosProxy } from '../support/chaos-proxy.ts';
import { type Asked, numbered } from './connector-questions.ts';
import type { Subject } from './connector-subject.ts';
import { calm, drain, failure, readAll } from './reading-support.ts';

const PAD = 'x'.repeat(1000);
/** Long beside what a cancelled question may take, short beside what a test may. */
const SILENCE_S = 25;
/** A person who cancels sees it done. */
const AT_ONCE_MS = 1_200;

/** Cancelled, too late, cut off, closed: the right word for each, at once, and nothing left behind. */
export function endingQuestions({ expects, ask, subject, source, at }: Asked): void {
  let large: Promise<Stream> | undefined;
  /** A table of some 20 MB, more than any buffer on the way. */
  const manyRows = (): Promise<Stream> => {
    large ??= subject()
      .make(
        { name: 'many', columns: { id: 'integer', at: 'stamp', t: 'text' }, key: ['id'] },
        numbered(20_000, (i) => [i, at(i), PAD]),
      )
      .then((table) => table.stream({ mode: 'merge' }));
    return large;
  };
  const silence = (): ReturnType<Subject['silence']> => subject().silence(SILENCE_S);

  /** The source behind a proxy of its own. */
  async function behindProxy(
    changes: object = {},
  ): Promise<AsyncDisposable & { source: Source; proxy: ChaosProxy }> {
    const proxy = await startChaosProxy(subject().address);
    const behind = await subject().open({ ...subject().at(proxy), ...changes });
    return {
      source: behind,
      proxy,
      async [Symbol.asyncDispose]() {
        await behind[Symbol.asyncDispose]();
        await proxy[Symbol.asyncDispose]();
      },
    };
  }

  ask('a signal that has fired already: cancelled, nothing is asked', async () => {
    await using behind = await behindProxy();
    const { stream: declared } = await silence();
    const stream = await source().resolve(declared, calm);
    const fired = AbortSignal.abort();
    const { source: asked } = behind;
    const errors = await Promise.all([
      failure(asked.discover({ limit: 1 }, fired)),
      failure(asked.resolve(declared, fired)),
      failure(asked.preview(stream, 1, fired)),
      failure(asked.read(stream, null, fired)),
    ]);
    for (const error of errors) expect(error).toMatchObject({ code: 'cancelled', retryable: false });
    expect(behind.proxy.accepted()).toBe(0);
  });

  ask('cancelled while it connects', async () => {
    await using behind = await behindProxy();
    behind.proxy.stall();
    for (const ask of [
      (signal: AbortSignal) => behind.source.discover({ limit: 1 }, signal),
      (signal: AbortSignal) => behind.source.resolve(subject().named('x'), signal),
    ])
      expect(await cancelled(ask, 150)).toMatchObject({ code: 'cancelled' });
    const report = await cancelled(
      (signal) =>
        behind.source
          .check([subject().named('x')], signal)
          .then((seen) => Promise.reject(seen.error ?? new Error('it worked'))),
      150,
    );
    expect(report).toMatchObject({ code: 'cancelled' });
    // A stalled proxy notices nothing.
    await behind.proxy.heal();
    await expect.poll(() => behind.proxy.open()).toBe(0);
  });

  ask('cancelled while the server says nothing, and the server stops too', async () => {
    const { stream: declared, begin } = await silence();
    const stream = await source().resolve(declared, calm);
    begin();
    // One that did not choose, and so has no page in its hands.
    await using reader = await subject().open();
    const error = await cancelled(async (signal) => {
      await using reading = await reader.read(stream, null, signal);
      await drain(reading, stream);
    }, 300);
    expect(error).toMatchObject({ code: 'cancelled' });
    await expect.poll(() => subject().sessions(), { timeout: 5_000 }).toMatchObject({ busy: 0 });
    // Another one, which knows nothing of it yet.
    await using other = await subject().open();
    expect(await cancelled((signal) => other.preview(stream, 1, signal), 300)).toMatchObject({
      code: 'cancelled',
    });
    await expect.poll(() => subject().sessions(), { timeout: 5_000 }).toMatchObject({ busy: 0 });
  });

  ask('cancelled while rows are flowing, and while they have stopped on the way', async () => {
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
    expect((await readAll(behind.source, await manyRows())).rows).toHaveLength(20_000);
  });

  ask('silence beyond what the config allows is a timeout, of the server and of the way to it', async () => {
    const { config, withinMs } = expects.impatient;
    const { stream: declared, begin } = await silence();
    const stream = await source().resolve(declared, calm);
    await manyRows();
    begin();
    const read = async (asked: Source, of: ResolvedStream): Promise<void> => {
      await using reading = await asked.read(of, null, calm);
      await drain(reading, of);
    };
    const startedAt = performance.now();
    {
      await using impatient = await subject().open(config);
      await using behind = await behindProxy(config);
      const many = await behind.source.resolve(await manyRows(), calm);
      behind.proxy.stallAfter(2_000_000);
      const errors = await Promise.all([
        failure(read(impatient, stream)),
        failure(impatient.preview(stream, 1, calm)),
        failure(read(behind.source, many)),
      ]);
      for (const error of errors) expect(error).toMatchObject({ code: 'timeout', retryable: true });
    }
    expect(performance.now() - startedAt).toBeLessThan(withinMs);
    await expect.poll(() => subject().sessions(), { timeout: 5_000 }).toMatchObject({ busy: 0 });
  });

  ask('a reader that takes its time is no silent server', async () => {
    await using impatient = await subject().open(expects.impatient.config);
    const stream = await impatient.resolve(await manyRows(), calm);
    await using reading = await impatient.read(stream, null, calm);
    let rows = 0;
    let waits = 4;
    for await (const batch of reading.batches) {
      if (waits-- > 0) await sleep(500);
      rows += batch.rows;
    }
    expect(rows).toBe(20_000);
  });

  const { cut } = expects;
  ask(
    `a session that is ended in the middle: ${cut ?? 'asked again'}, and nothing is missing behind it`,
    async () => {
      const stream = await source().resolve(await manyRows(), calm);
      const read: unknown[] = [];
      let position: Cursor | null = null;
      const begun = async (): Promise<void> => {
        await using reading = await source().read(stream, null, calm);
        for await (const batch of reading.batches) {
          if (position === null) await subject().endSessions();
          read.push(...batch.values.filter((_, i) => i % 3 === 0));
          position = batch.cursor;
        }
      };
      const outcome = await begun().then(
        () => null,
        (error: MillraceError) => error,
      );
      expect(outcome?.code ?? null).toBe(cut);
      if (outcome !== null) {
        expect(outcome.retryable).toBe(true);
        expect(read.length).toBeLessThan(20_000);
        const rest = await readAll(source(), await manyRows(), position);
        expect(rest.resumed).toBe(true);
        read.push(...rest.rows.map(([id]) => id));
      }
      expect(read).toEqual(numbered(20_000, (i) => i));
    },
  );

  ask('sessions that were ended between two questions are not noticed', async () => {
    await using own = await subject().open();
    const stream = await own.resolve(await manyRows(), calm);
    await subject().endSessions();
    await sleep(50);
    expect(await own.preview(stream, 1, calm)).toHaveLength(1);
    expect((await own.resolve(await manyRows(), calm)).columns).toEqual(stream.columns);
  });

  ask('an error behind some rows comes after these', async () => {
    const stream = await source().resolve(await subject().failing(40_000), calm);
    let rows = 0;
    const read = async (): Promise<void> => {
      await using reading = await source().read(stream, null, calm);
      for await (const batch of reading.batches) rows += batch.rows;
    };
    expect(await failure(read())).toMatchObject({ code: expects.failing });
    expect(rows).toBeGreaterThan(20_000);
    expect(rows).toBeLessThanOrEqual(40_000);
  });

  ask('a source that is closed in the middle of a read ends it', async () => {
    const own = await subject().open();
    const { stream: declared, begin } = await silence();
    // Chosen by another one, so that this has no page in its hands; connected, so that it is the read that is ended.
    const stream = await source().resolve(declared, calm);
    await own.check([], calm);
    begin();
    const work = (async () => {
      await using reading = await own.read(stream, null, calm);
      await drain(reading, stream);
    })();
    setTimeout(() => void own[Symbol.asyncDispose](), 300);
    expect(await failure(work)).toMatchObject({ code: expects.closed });
  });

  ask('closing leaves no session at the server and no handle here, whatever went before', async () => {
    const quiet = await subject().isolated();
    const { stream, ...silent } = await silence();
    const few = await subject().make({ name: 'few', columns: { id: 'integer' }, key: ['id'] }, [[1]]);
    const before = sockets();
    const own = await quiet.open();
    await own.check([few.stream()], calm);
    await own.discover({ limit: 5 }, calm);
    const resolved = await own.resolve(few.stream(), calm);
    await own.preview(resolved, 1, calm);
    await readAll(own, few.stream());
    silent.begin();
    await cancelled((signal) => own.preview({ ...resolved, declared: stream }, 1, signal), 100).catch(
      () => undefined,
    );
    await failure(own.resolve(subject().named('nowhere'), calm));
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

  ask('any number of readings at once, each whole', async () => {
    await using own = await subject().open(expects.crowd);
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
