import { z } from 'zod';
import { MillraceError } from '../../core/errors.ts';
import type { Cursor, ResolvedStream } from '../../core/model.ts';
import type { PagePosition } from './pagination/pager.ts';

// Positions of earlier versions do not say what page led there.
const led = {
  before: z.string().nullable().default(null),
  moved: z.boolean().default(false),
  scroll: z.boolean().default(false),
};

const pagePosition = z.discriminatedUnion('at', [
  z.object({ at: z.literal('first') }),
  z.object({ at: z.literal('offset'), offset: z.number(), tail: z.array(z.string()) }),
  // Positions of earlier versions do not say how many rows were read.
  z.object({ at: z.literal('page'), page: z.number(), read: z.number().nullable().default(null) }),
  z.object({ at: z.literal('cursor'), cursor: z.string(), ...led }),
  z.object({ at: z.literal('url'), url: z.string(), ...led }),
  z.object({ at: z.literal('after'), after: z.string() }),
]);

/** In the middle of a reading. */
const run = z.object({
  /** How the list was paged: pages of another way mean nothing here. */
  paged: z.string(),
  /** No mark of this reading goes beyond this moment, in ms: what came later belongs to the next one. */
  until: z.number(),
  /** The highest cursor that has landed in this reading, the last one, and the order in which they came. */
  seen: z.object({
    high: z.string().nullable(),
    last: z.string().nullable(),
    order: z.enum(['same', 'asc', 'desc', 'none']),
    // Positions of earlier versions do not say it: as of a list whose rows share no value.
    tied: z.boolean().default(false),
    edge: z.string().nullable().default(null),
  }),
  /** Where the present window of time begins, in ms; null without windows. */
  window: z.number().nullable(),
  /** The page to go on with. */
  at: pagePosition,
  /** The parent page that is being gone through, how many of its rows are done, the last of them, and the one that `at` is of. */
  parent: z
    .object({
      page: pagePosition,
      done: z.number(),
      last: z.string().nullable(),
      // Positions of earlier versions do not say it: then that parent's list is read from its beginning.
      now: z.string().nullable().default(null),
    })
    .nullable(),
  /** Parents that had no row before and whose lists are begun and not ended: they are read from their beginning to the end. */
  fresh: z.array(z.string()).default([]),
});

/**
 * How far a stream has been read. `mark`: everything below it has landed, as text in the cursor column's own form; null
 * before the first complete reading, and without a cursor. `of` names the cursor, and for a merge the key, that it was made for.
 */
const position = z.object({
  v: z.literal(1),
  of: z.string(),
  mark: z.string().nullable(),
  /** The highest cursor of the last complete reading: the mark may be behind it. */
  high: z.string().nullable(),
  run: run.nullable(),
});

export type Position = Readonly<z.infer<typeof position>>;
export type Run = Readonly<z.infer<typeof run>>;

/** The position as it is stored. */
export function writePosition(value: Omit<Position, 'v'>): Cursor {
  return JSON.stringify({ v: 1, ...value });
}

/** A stored position; null from the beginning. Throws `cursor_invalid` for what another version or program wrote. */
function readPosition(cursor: Cursor | null): Position | null {
  if (cursor === null) return null;
  try {
    return position.parse(JSON.parse(cursor));
  } catch {
    throw new MillraceError(
      'cursor_invalid',
      'The stored position of the stream cannot be read by this version.',
      {
        hint: 'Read everything again: sync_connector with full_refresh: true. The landed rows stay until that is complete.',
      },
    );
  }
}

/** A stored position, or null and a word when it was made for another cursor. Rows cannot be added twice: append refuses. */
export function usablePosition(
  { name, mode }: ResolvedStream,
  of: string,
  from: Cursor | null,
): { readonly position: Position | null; readonly warnings: readonly string[] } {
  const stored = readPosition(from);
  if (stored === null || stored.of === of) return { position: stored, warnings: [] };
  switch (mode) {
    case 'append':
      throw new MillraceError(
        'cursor_invalid',
        `The stored position of "${name}" belongs to another cursor or cursor_param: going on would add rows twice.`,
        {
          hint: 'Run sync_connector with full_refresh: true; or give the stream a new name, and it lands in a new table.',
        },
      );
    case 'merge':
      return {
        position: null,
        warnings: [
          'Cursor or key of the stream are not those of the stored position: everything is read again, and merged.',
        ],
      };
    default:
      return { position: null, warnings: [] };
  }
}

/** The page of a place as it is stored. */
export function asPlain(at: PagePosition): Run['at'] {
  return at.at === 'offset' ? { ...at, tail: [...at.tail] } : at;
}
