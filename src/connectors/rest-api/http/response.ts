import { TextDecoder } from 'node:util';
import { MillraceError } from '../../../core/errors.ts';
import type { Place } from './clean.ts';
import type { HttpResponse } from './client.ts';
import type { Arrival } from './route.ts';

/** An answer in the hands of a reader. */
export interface OpenResponse extends HttpResponse {
  /** What broke the body while it was read; undefined while nothing did. */
  readonly broken: unknown;
}

/** `done` is called once, when the body was read, broke, or was given up. */
export function createResponse({ answer, url }: Arrival, place: Place, done: () => void): OpenResponse {
  let broken: unknown;
  let taken = false;

  async function* body(): AsyncGenerator<Uint8Array> {
    taken = true;
    try {
      yield* answer.body;
    } catch (error) {
      broken = error;
      throw error;
    } finally {
      done();
    }
  }
  const stream = body();

  return {
    status: answer.status,
    url,
    headers: answer.headers,
    body: stream,
    get broken() {
      return broken;
    },
    async text(maxBytes) {
      const chunks: Uint8Array[] = [];
      let bytes = 0;
      for await (const chunk of stream) {
        bytes += chunk.byteLength;
        if (bytes > maxBytes) throw tooLong(place, maxBytes);
        chunks.push(chunk);
      }
      return decoder(answer.headers.get('content-type')).decode(Buffer.concat(chunks));
    },
    async [Symbol.asyncDispose]() {
      if (!taken) answer.discard();
      await stream.return(undefined);
      done();
    },
  };
}

/** By the charset of the content type; UTF-8 when it names none, or none that exists. A byte order mark is left out. */
function decoder(contentType: string | null): TextDecoder {
  const named = /;\s*charset\s*=\s*"?([\w:.-]{1,40})/i.exec(contentType ?? '')?.[1] ?? 'utf-8';
  try {
    return new TextDecoder(named);
  } catch {
    return new TextDecoder();
  }
}

function tooLong(place: Place, maxBytes: number): MillraceError {
  return new MillraceError('response_invalid', `${place}: the answer is larger than ${maxBytes} bytes.`, {
    hint: 'Ask for less at a time, or raise max_page_bytes of the connector.',
    who: 'assistant',
  });
}
