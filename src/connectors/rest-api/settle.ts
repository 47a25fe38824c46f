/**
 * What the first page of a list settles of a plan that leaves something open: format, the place of the records, pagination.
 * A page settles how its own list is read; for other lists of the stream only what it has proof of.
 */

import { MillraceError } from '../../core/errors.ts';
import { parseExact } from '../../core/exact-json.ts';
import { plain } from '../sql/names.ts';
import type { OpenPage } from './exchange.ts';
import { xmlPage } from './formats/xml.ts';
import type { JsonRecord } from './infer.ts';
import { once } from './looked.ts';
import { type ListContext, open, readPage } from './pages.ts';
import { findPagination } from './pagination/auto.ts';
import { type Probed, sameRecords } from './pagination/page-start.ts';
import { createPager, type Pager, type RawPage } from './pagination/pager.ts';
import type { ListsSeen, PaginationFound } from './pagination/signs.ts';
import type { StreamPlan } from './plan.ts';
import { findRecords, type RecordsFound } from './records-found.ts';
import { listUrl } from './request.ts';

/** A first page is looked at up to here: enough for a judgement, little enough for a look. */
export const lookBytes = 8 * 1024 * 1024;
const lookRecords = 5_000;

/** What one page settled. */
export interface Settled {
  /** How the page's own list is read. */
  readonly own: StreamPlan;
  /** The plan for other lists: what the page is no proof of stays open. */
  readonly others: StreamPlan;
  /** Why the records are where they were found; null where that was declared, or there are none. */
  readonly recordsFound: string | null;
  readonly paginationFound: PaginationFound | null;
  readonly read: Read;
  /** The page once more, as the reading of its list takes it. Its bytes are gone where it was not complete. */
  readonly page: OpenPage;
  /** The beginning of the body in UTF-8; all of it when the page is complete. */
  readonly bytes: Buffer;
}

/** What stands in a page. */
export interface Read {
  readonly records: readonly JsonRecord[];
  readonly raw: number;
  readonly textual: boolean;
  /** Null when only the beginning of the page was looked at. */
  readonly page: RawPage | null;
}

/** Whether a list has to be looked at before it can be read. */
export function isOpen({ pagination, recordsOpen }: StreamPlan): boolean {
  return pagination.type === 'auto' || recordsOpen;
}

/** The plan by which a list's first page is asked for, while nobody knows how it goes on. */
export function firstPagePlan(plan: StreamPlan): StreamPlan {
  return plan.pagination.type === 'auto' ? { ...plan, pagination: { type: 'none' } } : plan;
}

/** The pager of a list that is only looked at. */
export function lookingPager({ settings, client, plan, asked }: ListContext): Pager {
  return createPager(plan.pagination, {
    maxPages: plan.maxPages,
    keyed: false,
    url: listUrl(settings, plan, asked),
    withoutCredentials: client.withoutCredentials,
  });
}

/**
 * Judges the first page of a list, and sends a few requests more where `auto` has to prove a guess. `seen`: what other
 * lists of the stream have shown; null where it is the only one.
 */
export async function settle(list: ListContext, page: OpenPage, seen: ListsSeen | null): Promise<Settled> {
  const { plan } = list;
  const bytes = page.content === null ? Buffer.alloc(0) : await beginning(page.content.body, page.complete);
  const format = page.content?.format ?? plan.format;
  const located = await locateRecords({ ...plan, format }, page, bytes);
  const again = replayed(page, bytes, located);
  const first = firstPagePlan({
    ...plan,
    format: format === 'auto' ? 'json' : format,
    records: located.path,
    // Where there was no record, nothing says where one would stand.
    recordsOpen: plan.recordsOpen && again.content === null,
  });
  const context = { ...list, plan: first };
  const read = await readLooked(context, again);
  const found = plan.pagination.type === 'auto' ? await decide(context, read, seen) : null;
  if (seen !== null) seen.longest = Math.max(seen.longest, read.raw);
  const isList = located.is === 'list' && again.content !== null;
  return {
    own: { ...first, pagination: found?.pagination ?? plan.pagination },
    others: {
      ...plan,
      format: isList ? format : plan.format,
      records: isList ? located.path : plan.records,
      recordsOpen: plan.recordsOpen && !isList,
      pagination: found?.proven === true ? found.pagination : plan.pagination,
    },
    recordsFound: located.why,
    paginationFound: found,
    read,
    page: replayed(page, bytes, located),
    bytes,
  };
}

/** The error where nobody but a person can say how a list is paged. */
export function unsure(what: string, why: string): MillraceError {
  return new MillraceError('invalid_config', `How "${plain(what, 100)}" is paged cannot be told: ${why}.`, {
    hint: 'Look into the API\'s documentation and declare rest.pagination: {"type":"offset","limit_param":"limit","offset_param":"offset","limit":100}, {"type":"page","page_param":"page","size_param":"per_page","size":100}, {"type":"cursor","cursor_param":"cursor","next":"meta.next_cursor"}, {"type":"next_url","next":"links.next"}, {"type":"link_header"}, {"type":"keyset","param":"starting_after","field":"id"}, or {"type":"none"} when one answer holds everything.',
  });
}

type Located = Pick<RecordsFound, 'is' | 'path'> & { readonly why: string | null; readonly value?: unknown };

/** Where the records stand: declared, or found in the page when all of it is here. */
async function locateRecords(plan: StreamPlan, page: OpenPage, bytes: Buffer): Promise<Located> {
  const isTree = plan.format === 'json' || plan.format === 'xml';
  if (!plan.recordsOpen || page.content === null || !isTree)
    return { is: 'list', path: plan.records, why: null };
  if (!page.complete) {
    if (plan.format === 'json' && /^\s*\[/.test(bytes.subarray(0, 200).toString('latin1')))
      return { is: 'list', path: null, why: 'the page is a list' };
    throw new MillraceError(
      'invalid_config',
      `The first page is larger than ${lookBytes} bytes, and where its records stand is not declared.`,
      { hint: 'Declare rest.records, e.g. "data.items".' },
    );
  }
  const value = await wholeValue(plan, bytes);
  // What is wrong with it is said by the parser that reads the records.
  if (value === undefined) return { is: 'list', path: null, why: null };
  const found = findRecords(value, plan.format === 'xml' ? 'xml' : 'json');
  if (found.is !== 'unclear') return { ...found, value };
  throw new MillraceError('invalid_config', `Which list holds the records cannot be told: ${found.why}.`, {
    hint: `Declare rest.records; the lists are ${found.others.map((path) => `"${plain(path, 60)}"`).join(', ')}, and "@" is the page itself as one record.`,
  });
}

/** The body as a value; undefined when it is none. */
async function wholeValue({ format }: StreamPlan, bytes: Buffer): Promise<unknown> {
  if (format === 'xml') {
    const parser = xmlPage([]);
    for await (const _ of parser.groups(once(bytes)));
    return parser.envelope();
  }
  try {
    return parseExact(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** The page with what was taken of it in its place. One that holds nothing at all is an answer without content. */
function replayed(page: OpenPage, bytes: Buffer, { is, value }: Located): OpenPage {
  if (page.content === null) return page;
  if (is === 'nothing') return { ...page, content: null, passedOver: value };
  return { ...page, content: { ...page.content, body: once(bytes) } };
}

async function readLooked(context: ListContext, page: OpenPage): Promise<Read> {
  const records: JsonRecord[] = [];
  let raw = 0;
  let textual = false;
  let whole: RawPage | null = null;
  try {
    for await (const event of readPage(context, { ...page, close: () => undefined }, false)) {
      if (event.kind === 'end') whole = event.page;
      else {
        raw += event.raw;
        textual = event.textual;
        records.push(...event.records.slice(0, lookRecords - records.length));
      }
    }
  } catch (error) {
    // A beginning ends in the middle of something.
    if (page.complete || !(error instanceof MillraceError) || error.code !== 'connection_lost') throw error;
  }
  return { records, raw, textual, page: whole };
}

async function decide(
  context: ListContext,
  { page }: Read,
  seen: ListsSeen | null,
): Promise<PaginationFound> {
  if (page === null) {
    // A file of lines may be as long as it likes; a list in JSON of that size may well be one page of many.
    const isFile = context.plan.format === 'ndjson' || context.plan.format === 'csv';
    const why = isFile
      ? 'the first page is too large to be one of several'
      : `its first page is larger than ${lookBytes} bytes, and what follows it was not looked at`;
    return { pagination: { type: 'none' }, why, sure: isFile, proven: false };
  }
  return await findPagination({
    page,
    params: context.plan.params,
    mayProbe: context.plan.method === 'GET' && page.records > 0,
    probe: (pagination) => probe({ ...context, plan: { ...context.plan, pagination } }, page),
    seen,
  });
}

/** Asks for the second page in a way that was guessed, and compares it with the first. */
async function probe(context: ListContext, first: RawPage): Promise<Probed> {
  const pager = lookingPager(context);
  const result = pager.after(pager.first, first);
  if (!('next' in result)) return { is: 'refused' };
  try {
    const page = await open(context, { pager, position: result.next }, context.signal);
    for await (const event of readPage(context, page, false)) {
      if (event.kind !== 'end') continue;
      if (event.page.records === 0) return { is: 'empty' };
      return { is: sameRecords(event.page, first) ? 'same' : 'other', page: event.page };
    }
    return { is: 'refused' };
  } catch (error) {
    if (error instanceof MillraceError && refusals.has(error.code)) return { is: 'refused' };
    throw error;
  }
}

/** What an API says to a parameter it does not know. */
const refusals: ReadonlySet<string> = new Set([
  'invalid_config',
  'not_found_at_source',
  'response_invalid',
  'permission_denied',
]);

async function beginning(body: AsyncIterable<Buffer>, complete: boolean): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (!complete && size >= lookBytes) break;
  }
  return Buffer.concat(chunks);
}
