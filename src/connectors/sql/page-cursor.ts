/** Where a page of discovered tables ended, as the client passes it back: opaque to it. */

import { MillraceError } from '../../core/errors.ts';

/** The place behind a table. */
export function encodePageCursor(schema: string, name: string): string {
  return Buffer.from(JSON.stringify([schema, name])).toString('base64url');
}

/** The schema and name it stands for; null for the beginning. Throws `invalid_config`. */
export function decodePageCursor(cursor: string | undefined): readonly [string, string] | null {
  if (cursor === undefined) return null;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (Array.isArray(parsed) && typeof parsed[0] === 'string' && typeof parsed[1] === 'string')
      return [parsed[0], parsed[1]];
  } catch {
    // Said below.
  }
  throw new MillraceError('invalid_config', 'That page cursor is not one of discover_streams.', {
    hint: 'Pass next_cursor of the page before as it came, or leave cursor out to begin again.',
  });
}
