import { hash } from 'node:crypto';
import type { Value } from '../../core/types.ts';

/**
 * Rows that two windows of time both answer. Without a key nothing else tells that they are the same: they are known by
 * all their values, and counted, for two equal rows of one window are two rows.
 */
export interface Repeats {
  /** Whether the row came in the window before, and not yet again in this one. */
  again(row: readonly Value[]): boolean;
  /** A row that the next window may answer again. */
  remember(row: readonly Value[]): void;
  /** The next window begins. */
  turn(): void;
}

/** Nothing came yet. */
export function createRepeats(): Repeats {
  let before = new Map<string, number>();
  let now = new Map<string, number>();
  return {
    again(row) {
      if (before.size === 0) return false;
      const name = nameOf(row);
      const left = before.get(name) ?? 0;
      if (left > 0) before.set(name, left - 1);
      return left > 0;
    },
    remember(row) {
      const name = nameOf(row);
      now.set(name, (now.get(name) ?? 0) + 1);
    },
    turn() {
      before = now;
      now = new Map();
    },
  };
}

/** The same after a column was added or widened. */
function nameOf(row: readonly Value[]): string {
  const texts = row.flatMap((value, at) => (value === null ? [] : [`${at}:${String(value)}`]));
  return hash('sha256', JSON.stringify(texts), 'base64url');
}
