import { MillraceError } from '../../core/errors.ts';
import { parseExact } from '../../core/exact-json.ts';
import type { Stream } from '../../core/model.ts';
import { suggestion } from '../../core/nearest.ts';
import type { PaginationConfig, ParentConfig } from '../../core/rest.ts';
import type { Value } from '../../core/types.ts';
import { plain } from '../sql/names.ts';
import { boundParams, startMark } from './bounds.ts';
import type { OpenPage } from './exchange.ts';
import { xmlPage } from './formats/xml.ts';
import { createRowMaker, type JsonRecord } from './infer.ts';
import { keepLooked, type LookedPage, once } from './looked.ts';
import { mixedKinds } from './mixed.ts';
import { type ListContext, open, readPage, requestAt } from './pages.ts';
import { findPagination, type PaginationFound } from './pagination/auto.ts';
import { type Probed, sameRecords } from './pagination/page-start.ts';
import { createPager, type Pager, type RawPage } from './pagination/pager.ts';
import { planStream, type StreamPlan } from './plan.ts';
import { findRecords } from './records-found.ts';
import { listUrl } from './request.ts';
import type { PageSample, RestContext } from './sample.ts';

/** A first page is looked at up to here: enough for a judgement, little enough for a look. */
const lookBytes = 8 * 1024 * 1024;
const lookRecords = 5_000;

/**
 * Looks at the first page of a stream: its format, its records, its pagination, its columns. One request, and a few more
 * where `auto` has to prove a guess, or a parent has to be found. Moves nothing.
 */
export async function lookAtPage(
  context: RestContext,
  declared: StreamPlan,
  signal: AbortSignal,
): Promise<Look> {
  const startedAt = performance.now();
  const parentValue = declared.parent === null ? null : await firstParent(context, declared.parent, signal);
  if (declared.parent !== null && parentValue === null) return { sample: nothingYet(declared), looked: null };
  const list: ListContext = {
    settings: context.settings,
    client: context.client,
    plan: {
      ...declared,
      pagination: declared.pagination.type === 'auto' ? { type: 'none' } : declared.pagination,
    },
    asked: { bounds: startBounds(declared), parent: parentValue === null ? null : String(parentValue) },
    parentValue,
    key: [],
    signal,
  };
  const pager = pagerOf(list);
  const page = await open(list, { pager, position: pager.first, holdBytes: lookBytes }, signal);
  const ms = performance.now() - startedAt;
  try {
    const bytes = page.content === null ? Buffer.alloc(0) : await beginning(page.content.body, page.complete);
    const sample = await judge(list, { declared, pager, page, bytes, ms });
    return { sample, looked: keepLooked(requestAt(list, pager, pager.first), page, bytes) };
  } finally {
    page.close();
  }
}

interface Look {
  readonly sample: PageSample;
  /** The page itself, where it may be kept. */
  readonly looked: LookedPage | null;
}

interface Looked {
  readonly declared: StreamPlan;
  readonly pager: Pager;
  readonly page: OpenPage;
  /** The beginning of the body in UTF-8; all of it when the page is complete. */
  readonly bytes: Buffer;
  readonly ms: number;
}

async function judge(list: ListContext, looked: Looked): Promise<PageSample> {
  const { declared, page, bytes } = looked;
  const format = page.content?.format ?? (declared.format === 'auto' ? 'json' : declared.format);
  const located = await locateRecords({ ...declared, format }, looked);
  const plan = { ...list.plan, format, records: located.records, recordsOpen: false };
  const context = { ...list, plan };
  const read = await readLooked(context, {
    ...page,
    content: page.content && { ...page.content, body: once(bytes) },
  });
  const found = declared.pagination.type === 'auto' ? await decide(context, read) : null;
  const final = { ...plan, pagination: found?.pagination ?? plan.pagination };
  const maker = createRowMaker({ columns: [] });
  const { values, rows } = maker.rows(read.records, read.textual);
  const width = maker.columns.length;
  return {
    plan: final,
    status: page.status,
    contentType: page.contentType,
    skewMs: page.skewMs,
    bytes: bytes.length,
    ms: looked.ms,
    recordsFound: located.why,
    paginationFound: found,
    records: read.raw,
    columns: maker.columns,
    rows: Array.from({ length: rows }, (_, at) => values.slice(at * width, (at + 1) * width)),
    mixed: mixedKinds(read.records, read.textual),
    whole: read.page !== null,
    next: read.page === null ? null : nextRequest({ ...context, plan: final }, read.page),
  };
}

/** Where the records stand: declared, or found in the page when all of it is here. */
async function locateRecords(
  plan: StreamPlan,
  { page, bytes }: Looked,
): Promise<{ readonly records: string | null; readonly why: string | null }> {
  const isTree = plan.format === 'json' || plan.format === 'xml';
  if (!plan.recordsOpen || page.content === null || !isTree) return { records: plan.records, why: null };
  if (!page.complete) {
    if (plan.format === 'json' && /^\s*\[/.test(bytes.subarray(0, 200).toString('latin1')))
      return { records: null, why: 'the page is a list' };
    throw new MillraceError(
      'invalid_config',
      `The first page is larger than ${lookBytes} bytes, and where its records stand is not declared.`,
      { hint: 'Declare rest.records, e.g. "data.items".' },
    );
  }
  const found = findRecords(await wholeValue(plan, bytes));
  if (found.sure) return { records: found.path, why: found.why };
  throw new MillraceError('invalid_config', `Which list holds the records cannot be told: ${found.why}.`, {
    hint: `Declare rest.records; the lists are ${found.others.map((path) => `"${plain(path, 60)}"`).join(', ')}.`,
  });
}

async function wholeValue({ format }: StreamPlan, bytes: Buffer): Promise<unknown> {
  if (format === 'xml') {
    const parser = xmlPage([]);
    for await (const _ of parser.groups(once(bytes)));
    return parser.envelope();
  }
  try {
    return parseExact(bytes.toString('utf8'));
  } catch {
    // What is wrong with it is said by the parser that reads the records.
    return null;
  }
}

interface Read {
  readonly records: readonly JsonRecord[];
  readonly raw: number;
  readonly textual: boolean;
  /** Null when only the beginning of the page was looked at. */
  readonly page: RawPage | null;
}

async function readLooked(context: ListContext, page: OpenPage): Promise<Read> {
  const records: JsonRecord[] = [];
  let raw = 0;
  let textual = false;
  let whole: RawPage | null = null;
  try {
    for await (const event of readPage(context, page, false)) {
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

async function decide(context: ListContext, { page }: Read): Promise<PaginationFound> {
  if (page === null) {
    // A file of lines may be as long as it likes; a list in JSON of that size may well be one page of many.
    const isFile = context.plan.format === 'ndjson' || context.plan.format === 'csv';
    const why = isFile
      ? 'the first page is too large to be one of several'
      : `its first page is larger than ${lookBytes} bytes, and what follows it was not looked at`;
    return { pagination: { type: 'none' }, why, sure: isFile };
  }
  return await findPagination({
    page,
    params: context.plan.params,
    mayProbe: context.plan.method === 'GET' && page.records > 0,
    probe: (config) => probe(context, config, page),
  });
}

/** Asks for the second page in a way that was guessed, and compares it with the first. */
async function probe(given: ListContext, pagination: PaginationConfig, first: RawPage): Promise<Probed> {
  const context = { ...given, plan: { ...given.plan, pagination } };
  const pager = pagerOf(context);
  const result = pager.after(pager.first, first);
  if (!('next' in result)) return { is: 'refused' };
  try {
    const page = await open(context, { pager, position: result.next }, context.signal);
    for await (const event of readPage(context, page, false)) {
      if (event.kind !== 'end') continue;
      if (event.outcome === 'missing' || event.page.records === 0) return { is: 'empty' };
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

function nextRequest(context: ListContext, page: RawPage): string | null {
  const pager = pagerOf(context);
  const result = pager.after(pager.first, page);
  if (!('next' in result)) return null;
  const { method, url, body } = requestAt(context, pager, result.next);
  return context.client.clean(`${method} ${url.href}${body === undefined ? '' : ` with ${body}`}`);
}

function pagerOf({ settings, client, plan, asked }: ListContext): Pager {
  return createPager(plan.pagination, {
    maxPages: plan.maxPages,
    keyed: false,
    url: listUrl(settings, plan, asked),
    withoutCredentials: client.withoutCredentials,
  });
}

function startBounds(plan: StreamPlan): Readonly<Record<string, string>> {
  return boundParams(plan, { from: startMark(plan), to: Date.now() });
}

/** The first row of the parent that has the field; null when there is none yet. */
async function firstParent(context: RestContext, parent: ParentConfig, signal: AbortSignal): Promise<Value> {
  const { sample } = await lookAtPage(
    context,
    planStream(context.settings, parentStream(context, parent)),
    signal,
  );
  const place = sample.columns.findIndex(({ name }) => name === parent.field);
  if (place === -1 && sample.rows.length > 0) {
    throw new MillraceError(
      'not_found_at_source',
      `The parent stream "${parent.stream}" has no field "${plain(parent.field, 60)}".`,
      {
        hint: suggestion(
          parent.field,
          sample.columns.map(({ name }) => name),
        ),
      },
    );
  }
  return sample.rows.map((row) => row[place] ?? null).find((value) => value !== null) ?? null;
}

/** The stream whose rows another is asked about by. Throws `invalid_config`. */
export function parentStream({ streams }: RestContext, { stream: name }: ParentConfig): Stream {
  const stream = streams.find((candidate) => candidate.name === name);
  if (stream === undefined || stream.path === undefined) {
    throw new MillraceError(
      'invalid_config',
      `The parent stream "${plain(name, 63)}" is not a stream of this connector.`,
      {
        hint: suggestion(
          name,
          streams.map((candidate) => candidate.name),
        ),
      },
    );
  }
  if (stream.rest?.parent !== undefined) {
    throw new MillraceError('invalid_config', `The parent stream "${name}" has a parent itself.`, {
      hint: 'One level can be asked about: name a stream without a parent in rest.parent.',
    });
  }
  return stream;
}

/** What is known of a child while there is no parent to ask about. */
function nothingYet(plan: StreamPlan): PageSample {
  return {
    plan,
    status: 0,
    contentType: null,
    skewMs: null,
    bytes: 0,
    ms: 0,
    recordsFound: null,
    paginationFound: null,
    records: 0,
    columns: [],
    rows: [],
    mixed: [],
    whole: false,
    next: null,
  };
}

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
