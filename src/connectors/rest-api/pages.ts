/** The pages of one list, one after the other: bytes become records, and each page's end says where the next one is. */

import type { Reject } from '../../core/model.ts';
import { refuseAbsent, refuseError } from './absent.ts';
import type { RestSettings } from './config.ts';
import { type ExchangeOptions, isGone, type OpenPage, openPage } from './exchange.ts';
import type { HttpClient, HttpRequest } from './http/client.ts';
import type { JsonRecord } from './infer.ts';
import type { LookedPage } from './looked.ts';
import type { PagePosition, Pager, RawPage } from './pagination/pager.ts';
import type { StreamPlan } from './plan.ts';
import { keepsRecords, parserFor, shaper } from './records.ts';
import { type Asked, pageRequest } from './request.ts';
import { createRules, type Rules, ruledFailure } from './rules.ts';

/** A list and how it is asked for. */
export interface ListContext {
  readonly settings: RestSettings;
  readonly client: HttpClient;
  readonly plan: StreamPlan;
  readonly asked: Asked;
  /** The parent's value as its record had it, for the column that keeps it. */
  readonly parentValue: unknown;
  /** Columns that tell records apart; empty when nothing does. */
  readonly key: readonly string[];
  readonly signal: AbortSignal;
}

export type PageEvent =
  | {
      readonly kind: 'records';
      readonly records: readonly JsonRecord[];
      /** How many raw records they were made of. */
      readonly raw: number;
      readonly bytes: number;
      readonly rejects: readonly Reject[];
      readonly textual: boolean;
    }
  /** `end`: why the list ends here, whatever its pager would say. */
  | { readonly kind: 'end'; readonly page: RawPage; readonly end: string | null };

const stopped = 'a rule of the stream says so';

/** Asks for one page. */
export function open(
  context: ListContext,
  {
    pager,
    position,
    holdBytes,
  }: { readonly pager: Pager; readonly position: PagePosition; readonly holdBytes?: number },
  signal: AbortSignal,
): Promise<OpenPage> {
  const { client, plan, asked } = context;
  const options: ExchangeOptions = {
    client,
    plan,
    rules: createRules(plan.responses),
    missing: (status) =>
      pager.missing(position, status) ??
      // Only where a list begins does it say that there is none: further on, a cursor may have expired.
      (asked.parent !== null && position.at === 'first' && isGone(status)
        ? 'the parent has no such list'
        : null),
    ...(holdBytes === undefined ? {} : { holdBytes }),
  };
  return openPage(options, requestAt(context, pager, position), signal);
}

/** What is sent to ask for the page at a position. */
export function requestAt(
  { settings, plan, asked }: ListContext,
  pager: Pager,
  position: PagePosition,
): HttpRequest {
  return pageRequest(settings, plan, { asked, page: pager.request(position) });
}

/** Reads one open page: groups of records, then what the page was. Closes it. */
export async function* readPage(
  context: ListContext,
  page: OpenPage,
  wantsKeys: boolean,
): AsyncGenerator<PageEvent, void, void> {
  try {
    if (page.content === null) {
      const end = page.missing ?? (page.rule?.do === 'stop' ? stopped : null);
      yield { kind: 'end', page: emptyPage(page), end };
      return;
    }
    yield* parsed(context, page, { content: page.content, wantsKeys });
  } finally {
    page.close();
  }
}

interface Parsing {
  readonly content: NonNullable<OpenPage['content']>;
  readonly wantsKeys: boolean;
}

async function* parsed(
  { plan, client, key, parentValue }: ListContext,
  page: OpenPage,
  { content, wantsKeys }: Parsing,
): AsyncGenerator<PageEvent, void, void> {
  const rules = createRules(plan.responses);
  const verdict: { rule: OpenPage['rule'] } = { rule: null };
  const inspect = (value: unknown): boolean => {
    verdict.rule = ruleOn(rules, page.status, value, client);
    return verdict.rule !== null;
  };
  const parser = parserFor(plan, content.format, { rules, inspect });
  const shape = shaper(plan, parentValue);
  const tally = createTally(wantsKeys && plan.explode === null ? key : []);
  for await (const group of parser.groups(content.body)) {
    const records = shape(group.records);
    tally.add(group.records, records);
    yield {
      kind: 'records',
      records,
      raw: group.records.length,
      bytes: group.bytes,
      rejects: group.rejects ?? [],
      textual: parser.textual,
    };
  }
  const listed = parser.listed?.() ?? null;
  const facts =
    listed === null ? tally.facts() : factsOf(listed, tally.facts(), { shape, key, wantsKeys, plan });
  if (facts.records === 0 && verdict.rule === null)
    refuseAbsent(plan, { found: parser.found, envelope: parser.envelope(), clean: client.clean });
  const isTree = content.format === 'json' || content.format === 'xml';
  // The page itself may be a record only where it is no list.
  if (plan.records === null && isTree && facts.records === 1 && !Array.isArray(parser.envelope()))
    refuseError(facts.first, client.clean);
  const raw: RawPage = {
    ...facts,
    envelope: parser.envelope,
    header: page.header,
    url: page.url,
    fingerprint: parser.fingerprint(),
    skipped: verdict.rule?.do === 'skip' ? page.status : null,
  };
  yield { kind: 'end', page: raw, end: verdict.rule?.do === 'stop' ? stopped : null };
}

/** A rule that fits the body; one that calls it a failure throws here, for the answer has been taken already. */
function ruleOn(rules: Rules, status: number, value: unknown, client: HttpClient): OpenPage['rule'] {
  if (!rules.lookInto) return null;
  const rule = rules.judge(status, value);
  if (rule === null || rule.do === 'skip' || rule.do === 'stop') return rule;
  throw ruledFailure(rule, status, { page: value, clean: client.clean });
}

interface Tally {
  add(raw: readonly unknown[], records: readonly JsonRecord[]): void;
  facts(): Facts;
}

type Facts = Pick<RawPage, 'records' | 'first' | 'last' | 'keys' | 'uniform'>;

function createTally(key: readonly string[]): Tally {
  let count = 0;
  let first: unknown;
  let last: unknown;
  const keys: (string | null)[] = [];
  return {
    add(raw, records) {
      if (raw.length === 0) return;
      if (count === 0) first = raw[0];
      count += raw.length;
      last = raw.at(-1);
      if (key.length > 0) for (const record of records) keys.push(keyText(record, key));
    },
    facts: () => ({
      records: count,
      first,
      last,
      keys,
      uniform: count > 1 && JSON.stringify(first) === JSON.stringify(last),
    }),
  };
}

/** The same of a page whose records were made of this list: it is judged as it came, before any filter. */
function factsOf(listed: readonly unknown[], made: Facts, { shape, key, wantsKeys, plan }: Shaping): Facts {
  const [first, last] = [listed[0], listed.at(-1)];
  const keeps = keepsRecords(plan);
  return {
    records: listed.length,
    // Where records are made anew, the fields that a pagination names are theirs.
    first: keeps ? first : (made.first ?? first),
    last: keeps ? last : (made.last ?? last),
    keys: wantsKeys && keeps ? shape(listed).map((record) => keyText(record, key)) : [],
    uniform: listed.length > 1 && JSON.stringify(first) === JSON.stringify(last),
  };
}

interface Shaping {
  readonly shape: (records: readonly unknown[]) => readonly JsonRecord[];
  readonly key: readonly string[];
  readonly wantsKeys: boolean;
  readonly plan: StreamPlan;
}

function keyText(record: JsonRecord, key: readonly string[]): string | null {
  const values = key.map((name) => record[name] ?? null);
  return values.includes(null) ? null : JSON.stringify(values.length === 1 ? values[0] : values);
}

function emptyPage(page: OpenPage): RawPage {
  return {
    records: 0,
    first: undefined,
    last: undefined,
    keys: [],
    envelope: () => page.passedOver ?? null,
    header: page.header,
    url: page.url,
    fingerprint: '',
    uniform: false,
    skipped: page.rule?.do === 'skip' ? page.status : null,
  };
}

export type ListEvent =
  | Extract<PageEvent, { readonly kind: 'records' }>
  /** A page has ended. `next` is where to go on; null at the end of the list. */
  | { readonly kind: 'page'; readonly next: PagePosition | null; readonly why: string };

/**
 * The list from a position on. The next page is asked for before the end of one is told, so that the server works while
 * rows are written; what was asked for and is not wanted any more is given back.
 */
export async function* readList(
  context: ListContext,
  { pager, from, first, looked, opened, ahead = true }: ListStart,
): AsyncGenerator<ListEvent, void, void> {
  const own = new AbortController();
  const signal = AbortSignal.any([context.signal, own.signal]);
  const ask = (position: PagePosition): Promise<OpenPage> => {
    const asked = open(context, { pager, position }, signal);
    // Heard when it is waited for; until then it is nobody's.
    asked.catch(() => undefined);
    return asked;
  };
  let position = from;
  const known = looked?.take(requestAt(context, pager, position)) ?? null;
  let waiting: Promise<OpenPage> | null = first ?? (known === null ? ask(position) : Promise.resolve(known));
  try {
    while (waiting !== null) {
      const page: OpenPage = await waiting;
      waiting = null;
      opened?.(page);
      let next: PagePosition | null = null;
      let why = '';
      for await (const event of readPage(context, page, pager.wantsKeys)) {
        if (event.kind === 'records') yield event;
        else ({ next, why } = follow(pager, position, event));
      }
      if (next !== null) {
        position = next;
        if (ahead) waiting = ask(position);
      }
      yield { kind: 'page', next, why };
      if (next !== null) waiting ??= ask(position);
    }
  } finally {
    own.abort(context.signal.reason);
    waiting?.then((page) => page.close()).catch(() => undefined);
  }
}

export interface ListStart {
  readonly pager: Pager;
  readonly from: PagePosition;
  /** The first page, when somebody has asked for it already. */
  readonly first?: Promise<OpenPage> | undefined;
  /** What a look took: not asked for again where it is what would be asked for. */
  readonly looked?: LookedPage | null;
  /** False: a page is asked for only when it is wanted. */
  readonly ahead?: boolean;
  /** Hears of each page when its answer has begun. */
  readonly opened?: ((page: OpenPage) => void) | undefined;
}

function follow(
  pager: Pager,
  position: PagePosition,
  { page, end }: Extract<PageEvent, { readonly kind: 'end' }>,
): { readonly next: PagePosition | null; readonly why: string } {
  if (end !== null) return { next: null, why: end };
  const result = pager.after(position, page);
  return 'next' in result ? { next: result.next, why: '' } : { next: null, why: result.end };
}
