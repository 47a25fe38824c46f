import { createHash } from 'node:crypto';
import type { Value } from '../../core/types.ts';

/**
 * 128 bits of SHA-256 over a row's values, each with its column's name and its length so that no two rows write the
 * same text. NULLs are left out and 5 and '5' are the same: a row read again after a column was added or widened is
 * still the row that landed.
 */
export function rowHasher(columns: readonly string[]): (values: readonly Value[]) => Buffer {
  const names = columns.map((name) => `${name.length}:${name}`);
  return (values) => {
    const hash = createHash('sha256');
    let text = '';
    for (const [index, value] of values.entries()) {
      if (value === null) continue;
      if (value instanceof Uint8Array) {
        hash.update(`${text}${names[index]}b${value.length}:`).update(value);
        text = '';
      } else {
        const shown = String(value);
        text += `${names[index]}t${shown.length}:${shown}`;
      }
    }
    return hash.update(text).digest().subarray(0, 16);
  };
}
