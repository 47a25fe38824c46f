import { createHash } from 'node:crypto';
import { parseExact } from '../../../core/exact-json.ts';
import type { Reject } from '../../../core/model.ts';
import type { Expression } from '../jmespath.ts';
import { brokeOff, shownStart, tooLarge, unreadable } from './failures.ts';
import { type Group, groupBytes, type PageParser, recordBytesMax } from './page.ts';
import { decodeUtf8 } from './text.ts';

const newline = 0x0a;

/**
 * One JSON value a line. A first line that is no JSON is another format; a later one is a reject, kept as it came, for
 * one bad line must not keep a million good ones out. `pick` is applied to each line; what it does not find is no record.
 */
export function ndjsonPage(pick: Expression | null): PageParser {
  const hash = createHash('sha1');
  let lines = 0;

  const parseLine = (line: Buffer, rejects: Reject[], last: boolean): unknown => {
    lines += 1;
    const text = decodeUtf8(line);
    if (text.trim() === '') return undefined;
    try {
      const value = parseExact(text);
      return pick === null ? value : (pick(value) ?? undefined);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      if (lines === 1) throw unreadable(`its first line is no JSON: "${shownStart(line)}"`, error);
      if (last) throw brokeOff(`in line ${lines}`);
      rejects.push({
        row: JSON.stringify(text.slice(0, 60_000)),
        reason: `line ${lines} is no JSON: ${error.message.slice(0, 200)}`,
      });
      return undefined;
    }
  };

  const parse = (bytes: Buffer, last: boolean): Group => {
    hash.update(bytes);
    const records: unknown[] = [];
    const rejects: Reject[] = [];
    for (let at = 0; at < bytes.length; ) {
      const found = bytes.indexOf(newline, at);
      const end = found === -1 ? bytes.length : found;
      const value = parseLine(bytes.subarray(at, end), rejects, last && found === -1);
      if (value !== undefined) records.push(value);
      at = end + 1;
    }
    return { records, bytes: bytes.length, ...(rejects.length === 0 ? {} : { rejects }) };
  };

  return {
    textual: false,
    found: true,
    async *groups(body) {
      for await (const { bytes, last } of wholeLines(body)) yield parse(bytes, last);
    },
    envelope: () => null,
    fingerprint: () => hash.copy().digest('base64url'),
  };
}

/** The body in pieces of about `groupBytes` that end with a line; the same pieces however it came. */
async function* wholeLines(
  body: AsyncIterable<Buffer>,
): AsyncGenerator<{ readonly bytes: Buffer; readonly last: boolean }, void, void> {
  let pending: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    let start = 0;
    while (size + chunk.length - start >= groupBytes) {
      const end = chunk.indexOf(newline, start + Math.max(0, groupBytes - size - 1));
      if (end === -1) break;
      yield { bytes: Buffer.concat([...pending, chunk.subarray(start, end + 1)]), last: false };
      pending = [];
      size = 0;
      start = end + 1;
    }
    pending.push(chunk.subarray(start));
    size += chunk.length - start;
    if (size > recordBytesMax)
      throw tooLarge(`One line is larger than ${recordBytesMax} bytes`, 'Ask the API for fewer fields.');
  }
  if (size > 0) yield { bytes: Buffer.concat(pending), last: true };
}
