import { MillraceError } from '../../core/errors.ts';
import type { Reject } from '../../core/model.ts';
import { rejectOf } from '../../core/row-text.ts';
import type { LogicalType, Value } from '../../core/types.ts';
import { type Decoder, endBlock } from '../sql/bytes.ts';
import { plain } from '../sql/names.ts';
import { type FieldReader, fieldReader, oddDates } from './decode.ts';
import { type Field, lengthSize, readLength } from './fields.ts';
import { type DateColumn, dateColumns, type OddDates } from './odd-dates.ts';
import type { Travel } from './types.ts';

/** Rows on their way out: flat values in column order, and what belongs to them. */
export interface RowBatch {
  readonly values: Value[];
  /** Rows in `values`. */
  readonly rows: number;
  readonly bytes: number;
  /** Flat values of the hidden columns, of the rows in `values`. */
  readonly hidden: Value[];
  /** Rows that were read and must not land. */
  readonly rejects: readonly Reject[];
  /** The last row that was read, rejected or not, its dates as the server has them; and its hidden values behind it. */
  readonly last: readonly Value[];
}

export interface RowColumn {
  readonly name: string;
  readonly travel: Travel;
}

/** What the SELECT list means, in order. */
export interface RowPlan {
  /** The columns that land. */
  readonly columns: readonly RowColumn[];
  /** Behind them, for us. */
  readonly hidden: readonly Travel[];
  /** Counts, and judges, dates that no calendar has. One for a whole reading. */
  readonly oddDates: OddDates;
}

/** A batch ends when it holds this many values or bytes, whichever comes first; one row may be larger. */
const batchValuesMax = 13_000;
const batchBytesMax = 256 * 1024;

/** Gathers decoded rows until a batch is full. */
export class RowBuilder {
  readonly #plan: RowPlan;
  readonly #names: readonly string[];
  readonly #width: number;
  readonly #decoders: readonly Decoder[];
  /** Of each field its length, or 0 where that stands before it. */
  readonly #sizes: readonly number[];
  /** Of each field of the columns that land: which of them. The bytes of a guarded text share its place. */
  readonly #places: readonly number[];
  readonly #guards: readonly boolean[];
  readonly #dates: readonly DateColumn[];
  #values: Value[] = [];
  #hidden: Value[] = [];
  #rejects: Reject[] = [];
  #blank: Value[] = [];
  /** The last row when its dates have been changed or it is a reject; null when it stands in the values. */
  #last: readonly Value[] | null = null;
  #rows = 0;
  #bytes = 0;

  constructor(plan: RowPlan, fields: readonly Field[]) {
    const slots = slotsOf(plan);
    if (slots.length + plan.hidden.length !== fields.length) throw unreadable();
    const readers = [
      ...slots.map(({ type, name }, i) => readerOf(type, fields[i] as Field, name)),
      ...plan.hidden.map(({ type }, i) => readerOf(type, fields[slots.length + i] as Field, '')),
    ];
    this.#plan = plan;
    this.#names = plan.columns.map(({ name }) => name);
    this.#width = plan.columns.length;
    this.#decoders = readers.map(({ decode }) => decode);
    this.#sizes = readers.map(({ size }) => size);
    this.#places = slots.map(({ place }) => place);
    this.#guards = slots.map(({ guard }) => guard);
    this.#dates = dateColumns(plan.columns.map(({ name, travel: { type } }) => ({ name, type })));
  }

  /** Decodes one row, which begins with its zero byte; true when the batch is full. */
  row(buffer: Buffer, from: number, end: number): boolean {
    const sizes = this.#sizes;
    const decoders = this.#decoders;
    const places = this.#places;
    const landing = places.length;
    const values = this.#values;
    const fill = this.#rows * this.#width;
    const before = oddDates;
    // One bit for each field, the first two of them unused.
    let at = from + 1 + ((sizes.length + 9) >> 3);
    for (let i = 0; i < sizes.length; i++) {
      let value: Value = null;
      if (((buffer[from + 1 + ((i + 2) >> 3)] as number) & (1 << ((i + 2) & 7))) === 0) {
        let length = sizes[i] as number;
        if (length === 0) {
          length = buffer[at] as number;
          if (length < 251) at += 1;
          else {
            length = readLength(buffer, at);
            at += lengthSize(buffer, at);
          }
        }
        if (at + length > end) throw unreadable();
        value = (decoders[i] as Decoder)(buffer, at, length);
        at += length;
      }
      if (i >= landing) this.#hidden.push(value);
      else if (value !== null || !this.#guards[i]) values[fill + (places[i] as number)] = value;
    }
    if (at !== end) throw unreadable();
    this.#bytes += end - from;
    this.#last = null;
    this.#rows += 1;
    if (oddDates !== before) this.#judge(fill);
    const held = (this.#rows + this.#rejects.length) * this.#width;
    return held >= batchValuesMax || this.#bytes >= batchBytesMax;
  }

  /** The row that begins at `fill` has a date that no calendar has. */
  #judge(fill: number): void {
    const row = this.#values.slice(fill, fill + this.#width);
    const hidden = this.#plan.hidden.length;
    this.#last = hidden === 0 ? row : [...row, ...this.#hidden.slice(-hidden)];
    const reason = this.#plan.oddDates.judge(this.#dates, this.#values, fill);
    if (reason === null) return;
    this.#rejects.push(rejectOf(this.#names, row, reason));
    this.#rows -= 1;
    this.#hidden.length -= hidden;
  }

  /**
   * As large as the last batch was: growing to it would copy the array seventeen times. And without holes: V8 writes an
   * array that may have some as a list of properties when it crosses to another thread, at a multiple of the cost.
   */
  #likeLast(): Value[] {
    const size = this.#rows * this.#width;
    if (this.#blank.length < size) this.#blank = Array.from({ length: size }, () => 0);
    return this.#blank.slice(0, size);
  }

  /** What was gathered, and a new beginning. */
  take(): RowBatch {
    endBlock();
    this.#values.length = this.#rows * this.#width;
    const batch: RowBatch = {
      values: this.#values,
      rows: this.#rows,
      bytes: this.#bytes,
      hidden: this.#hidden,
      rejects: this.#rejects,
      last: this.#last ?? this.#lastLanded(),
    };
    this.#values = this.#likeLast();
    this.#hidden = [];
    this.#rejects = [];
    this.#last = null;
    this.#rows = 0;
    this.#bytes = 0;
    return batch;
  }

  #lastLanded(): readonly Value[] {
    const hidden = this.#plan.hidden.length;
    const row = this.#values.slice(this.#values.length - this.#width);
    return hidden === 0 ? row : [...row, ...this.#hidden.slice(-hidden)];
  }
}

interface Slot {
  readonly name: string;
  readonly type: LogicalType;
  readonly place: number;
  readonly guard: boolean;
}

/** The fields of the columns that land: a guarded text has two. */
function slotsOf(plan: RowPlan): readonly Slot[] {
  return plan.columns.flatMap(({ name, travel }, place): Slot[] => [
    { name, type: travel.type, place, guard: false },
    ...(travel.guarded ? [{ name, type: 'bytes' as const, place, guard: true }] : []),
  ]);
}

function readerOf(type: LogicalType, field: Field, name: string): FieldReader {
  const reader = fieldReader(type, field);
  if (reader !== null) return reader;
  throw new MillraceError(
    'schema_changed',
    `The source changed while it was being looked at: column "${plain(name || field.name, 63)}" has another type.`,
    { hint: 'Millrace tries again with the new shape by itself.' },
  );
}

/** Bytes that are not what the protocol says. */
export function unreadable(): MillraceError {
  return new MillraceError('response_invalid', 'The server sent rows that do not follow its own protocol.', {
    hint: 'Something between Millrace and the server may change the bytes: connect to the server itself, not through a proxy that is not one of MySQL.',
  });
}
