/**
 * What late-commit guards have in common: what they answer, and the marks they remember while somebody stands in
 * the way. Who is open, and the proof that nobody is missed, is each dialect's own.
 */

import type { Lookback } from './lookback.ts';
import type { Held, Settled } from './position.ts';

export interface GuardResult {
  /** What will be settled when everything up to now has been read. */
  readonly bound: Settled;
  /** Which protection was in force, for the run. */
  readonly guard: string;
  readonly warnings: readonly string[];
  /** The window to read behind the mark in this run. */
  readonly lookback: Lookback | null;
}

/** Remembered marks, and open transactions remembered with one: beyond that a mark is simply not kept. */
const heldMax = 8;
const openMax = 200;

/** The marks that are good now, since all who stood in their way are gone, and those that go on waiting. */
export interface Remembered {
  readonly released: readonly string[];
  readonly held: readonly Held[];
}

/** Sorts the remembered marks, and adds the new one with those who stand in its way. */
export function remember(held: readonly Held[], now: Held, isGone: (entry: Held) => boolean): Remembered {
  const waiting = held.filter((entry) => !isGone(entry));
  const adds = now.open.length <= openMax && waiting.at(-1)?.mark !== now.mark;
  return {
    released: held.filter((entry) => !waiting.includes(entry)).map(({ mark }) => mark),
    held: (adds ? [...waiting, now] : waiting).slice(-heldMax),
  };
}

/** A mark cannot move, or not far: who is in the way, and where to look for them. */
export function heldWarning(count: number, mark: string | null, where: string): string {
  const who = count === 1 ? 'A transaction is' : `${count} transactions are`;
  const then =
    mark === null
      ? 'the next run reads the whole table again'
      : 'rows since the previous mark are read again by the next run';
  return `${who} still open at the source and may commit older rows: ${then}, until they end. ${where} shows who they are.`;
}
