import { clean, cleanText } from '../clean.ts';
import { cutNote } from '../reply.ts';
import { shorten } from '../shorten.ts';
import type { Output } from '../tool.ts';
import type { Contents, ResourceKind } from './resource.ts';

/** A resource is read by choice, so it may be twice as long as a reply; clients still put all of it before a model. */
export const resourceCharsMax = 50_000;
/** Room for the note that something was cut. */
const noteChars = 1_000;

/** What was read as text: clean, and no longer than the bound; cut, it says so. */
export function textOf(kind: Pick<ResourceKind, 'rest'>, contents: Contents): string {
  if ('text' in contents) return newest(kind, cleanText(contents.text));
  const { value, left } = shorten(clean(contents.data) as Output, resourceCharsMax - noteChars);
  const cut = left.length === 0 ? {} : { cut: cutNote(left, { max: resourceCharsMax, rest: kind.rest }) };
  return JSON.stringify({ ...value, ...cut });
}

/** The end of a text that is too long, from the beginning of a line on: of a log that is what matters. */
function newest({ rest }: Pick<ResourceKind, 'rest'>, text: string): string {
  if (text.length <= resourceCharsMax) return text;
  const tail = text.slice(text.length - resourceCharsMax + noteChars);
  const whole = tail.slice(tail.indexOf('\n') + 1);
  return `… ${text.length - whole.length} characters before this were left out. ${rest}\n${whole}`;
}
