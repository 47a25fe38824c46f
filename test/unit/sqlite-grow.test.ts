import { describe, expect, it } from 'vitest';
import type { Batch, ResolvedStream } from '../../src/core/model.ts';
import type { Column, Value } from '../../src/core/types.ts';
import { batchOf, column, freshFile, read, requestOf, streamOf, withWriter } from './sqlite-support.ts';

/** A stream whose columns are what was seen so far. */
function growing(columns: readonly Column[], more: Partial<ResolvedStream> = {}): ResolvedStream {
  return { ...streamOf({ columns }), columnsGrow: true, ...more };
}

const id = column('id', 'integer', 'integer');
const end = { expectedRows: null, minimumShare: null };

function grown(columns: readonly Column[], rows: readonly (readonly Value[])[], cursor = 'p'): Batch {
  return { ...batchOf(rows, cursor), columns };
}

describe('a stream whose columns grow while it is read', () => {
  it('gets a column in the transaction of the batch that brings it', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(growing([id])), async (writer) => {
      await writer.commit(batchOf([[1], [2]], 'a'));
      const done = await writer.commit(grown([id, column('v', 'text')], [[3, 'x']], 'b'));
      expect(done).toMatchObject({ written: 1, rejects: 0 });
      expect(done.changes?.join()).toContain('"v"');
      await writer.commit(batchOf([[4, 'y']], 'c'));
      await writer.finish(end);
    });
    expect(read(file, 'SELECT id, v FROM shop__orders ORDER BY id')).toEqual([
      [1n, null],
      [2n, null],
      [3n, 'x'],
      [4n, 'y'],
    ]);
    expect(
      read(file, "SELECT name FROM _millrace_columns WHERE stream = 'orders' ORDER BY position"),
    ).toEqual([['id'], ['v']]);
  });

  it('widens integers to REAL where a double holds them all, and to TEXT where it does not', async () => {
    const file = freshFile();
    const [n, m] = [column('n', 'integer'), column('m', 'integer')];
    await withWriter(file, requestOf(growing([id, n, m])), async (writer) => {
      await writer.commit(batchOf([[1, 5, 9007199254740993n]], 'a'));
      await writer.commit(grown([id, column('n', 'float'), column('m', 'float')], [[2, 0.5, 1.5]], 'b'));
      await writer.finish(end);
    });
    expect(read(file, 'SELECT n, m, typeof(n), typeof(m) FROM shop__orders ORDER BY id')).toEqual([
      [5, '9007199254740993', 'real', 'text'],
      [0.5, '1.5', 'real', 'text'],
    ]);
  });

  it('takes any type for a column that has held nothing', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(growing([id, column('v', 'text', 'null')])), async (writer) => {
      await writer.commit(batchOf([[1, null]], 'a'));
      await writer.commit(grown([id, column('v', 'integer')], [[2, 7]], 'b'));
      await writer.finish(end);
    });
    expect(read(file, 'SELECT v, typeof(v) FROM shop__orders WHERE id = 2')).toEqual([[7n, 'integer']]);
  });

  it('keeps what has landed when a look saw less, or saw it narrower', async () => {
    const file = freshFile();
    const wide = [id, column('v', 'float'), column('w', 'text')];
    await withWriter(file, requestOf(growing(wide)), async (writer) => {
      await writer.commit(batchOf([[1, 0.5, 'x']], 'a'));
      await writer.finish(end);
    });
    await withWriter(file, requestOf(growing([column('v', 'integer'), id]), { epoch: 2 }), async (writer) => {
      expect(writer.changes).toEqual([]);
      expect(writer.columns.map(({ name, type }) => [name, type])).toEqual([
        ['id', 'integer'],
        ['v', 'float'],
        ['w', 'text'],
      ]);
      await writer.commit(batchOf([[2, 3, null]], 'b'));
      await writer.finish(end);
    });
    expect(read(file, 'SELECT id, v, w, typeof(v) FROM shop__orders ORDER BY id')).toEqual([
      [1n, 0.5, 'x', 'real'],
      [2n, 3, null, 'real'],
    ]);
  });

  it('grows in a table that is built aside, which an attempt after a crash goes on with', async () => {
    const file = freshFile();
    const wide = [id, column('v', 'text')];
    const request = requestOf(growing([id]), { rebuild: true });
    await withWriter(file, request, async (writer) => {
      await writer.commit(batchOf([[1]], 'a'));
      await writer.commit(grown(wide, [[2, 'x']], 'b'));
    });
    expect(read(file, "SELECT count(*) FROM sqlite_schema WHERE name = 'shop__orders'")).toEqual([[0n]]);
    await withWriter(file, { ...request, epoch: 2 }, async (writer) => {
      expect(writer.cursor).toBe('b');
      expect(writer.columns.map(({ name }) => name)).toEqual(['id', 'v']);
      await writer.commit(grown([...wide, column('w', 'boolean')], [[3, 'y', true]], 'c'));
      await writer.finish(end);
    });
    expect(read(file, 'SELECT id, v, w FROM shop__orders ORDER BY id')).toEqual([
      [1n, null, null],
      [2n, 'x', null],
      [3n, 'y', 1n],
    ]);
    expect(
      read(file, "SELECT name FROM _millrace_columns WHERE stream = 'orders' ORDER BY position"),
    ).toEqual([['id'], ['v'], ['w']]);
  });

  it('changes nothing when the batch is refused', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(growing([id])), async (writer, destination) => {
      await writer.commit(batchOf([[1]], 'a'));
      await using newer = await destination.writer(requestOf(growing([id]), { epoch: 2 }));
      await expect(writer.commit(grown([id, column('v', 'text')], [[2, 'x']]))).rejects.toMatchObject({
        code: 'run_lost',
      });
      expect(newer.columns).toHaveLength(1);
    });
    expect(read(file, "SELECT name FROM pragma_table_info('shop__orders') WHERE name = 'v'")).toEqual([]);
  });

  it('recognises rows that come again after it has grown, and forgets what did not come twice', async () => {
    const file = freshFile();
    const stream = growing([column('a', 'integer')], { mode: 'append', primaryKey: [] });
    const again = (rows: readonly (readonly Value[])[], more: Partial<Batch> = {}): Batch => ({
      ...batchOf(rows, 'p', { from: 0, reset: false }),
      ...more,
    });
    const wider = [column('a', 'integer'), column('b', 'text')];
    await withWriter(file, requestOf(stream), async (writer) => {
      await writer.commit(again([[1], [2]]));
      await writer.finish(end);
    });
    await withWriter(file, requestOf(stream, { epoch: 2, runId: 'run2' }), async (writer) => {
      expect(
        await writer.commit(
          again(
            [
              [2, null],
              [3, 'x'],
            ],
            { columns: wider },
          ),
        ),
      ).toMatchObject({ written: 1 });
      await writer.commit({ ...batchOf([], 'q'), overlap: { from: 0, reset: false, complete: true } });
      await writer.finish(end);
    });
    expect(read(file, 'SELECT a, b FROM shop__orders ORDER BY a')).toEqual([
      [1n, null],
      [2n, null],
      [3n, 'x'],
    ]);
    // 1 did not come again: after the second time nobody remembers it any more.
    expect(read(file, 'SELECT sum(n) FROM _millrace_overlap')).toEqual([[3n]]);
    await withWriter(file, requestOf(stream, { epoch: 3, runId: 'run3' }), async (writer) => {
      const rows = [
        [2, null],
        [3, 'x'],
      ];
      expect(await writer.commit(again(rows, { columns: wider }))).toMatchObject({ written: 0 });
      await writer.commit({ ...batchOf([], 'r'), overlap: { from: 0, reset: false, complete: true } });
      await writer.finish(end);
    });
    expect(read(file, 'SELECT sum(n) FROM _millrace_overlap')).toEqual([[2n]]);
  });

  it('says how many rows may come twice when a column reads otherwise while rows are read again', async () => {
    const file = freshFile();
    const stream = growing([column('a', 'timestamptz')], { mode: 'append', primaryKey: [] });
    const again = { from: 0, reset: false };
    await withWriter(file, requestOf(stream), async (writer) => {
      await writer.commit(
        batchOf([['2024-01-31T00:00:00.000000Z'], ['2024-02-01T00:00:00.000000Z']], 'p', again),
      );
      await writer.finish(end);
    });
    await withWriter(file, requestOf(stream, { epoch: 2, runId: 'run2' }), async (writer) => {
      await writer.commit({ ...batchOf([['2024-01-31']], 'p', again), columns: [column('a', 'text')] });
      expect(writer.changes.join()).toMatch(/up to 2 rows are read again.*full_refresh/);
    });
  });
});
