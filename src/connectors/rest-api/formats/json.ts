import { createHash } from 'node:crypto';
import { parseExact } from '../../../core/exact-json.ts';
import { brokeOff, shownStart, unreadable } from './failures.ts';
import type { Group, PageParser } from './page.ts';
import { RecordScanner, type Records } from './scan.ts';
import { decodeUtf8 } from './text.ts';

/**
 * JSON whose records stand at a plain path (empty: the page itself), read as a stream. The ends of records are found
 * byte by byte, and `JSON.parse` takes whole groups of them: a tokenizer that makes each value in JavaScript is several
 * times slower than the engine's own parser, and a page of 500 MB must not become one text.
 */
export function jsonPage(path: readonly string[]): PageParser {
  const scanner = new RecordScanner(path);
  const hash = createHash('sha1');
  let envelope: unknown;

  const parse = ({ bytes, doubtful }: Records): Group => {
    hash.update(bytes);
    try {
      return { records: parseExact(`[${decodeUtf8(bytes)}]`, doubtful) as unknown[], bytes: bytes.length };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw unreadable(`it is no JSON at "${shownStart(bytes)}"`, error);
    }
  };

  return {
    textual: false,
    async *groups(body) {
      let any = false;
      for await (const chunk of body) {
        any ||= chunk.length > 0;
        for (const records of scanner.push(chunk)) yield parse(records);
      }
      if (!any) throw unreadable('it is empty');
      if (!scanner.complete) throw brokeOff('in the middle of its JSON');
      // Also judges what stands around the records, when it was kept.
      if (scanner.keptEnvelope) envelope = parseEnvelope(scanner.envelope());
    },
    get found() {
      return scanner.found;
    },
    envelope: () => (scanner.keptEnvelope ? envelope : scanner.envelope()),
    fingerprint: () => hash.copy().digest('base64url'),
  };
}

function parseEnvelope(bytes: Buffer): unknown {
  try {
    return parseExact(decodeUtf8(bytes));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw unreadable(`it is no JSON: it begins with "${shownStart(bytes)}"`, error);
  }
}
