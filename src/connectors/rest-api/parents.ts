/** The rows of another stream, one list to ask for each: in order, with a place to go on from. */

import { isRaw } from '../../core/exact-json.ts';
import { type ListContext, readList } from './pages.ts';
import { createPager, type PagePosition } from './pagination/pager.ts';
import { everything, listUrl } from './request.ts';

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
}

/** Values remembered so that none is asked about twice; beyond this a repetition only costs a request. */
const seenMax = 200_000;

/**
 * The parents from a place on. A page of them is read to its end before the first is handed out: its answer is not kept
 * waiting, with a turn at the host in its hand, while their lists are asked for.
 */
export async function* parentsFrom(
  context: Omit<ListContext, 'asked' | 'parentValue' | 'key'>,
  field: string,
  from: ParentPlace | null,
): AsyncGenerator<Parent, void, void> {
  const { settings, client, plan } = context;
  const pager = createPager(plan.pagination, {
    maxPages: plan.maxPages,
    keyed: true,
    url: listUrl(settings, plan, everything),
    withoutCredentials: client.withoutCredentials,
  });
  const resumed = from === null ? null : pager.resume(from.page);
  let page: PagePosition = resumed ?? pager.first;
  // Another page than the one that was left: counted from its beginning.
  let skip =
    from !== null && resumed !== null && JSON.stringify(resumed) === JSON.stringify(from.page) ? from : null;
  const seen = new Set<string>();
  let values: unknown[] = [];
  const list = { ...context, asked: everything, parentValue: null, key: [field] };
  for await (const event of readList(list, { pager, from: page, ahead: false })) {
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
    const here = { page, done: at, last: texts[at - 1] ?? null };
    yield { value: values[at], text, here, done: { page, done: at + 1, last: text } };
  }
}

/** A parent's value as it is sent; null for what cannot be: null, objects, lists. */
function parentText(value: unknown): string | null {
  if (isRaw(value)) return value.rawJSON;
  if (typeof value === 'string') return value === '' ? null : value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null;
}
