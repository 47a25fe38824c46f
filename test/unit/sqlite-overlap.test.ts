import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ResolvedStream } from '../../src/core/model.ts';
import type { LogicalType, Value } from '../../src/core/types.ts';
import { openSqliteDestination } from '../../src/destinations/index.ts';
import {
  batchOf,
  column,
  freshFile,
  land,
  read,
  requestOf,
  streamOf,
  withWriter,
  write,
} from './sqlite-support.ts';

const log = streamOf({ name: 'log', mode: 'append', columns: [column('c', 'integer'), column('v', 'text')] });
const landed = (file: string): readonly string[] =>
  read(file, 'SELECT c, v FROM shop__log')
    .map((row) => row.join(' '))
    .sort();

describe('rows without a key that are read again', () => {
  it('land once, two equal rows are two rows, and a third one is new', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(log), async (writer) => {
      await writer.commit(
        batchOf(
          [
            [1, 'a'],
            [2, 'b'],
            [2, 'b'],
            [2, null],
          ],
          'p1',
          { from: 1, reset: true },
        ),
      );
      await writer.finish({ expectedRows: null, minimumShare: null });
    });
    await withWriter(file, requestOf(log, { epoch: 2 }), async (writer) => {
      expect(
        await writer.commit(
          batchOf(
            [
              [2, 'b'],
              [2, 'b'],
              [2, 'b'],
              [2, null],
              [3, 'c'],
            ],
            'p2',
            { from: 4, reset: true },
          ),
        ),
      ).toMatchObject({ written: 2 });
      expect(await writer.liveRows()).toBe(6);
    });
    expect(landed(file)).toEqual(['1 a', '2 ', '2 b', '2 b', '2 b', '3 c']);
  });

  it('are recognised over more ties than a batch holds, whatever the order, also after a crash between', async () => {
    const file = freshFile();
    const ties = Array.from({ length: 2500 }, (_, index) => [7, `v${index % 900}`] as Value[]);
    await withWriter(file, requestOf(log), async (writer) => {
      for (let at = 0; at < 2000; at += 500) {
        await writer.commit(batchOf(ties.slice(at, at + 500), 'p', { from: 0, reset: at === 0 }));
      }
    });
    const shuffled = ties.toReversed();
    await withWriter(file, requestOf(log, { epoch: 2 }), async (writer) => {
      await writer.commit(batchOf(shuffled.slice(0, 1200), 'p', { from: 0, reset: false }));
    });
    await withWriter(file, requestOf(log, { epoch: 3 }), async (writer) => {
      for (let at = 0; at < 2500; at += 700) {
        await writer.commit(batchOf(ties.slice(at, at + 700), 'p', { from: 0, reset: false }));
      }
      await writer.finish({ expectedRows: null, minimumShare: null });
    });
    expect(landed(file)).toEqual(ties.map((row) => row.join(' ')).sort());
  });

  it('are not told apart by how a column is called new or wider', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(log), (writer) =>
      writer.commit(
        batchOf(
          [
            [1, '5'],
            [2, 'b'],
          ],
          'p',
          { from: 0, reset: true },
        ),
      ),
    );
    const wider = streamOf({
      name: 'log',
      mode: 'append',
      columns: [column('n', 'integer'), column('c', 'decimal'), column('v', 'text')],
    });
    await withWriter(file, requestOf(wider, { epoch: 2 }), async (writer) => {
      expect(
        await writer.commit(
          batchOf(
            [
              [null, '1', '5'],
              [null, '2', 'b'],
              [3, '2', 'b'],
            ],
            'p2',
            { from: 0, reset: true },
          ),
        ),
      ).toMatchObject({ written: 1 });
    });
  });

  it('are rejected once', async () => {
    const file = freshFile();
    const rows: Value[][] = [
      [1, 'a'],
      [2n ** 70n, 'too big'],
    ];
    await withWriter(file, requestOf(log), (writer) =>
      writer.commit(batchOf(rows, 'p', { from: 0, reset: true })),
    );
    await withWriter(file, requestOf(log, { epoch: 2 }), async (writer) => {
      expect(await writer.commit(batchOf(rows, 'p', { from: 0, reset: true }))).toEqual({
        written: 0,
        rejects: 0,
      });
    });
    expect(read(file, 'SELECT count(*) FROM _millrace_rejects')).toEqual([[1n]]);
  });

  it('are found under other columns in a file of before, which does not say which columns they had', async () => {
    const file = freshFile();
    const again = { from: 0, reset: false };
    await withWriter(file, requestOf(log), (writer) =>
      writer.commit(
        batchOf(
          [
            [1, 'a'],
            [1, 'a'],
            [2, 'b'],
          ],
          'p',
          again,
        ),
      ),
    );
    write(
      file,
      `DROP TABLE _millrace_changed_rows;
       ALTER TABLE _millrace_cursors DROP COLUMN overlap_columns;
       ALTER TABLE _millrace_cursors DROP COLUMN stayed_columns;
       PRAGMA user_version = 3`,
    );
    const renamed = streamOf({
      name: 'log',
      mode: 'append',
      columns: [column('c', 'integer'), column('w', 'text')],
    });
    await withWriter(file, requestOf(renamed, { epoch: 2 }), async (writer) => {
      await writer.commit(
        batchOf(
          [
            [1, 'a'],
            [2, 'b'],
            [1, 'a'],
            [1, 'c'],
          ],
          'p',
          again,
        ),
      );
      expect(await writer.liveRows()).toBe(4);
    });
    expect(read(file, 'SELECT c, v, w FROM shop__log ORDER BY w, v')).toEqual([
      [1n, 'a', 'a'],
      [1n, 'a', 'a'],
      [2n, 'b', 'b'],
      [1n, null, 'c'],
    ]);
  });

  it('of a table built aside have nothing to do with those of the table that is seen', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(log), (writer) =>
      writer.commit(
        batchOf(
          [
            [1, 'a'],
            [2, 'b'],
          ],
          'p',
          { from: 1, reset: true },
        ),
      ),
    );
    await withWriter(file, requestOf(log, { epoch: 2, runId: 'run2', rebuild: true }), async (writer) => {
      await writer.commit(
        batchOf(
          [
            [1, 'a'],
            [2, 'b'],
            [3, 'c'],
          ],
          'p',
          { from: 2, reset: true },
        ),
      );
    });
    await withWriter(file, requestOf(log, { epoch: 3, runId: 'run3' }), async (writer) => {
      expect(await writer.commit(batchOf([[2, 'b']], 'p', { from: 0, reset: false }))).toMatchObject({
        written: 0,
      });
    });
    await land(file, requestOf(log, { epoch: 4, runId: 'run4', rebuild: true }), []);
    await withWriter(file, requestOf(log, { epoch: 5, runId: 'run5', rebuild: true }), async (writer) => {
      await writer.commit(
        batchOf(
          [
            [1, 'a'],
            [2, 'b'],
            [3, 'c'],
          ],
          'p',
          { from: 2, reset: true },
        ),
      );
      await writer.finish({ expectedRows: 3, minimumShare: null });
    });
    await withWriter(file, requestOf(log, { epoch: 6, runId: 'run6' }), async (writer) => {
      expect(
        await writer.commit(
          batchOf(
            [
              [3, 'c'],
              [2, 'b'],
            ],
            'p',
            { from: 0, reset: false },
          ),
        ),
      ).toMatchObject({ written: 1 });
    });
  });
});

/** One read: how many new rows there are before it, its batches, how many of them are stored before the process dies. */
const readings = fc.array(
  fc.record({
    inserts: fc.array(fc.record({ ahead: fc.nat(3), v: fc.nat(2) }), { maxLength: 12 }),
    held: fc.nat(3),
    batchRows: fc.integer({ min: 1, max: 5 }),
    survives: fc.oneof(fc.nat(4), fc.constant(100)),
    order: fc.integer(),
    change: fc.constantFrom('none', 'none', 'none', 'add', 'drop', 'rename', 'retype', 'reorder'),
  }),
  { minLength: 1, maxLength: 8 },
);

/** A row of the source, and when it came. */
interface SourceRow {
  readonly c: number;
  readonly v: number;
  readonly born: number;
}

/** A column at the source, and what it says of a row. */
interface SourceColumn {
  readonly name: string;
  readonly type: LogicalType;
  readonly sourceType: string;
  readonly of: (row: SourceRow) => Value;
}

const first: readonly SourceColumn[] = [
  { name: 'c', type: 'integer', sourceType: 'int', of: ({ c }) => c },
  { name: 'v', type: 'integer', sourceType: 'int', of: ({ v }) => v },
];

/** Rows that are there get the default, later ones may have another value. */
function added(now: number): SourceColumn {
  const name = `w${now}`;
  const [type, usual, other] = (
    [
      ['text', 'default', 'own'],
      ['boolean', true, false],
      ['float', 2.5, 4],
      ['bytes', Buffer.from([0, 255]), Buffer.from('x')],
      ['integer', 9_007_199_254_740_993n, null],
    ] as const
  )[now % 5] as readonly [LogicalType, Value, Value];
  return { name, type, sourceType: type, of: ({ v, born }) => (born < now || v % 2 === 0 ? usual : other) };
}

/** What becomes of the columns, the cursor's apart, at a point in time. */
function changed(columns: readonly SourceColumn[], change: string, now: number): readonly SourceColumn[] {
  const [cursor, ...rest] = columns as [SourceColumn, ...SourceColumn[]];
  const [one, ...others] = rest;
  switch (change) {
    case 'add':
      return [cursor, added(now), ...rest];
    case 'drop':
      return one === undefined ? columns : [cursor, ...others];
    case 'rename':
      return one === undefined ? columns : [cursor, { ...one, name: `r${now}` }, ...others];
    case 'retype':
      return one === undefined
        ? columns
        : [
            cursor,
            {
              ...one,
              type: 'text',
              sourceType: `${one.sourceType},2`,
              of: (row) => `${String(one.of(row))}0`,
            },
            ...others,
          ];
    case 'reorder':
      return [...rest.toReversed(), cursor];
    default:
      return columns;
  }
}

it('law: whatever is inserted, held back, tied, shuffled, cut off and altered, the table is the source as a multiset', async () => {
  await fc.assert(
    fc.asyncProperty(readings, async (steps) => {
      const file = freshFile();
      const source: SourceRow[] = [];
      let columns = first;
      let position: Position = { next: 0, high: -1, at: null, bound: 0 };
      let epoch = 0;
      const quiet = { inserts: [], held: 0, batchRows: 3, survives: 100, order: 1, change: 'none' };
      let start = 0;
      for (const step of [...steps, quiet, quiet]) {
        const floor = position.at === null ? position.next : position.bound;
        columns = changed(byCursor(columns), step.change, epoch);
        for (const { ahead, v } of step.inserts) source.push({ c: floor + ahead, v, born: epoch });
        if (position.at === null) {
          // The mark is held back behind what may still come, and never moves back.
          const newest = Math.max(0, ...source.map(({ c }) => c));
          position = { ...position, bound: Math.max(position.next, newest - step.held), at: position.next };
        }
        epoch += 1;
        const destination = openSqliteDestination(file);
        const writer = await destination.writer(requestOf(logOf(columns), { epoch, runId: `run${epoch}` }));
        position = JSON.parse(writer.cursor ?? JSON.stringify(position)) as Position;
        if (position.at === null) {
          const newest = Math.max(0, ...source.map(({ c }) => c));
          position = { ...position, bound: Math.max(position.next, newest - step.held), at: position.next };
        }
        start = position.at ?? 0;
        const rows = source
          .filter(({ c }) => c >= start)
          .toSorted((a, b) => a.c - b.c || scramble(a.v, step.order) - scramble(b.v, step.order));
        let stored = 0;
        for (
          let from = 0;
          from < rows.length && stored < step.survives;
          from += step.batchRows, stored += 1
        ) {
          const batch = rows.slice(from, from + step.batchRows);
          const last = batch.at(-1)?.c ?? 0;
          const edge = Math.min(position.bound, last);
          const overlap = { from: batch.findIndex(({ c }) => c >= edge), reset: position.high < edge };
          position = { ...position, at: last, high: Math.max(position.high, last) };
          await writer.commit(
            batchOf(
              batch.map((row) => columns.map(({ of }) => of(row))),
              JSON.stringify(position),
              overlap,
            ),
          );
        }
        if (stored < step.survives) {
          position = { next: position.bound, bound: position.bound, high: position.high, at: null };
          await writer.commit(batchOf([], JSON.stringify(position)));
          await writer.finish({ expectedRows: null, minimumShare: null });
        }
        await destination[Symbol.asyncDispose]();
      }
      // Rows that were not read again since a change keep what they had; those that were are what the source has.
      const names = columns.map(({ name }) => `"${name}"`).join(', ');
      const rowsOf = (select: string): readonly string[] =>
        read(file, select)
          .map((row) => row.map((value) => asLanded(value as Value, 'text')).join(' '))
          .sort();
      expect(rowsOf('SELECT c FROM shop__log')).toEqual(source.map(({ c }) => `${c}`).sort());
      expect(rowsOf(`SELECT ${names} FROM shop__log WHERE c >= ${start}`)).toEqual(
        source
          .filter(({ c }) => c >= start)
          .map((row) => columns.map(({ of, type }) => asLanded(of(row), type)).join(' '))
          .sort(),
      );
      if (steps.every(({ change }) => change === 'none'))
        expect(landed(file)).toEqual(source.map(({ c, v }) => `${c} ${v}`).sort());
    }),
    { numRuns: 150 },
  );
}, 120_000);

/** Values of each logical type in the form that sources give them. */
const valuesOf: Readonly<Record<LogicalType, fc.Arbitrary<Value>>> = {
  boolean: fc.boolean(),
  integer: fc.oneof(
    fc.maxSafeInteger(),
    fc
      .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
      .map((n) => (BigInt(Number(n)) === n && Number.isSafeInteger(Number(n)) ? Number(n) : n)),
  ),
  float: fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.maxSafeInteger(),
    fc.constantFrom('NaN', 'Infinity', '-Infinity'),
  ),
  decimal: fc.constantFrom('1.10', '0', '-0.00', 'NaN', '-Infinity', `${'9'.repeat(1000)}.5`, '1e5'),
  text: fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('', '5', '5.0', '0x10', 'true', 'a\u0000b', '\u{10ffff}'),
  ),
  date: fc.constantFrom('2024-01-31', 'infinity', '0000-00-00', '44-03-15 BC'),
  timestamp: fc.constantFrom('2024-01-31T00:00:00.000000', '-infinity'),
  timestamptz: fc.constantFrom('2024-01-31T00:00:00.000001Z', 'infinity'),
  json: fc.constantFrom('null', '5', '[1.0]', '{"a":9007199254740993}'),
  bytes: fc.uint8Array(),
};
const types = Object.keys(valuesOf) as readonly LogicalType[];

it('law: a row is found in the table whatever its values are, also after the column was made wider', async () => {
  const rowOf = fc.tuple(...types.map((type) => fc.option(valuesOf[type], { freq: 5 })));
  await fc.assert(
    fc.asyncProperty(fc.array(rowOf, { minLength: 1, maxLength: 20 }), async (rows) => {
      const file = freshFile();
      const columns = types.map((type) => column(type, type));
      const stream = streamOf({ name: 'log', mode: 'append', columns });
      const again = { from: 0, reset: false };
      await withWriter(file, requestOf(stream), (writer) => writer.commit(batchOf(rows, 'p', again)));
      // The number of the row is what is new.
      const wider = streamOf({ name: 'log', mode: 'append', columns: [...columns, column('n', 'integer')] });
      await withWriter(file, requestOf(wider, { epoch: 2 }), async (writer) => {
        expect(writer.changes.join()).not.toMatch(/read again/);
        const numbered = rows.map((row, at) => [...row, at]).toReversed();
        expect(await writer.commit(batchOf(numbered, 'q', again))).toMatchObject({ written: rows.length });
        expect(await writer.liveRows()).toBe(rows.length);
      });
      // Everything lands as text from here on, and is what it was.
      const texts = columns.map(({ name }) => column(name, name === 'bytes' ? 'bytes' : 'text', 'wider'));
      const last = streamOf({ name: 'log', mode: 'append', columns: [...texts, column('n', 'integer')] });
      await withWriter(file, requestOf(last, { epoch: 3 }), async (writer) => {
        expect(writer.changes.join()).not.toMatch(/read again/);
        await writer.commit(
          batchOf(
            rows.map((row, at) => [...row.map(asText), at]),
            'r',
            again,
          ),
        );
        expect(await writer.liveRows()).toBe(rows.length);
      });
      expect(read(file, 'SELECT n FROM shop__log ORDER BY n')).toEqual(rows.map((_, at) => [BigInt(at)]));
    }),
    { numRuns: 100 },
  );
}, 120_000);

function asText(value: Value): Value {
  return value === null || value instanceof Uint8Array ? value : String(value);
}

interface Position {
  /** Where the next read begins: everything below has landed and nothing can appear there. */
  readonly next: number;
  /** The newest row that has landed. */
  readonly high: number;
  /** Where a read that was cut off goes on; null between reads. */
  readonly at: number | null;
  /** What `next` becomes at the end of this read. */
  readonly bound: number;
}

/** How a value reads in the table. */
function asLanded(value: Value, type: LogicalType): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return String(type === 'boolean' ? Number(value) : value);
}

/** The cursor's column first. */
function byCursor(columns: readonly SourceColumn[]): readonly SourceColumn[] {
  return columns.toSorted((a, b) => Number(b.name === 'c') - Number(a.name === 'c'));
}

function logOf(columns: readonly SourceColumn[]): ResolvedStream {
  const all = columns.map(({ name, type, sourceType }) => column(name, type, sourceType));
  return { ...streamOf({ name: 'log', mode: 'append', columns: all }), cursor: 'c' };
}

/** Rows tied in the cursor come in any order. */
function scramble(value: number, seed: number): number {
  return (value * 7919 + seed) % 5;
}
