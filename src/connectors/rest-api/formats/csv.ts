import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Parser } from 'csv-parse';
import type { Reject } from '../../../core/model.ts';
import type { CsvConfig } from '../../../core/rest.ts';
import { brokeOff, unreadable } from './failures.ts';
import { type Group, groupBytes, type PageParser, recordBytesMax } from './page.ts';

/** Looked at to find the delimiter. */
const headBytes = 64 * 1024;
const delimiters = [',', ';', '\t', '|'] as const;

/**
 * CSV by `csv-parse`: any delimiter, quotes with line ends in them. An empty field is NULL and a quoted empty one an empty
 * text. A row of another length than the header is a reject: shifted values would land in wrong columns.
 */
export function csvPage(config: CsvConfig): PageParser {
  const hash = createHash('sha1');
  let lastByte = 0;

  async function* hashed(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
    for await (const chunk of body) {
      hash.update(chunk);
      if (chunk.length > 0) lastByte = chunk.at(-1) ?? 0;
      yield chunk;
    }
  }

  return {
    textual: true,
    found: true,
    async *groups(body) {
      const { head, all } = await peek(hashed(body), headBytes);
      const rows = csvRows(all, config, head);
      const gather = createGather(config);
      let waiting: readonly (string | null)[] | null = null;
      for await (const row of rows) {
        if (waiting !== null && gather.add(waiting)) yield gather.take();
        waiting = row;
      }
      if (waiting !== null) {
        // A last line that stops short is a file that stops short.
        if (lastByte !== 0x0a && lastByte !== 0x0d && gather.isShort(waiting))
          throw brokeOff('in its last line');
        gather.add(waiting);
      }
      if (!gather.isEmpty) yield gather.take();
    },
    envelope: () => null,
    fingerprint: () => hash.copy().digest('base64url'),
  };
}

async function* csvRows(
  body: AsyncIterable<Buffer>,
  config: CsvConfig,
  head: string,
): AsyncGenerator<readonly (string | null)[], void, void> {
  const quote = config.quote ?? '"';
  const parser = new Parser({
    delimiter: config.delimiter ?? sniffDelimiter(head, quote),
    quote,
    escape: quote,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: recordBytesMax,
    cast: (value, { quoting }) => (value === '' && !quoting ? null : value),
  });
  const moved = pipeline(Readable.from(body), parser);
  moved.catch(() => undefined);
  try {
    for await (const row of parser) yield row as (string | null)[];
    await moved;
  } catch (error) {
    const code = (error as { readonly code?: unknown }).code;
    if (code === 'CSV_QUOTE_NOT_CLOSED') throw brokeOff('inside of quotes');
    if (typeof code === 'string' && code.startsWith('CSV_'))
      throw unreadable(
        `it is no CSV with this delimiter and quote: ${(error as Error).message.slice(0, 200)}`,
        error,
      );
    throw error;
  }
}

interface Gather {
  /** True when enough came together. */
  add(row: readonly (string | null)[]): boolean;
  take(): Group;
  isShort(row: readonly unknown[]): boolean;
  readonly isEmpty: boolean;
}

/** Rows become records by the names of the first one. */
function createGather(config: CsvConfig): Gather {
  let names: readonly string[] | null = null;
  let records: Record<string, string | null>[] = [];
  let rejects: Reject[] = [];
  let bytes = 0;
  let row = 0;
  return {
    add(values) {
      row += 1;
      if (names === null) {
        names = namesFrom(values, config.header !== false);
        if (config.header !== false) return false;
      }
      bytes += values.reduce((sum, value) => sum + (value?.length ?? 0) + 1, 0);
      if (values.length !== names.length) {
        rejects.push({
          row: JSON.stringify(values).slice(0, 60_000),
          reason: `row ${row} has ${values.length} fields and the header ${names.length}`,
        });
      } else {
        const record: Record<string, string | null> = {};
        for (let at = 0; at < names.length; at++) record[names[at] ?? ''] = values[at] ?? null;
        records.push(record);
      }
      return bytes >= groupBytes;
    },
    take() {
      const group = { records, bytes, ...(rejects.length === 0 ? {} : { rejects }) };
      records = [];
      rejects = [];
      bytes = 0;
      return group;
    },
    isShort: (values) => names !== null && values.length < names.length,
    get isEmpty() {
      return records.length === 0 && rejects.length === 0;
    },
  };
}

function namesFrom(values: readonly (string | null)[], header: boolean): readonly string[] {
  const taken = new Set<string>();
  return values.map((value, at) => {
    const given = header ? (value ?? '').trim() : '';
    // `__proto__` would be no field of an object but its prototype.
    const base = given === '' ? `column_${at + 1}` : given === '__proto__' ? 'proto' : given;
    let name = base;
    for (let n = 2; taken.has(name); n++) name = `${base}_${n}`;
    taken.add(name);
    return name;
  });
}

/** The delimiter that the first line has most of, outside of quotes. */
function sniffDelimiter(head: string, quote: string): string {
  const counts = new Map<string, number>();
  let quoted = false;
  for (const char of head) {
    if (char === quote) quoted = !quoted;
    else if (!quoted && (char === '\n' || char === '\r')) {
      if (counts.size > 0) break;
    } else if (!quoted && (delimiters as readonly string[]).includes(char))
      counts.set(char, (counts.get(char) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? ',';
}

/** The beginning of a body as text, and the whole body again. */
async function peek(
  body: AsyncIterable<Buffer>,
  bytes: number,
): Promise<{ readonly head: string; readonly all: AsyncGenerator<Buffer, void, void> }> {
  const iterator = body[Symbol.asyncIterator]();
  const seen: Buffer[] = [];
  let size = 0;
  while (size < bytes) {
    const next = await iterator.next();
    if (next.done === true) break;
    seen.push(next.value);
    size += next.value.length;
  }
  async function* all(): AsyncGenerator<Buffer, void, void> {
    try {
      yield* seen.splice(0);
      for (;;) {
        const next = await iterator.next();
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { head: Buffer.concat(seen).subarray(0, bytes).toString('utf8'), all: all() };
}
