import { MillraceError } from '../../core/errors.ts';
import { type InPacket, OutPacket, type Wire } from './connect.ts';

/** A column of a result, as the protocol describes it. */
export interface Field {
  readonly name: string;
  /** Of the table it comes from, if it comes from one: schema, table and column. Empty for what is computed. */
  readonly schema: string;
  readonly table: string;
  readonly column: string;
  /** The protocol's number of the type: see `wireTypes`. */
  readonly type: number;
  /** The number of the collation; 63 is binary. */
  readonly collation: number;
  /** Bytes at most. */
  readonly length: number;
  readonly flags: number;
  /** Digits behind the point; 31 and more is "as many as it has". */
  readonly decimals: number;
  /** What MariaDB calls the type where the number does not tell: `uuid`, `inet6`, `point`; null elsewhere. */
  readonly extended: string | null;
  /** MariaDB's `json` for a text that is checked to be one. */
  readonly format: string | null;
}

/** The types that come over the wire. */
export const wireTypes = {
  decimal: 0,
  tiny: 1,
  short: 2,
  long: 3,
  float: 4,
  double: 5,
  null: 6,
  timestamp: 7,
  longlong: 8,
  int24: 9,
  date: 10,
  time: 11,
  datetime: 12,
  year: 13,
  newdate: 14,
  varchar: 15,
  bit: 16,
  vector: 242,
  json: 245,
  newdecimal: 246,
  enum: 247,
  set: 248,
  tinyblob: 249,
  mediumblob: 250,
  longblob: 251,
  blob: 252,
  varstring: 253,
  string: 254,
  geometry: 255,
} as const;

/** Bits of `Field.flags`. */
export const fieldFlags = { notNull: 1, unsigned: 32, zerofill: 64, enum: 256, set: 2048 } as const;

export const binaryCollation = 63;

/** Takes a column definition apart. The driver's own would read a name in the character set of the column's values. */
export function readField(packet: InPacket, extendedMetadata: boolean): Field {
  const { buffer } = packet;
  let at = packet.start + 4;
  const next = (): string => {
    const length = readLength(buffer, at);
    const from = at + lengthSize(buffer, at);
    at = from + length;
    return buffer.utf8Slice(from, at);
  };
  next(); // the catalogue, always "def"
  const schema = next();
  next(); // the alias of the table
  const table = next();
  const name = next();
  const column = next();
  let extended: string | null = null;
  let format: string | null = null;
  if (extendedMetadata) {
    const end = at + lengthSize(buffer, at) + readLength(buffer, at);
    at += lengthSize(buffer, at);
    while (at < end) {
      const kind = buffer[at++];
      if (kind === 0) extended = next();
      else if (kind === 1) format = next();
      else next();
    }
  }
  at += 1;
  return {
    name,
    schema,
    table,
    column,
    collation: buffer.readUInt16LE(at),
    length: buffer.readUInt32LE(at + 2),
    type: buffer[at + 6] as number,
    flags: buffer.readUInt16LE(at + 7),
    decimals: buffer[at + 9] as number,
    extended,
    format,
  };
}

/** A length-coded number at `at`. Lengths above 2^53 do not exist. */
export function readLength(buffer: Buffer, at: number): number {
  const first = buffer[at] as number;
  if (first < 251) return first;
  if (first === 252) return buffer.readUInt16LE(at + 1);
  if (first === 253) return buffer.readUIntLE(at + 1, 3);
  return buffer.readUIntLE(at + 1, 6);
}

/** How many bytes that number takes. */
export function lengthSize(buffer: Buffer, at: number): number {
  const first = buffer[at] as number;
  return first < 251 ? 1 : first === 252 ? 3 : first === 253 ? 4 : 9;
}

/** Whether this connection's column definitions have MariaDB's additions. */
export function extendedMetadata(connection: Wire): boolean {
  return (connection as unknown as { _mariadbExtendedMetadata?: boolean })._mariadbExtendedMetadata === true;
}

const codes = { prepare: 0x16, close: 0x19 } as const;

/** The answer to a statement being prepared, as it comes packet by packet. */
export class Preparation {
  /** What to execute and close it by. */
  id = 0;
  #step: 'header' | 'parameters' | 'fields' | 'done' = 'header';
  #fieldCount = 0;
  #parameters = false;

  static begin(sql: string, connection: Wire): Preparation {
    connection._resetSequenceId();
    connection.writePacket(new OutPacket(codes.prepare, Buffer.from(sql)));
    return new Preparation();
  }

  /** True when it is complete. `onField` is called for each column. */
  next(packet: InPacket, onField: () => void): boolean {
    const { buffer, start } = packet;
    if (this.#step === 'header') {
      this.id = buffer.readUInt32LE(start + 5);
      this.#fieldCount = buffer.readUInt16LE(start + 9);
      const parameters = buffer.readUInt16LE(start + 11);
      this.#step = parameters > 0 ? 'parameters' : this.#fieldCount > 0 ? 'fields' : 'done';
      if (parameters > 0) this.#parameters = true;
    } else if (!isEof(packet)) {
      if (this.#step === 'fields') onField();
    } else {
      this.#step = this.#step === 'parameters' && this.#fieldCount > 0 ? 'fields' : 'done';
    }
    return this.#step === 'done';
  }

  /** What is wrong with the statement for us; null when it can be executed. */
  complaint(): MillraceError | null {
    if (this.#parameters) {
      return new MillraceError(
        'invalid_config',
        'The SQL has a "?" outside of quotes: a place for a value that nobody gives.',
        {
          hint: 'Write the value itself into `query` or `where`, or put the ? into quotes.',
        },
      );
    }
    if (this.#fieldCount > 0) return null;
    return new MillraceError('query_rejected', 'The SQL has no columns: it is no SELECT.', {
      hint: 'Write the `query` as one SELECT.',
    });
  }

  /** Lets the server forget it; nothing comes back. */
  close(connection: Wire): void {
    closeStatement(this.id, connection);
  }
}

function closeStatement(id: number, connection: Wire): void {
  const body = Buffer.alloc(4);
  body.writeUInt32LE(id);
  connection._resetSequenceId();
  connection.writePacket(new OutPacket(codes.close, body));
}

/** The end of a list of columns or rows. A row of the binary protocol begins with 0. */
export function isEof({ buffer, start, end }: InPacket): boolean {
  return buffer[start + 4] === 0xfe && end - start < 13;
}

/** The server has refused, or given up. */
export function isError({ buffer, start }: InPacket): boolean {
  return buffer[start + 4] === 0xff;
}

/** Prepares a statement, to see its columns, and lets it go. */
export class DescribeCommand {
  readonly #sql: string;
  readonly #settle: (fields: readonly Field[]) => void;
  readonly #fail: (error: unknown) => void;
  readonly #fields: Field[] = [];
  #preparation: Preparation | null = null;

  constructor(sql: string, settle: (fields: readonly Field[]) => void, fail: (error: unknown) => void) {
    this.#sql = sql;
    this.#settle = settle;
    this.#fail = fail;
  }

  execute(packet: InPacket | undefined, connection: Wire): boolean {
    if (this.#preparation === null || packet === undefined) {
      this.#preparation = Preparation.begin(this.#sql, connection);
      return false;
    }
    if (isError(packet)) {
      this.#fail(packet.asError('utf8'));
      return true;
    }
    const done = this.#preparation.next(packet, () => {
      this.#fields.push(readField(packet, extendedMetadata(connection)));
    });
    if (!done) return false;
    this.#preparation.close(connection);
    const complaint = this.#preparation.complaint();
    if (complaint) this.#fail(complaint);
    else this.#settle(this.#fields);
    return true;
  }

  onResult(error: unknown): void {
    this.#fail(error);
  }
}
