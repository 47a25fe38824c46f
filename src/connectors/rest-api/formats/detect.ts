/** Which format an answer has: what the stream says, else its content type, checked against how it begins. */

import type { ResponseFormat } from '../../../core/rest.ts';
import { shownStart, unreadable } from './failures.ts';

export type KnownFormat = Exclude<ResponseFormat, 'auto'>;

/** Enough to see a first line of most NDJSON. */
export const sniffBytes = 64 * 1024;

/**
 * The format of an answer. A login page in HTML, or an empty answer, is neither of them and is shown with its first
 * bytes. Throws `response_invalid`.
 */
export function detectFormat(
  declared: ResponseFormat,
  contentType: string | null,
  head: Buffer,
): { readonly format: KnownFormat; readonly why: string } {
  const start = head.toString('latin1').replace(/^(?:\u00ef\u00bb\u00bf)?\s+|^\u00ef\u00bb\u00bf/, '');
  const shown = shownStart(head);
  if (isHtml(start) && declared !== 'xml') {
    throw unreadable(
      `it is a web page, perhaps for logging in or about an error, and begins with "${shown}"`,
    );
  }
  if (declared !== 'auto') return { format: declared, why: 'the stream says so' };
  const type = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const named = byContentType(type);
  if (named === 'json' && isLines(start))
    return { format: 'ndjson', why: `content type "${type}", one value a line` };
  if (named === 'json' && start !== '' && !/^[[{"\dtfn-]/.test(start))
    throw unreadable(`it says "${type}" and begins with "${shown}"`);
  if (named !== null) return { format: named, why: `content type "${type}"` };
  const sniffed = bySniff(start);
  if (sniffed !== null) return { format: sniffed, why: `it looks like ${sniffed}` };
  throw unreadable(
    start === ''
      ? 'it is empty'
      : `neither its content type "${type.slice(0, 80)}" nor its beginning tells a format; it begins with "${shown}"`,
  );
}

/** The encoding that an XML document names in its first line. */
export function xmlEncoding(head: Buffer): string | null {
  return (
    /^[^<]{0,3}<\?xml[^>]*?\bencoding\s*=\s*["']([\w.:-]{1,40})["']/.exec(head.toString('latin1'))?.[1] ??
    null
  );
}

function byContentType(type: string): KnownFormat | null {
  if (/^application\/(x-)?(ndjson|jsonl|jsonlines|json-lines|json-seq)$/.test(type)) return 'ndjson';
  if (/^(application|text)\/(x-)?json$/.test(type) || /^[^/]+\/[^/]+\+json$/.test(type)) return 'json';
  if (/^(text|application)\/(x-)?(csv|comma-separated-values|tab-separated-values)$/.test(type)) return 'csv';
  if (/^(application|text)\/xml$/.test(type) || /^[^/]+\/[^/]+\+xml$/.test(type)) return 'xml';
  return null;
}

function isHtml(start: string): boolean {
  return /^<!doctype\s+html|^<html[\s>]/i.test(start);
}

/** A whole JSON value in the first line, and another one behind it. */
function isLines(start: string): boolean {
  const end = start.indexOf('\n');
  if (end === -1 || !/^\s*[[{]/.test(start.slice(end))) return false;
  if (!start.startsWith('{') && !start.startsWith('[')) return false;
  try {
    JSON.parse(start.slice(0, end));
    return true;
  } catch {
    return false;
  }
}

function bySniff(start: string): KnownFormat | null {
  if (isLines(start)) return 'ndjson';
  if (start.startsWith('{') || start.startsWith('[')) return 'json';
  if (start.startsWith('<')) return 'xml';
  // Letters, then a delimiter in the first line, and no control characters.
  const line = start.split(/\r?\n/, 1)[0] ?? '';
  const printable = [...line].every((char) => char === '\t' || char >= ' ');
  return printable && /[,;\t|]/.test(line) && start.length > line.length ? 'csv' : null;
}
