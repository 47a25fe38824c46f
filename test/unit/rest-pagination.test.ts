import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nothingSeen } from '../../src/connectors/rest-api/high-mark.ts';
import { nextLink } from '../../src/connectors/rest-api/pagination/link-header.ts';
import {
  createPager,
  type PagePosition,
  type Pager,
  type RawPage,
} from '../../src/connectors/rest-api/pagination/pager.ts';
import { usablePosition, writePosition } from '../../src/connectors/rest-api/position.ts';
import { MillraceError } from '../../src/core/errors.ts';
import type { ResolvedStream } from '../../src/core/model.ts';
import type { PaginationConfig } from '../../src/core/rest.ts';

const url = new URL('https://api.example.com/things');

interface Answer {
  readonly ids: readonly number[];
  readonly envelope?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** A rule of the stream passes it over. */
  readonly skipped?: boolean;
  readonly status?: number;
}

function pageOf({ ids, envelope = {}, headers = {}, skipped = false, status = 200 }: Answer): RawPage {
  const records = ids.map((id) => ({ id }));
  return {
    records: ids.length,
    first: records[0],
    last: records.at(-1),
    keys: ids.map(String),
    envelope: () => envelope,
    header: (name) => headers[name] ?? null,
    url,
    fingerprint: JSON.stringify(ids),
    uniform: ids.length > 1 && ids[0] === ids.at(-1),
    skipped: skipped ? status : null,
  };
}

/** A position that was stored and read again; as the former version wrote it, without what it did not know. */
function stored(position: PagePosition, former: boolean): PagePosition {
  const { read: _, ...known } = { read: null, ...position };
  const at = former ? (known as PagePosition) : position;
  const run = {
    paged: '',
    until: 0,
    seen: nothingSeen,
    window: null,
    at: at as never,
    parent: null,
    fresh: [],
  };
  const written = writePosition({ of: 'x', mark: null, high: null, run });
  return usablePosition({ name: 'things' } as ResolvedStream, 'x', written).position?.run?.at as PagePosition;
}

type Server = (params: Readonly<Record<string, string | number>>, at: string | undefined) => Answer;

interface Walked {
  readonly ids: readonly number[];
  readonly requests: number;
  readonly error: string | null;
  readonly pager: Pager;
}

/** Reads a list to its end; `interrupt` makes the reading begin anew from the stored position after so many pages. */
function walk(
  config: PaginationConfig,
  server: Server,
  options: { keyed?: boolean; maxPages?: number; interrupt?: number; former?: boolean } = {},
): Walked {
  const make = (): Pager =>
    createPager(config, { keyed: options.keyed ?? false, maxPages: options.maxPages ?? 200, url });
  let pager = make();
  let position: PagePosition = pager.first;
  const ids: number[] = [];
  let requests = 0;
  for (;;) {
    const request = pager.request(position);
    requests += 1;
    if (requests > 5_000) throw new Error('it never ends');
    const answer = server(request.params, request.url);
    const page = pageOf(answer);
    ids.push(...page.keys.map(Number));
    let result: ReturnType<Pager['after']>;
    try {
      const missing =
        answer.status === undefined || answer.skipped ? null : pager.missing(position, answer.status);
      if (missing === null && answer.status !== undefined && answer.skipped !== true)
        return { ids, requests, error: String(answer.status), pager };
      if (missing instanceof MillraceError) throw missing;
      result = missing === null ? pager.after(position, page) : { end: missing };
    } catch (error) {
      return { ids, requests, error: error instanceof MillraceError ? error.code : String(error), pager };
    }
    if ('end' in result) return { ids, requests, error: null, pager };
    position = result.next;
    // An interruption costs what it had not stored; one after each request for ever would leave nothing.
    if (options.interrupt !== undefined && requests % options.interrupt === 0 && requests < 40) {
      pager = make();
      position = pager.resume(stored(position, options.former ?? false)) ?? pager.first;
    }
  }
}

const offset: PaginationConfig = { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 10 };
const page: PaginationConfig = { type: 'page', page_param: 'page', size_param: 'size', size: 10 };
const cursor: PaginationConfig = { type: 'cursor', cursor_param: 'c', next: 'next' };
const link: PaginationConfig = { type: 'link_header' };
const nextUrl: PaginationConfig = { type: 'next_url', next: 'links.next' };
const keyset: PaginationConfig = { type: 'keyset', param: 'after', field: 'id' };
const all: readonly PaginationConfig[] = [offset, page, cursor, link, nextUrl, keyset];

/** A server over a list that answers in every way at once. */
function serve(list: () => readonly number[], size: number): Server {
  return (params, at) => {
    const asked = at === undefined ? params : Object.fromEntries(new URL(at, url.href).searchParams);
    const limit = Math.min(Number(asked['limit'] ?? asked['size'] ?? size), size);
    const ids = list();
    const place = ids.findIndex(
      (id) => id > Number(asked['after'] ?? asked['c'] ?? Number.NEGATIVE_INFINITY),
    );
    const from =
      asked['offset'] !== undefined
        ? Number(asked['offset'])
        : asked['page'] !== undefined
          ? (Number(asked['page']) - 1) * limit
          : place === -1
            ? ids.length
            : place;
    const answered = ids.slice(from, from + limit);
    const last = answered.at(-1);
    const more = from + limit < ids.length && last !== undefined;
    return {
      ids: answered,
      envelope: { next: more ? String(last) : null, links: { next: more ? `/things?after=${last}` : null } },
      headers: more ? { link: `<https://api.example.com/things?after=${last}>; rel="next"` } : {},
    };
  };
}

describe.each(all.map((config) => [config.type, config] as const))('%s', (_, config) => {
  it('law: a list that stays is read whole, once and in order, whatever its size and the page size that the API allows', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 95 }),
        fc.integer({ min: 1, max: 15 }),
        fc.boolean(),
        (count, size, keyed) => {
          const list = Array.from({ length: count }, (_, at) => at + 1);
          const { ids, error } = walk(
            config,
            serve(() => list, size),
            { keyed },
          );
          expect(error).toBeNull();
          expect([...new Set(ids)]).toEqual(list);
          if (!keyed) expect(ids).toEqual(list);
        },
      ),
    );
  });

  it('law: it ends, whatever the API answers', () => {
    const anything = fc.record({
      ids: fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 4 }),
      envelope: fc.record({
        next: fc.oneof(fc.constantFrom('a', 'b', 'c', '', 7), fc.constant(null)),
        links: fc.record({ next: fc.constantFrom('/things?after=1', '/things?after=2', '?x', null) }),
        offset: fc.constantFrom(0, 10, '3', null),
        page: fc.integer({ min: 0, max: 4 }),
        total: fc.constantFrom(0, 5, 1_000_000, null),
      }),
      headers: fc.record({ link: fc.constantFrom('<?a>; rel=next', '<?b>; rel="next"', '<?c>; rel=prev') }),
    });
    fc.assert(
      fc.property(
        fc.array(anything, { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        fc.option(fc.integer({ min: 3, max: 8 }), { nil: undefined }),
        (answers, keyed, interrupt) => {
          let at = 0;
          const { requests } = walk(config, () => answers[at++ % answers.length] as Answer, {
            keyed,
            maxPages: 50,
            ...(interrupt === undefined ? {} : { interrupt: 1_000 * interrupt }),
          });
          expect(requests).toBeLessThan(2_000);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('stops at an API that ignores where to go on', () => {
    const list = Array.from({ length: 10 }, (_, at) => at + 1);
    const stuck: Server = () => ({
      ids: list,
      envelope: { next: '10', links: { next: '/things?after=10' } },
      headers: { link: '</things?after=10>; rel=next' },
    });
    expect(walk(config, stuck, { keyed: true }).error).toBe('pagination_loop');
    expect(walk(config, stuck).error).toBe('pagination_loop');
  });

  it('stops at its ceiling', () => {
    let id = 0;
    const endless: Server = () => {
      const ids = [++id, ++id];
      return {
        ids,
        envelope: { next: String(id), links: { next: `?after=${id}` } },
        headers: { link: `<?after=${id}>; rel=next` },
      };
    };
    const { error, requests } = walk(config, endless, { maxPages: 20 });
    expect(error).toBe('pagination_loop');
    expect(requests).toBe(21);
  });
});

describe('a list that changes while it is read', () => {
  const change = fc.record({
    after: fc.integer({ min: 1, max: 12 }),
    remove: fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 15 }),
    add: fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 10 }),
  });

  it('law: by offset with keys, no row is lost that was there from the beginning to the end, also across interruptions', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 120 }),
        fc.array(change, { maxLength: 6 }),
        fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
        // One row a page leaves no room to overlap. Of two rows, the page that overlaps begins where the one does that tells
        // whether the API takes any offset: a row that came in front then looks like an API that takes whole pages only.
        fc.integer({ min: 3, max: 12 }),
        (count, changes, interrupt, size) => {
          // Even numbers were there, odd ones come: between any two.
          let list = Array.from({ length: count }, (_, at) => (at + 1) * 2);
          const stayed = new Set(list);
          const base = serve(() => list, size);
          let requests = 0;
          let firstRows = 0;
          const moving: Server = (params, at) => {
            requests += 1;
            for (const { after, remove, add } of changes.filter((one) => one.after === requests)) {
              const gone = new Set(remove.map((place) => list[place]).filter((id) => id !== undefined));
              for (const id of gone) stayed.delete(id);
              list = [
                ...new Set([...list.filter((id) => !gone.has(id)), ...add.map((id) => id * 2 + 1)]),
              ].sort((a, b) => a - b);
              void after;
            }
            if (requests === 1) firstRows = list.length;
            return base(params, at);
          };
          const { ids, error } = walk(offset, moving, {
            keyed: true,
            maxPages: 2_000,
            ...(interrupt === undefined ? {} : { interrupt }),
          });
          // A single row that comes again because one came in front of it looks like an API that does not follow its
          // parameter: that is said, and nothing is passed over in silence.
          if (firstRows === 1 && error === 'pagination_loop') return;
          expect(error).toBeNull();
          expect([...stayed].filter((id) => !ids.includes(id))).toEqual([]);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  it('a list of one row that grows while it is looked for more is no loop', () => {
    let list = [2];
    let requests = 0;
    const base = serve(() => list, 6);
    const growing: Server = (params, at) => {
      requests += 1;
      if (requests === 4) list = [1, 2, 3, 9, 11, 17, 19, 31, 33, 35];
      if (requests === 6) list = [1, 2, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35];
      return base(params, at);
    };
    expect(walk(offset, growing, { keyed: true })).toMatchObject({ ids: [2, 2], error: null });
  });

  it('law: by cursor and keyset neither, also across interruptions', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(cursor, keyset, link, nextUrl),
        fc.array(change, { maxLength: 6 }),
        fc.integer({ min: 1, max: 5 }),
        (config, changes, interrupt) => {
          let list = Array.from({ length: 60 }, (_, at) => (at + 1) * 2);
          const stayed = new Set(list);
          const base = serve(() => list, 7);
          let requests = 0;
          const moving: Server = (params, at) => {
            requests += 1;
            for (const { remove } of changes.filter((one) => one.after === requests)) {
              const gone = new Set(remove.map((place) => list[place]).filter((id) => id !== undefined));
              for (const id of gone) stayed.delete(id);
              list = list.filter((id) => !gone.has(id));
            }
            return base(params, at);
          };
          const { ids, error } = walk(config, moving, { interrupt });
          expect(error).toBeNull();
          expect([...stayed].filter((id) => !ids.includes(id))).toEqual([]);
          expect(new Set(ids).size).toBe(ids.length);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('without keys the same offsets do lose rows: what the overlap is for', () => {
    let list = Array.from({ length: 30 }, (_, at) => at + 1);
    const base = serve(() => list, 10);
    let requests = 0;
    const moving: Server = (params, at) => {
      requests += 1;
      if (requests === 2) list = list.slice(5);
      return base(params, at);
    };
    expect(walk(offset, moving, { keyed: false }).ids).not.toContain(12);
    requests = 0;
    list = Array.from({ length: 30 }, (_, at) => at + 1);
    const kept = walk(offset, moving, { keyed: true });
    expect(kept.ids).toContain(12);
    expect(kept.pager.notices().join()).toContain('none is missing');
  });

  it('gives up overlapping where the API takes offsets in whole pages only, and says so', () => {
    const list = Array.from({ length: 35 }, (_, at) => at + 1);
    const stepped: Server = ({ offset: from }) => {
      const start = Math.floor(Number(from) / 10) * 10;
      return { ids: list.slice(start, start + 10) };
    };
    const { ids, error, pager } = walk(offset, stepped, { keyed: true });
    expect(error).toBeNull();
    expect([...new Set(ids)]).toEqual(list);
    expect(pager.notices().join()).toContain('steps of its page size');
  });

  it('gives up overlapping where the API has no order, and says so', () => {
    let seed = 1;
    const shuffled: Server = ({ offset: from }) => {
      seed += 1_000;
      return { ids: Number(from) > 60 ? [] : Array.from({ length: 10 }, (_, at) => seed + at) };
    };
    const { error, pager } = walk(offset, shuffled, { keyed: true, maxPages: 1_000 });
    expect(error).toBeNull();
    expect(pager.notices().join()).toContain('another order');
  });
});

describe.each([
  ['page', page],
  ['page without a size', { type: 'page', page_param: 'page' } as const],
  ['offset', offset],
] as const)('a list by %s with pages that the API has emptied by a filter', (_, config) => {
  /** Cuts pages of so many rows, and leaves out what is hidden afterwards. */
  const filtering =
    (count: number, size: number, hides: (id: number) => boolean): ((params: object) => readonly number[]) =>
    (params) => {
      const list = Array.from({ length: count }, (_, at) => at + 1);
      return serve(() => list, size)(params as never, undefined).ids.filter((id) => !hides(id));
    };
  const behind = (params: object, size: number): number => {
    const { page: number, offset: from, size: limit } = params as Readonly<Record<string, number>>;
    return from === undefined ? Number(number) * Math.min(size, limit ?? size) : from + size;
  };
  const holes = fc.record({
    count: fc.integer({ min: 0, max: 160 }),
    size: fc.integer({ min: 2, max: 10 }),
    from: fc.integer({ min: 1, max: 160 }),
    many: fc.integer({ min: 0, max: 60 }),
    odd: fc.boolean(),
    keyed: fc.boolean(),
    stepped: fc.boolean(),
  });

  it('law: it is read to where the API says that it ends, by has_more or by a total', () => {
    fc.assert(
      fc.property(
        holes,
        fc.constantFrom('more', 'total'),
        fc.constantFrom(undefined, 404),
        ({ count, size, from, many, odd, keyed, stepped }, says, end) => {
          // A first page that is empty beside a total is the end: that total counts something else. And how many rows an
          // API gives at most, which is how far an offset goes on behind an empty page, is told by those that came.
          const first = says === 'total' || config.type === 'offset' ? size + 1 : 1;
          const hides = (id: number): boolean =>
            id >= Math.max(first, from) && id < from + many && (odd || id % 7 > 0);
          const cut = filtering(count, size, hides);
          const server: Server = (given) => {
            // Some take offsets in whole pages only.
            const step = Number(given['offset']) - (stepped ? Number(given['offset']) % size : 0);
            const params = given['offset'] === undefined ? given : { ...given, offset: step };
            const more = behind(params, size) < count;
            const at = behind(params, size) - size;
            if (end !== undefined && at >= Math.max(1, count)) return { ids: [], status: end };
            return { ids: cut(params), envelope: says === 'total' ? { total: count } : { more } };
          };
          const told = says === 'more' ? { ...config, has_more: 'more' } : config;
          const { ids, error } = walk(told, server, { keyed, maxPages: 1_000 });
          const seen = Array.from({ length: count }, (_, at) => at + 1).filter((id) => !hides(id));
          expect([error, [...new Set(ids)].sort((a, b) => a - b)]).toEqual([null, seen]);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('ends there where nothing is said', () => {
    const cut = filtering(30, 10, (id) => id > 10 && id <= 20);
    expect(walk(config, (params) => ({ ids: cut(params) })).ids).toHaveLength(10);
  });

  it('does not ask for ever where the API says for ever that there is more', () => {
    const cut = filtering(30, 10, () => false);
    const telling = walk({ ...config, has_more: 'more' }, (params) => ({
      ids: cut(params),
      envelope: { more: true },
    }));
    expect(telling.error).toBe('pagination_loop');
    expect(telling.requests).toBeLessThan(110);
    const counting = walk(config, (params) => ({ ids: cut(params), envelope: { total: 1_000_000 } }));
    expect(counting.error).toBe('pagination_loop');
    // The way out that the error names.
    const named = walk({ ...config, has_more: 'data' }, (params) => ({
      ids: cut(params),
      envelope: { data: cut(params), total: 1_000_000 },
    }));
    expect(named).toMatchObject({ error: null, requests: 4 });
  });

  it.each([404, 410])('takes %i behind a page for the end only where no more is to come', (status) => {
    const cut = filtering(30, 10, () => false);
    const gone =
      (at: number, envelope: object): Server =>
      (params) =>
        behind(params, 10) > at ? { ids: [], status } : { ids: cut(params), envelope };
    expect(walk(config, gone(30, {}))).toMatchObject({ error: null, requests: 4 });
    expect(walk(config, gone(20, {}))).toMatchObject({ error: null, requests: 3 });
    expect(walk(config, gone(20, { total: 30 })).error).toBe('not_found_at_source');
    expect(walk({ ...config, has_more: 'more' }, gone(20, { more: true })).error).toBe('not_found_at_source');
    // A total that is too low says nothing.
    expect(walk(config, gone(30, { total: 10 }))).toMatchObject({ error: null, requests: 4 });
    // At a place that was left, where nothing has been said yet, it is no end either.
    const pager = createPager(config, { keyed: false, maxPages: 9, url });
    const left: PagePosition =
      config.type === 'page' ? { at: 'page', page: 3, read: 10 } : { at: 'offset', offset: 20, tail: [] };
    expect(pager.missing(pager.resume(left) ?? pager.first, status)).toBeNull();
  });
});

describe('a list by keyset whose API answers with the value itself too', () => {
  /** The last record of a page has its key; several may share it. */
  const inclusive =
    (keys: readonly number[], size: number, says: boolean): Server =>
    ({ after }) => {
      const from = after === undefined ? 0 : keys.findIndex((key) => key >= Number(after));
      const ids = keys.slice(from, from + size);
      return { ids, envelope: says ? { more: from + size < keys.length } : {} };
    };

  it('law: is read whole, or it is an error that too many records share a value', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 2, max: 12 }),
        fc.boolean(),
        (unsorted, size, says) => {
          const keys = [...unsorted].sort((a, b) => a - b);
          const told = says ? { ...keyset, has_more: 'more' } : keyset;
          const { ids, error } = walk(told, inclusive(keys, size, says));
          // A first page that holds one value only is the whole list, as far as anybody can tell who is told nothing.
          if (!says && keys[0] === keys[size - 1]) return;
          const ties = Math.max(...keys.map((key) => keys.filter((other) => other === key).length));
          if (error === null) expect([...new Set(ids)]).toEqual([...new Set(keys)]);
          else expect([error, ties >= size]).toEqual(['pagination_loop', true]);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('ends where few of them are all that there is', () => {
    expect(walk(keyset, inclusive([7, 7, 7], 10, false))).toMatchObject({ error: null, requests: 2 });
    expect(walk(keyset, inclusive([7], 10, false))).toMatchObject({ error: null, requests: 2 });
    expect(walk({ ...keyset, has_more: 'more' }, inclusive(Array(20).fill(7), 20, true)).error).toBeNull();
  });

  it('says what to change where more of them share a value than a page holds', () => {
    const pager = createPager({ ...keyset, has_more: 'more' }, { keyed: false, maxPages: 9, url });
    const full = pageOf({ ids: [7, 7, 7], envelope: { more: true } });
    const first = pager.after(pager.first, full);
    const fault = ((): unknown => {
      try {
        return pager.after('next' in first ? first.next : pager.first, full);
      } catch (error) {
        return error;
      }
    })();
    expect(fault).toMatchObject({
      code: 'pagination_loop',
      message: expect.stringContaining('have the same "id"'),
      hint: expect.stringContaining('larger pages'),
    });
  });

  it('does not end with an empty page while the API says that there is more', () => {
    const server: Server = ({ after }) => ({ ids: after === undefined ? [1] : [], envelope: { more: true } });
    expect(walk({ ...keyset, has_more: 'more' }, server).error).toBe('response_invalid');
    expect(walk(keyset, server).error).toBeNull();
  });
});

describe.each([
  ['cursor', cursor],
  ['next_url', nextUrl],
  ['link_header', link],
] as const)('a list by %s', (_, config) => {
  /** Sends on to a place, in every way at once. */
  const leading = (ids: readonly number[], to: unknown, more: object = {}): Answer => ({
    ids,
    envelope: { next: to, links: { next: `/things?c=${to}` }, ...more },
    headers: { link: `</things?c=${to}>; rel=next` },
  });
  const list = Array.from({ length: 35 }, (_, at) => at + 1);
  const asked = (params: Readonly<Record<string, string | number>>, at: string | undefined): string | null =>
    at === undefined ? ((params['c'] as string | undefined) ?? null) : new URL(at).searchParams.get('c');

  it('goes on where one place always leads to other rows, until none come', () => {
    let place = 0;
    const scroll: Server = (params, at) => {
      place = asked(params, at) === null ? 0 : place + 10;
      return leading(list.slice(place, place + 10), 'same');
    };
    expect(walk(config, scroll)).toMatchObject({ error: null, ids: list, requests: 5 });
    let requests = 0;
    // The API keeps the place: what was asked for ahead, and had not landed, is not there any more.
    const interrupted: Server = (params, at) => {
      const answer = scroll(params, at);
      requests += 1;
      if (requests === 3) place += 10;
      return answer;
    };
    expect(new Set(walk(config, interrupted, { interrupt: 3 }).ids)).toEqual(new Set(list));
    let counted = 0;
    const endless: Server = () => {
      counted += 1;
      return leading([counted], 'same');
    };
    expect(walk(config, endless, { maxPages: 20 }).error).toBe('pagination_loop');
  });

  /** The last page sends on to itself. */
  const clamped =
    (more: (from: number) => object): Server =>
    (params, at) => {
      const from = Number(asked(params, at) ?? 0);
      return leading(list.slice(from, from + 10), Math.min(from + 10, 30), more(from));
    };

  it('ends where a last page sends on to itself, broken off or not, unless more is said to be behind it', () => {
    for (const interrupt of [1, 2, 3, 4, 1_000]) {
      const { ids, error, pager } = walk(
        config,
        clamped(() => ({})),
        { interrupt },
      );
      expect([error, [...new Set(ids)]], String(interrupt)).toEqual([null, list]);
      expect(pager.notices().join()).toContain('taken for the last one');
      expect(
        walk(
          config,
          clamped(() => ({ total: 35 })),
          { interrupt },
        ).error,
      ).toBeNull();
    }
    expect(
      walk(
        config,
        clamped(() => ({ total: 90 })),
      ).error,
    ).toBe('pagination_loop');
    if (config.type !== 'cursor') return;
    const told = { ...config, has_more: 'more' };
    expect(
      walk(
        told,
        clamped(() => ({ more: true })),
      ).error,
    ).toBe('pagination_loop');
    expect(
      walk(
        told,
        clamped((from) => ({ more: from < 30 })),
      ),
    ).toMatchObject({ error: null, requests: 4 });
  });

  it('is a loop where earlier pages come again, or the first one, broken off or not', () => {
    const around: Server = (params, at) => {
      const from = Number(asked(params, at) ?? 0);
      return leading(list.slice(from, from + 10), (from + 10) % 30);
    };
    if (config.type !== 'cursor') expect(walk(config, around).error).toBe('pagination_loop');
    const first: Server = () => leading(list.slice(0, 10), 'on');
    for (const interrupt of [1, 2, 1_000])
      expect(walk(config, first, { interrupt }).error).toBe('pagination_loop');
    // Its only page, where it says so.
    const only: Server = () => leading(list.slice(0, 10), 'on', { total: 10 });
    expect(walk(config, only)).toMatchObject({ error: null, requests: 2 });
  });

  it.each([0, '0', '', false, 'false', 'null', null])('takes a place %j for the end', (none) => {
    if (config.type === 'link_header') return;
    const server: Server = (params, at) => {
      const from = Number(asked(params, at) ?? 0);
      const answer = leading(list.slice(from, from + 10), from + 10 < 35 ? from + 10 : none);
      return from + 10 < 35 ? answer : { ...answer, envelope: { next: none, links: { next: none } } };
    };
    expect(walk(config, server)).toMatchObject({ error: null, ids: list, requests: 4 });
  });

  it('goes on behind a page without records that leads elsewhere', () => {
    const holed: Server = (params, at) => {
      const from = Number(asked(params, at) ?? 0);
      return from >= 35 ? { ids: [] } : leading(from === 10 ? [] : list.slice(from, from + 10), from + 10);
    };
    expect(walk(config, holed).ids).toHaveLength(25);
  });
});

describe('the brakes', () => {
  it('hold an echoed position against what was asked for, once it was right', () => {
    const list = Array.from({ length: 40 }, (_, at) => at + 1);
    const base = serve(() => list, 10);
    const lying: Server = (params, at) => ({
      ...base(params, at),
      envelope: { meta: { offset: Number(params['offset']) === 0 ? 0 : 999 } },
    });
    expect(walk(offset, lying).error).toBe('pagination_loop');
    // One that counts otherwise from the beginning on says nothing.
    const otherwise: Server = (params, at) => ({ ...base(params, at), envelope: { offset: 1 } });
    expect(walk(offset, otherwise)).toMatchObject({ error: null, ids: list });
  });

  it('let the last page come again at the end, but not the first one for ever', () => {
    const list = Array.from({ length: 20 }, (_, at) => at + 1);
    const clamped: Server = ({ page: number }) => {
      const from = (Math.min(Number(number), 2) - 1) * 10;
      return { ids: list.slice(from, from + 10) };
    };
    expect(walk(page, clamped)).toMatchObject({ error: null });
    expect(walk(page, () => ({ ids: list.slice(0, 10) })).error).toBe('pagination_loop');
  });

  describe('after an interruption', () => {
    /** So many rows on pages of ten; the last page also comes for every one behind it. */
    const clamped =
      (count: number, total: number | null = null): Server =>
      ({ page: number }) => {
        const from = (Math.min(Number(number), Math.ceil(count / 10)) - 1) * 10;
        const ids = Array.from({ length: Math.min(10, count - from) }, (_, at) => from + at + 1);
        return { ids, envelope: total === null ? {} : { total } };
      };
    const unsized: PaginationConfig = { type: 'page', page_param: 'page' };
    const servers = [clamped(43), clamped(43, 43), clamped(50), clamped(50, 50)];

    it.each([page, unsized].flatMap((config) => [1, 2, 3, 4, 5].map((at) => [config, at] as const)))(
      'a reading of %o that broke off every %i pages ends where an unbroken one does',
      (config, interrupt) => {
        for (const server of servers) {
          const unbroken = walk(config, server);
          const broken = walk(config, server, { interrupt });
          expect([unbroken.error, broken.error]).toEqual([null, null]);
          expect([...new Set(broken.ids)]).toEqual(unbroken.ids.slice(0, [...new Set(unbroken.ids)].length));
        }
      },
    );

    it.each([page, unsized].flatMap((config) => [2, 3, 4, 5].map((at) => [config, at] as const)))(
      'a reading of %o that a former version broke off after %i pages ends, whatever the total',
      (config, interrupt) => {
        for (const server of servers) {
          const { error, ids, requests } = walk(config, server, { interrupt, former: true });
          expect([error, new Set(ids).size]).toEqual([null, walk(config, server).ids.at(-1)]);
          expect(requests).toBeLessThan(20);
        }
      },
    );

    it.each([page, unsized].flatMap((config) => [1, 2, 5].map((skipped) => [config, skipped] as const)))(
      'so does one of %o that a rule lets pass over page %i, broken off or not',
      (config, skipped) => {
        for (const server of [clamped(63, 63), clamped(60, 60)]) {
          const but: Server = (params, at) =>
            params['page'] === skipped ? { ids: [], skipped: true } : server(params, at);
          for (const interrupt of [1, 3, 4, 100]) {
            const { error, ids } = walk(config, but, { interrupt });
            const wanted = walk(config, server).ids.filter((id) => Math.ceil(id / 10) !== skipped);
            expect([error, new Set(ids)], `${interrupt}`).toEqual([null, new Set(wanted)]);
          }
        }
      },
    );

    it('also where the list has become shorter meanwhile', () => {
      let requests = 0;
      const shrinking: Server = (params, at) => {
        requests += 1;
        return requests <= 5 ? clamped(50, 50)(params, at) : clamped(30, 30)(params, at);
      };
      expect(walk(page, shrinking, { interrupt: 5 })).toMatchObject({ error: null, requests: 7 });
    });

    it('a page that comes for ever is still a loop, and so is a list that says it is longer', () => {
      for (const interrupt of [1, 2, 3]) {
        expect(walk(page, () => ({ ids: [1, 2] }), { interrupt }).error).toBe('pagination_loop');
        expect(walk(page, clamped(50, 430), { interrupt }).error).toBe('pagination_loop');
      }
      expect(walk(page, clamped(50, 430), { interrupt: 5 }).error).toBe('pagination_loop');
    });
  });

  describe('with a count of the whole list', () => {
    const configs = [
      page,
      { type: 'page', page_param: 'page' },
      { type: 'page', page_param: 'page', start: 0 },
      offset,
    ] as const;
    type Numbers = (typeof configs)[number];
    const saying: Readonly<Record<string, (count: number, size: number) => Partial<Answer>>> = {
      total: (count) => ({ envelope: { meta: { total: count } } }),
      'total as a text': (count) => ({ envelope: { total: String(count) } }),
      'X-WP-Total and X-WP-TotalPages': (count, size) => ({
        headers: { 'x-wp-total': String(count), 'x-wp-totalpages': String(Math.ceil(count / size)) },
      }),
      total_pages: (count, size) => ({ envelope: { total_pages: Math.ceil(count / size) } }),
      'a total that is too low': (count) => ({ envelope: { total: Math.min(count, 20) } }),
      'a total of the page': (count, size) => ({ envelope: { total: Math.min(count, size) } }),
    };
    /** What is behind the last page. */
    const ends: Readonly<Record<string, (last: readonly number[]) => Answer>> = {
      400: () => ({ ids: [], status: 400 }),
      404: () => ({ ids: [], status: 404 }),
      416: () => ({ ids: [], status: 416 }),
      422: () => ({ ids: [], status: 422 }),
      'the last page': (ids) => ({ ids }),
      nothing: () => ({ ids: [] }),
    };
    const counted = (count: number, size: number, says: string, end: string): Server => {
      const list = Array.from({ length: count }, (_, at) => at + 1);
      return (params) => {
        const at = Number(params['offset'] ?? 0);
        const from = params['offset'] === undefined ? (Number(params['page']) - 1) * size : at;
        const last = Math.max(0, Math.ceil(count / size) - 1) * size;
        const answer: Answer =
          from > 0 && from >= count
            ? (ends[end]?.(list.slice(last, last + size)) ?? { ids: [] })
            : { ids: list.slice(from, from + size) };
        return { ...answer, ...saying[says]?.(count, size) };
      };
    };
    const from0 =
      (config: Numbers, server: Server): Server =>
      (params, at) =>
        server('start' in config ? { page: Number(params['page']) + 1 } : params, at);

    it.each(Object.keys(saying).flatMap((says) => Object.keys(ends).map((end) => [says, end] as const)))(
      'law: by %s, a list ends whole where %s is behind it',
      (says, end) => {
        const trusted = says !== 'a total that is too low' && says !== 'a total of the page';
        fc.assert(
          fc.property(
            fc.constantFrom(...configs),
            fc.integer({ min: 1, max: 60 }),
            // A server that gives less than it is asked for, and calls that the total, cannot be told from one that has no more.
            fc.integer({ min: says === 'a total of the page' ? 10 : 1, max: 10 }),
            fc.boolean(),
            (config, count, size, keyed) => {
              // By offset, how many pages there are says nothing.
              if (config.type === 'offset' && says === 'total_pages') return;
              // A parameter that is ignored looks so too.
              if (!trusted && end !== 'nothing' && end !== '404') return;
              const { ids, error } = walk(config, from0(config, counted(count, size, says, end)), { keyed });
              expect(error).toBeNull();
              expect([...new Set(ids)]).toEqual(Array.from({ length: count }, (_, at) => at + 1));
            },
          ),
          { numRuns: 300 },
        );
      },
    );

    it.each(configs)(
      'asks behind a full last page of %o only: nothing tells a total from a capped one',
      (config) => {
        const asked = (count: number, says: string): number =>
          walk(config, from0(config, counted(count, 10, says, '400'))).requests;
        expect(asked(27, 'total')).toBe(3);
        expect(asked(30, 'total')).toBe(4);
        expect(asked(10, 'X-WP-Total and X-WP-TotalPages')).toBe(2);
      },
    );

    it.each(configs)('does not take a refusal of %o for the end before that', (config) => {
      for (const status of [400, 422]) {
        const early: Server = (params) => {
          const behind = Number(params['offset'] ?? Number(params['page']) * 10 - 10) >= 20;
          return behind ? { ids: [], status } : { ...counted(30, 10, 'total', 'nothing')(params, undefined) };
        };
        expect(walk(config, from0(config, early)).error).toBe(String(status));
        const unsaid: Server = (params, at) => ({ ...early(params, at), envelope: {} });
        expect(walk(config, from0(config, unsaid)).error).toBe(String(status));
      }
    });

    it('takes a text or a number that denies for what says that there is no more', () => {
      for (const no of ['false', 'False', '0', 'no', 'null', '', 0, false, null]) {
        const config = { ...page, has_more: 'more' } as const;
        const server: Server = ({ page: number }) => ({
          ids: [Number(number)],
          envelope: { more: number === 3 ? no : 'true' },
        });
        expect(walk(config, server), String(no)).toMatchObject({ error: null, requests: 3 });
      }
    });
  });

  it.each([
    ['page', page],
    ['offset', offset],
  ] as const)('by %s, end where a rule passes over what is not there, and not in the middle', (_, config) => {
    const placeOf = (params: object): number => {
      const { page: number, offset: from } = params as Readonly<Record<string, number>>;
      return from ?? (Number(number) - 1) * 10;
    };
    const list = Array.from({ length: 30 }, (_, at) => at + 1);
    const but =
      (passes: (from: number) => boolean, status: number, envelope: object = {}): Server =>
      (params) =>
        passes(placeOf(params))
          ? { ids: [], skipped: true, status, envelope }
          : { ids: list.slice(placeOf(params), placeOf(params) + 10), envelope };
    for (const status of [404, 410]) {
      expect(
        walk(
          config,
          but((from) => from >= 30, status),
        ),
      ).toMatchObject({ error: null, requests: 4 });
      // What is gone where more is said to stand is a page like another.
      const holed = walk(
        config,
        but((from) => from === 10, status, { total: 30 }),
      );
      expect(holed).toMatchObject({ error: null, ids: [...list.slice(0, 10), ...list.slice(20)] });
    }
    for (const status of [400, 401, 403, 404, 410])
      expect(
        walk(
          config,
          but(() => true, status),
        ),
      ).toMatchObject({ error: null, requests: 1 });
    for (const status of [200, 500]) {
      expect(
        walk(
          config,
          but(() => true, status),
        ),
      ).toMatchObject({ error: null, requests: 2 });
      for (const at of [0, 10])
        expect(
          walk(
            config,
            but((from) => from === at, status),
          ).ids,
        ).toHaveLength(20);
      const told = { ...config, has_more: 'more' } as const;
      expect(
        walk(
          told,
          but((from) => from < 20, status, { more: true }),
        ).ids.slice(0, 10),
      ).toEqual(list.slice(20));
      expect(
        walk(
          config,
          but((from) => from >= 30, status),
        ).error,
      ).toBe('pagination_loop');
    }
  });

  it('do not take pages whose records are all alike for one page', () => {
    const config: PaginationConfig = { ...page, size: 3 };
    const alike: Server = ({ page: number }) => ({ ids: Number(number) <= 4 ? [7, 7, 7] : [] });
    expect(walk(config, alike)).toMatchObject({ error: null, ids: Array(12).fill(7) });
  });

  it('end where the API says that there is nothing more, or that all have come', () => {
    const list = Array.from({ length: 15 }, (_, at) => at + 1);
    const base = serve(() => list, 10);
    const told: Server = (params, at) => {
      const answer = base(params, at);
      return { ...answer, envelope: { more: answer.ids.at(-1) !== 15 } };
    };
    expect(walk({ ...offset, has_more: 'more' }, told)).toMatchObject({ requests: 2, ids: list });
    const counted: Server = (params, at) => ({ ...base(params, at), headers: { 'x-total-count': '15' } });
    expect(walk(offset, counted)).toMatchObject({ requests: 2, ids: list });
    expect(walk(page, counted)).toMatchObject({ requests: 2, ids: list });
    // Pages that a filter made short in the middle: what has come counts, not what would have with full ones.
    const kept = [10, 7, 10, 3, 3].map((many, at) => list.slice(0, many).map((id) => at * 100 + id));
    const filtered: Server = ({ page: number }) => ({
      ids: kept[Number(number) - 1] ?? [],
      envelope: { total: 33 },
    });
    expect(walk(page, filtered)).toMatchObject({ requests: 5, ids: kept.flat() });
  });

  it.each([
    'https://evil.example.org/things?c=2',
    '//evil.example.org/x',
    'javascript:alert(1)',
    'http://api.example.com:8080/x',
    'https://api.example.com.evil.org/',
  ])('do not follow a next address to %s', (to) => {
    const { error } = walk(nextUrl, () => ({ ids: [1], envelope: { links: { next: to } } }));
    expect(error).toBe('host_not_allowed');
  });

  it('mend the http of a server behind a proxy, and drop a user from the address', () => {
    const pager = createPager(nextUrl, { keyed: false, maxPages: 9, url });
    const result = pager.after(
      pager.first,
      pageOf({ ids: [1], envelope: { links: { next: 'http://user:pw@api.example.com/things?c=2#x' } } }),
    );
    expect(result).toMatchObject({ next: { at: 'url', url: 'https://api.example.com/things?c=2' } });
  });
});

describe('a Link header', () => {
  it.each([
    ['<https://a/b?x=1>; rel="next"', 'https://a/b?x=1'],
    ['<https://a/1>; rel="prev", <https://a/b,c;d>; rel="next"; title="a, b"', 'https://a/b,c;d'],
    ['<a>; rel=last,<b>; rel=next', 'b'],
    ['<a>; title="rel=\\"next\\""; rel="last"', null],
    ['<a>; rel="next last"', 'a'],
    ['<a>; REL=NEXT', 'a'],
    ['<a>; rel=last; rel=next', null],
    ['', null],
    ['nonsense', null],
  ])('%s', (header, next) => {
    expect(nextLink(header)).toBe(next);
  });
});
