import { expect, test } from 'vitest';
import type { Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import { type Asked, numbered, stamp } from './connector-questions.ts';
import { calm, drain, readAll, rowsOf } from './reading-support.ts';

const ids = (rows: readonly (readonly Value[])[]): readonly Value[] => rows.map(([id]) => id ?? null);
const sorted = (values: readonly Value[]): readonly Value[] =>
  values.toSorted((a, b) => Number(a) - Number(b));

/** What comes out of a reading, in every mode. */
export function readingQuestions({ kind, subject, source }: Asked): void {
  test('every kind of column comes out as it went in', async () => {
    const rows = [
      [
        1,
        9007199254740993n,
        '0.1000',
        'ä\'"\\ 😀',
        '',
        stamp(0),
        '2024-02-29T23:59:59.999999',
        '2024-02-29',
        new Uint8Array([0, 255, 39, 92]),
      ],
      [
        -2147483648,
        -9223372036854775808n,
        '-1234567890123456.7890',
        '',
        'a\nb\tc',
        stamp(123_456),
        '1000-01-01T00:00:00.000001',
        '9999-12-31',
        new Uint8Array(),
      ],
      [2147483647, 7, '0.0000', ' x ', 'x'.repeat(70_000), null, null, null, null],
    ];
    const table = await subject().make(
      {
        name: 'everything',
        columns: {
          id: 'integer',
          b: 'big',
          d: 'decimal',
          n: 'name',
          t: 'text',
          s: 'stamp',
          m: 'moment',
          y: 'day',
          x: 'bytes',
        },
      },
      rows,
    );
    const all = await readAll(source(), { name: 'everything', table: table.ref });
    expect(all.stream.columns.map(({ type }) => type)).toEqual([
      'integer',
      'integer',
      'decimal',
      'text',
      'text',
      'timestamptz',
      'timestamp',
      'date',
      'bytes',
    ]);
    expect(
      all.rows.toSorted(
        (a, b) => rows.findIndex(([id]) => id === a[0]) - rows.findIndex(([id]) => id === b[0]),
      ),
    ).toEqual(rows);
  });

  test('merge: a first load by key, then what changed; nothing new moves nothing, an emptied table neither', async () => {
    const rows = numbered(2500, (i) => [i, `n${i}`, stamp(i)]);
    const table = await subject().make(
      {
        name: 'orders',
        columns: { id: 'integer', note: 'text', at: 'stamp' },
        key: ['id'],
        required: ['at'],
        indexed: ['at'],
      },
      rows,
    );
    const stream: Stream = { name: 'orders', table: table.ref, cursor: 'at' };
    const first = await readAll(source(), stream);
    expect(first.stream).toMatchObject({
      mode: 'merge',
      primaryKey: ['id'],
      cursor: 'at',
      detectDeletes: true,
    });
    expect(first.rows).toEqual(rows);
    expect(first).toMatchObject({ count: 2500, resumed: false, guard: kind.expects.guard, warnings: [] });

    const nothing = await readAll(source(), stream, first.cursor);
    expect(ids(nothing.rows)).toEqual([2500]);
    expect(nothing.cursor).toBe(first.cursor);

    await table.update({ note: 'new', at: stamp(5_000_000) }, [7, 9]);
    await table.remove([1]);
    const changed = await readAll(source(), stream, nothing.cursor);
    expect(changed.rows).toEqual([rows[2499], [7, 'new', stamp(5_000_000)], [9, 'new', stamp(5_000_000)]]);
    expect(changed.count).toBe(2499);

    await table.empty();
    const empty = await readAll(source(), stream, changed.cursor);
    expect(empty).toMatchObject({ rows: [], count: 0 });
    expect(JSON.parse(empty.cursor)).toEqual(JSON.parse(changed.cursor));
  });

  test.each(['stamp', 'moment'] as const)('a microsecond is never rounded away (%s)', async (cursor) => {
    const at = (micros: number): string => (cursor === 'stamp' ? stamp(micros) : stamp(micros).slice(0, -1));
    const table = await subject().make(
      { name: `micro_${cursor}`, columns: { id: 'integer', at: cursor }, key: ['id'] },
      [
        [1, at(123_456)],
        [2, at(123_457)],
      ],
    );
    const stream: Stream = { name: 'micro', table: table.ref, cursor: 'at' };
    const first = await readAll(source(), stream);
    await table.insert([
      [3, at(123_457)],
      [4, at(123_458)],
      [5, at(123_455)],
    ]);
    expect(await readAll(source(), stream, first.cursor)).toMatchObject({
      rows: [
        [2, at(123_457)],
        [3, at(123_457)],
        [4, at(123_458)],
      ],
    });
  });

  test('rows without a cursor value are read in every run, and said', async () => {
    const table = await subject().make(
      { name: 'gaps', columns: { id: 'integer', at: 'stamp' }, key: ['id'] },
      numbered(10, (i) => [i, i % 2 === 0 ? stamp(100 - i) : null]),
    );
    const stream: Stream = { name: 'gaps', table: table.ref, cursor: 'at' };
    const first = await readAll(source(), stream);
    expect(first.rows).toHaveLength(10);
    const next = await readAll(source(), stream, first.cursor);
    expect(ids(next.rows)).toEqual([1, 3, 5, 7, 9, 2]);
    expect(next.warnings).toEqual([expect.stringContaining('5 rows have NULL in "at"')]);
  });

  test('a key without a cursor is read whole, in the order of the key, every time', async () => {
    const table = await subject().make(
      { name: 'plain_key', columns: { b: 'name', a: 'integer' }, key: ['a', 'b'] },
      [
        ['1', 1],
        ['2', 2],
        ['3', 0],
        ['4', 1],
        ['5', 2],
      ],
    );
    const stream: Stream = { name: 'plain_key', table: table.ref, mode: 'merge' };
    const first = await readAll(source(), stream);
    expect(first.rows).toEqual([
      ['3', 0],
      ['1', 1],
      ['4', 1],
      ['2', 2],
      ['5', 2],
    ]);
    expect(await readAll(source(), stream, first.cursor)).toMatchObject({ rows: first.rows, resumed: false });
  });

  test('replace: a table without a key, every time whole, equal rows each', async () => {
    const table = await subject().make(
      { name: 'heap', columns: { v: 'integer', t: 'text' } },
      numbered(2001, (i) => [i % 3, 'x']),
    );
    const stream: Stream = { name: 'heap', table: table.ref };
    const all = await readAll(source(), stream);
    expect(all.stream).toMatchObject({ mode: 'replace', primaryKey: [], cursor: null });
    expect(all).toMatchObject({ count: 2001, resumed: false });
    expect(sorted(ids(all.rows))).toEqual(sorted(numbered(2001, (i) => i % 3)));
    expect((await readAll(source(), stream, all.cursor)).rows).toHaveLength(2001);
  });

  test('append: what comes again is told apart from what comes first', async () => {
    const table = await subject().make({ name: 'log', columns: { c: 'stamp', v: 'text' } }, [
      [stamp(1), 'a'],
      [null, 'n'],
      [stamp(2), 'b'],
    ]);
    const stream: Stream = { name: 'log', table: table.ref, cursor: 'c' };
    const first = await readAll(source(), stream);
    expect(first.stream).toMatchObject({ mode: 'append', primaryKey: [], cursor: 'c' });
    expect(first.rows.map(([, v]) => v)).toEqual(['n', 'a', 'b']);
    await table.insert([
      [stamp(2), 'tied'],
      [stamp(3), 'c'],
    ]);
    const next = await readAll(source(), stream, first.cursor);
    expect(next.rows.map(([, v]) => v).toSorted()).toEqual(['b', 'c', 'tied']);
    expect(next.batches[0]?.overlap).toBeDefined();
  });

  test.each([
    { cursor: 'stamp', values: [stamp(600_000_000), stamp(360_000_000), stamp(240_000_000)], lookback: '5m' },
    { cursor: 'big', values: [1000, 900, 899], lookback: 100 },
    { cursor: 'decimal', values: ['10.5000', '8.5000', '8.4999'], lookback: 2 },
    { cursor: 'day', values: ['2024-03-01', '2024-02-28', '2024-02-27'], lookback: '2d' },
  ] as const)(
    'a look-back on $cursor reads that far behind the mark, and says so',
    async ({ cursor, values, lookback }) => {
      const table = await subject().make(
        { name: `back_${cursor}`, columns: { id: 'integer', c: cursor }, key: ['id'] },
        [[1, values[0]]],
      );
      const stream: Stream = { name: 'back', table: table.ref, cursor: 'c', lookback };
      const first = await readAll(source(), stream);
      expect(first.guard).toContain('look-back of');
      await table.insert([
        [2, values[1]],
        [3, values[2]],
      ]);
      expect(sorted(ids((await readAll(source(), stream, first.cursor)).rows))).toEqual([1, 2]);
    },
  );

  test('an empty table has no rows, and a position to go on from', async () => {
    const table = await subject().make({
      name: 'nothing',
      columns: { id: 'integer', at: 'stamp' },
      key: ['id'],
    });
    for (const cursor of [{}, { cursor: 'at' }]) {
      const stream: Stream = { name: 'nothing', table: table.ref, ...cursor };
      const empty = await readAll(source(), stream);
      expect(empty).toMatchObject({ rows: [], count: 0 });
      expect((await readAll(source(), stream, empty.cursor)).rows).toEqual([]);
    }
    const stream: Stream = { name: 'nothing', table: table.ref, cursor: 'at' };
    const empty = await readAll(source(), stream);
    await table.insert([[1, stamp(0)]]);
    expect((await readAll(source(), stream, empty.cursor)).rows).toEqual([[1, stamp(0)]]);
  });

  test('a view is read like a table', async () => {
    const view = await subject().makeView('seen');
    expect(await readAll(source(), { name: 'seen', table: view })).toMatchObject({
      rows: [[1, null]],
      count: 1,
    });
  });

  test('while others write: what nobody touched comes once, and count and keys speak of one moment', async () => {
    const table = await subject().make(
      { name: 'snap', columns: { id: 'integer', at: 'stamp' }, key: ['id'], required: ['at'] },
      numbered(3000, (i) => [i, stamp(i)]),
    );
    const resolved = await source().resolve({ name: 'snap', table: table.ref, cursor: 'at' }, calm);
    await using reading = await source().read(resolved, null, calm);
    await table.insert([[9001, stamp(9001)]]);
    await table.remove([5, 2995]);
    const seen: Value[] = [];
    let fresh = -1;
    for await (const batch of reading.batches) {
      seen.push(...ids(rowsOf(batch, 2)));
      await table.insert([[fresh--, stamp(9001)]]);
    }
    await table.insert([[9002, stamp(9002)]]);
    const untouched = numbered(3000, (i) => i).filter((id) => id !== 5 && id !== 2995);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(expect.arrayContaining(untouched));
    const keys: Value[] = [];
    const count = await reading.count();
    for await (const batch of reading.keys()) keys.push(...batch.values);
    expect(keys).toHaveLength(Number(count));
    expect(keys).toEqual(expect.arrayContaining(untouched));
    expect(keys).not.toContain(9002);
  });

  test('keys come as the columns of the primary key, in its order', async () => {
    const table = await subject().make(
      { name: 'two_keys', columns: { v: 'text', b: 'name', a: 'integer' }, key: ['a', 'b'] },
      [
        ['x', 'b1', 1],
        ['y', 'b2', 2],
      ],
    );
    const resolved = await source().resolve({ name: 'two_keys', table: table.ref, mode: 'merge' }, calm);
    await using reading = await source().read(resolved, null, calm);
    await drain(reading, resolved);
    const keys: Value[] = [];
    for await (const batch of reading.keys()) keys.push(...batch.values);
    expect(keys).toEqual([1, 'b1', 2, 'b2']);
  });

  test('another cursor than the position was made for: merge reads everything again, append refuses', async () => {
    const table = await subject().make(
      { name: 'moved', columns: { id: 'integer', a: 'stamp', b: 'stamp' }, key: ['id'] },
      [
        [1, stamp(1), stamp(1)],
        [2, stamp(2), stamp(2)],
      ],
    );
    const first = await readAll(source(), { name: 'moved', table: table.ref, cursor: 'a' });
    const other = await readAll(source(), { name: 'moved', table: table.ref, cursor: 'b' }, first.cursor);
    expect(other.rows).toHaveLength(2);
    expect(other.warnings).toEqual([expect.stringContaining('everything is read again')]);

    const heap = await subject().make({ name: 'two', columns: { c: 'integer', d: 'integer' } }, [[1, 1]]);
    const stream: Stream = { name: 'two', table: heap.ref, mode: 'append' };
    const { cursor } = await readAll(source(), { ...stream, cursor: 'c' });
    const resolved = await source().resolve({ ...stream, cursor: 'd' }, calm);
    await expect(source().read(resolved, cursor, calm)).rejects.toMatchObject({
      code: 'cursor_invalid',
      hint: expect.stringContaining('full_refresh'),
    });
    await expect(source().read(resolved, 'no position', calm)).rejects.toMatchObject({
      code: 'cursor_invalid',
    });
  });

  test('odd identifiers, a column left out, a condition with a comment', async () => {
    const last = `last${kind.expects.oddName}`;
    const columns = {
      ID: 'integer',
      'a.b': 'text',
      'q"`x': 'integer',
      select: 'integer',
      secret: 'text',
      [last]: 'integer',
    } as const;
    const { ref: table } = await subject().make(
      { name: `T.a "\`b${kind.expects.oddName}`, columns, key: ['ID'] },
      numbered(5, (i) => [i, 'x', i * 2, i, 's', -i]),
    );
    const all = await readAll(source(), {
      name: 'odd',
      table,
      mode: 'merge',
      where: `${subject().quote('select')} > 2 -- only these`,
      columns: { exclude: ['secret'] },
    });
    expect(all.stream.columns.map(({ name }) => name)).toEqual(['ID', 'a.b', 'q"`x', 'select', last]);
    const rows = [
      [3, 'x', 6, 3, -3],
      [4, 'x', 8, 4, -4],
      [5, 'x', 10, 5, -5],
    ];
    expect(all).toMatchObject({ rows, count: 3 });
    const byOdd: Stream = { name: 'odd', table, cursor: 'q"`x' };
    const { cursor } = await readAll(source(), byOdd);
    expect((await readAll(source(), byOdd, cursor)).rows).toEqual([[5, 'x', 10, 5, 's', -5]]);
  });

  test('a query with a key and a cursor, its semicolon and comment forgiven', async () => {
    await subject().make(
      { name: 'base', columns: { id: 'integer', at: 'stamp', v: 'integer' }, key: ['id'] },
      numbered(3, (i) => [i, stamp(i), i]),
    );
    const stream: Stream = {
      name: 'q',
      query: 'WITH b AS (SELECT * FROM base) SELECT id, at, v * 2 AS twice FROM b ORDER BY v DESC -- odd\n;',
      primary_key: ['id'],
      cursor: 'at',
    };
    const all = await readAll(source(), stream);
    expect(all.stream.mode).toBe('merge');
    expect(all.rows).toEqual([
      [1, stamp(1), 2],
      [2, stamp(2), 4],
      [3, stamp(3), 6],
    ]);
    expect((await readAll(source(), stream, all.cursor)).rows).toEqual([[3, stamp(3), 6]]);
  });

  test('a transaction that commits late is read, whichever run it commits before', async () => {
    const table = await subject().make(
      { name: 'late', columns: { id: 'integer', c: 'stamp' }, key: ['id'], required: ['c'], indexed: ['c'] },
      [[1, stamp(0)]],
    );
    const stream: Stream = { name: 'late', table: table.ref, cursor: 'c' };
    const first = await readAll(source(), stream);
    const late = await subject().begin();
    await late.insert(table, [[100, await late.now()]]);
    await table.insert([[2, await subject().now()]]);
    const held = await readAll(source(), stream, first.cursor);
    expect(ids(held.rows)).toContain(2);
    await table.insert([[3, await subject().now()]]);
    const still = await readAll(source(), stream, held.cursor);
    expect(ids(still.rows)).toContain(3);
    await late.commit();
    const released = await readAll(source(), stream, still.cursor);
    expect(ids(released.rows)).toContain(100);
    expect(released.guard).toBe(kind.expects.guard);
    expect(ids((await readAll(source(), stream, released.cursor)).rows)).toEqual([3]);
  });

  test('one that began before the first load holds that back too, and one rolled back nothing for ever', async () => {
    const table = await subject().make(
      { name: 'early', columns: { id: 'integer', c: 'big' }, key: ['id'], required: ['c'], indexed: ['c'] },
      [[1, 1]],
    );
    const stream: Stream = { name: 'early', table: table.ref, cursor: 'c' };
    const late = await subject().begin();
    await late.insert(table, [[2, 2]]);
    await table.insert([[3, 3]]);
    const first = await readAll(source(), stream);
    expect(ids(first.rows)).toEqual([1, 3]);
    await late.commit();
    expect(ids((await readAll(source(), stream, first.cursor)).rows)).toContain(2);

    const idle = await subject().begin();
    await idle.insert(table, [[4, 4]]);
    const held = await readAll(source(), stream, first.cursor);
    await idle.rollback();
    const second = await readAll(source(), stream, held.cursor);
    expect(ids((await readAll(source(), stream, second.cursor)).rows)).toEqual([3]);
  });
}
