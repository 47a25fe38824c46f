/** The lists of one reading in their order: one, or one for each parent row, some of them asked for ahead. */

import type { OpenPage } from './exchange.ts';
import type { LookedPage } from './looked.ts';
import { type ListContext, type ListEvent, open } from './pages.ts';
import { createPager, type PagePosition, type Pager } from './pagination/pager.ts';
import { type Parent, type ParentPlace, parentsFrom } from './parents.ts';
import type { StreamPlan } from './plan.ts';
import { listUrl } from './request.ts';
import { restartable } from './restart.ts';

/** Where a reading stands among its lists. */
export interface Place {
  readonly at: PagePosition;
  readonly parent: ParentPlace | null;
}

export type ReadEvent =
  | Extract<ListEvent, { readonly kind: 'records' }>
  /** What was read so far is behind this place. */
  | { readonly kind: 'place'; readonly place: Place }
  /** A list has ended. */
  | { readonly kind: 'list' };

export interface ListsContext {
  readonly list: Omit<ListContext, 'asked' | 'parentValue'>;
  readonly bounds: Readonly<Record<string, string>>;
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
  const list: ListContext = {
    ...context.list,
    asked: { bounds: context.bounds, parent: null },
    parentValue: null,
  };
  const { looked, opened, notice } = context;
  const start = { newPager: () => pagerFor(list), from: from?.at ?? null, looked, opened, notice };
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
    keyed: key.length > 0 && plan.explode === null,
    url: listUrl(settings, plan, asked),
    withoutCredentials: client.withoutCredentials,
  });
}

interface Ahead {
  readonly parent: Parent;
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
  const queue: Ahead[] = [];
  let childAt = from?.at ?? null;
  try {
    for (;;) {
      while (queue.length < Math.max(1, context.concurrency)) {
        const next = await parents.next();
        if (next.done === true) break;
        queue.push(askAhead(context, next.value, queue.length > 0));
      }
      const head = queue.shift();
      if (head === undefined) return;
      // A place inside of a list belongs to the parent it was left at.
      const at = head.parent.text === from?.parent?.now ? childAt : null;
      if (at !== null) childAt = null;
      yield* readChild(context, head, at);
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
  at: PagePosition | null,
): AsyncGenerator<ReadEvent, void, void> {
  const { parent, list } = head;
  const page = at === null ? await head.first : undefined;
  if (at !== null) head.first.then((unwanted) => unwanted?.close()).catch(() => undefined);
  const first = page === undefined ? undefined : Promise.resolve(page);
  const { opened, notice } = context;
  const start = { newPager: () => pagerFor(list), from: at, first, opened, notice };
  for await (const event of restartable(list, start)) {
    if (event.kind === 'records') yield event;
    else
      yield {
        kind: 'place',
        place:
          event.next === null
            ? { at: { at: 'first' }, parent: parent.done }
            : { at: event.next, parent: parent.here },
      };
  }
  yield { kind: 'list' };
}

/**
 * Asks for a child's first page before its turn has come. One whose answer is larger than what is held in memory is given
 * back: waiting, it would hold a turn that the list being read may need, and both would wait for ever.
 */
function askAhead(context: ListsContext, parent: Parent, ahead: boolean): Ahead {
  const list: ListContext = {
    ...context.list,
    asked: { bounds: context.bounds, parent: parent.text },
    parentValue: parent.value,
  };
  const stop = new AbortController();
  const signal = AbortSignal.any([list.signal, stop.signal]);
  const ask = async (): Promise<OpenPage | undefined> => {
    const pager = pagerFor(list);
    const page = await open(list, { pager, position: pager.first }, signal);
    if (page.complete) return page;
    page.close();
    return undefined;
  };
  const first = ahead ? ask() : Promise.resolve(undefined);
  first.catch(() => undefined);
  return { parent, list, stop, first };
}
