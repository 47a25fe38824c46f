import type { PaginationConfig, ParamValue } from '../../../core/rest.ts';
import { jmesPathOf } from '../records-found.ts';
import type { Operation, Parameter, Schema } from './document.ts';

/** How an operation is paged, judged by the names of its parameters and of what it answers. */
export interface Paging {
  /** Null: its description does not tell; a look at a page may. */
  readonly pagination: PaginationConfig | null;
  /** Parameters to send besides: how many records a page. */
  readonly params: Readonly<Record<string, ParamValue>>;
}

/** Names with everything but letters and digits left out: `page[size]` is `pagesize`, `$top` is `top`. */
const sizes = names('limit perpage pagesize size count maxresults top first take pagelimit resultsperpage');
const offsets = names('offset skip startindex startat start pageoffset');
const pages = names('page pagenumber pageno pageindex currentpage');
const cursors = names(
  'cursor pagetoken nexttoken continuationtoken nextcursor after pagecursor pageafter startcursor nextpagetoken marker',
);
const keysets = names('startingafter sinceid afterid idgt lastid');
const nextCursors = names(
  'nextcursor nextpagetoken nexttoken continuationtoken endcursor cursor pagetoken nextmarker after',
);
const nextUrls = names('next nexturl nextlink odatanextlink nextpage nextpageurl');
const more = names('hasmore hasnextpage hasnext more');

const pageSize = 100;
const pageSizeMax = 1_000;

/** What the description of an operation says about its pages. `item` is a record of it. */
export function pagingOf(operation: Operation, item: Schema): Paging {
  const query = operation.parameters.filter((parameter) => parameter.in === 'query');
  const named = (known: ReadonlySet<string>): Parameter | undefined =>
    query.find(({ name }) => known.has(bare(name)));
  const size = named(sizes);
  const limit = size === undefined ? pageSize : sizeOf(size.schema);
  const sized = size === undefined ? {} : { [size.name]: limit };
  const [cursor, keyset, offset, page] = [named(cursors), named(keysets), named(offsets), named(pages)];

  const next = findProperty(operation.answer, nextCursors);
  if (cursor !== undefined && next !== null) {
    const pagination = { type: 'cursor', cursor_param: cursor.name, next } as const;
    return { pagination, params: sized };
  }
  const url = findProperty(operation.answer, nextUrls);
  if (url !== null && page === undefined && cursor === undefined)
    return { pagination: { type: 'next_url', next: url }, params: sized };
  const field = ['id', '_id', 'uuid'].find((name) => item.properties.has(name));
  if (keyset !== undefined && field !== undefined) {
    const hasMore = findProperty(operation.answer, more);
    const pagination = { type: 'keyset', param: keyset.name, field } as const;
    return {
      pagination: hasMore === null ? pagination : { ...pagination, has_more: hasMore },
      params: sized,
    };
  }
  if (operation.hasLinkHeader) return { pagination: { type: 'link_header' }, params: sized };
  if (offset !== undefined && size !== undefined) {
    const pagination = { type: 'offset', limit_param: size.name, offset_param: offset.name, limit } as const;
    return { pagination, params: {} };
  }
  if (page !== undefined) {
    const start = page.schema.sample === 0 ? { start: 0 } : {};
    const pagination = { type: 'page', page_param: page.name, ...start } as const;
    if (size === undefined) return { pagination, params: {} };
    return { pagination: { ...pagination, size_param: size.name, size: limit }, params: {} };
  }
  return { pagination: null, params: sized };
}

/** Whether a parameter only says which page is wanted, or how large. */
export function isPaging(name: string): boolean {
  const key = bare(name);
  return [sizes, offsets, pages, cursors, keysets].some((known) => known.has(key));
}

/** The greatest page that is allowed, or what the API takes by itself, or a hundred: fewer requests for the same rows. */
function sizeOf({ maximum, sample }: Schema): number {
  const wanted = maximum ?? (typeof sample === 'number' ? Math.max(sample, 1) : pageSize);
  return Math.min(Math.max(1, Math.floor(wanted)), pageSizeMax);
}

/** JMESPath to a text or switch of such a name, at most three objects deep; lists are records and not looked into. */
function findProperty(schema: Schema, known: ReadonlySet<string>): string | null {
  let level: { readonly path: readonly string[]; readonly schema: Schema }[] = [{ path: [], schema }];
  for (let depth = 0; depth < 3; depth += 1) {
    const inner = level.flatMap(({ path, schema: at }) =>
      [...at.properties].map(([name, of]) => ({ path: [...path, name], schema: of() })),
    );
    const found = inner.find(
      ({ path, schema: at }) =>
        known.has(bare(path.at(-1) ?? '')) &&
        (at.type === null || at.type === 'string' || at.type === 'boolean'),
    );
    if (found !== undefined) return jmesPathOf(found.path);
    level = inner.filter(({ schema: at }) => at.type === 'object');
  }
  return null;
}

function bare(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

function names(list: string): ReadonlySet<string> {
  return new Set(list.split(' '));
}
