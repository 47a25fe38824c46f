/** Arrays in PostgreSQL's binary format as JSON text, exactly as its own array_to_json writes them. */

import type { Value } from '../../core/types.ts';
import type { Decoder } from './decode.ts';

/** One element's value as JSON. */
export type ElementJson = (value: Value) => string;

export const rawJson: ElementJson = (value) => String(value);

/** numeric: digits as they are, what is no number in quotes. */
export const numericJson: ElementJson = (value) => {
  const text = String(value);
  return text === 'NaN' || text.endsWith('y') ? `"${text}"` : text;
};

export const textJson: ElementJson = (value) => JSON.stringify(value);

/**
 * A decoder for arrays whose elements `element` decodes. JSON has no lower bounds: an array whose bounds do not
 * begin at 1 stays PostgreSQL's own literal, `[0:2]={1,2,3}`. An element that is not UTF-8 makes the whole array
 * stay bytes.
 */
export function arrayDecoder(element: Decoder, json: ElementJson): Decoder {
  /** One dimension from 1, which nearly all arrays have: no array of the elements is made. */
  const flat: Decoder = (b, o, n) => {
    const size = b.readInt32BE(o + 12);
    let text = '[';
    let at = o + 20;
    for (let i = 0; i < size; i++) {
      const length = b.readInt32BE(at);
      at += 4;
      if (i > 0) text += ',';
      if (length < 0) {
        text += 'null';
        continue;
      }
      const value = element(b, at, length);
      if (value instanceof Uint8Array) return new Uint8Array(b.subarray(o, o + n));
      text += json(value);
      at += length;
    }
    return `${text}]`;
  };

  return (b, o, n) => {
    const dimensions = b.readInt32BE(o);
    if (dimensions === 0) return '[]';
    if (dimensions === 1 && b.readInt32BE(o + 16) === 1) return flat(b, o, n);
    const sizes: number[] = [];
    const bounds: number[] = [];
    for (let d = 0; d < dimensions; d++) {
      sizes.push(b.readInt32BE(o + 12 + 8 * d));
      bounds.push(b.readInt32BE(o + 16 + 8 * d));
    }
    const total = sizes.reduce((product, size) => product * size, 1);
    const elements: Value[] = new Array(total);
    let at = o + 12 + 8 * dimensions;
    for (let i = 0; i < total; i++) {
      const length = b.readInt32BE(at);
      at += 4;
      if (length < 0) {
        elements[i] = null;
        continue;
      }
      const value = element(b, at, length);
      if (value instanceof Uint8Array) return new Uint8Array(b.subarray(o, o + n));
      elements[i] = value;
      at += length;
    }
    if (bounds.some((bound) => bound !== 1)) return literal(elements, sizes, bounds);
    return nested(
      elements.map((value) => (value === null ? 'null' : json(value))),
      sizes,
      ['[', ']'],
    );
  };
}

function literal(elements: readonly Value[], sizes: readonly number[], bounds: readonly number[]): string {
  const head = sizes.map((size, d) => `[${bounds[d]}:${(bounds[d] ?? 1) + size - 1}]`).join('');
  return `${head}=${nested(elements.map(literalElement), sizes, ['{', '}'])}`;
}

/** array_out's rule for what needs quotes. */
function literalElement(value: Value): string {
  if (value === null) return 'NULL';
  if (typeof value === 'boolean') return value ? 't' : 'f';
  const text = String(value);
  if (text !== '' && !/[{}",\\\s]|^null$/i.test(text)) return text;
  return `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}

function nested(
  elements: readonly string[],
  sizes: readonly number[],
  brackets: readonly [string, string],
): string {
  let level = elements;
  for (let d = sizes.length - 1; d >= 0; d--) {
    const size = sizes[d] ?? 0;
    const next: string[] = [];
    for (let i = 0; i < level.length; i += size)
      next.push(`${brackets[0]}${level.slice(i, i + size).join(',')}${brackets[1]}`);
    level = next;
  }
  return level[0] ?? '';
}
