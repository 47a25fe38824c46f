import { describe, expect, it } from 'vitest';
import { openSqliteDestination, openWarehouse } from '../../src/destinations/index.ts';
import {
  batchOf,
  column,
  failure,
  freshFile,
  land,
  read,
  requestOf,
  streamOf,
  withWriter,
  write,
} from './sqlite-support.ts';

const rows = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => [from + index, `v${from + index}`]);
const replace = streamOf({ mode: 'replace' });
const any = { expectedRows: null, minimumShare: null };
const builds = (file: string) =>
  read(file, "SELECT name FROM sqlite_schema WHERE name LIKE '\\_millrace\\_build%' ESCAPE '\\'");
const ids = (file: string) => read(file, 'SELECT id FROM shop__orders ORDER BY id').map(([id]) => Number(id));

describe('a table that is built aside', () => {
  it('is seen only when it is complete, and all at once', async () => {
    const file = freshFile();
    await land(file, requestOf(replace), rows(3));
    await withWriter(file, requestOf(replace, { epoch: 2, runId: 'run2' }), async (writer) => {
      expect(writer.cursor).toBeNull();
      await writer.commit(batchOf(rows(2, 10), 'c1'));
      expect(ids(file)).toEqual([0, 1, 2]);
      expect(await writer.liveRows()).toBe(2);
      await writer.finish({ expectedRows: 2, minimumShare: 0.5 });
    });
    expect(ids(file)).toEqual([10, 11]);
    expect(builds(file)).toEqual([]);
    await using warehouse = openWarehouse(file);
    expect(warehouse.tables({})).toMatchObject([{ table: 'shop__orders', rows: 2 }]);
  });

  it('is nothing a reader can see before the first time', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(replace), async (writer) => {
      await writer.commit(batchOf(rows(2), 'c1'));
      await using warehouse = openWarehouse(file);
      expect(warehouse.tables({})).toEqual([]);
      expect(warehouse.states('shop')).toEqual([]);
    });
  });

  it('is refused when the counts differ, and the old one stays', async () => {
    const file = freshFile();
    await land(file, requestOf(replace), rows(3));
    await withWriter(file, requestOf(replace, { epoch: 2 }), async (writer) => {
      await writer.commit(batchOf([...rows(4, 10), [null, 'bad']], 'c'));
      const error = await failure(writer.finish({ expectedRows: 6, minimumShare: null }));
      expect(error).toMatchObject({ code: 'schema_changed', retryable: true });
      expect(error.message).toMatch(/6/);
      expect(error.message).toMatch(/5/);
      expect(ids(file)).toEqual([0, 1, 2]);
    });
    await withWriter(file, requestOf(replace, { epoch: 3 }), async (writer) => {
      await writer.commit(batchOf([...rows(4, 10), [null, 'bad']], 'c'));
      await writer.finish({ expectedRows: 5, minimumShare: null });
    });
    expect(ids(file)).toEqual([10, 11, 12, 13]);
  });

  it('is begun anew by the next attempt when the counts differ: what it holds is not what the source has', async () => {
    const file = freshFile();
    const aside = (epoch: number) => requestOf(streamOf(), { epoch, rebuild: true });
    await withWriter(file, aside(1), async (writer) => {
      await writer.commit(batchOf(rows(4), 'all of it'));
      await failure(writer.finish({ expectedRows: 3, minimumShare: null }));
    });
    await withWriter(file, aside(2), async (writer) => {
      expect(writer.cursor).toBeNull();
      await writer.commit(batchOf(rows(3), 'all of it'));
      await writer.finish({ expectedRows: 3, minimumShare: null });
    });
    expect(ids(file)).toEqual([0, 1, 2]);
    expect(builds(file)).toEqual([]);
  });

  it('is refused when it shrank too much, and accepted when that is asked for; small tables may shrink', async () => {
    const file = freshFile();
    await land(file, requestOf(replace), rows(200));
    const refresh = (epoch: number, count: number, minimumShare: number | null) =>
      withWriter(file, requestOf(replace, { epoch, runId: `run${epoch}` }), async (writer) => {
        await writer.commit(batchOf(rows(count), 'c'));
        await writer.finish({ expectedRows: count, minimumShare });
      });
    const error = await failure(refresh(2, 99, 0.5));
    expect(error).toMatchObject({ code: 'shrink_refused' });
    expect(error.message).toMatch(/99.*200/);
    expect(error.hint).toContain('full_refresh: true');
    expect(ids(file)).toHaveLength(200);
    await refresh(3, 100, 0.5);
    await refresh(4, 99, null);
    await refresh(5, 0, 0.5);
    expect(ids(file)).toEqual([]);
  });

  it('left by another run is begun anew and takes no space for ever; of the same run it goes on', async () => {
    const file = freshFile();
    const stream = streamOf();
    await land(file, requestOf(stream), rows(3));
    await withWriter(file, requestOf(stream, { epoch: 2, runId: 'run2', rebuild: true }), (writer) =>
      writer.commit(batchOf(rows(5, 10), 'b1')),
    );
    await withWriter(file, requestOf(stream, { epoch: 3, runId: 'run2', rebuild: true }), async (writer) => {
      expect(writer.cursor).toBe('b1');
      expect(await writer.liveRows()).toBe(5);
      expect(writer.counts.rows_written).toBe(5);
      await writer.commit(batchOf(rows(1, 20), 'b2'));
    });
    await withWriter(file, requestOf(stream, { epoch: 4, runId: 'run4', rebuild: true }), async (writer) => {
      expect(writer.cursor).toBeNull();
      expect(await writer.liveRows()).toBe(0);
      await writer.commit(batchOf(rows(1, 20), 'b3'));
    });
    expect(builds(file)).toHaveLength(1);
    await withWriter(file, requestOf(stream, { epoch: 5, runId: 'run5' }), async (writer) => {
      expect(writer.cursor).toBe('end');
      expect(await writer.liveRows()).toBe(3);
    });
    expect(builds(file)).toEqual([]);
    expect(ids(file)).toEqual([0, 1, 2]);
  });

  it('is begun anew when its columns have changed', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf(), { rebuild: true }), (writer) =>
      writer.commit(batchOf(rows(5), 'b1')),
    );
    const wider = streamOf({
      columns: [column('id', 'integer'), column('v', 'text'), column('n', 'integer')],
    });
    await withWriter(file, requestOf(wider, { rebuild: true, epoch: 2 }), async (writer) => {
      expect(writer.cursor).toBeNull();
      await writer.commit(batchOf([[1, 'a', 5]], 'b2'));
      await writer.finish(any);
    });
    expect(read(file, 'SELECT id, v, n FROM shop__orders')).toEqual([[1n, 'a', 5n]]);
  });

  it('is begun anew when the stream is defined otherwise, and goes on only as what it was begun as', async () => {
    const file = freshFile();
    const aside = (epoch: number, more: object = {}) =>
      requestOf(streamOf(), { epoch, rebuild: true, definition: 'other', ...more });
    await land(file, requestOf(streamOf()), rows(1, 90));
    await withWriter(file, aside(2, { definition: 'two' }), (writer) =>
      writer.commit(batchOf([...rows(5), [null, 'bad']], 'b1')),
    );
    await withWriter(file, aside(3), async (writer) => {
      expect(writer.cursor).toBeNull();
      expect(await writer.liveRows()).toBe(0);
      await writer.commit(batchOf(rows(2, 10), 'b2'));
    });
    await withWriter(file, aside(4, { rebuild: false }), async (writer) => {
      expect(writer.cursor).toBe('b2');
      await writer.finish({ expectedRows: 2, minimumShare: null });
    });
    expect(ids(file)).toEqual([10, 11]);
    expect(read(file, 'SELECT definition, build_definition FROM _millrace_cursors')).toEqual([
      ['other', null],
    ]);
  });

  it('that grows is begun anew as well when the stream is defined otherwise', async () => {
    const file = freshFile();
    const growing = { ...streamOf(), columnsGrow: true };
    const wider = [...streamOf().columns, column('n', 'integer')];
    await withWriter(file, requestOf(growing, { rebuild: true }), (writer) =>
      writer.commit({ ...batchOf([[1, 'a', 5]], 'b1'), columns: wider }),
    );
    await withWriter(
      file,
      requestOf(growing, { epoch: 2, rebuild: true, definition: 'two' }),
      async (writer) => {
        expect(writer.cursor).toBeNull();
        expect(writer.columns).toHaveLength(2);
      },
    );
  });

  it('takes its position along when it becomes the table', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), rows(3));
    await withWriter(
      file,
      requestOf(streamOf(), { epoch: 2, runId: 'run2', rebuild: true }),
      async (writer) => {
        await writer.commit(batchOf(rows(2), 'new position'));
        await writer.finish(any);
      },
    );
    await withWriter(file, requestOf(streamOf(), { epoch: 3, runId: 'run3' }), async (writer) => {
      expect(writer.cursor).toBe('new position');
      expect(await writer.liveRows()).toBe(2);
    });
  });

  it('leaves views and indexes that somebody made on the old table in force', async () => {
    const file = freshFile();
    await land(file, requestOf(replace), rows(3));
    write(file, 'CREATE VIEW latest AS SELECT max(id) AS id FROM shop__orders');
    write(file, 'CREATE INDEX by_v ON shop__orders (v)');
    write(file, 'CREATE INDEX by_upper ON shop__orders (upper(v)) WHERE v IS NOT NULL');
    await land(file, requestOf(replace, { epoch: 2 }), rows(5));
    expect(read(file, 'SELECT id FROM latest')).toEqual([[4n]]);
    expect(
      read(
        file,
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'shop__orders' AND sql IS NOT NULL ORDER BY name",
      ),
    ).toEqual([['by_upper'], ['by_v']]);
    // An index over a column that is gone cannot be made again, and must not stop the sync.
    const other = streamOf({ mode: 'replace', columns: [column('id', 'integer'), column('w', 'text')] });
    await land(file, requestOf(other, { epoch: 3, definition: 'two' }), rows(5));
    expect(read(file, 'SELECT id FROM latest')).toEqual([[4n]]);
    expect(
      await withWriter(
        file,
        requestOf(streamOf({ mode: 'replace' }), { epoch: 4 }),
        async (writer) => writer.changes,
      ),
    ).toBeDefined();
  });

  it('forgets the rejects of the table it replaces', async () => {
    const file = freshFile();
    await land(file, requestOf(replace), [
      [1, 'a'],
      [null, 'old'],
    ]);
    await land(file, requestOf(replace, { epoch: 2, runId: 'run2' }), [
      [1, 'a'],
      [null, 'new'],
    ]);
    expect(read(file, 'SELECT run_id FROM _millrace_rejects')).toEqual([['run2']]);
    await land(file, requestOf(replace, { epoch: 3, runId: 'run3' }), [[1, 'a']]);
    expect(read(file, 'SELECT run_id FROM _millrace_rejects')).toEqual([]);
  });

  it('follows a stream that is defined otherwise: merge reads anew aside, append refuses', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), rows(3));
    await withWriter(
      file,
      requestOf(streamOf(), { epoch: 2, runId: 'run2', definition: 'two' }),
      async (writer) => {
        expect(writer.rebuilding).toBe(true);
        expect(writer.cursor).toBeNull();
        await writer.commit(batchOf(rows(1, 7), 'c'));
        expect(ids(file)).toEqual([0, 1, 2]);
        await writer.finish(any);
      },
    );
    expect(ids(file)).toEqual([7]);
    const log = streamOf({ name: 'log', mode: 'append' });
    await land(file, requestOf(log), rows(1));
    const error = await failure(land(file, requestOf(log, { definition: 'two' }), rows(1)));
    expect(error.hint).toContain('full_refresh: true');
    await land(file, requestOf(log, { definition: 'two', rebuild: true }), rows(2));
    expect(read(file, 'SELECT count(*) FROM shop__log')).toEqual([[2n]]);
  });

  it('is what a changed key or mode needs, and the hint that says so works', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), rows(3));
    const pair = streamOf({ key: ['v'] });
    const error = await failure(land(file, requestOf(pair), rows(3)));
    expect(error).toMatchObject({ code: 'invalid_config' });
    expect(error.hint).toContain('full_refresh');
    expect(error.nextActions[0]).toMatchObject({ tool: 'sync_connector', arguments: { full_refresh: true } });
    expect(ids(file)).toEqual([0, 1, 2]);
    await land(file, requestOf(pair, { rebuild: true }), rows(3));
    await land(file, requestOf(pair, { epoch: 2 }), rows(4));
    expect(ids(file)).toEqual([0, 1, 2, 3]);
    for (const mode of ['append', 'merge', 'replace', 'merge'] as const) {
      const stream = streamOf({ mode, key: mode === 'append' ? [] : ['id'] });
      await land(file, requestOf(stream, { epoch: 3, rebuild: true }), rows(4));
      await land(file, requestOf(stream, { epoch: 3 }), mode === 'append' ? [] : rows(4));
      expect(ids(file)).toEqual([0, 1, 2, 3]);
    }
  });

  it('goes through a stream that became another mode without a refresh: nothing is lost, or it says what to do', async () => {
    for (const before of ['merge', 'append', 'replace'] as const) {
      for (const after of ['merge', 'append', 'replace'] as const) {
        const file = freshFile();
        await land(file, requestOf(streamOf({ mode: before })), rows(3));
        const stream = streamOf({ mode: after });
        const done = await withWriter(file, requestOf(stream, { epoch: 2 }), async (writer) => {
          if (before !== after && after === 'merge') expect(writer.cursor).toBeNull();
          await writer.commit(batchOf(after === 'append' && before === 'append' ? [] : rows(3), 'c'));
          await writer.finish(any);
        }).catch((error) => error);
        if (done === undefined) expect(ids(file), `${before} to ${after}`).toEqual([0, 1, 2]);
        else expect(done.hint, `${before} to ${after}`).toContain('full_refresh');
      }
    }
  });
});

describe('rows that are gone at the source', () => {
  const stream = streamOf();

  it('are marked once, by the run that found it, and live again when they come back', async () => {
    const file = freshFile();
    await land(file, requestOf(stream), rows(5));
    const marked = await withWriter(file, requestOf(stream, { epoch: 2, runId: 'run2' }), async (writer) => {
      await writer.seenKeys([0, 1], 2);
      await writer.seenKeys([4], 1);
      const count = await writer.markDeleted(0.5);
      expect(await writer.liveRows()).toBe(3);
      await writer.finish(any);
      return count;
    });
    expect(marked).toBe(2);
    const shown = () =>
      read(file, 'SELECT id, _mr_deleted_at IS NOT NULL, _mr_run FROM shop__orders ORDER BY id').map((row) =>
        row.join(' '),
      );
    expect(shown()).toEqual(['0 0 run1', '1 0 run1', '2 1 run2', '3 1 run2', '4 0 run1']);
    expect(read(file, 'SELECT _mr_deleted_at FROM shop__orders WHERE id = 2')[0]?.[0]).toMatch(
      /^\d{4}-\d\d-\d\dT.*Z$/,
    );
    await using warehouse = openWarehouse(file);
    expect(warehouse.tables({})[0]?.rows).toBe(3);
    expect(warehouse.states('shop')[0]?.rows).toBe(3);
    expect(read(file, "SELECT rows_deleted FROM _millrace_loads WHERE run_id = 'run2'")).toEqual([[2n]]);
    await withWriter(file, requestOf(stream, { epoch: 3, runId: 'run3' }), async (writer) => {
      expect(
        await writer.commit(
          batchOf(
            [
              [2, 'v2'],
              [4, 'v4'],
            ],
            'c',
          ),
        ),
      ).toMatchObject({ written: 1 });
      expect(await writer.liveRows()).toBe(4);
      await writer.seenKeys([0, 1, 2, 4], 4);
      expect(await writer.markDeleted(0.5)).toBe(0);
    });
    expect(shown()).toEqual(['0 0 run1', '1 0 run1', '2 0 run3', '3 1 run2', '4 0 run1']);
  });

  it('are not believed when they are too many of many', async () => {
    const file = freshFile();
    await land(file, requestOf(stream), rows(1000));
    await withWriter(file, requestOf(stream, { epoch: 2 }), async (writer) => {
      await writer.seenKeys([1, 2], 2);
      const error = await failure(writer.markDeleted(0.5));
      expect(error).toMatchObject({ code: 'shrink_refused' });
      expect(error.message).toMatch(/998.*1000/);
      expect(await writer.liveRows()).toBe(1000);
    });
    await withWriter(file, requestOf(stream, { epoch: 3 }), async (writer) => {
      await writer.seenKeys([1, 2], 2);
      expect(await writer.markDeleted(1)).toBe(998);
    });
  });

  it('are told apart by keys of several columns and any type', async () => {
    const file = freshFile();
    const pair = streamOf({
      columns: [column('a', 'text'), column('b', 'bytes'), column('c', 'boolean')],
      key: ['c', 'b', 'a'],
    });
    const bytes = (value: number) => new Uint8Array([value]);
    await land(file, requestOf(pair), [
      ['x', bytes(1), true],
      ['x', bytes(1), false],
      ['x', bytes(2), true],
      ['y', bytes(1), true],
    ]);
    await withWriter(file, requestOf(pair, { epoch: 2 }), async (writer) => {
      await writer.seenKeys([true, bytes(1), 'x', false, bytes(1), 'x', true, bytes(1), 'y'], 3);
      expect(await writer.markDeleted(1)).toBe(1);
    });
    expect(read(file, 'SELECT a, b, c FROM shop__orders WHERE _mr_deleted_at IS NOT NULL')).toEqual([
      ['x', Uint8Array.of(2), 1n],
    ]);
  });

  it('are found also after the key was widened to text', async () => {
    const file = freshFile();
    await land(file, requestOf(stream), rows(3));
    await land(
      file,
      requestOf(streamOf({ columns: [column('id', 'text'), column('v', 'text')] }), { epoch: 2 }),
      [['x', 'new']],
    );
    await land(file, requestOf(stream, { epoch: 3 }), [[7, 'seven']]);
    await withWriter(file, requestOf(stream, { epoch: 4 }), async (writer) => {
      await writer.seenKeys([0, 7], 2);
      expect(await writer.markDeleted(1)).toBe(3);
    });
    expect(read(file, 'SELECT id FROM shop__orders WHERE _mr_deleted_at IS NULL ORDER BY id')).toEqual([
      ['0'],
      ['7'],
    ]);
  });

  it('stay countable without a scan after the table was rewritten', async () => {
    const file = freshFile();
    await land(file, requestOf(stream), rows(5));
    await withWriter(file, requestOf(stream, { epoch: 2 }), async (writer) => {
      await writer.seenKeys([0, 1, 2], 3);
      await writer.markDeleted(1);
    });
    await land(
      file,
      requestOf(
        streamOf({ columns: [column('id', 'integer'), column('v', 'bytes'), column('n', 'float')] }),
        { epoch: 3 },
      ),
      [],
    );
    await land(
      file,
      requestOf(streamOf({ columns: [column('id', 'integer'), column('v', 'bytes'), column('n', 'text')] }), {
        epoch: 4,
      }),
      [],
    );
    await withWriter(file, requestOf(stream, { epoch: 5 }), async (writer) =>
      expect(await writer.liveRows()).toBe(3),
    );
    const plan = read(
      file,
      'EXPLAIN QUERY PLAN SELECT count(*) FROM shop__orders WHERE _mr_deleted_at IS NOT NULL',
    );
    expect(plan.join()).toMatch(/USING (?:COVERING )?INDEX/);
  });

  it('remain unmarked when the process ends between', async () => {
    const file = freshFile();
    await land(file, requestOf(stream), rows(5));
    const destination = openSqliteDestination(file);
    const writer = await destination.writer(requestOf(stream, { epoch: 2 }));
    await writer.seenKeys([0], 1);
    await destination[Symbol.asyncDispose]();
    await withWriter(file, requestOf(stream, { epoch: 3 }), async (again) => {
      await again.seenKeys([0, 1, 2, 3, 4], 5);
      expect(await again.markDeleted(1)).toBe(0);
    });
  });
});
