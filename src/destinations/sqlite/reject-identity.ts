import { createHash } from 'node:crypto';
import type { Reject } from '../../core/model.ts';
import { keptKey, keptRow, keyText } from '../../core/row-text.ts';
import type { Value } from '../../core/types.ts';

/** Longer keys are known by their hash. */
const keyChars = 200;

/**
 * Which reject it is: of a row with a key that key, so that a newer version of the row takes the place of the one that
 * was kept; of any other row its content and the reason.
 */
export function rejectIdentity(reject: Reject, key: readonly string[]): string {
  const row = key.length === 0 ? null : keptRow(reject.row);
  const text = row === null ? null : keptKey(row, key);
  return text === null ? contentIdentity(`${reject.reason}\0${reject.row}`) : keyed(text);
}

/** The same of values on their way into the table. */
export function keyIdentity(values: readonly Value[]): string {
  return keyed(keyText(values));
}

/** Whether the reject is known by its row's key: then it is the newest version of that row that was read. */
export function isKeyed(identity: string): boolean {
  return identity.startsWith('k');
}

/** The identity of a reject whose row has no key, of its reason and row. */
export function contentIdentity(text: string): string {
  return `h${sha256(text)}`;
}

function keyed(text: string): string {
  return text.length <= keyChars ? `k${text}` : `k#${sha256(text)}`;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
