/** The rows of another stream, one list to ask for each: in order, with a place to go on from. */

import { isRaw } from '../../core/exact-json.ts';
import type { ListContext } from './pages.ts';
import { createPager, type PagePosition, type Pager } from './pagination/pager.ts';
import { keepsRecords } from './records.ts';
import { everything, listUrl } from './request.ts';
import { restartable } from './restart.ts';

/** One parent row. */
export interface Parent {
  /** As its record had it. */
  readonly value: unknown;
  /** As it is sent. */
  readonly text: string;
  /** Where the reading stands once it is done. */
  readonly done: ParentPlace;
  /** Where it stands until then. */
  readonly here: ParentPlace;
}

export interface ParentPlace {
  readonly page: PagePosition;
  readonly done: number;
  readonly last: string | null;
  /** The one whose list is being read, by what is sent; null between two of them. */
  readonly now: string | null;
}

/** Values remembered so that none is asked about twice; beyond this a repetition only costs a request. */
const seenMax = 200_000;

export interface ParentsStart {
  /** The field whose value is asked about. */
  readonly field: string;
  /** Null: from the first. */
  readonly from: ParentPlace | null;
  readonly notice: (sentence: string) => void;
}

/**
 * The parents from a place on. A page of them is read to its end before the first is handed out: its answer is not kept
 * waiting, with a turn at the host in its hand, while their lists are asked for.
 */
export async function* parentsFrom(
  context: Omit<ListContext, 'asked' | 'parentValue' | 'key'>,
  { field, from, notice }: ParentsStart,
): AsyncGenerator<Parent, void, void> {
  const { settings, client, plan } = context;
  const newPager = (): Pager =>
    createPager(plan.pagination, {
      maxPages: plan.maxPages,
      keyed: keepsRecords(plan),
      url: listUrl(settings, plan, everything),
      withoutCredentials: client.withoutCredentials,
    });
  let page: PagePosition = { at: 'first' };
  let skip: ParentPlace | null = null;
  const begins = (at: PagePosition): void => {
    page = at;
    // Another page than the one that was left: counted from its beginning.
    skip = JSON.stringify(at) === JSON.stringify(from?.page) ? from : null;
  };
  const seen = new Set<string>();
  let values: unknown[] = [];
  const list = { ...context, asked: everything, parentValue: null, key: [field] };
  const start = { newPager, from: from?.page ?? null, notice, begins, ahead: false };
  for await (const event of restartable(list, start)) {
    if (event.kind === 'records') {
      for (const record of event.records) values.push(record[field] ?? null);
      continue;
    }
    yield* handedOut(values, { page, skip, seen });
    values = [];
    skip = null;
    page = event.next ?? page;
  }
}

function* handedOut(
  values: readonly unknown[],
  {
    page,
    skip,
    seen,
  }: { readonly page: PagePosition; readonly skip: ParentPlace | null; readonly seen: Set<string> },
): Generator<Parent, void, void> {
  const texts = values.map(parentText);
  // The page has changed since when the last one done is not where it was.
  const done = skip !== null && skip.done > 0 && (texts[skip.done - 1] ?? null) === skip.last ? skip.done : 0;
  for (const [at, text] of texts.entries()) {
    if (text === null || seen.has(text)) continue;
    if (seen.size < seenMax) seen.add(text);
    if (at < done) continue;
    const here = { page, done: at, last: texts[at - 1] ?? null, now: text };
    yield { value: values[at], text, here, done: { page, done: at + 1, last: text, now: null } };
  }
}

/** A parent's value as it is sent; null for what cannot be: null, objects, lists. */
function parentText(value: unknown): string | null {
  if (isRaw(value)) return value.rawJSON;
  if (typeof value === 'string') return value === '' ? null : value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null;
}
