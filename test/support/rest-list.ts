/** One list over HTTP, in every way of paging and every format, that can change or misbehave between two requests. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { serve, type TestApi } from './rest-apis.ts';

export interface Thing {
  readonly id: number;
  readonly name: string;
  readonly amount: number;
  readonly updated_at: string;
}

export interface ListApi extends TestApi {
  /** By id, as the API answers it; change it as you like. */
  things: Thing[];
  /** Called before each request is answered; true: it has been answered already. */
  hook: (request: IncomingMessage, response: ServerResponse, count: number) => boolean | undefined;
  /** Records a page at most. */
  pageMax: number;
}

const start = Date.UTC(2026, 0, 1);

/** The n-th thing: updated n seconds into 2026. */
export function thing(id: number, more: Partial<Thing> = {}): Thing {
  return { id, name: `thing "${id}", äöü`, amount: id / 4, updated_at: momentOf(id), ...more };
}

/** So many seconds into 2026. */
export function momentOf(seconds: number): string {
  return new Date(start + seconds * 1_000).toISOString().replace('.000Z', 'Z');
}

/** Serves `/offset`, `/page`, `/cursor`, `/cursor-header`, `/link`, `/next`, `/keyset` and `/all`, each with `format` and `since`. */
export async function serveList(things: readonly Thing[], pageMax = 10): Promise<ListApi> {
  let count = 0;
  const state: { api: ListApi | undefined } = { api: undefined };
  const server = await serve((request, response) => {
    const { api } = state;
    count += 1;
    if (api === undefined || api.hook(request, response, count) === true) return;
    answerList(api, request, response);
  });
  const api: ListApi = Object.assign(server, {
    things: [...things],
    hook: () => undefined,
    pageMax,
  });
  state.api = api;
  return api;
}

function answerList(api: ListApi, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', api.url);
  const asked = url.searchParams;
  const since = asked.get('since');
  const until = asked.get('until');
  const version = Number(asked.get('version') ?? Number.NEGATIVE_INFINITY);
  const list = api.things.filter(
    ({ updated_at, amount }) =>
      amount >= version && (since === null || updated_at >= since) && (until === null || updated_at <= until),
  );
  const sort = asked.get('sort');
  if (sort === 'updated_at')
    list.sort((a, b) => (a.updated_at < b.updated_at ? -1 : a.updated_at > b.updated_at ? 1 : a.id - b.id));
  if (sort === 'amount') list.sort((a, b) => a.amount - b.amount || a.id - b.id);
  const way = url.pathname.slice(1);
  const limit = Math.min(
    Number(asked.get('limit') ?? api.pageMax),
    way === 'all' ? Number.POSITIVE_INFINITY : api.pageMax,
  );
  const from =
    way === 'offset'
      ? Number(asked.get('offset') ?? 0)
      : way === 'page'
        ? (Number(asked.get('page') ?? 1) - 1) * limit
        : behind(list, asked);
  const page = way === 'all' ? list : list.slice(from, from + limit);
  const last = page.at(-1)?.id;
  const more = last !== undefined && from + page.length < list.length && way !== 'all';
  const next = new URL(url);
  next.searchParams.set('after', String(last));
  const headers: Record<string, string> = {
    ...(more && way === 'link' ? { link: `<${next.href}>; rel="next", </first>; rel="first"` } : {}),
    ...(more && way === 'cursor-header' ? { 'x-next': `c${last}` } : {}),
  };
  const around = {
    ...(way === 'cursor' ? { meta: { next_cursor: more ? cursorBehind(page.at(-1), sort) : null } } : {}),
    ...(way === 'next' ? { links: { next: more ? next.pathname + next.search : null } } : {}),
  };
  write(response, { page, around, format: asked.get('format') ?? 'json', headers });
}

/** A list that is sorted by a value goes on behind that value: the row that had it may have moved, or be gone. */
function cursorBehind(last: Thing | undefined, sort: string | null): string {
  return sort === 'amount' ? `c${last?.id}~${last?.amount}` : `c${last?.id}`;
}

/** Where the list goes on behind the id, and the amount, that a cursor, or a parameter, names. */
function behind(list: readonly Thing[], asked: URLSearchParams): number {
  const sorted = /^c(\d+)~(\d+)$/.exec(asked.get('cursor') ?? '');
  if (sorted !== null) {
    const [id, amount] = [Number(sorted[1]), Number(sorted[2])];
    const at = list.findIndex((one) => one.amount > amount || (one.amount === amount && one.id > id));
    return at === -1 ? list.length : at;
  }
  const after = Number((asked.get('cursor') ?? asked.get('after') ?? '').replace('c', ''));
  if (after === 0) return 0;
  const at = list.findIndex(({ id }) => id > after);
  return at === -1 ? list.length : at;
}

interface Written {
  readonly page: readonly Thing[];
  readonly around: Readonly<Record<string, unknown>>;
  readonly format: string;
  readonly headers: Readonly<Record<string, string>>;
}

function write(response: ServerResponse, { page, around, format, headers }: Written): void {
  const [type, body] = encode(page, around, format);
  response.writeHead(200, { 'content-type': type, ...headers }).end(body);
}

function encode(page: readonly Thing[], around: object, format: string): readonly [string, string] {
  switch (format) {
    case 'ndjson':
      return ['application/x-ndjson', page.map((one) => `${JSON.stringify(one)}\n`).join('')];
    case 'csv': {
      const rows = page.map((one) =>
        [one.id, `"${one.name.replaceAll('"', '""')}"`, one.amount, one.updated_at].join(';'),
      );
      return ['text/csv; charset=utf-8', ['id;name;amount;updated_at', ...rows, ''].join('\r\n')];
    }
    case 'xml': {
      const items = page.map(
        (one) =>
          `<thing>${Object.entries(one)
            .map(([name, value]) => `<${name}>${escaped(String(value))}</${name}>`)
            .join('')}</thing>`,
      );
      return [
        'application/xml',
        `<?xml version="1.0" encoding="UTF-8"?><answer>${xmlAround(around)}<things>${items.join('')}</things></answer>`,
      ];
    }
    default:
      return ['application/json', JSON.stringify({ ...around, data: page })];
  }
}

function xmlAround(value: object): string {
  return Object.entries(value)
    .map(
      ([name, inner]) =>
        `<${name}>${inner === null ? '' : typeof inner === 'object' ? xmlAround(inner as object) : escaped(String(inner))}</${name}>`,
    )
    .join('');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
