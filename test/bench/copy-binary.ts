import type pg from 'pg';

/**
 * The hand parser of the ceiling: COPY (FORMAT binary) as it comes off the socket, and nothing that a product
 * needs (no errors halfway, no abort, no bound on a message, no choice of columns). Kept apart from Millrace's
 * own reader on purpose: a ceiling that shares code with what it measures is none.
 */
type Decode = (bytes: Bytes, at: number, length: number) => unknown;

/** With Node's own undocumented slices: `toString` costs a third more on short texts. */
type Bytes = Buffer &
  Readonly<Record<'utf8Slice' | 'latin1Slice' | 'hexSlice', (from: number, to: number) => string>>;

/** Rows of one table, flat, `columns` values each. Resolves when the server has sent its last. */
export function copyBinary(
  client: pg.Client,
  sql: string,
  read: { readonly decoders: readonly Decode[]; readonly rows: number },
  onRows: (values: readonly unknown[], rows: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let values: unknown[] = [];
    let rows = 0;
    const flush = (): void => {
      if (rows > 0) onRows(values, rows);
      values = [];
      rows = 0;
    };
    const take = (bytes: Bytes, start: number): void => {
      const columns = bytes.readInt16BE(start);
      if (columns === -1) return;
      let at = start + 2;
      for (let i = 0; i < columns; i++) {
        const length = bytes.readInt32BE(at);
        at += 4;
        if (length < 0) {
          values.push(null);
        } else {
          values.push((read.decoders[i] as Decode)(bytes, at, length));
          at += length;
        }
      }
      if (++rows === read.rows) flush();
    };
    client.query({
      submit: (connection: unknown) => submit(connection as Connection, sql, { take, flush }),
      ...ends(resolve, reject),
    } as never);
  });
}

interface Connection {
  readonly stream: NodeJS.ReadableStream;
  query(sql: string): void;
}

const COPY_DATA = 0x64;
const COPY_OUT_RESPONSE = 0x48;
/** Signature, flags and the length of an empty extension, before the first row. */
const COPY_HEADER_BYTES = 19;

/** Takes the socket from `pg` while rows come, and gives it back with the first message that is not one. */
function submit(
  connection: Connection,
  sql: string,
  sink: { readonly take: (bytes: Bytes, at: number) => void; readonly flush: () => void },
): void {
  const [original] = connection.stream.listeners('data') as ((chunk: Buffer) => void)[];
  if (!original) throw new Error('pg does not listen to its socket');
  connection.stream.removeListener('data', original);
  let rest: Buffer | null = null;
  let first = true;
  const onData = (chunk: Buffer): void => {
    const bytes: Buffer = rest ? Buffer.concat([rest, chunk]) : chunk;
    rest = null;
    let at = 0;
    while (bytes.length - at >= 5) {
      const length = bytes.readInt32BE(at + 1);
      if (bytes.length - at < length + 1) break;
      if (bytes[at] === COPY_DATA) {
        const start = at + 5 + (first ? COPY_HEADER_BYTES : 0);
        first = false;
        if (start < at + 1 + length) sink.take(bytes as Bytes, start);
      } else if (bytes[at] !== COPY_OUT_RESPONSE) {
        sink.flush();
        connection.stream.removeListener('data', onData);
        connection.stream.on('data', original);
        original(bytes.subarray(at));
        return;
      }
      at += length + 1;
    }
    if (at < bytes.length) rest = bytes.subarray(at);
  };
  connection.stream.on('data', onData);
  connection.query(sql);
}

/** What `pg` wants to find on a query object. */
function ends(resolve: () => void, reject: (error: Error) => void): Readonly<Record<string, unknown>> {
  const nothing = (): void => {};
  return {
    handleError: reject,
    handleReadyForQuery: resolve,
    handleCommandComplete: nothing,
    handleCopyData: nothing,
    handleRowDescription: nothing,
  };
}

const DAY_MS = 86_400_000;
const DAY_US = 86_400_000_000;
/** PostgreSQL counts from 2000-01-01. */
const EPOCH_MS = 946_684_800_000;
const TWO = Array.from({ length: 100 }, (_, i) => String(i).padStart(2, '0'));
const THREE = Array.from({ length: 1000 }, (_, i) => String(i).padStart(3, '0'));
const days = new Map<number, string>();

function dayText(day: number): string {
  let text = days.get(day);
  if (text === undefined) {
    text = new Date(EPOCH_MS + day * DAY_MS).toISOString().slice(0, 10);
    days.set(day, text);
  }
  return text;
}

const int4: Decode = (b, at) => b.readInt32BE(at);

const int8: Decode = (b, at) => {
  const high = b.readInt32BE(at);
  if (high >= -0x200000 && high < 0x200000) return high * 0x100000000 + b.readUInt32BE(at + 4);
  return b.readBigInt64BE(at);
};

const text: Decode = (b, at, length) => {
  const end = at + length;
  if (length >= 40) return b.utf8Slice(at, end);
  for (let i = at; i < end; i++) if ((b[i] as number) > 127) return b.utf8Slice(at, end);
  return b.latin1Slice(at, end);
};

const bool: Decode = (b, at) => b[at];
const jsonb: Decode = (b, at, length) => b.utf8Slice(at + 1, at + length);
const bytea: Decode = (b, at, length) => b.subarray(at, at + length);
const date: Decode = (b, at) => dayText(b.readInt32BE(at));

const uuid: Decode = (b, at) => {
  const hex = b.hexSlice(at, at + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};

const timestamptz: Decode = (b, at) => {
  const us = b.readInt32BE(at) * 0x100000000 + b.readUInt32BE(at + 4);
  const day = Math.floor(us / DAY_US);
  const rest = us - day * DAY_US;
  const seconds = Math.floor(rest / 1e6);
  const micros = rest - seconds * 1e6;
  const hour = (seconds / 3600) | 0;
  const minute = ((seconds - hour * 3600) / 60) | 0;
  return `${dayText(day)}T${TWO[hour]}:${TWO[minute]}:${TWO[seconds - hour * 3600 - minute * 60]}.${THREE[(micros / 1000) | 0]}${THREE[micros % 1000]}Z`;
};

const numeric: Decode = (b, at) => {
  const digits = b.readInt16BE(at);
  const weight = b.readInt16BE(at + 2);
  const scale = b.readUInt16BE(at + 6);
  const group = (i: number): number => (i >= 0 && i < digits ? b.readUInt16BE(at + 8 + 2 * i) : 0);
  let out = b.readUInt16BE(at + 4) === 0x4000 ? '-' : '';
  if (weight < 0) out += '0';
  for (let i = 0; i <= weight; i++) out += i === 0 ? group(0) : String(group(i)).padStart(4, '0');
  if (scale === 0) return out;
  let fraction = '';
  for (let i = weight + 1; fraction.length < scale; i++) fraction += String(group(i)).padStart(4, '0');
  return `${out}.${fraction.slice(0, scale)}`;
};

const int4Array: Decode = (b, at) => {
  if (b.readInt32BE(at) === 0) return '[]';
  const count = b.readInt32BE(at + 12);
  let from = at + 20;
  let out = '[';
  for (let i = 0; i < count; i++) {
    const length = b.readInt32BE(from);
    from += 4;
    out += i === 0 ? '' : ',';
    out += length < 0 ? 'null' : b.readInt32BE(from);
    from += Math.max(length, 0);
  }
  return `${out}]`;
};

/** A decoder a column, for the tables of `tables.ts`. */
export const DECODERS: Readonly<Record<'narrow' | 'wide', readonly Decode[]>> = {
  narrow: [int4, int4, text, timestamptz],
  wide: [int8, uuid, text, numeric, bool, timestamptz, jsonb, int4Array, date, bytea, int4, text, int4],
};
