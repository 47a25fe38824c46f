/**
 * Logical types: what a column means, whatever system it came from, and the one JavaScript form its values
 * have between a source and a destination.
 */

export type LogicalType =
  | 'boolean' // boolean
  | 'integer' // number when safe, else bigint; signed, at most 64 bit
  | 'float' // number; NaN and the infinities as the texts 'NaN', 'Infinity', '-Infinity'
  | 'decimal' // decimal text, never through a double; 'NaN', 'Infinity', '-Infinity' possible
  | 'text' // string: text, uuid, enum, time, interval and every type that lands as the source's own text
  | 'date' // 'YYYY-MM-DD'; ±infinity, BC and years above 9999 as the source's own text
  | 'timestamp' // 'YYYY-MM-DDTHH:MM:SS.ffffff': always six digits, so that text order is time order
  | 'timestamptz' // the same in UTC with 'Z'
  | 'json' // JSON text as the source holds it: json, arrays, composites
  | 'bytes'; // Uint8Array

/** One value of a row. `null` is SQL's NULL. */
export type Value = string | number | bigint | boolean | Uint8Array | null;

/** A column as a stream has it. */
export interface Column {
  readonly name: string;
  readonly type: LogicalType;
  /** The source's own name of the type, e.g. `numeric(12,2)`, `timestamp with time zone`. */
  readonly sourceType: string;
  readonly nullable: boolean;
}
