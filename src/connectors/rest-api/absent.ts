/** A page without a record: an empty list, or an answer that holds none because something went wrong. */

import { MillraceError } from '../../core/errors.ts';
import { plain } from '../sql/names.ts';
import { isAround } from './hidden-lists.ts';
import { atPath, leadingPath, truthy } from './jmespath.ts';
import type { StreamPlan } from './plan.ts';
import { jmesPathOf, namedLists } from './records-found.ts';

/** What is known of a page that brought no record. */
export interface WithoutRecords {
  /** Whether the format saw a place for records. */
  readonly found: boolean;
  /** The page around it. */
  readonly envelope: unknown;
  readonly clean: (text: string) => string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Where APIs put what went wrong. */
const errorNames = /^(errors?|error_?(message|code|description)|faults?|exception)$/i;
/** Where they put it too, or that all is well. */
const wordNames = /^(message|detail)$/i;
const flagNames = /^(ok|success|successful|succeeded)$/i;
const statusNames = /^(status|state|result)$/i;
const codeNames = /^(status|code|status_?code|http_?(code|status))$/i;
/** What stands in such a place when nothing went wrong. */
const allIsWell = /^(0+|ok|success|successful|none|null|false|no error)$/i;

/**
 * Judges a page that brought no record. Some APIs leave an empty list out, or write null for it; one that speaks of an
 * error has failed under a status of success, and nothing must be taken for an empty list then: the reading would end there
 * and its mark move on. Throws `response_invalid`.
 */
export function refuseAbsent({ records }: StreamPlan, { found, envelope, clean }: WithoutRecords): void {
  const place = records === null ? [] : leadingPath(records);
  const value = atPath(envelope, place);
  // A list stands there, and it is empty.
  if (found && value !== null && value !== undefined) return;
  const around = atPath(envelope, place.slice(0, -1));
  const fields = isFields(envelope) ? Object.entries(envelope) : [];
  const beside = isFields(around) ? Object.entries(around) : [];
  const strict = found || value === null;
  const outside = toldIn(fields, strict);
  const told = outside.length > 0 ? outside : toldIn(beside, strict);
  const lists = found ? [] : namedLists(envelope);
  if (told.length === 0) {
    // An empty list that is left out leaves the place where it stood; a list of another name does not come for it.
    const isLeftOut = records !== null && fields.length > 0 && isObject(around) && lists.length === 0;
    if (found || value === null || isLeftOut) return;
  }
  const what =
    records === null
      ? 'The page is no list and no record'
      : `The page has nothing at "${plain(records, 100)}"`;
  const names =
    fields.length === 0 ? '' : `. Its fields: ${plain(fields.map(([name]) => name).join(', '), 200)}`;
  throw new MillraceError('response_invalid', `${what}${told.length === 0 ? names : wordsOf(told, clean)}.`, {
    hint:
      told.length === 0
        ? `Correct rest.records${lists.length === 0 ? '' : `: the page has ${lists.map((path) => `"${plain(path, 60)}"`).join(', ')}`}; preview_stream shows what was found.`
        : reported(whenFor(told, outside.length > 0 ? [] : place.slice(0, -1))),
  });
}

/**
 * Judges a page that would be taken for one record since nobody said where records are. One that holds nothing but an error,
 * and what surrounds lists, is none. Throws `response_invalid`.
 */
export function refuseError(page: unknown, clean: (text: string) => string): void {
  const fields = isFields(page) ? Object.entries(page) : [];
  const told = toldIn(fields, true);
  const rest = fields.filter((field) => !told.includes(field));
  if (told.length === 0 || !rest.every(([name, value]) => isAround(name, value))) return;
  throw new MillraceError('response_invalid', `The page holds no list${wordsOf(told, clean)}.`, {
    hint: `${reported(whenFor(told, []))} If it is the record, declare rest.records: "@".`,
  });
}

function wordsOf(told: Told, clean: (text: string) => string): string {
  const words = told.map(([name, said]) => `"${name}": ${JSON.stringify(said)}`).join(', ');
  return `; it says ${plain(clean(words), 300)}`;
}

function reported(when: string): string {
  return `The API reports an error under a status of success. If it is none, say so in "responses", e.g. {"when": ${JSON.stringify(when)}, "do": "skip"}.`;
}

type Told = readonly (readonly [string, unknown])[];

/** What speaks of an error, and where only a flag does, the words beside it. `strict`: a message alone is no error. */
function toldIn(fields: Told, strict: boolean): Told {
  const told = fields.filter(
    ([name, value]) =>
      (errorNames.test(name) && isTold(value)) ||
      (!strict && wordNames.test(name) && isTold(value)) ||
      saysFailed(name, value),
  );
  if (told.length === 0 || told.some(([name]) => errorNames.test(name) || wordNames.test(name))) return told;
  const words = fields.filter(
    ([name, value]) => /^(msg|message|reason|detail)$/i.test(name) && truthy(value),
  );
  return [...told, ...words];
}

function saysFailed(name: string, value: unknown): boolean {
  if (flagNames.test(name)) return value === false || value === 'false';
  if (statusNames.test(name) && typeof value === 'string' && /^(error|fail|failed|failure)$/i.test(value))
    return true;
  return codeNames.test(name) && /^[45]\d\d$/.test(String(value));
}

function isTold(value: unknown): boolean {
  return truthy(value) && !allIsWell.test(String(value));
}

/** A rule that fits the first thing that was told, and nothing else that may stand there. */
function whenFor([first]: Told, where: readonly string[]): string {
  const [name, value] = first ?? ['error', true];
  const field = jmesPathOf([...where, name]);
  return errorNames.test(name) ? field : `${field} == \`${JSON.stringify(value)}\``;
}

function isFields(value: unknown): value is Fields {
  return isObject(value) && !Array.isArray(value);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
