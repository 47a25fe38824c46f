import { EventEmitter } from 'node:events';
import { connect, createServer } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CopyOut, type CopySocket, type RowBatch } from '../../src/connectors/postgresql/copy.ts';
import * as decode from '../../src/connectors/postgresql/decode.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Value } from '../../src/core/types.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { calm, drain, openSource } from './postgresql-support.ts';

/**
 * The bytes of a COPY, as a real server sends them, cut at every place: recorded once through a proxy, then played
 * to the reader in pieces. Notices, settings and errors stand between the rows.
 */

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase();
  await database.query(`
    CREATE FUNCTION loud(i int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
      IF i % 3 = 0 THEN RAISE NOTICE 'row %', i; END IF;
      IF i % 4 = 0 THEN PERFORM set_config('application_name', 'name ' || i, true); END IF;
      RETURN repeat('é', i);
    END $$`);
});

afterAll(() => database.drop());

/** Everything the server says from the beginning of its CopyOutResponse on. */
async function record(query: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const proxy = createServer((client) => {
    const server = connect(database.config.port, database.config.host);
    server.on('data', (chunk) => chunks.push(chunk));
    server.pipe(client);
    client.pipe(server);
    for (const socket of [client, server]) socket.on('error', () => client.destroy());
    client.on('close', () => server.destroy());
  });
  await new Promise<void>((settle) => proxy.listen(0, '127.0.0.1', settle));
  const { port } = proxy.address() as { port: number };
  await using source = openSource({ ...database.config, port });
  const stream = await source.resolve({ name: 'r', query, mode: 'replace' }, calm);
  await using reading = await source.read(stream, null, calm);
  const before = chunks.length;
  await drain(reading, stream).catch(() => undefined);
  proxy.close();
  const said = Buffer.concat(chunks.slice(before));
  expect(String.fromCharCode(said[0] ?? 0)).toBe('H');
  return said;
}

/** As much of a socket as the reader uses, and a driver behind it that writes down what it is handed. */
class Replay extends EventEmitter implements CopySocket {
  paused = false;
  destroyed = false;
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  destroy(): void {
    this.destroyed = true;
  }
}

interface Played {
  readonly rows: readonly (readonly Value[])[];
  /** Message codes that the driver was handed, in order. */
  readonly forDriver: string;
  readonly error: unknown;
}

async function play(pieces: readonly Buffer[], decoders: readonly decode.Decoder[]): Promise<Played> {
  const socket = new Replay();
  const handed: Buffer[] = [];
  const copy = new CopyOut('COPY', {
    stallMs: 60_000,
    onStall: () => socket.destroy(),
    explain: (error) => error as MillraceError,
  });
  socket.on('data', (chunk: Buffer) => {
    handed.push(chunk);
    const codes = messageCodes(Buffer.concat(handed));
    if (codes.includes('E')) copy.handleError(new Error('server error'));
    if (codes.endsWith('Z')) copy.handleReadyForQuery();
  });
  copy.submit({ stream: socket, query: () => {} });
  const batches: RowBatch[] = [];
  let error: unknown = null;
  const reading = (async () => {
    for await (const batch of copy.batches({ decoders, hidden: [] })) batches.push(batch);
  })().catch((failure: unknown) => {
    error = failure;
  });
  for (const piece of pieces) {
    while (socket.paused) await new Promise((settle) => setImmediate(settle));
    socket.emit('data', piece);
  }
  await reading;
  const width = decoders.length;
  const rows = batches.flatMap(({ values, rows: n }) =>
    Array.from({ length: n }, (_, i) => values.slice(i * width, (i + 1) * width)),
  );
  return { rows, forDriver: messageCodes(Buffer.concat(handed)), error };
}

function messageCodes(bytes: Buffer): string {
  let codes = '';
  for (let at = 0; at + 5 <= bytes.length; at += bytes.readInt32BE(at + 1) + 1)
    codes += String.fromCharCode(bytes[at] ?? 0);
  return codes;
}

function cutAt(bytes: Buffer, places: readonly number[]): readonly Buffer[] {
  const sorted = [0, ...places.map((place) => place % bytes.length).toSorted((a, b) => a - b), bytes.length];
  // Copies, so that nothing can look beyond its own piece.
  return sorted.slice(1).flatMap((end, i) => {
    const begin = sorted[i] ?? 0;
    return end > begin ? [Buffer.from(bytes.subarray(begin, end))] : [];
  });
}

describe('a COPY in pieces', () => {
  test('rows, notices and settings arrive the same wherever the stream is cut', {
    timeout: 60_000,
  }, async () => {
    const bytes = await record('SELECT i, loud(i) AS t, NULLIF(i % 5, 0) AS n FROM generate_series(0, 40) i');
    const decoders = [decode.int4, decode.text, decode.int4];
    const whole = await play([bytes], decoders);
    expect(whole.rows).toEqual(
      Array.from({ length: 41 }, (_, i) => [i, 'é'.repeat(i), i % 5 === 0 ? null : i % 5]),
    );
    expect(whole.forDriver.match(/N/g)).toHaveLength(14);
    expect(whole.forDriver).toMatch(/^N+cCS?Z/);
    for (let place = 1; place < bytes.length; place += 1)
      expect(await play(cutAt(bytes, [place]), decoders)).toEqual(whole);
    expect(
      await play(
        Array.from(bytes, (_, i) => Buffer.from(bytes.subarray(i, i + 1))),
        decoders,
      ),
    ).toEqual(whole);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(), { maxLength: 60 }), async (places) => {
        expect(await play(cutAt(bytes, places), decoders)).toEqual(whole);
      }),
      { numRuns: 150 },
    );
  });

  test('an error between rows, in pieces', async () => {
    const bytes = await record('SELECT i, 1 / (30 - i) AS x FROM generate_series(1, 60) i');
    const decoders = [decode.int4, decode.int4];
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(), { maxLength: 40 }), async (places) => {
        const { error, forDriver } = await play(cutAt(bytes, places), decoders);
        expect(error).toMatchObject({ message: 'server error' });
        expect(forDriver).toMatch(/^E/);
      }),
      { numRuns: 60 },
    );
  });

  test('a value of 20 MB in pieces of 1 kB takes time in proportion', async () => {
    const bytes = await record("SELECT 1 AS i, repeat('x', 20000000) AS t");
    const pieces = cutAt(
      bytes,
      Array.from({ length: 20_000 }, (_, i) => i * 1_000),
    );
    const startedAt = performance.now();
    const { rows } = await play(pieces, [decode.int4, decode.text]);
    expect(String(rows[0]?.[1])).toHaveLength(20_000_000);
    // Joining what has come with every piece would move 200 GB.
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });

  test('bytes that are no COPY are an error, not rows', async () => {
    const bytes = await record('SELECT i, i AS j FROM generate_series(1, 50) i');
    const decoders = [decode.int4, decode.int4];
    const rowsAt = bytes.indexOf('PGCOPY');
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: rowsAt + 19, max: bytes.length - 40 }),
        fc.integer({ min: 1, max: 255 }),
        async (place, change) => {
          const broken = Buffer.from(bytes);
          broken[place] = (broken[place] ?? 0) ^ change;
          // A stream that lies about its lengths may leave the reader waiting for more: then it is cut off, as a socket would be.
          const result = await Promise.race([
            play([broken], decoders),
            new Promise<'waiting'>((settle) => setTimeout(() => settle('waiting'), 50)),
          ]);
          if (result === 'waiting') return;
          if (result.error !== null) expect(result.error).toMatchObject({ code: 'response_invalid' });
          else expect(result.rows.length).toBeLessThanOrEqual(50);
        },
      ),
      { numRuns: 150 },
    );
  });
});
