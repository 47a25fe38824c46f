import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Value } from '../../src/core/types.ts';
import { openSqliteDestination } from '../../src/destinations/index.ts';
import { batchOf, column, freshFile, land, read, requestOf, streamOf, withWriter } from './sqlite-support.ts';

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
  }),
  { minLength: 1, maxLength: 8 },
);

it('law: whatever is inserted, held back, tied, shuffled and cut off, the table is the source as a multiset', async () => {
  await fc.assert(
    fc.asyncProperty(readings, async (steps) => {
      const file = freshFile();
      const source: { readonly c: number; readonly v: number }[] = [];
      let position: Position = { next: 0, high: -1, at: null, bound: 0 };
      let epoch = 0;
      const quiet = { inserts: [], held: 0, batchRows: 3, survives: 100, order: 1 };
      for (const step of [...steps, quiet, quiet]) {
        const floor = position.at === null ? position.next : position.bound;
        for (const { ahead, v } of step.inserts) source.push({ c: floor + ahead, v });
        if (position.at === null) {
          // The mark is held back behind what may still come, and never moves back.
          const newest = Math.max(0, ...source.map(({ c }) => c));
          position = { ...position, bound: Math.max(position.next, newest - step.held), at: position.next };
        }
        epoch += 1;
        const destination = openSqliteDestination(file);
        const writer = await destination.writer(requestOf(log, { epoch, runId: `run${epoch}` }));
        position = JSON.parse(writer.cursor ?? JSON.stringify(position)) as Position;
        if (position.at === null) {
          const newest = Math.max(0, ...source.map(({ c }) => c));
          position = { ...position, bound: Math.max(position.next, newest - step.held), at: position.next };
        }
        const start = position.at ?? 0;
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
              batch.map(({ c, v }) => [c, `${v}`]),
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
      expect(landed(file)).toEqual(source.map(({ c, v }) => `${c} ${v}`).sort());
    }),
    { numRuns: 150 },
  );
}, 120_000);

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

/** Rows tied in the cursor come in any order. */
function scramble(value: number, seed: number): number {
  return (value * 7919 + seed) % 5;
}
