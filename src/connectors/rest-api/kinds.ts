/**
 * What a value of an API is, and what a column must be to hold every value it has seen. Kinds only ever widen: a column
 * that held a text stays text. They are the columns' `sourceType`, so that the next run goes on from what has landed.
 */

import { isRaw } from '../../core/exact-json.ts';
import type { Column, LogicalType } from '../../core/types.ts';

export type Kind =
  | 'null' // nothing seen yet but null
  | 'boolean'
  | 'integer' // exact in a double
  | 'integer64'
  | 'number' // a double writes the digits that came
  | 'decimal' // more digits than a double has
  | 'date'
  | 'local date-time' // without a zone
  | 'date-time' // with one
  | 'string'
  | 'json'; // objects and lists

const logical: Readonly<Record<Kind, LogicalType>> = {
  null: 'text',
  boolean: 'boolean',
  integer: 'integer',
  integer64: 'integer',
  number: 'float',
  decimal: 'decimal',
  date: 'date',
  'local date-time': 'timestamp',
  'date-time': 'timestamptz',
  string: 'text',
  json: 'json',
};

/** The kind a column was remembered with; one that another program described is as wide as its type. */
export function kindOfColumn({ sourceType, type }: Column): Kind {
  // Declared, and in no record yet.
  if (sourceType === 'unknown') return 'null';
  if (Object.hasOwn(logical, sourceType) && logical[sourceType as Kind] === type) return sourceType as Kind;
  const found = Object.entries(logical).findLast(([, of]) => of === type);
  return (found?.[0] as Kind | undefined) ?? 'string';
}

/** The column for values of a kind. Whatever an API says, a field may be missing tomorrow. */
export function columnOf(name: string, kind: Kind): Column {
  return { name, type: logical[kind], sourceType: kind, nullable: true };
}

const numbers: ReadonlySet<Kind> = new Set(['integer', 'integer64', 'number', 'decimal']);

/** The narrowest kind that holds values of both. */
export function widen(one: Kind, other: Kind): Kind {
  if (one === other || other === 'null') return one;
  if (one === 'null') return other;
  if (numbers.has(one) && numbers.has(other)) return widerNumber(one, other);
  // JSON holds numbers and booleans as they are; a text beside objects stays a text, or each would wear quotes.
  if (one === 'json' || other === 'json') {
    const beside = one === 'json' ? other : one;
    return numbers.has(beside) || beside === 'boolean' ? 'json' : 'string';
  }
  return 'string';
}

function widerNumber(one: Kind, other: Kind): Kind {
  if (one === 'decimal' || other === 'decimal') return 'decimal';
  if (one === 'integer64' || other === 'integer64') {
    // A double does not hold the one, an integer not the other.
    return one === 'number' || other === 'number' ? 'decimal' : 'integer64';
  }
  return 'number';
}

const int64Min = -(2n ** 63n);
const int64Max = 2n ** 63n - 1n;
const integerText = /^-?(?:0|[1-9]\d{0,18})$/;
const numberText = /^-?(?:0|[1-9]\d*)(?:\.\d+)?$/;

/** What one value is. In textual formats a text that can only be a number or a boolean is one. */
export function kindOf(value: unknown, textual: boolean): Kind {
  switch (typeof value) {
    case 'string':
      return textual ? kindOfText(value) : kindOfString(value);
    case 'number':
      return Number.isSafeInteger(value) ? 'integer' : 'number';
    case 'boolean':
      return 'boolean';
    case 'object':
      if (value === null) return 'null';
      return isRaw(value) ? kindOfDigits(value.rawJSON) : 'json';
    default:
      return 'null';
  }
}

function kindOfDigits(text: string): Kind {
  if (!integerText.test(text)) return 'decimal';
  const value = BigInt(text);
  if (value < int64Min || value > int64Max) return 'decimal';
  return Number.isSafeInteger(Number(text)) ? 'integer' : 'integer64';
}

/** `007` and `+5` are no numbers: what stands in front of them would be lost. */
function kindOfText(text: string): Kind {
  if (text === 'true' || text === 'false') return 'boolean';
  if (text === '-0') return 'string';
  if (integerText.test(text)) return kindOfDigits(text);
  if (!numberText.test(text)) return kindOfString(text);
  // More digits than a double always keeps, or zeros at the end that it would drop.
  return text.length <= 16 && String(Number(text)) === text ? 'number' : 'decimal';
}

const dash = 0x2d;
const timeText = /^(\d{4}-\d\d-\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d(?::?\d\d)?)?$/;

function kindOfString(text: string): Kind {
  // Most texts are no dates, and this is asked of each.
  if (text.length < 10 || text.length > 40 || text.charCodeAt(4) !== dash || text.charCodeAt(7) !== dash)
    return 'string';
  if (text.length === 10) return isDate(text) ? 'date' : 'string';
  if (isCommonTime(text)) return 'date-time';
  const match = timeText.exec(text);
  if (match === null || !isTime(match)) return 'string';
  return match[6] === undefined ? 'local date-time' : 'date-time';
}

/** Whether it begins with a day that there is; where its dashes stand is known. */
function isDate(text: string): boolean {
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7);
  const day = digits(text, 8, 10);
  if (year < 1 || month < 1 || month > 12 || day < 1) return false;
  return day <= (month === 2 && !isLeap(year) ? 28 : (monthDays[month - 1] ?? 0));
}

const monthDays = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** `2026-11-23T12:34:56.789Z`, as most APIs write it: asked of every time of every row, so without a regular expression. */
function isCommonTime(text: string): boolean {
  const { length } = text;
  if (length < 20 || length > 27 || text.charCodeAt(10) !== 0x54 || text.charCodeAt(length - 1) !== 0x5a)
    return false;
  if (text.charCodeAt(13) !== 0x3a || text.charCodeAt(16) !== 0x3a || !isDate(text)) return false;
  const [hour, minute, second] = [digits(text, 11, 13), digits(text, 14, 16), digits(text, 17, 19)];
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return false;
  return length === 20 || (length > 21 && text.charCodeAt(19) === 0x2e && digits(text, 20, length - 1) >= 0);
}

/** The number that digits make; -1 where one of them is none. */
function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

function isTime(match: RegExpExecArray): boolean {
  const [, date = '', hour, minute, second = '0', fraction = '', zone = 'Z'] = match;
  const offset = /^[+-](\d\d):?(\d\d)?$/.exec(zone);
  return (
    isDate(date) &&
    Number(hour) < 24 &&
    Number(minute) < 60 &&
    Number(second) < 60 &&
    // Finer than a microsecond has no place: then the text is kept.
    /^\d{0,6}0*$/.test(fraction) &&
    (offset === null || (Number(offset[1]) < 15 && Number(offset[2] ?? 0) < 60))
  );
}

/** A time as this program writes it: six digits of a second; with a zone, in UTC. */
export function normalTime(text: string): string {
  // What most APIs send, without a regular expression: whole seconds, milliseconds, microseconds.
  if (text.charCodeAt(10) === 0x54 && text.charCodeAt(text.length - 1) === 0x5a) {
    if (text.length === 20) return `${text.slice(0, 19)}.000000Z`;
    if (text.length === 24) return `${text.slice(0, 23)}000Z`;
    if (text.length === 27) return text;
  }
  const match = timeText.exec(text);
  if (match === null) return text;
  const [, date = '', hour = '', minute = '', second = '00', fraction = '', zone] = match;
  const micros = fraction.slice(0, 6).padEnd(6, '0');
  const local = `${date}T${hour}:${minute}:${second}`;
  if (zone === undefined) return `${local}.${micros}`;
  if (zone === 'Z') return `${local}.${micros}Z`;
  const sign = zone.startsWith('-') ? -1 : 1;
  const minutes = sign * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(3).replace(':', '') || 0));
  const utc = new Date(Date.parse(`${local}Z`) - minutes * 60_000).toISOString();
  // Years before 1 and after 9999 cannot be written in four digits.
  return /^\d{4}-/.test(utc) ? `${utc.slice(0, 19)}.${micros}Z` : text;
}
