/** Bytes of an answer as UTF-8, whatever charset they came in. */

import { isUtf8 } from 'node:buffer';
import { TextDecoder } from 'node:util';
import { MillraceError } from '../../../core/errors.ts';
import { unreadable } from './failures.ts';

/** The charset a content type names, else null. */
export function charsetOf(contentType: string | null): string | null {
  return /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(contentType ?? '')?.[1]?.toLowerCase() ?? null;
}

/** Valid UTF-8 as a text. A wrong byte is an error: replaced by U+FFFD it would be lost without a word. */
export function decodeUtf8(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  throw unreadable('it is not UTF-8; name its charset in "rest": {"charset": "windows-1252"} of the stream');
}

/**
 * The body in UTF-8, without a byte order mark. A mark says more than a header, and a header more than nothing;
 * `declared` is what a person wrote into the stream, and wins over the header.
 */
export async function* asUtf8(
  body: AsyncIterable<Uint8Array>,
  { declared, header }: { readonly declared: string | null; readonly header: string | null },
): AsyncGenerator<Buffer, void, void> {
  let decoder: TextDecoder | null | undefined;
  let head: Buffer = Buffer.alloc(0);
  for await (const chunk of body) {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (decoder === undefined) {
      head = head.length === 0 ? bytes : Buffer.concat([head, bytes]);
      // A mark has three bytes; an answer of fewer is looked at when it ends.
      if (head.length < 3) continue;
      const begin = beginning(head, declared ?? header);
      decoder = begin.decoder;
      bytes = head.subarray(begin.skip);
    }
    if (bytes.length > 0) yield decoded(decoder, bytes);
  }
  if (decoder === undefined && head.length > 0) {
    const begin = beginning(head, declared ?? header);
    decoder = begin.decoder;
    yield decoded(decoder, head.subarray(begin.skip));
  }
  const rest = decoder === null || decoder === undefined ? Buffer.alloc(0) : flushed(decoder);
  if (rest.length > 0) yield rest;
}

function beginning(
  head: Buffer,
  charset: string | null,
): { readonly decoder: TextDecoder | null; readonly skip: number } {
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return { decoder: null, skip: 3 };
  if (head[0] === 0xff && head[1] === 0xfe) return { decoder: decoderFor('utf-16le'), skip: 2 };
  if (head[0] === 0xfe && head[1] === 0xff) return { decoder: decoderFor('utf-16be'), skip: 2 };
  const name = charset?.toLowerCase() ?? 'utf-8';
  return {
    decoder: name === 'utf-8' || name === 'utf8' || name === 'us-ascii' ? null : decoderFor(name),
    skip: 0,
  };
}

function decoderFor(charset: string): TextDecoder {
  try {
    return new TextDecoder(charset, { fatal: true });
  } catch (error) {
    throw new MillraceError('response_invalid', `The charset "${charset.slice(0, 40)}" is not known.`, {
      hint: 'Name the answer\'s charset in "rest": {"charset": "iso-8859-1"} of the stream; the names are those of the WHATWG Encoding Standard.',
      cause: error,
    });
  }
}

function decoded(decoder: TextDecoder | null, bytes: Buffer): Buffer {
  if (decoder === null) return bytes;
  try {
    return Buffer.from(decoder.decode(bytes, { stream: true }));
  } catch (error) {
    throw unreadable(`it is not in ${decoder.encoding}`, error);
  }
}

function flushed(decoder: TextDecoder): Buffer {
  try {
    return Buffer.from(decoder.decode());
  } catch (error) {
    throw unreadable(`it is not in ${decoder.encoding}`, error);
  }
}
