/** What the formats have in common: bytes of an answer in, records out, a bounded number at a time. */

import type { Hash } from 'node:crypto';
import type { Reject } from '../../../core/model.ts';

/** Some records of a page, in their order. */
export interface Group {
  readonly records: readonly unknown[];
  /** About what they had on the wire, unpacked. */
  readonly bytes: number;
  /** Lines that are no record, kept as they came. */
  readonly rejects?: readonly Reject[];
}

/** Takes one page apart. Read once, to the end; then the envelope and the fingerprint are known. */
export interface PageParser {
  groups(body: AsyncIterable<Buffer>): AsyncIterable<Group>;
  /** Whether there was a place for records: where there was none, the page is of another kind. */
  readonly found: boolean;
  /** The page without its records; null where the format has no such thing. Throws when it was too large to keep. */
  envelope(): unknown;
  /** The list in the page that the records were made of, where that is another one: before a filter. */
  listed?(): readonly unknown[] | null;
  /** Tells one page's records from another's, however the bytes were cut on their way. */
  fingerprint(): string;
  /** True when values are texts that may stand for numbers and booleans (CSV, XML). */
  readonly textual: boolean;
}

/** Takes records into a fingerprint: the same ones give the same, however they were grouped, and whatever surrounds them. */
export function hashRecords(hash: Hash, records: readonly unknown[]): void {
  hash.update(`${JSON.stringify(records).slice(1, -1)},`);
}

/** Records that are parsed at one time: enough for a batch, little enough that several fit into the young generation. */
export const groupBytes = 128 * 1024;
/** One record may not be larger: it has to become one JavaScript text, and one row. */
export const recordBytesMax = 64 * 1024 * 1024;
/** What surrounds the records is kept for the pagination up to here. */
export const envelopeBytesMax = 4 * 1024 * 1024;
/** A page that has to be held whole, because an expression looks at all of it. */
export const wholePageBytesMax = 64 * 1024 * 1024;
