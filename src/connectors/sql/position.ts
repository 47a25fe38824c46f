import { z } from 'zod';
import { MillraceError } from '../../core/errors.ts';
import type { Cursor } from '../../core/model.ts';

/** A mark that some transactions stood in the way of: good once all of them are gone. */
const held = z.object({
  mark: z.string(),
  /** Which server it was and when it started: ids of transactions mean nothing across a restart. */
  server: z.string(),
  /** Who stood in the way, by ids that the dialect's guard can recognise. */
  open: z.array(z.string()),
});

const settled = { mark: z.string().nullable(), held: z.array(held) };

const lookback = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('time'), ms: z.number().nonnegative() }),
  // Stands in SQL as it is.
  z.object({ kind: z.literal('number'), by: z.string().regex(/^\d+(\.\d+)?$/) }),
]);

/**
 * How far a stream has been read. Every value of a column is the source's own text of it. `of` names the cursor
 * and key it was made for: with others it means nothing.
 */
const position = z.discriminatedUnion('phase', [
  /** In the middle of a first load by key, or at its very beginning; `bound` becomes the mark at its end. */
  z.object({
    phase: z.literal('load'),
    of: z.string(),
    bound: z.object(settled),
    after: z.array(z.string()).nullable(),
  }),
  /** In the middle of an incremental run, or at its very beginning; a null cursor: among the rows whose cursor is NULL. */
  z.object({
    phase: z.literal('inc'),
    of: z.string(),
    mark: z.string().nullable(),
    bound: z.object(settled),
    at: z.object({ cursor: z.string().nullable(), key: z.array(z.string()) }).nullable(),
    /** The window behind `mark` that this run reads, for the part of it that is still to begin there. */
    lookback: lookback.optional(),
  }),
  /** Everything below the mark has been read, and nothing can appear there any more. */
  z.object({
    phase: z.literal('settled'),
    of: z.string(),
    ...settled,
    /** The snapshot whose rows were counted and compared with what has landed; in another one they are again. */
    counted: z.string().optional(),
  }),
  /** A complete read by key without a cursor. */
  z.object({ phase: z.literal('done'), of: z.string() }),
  z.object({ phase: z.literal('replace') }),
  /** In the middle of an appending run: rows are read again from `at` on, and recognised. */
  z.object({
    phase: z.literal('append'),
    of: z.string(),
    bound: z.object(settled),
    /** Where the next run is to begin, once this one is complete; null: from the beginning. */
    next: z.string().nullable(),
    /** Where to go on in this run; null: before the first row that has a cursor. */
    at: z.string().nullable(),
    /** The highest cursor that has landed. */
    high: z.string().nullable(),
    nulls: z.boolean(),
  }),
  /** An appending run is complete; the next one begins at `next`. */
  z.object({
    phase: z.literal('appended'),
    of: z.string(),
    ...settled,
    next: z.string().nullable(),
    high: z.string().nullable(),
  }),
]);

export type Held = Readonly<z.infer<typeof held>>;
export type Position = Readonly<z.infer<typeof position>>;

/** The settled mark of the next runs, and what stands in the way of a later one. */
export interface Settled {
  readonly mark: string | null;
  readonly held: readonly Held[];
}

/** The position as it is stored. */
export function writePosition(value: Position): Cursor {
  return JSON.stringify({ v: 1, ...value });
}

/** A stored position; null from the beginning. Throws `cursor_invalid` for what another version or program wrote. */
export function readPosition(cursor: Cursor | null): Position | null {
  if (cursor === null) return null;
  try {
    const parsed: unknown = JSON.parse(cursor);
    if ((parsed as { v?: unknown }).v === 1) return position.parse(parsed);
  } catch {
    // Said below, with what helps.
  }
  throw new MillraceError(
    'cursor_invalid',
    'The stored position of the stream cannot be read by this version.',
    {
      hint: 'Read everything again: sync_connector with full_refresh: true. The landed rows stay until that is complete.',
    },
  );
}
