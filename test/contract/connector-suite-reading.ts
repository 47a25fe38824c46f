import { expect } from 'vitest';
import type { Reading } from '../../src/connectors/connector.ts';
import type { Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import type { ColumnKind } from '../support/dialects.ts';
import type { Need } from './connector-expecting.ts';
import { type Asked, held, numbered, stamp } from './connector-questions.ts';
import type { Row, TestTable } from './connector-subject.ts';
import { calm, drain, readAll, rowsOf } from './reading-support.ts';

const ids = (rows: readonly (readonly Value[])[]): readonly Value[] => rows.map(([id]) => id ?? null);
const sorted = (values: readonly Value[]): readonly Value[] =>
  values.toSorted((a, b) => Number(a) - Number(b));

/** What comes out of a reading, in every mode. */
export function readingQuestions({ expects, ask, subject, source, sql, at }: Asked): void {
  /** What a reading says of the number of its rows, where it can. */
  const counted = (rows: number): number | null => (expects.has.counts === true ? rows : null);

  ask('every kind of column comes out as it went in', async () => {
    const given: readonly Row[] = [
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
    const kinds = {
      id: 'integer',
      b: 'big',
      d: 'decimal',
      n: 'name',
      t: 'text',
      s: 'stamp',
      m: 'moment',
      y: 'day',
      x: 'bytes',
    } as const;
    const { columns, rows } = held(expects, kinds, given);
    const table = await subject().make({ name: 'everything', columns }, rows);
    const all = await readAll(source(), table.stream());
    expect(all.stream.columns.map(({ type }) => type)).toEqual(
      Object.values(columns).map((kind) => expects.types[kind]),
    );
    expect(
      all.rows.toSorted(
        (a, b) => rows.findIndex(([id]) => id === a[0]) - rows.findIndex(([id]) => id === b[0]),
      ),
    ).toEqual(rows);
  });

  ask(
    'merge: a first load by key, then what changed; nothing new moves nothing, an emptied table neither',
    async () => {
      const rows = numbered(2500, (i) => [i, `n${i}`, at(i)]);
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
      const stream = table.stream({ cursor: 'at' });
      const first = await readAll(source(), stream);
      expect(first.stream).toMatchObject({
        mode: 'merge',
        primaryKey: ['id'],
        cursor: 'at',
        detectDeletes: expects.detectsDeletes,
      });
      expect(first.rows).toEqual(rows);
      expect(first).toMatchObject({
        count: counted(2500),
        resumed: false,
        guard: expects.guard,
        warnings: [],
      });

      const nothing = await readAll(source(), stream, first.cursor);
      expect(ids(nothing.rows)).toEqual([2500]);
      expect(nothing.cursor).toBe(first.cursor);

      await table.update({ note: 'new', at: at(5_000_000) }, [7, 9]);
      await table.remove([1]);
      const changed = await readAll(source(), stream, nothing.cursor);
      expect(changed.rows).toEqual([rows[2499], [7, 'new', at(5_000_000)], [9, 'new', at(5_000_000)]]);
      expect(changed.count).toBe(counted(2499));

      await table.empty();
      const empty = await readAll(source(), stream, changed.cursor);
      expect(empty).toMatchObject({ rows: [], count: counted(0) });
      expect(JSON.parse(empty.cursor)).toEqual(JSON.parse(changed.cursor));
    },
  );

  for (const cursor of ['stamp', 'moment'] as const) {
    ask(`a microsecond is never rounded away (${cursor})`, async () => {
      const micros = (n: number): string => (cursor === 'stamp' ? stamp(n) : stamp(n).slice(0, -1));
      const table = await subject().make(
        { name: `micro_${cursor}`, columns: { id: 'integer', at: cursor }, key: ['id'] },
        [
          [1, micros(5_123_456)],
          [2, micros(5_123_457)],
        ],
      );
      const stream = table.stream({ cursor: 'at' });
      const first = await readAll(source(), stream);
      const begins = 5_123_457 - expects.behindMicros;
      const later = [begins - 1_000, begins, 5_123_457, 5_123_458];
      await table.insert(later.map((n, i) => [3 + i, micros(n)]));
      const next = await readAll(source(), stream, first.cursor);
      const from = micros(begins);
      expect(next.rows.map(([, value]) => String(value))).toEqual(
        [5_123_456, 5_123_457, ...later]
          .toSorted((a, b) => a - b)
          .map(micros)
          .filter((value) => value >= from),
      );
    });
  }

  ask.needing('null cursors')('rows without a cursor value are read in every run, and said', async () => {
    const table = await subject().make(
      { name: 'gaps', columns: { id: 'integer', at: 'stamp' }, key: ['id'] },
      numbered(10, (i) => [i, i % 2 === 0 ? at(100 - i) : null]),
    );
    const stream = table.stream({ cursor: 'at' });
    const first = await readAll(source(), stream);
    expect(first.rows).toHaveLength(10);
    const next = await readAll(source(), stream, first.cursor);
    expect(ids(next.rows)).toEqual([1, 3, 5, 7, 9, 2]);
    expect(next.warnings).toEqual([expect.stringContaining('5 rows have NULL in "at"')]);
  });

  ask('a key without a cursor is read whole, in the order of the key, every time', async () => {
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
    const stream = table.stream({ mode: 'merge' });
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

  ask('replace: a table without a key, every time whole, equal rows each', async () => {
    const table = await subject().make(
      { name: 'heap', columns: { v: 'integer', t: 'text' } },
      numbered(2001, (i) => [i % 3, 'x']),
    );
    const stream = table.stream();
    const all = await readAll(source(), stream);
    expect(all.stream).toMatchObject({ mode: 'replace', primaryKey: [], cursor: null });
    expect(all).toMatchObject({ count: counted(2001), resumed: false });
    expect(sorted(ids(all.rows))).toEqual(sorted(numbered(2001, (i) => i % 3)));
    expect((await readAll(source(), stream, all.cursor)).rows).toHaveLength(2001);
  });

  ask('append: what comes again is told apart from what comes first', async () => {
    const table = await subject().make({ name: 'log', columns: { c: 'stamp', v: 'text' } }, [
      [at(1), 'a'],
      [null, 'n'],
      [at(2), 'b'],
    ]);
    const stream = table.stream({ cursor: 'c' });
    const first = await readAll(source(), stream);
    expect(first.stream).toMatchObject({ mode: 'append', primaryKey: [], cursor: 'c' });
    expect(first.rows.map(([, v]) => v)).toEqual(['n', 'a', 'b']);
    await table.insert([
      [at(2), 'tied'],
      [at(3), 'c'],
    ]);
    const next = await readAll(source(), stream, first.cursor);
    expect(next.rows.map(([, v]) => v).toSorted()).toEqual(['b', 'c', 'tied']);
    expect(next.batches[0]?.overlap).toBeDefined();
  });

  const backs: readonly {
    readonly cursor: ColumnKind;
    readonly values: readonly Value[];
    readonly lookback: string | number;
    readonly needs?: readonly Need[];
  }[] = [
    { cursor: 'stamp', values: [stamp(600_000_000), stamp(360_000_000), stamp(240_000_000)], lookback: '5m' },
    { cursor: 'big', values: [1000, 900, 899], lookback: 100 },
    { cursor: 'decimal', values: ['10.5000', '8.5000', '8.4999'], lookback: 2, needs: ['decimals'] },
    { cursor: 'day', values: ['2024-03-01', '2024-02-28', '2024-02-27'], lookback: '2d' },
  ];
  for (const { cursor, values, lookback, needs = [] } of backs) {
    const question = async (): Promise<void> => {
      const [high = null, reached = null, beyond = null] = values;
      const table = await subject().make(
        { name: `back_${cursor}`, columns: { id: 'integer', c: cursor }, key: ['id'] },
        [[1, high]],
      );
      const stream = table.stream({ cursor: 'c', lookback });
      const first = await readAll(source(), stream);
      expect(first.guard).toContain('look-back of');
      await table.insert([
        [2, reached],
        [3, beyond],
      ]);
      expect(sorted(ids((await readAll(source(), stream, first.cursor)).rows))).toEqual([1, 2]);
    };
    ask.needing(...needs)(`a look-back on ${cursor} reads that far behind the mark, and says so`, question);
  }

  ask('an empty table has no rows, and a position to go on from', async () => {
    const table = await subject().make({
      name: 'nothing',
      columns: { id: 'integer', at: 'stamp' },
      key: ['id'],
    });
    for (const more of [{}, { cursor: 'at' }]) {
      const stream = table.stream(more);
      const empty = await readAll(source(), stream);
      expect(empty).toMatchObject({ rows: [], count: counted(0) });
      expect((await readAll(source(), stream, empty.cursor)).rows).toEqual([]);
    }
    const stream = table.stream({ cursor: 'at' });
    const empty = await readAll(source(), stream);
    await table.insert([[1, at(0)]]);
    expect((await readAll(source(), stream, empty.cursor)).rows).toEqual([[1, at(0)]]);
  });

  ask('a view is read like a table', async () => {
    expect(await readAll(source(), await subject().makeView('seen'))).toMatchObject({
      rows: [[1, null]],
      count: counted(1),
    });
  });

  /** Reads 3,000 rows while others are inserted at every batch, and two of them go away before the first. */
  async function whileOthersWrite(name: string): Promise<Disturbed> {
    const table = await subject().make(
      { name, columns: { id: 'integer', at: 'stamp' }, key: ['id'], required: ['at'] },
      numbered(3000, (i) => [i, at(i)]),
    );
    const resolved = await source().resolve(table.stream({ cursor: 'at' }), calm);
    const reading = await source().read(resolved, null, calm);
    await table.insert([[9001, at(9001)]]);
    await table.remove([5, 2995]);
    const seen: Value[] = [];
    let fresh = -1;
    for await (const batch of reading.batches) {
      seen.push(...ids(rowsOf(batch, 2)));
      await table.insert([[fresh--, at(9001)]]);
    }
    await table.insert([[9002, at(9002)]]);
    const untouched = numbered<Value>(3000, (i) => i).filter((id) => id !== 5 && id !== 2995);
    return { reading, seen, untouched };
  }

  ask('while others write: what nobody touched comes once', async () => {
    const { reading, seen, untouched } = await whileOthersWrite('moving');
    await using _ = reading;
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(expect.arrayContaining(untouched));
  });

  ask.needing('counts')('while others write: count and keys speak of one moment', async () => {
    const { reading, untouched } = await whileOthersWrite('snap');
    await using _ = reading;
    const keys: Value[] = [];
    const count = await reading.count();
    for await (const batch of reading.keys()) keys.push(...batch.values);
    expect(keys).toHaveLength(Number(count));
    expect(keys).toEqual(expect.arrayContaining(untouched));
    expect(keys).not.toContain(9002);
  });

  ask.needing('counts')('keys come as the columns of the primary key, in its order', async () => {
    const table = await subject().make(
      { name: 'two_keys', columns: { v: 'text', b: 'name', a: 'integer' }, key: ['a', 'b'] },
      [
        ['x', 'b1', 1],
        ['y', 'b2', 2],
      ],
    );
    const resolved = await source().resolve(table.stream({ mode: 'merge' }), calm);
    await using reading = await source().read(resolved, null, calm);
    await drain(reading, resolved);
    const keys: Value[] = [];
    for await (const batch of reading.keys()) keys.push(...batch.values);
    expect(keys).toEqual([1, 'b1', 2, 'b2']);
  });

  ask(
    'another cursor than the position was made for: merge reads everything again, append refuses',
    async () => {
      const table = await subject().make(
        { name: 'moved', columns: { id: 'integer', a: 'stamp', b: 'stamp' }, key: ['id'] },
        [
          [1, at(1), at(1)],
          [2, at(2), at(2)],
        ],
      );
      const first = await readAll(source(), table.stream({ cursor: 'a' }));
      const other = await readAll(source(), table.stream({ cursor: 'b' }), first.cursor);
      expect(other.rows).toHaveLength(2);
      expect(other.warnings).toEqual([expect.stringContaining('everything is read again')]);

      const heap = await subject().make({ name: 'two', columns: { c: 'integer', d: 'integer' } }, [[1, 1]]);
      const { cursor } = await readAll(source(), heap.stream({ mode: 'append', cursor: 'c' }));
      const resolved = await source().resolve(heap.stream({ mode: 'append', cursor: 'd' }), calm);
      await expect(source().read(resolved, cursor, calm)).rejects.toMatchObject({
        code: 'cursor_invalid',
        hint: expect.stringContaining('full_refresh'),
      });
      await expect(source().read(resolved, 'no position', calm)).rejects.toMatchObject({
        code: 'cursor_invalid',
      });
    },
  );

  const odd = async (): Promise<TestTable> =>
    await subject().make(
      {
        name: `T.a "\`b${expects.oddName}${++made}`,
        columns: {
          ID: 'integer',
          'a.b': 'text',
          'q"`x': 'integer',
          select: 'integer',
          secret: 'text',
          [`last${expects.oddName}`]: 'integer',
        },
        key: ['ID'],
      },
      numbered(5, (i) => [i, 'x', i * 2, i, 's', -i]),
    );
  let made = 0;

  ask('odd identifiers, a column left out', async () => {
    const table = await odd();
    const all = await readAll(source(), table.stream({ mode: 'merge', columns: { exclude: ['secret'] } }));
    expect(all.stream.columns.map(({ name }) => name)).toEqual([
      'ID',
      'a.b',
      'q"`x',
      'select',
      `last${expects.oddName}`,
    ]);
    expect(all.rows).toEqual(numbered(5, (i) => [i, 'x', i * 2, i, -i]));
    const byOdd = table.stream({ cursor: 'q"`x' });
    const { cursor } = await readAll(source(), byOdd);
    expect((await readAll(source(), byOdd, cursor)).rows).toEqual([[5, 'x', 10, 5, 's', -5]]);
  });

  ask.needing('sql')('a condition with a comment', async () => {
    const table = await odd();
    const where = `${sql().quote('select')} > 2 -- only these`;
    const all = await readAll(source(), table.stream({ mode: 'merge', where }));
    expect(ids(all.rows)).toEqual([3, 4, 5]);
    expect(all.count).toBe(3);
  });

  ask.needing('sql')('a query with a key and a cursor, its semicolon and comment forgiven', async () => {
    await subject().make(
      { name: 'base', columns: { id: 'integer', at: 'stamp', v: 'integer' }, key: ['id'] },
      numbered(3, (i) => [i, at(i), i]),
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
      [1, at(1), 2],
      [2, at(2), 4],
      [3, at(3), 6],
    ]);
    expect((await readAll(source(), stream, all.cursor)).rows).toEqual([[3, at(3), 6]]);
  });

  ask.needing('transactions')(
    'a transaction that commits late is read, whichever run it commits before',
    async () => {
      const table = await subject().make(
        {
          name: 'late',
          columns: { id: 'integer', c: 'stamp' },
          key: ['id'],
          required: ['c'],
          indexed: ['c'],
        },
        [[1, at(0)]],
      );
      const stream = table.stream({ cursor: 'c' });
      const first = await readAll(source(), stream);
      const late = await sql().begin();
      await late.insert(table, [[100, await late.now()]]);
      await table.insert([[2, await sql().now()]]);
      const held = await readAll(source(), stream, first.cursor);
      expect(ids(held.rows)).toContain(2);
      await table.insert([[3, await sql().now()]]);
      const still = await readAll(source(), stream, held.cursor);
      expect(ids(still.rows)).toContain(3);
      await late.commit();
      const released = await readAll(source(), stream, still.cursor);
      expect(ids(released.rows)).toContain(100);
      expect(released.guard).toBe(expects.guard);
      expect(ids((await readAll(source(), stream, released.cursor)).rows)).toEqual([3]);
    },
  );

  ask.needing('transactions')(
    'one that began before the first load holds that back too, and one rolled back nothing for ever',
    async () => {
      const table = await subject().make(
        { name: 'early', columns: { id: 'integer', c: 'big' }, key: ['id'], required: ['c'], indexed: ['c'] },
        [[1, 1]],
      );
      const stream = table.stream({ cursor: 'c' });
      const late = await sql().begin();
      await late.insert(table, [[2, 2]]);
      await table.insert([[3, 3]]);
      const first = await readAll(source(), stream);
      expect(ids(first.rows)).toEqual([1, 3]);
      await late.commit();
      expect(ids((await readAll(source(), stream, first.cursor)).rows)).toContain(2);

      const idle = await sql().begin();
      await idle.insert(table, [[4, 4]]);
      const held = await readAll(source(), stream, first.cursor);
      await idle.rollback();
      const second = await readAll(source(), stream, held.cursor);
      expect(ids((await readAll(source(), stream, second.cursor)).rows)).toEqual([3]);
    },
  );
}

interface Disturbed {
  readonly reading: Reading;
  /** Ids in the order in which they came. */
  readonly seen: readonly Value[];
  /** Ids that were there all the time. */
  readonly untouched: Value[];
}
