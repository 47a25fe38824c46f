/** What is said of an answer that cannot be read. What the server sent is shown, short and without control characters. */

import { MillraceError } from '../../../core/errors.ts';
import { plain } from '../../sql/names.ts';

/** The beginning of an answer, as it may stand in a sentence. */
export function shownStart(bytes: Uint8Array): string {
  return plain(Buffer.from(bytes.subarray(0, 400)).toString('utf8'), 200);
}

/** The answer is not what the format says. */
export function unreadable(what: string, cause?: unknown): MillraceError {
  return new MillraceError('response_invalid', `The answer cannot be read: ${what}.`, {
    hint: 'preview_stream shows what the API answers. If it is of another kind, set "rest": {"format": …} of the stream; if the records stand elsewhere, "records".',
    cause,
  });
}

/** The answer ended before it was whole: the connection, or whoever wrote it, broke off. */
export function brokeOff(what: string): MillraceError {
  return new MillraceError('connection_lost', `The answer broke off ${what}.`, {
    hint: 'Millrace tries again by itself. If it always breaks off at the same place, the API has a fault there: ask for smaller pages.',
  });
}

/** Something is larger than can be held. */
export function tooLarge(what: string, hint: string): MillraceError {
  return new MillraceError('response_invalid', `${what}.`, { hint });
}
