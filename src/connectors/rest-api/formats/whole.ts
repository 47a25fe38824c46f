import { createHash } from 'node:crypto';
import { parseExact } from '../../../core/exact-json.ts';
import { brokeOff, shownStart, tooLarge, unreadable } from './failures.ts';
import { groupBytes, hashRecords, type PageParser, wholePageBytesMax } from './page.ts';
import { decodeUtf8 } from './text.ts';
import { xmlPage } from './xml.ts';

/** What an expression, or the rules of a stream, make of a whole page. */
export type Pick = (page: unknown) => {
  readonly records: readonly unknown[];
  readonly found: boolean;
  /** As of `PageParser.listed`. */
  readonly listed?: readonly unknown[] | null;
};

/**
 * A page that has to be held whole, because an expression looks at all of it: `records` that is more than a path, a rule
 * on the body, a cursor taken out of the records.
 */
export function wholePage(format: 'json' | 'xml', pick: Pick): PageParser {
  const hash = createHash('sha1');
  let page: unknown = null;
  let found = false;
  let listed: readonly unknown[] | null = null;
  return {
    textual: format === 'xml',
    get found() {
      return found;
    },
    async *groups(body) {
      const read = format === 'json' ? await readJson(body) : await readXml(body);
      page = read.page;
      const picked = pick(page);
      found = picked.found;
      const { records } = picked;
      listed = picked.listed ?? null;
      // One page after the other may have no record that is wanted, and be another page each time.
      if (listed !== null) hashRecords(hash, listed);
      // Records of one page are alike in size: so many of them make a group.
      const each = Math.max(1, Math.floor((groupBytes * records.length) / Math.max(1, read.bytes)));
      for (let at = 0; at < records.length; at += each) {
        const some = records.slice(at, at + each);
        if (listed === null) hashRecords(hash, some);
        yield { records: some, bytes: Math.round((read.bytes * some.length) / records.length) };
      }
    },
    envelope: () => page,
    listed: () => listed,
    fingerprint: () => hash.copy().digest('base64url'),
  };
}

interface Whole {
  readonly page: unknown;
  readonly bytes: number;
}

async function readXml(body: AsyncIterable<Buffer>): Promise<Whole> {
  const parser = xmlPage([]);
  let bytes = 0;
  for await (const group of parser.groups(body)) bytes += group.bytes;
  return { page: parser.envelope(), bytes };
}

async function readJson(body: AsyncIterable<Buffer>): Promise<Whole> {
  const bytes = await collect(body);
  if (bytes.length === 0) throw unreadable('it is empty');
  const text = decodeUtf8(bytes);
  try {
    return { page: parseExact(text), bytes: bytes.length };
  } catch (error) {
    if (/end of JSON input|Unterminated string/i.test(String(error)))
      throw brokeOff('in the middle of its JSON');
    throw unreadable(`it is no JSON: it begins with "${shownStart(bytes)}"`, error);
  }
}

async function collect(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > wholePageBytesMax) {
      throw tooLarge(
        `A page of more than ${wholePageBytesMax} bytes cannot be looked at as a whole`,
        'Set "records" to a plain path such as "data.items", and use no expression that looks into the records: then a page of any size is read as a stream. Or ask for smaller pages.',
      );
    }
  }
  return Buffer.concat(chunks);
}
