import { pipeline, type Readable, Transform } from 'node:stream';
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
} from 'node:zlib';
import { MillraceError } from '../../../core/errors.ts';
import type { Place } from './clean.ts';
import { classify } from './failures.ts';

/** What `accept-encoding` offers: all that can be undone here. */
export const ACCEPT_ENCODING = 'gzip, deflate, br, zstd';

export interface BodyOptions {
  /** `content-encoding` as it came; null: none. */
  readonly encoding: string | null;
  /** Most bytes, both on the wire and decompressed. */
  readonly maxBytes: number;
  /** How long we may wait for the body in all; the time its reader takes is not counted. */
  readonly waitMs: number;
  /** The URL as an error may show it. */
  readonly place: Place;
}

/** Decompressors a body may be wrapped in. More is no mistake but an attack. */
const LAYERS_MAX = 3;

/**
 * The body decompressed, counted and timed. Throws `response_invalid` where it is too large or not what its header
 * says, `timeout` where it drips, `connection_lost` where it breaks off. Whoever stops reading ends the connection.
 */
export async function* readBody(
  wire: Readable,
  options: BodyOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const { place, maxBytes } = options;
  let stream: Readable | undefined;
  let bytes = 0;
  try {
    stream = await decode(wire, options);
    for await (const chunk of timed(stream, options)) {
      bytes += chunk.byteLength;
      if (bytes > maxBytes) throw tooLarge(options);
      yield chunk;
    }
  } catch (error) {
    throw classify(error, place);
  } finally {
    wire.destroy();
    stream?.destroy();
  }
}

/** Throws `response_invalid` for a length that is too large as it is told. */
export function assertLength(length: string | null, options: Pick<BodyOptions, 'maxBytes' | 'place'>): void {
  if (length !== null && Number(length) > options.maxBytes) throw tooLarge(options);
}

/** The encodings undone, the last applied first. */
async function decode(wire: Readable, { encoding, maxBytes, place }: BodyOptions): Promise<Readable> {
  const names = (encoding ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity');
  if (names.length === 0) return wire;
  if (names.length > LAYERS_MAX) throw unknownEncoding(names.join(', '), place);
  // Nothing is nothing in any encoding, and many servers name one for an empty answer.
  if ((await beginning(wire)) === null) return wire;
  let stream: Readable = pipeline(wire, counter({ maxBytes, place }), ignore);
  for (const name of names.toReversed())
    stream = pipeline(stream, await decompressor(name, stream, place), ignore);
  return stream;
}

/** `pipeline` wants somebody to tell; whoever reads its end hears of the error there. */
function ignore(): void {}

/** An archive of empty parts is endless on the wire and nothing when decompressed. */
function counter(options: Pick<BodyOptions, 'maxBytes' | 'place'>): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      bytes += chunk.byteLength;
      if (bytes > options.maxBytes) done(tooLarge(options));
      else done(null, chunk);
    },
  });
}

/** 8 MB is the window that RFC 9659 grants zstd on the web; a frame may ask for gigabytes. */
const ZSTD_WINDOW_LOG_MAX = 23;

async function decompressor(name: string, stream: Readable, place: Place): Promise<Transform> {
  switch (name) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return (await beginsZlib(stream)) ? createInflate() : createInflateRaw();
    case 'br':
      return createBrotliDecompress();
    case 'zstd':
      return createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX } });
    default:
      throw unknownEncoding(name, place);
  }
}

/** `deflate` means the zlib format (RFC 9110, 8.4.1.2), but some servers send it without its two bytes of header. */
async function beginsZlib(stream: Readable): Promise<boolean> {
  const first = await beginning(stream);
  return first === null || ((first[0] ?? 0) & 0x0f) === 8;
}

/** The first piece, which stays in the stream; null when there is none. Rejects with the stream's error. */
async function beginning(stream: Readable): Promise<Buffer | null> {
  if (stream.readableLength === 0 && !stream.readableEnded && !stream.destroyed) {
    await new Promise<void>((settle, fail) => {
      const listeners = { readable: settle, end: settle, close: settle, error: fail };
      const stop = (): void => {
        for (const [event, listener] of Object.entries(listeners)) stream.off(event, listener);
      };
      for (const [event, listener] of Object.entries(listeners)) stream.on(event, listener).once(event, stop);
    });
  }
  const first = stream.read() as Buffer | null;
  if (first !== null) stream.unshift(first);
  return first;
}

/** The stream with a bound on how long it is waited for: a server that drips a byte a second never falls silent. */
async function* timed(stream: Readable, { waitMs, place }: BodyOptions): AsyncGenerator<Uint8Array> {
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  let left = waitMs;
  for (;;) {
    const from = performance.now();
    const timer = setTimeout(() => stream.destroy(tooSlow(waitMs, place)), left);
    const next = await chunks.next().finally(() => clearTimeout(timer));
    left = Math.max(0, left - (performance.now() - from));
    if (next.done === true) return;
    yield next.value;
  }
}

function tooLarge({ maxBytes, place }: Pick<BodyOptions, 'maxBytes' | 'place'>): MillraceError {
  return new MillraceError('response_invalid', `${place}: the answer is larger than ${maxBytes} bytes.`, {
    hint: 'Ask for smaller pages (`size` or `limit` of the pagination), or raise max_page_bytes of the connector.',
    who: 'assistant',
  });
}

function tooSlow(waitMs: number, place: Place): MillraceError {
  return new MillraceError('timeout', `${place}: the answer was not complete after ${waitMs} ms.`, {
    hint: 'Ask for smaller pages, or raise timeout_ms of the connector: an answer may take twenty times as long in all.',
  });
}

function unknownEncoding(name: string, place: Place): MillraceError {
  return new MillraceError(
    'response_invalid',
    `${place}: the answer is encoded as "${name.slice(0, 60)}", which nobody asked for.`,
    {
      hint: `Millrace reads ${ACCEPT_ENCODING}. Add the header "accept-encoding": "identity" to the connector.`,
    },
  );
}
