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
  /** Sentences for the run. */
  notices(): readonly string[];
}

/** Of a window, each about a hundred bytes: those of two are held, in a thread that has a gigabyte for all it does. */
const differentMax = 500_000;

/** Nothing came yet. `rowsMax`: how many different rows of a window are remembered. */
export function createRepeats(rowsMax = differentMax): Repeats {
  let before = new Map<string, number>();
  let now = new Map<string, number>();
  let missed = false;
  return {
    again(row) {
      if (before.size === 0) return false;
      const name = nameOf(row);
      const left = before.get(name) ?? 0;
      if (left > 1) before.set(name, left - 1);
      else before.delete(name);
      return left > 0;
    },
    remember(row) {
      const name = nameOf(row);
      const times = now.get(name) ?? 0;
      if (times > 0 || now.size < rowsMax) now.set(name, times + 1);
      else missed = true;
    },
    turn() {
      before = now;
      now = new Map();
    },
    notices: () =>
      missed
        ? [
            `More than ${rowsMax} different rows of one window may come again in the next: no more are remembered, and others that came in both are here twice. Declare a shorter "window", or primary_key with mode "merge".`,
          ]
        : [],
  };
}

/** The same after a column was added or widened. */
function nameOf(row: readonly Value[]): string {
  const texts = row.flatMap((value, at) => (value === null ? [] : [`${at}:${String(value)}`]));
  return hash('sha256', JSON.stringify(texts), 'base64url');
}
