import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { normalTime } from '../../src/connectors/rest-api/kinds.ts';
import { MillraceError } from '../../src/core/errors.ts';
import { freshWarehouse, type Warehouse } from '../support/landed.ts';
import { answer, queryOf, serve, type TestApi } from '../support/rest-apis.ts';
import { type ListApi, momentOf, serveList, thing } from '../support/rest-list.ts';
import { createRng, testSeed } from '../support/rng.ts';

/** Reading again and again: what changed, where an interrupted reading goes on, and what a changing source may not lose. */

let api: ListApi;
let warehouse: Warehouse;
beforeEach(async () => {
  api = await serveList(Array.from({ length: 60 }, (_, at) => thing(at + 1)));
  warehouse = freshWarehouse();
});
afterEach(async () => {
  warehouse[Symbol.dispose]();
  await api[Symbol.asyncDispose]();
});

const offset = { type: 'offset', limit_param: 'limit', offset_param: 'offset', limit: 10 };
const cursor = { type: 'cursor', cursor_param: 'cursor', next: 'meta.next_cursor' };
const since = { cursor_param: 'since', cursor_format: 'iso' };

function stream(way: string, rest: object, more: object = {}): object {
  return {
    name: 'things',
    path: `/${way}`,
    primary_key: ['id'],
    cursor: 'updated_at',
    ...more,
    rest: { records: 'data', ...rest },
  };
}

function queries(): URLSearchParams[] {
  return api.requests.map((line) => new URL(line.split(' ')[1] ?? '', api.url).searchParams);
}

function change(id: number, second: number): void {
  api.things = api.things.map((one) =>
    one.id === id ? { ...one, name: `changed at ${second}`, updated_at: momentOf(second) } : one,
  );
}

describe('what changed since', () => {
  test.each([
    ['iso', '2026-01-01T00:00:59Z'],
    ['value', '2026-01-01T00:00:59Z'],
    ['date', '2026-01-01'],
    ['epoch_s', String(Date.UTC(2026, 0, 1, 0, 0, 59) / 1_000)],
    ['epoch_ms', String(Date.UTC(2026, 0, 1, 0, 0, 59))],
    ['updated:>={iso}', 'updated:>=2026-01-01T00:00:59Z'],
    ['{YYYY}{MM}{DD}-{HH}{mm}{ss}', '20260101-000059'],
  ])('is asked for as %s', async (cursor_format, sent) => {
    const declared = stream('cursor', { pagination: cursor, cursor_param: 'newer', cursor_format });
    expect((await warehouse.sync({ url: api.url, stream: declared })).error).toBeUndefined();
    const before = api.requests.length;
    await warehouse.sync({ url: api.url, stream: declared });
    expect(
      queries()
        .slice(before)
        .some((query) => query.get('newer') === sent),
    ).toBe(true);
  });

  test('is all that is read, and only what is different is written', async () => {
    const declared = stream('cursor', { pagination: cursor, ...since });
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({
      rows_written: 60,
      cursor_after: '2026-01-01T00:01:00.000000Z',
    });
    change(7, 100);
    api.things.push(thing(61, { updated_at: momentOf(101) }));
    const second = await warehouse.sync({ url: api.url, stream: declared });
    expect(second).toMatchObject({ status: 'succeeded', rows_written: 2 });
    expect(second.rows_read).toBeLessThan(6);
    expect(
      warehouse.query('SELECT count(*) AS n, max(name) AS name FROM api__things WHERE id IN (7, 61)')[0]?.[
        'n'
      ],
    ).toBe(2);
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({
      rows_written: 0,
      cursor_after: momentOf(101).replace('Z', '.000000Z'),
    });
  });

  test('ties with the mark come even when they appear later', async () => {
    const declared = stream('cursor', { pagination: cursor, ...since });
    await warehouse.sync({ url: api.url, stream: declared });
    api.things.push(thing(61, { updated_at: momentOf(60) }));
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({ rows_written: 1 });
  });

  test('a look-back window reaches behind the mark', async () => {
    const declared = stream('cursor', { pagination: cursor, ...since }, { lookback: '30s' });
    await warehouse.sync({ url: api.url, stream: declared });
    api.things.push(thing(61, { updated_at: momentOf(35) }));
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({ rows_written: 1 });
  });

  describe.each([
    ['seconds', 1_000],
    ['milliseconds', 1],
  ])('of an API that counts %s', (_, unitMs) => {
    const format = unitMs === 1 ? 'epoch_ms' : 'epoch_s';
    const ago = (hours: number): number => Math.floor((Date.now() - hours * 3_600_000) / unitMs);
    const counting = async (): Promise<TestApi & { rows: { id: number; ts: number }[] }> => {
      const own = await serve((request, response) => {
        const [from, to] = ['from', 'to'].map((name) => queryOf(request).get(name));
        answer(
          response,
          200,
          counted.rows.filter(({ ts }) => ts > Number(from ?? 0) && ts < Number(to ?? Number.MAX_VALUE)),
        );
      });
      const counted = Object.assign(own, {
        rows: [5, 4, 3].map((hours, at) => ({ id: at + 1, ts: ago(hours) })),
      });
      return counted;
    };
    const declare = (rest: object, more: object = {}): object => ({
      name: 'things',
      path: '/',
      primary_key: ['id'],
      cursor: 'ts',
      mode: 'merge',
      ...more,
      rest: { pagination: { type: 'none' }, cursor_param: 'from', ...rest },
    });

    test('a look-back window of time reaches as far as it says', async () => {
      await using own = await counting();
      const declared = declare({ cursor_format: format }, { lookback: '2h' });
      await warehouse.sync({ url: own.url, stream: declared });
      own.rows.push({ id: 4, ts: ago(4.9) });
      expect(await warehouse.sync({ url: own.url, stream: declared })).toMatchObject({ rows_written: 1 });
      own.rows.push({ id: 5, ts: ago(5.1) });
      expect(await warehouse.sync({ url: own.url, stream: declared })).toMatchObject({ rows_written: 0 });
    });

    test.each([
      ['no beginning', {}],
      ['a beginning', { cursor_start: ago(24) }],
      ['a beginning at 0', { cursor_start: 0 }],
    ])('an end is in the same unit, also where only the values tell it: %s', async (_, start) => {
      await using own = await counting();
      const declared = declare({ ...start, cursor_end_param: 'to', order: 'asc' });
      expect(await warehouse.sync({ url: own.url, stream: declared })).toMatchObject({ rows_written: 3 });
      own.rows.push({ id: 4, ts: ago(1) }, { id: 5, ts: ago(-1) });
      expect(await warehouse.sync({ url: own.url, stream: declared })).toMatchObject({ rows_written: 1 });
      const to = own.requests.map((line) => Number(/to=(\d+)$/.exec(line)?.[1] ?? ago(0)));
      expect(to.every((end) => Math.abs(end - ago(0)) * unitMs < 60_000)).toBe(true);
    });

    test.each(
      [
        { mode: 'merge', primary_key: ['n'] },
        { mode: 'append', primary_key: undefined },
        { mode: 'replace', primary_key: ['n'] },
        { mode: 'replace', primary_key: undefined },
      ].flatMap((more) =>
        [{ cursor_format: format }, {}, { cursor_format: 'iso' }].map((written) => [more, written] as const),
      ),
    )('in windows, also where only the values tell the unit: %j, %j', async (more, written) => {
      const most = 10;
      const rows = Array.from({ length: 100 }, (_, at) => ({ n: at + 1, ts: ago((100 - at) * 6) }));
      const asIso = 'cursor_format' in written && written.cursor_format === 'iso';
      const number = (asked: string | null): number =>
        asIso ? Date.parse(asked ?? '') / unitMs : Number(asked ?? 0);
      await using own = await serve((request, response) => {
        const [from = 0, to = 0] = ['from', 'to'].map((name) => number(queryOf(request).get(name)));
        answer(response, 200, rows.filter(({ ts }) => ts >= from && ts <= to).slice(0, most));
      });
      const start = ago(601);
      const declared = declare(
        {
          ...written,
          cursor_start: asIso ? new Date(start * unitMs).toISOString() : start,
          cursor_end_param: 'to',
          window: '2d',
        },
        more,
      );
      const landed = (): unknown[] =>
        warehouse.query('SELECT n FROM api__things ORDER BY n').map(({ n }) => n);
      expect((await warehouse.sync({ url: own.url, stream: declared })).error).toBeUndefined();
      expect(landed()).toEqual(rows.map(({ n }) => n));
      // What comes since is more than is answered at once.
      for (let n = 101; n <= 120; n++) rows.push({ n, ts: ago(5 - (n - 100) / 5) });
      const before = own.requests.length;
      const narrow = declare({ ...(declared as { rest: object }).rest, window: '1h' }, more);
      expect((await warehouse.sync({ url: own.url, stream: narrow })).error).toBeUndefined();
      expect(landed()).toEqual(rows.map(({ n }) => n));
      if (more.mode !== 'replace') expect(own.requests.length - before).toBeLessThan(80);
    });

    test.each([
      ['numbers are refused', 7, 'invalid_config'],
      ['texts are not there, and that is said', 'Thu, 01 Jan 2026', undefined],
    ])('windows of what turns out to be no time: of %s', async (_, ts, code) => {
      await using own = await serve((_, response) => answer(response, 200, [{ id: 1, ts }]));
      const declared = declare({ cursor_start: ago(2), cursor_end_param: 'to', window: '1d' });
      const again = (): ReturnType<Warehouse['sync']> => warehouse.sync({ url: own.url, stream: declared });
      await again();
      await again();
      const { error, warnings } = await again();
      expect(error?.code).toBe(code);
      expect(`${error?.hint} ${warnings?.join()}`).toContain('cursor_format');
    });

    test.each([1, 7e9, 7e12, 7e15])('an end of what is no moment is not sent, as from %d', async (from) => {
      await using own = await counting();
      own.rows = [7, 8, 9].map((id) => ({ id, ts: from + id }));
      const declared = declare({ cursor_start: from, cursor_end_param: 'to' });
      expect(await warehouse.sync({ url: own.url, stream: declared })).toMatchObject({ rows_written: 3 });
      expect(own.requests.filter((line) => line.includes('to='))).toEqual([]);
    });
  });

  test('the mark never passes the beginning of the reading', async () => {
    const now = new Date();
    const soon = new Date(now.getTime() + 3_600_000).toISOString();
    api.things.push(thing(61, { updated_at: soon }));
    const declared = stream('cursor', { pagination: cursor, ...since });
    const { cursor_after } = await warehouse.sync({ url: api.url, stream: declared });
    expect(Date.parse(cursor_after ?? '')).toBeLessThan(now.getTime() - 50_000);
  });

  test('is picked out here where the API cannot be asked, and that is said', async () => {
    const declared = stream('cursor', { pagination: cursor });
    await warehouse.sync({ url: api.url, stream: declared });
    change(9, 200);
    const second = await warehouse.sync({ url: api.url, stream: declared });
    expect(second.rows_written).toBe(1);
    expect(second.rows_read).toBeLessThan(5);
    expect(second.warnings?.join('\n')).toMatch(/reads all pages/);
    expect(second.warnings?.join('\n')).toMatch(/records were read and left out/);
  });

  test.each([
    ['2026-01-01T00:00:10Z', momentOf, 52],
    ['2026-01-01T02:00:10+02:00', momentOf, 52],
    ['2026-01-01T02:00:10+0200', momentOf, 52],
    ['2025-12-31 19:00:10-05', momentOf, 52],
    ['2026-01-01', momentOf, 61],
    [Date.UTC(2026, 0, 1, 0, 0, 10) / 1_000, momentOf, 52],
    ['2026-01-01T02:00:10+02:00', (second: number) => momentOf(second).slice(0, -1), 52],
    [
      '2026-02-10T01:00:00+02:00',
      (day: number) => new Date(Date.UTC(2026, 1, day)).toISOString().slice(0, 10),
      53,
    ],
    ['2026', (id: number) => (id > 9 ? momentOf(id) : '2025-12-31T23:59:59Z'), 52],
    [2026, (id: number) => (id > 9 ? '2026-01-01' : '2025-12-31'), 52],
    ['soon', momentOf, 61],
  ] as const)(
    'begins at %j, as its values are written, where the API cannot be asked',
    async (start, written, rows) => {
      api.things = api.things.map((one) => ({ ...one, updated_at: written(one.id) }));
      // One half a second behind the beginning.
      const close = written(10).replace(/(T.*?)(Z?)$/, '$1.5$2');
      api.things.push(thing(61, { updated_at: close }));
      const declared = stream('cursor', { pagination: cursor, cursor_start: start });
      expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({ rows_written: rows });
    },
  );

  test('begins with a year, and the API is asked for it as it wants to be', async () => {
    const declared = stream('cursor', { pagination: cursor, ...since, cursor_start: '2026' });
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({ rows_written: 60 });
    expect(queries()[0]?.get('since')).toBe('2026-01-01T00:00:00Z');
  });

  test('in windows of time, with an end to each, where an API caps what it answers', async () => {
    const declared = stream('cursor', {
      pagination: cursor,
      cursor_param: 'since',
      cursor_end_param: 'until',
      cursor_format: 'iso',
      cursor_start: '2026-01-01T00:00:00Z',
      window: '30d',
    });
    const first = await warehouse.sync({ url: api.url, stream: declared });
    expect(first.error).toBeUndefined();
    expect(first.rows_written).toBe(60);
    const asked = queries().map((query) => [query.get('since'), query.get('until')]);
    expect(asked).toContainEqual(['2026-01-01T00:00:00Z', '2026-01-31T00:00:00Z']);
    expect(asked).toContainEqual(['2026-01-30T23:59:59Z', '2026-03-01T23:59:59Z']);
    const before = api.requests.length;
    api.things.push(thing(61, { updated_at: new Date(Date.now() - 5_000).toISOString() }));
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({ rows_written: 1 });
    // The second run begins where the first ended: today, not in January.
    expect(
      queries()
        .slice(before)
        .filter((query) => (query.get('since') ?? '') < '2026-02').length,
    ).toBeLessThan(2);
  });

  const day = 86_400_000;
  const written: Readonly<Record<string, (asked: string) => number>> = {
    iso: Date.parse,
    date: Date.parse,
    value: Date.parse,
    '{YYYY}-{MM}-{DD}': Date.parse,
    'updated:{iso}': (asked) => Date.parse(asked.slice('updated:'.length)),
    epoch_s: (asked) => Number(asked) * 1_000,
    epoch_ms: Number,
  };

  test.each(
    Object.keys(written).flatMap((format) =>
      [1, 1.5, 7].flatMap((days) => ['', 'T05:00:00Z'].map((time) => [format, days, time] as const)),
    ),
  )('none is wider than was declared: by %s, %d days, from a day%s on', async (cursor_format, days, time) => {
    const read = written[cursor_format] ?? Number;
    await using own = await serve((_, response) => answer(response, 200, []));
    const start = Math.floor(Date.now() / day) * day - 15 * day;
    const from = `${new Date(start).toISOString().slice(0, 10)}${time}`;
    const declared = {
      name: 'events',
      path: '/events',
      mode: 'append',
      cursor: 'at',
      rest: {
        pagination: { type: 'none' },
        cursor_param: 'since',
        cursor_end_param: 'until',
        cursor_format,
        cursor_start: cursor_format.startsWith('epoch_')
          ? Date.parse(from) / (cursor_format === 'epoch_s' ? 1_000 : 1)
          : from,
        window: `${days * 24}h`,
      },
    };
    expect((await warehouse.sync({ url: own.url, stream: declared })).error).toBeUndefined();
    const ends = own.requests
      .slice(1)
      .map((line) => new URL(line.split(' ')[1] ?? '', own.url).searchParams)
      .map((query) => [read(query.get('since') ?? ''), read(query.get('until') ?? '')] as const);
    const byDays = /^date|DD/.test(cursor_format) || (cursor_format === 'value' && time === '');
    // What asks by days has to go on by one, and begins one before the end of the last.
    const widest = byDays ? Math.max(Math.floor(days), 2) : days;
    expect(Math.max(...ends.map(([since, until]) => (until - since) / day))).toBeLessThanOrEqual(widest);
    expect(ends.length).toBeLessThan(80);
    for (const [at, [since]] of ends.entries())
      if (at > 0) expect(since).toBeLessThan(ends[at - 1]?.[1] ?? 0);
  });

  describe.each([
    ['leaves out both', (a: number, b: number) => a < b],
    ['answers both', (a: number, b: number) => a <= b],
  ])('in windows of time, of whose ends the API %s,', (_, inOrder) => {
    const first = Math.floor(Date.now() / day) * day - 5 * day;
    const formats = ['iso', 'date', 'epoch_s', 'epoch_ms'];
    const spans = [
      ['1d', 0],
      ['2d', day / 4],
    ] as const;

    test.each(
      ['merge', 'append'].flatMap((mode) =>
        formats.flatMap((format) => spans.map((span) => [mode, format, ...span] as const)),
      ),
    )(
      'no row at an end is lost or doubled: %s by %s, %s each, the first %d ms into a day',
      async (mode, cursor_format, window, late) => {
        const read = written[cursor_format] ?? Number;
        // Most of them where one window ends and the next begins; two of them are the same where nothing has to tell them apart.
        const rows = [5_000, day, day + 1_000, 2 * day, 2 * day, 3 * day - 1_000, 3 * day].map((at, n) => ({
          n: mode === 'merge' || n !== 4 ? n : 3,
          at: first + at,
        }));
        await using own = await serve((request, response) => {
          const query = queryOf(request);
          if (own.requests.length === (window === '1d' ? 4 : 3))
            stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
          const [since, until] = [read(query.get('since') ?? '0'), read(query.get('until') ?? '0')];
          const known = (at: number): number => (cursor_format === 'date' ? Math.floor(at / day) * day : at);
          const found = rows.filter(({ at }) => inOrder(since, known(at)) && inOrder(known(at), until));
          const shown = (at: number): unknown =>
            cursor_format === 'epoch_ms'
              ? at
              : cursor_format === 'epoch_s'
                ? at / 1_000
                : new Date(at).toISOString();
          answer(
            response,
            200,
            found.map(({ n, at }) => ({ n, at: shown(at) })),
          );
        });
        const stop = new AbortController();
        const start = first - day + late;
        const declared = {
          name: 'events',
          path: '/events',
          mode,
          ...(mode === 'merge' ? { primary_key: ['n'] } : {}),
          cursor: 'at',
          rest: {
            pagination: { type: 'none' },
            cursor_param: 'since',
            cursor_end_param: 'until',
            cursor_format,
            cursor_start: cursor_format.startsWith('epoch_')
              ? start / (cursor_format === 'epoch_s' ? 1_000 : 1)
              : new Date(start).toISOString(),
            window,
          },
        };
        const cut = await warehouse.sync({ url: own.url, stream: declared, signal: stop.signal });
        expect(cut.status).toBe('cancelled');
        for (let run = 0; run < 2; run += 1) {
          expect((await warehouse.sync({ url: own.url, stream: declared })).error).toBeUndefined();
          expect(
            warehouse.query('SELECT n FROM api__events ORDER BY n').map(({ n }) => n),
            `run ${run}`,
          ).toEqual(rows.map(({ n }) => n));
        }
      },
    );
  });

  test('a number that rows share: one that comes into the last group, before the place of reading, is not passed over', async () => {
    let rows = [1, 2, 11, 12, 13].map((id) => ({ id, rev: id < 10 ? 1 : 2 }));
    let onAsked: (after: string | null) => void = () => {};
    await using own = await serve((request, response) => {
      const params = new URL(request.url ?? '/', 'http://localhost').searchParams;
      const after = params.get('page');
      onAsked(after);
      const order = rows
        .filter(({ rev }) => rev >= Number(params.get('since') ?? 0))
        .map((row) => ({ ...row, place: row.rev * 1_000 + row.id }))
        .toSorted((a, b) => a.place - b.place)
        .filter(({ place }) => place > Number(after ?? 0));
      const data = order.slice(0, 2).map(({ id, rev }) => ({ id, rev }));
      return answer(response, 200, { data, next: order.length > 2 ? String(order[1]?.place) : null });
    });
    const declared = {
      name: 'revisions',
      path: '/revisions',
      primary_key: ['id'],
      cursor: 'rev',
      rest: {
        records: 'data',
        pagination: { type: 'cursor', cursor_param: 'page', next: 'next' },
        cursor_param: 'since',
        order: 'asc',
      },
    };
    const ids = (): unknown[] =>
      warehouse.query('SELECT id FROM api__revisions ORDER BY id').map(({ id }) => id);
    onAsked = (after) => {
      // 11 and 12 are read; 3 comes before them, and 21 behind all.
      if (after === '2012' && rows.length === 5) rows = [...rows, { id: 3, rev: 2 }, { id: 21, rev: 3 }];
    };
    for (const wanted of [
      [1, 2, 11, 12, 13, 21],
      [1, 2, 3, 11, 12, 13, 21],
    ]) {
      expect((await warehouse.sync({ url: own.url, stream: declared })).error).toBeUndefined();
      expect(ids()).toEqual(wanted);
    }
    // What was passed by the reading before is below what changes have: it is not read a third time.
    const asked: string[] = [];
    onAsked = (after) => asked.push(String(after));
    await warehouse.sync({ url: own.url, stream: declared });
    expect(asked).not.toContain('1002');
  });

  test('with rows in the order of the cursor the mark moves with every page', async () => {
    const declared = stream('cursor', {
      pagination: cursor,
      ...since,
      order: 'asc',
      params: { sort: 'updated_at' },
    });
    const stop = new AbortController();
    api.hook = (_, __, n) => {
      if (n === 5) stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
      return undefined;
    };
    const cut = await warehouse.sync({ url: api.url, stream: declared, signal: stop.signal });
    expect(cut.status).toBe('cancelled');
    expect(cut.cursor_after).toMatch(/^2026-01-01T00:00:[1-5]/);
    api.hook = () => undefined;
    const before = api.requests.length;
    const rest = await warehouse.sync({ url: api.url, stream: declared });
    expect(rest.status).toBe('succeeded');
    expect(queries()[before + 1]?.get('since')).toMatch(/^2026-01-01T00:00:/);
    expect(warehouse.query('SELECT count(*) AS n FROM api__things')).toEqual([{ n: 60 }]);
  });
});

describe('the page that a look took', () => {
  const next = { type: 'next_url', next: 'links.next' };
  const keyset = { type: 'keyset', param: 'after', field: 'id' };

  test.each([
    ['offset', { pagination: offset }],
    ['cursor', { pagination: cursor }],
    ['cursor', { pagination: cursor, ...since }],
    ['next', { pagination: next }],
    ['next', {}],
    ['link', {}],
    ['keyset', { pagination: keyset }],
    ['all', { pagination: { type: 'none' } }],
  ])('is the first that is read: /%s %j asks for none twice', async (way, rest) => {
    expect((await warehouse.sync({ url: api.url, stream: stream(way, rest) })).error).toBeUndefined();
    expect(warehouse.query('SELECT count(*) AS n FROM api__things')).toEqual([{ n: 60 }]);
    expect(api.requests.filter((one, at) => api.requests.indexOf(one) !== at)).toEqual([]);
  });

  test('is asked for again where the reading asks for something else', async () => {
    const declared = stream('cursor', { pagination: cursor, ...since });
    await warehouse.sync({ url: api.url, stream: declared });
    const before = api.requests.length;
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({ rows_read: 2 });
    const asked = queries().slice(before);
    expect(asked.map((query) => query.get('since'))).toEqual([null, '2026-01-01T00:00:59Z']);
  });

  test('is asked for again where it is larger than what may wait in memory', async () => {
    api.things = api.things.map((one) => ({ ...one, name: 'x'.repeat(110_000) }));
    const declared = stream('cursor', { pagination: cursor });
    expect((await warehouse.sync({ url: api.url, stream: declared })).error).toBeUndefined();
    expect(api.requests.filter((one) => one === 'GET /cursor').length).toBe(2);
    expect(warehouse.query('SELECT count(*) AS n FROM api__things')).toEqual([{ n: 60 }]);
  });

  test('is from the moment of the look: a mark stays behind that', async () => {
    // The clock of the API passes two minutes with each answer, and all rows are as old as its beginning.
    api.hook = (_, response, n) => {
      response.setHeader('date', new Date(Date.UTC(2026, 5, 1, 0, 2 * n)).toUTCString());
      return undefined;
    };
    api.things = api.things.map((one) => ({ ...one, updated_at: '2026-06-01T00:30:00Z' }));
    const { cursor_after } = await warehouse.sync({
      url: api.url,
      stream: stream('cursor', { pagination: cursor, ...since }),
    });
    expect(cursor_after).toBe('2026-06-01T00:01:00.000000Z');
  });
});

describe('append', () => {
  const declared = (): object => ({
    name: 'things',
    path: '/cursor',
    cursor: 'updated_at',
    mode: 'append',
    rest: { records: 'data', pagination: cursor, ...since },
  });

  test('adds what is new and recognises what comes again, ties among them', async () => {
    await warehouse.sync({ url: api.url, stream: declared() });
    expect(await warehouse.sync({ url: api.url, stream: declared() })).toMatchObject({ rows_written: 0 });
    api.things.push(thing(61, { updated_at: momentOf(60) }), thing(62));
    expect(await warehouse.sync({ url: api.url, stream: declared() })).toMatchObject({ rows_written: 2 });
    expect(warehouse.query('SELECT count(*) AS n, count(DISTINCT id) AS d FROM api__things')).toEqual([
      { n: 62, d: 62 },
    ]);
    // Only what the last run read has to be recognised by the next.
    expect(warehouse.query('SELECT sum(n) AS n FROM _millrace_overlap')[0]?.['n']).toBeLessThan(10);
  });

  test('doubles nothing when it is cut off at any request', async () => {
    for (let cut = 2; cut <= 8; cut += 1) {
      using own = freshWarehouse();
      const base = api.requests.length;
      const stop = new AbortController();
      api.hook = () => {
        if (api.requests.length - base === cut)
          stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
        return undefined;
      };
      await own.sync({ url: api.url, stream: declared(), signal: stop.signal });
      api.hook = () => undefined;
      expect((await own.sync({ url: api.url, stream: declared() })).status).toBe('succeeded');
      expect(own.query('SELECT count(*) AS n, count(DISTINCT id) AS d FROM api__things')).toEqual([
        { n: 60, d: 60 },
      ]);
    }
  });
});

describe('a reading that was cut off', () => {
  test('goes on at its page, and says when the API has forgotten it', async () => {
    const declared = {
      name: 'things',
      path: '/cursor',
      primary_key: ['id'],
      mode: 'merge',
      rest: { records: 'data', pagination: cursor },
    };
    const stop = new AbortController();
    api.hook = (_, __, n) => {
      if (n === 5) stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
      return undefined;
    };
    await warehouse.sync({ url: api.url, stream: declared, signal: stop.signal });
    const before = api.requests.length;
    api.hook = () => undefined;
    expect(await warehouse.sync({ url: api.url, stream: declared })).toMatchObject({ status: 'succeeded' });
    // One look at the first page, then on with the page that was left.
    expect(queries()[before + 1]?.get('cursor')).toMatch(/^c[1-4]0$/);
    expect(warehouse.query('SELECT count(*) AS n FROM api__things')).toEqual([{ n: 60 }]);

    using other = freshWarehouse();
    const again = new AbortController();
    const base = api.requests.length;
    api.hook = () => {
      if (api.requests.length - base === 4) again.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
      return undefined;
    };
    await other.sync({ url: api.url, stream: declared, signal: again.signal });
    let refused = 0;
    api.hook = (request, response) => {
      if (!request.url?.includes('cursor=') || refused > 0) return undefined;
      refused += 1;
      response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"cursor expired"}');
      return true;
    };
    const result = await other.sync({ url: api.url, stream: declared });
    expect(result).toMatchObject({ status: 'succeeded' });
    expect(result.warnings?.join()).toContain('did not take the position');
    expect(other.query('SELECT count(*) AS n FROM api__things')).toEqual([{ n: 60 }]);
  });

  test('a full refresh goes on too, and the table stays whole meanwhile', async () => {
    const declared = {
      name: 'things',
      path: '/cursor',
      primary_key: ['id'],
      mode: 'merge',
      rest: { records: 'data', pagination: cursor },
    };
    await warehouse.sync({ url: api.url, stream: declared });
    const base = api.requests.length;
    const stop = new AbortController();
    api.hook = () => {
      if (api.requests.length - base === 5) stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
      return undefined;
    };
    await warehouse.sync({ url: api.url, stream: declared, signal: stop.signal, fullRefresh: true });
    expect(warehouse.query('SELECT count(*) AS n FROM api__things')).toEqual([{ n: 60 }]);
    api.hook = () => undefined;
    const before = api.requests.length;
    expect(await warehouse.sync({ url: api.url, stream: declared, fullRefresh: true })).toMatchObject({
      status: 'succeeded',
    });
    expect(queries()[before + 1]?.get('cursor')).toMatch(/^c\d0$/);
    expect(warehouse.query('SELECT count(*) AS n FROM api__things')).toEqual([{ n: 60 }]);
  });
});

describe('a source that changes while it is read and the reading is cut off again and again', () => {
  const rounds = Number(process.env['MILLRACE_REST_KILLS'] ?? 5);

  test.each([
    ['offset', offset, {}],
    ['cursor', cursor, {}],
    ['offset', offset, since],
    ['cursor', cursor, since],
    ['offset', offset, { cursor_param: 'version' }],
    ['cursor', cursor, { cursor_param: 'version' }],
  ] as const)(
    '/%s: nothing lost and nothing doubled',
    { timeout: 120_000 },
    async (way, pagination, more) => {
      const seed = testSeed();
      const rng = createRng(seed).fork(`${way} ${JSON.stringify(more)}`);
      const field = 'cursor_format' in more ? 'updated_at' : 'cursor_param' in more ? 'amount' : null;
      const declared = {
        name: 'things',
        path: `/${way}`,
        primary_key: ['id'],
        mode: 'merge',
        ...(field === null ? {} : { cursor: field }),
        rest: { records: 'data', pagination, ...more },
      };
      let clock = 1_000;
      let lastId = 60;
      let gone = new Set<number>();
      const disturb = (): void => {
        clock += 1;
        const kind = rng.int(0, 3);
        const victim = rng.pick(api.things).id;
        // By the clock, as an API would write it, and a number that grows.
        const now = { updated_at: new Date().toISOString(), amount: clock };
        if (kind === 0) api.things.push(thing(++lastId, now));
        else if (kind === 1)
          api.things = api.things.map((one) =>
            one.id === victim ? { ...one, name: `changed at ${clock}`, ...now } : one,
          );
        else if (kind === 2 && api.things.length > 20) {
          gone.add(victim);
          api.things = api.things.filter(({ id }) => id !== victim);
        }
      };
      for (let round = 0; round < rounds; round += 1) {
        gone = new Set();
        for (let cut = 0; cut < 6; cut += 1) {
          const stop = new AbortController();
          const base = api.requests.length;
          const at = rng.int(2, 8);
          api.hook = () => {
            if (rng.chance(0.7)) disturb();
            if (api.requests.length - base === at)
              stop.abort(new MillraceError('cancelled', 'stop', { hint: '' }));
            return undefined;
          };
          await warehouse.sync({ url: api.url, stream: declared, signal: stop.signal });
        }
        // What an interrupted run left is finished; the next sees what changed behind it.
        for (let run = 0; run < 2; run += 1) {
          api.hook = () => undefined;
          expect((await warehouse.sync({ url: api.url, stream: declared })).error).toBeUndefined();
        }
        const landed = new Map(
          warehouse.query('SELECT id, name, updated_at FROM api__things').map((row) => [row['id'], row]),
        );
        const told = `seed ${seed}, round ${round}`;
        for (const one of api.things) {
          expect(landed.get(one.id), `${told}, id ${one.id}`).toEqual({
            id: one.id,
            name: one.name,
            updated_at: normalTime(one.updated_at),
          });
        }
        expect(
          warehouse
            .query('SELECT count(*) AS n, count(DISTINCT id) AS d FROM api__things')
            .every(({ n, d }) => n === d),
        ).toBe(true);
        // A run that finds nothing new writes nothing.
        expect((await warehouse.sync({ url: api.url, stream: declared })).rows_written, told).toBe(0);
      }
    },
  );
});
