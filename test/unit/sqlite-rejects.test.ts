import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import type { Reject } from '../../src/core/model.ts';
import { keptKey, keptRow, keptValues, keyText, rejectOf } from '../../src/core/row-text.ts';
import type { Column, Value } from '../../src/core/types.ts';
import type { JudgedRow, Replayed } from '../../src/destinations/destination.ts';
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

/** Rows that stand aside in the file: which are kept, which go by themselves, and how they land after all. */

const orders = 'SELECT id, v FROM shop__orders ORDER BY id';
const kept = 'SELECT row, count, run_id FROM _millrace_rejects ORDER BY id';
const bad = (id: number, v: string, reason = 'no'): Reject => ({ row: `{"id":${id},"v":"${v}"}`, reason });

/** Lands all rejects of the stream as they are, as the engine does. */
async function replay(file: string, stream = streamOf(), epoch = 100): Promise<Replayed> {
  await using destination = openSqliteDestination(file);
  const { connector, definition } = requestOf(stream);
  await using replayer = await destination.replayer({ connector, stream, epoch, definition });
  let done: Replayed = { replayed: 0, still_rejected: 0 };
  for (;;) {
    const rows = await replayer.next();
    if (rows.length === 0) return done;
    const judged = rows.map(({ id, row, reason }): JudgedRow => {
      const fields = keptRow(row);
      return fields === null ? { id, reason } : { id, values: keptValues(fields, replayer.columns) };
    });
    const { replayed, still_rejected } = await replayer.land(judged);
    done = { replayed: done.replayed + replayed, still_rejected: done.still_rejected + still_rejected };
  }
}

describe('a row as text', () => {
  const columns: readonly Column[] = [
    column('i', 'integer'),
    column('f', 'float'),
    column('d', 'decimal'),
    column('b', 'boolean'),
    column('x', 'bytes'),
    column('t', 'text'),
    column('n', 'text'),
  ];
  const names = columns.map(({ name }) => name);

  it.each<Value[][]>([
    [[1, 0.1, '1.50', true, new Uint8Array([0, 255]), '\\x00 "quoted" … (5 bytes', null]],
    [[2n ** 62n + 1n, 1e-300, '12345678901234567890.10', false, new Uint8Array(), '\u2028\0', null]],
    [[-(2n ** 63n), 5e-324, 'NaN', null, null, '', null]],
    [[9007199254740993n, 1.7976931348623157e308, '0', true, new Uint8Array([1]), '9007199254740993', null]],
  ])('is the same row when it comes back: %#', (row) => {
    const reject = rejectOf(names, row, 'no');
    const back = keptValues(keptRow(reject.row) ?? new Map(), columns);
    expect(back.map((value) => (value instanceof Uint8Array ? [...value] : value))).toEqual(
      row.map((value) => (value instanceof Uint8Array ? [...value] : value)),
    );
    expect(reject.cut).toBeUndefined();
    const key = ['i', 't', 'x'].filter((name) => row[names.indexOf(name)] !== null);
    const given = key.map((name) => row[names.indexOf(name)] ?? null);
    expect(keptKey(keptRow(reject.row) ?? new Map(), key)).toBe(keyText(given));
  });

  it('says when a value was cut, and has no key then', () => {
    const reject = rejectOf(['id', 'v'], ['x'.repeat(70_000), 'v'], 'no');
    expect(reject.cut).toBe(true);
    expect(keptKey(keptRow(reject.row) ?? new Map(), ['id'])).toBeNull();
    expect(keptKey(keptRow(reject.row) ?? new Map(), ['v'])).toBe('1:v');
  });

  it('is none when nobody could read it', () => {
    expect(['"line"', '[1,2]', '{"a":1', 'null'].map(keptRow)).toEqual([null, null, null, null]);
  });

  it('of keys of several columns is never the text of another', () => {
    expect(keyText(['a', 'b1:c'])).not.toBe(keyText(['a1:b', 'c']));
  });
});

describe('a reject of a row with a key', () => {
  it('is the newest version that was read: counted, replaced, gone when it lands', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf()), async (writer) => {
      await writer.commit({ ...batchOf([[1, 'a']], 'c1'), rejects: [bad(2, 'x'), bad(3, 'y')] });
      await writer.commit({ ...batchOf([], 'c2'), rejects: [bad(2, 'x2', 'still')] });
    });
    expect(read(file, kept)).toEqual([
      ['{"id":2,"v":"x2"}', 2n, 'run1'],
      ['{"id":3,"v":"y"}', 1n, 'run1'],
    ]);
    await land(file, requestOf(streamOf(), { runId: 'run2', epoch: 2 }), [[2, 'good']]);
    expect(read(file, kept)).toEqual([['{"id":3,"v":"y"}', 1n, 'run1']]);
    expect(await replay(file)).toEqual({ replayed: 1, still_rejected: 0 });
    expect(read(file, orders)).toEqual([
      [1n, 'a'],
      [2n, 'good'],
      [3n, 'y'],
    ]);
    expect(read(file, 'SELECT row_count FROM _millrace_cursors')).toEqual([[3n]]);
  });

  it('goes also when what lands is what was there before: an older version must not come over it', async () => {
    const file = freshFile();
    const at = (run: number) => requestOf(streamOf(), { runId: `run${run}`, epoch: run });
    await land(file, at(1), [[1, 'a']]);
    await withWriter(file, at(2), (writer) => writer.commit({ ...batchOf([], 'c'), rejects: [bad(1, 'b')] }));
    await land(file, at(3), [[1, 'a']]);
    expect(await replay(file)).toEqual({ replayed: 0, still_rejected: 0 });
    expect(read(file, 'SELECT v, _mr_run FROM shop__orders')).toEqual([['a', 'run1']]);
  });

  it('that is newer than what has landed replaces it', async () => {
    const file = freshFile();
    const at = (run: number) => requestOf(streamOf(), { runId: `run${run}`, epoch: run });
    await land(file, at(1), [[1, 'a']]);
    await withWriter(file, at(2), (writer) => writer.commit({ ...batchOf([], 'c'), rejects: [bad(1, 'b')] }));
    expect(await replay(file)).toEqual({ replayed: 1, still_rejected: 0 });
    expect(read(file, 'SELECT v, _mr_run FROM shop__orders')).toEqual([['b', 'run2']]);
  });

  it('beside another version in the same batch has no claim: it stays aside, and overwrites nothing', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf()), (writer) =>
      writer.commit({ ...batchOf([[1, 'a']], 'c'), rejects: [bad(1, 'b')] }),
    );
    expect(await replay(file)).toEqual({ replayed: 0, still_rejected: 1 });
    expect(read(file, orders)).toEqual([[1n, 'a']]);
    expect(read(file, 'SELECT reason FROM _millrace_rejects')).toEqual([
      [expect.stringContaining('another version of the row has landed')],
    ]);
  });

  it('goes when the source has its key no more, and only then', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf()), async (writer) => {
      await writer.commit({ ...batchOf([[1, 'a']], 'c'), rejects: [bad(2, 'x'), bad(3, 'y')] });
      await writer.seenKeys([1, 3], 2);
      await writer.markDeleted(0.5);
    });
    expect(read(file, 'SELECT row FROM _millrace_rejects')).toEqual([['{"id":3,"v":"y"}']]);
  });

  it('that the table refuses itself is counted, not met twice by one row', async () => {
    const file = freshFile();
    const rows: Value[][] = [
      [1, 'a'],
      ['no number', 'b'],
    ];
    for (const run of [1, 2])
      await land(file, requestOf(streamOf(), { runId: `run${run}`, epoch: run }), rows);
    expect(read(file, kept)).toEqual([['{"id":"no number","v":"b"}', 2n, 'run2']]);
    expect(await replay(file)).toEqual({ replayed: 0, still_rejected: 1 });
  });

  it('is not what a transaction that went back had made of it', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf()), async (writer) => {
      await writer.commit({ ...batchOf([], 'c'), rejects: [bad(1, 'b')] });
      write(file, 'UPDATE _millrace_cursors SET epoch = 2');
      expect(await failure(writer.commit(batchOf([[1, 'a']], 'd')))).toMatchObject({ code: 'run_lost' });
      write(file, 'UPDATE _millrace_cursors SET epoch = 1');
      await writer.commit(batchOf([[1, 'a']], 'd'));
    });
    expect(read(file, kept)).toEqual([]);
  });
});

describe('a replay', () => {
  it('is shut out when a run has taken the stream over, and changes nothing', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf()), (writer) =>
      writer.commit({ ...batchOf([], 'c'), rejects: [bad(1, 'b')] }),
    );
    await using destination = openSqliteDestination(file);
    const { connector, stream, definition } = requestOf(streamOf());
    await using replayer = await destination.replayer({ connector, stream, definition, epoch: 2 });
    const rows = await replayer.next();
    await land(file, requestOf(streamOf(), { epoch: 3, runId: 'run3' }), []);
    const late = await failure(replayer.land(rows.map(({ id }) => ({ id, values: [1, 'b'] }))));
    expect(late.code).toBe('run_lost');
    expect(read(file, orders)).toEqual([]);
    expect(read(file, kept)).toHaveLength(1);
  });

  it('of a stream that has not landed, or is defined otherwise, is refused and leaves the file as it was', async () => {
    const file = freshFile();
    await using destination = openSqliteDestination(file);
    const { connector, stream, definition } = requestOf(streamOf());
    const request = { connector, stream, definition, epoch: 5 };
    expect(await failure(destination.replayer(request))).toMatchObject({ code: 'invalid_config' });
    expect(read(file, "SELECT name FROM sqlite_schema WHERE name LIKE 'shop%'")).toEqual([]);
    await land(file, requestOf(streamOf()), [[1, 'a']]);
    const other = await failure(destination.replayer({ ...request, definition: 'two' }));
    expect(other).toMatchObject({ code: 'invalid_config', hint: expect.stringContaining('sync_connector') });
    expect(read(file, 'SELECT epoch, build_run FROM _millrace_cursors')).toEqual([[1n, null]]);
  });

  it('of an appended row is recognised when the row is read again, and the other way round', async () => {
    const file = freshFile();
    const log = streamOf({ mode: 'append', name: 'log' });
    const at = (run: number) => requestOf(log, { runId: `run${run}`, epoch: run });
    const overlap = { from: 0, reset: false };
    await withWriter(file, at(1), (writer) =>
      writer.commit({ ...batchOf([[1, 'a']], 'p', overlap), rejects: [bad(2, 'b'), bad(3, 'c')] }),
    );
    // The mapping was mended, and the boundary is read again: one of the two lands by itself.
    await withWriter(file, at(2), (writer) =>
      writer.commit(
        batchOf(
          [
            [1, 'a'],
            [2, 'b'],
          ],
          'p',
          overlap,
        ),
      ),
    );
    expect(await replay(file, log, 3)).toEqual({ replayed: 2, still_rejected: 0 });
    await withWriter(file, at(4), (writer) =>
      writer.commit(
        batchOf(
          [
            [1, 'a'],
            [2, 'b'],
            [3, 'c'],
          ],
          'p',
          overlap,
        ),
      ),
    );
    expect(read(file, 'SELECT id, v FROM shop__log ORDER BY id')).toEqual([
      [1n, 'a'],
      [2n, 'b'],
      [3n, 'c'],
    ]);
    expect(read(file, 'SELECT row_count FROM _millrace_cursors')).toEqual([[3n]]);
  });
});

describe('a file of version 1', () => {
  /** As version 1 made it, and as its rejects lie in it: each meeting a row. */
  function firstVersion(): string {
    const file = freshFile();
    const db = new DatabaseSync(file);
    db.exec(`
      CREATE TABLE _millrace_cursors (
        connector TEXT NOT NULL, stream TEXT NOT NULL, table_name TEXT NOT NULL, mode TEXT NOT NULL, primary_key TEXT NOT NULL,
        definition TEXT NOT NULL, epoch INTEGER NOT NULL, cursor TEXT, row_count INTEGER NOT NULL DEFAULT 0, landed INTEGER NOT NULL DEFAULT 0,
        last_synced_at TEXT, build_run TEXT, build_layout TEXT, build_cursor TEXT, build_rows INTEGER NOT NULL DEFAULT 0,
        build_rejects INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (connector, stream)) WITHOUT ROWID;
      CREATE TABLE _millrace_columns (
        connector TEXT NOT NULL, stream TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, landed_as TEXT NOT NULL,
        storage TEXT NOT NULL, type TEXT NOT NULL, source_type TEXT NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (connector, stream, landed_as)) WITHOUT ROWID;
      CREATE TABLE _millrace_rejects (
        id INTEGER PRIMARY KEY, connector TEXT NOT NULL, stream TEXT NOT NULL, run_id TEXT NOT NULL, row TEXT NOT NULL,
        reason TEXT NOT NULL, rejected_at TEXT NOT NULL, of_build INTEGER NOT NULL DEFAULT 0);
      CREATE INDEX _millrace_rejects_by_stream ON _millrace_rejects (connector, stream);
      CREATE TABLE _millrace_loads (
        run_id TEXT NOT NULL, connector TEXT NOT NULL, stream TEXT NOT NULL, rows_read INTEGER NOT NULL, rows_written INTEGER NOT NULL,
        rows_deleted INTEGER NOT NULL, rejects INTEGER NOT NULL, bytes_read INTEGER NOT NULL, first_at TEXT NOT NULL, last_at TEXT NOT NULL,
        PRIMARY KEY (connector, stream, run_id)) WITHOUT ROWID;
      CREATE TABLE _millrace_overlap (
        connector TEXT NOT NULL, stream TEXT NOT NULL, part INTEGER NOT NULL, hash BLOB NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (connector, stream, part, hash)) WITHOUT ROWID;
      PRAGMA user_version = 1;
      CREATE TABLE shop__orders (id INTEGER PRIMARY KEY, v TEXT, _mr_run TEXT, _mr_deleted_at TEXT);
      INSERT INTO shop__orders VALUES (1, 'a', 'run1', NULL);
      INSERT INTO _millrace_cursors (connector, stream, table_name, mode, primary_key, definition, epoch, cursor, row_count, landed)
        VALUES ('shop', 'orders', 'shop__orders', 'merge', '["id"]', 'one', 1, 'c1', 1, 1);
      INSERT INTO _millrace_columns VALUES ('shop', 'orders', 0, 'id', 'id', 'INTEGER', 'integer', 'bigint', 0),
        ('shop', 'orders', 1, 'v', 'v', 'TEXT', 'text', 'text', 0);
      INSERT INTO _millrace_rejects (connector, stream, run_id, row, reason, rejected_at, of_build) VALUES
        ('shop', 'orders', 'run1', '{"id":2,"v":"x"}', 'no', '2026-01-01T00:00:00.000Z', 0),
        ('shop', 'orders', 'run2', '{"id":2,"v":"x"}', 'no', '2026-01-02T00:00:00.000Z', 0),
        ('shop', 'orders', 'run2', '{"id":1,"v":"older?"}', 'no', '2026-01-02T00:00:00.000Z', 0),
        ('shop', 'orders', 'run2', '{"id":3,"v":"xxx… (70000 characters)"}', 'no', '2026-01-02T00:00:00.000Z', 0)`);
    db.close();
    return file;
  }

  it('shows its rejects at once, counted', async () => {
    const file = firstVersion();
    await using warehouse = openWarehouse(file);
    expect(await warehouse.rejects({ connector: 'shop' }, { limit: 9 })).toEqual({
      items: [
        {
          id: 1,
          stream: 'orders',
          run_id: 'run2',
          reason: 'no',
          row: '{"id":2,"v":"x"}',
          count: 2,
          first_seen: '2026-01-01T00:00:00.000Z',
          last_seen: '2026-01-02T00:00:00.000Z',
        },
        expect.objectContaining({ id: 3, count: 1 }),
        expect.objectContaining({ id: 4, count: 1, cut: true }),
      ],
    });
    expect(await warehouse.rejectCounts('shop')).toEqual([
      { connector: 'shop', stream: 'orders', kept: 3, not_kept: 0 },
    ]);
  });

  it('goes on where it was, and its rejects never overwrite what has landed', async () => {
    const file = firstVersion();
    await withWriter(file, requestOf(streamOf(), { epoch: 2, runId: 'run3' }), async (writer) => {
      expect(writer.cursor).toBe('c1');
      expect(writer.hasRejects).toBe(true);
    });
    expect(read(file, 'PRAGMA user_version')).toEqual([[4n]]);
    write(file, 'DELETE FROM _millrace_rejects WHERE cut');
    expect(await replay(file)).toEqual({ replayed: 1, still_rejected: 1 });
    expect(read(file, orders)).toEqual([
      [1n, 'a'],
      [2n, 'x'],
    ]);
  });
});
