/** The lists of one reading in their order: one, or one for each parent row, some of them asked for ahead. */

import type { OpenPage } from './exchange.ts';
import type { HttpRequest } from './http/client.ts';
import { asksTheSame, type LookedPage } from './looked.ts';
import { type ListContext, type ListEvent, open, requestAt } from './pages.ts';
import { createPager, type PagePosition, type Pager } from './pagination/pager.ts';
import { type ListsSeen, noListsSeen } from './pagination/signs.ts';
import { type Parent, type ParentPlace, parentsFrom } from './parents.ts';
import type { StreamPlan } from './plan.ts';
import { keepsRecords } from './records.ts';
import { listUrl } from './request.ts';
import { restartable } from './restart.ts';
import { firstPagePlan, isOpen, lookBytes, settle, unsure } from './settle.ts';

/** Where a reading stands among its lists. */
export interface Place {
  readonly at: PagePosition;
  readonly parent: ParentPlace | null;
}

export type ReadEvent =
  | (Extract<ListEvent, { readonly kind: 'records' }> & { readonly parent?: string })
  /** What was read so far is behind this place. */
  | { readonly kind: 'place'; readonly place: Place }
  /** A list has ended. */
  | { readonly kind: 'list'; readonly parent?: string };

export interface ListsContext {
  readonly list: Omit<ListContext, 'asked' | 'parentValue'>;
  /** What a list is asked for, by its parent's value. */
  readonly boundsOf: (parent: string | null) => Readonly<Record<string, string>>;
  /** The plan of the parent stream, when there is one. */
  readonly parentPlan: StreamPlan | null;
  readonly concurrency: number;
  readonly notice: (sentence: string) => void;
  readonly opened: (page: OpenPage) => void;
  /** What a look took; of a list without parents. */
  readonly looked: LookedPage | null;
}

/** Reads all lists from a place on; null: from the beginning. */
export function readLists(context: ListsContext, from: Place | null): AsyncGenerator<ReadEvent, void, void> {
  return context.parentPlan === null ? readOne(context, from) : readEach(context, context.parentPlan, from);
}

async function* readOne(context: ListsContext, from: Place | null): AsyncGenerator<ReadEvent, void, void> {
  const at = from?.at ?? null;
  const { looked, opened, notice } = context;
  const { list, first } = await ready(
    { ...context.list, asked: { bounds: context.boundsOf(null), parent: null }, parentValue: null },
    { ahead: undefined, at, known: { plan: context.list.plan, seen: null } },
  );
  const start = { newPager: () => pagerFor(list), from: at, first, looked, opened, notice };
  for await (const event of restartable(list, start)) {
    if (event.kind === 'records') yield event;
    else if (event.next !== null) yield { kind: 'place', place: { at: event.next, parent: null } };
  }
  yield { kind: 'list' };
}

function pagerFor(list: ListContext): Pager {
  const { settings, client, plan, asked, key } = list;
  return createPager(plan.pagination, {
    maxPages: plan.maxPages,
    // Pages may overlap only where rows are found again by their own fields.
    keyed: key.length > 0 && keepsRecords(plan),
    url: listUrl(settings, plan, asked),
    withoutCredentials: client.withoutCredentials,
  });
}

/** What the lists read so far have told of all of them. */
interface Known {
  plan: StreamPlan;
  readonly seen: ListsSeen | null;
}

interface Beginning {
  /** The first page, when it has been asked for already. */
  readonly ahead: OpenPage | undefined;
  readonly at: PagePosition | null;
  readonly known: Known;
}

/**
 * A list by the plan that it is read by, and its first page where that is here. What no list has settled is settled by this
 * one's own first page: that a list before it had one page, or none, says nothing of this one. A list that is gone on with
 * is looked at again, since its position is of the pagination that was found then.
 */
async function ready(
  asked: ListContext,
  { ahead, at, known }: Beginning,
): Promise<{ readonly list: ListContext; readonly first?: Promise<OpenPage> }> {
  const inside = at !== null && at.at !== 'first';
  if (!isOpen(known.plan)) {
    const list = { ...asked, plan: known.plan };
    if (ahead === undefined) return { list };
    if (!inside && asksTheSame(firstRequest(asked), firstRequest(list)))
      return { list, first: Promise.resolve(ahead) };
    ahead.close();
    return { list };
  }
  const looking = ahead === undefined ? { ...asked, plan: firstPagePlan(known.plan) } : asked;
  const page = ahead ?? (await openFirst(looking, asked.signal, lookBytes));
  try {
    const {
      own,
      others,
      paginationFound,
      page: again,
    } = await settle({ ...asked, plan: known.plan }, page, known.seen);
    if (paginationFound?.sure === false) throw unsure(own.path, paginationFound.why);
    known.plan = others;
    const list = { ...asked, plan: own };
    const isFirst = !inside && page.complete && asksTheSame(firstRequest(looking), firstRequest(list));
    return isFirst ? { list, first: Promise.resolve({ ...again, close: () => undefined }) } : { list };
  } finally {
    page.close();
  }
}

function firstRequest(list: ListContext): HttpRequest {
  return requestAt(list, pagerFor(list), { at: 'first' });
}

function openFirst(list: ListContext, signal: AbortSignal, holdBytes?: number): Promise<OpenPage> {
  const pager = pagerFor(list);
  return open(
    list,
    { pager, position: pager.first, ...(holdBytes === undefined ? {} : { holdBytes }) },
    signal,
  );
}

interface Ahead {
  readonly parent: Parent;
  /** As it was asked for; what was known of its plan then. */
  readonly list: ListContext;
  readonly stop: AbortController;
  /** Undefined: too large to be kept waiting, and asked for when its turn has come. */
  readonly first: Promise<OpenPage | undefined>;
}

/** One list for each parent. The answers of the next parents are waited for meanwhile; rows come in the parents' order. */
async function* readEach(
  context: ListsContext,
  parentPlan: StreamPlan,
  from: Place | null,
): AsyncGenerator<ReadEvent, void, void> {
  const { list } = context;
  const parents = parentsFrom(
    { ...list, plan: parentPlan },
    { field: list.plan.parent?.field ?? '', from: from?.parent ?? null, notice: context.notice },
  );
  const known: Known = { plan: list.plan, seen: noListsSeen() };
  const queue: Ahead[] = [];
  let childAt = from?.at ?? null;
  try {
    for (;;) {
      while (queue.length < Math.max(1, context.concurrency)) {
        const next = await parents.next();
        if (next.done === true) break;
        queue.push(askAhead(context, known, { parent: next.value, early: queue.length > 0 }));
      }
      const head = queue.shift();
      if (head === undefined) return;
      // A place inside of a list belongs to the parent it was left at.
      const at = head.parent.text === from?.parent?.now ? childAt : null;
      if (at !== null) childAt = null;
      yield* readChild(context, head, { at, known });
    }
  } finally {
    for (const { stop, first } of queue) {
      stop.abort(list.signal.reason);
      first.then((page) => page?.close()).catch(() => undefined);
    }
    await parents.return();
  }
}

async function* readChild(
  context: ListsContext,
  head: Ahead,
  { at, known }: Omit<Beginning, 'ahead'>,
): AsyncGenerator<ReadEvent, void, void> {
  const { parent } = head;
  const { list, first } = await ready(head.list, { ahead: await head.first, at, known });
  const { opened, notice } = context;
  const start = { newPager: () => pagerFor(list), from: at, first, opened, notice };
  for await (const event of restartable(list, start)) {
    if (event.kind === 'records') yield { ...event, parent: parent.text };
    else
      yield {
        kind: 'place',
        place:
          event.next === null
            ? { at: { at: 'first' }, parent: parent.done }
            : { at: event.next, parent: parent.here },
      };
  }
  yield { kind: 'list', parent: parent.text };
}

/**
 * Asks for a child's first page before its turn has come. One whose answer is larger than what is held in memory is given
 * back: waiting, it would hold a turn that the list being read may need, and both would wait for ever.
 */
function askAhead(
  context: ListsContext,
  { plan }: Known,
  { parent, early }: { readonly parent: Parent; readonly early: boolean },
): Ahead {
  const list: ListContext = {
    ...context.list,
    plan: firstPagePlan(plan),
    asked: { bounds: context.boundsOf(parent.text), parent: parent.text },
    parentValue: parent.value,
  };
  const stop = new AbortController();
  const signal = AbortSignal.any([list.signal, stop.signal]);
  const ask = async (): Promise<OpenPage | undefined> => {
    const page = await openFirst(list, signal);
    if (page.complete) return page;
    page.close();
    return undefined;
  };
  const first = early ? ask() : Promise.resolve(undefined);
  first.catch(() => undefined);
  return { parent, list, stop, first };
}
