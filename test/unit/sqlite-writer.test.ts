import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Value } from '../../src/core/types.ts';
import { openSqliteDestination } from '../../src/destinations/index.ts';
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

const orders = 'SELECT id, v, _mr_run FROM shop__orders ORDER BY id';

describe('the landed table', () => {
  it('holds every logical type in its stated form', async () => {
    const file = freshFile();
    const columns = [
      column('id', 'integer'),
      column('flag', 'boolean'),
      column('f', 'float'),
      column('d', 'decimal'),
      column('t', 'text'),
      column('day', 'date'),
      column('ts', 'timestamp'),
      column('tz', 'timestamptz'),
      column('j', 'json'),
      column('b', 'bytes'),
    ];
    const row = [
      9223372036854775807n,
      true,
      0.1,
      '12345678901234567890.10',
      'é😀\n"\'',
      '2026-02-28',
      '2026-02-28T12:00:00.000001',
      '0044-03-15 BC',
      '{"a":12345678901234567890}',
      new Uint8Array([0, 255]),
    ];
    await land(file, requestOf(streamOf({ columns })), [
      row,
      [-9223372036854775808n, false, 'NaN', 'NaN', '', 'infinity', '', '', '[]', new Uint8Array()],
      [1, null, '-Infinity', null, null, null, null, null, null, null],
      [2, true, 5, '5', '5', '5', '5', '5', '5', new Uint8Array([5])],
    ]);
    const names = columns.map(({ name }) => name);
    const shown = names.map((name) => `"${name}", typeof("${name}")`).join(', ');
    const found = read(file, `SELECT ${shown} FROM shop__orders ORDER BY id`);
    expect(found).toEqual([
      [
        -9223372036854775808n,
        'integer',
        0n,
        'integer',
        'NaN',
        'text',
        'NaN',
        'text',
        '',
        'text',
        'infinity',
        'text',
        '',
        'text',
        '',
        'text',
        '[]',
        'text',
        new Uint8Array(0),
        'blob',
      ],
      [1n, 'integer', null, 'null', '-Infinity', 'text', ...Array(7).fill([null, 'null']).flat()],
      [
        2n,
        'integer',
        1n,
        'integer',
        5,
        'real',
        '5',
        'text',
        '5',
        'text',
        '5',
        'text',
        '5',
        'text',
        '5',
        'text',
        '5',
        'text',
        Uint8Array.of(5),
        'blob',
      ],
      [
        9223372036854775807n,
        'integer',
        1n,
        'integer',
        0.1,
        'real',
        '12345678901234567890.10',
        'text',
        'é😀\n"\'',
        'text',
        '2026-02-28',
        'text',
        '2026-02-28T12:00:00.000001',
        'text',
        '0044-03-15 BC',
        'text',
        '{"a":12345678901234567890}',
        'text',
        Uint8Array.of(0, 255),
        'blob',
      ],
    ]);
  });

  it('has the stated columns, and a key in the file itself', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), []);
    await land(file, requestOf(streamOf({ name: 'pair', key: ['v', 'id'] })), []);
    await land(file, requestOf(streamOf({ name: 'log', mode: 'append' })), []);
    await land(file, requestOf(streamOf({ name: 'copy', mode: 'replace', key: [] })), []);
    const columnsOf = (table: string) =>
      read(file, 'SELECT name, type, "notnull", pk FROM pragma_table_info(?)', table).map((row) =>
        row.join(' '),
      );
    expect(columnsOf('shop__orders')).toEqual([
      'id INTEGER 0 1',
      'v TEXT 0 0',
      '_mr_run TEXT 0 0',
      '_mr_deleted_at TEXT 0 0',
    ]);
    expect(columnsOf('shop__pair')).toEqual([
      'id INTEGER 1 2',
      'v TEXT 1 1',
      '_mr_run TEXT 0 0',
      '_mr_deleted_at TEXT 0 0',
    ]);
    expect(columnsOf('shop__log')).toEqual(['id INTEGER 0 0', 'v TEXT 0 0', '_mr_run TEXT 0 0']);
    expect(columnsOf('shop__copy')).toEqual(['id INTEGER 0 0', 'v TEXT 0 0', '_mr_run TEXT 0 0']);
  });

  it('takes very odd names, and says where one had to be changed', async () => {
    const file = freshFile();
    const names = [
      'A',
      'a',
      'a_2',
      '_mr_run',
      '_MR_DELETED_AT',
      'rowid',
      'oid',
      'se"le\'ct',
      'x.y',
      '😀',
      ' ',
      'É',
      'é',
      'select',
      '"',
    ];
    const columns = [column('id', 'integer'), ...names.map((name) => column(name, 'text'))];
    const { changes } = await land(file, requestOf(streamOf({ columns })), [[1, ...names]]);
    const landed = read(file, "SELECT name FROM pragma_table_info('shop__orders')").map(([name]) =>
      String(name),
    );
    expect(new Set(landed.map((name) => name.toLowerCase().replace('É', 'é'))).size).toBeGreaterThanOrEqual(
      landed.length - 1,
    );
    for (const name of names) {
      const landedAs = landed.find(
        (one) => read(file, `SELECT "${one.replaceAll('"', '""')}" FROM shop__orders`)[0]?.[0] === name,
      );
      expect(landedAs, name).toBeDefined();
      if (landedAs !== name) expect(changes.join('\n')).toContain(`"${name}" lands as "${landedAs}"`);
    }
    expect(landed.slice(-2)).toEqual(['_mr_run', '_mr_deleted_at']);
    expect(landed).toContain('A');
    // A second run finds the same names again.
    await land(file, requestOf(streamOf({ columns }), { epoch: 2, runId: 'run2' }), [[2, ...names]]);
    const values = read(file, 'SELECT * FROM shop__orders ORDER BY id').map((row) => row.slice(1, -2));
    expect(values).toEqual([names, names]);
  });

  it('takes 1,600 columns, unchanged, changed and new', async () => {
    const file = freshFile();
    const columns = [
      column('id', 'integer'),
      ...Array.from({ length: 1599 }, (_, index) => column(`c${index}`, index % 2 ? 'integer' : 'text')),
    ];
    const row = (id: number, last: Value): Value[] => [
      id,
      ...Array.from({ length: 1598 }, (_, index) => (index % 2 ? index : `v${index}`)),
      last,
    ];
    const stream = streamOf({ columns });
    expect(await land(file, requestOf(stream), [row(1, 'a'), row(2, 'b'), row(3, 'c')])).toMatchObject({
      written: 3,
    });
    expect(
      await land(file, requestOf(stream, { runId: 'run2' }), [row(1, 'a'), row(2, 'x'), row(4, 'd')]),
    ).toMatchObject({ written: 2 });
    expect(read(file, 'SELECT id, c1597, c1598 FROM shop__orders ORDER BY id')).toEqual([
      [1n, 1597n, 'a'],
      [2n, 1597n, 'x'],
      [3n, 1597n, 'c'],
      [4n, 1597n, 'd'],
    ]);
  });

  it('of one stream is never the table of another', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf({ name: 'b__c' }), { connector: 'a' }), [[1, 'first']]);
    const error = await failure(
      land(file, requestOf(streamOf({ name: 'c' }), { connector: 'a__b' }), [[2, 'second']]),
    ).catch(() => null);
    const tables = read(
      file,
      'SELECT table_name, connector FROM _millrace_cursors WHERE landed = 1 ORDER BY connector',
    );
    expect(read(file, 'SELECT id, v FROM a__b__c')).toEqual([[1n, 'first']]);
    if (error === null) expect(new Set(tables.map(([name]) => name)).size).toBe(2);
    else expect(error.hint.length).toBeGreaterThan(20);
    await land(file, requestOf(streamOf({ name: 'Orders' })), [[1, 'upper']]);
    await land(file, requestOf(streamOf({ name: 'orders' })), [[1, 'lower']]).catch(() => undefined);
    expect(read(file, 'SELECT v FROM "shop__Orders"')).toEqual([['upper']]);
  });

  it('does not take the place of a table that somebody else made', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf({ name: 'other' })), []);
    write(file, "CREATE TABLE shop__orders (mine); INSERT INTO shop__orders VALUES ('precious')");
    await land(file, requestOf(streamOf()), [[1, 'one']]).catch(() => undefined);
    expect(
      read(file, "SELECT count(*) FROM sqlite_schema WHERE name = 'shop__orders' AND sql LIKE '%mine%'"),
    ).toEqual([[1n]]);
    expect(read(file, 'SELECT mine FROM shop__orders')).toEqual([['precious']]);
  });
});

describe('merge', () => {
  it('writes and counts only what is new or different', async () => {
    const file = freshFile();
    const stream = streamOf();
    expect(
      await land(file, requestOf(stream), [
        [1, 'a'],
        [2, 'b'],
        [3, null],
      ]),
    ).toMatchObject({ written: 3 });
    expect(
      await land(file, requestOf(stream, { runId: 'run2' }), [
        [1, 'a'],
        [2, 'x'],
        [3, null],
        [4, 'd'],
      ]),
    ).toMatchObject({ written: 2 });
    expect(read(file, orders)).toEqual([
      [1n, 'a', 'run1'],
      [2n, 'x', 'run2'],
      [3n, null, 'run1'],
      [4n, 'd', 'run2'],
    ]);
    expect(read(file, 'SELECT run_id, rows_read, rows_written FROM _millrace_loads ORDER BY run_id')).toEqual(
      [
        ['run1', 3n, 3n],
        ['run2', 4n, 2n],
      ],
    );
  });

  it('keeps the last of rows with the same key, within a batch and over batches', async () => {
    const file = freshFile();
    await land(
      file,
      requestOf(streamOf()),
      Array.from({ length: 105 }, (_, index) => [index % 7, `v${index}`]),
    );
    expect(read(file, 'SELECT id, v FROM shop__orders ORDER BY id')).toEqual(
      Array.from({ length: 7 }, (_, id) => [BigInt(id), `v${98 + id}`]),
    );
    await withWriter(file, requestOf(streamOf()), async (writer) => expect(await writer.liveRows()).toBe(7));
  });

  it('commits the position with the rows, and counts go on in a second attempt', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf()), async (writer) => {
      expect(writer.cursor).toBeNull();
      await writer.commit(batchOf([[1, 'a']], 'c1'));
      expect(writer.cursor).toBe('c1');
    });
    await withWriter(file, requestOf(streamOf(), { epoch: 2 }), async (writer) => {
      expect(writer.cursor).toBe('c1');
      expect(writer.counts).toMatchObject({ rows_read: 1, rows_written: 1, rejects: 0 });
      await writer.commit(batchOf([], 'c2'));
      expect(writer.cursor).toBe('c2');
    });
    await withWriter(file, requestOf(streamOf(), { epoch: 3, runId: 'run2' }), async (writer) => {
      expect(writer.cursor).toBe('c2');
      expect(writer.counts).toMatchObject({ rows_read: 0, rows_written: 0 });
    });
  });

  it('begins again when somebody removed the table', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), [[1, 'a']]);
    write(file, 'DROP TABLE shop__orders');
    await withWriter(file, requestOf(streamOf()), async (writer) => {
      expect(writer.cursor).toBeNull();
      expect(await writer.liveRows()).toBe(0);
      await writer.commit(batchOf([[1, 'a']], 'c'));
    });
    expect(read(file, orders)).toHaveLength(1);
  });
});

describe('a row that cannot be stored', () => {
  it('is kept with its reason, and the others land', async () => {
    const file = freshFile();
    const rows: Value[][] = Array.from({ length: 50 }, (_, index) => [index, `v${index}`]);
    rows[7] = [null, 'no key'];
    rows[23] = [2n ** 64n, 'too big'];
    rows[41] = ['not a number', 'wrong'];
    rows[49] = [1.5, 'half'];
    expect(await land(file, requestOf(streamOf()), rows)).toMatchObject({ written: 46, rejects: 4 });
    const rejects = read(file, 'SELECT row, reason, run_id FROM _millrace_rejects ORDER BY id').map(
      ([row, reason]) => `${row} ${reason}`,
    );
    expect(rejects).toHaveLength(4);
    expect(rejects.join('\n')).toMatch(/"no key".*NULL/);
    expect(rejects.join('\n')).toMatch(/18446744073709551616.*64 bit/);
    expect(rejects.join('\n')).toMatch(/"not a number".*/);
    expect(read(file, 'SELECT count(*) FROM shop__orders')).toEqual([[46n]]);
    expect(read(file, 'SELECT rejects, rows_read FROM _millrace_loads')).toEqual([[4n, 50n]]);
  });

  it('may be larger than SQLite or a text can be: its reject is cut, and the others land', async () => {
    const file = freshFile();
    const stream = streamOf({
      columns: [column('id', 'integer'), column('b', 'bytes'), column('t', 'text')],
    });
    const huge = new Uint8Array(1_000_000_001);
    const long = 'x'.repeat(200_000);
    expect(
      await land(file, requestOf(stream), [
        [1, null, 'a'],
        [2, huge, long],
        [null, huge.subarray(0, 500_000_000), '😀'.repeat(100_000)],
        [3, null, 'c'],
      ]),
    ).toMatchObject({ written: 2, rejects: 2 });
    const rejects = read(file, 'SELECT row, reason FROM _millrace_rejects ORDER BY id').map(([row]) =>
      String(row),
    );
    expect(Math.max(...rejects.map((row) => row.length))).toBeLessThan(200_000);
    expect(rejects.join()).toMatch(/1000000001 bytes/);
    expect(rejects.join()).toMatch(/200000 characters/);
    for (const row of rejects) expect(Object.keys(JSON.parse(row))).toEqual(['id', 'b', 't']);
  }, 60_000);

  it('that the source itself keeps back lands beside its batch, or not at all', async () => {
    const file = freshFile();
    const request = requestOf(streamOf());
    await withWriter(file, request, async (writer) => {
      expect(writer.hasRejects).toBe(false);
      const rejects = [{ row: '{"id":2,"v":"x"}', reason: 'no calendar has it' }];
      expect(await writer.commit({ ...batchOf([[1, 'a']], 'c1'), rejects })).toEqual({
        written: 1,
        rejects: 1,
      });
      expect(writer.hasRejects).toBe(true);
      // A batch of nothing but rejects moves the position too.
      await writer.commit({ ...batchOf([], 'c2'), rejects });
      await withWriter(file, { ...request, runId: 'run2', epoch: 2 }, async (next) => {
        expect(next.hasRejects).toBe(true);
        const late = await failure(writer.commit({ ...batchOf([], 'c3'), rejects }));
        expect(late.code).toBe('run_lost');
      });
    });
    expect(read(file, 'SELECT run_id, row, reason, count FROM _millrace_rejects')).toEqual([
      ['run1', '{"id":2,"v":"x"}', 'no calendar has it', 2n],
    ]);
    expect(read(file, 'SELECT rows_read, rows_written, rejects FROM _millrace_loads')).toEqual([
      [3n, 1n, 2n],
    ]);
    expect(read(file, 'SELECT cursor FROM _millrace_cursors')).toEqual([['c2']]);
  });

  it('with a NULL in a key of several columns is a reject too', async () => {
    const file = freshFile();
    const stream = streamOf({ key: ['v', 'id'] });
    expect(
      await land(file, requestOf(stream), [
        [1, 'a'],
        [1, null],
        [null, 'a'],
      ]),
    ).toMatchObject({ written: 1, rejects: 2 });
  });

  it('does not fill the file: a bounded number is kept, all are counted', async () => {
    const file = freshFile();
    await withWriter(file, requestOf(streamOf()), async (writer) => {
      for (let batch = 0; batch < 12; batch += 1) {
        await writer.commit(
          batchOf(
            Array.from({ length: 1000 }, (_, row) => [null, `${batch}.${row}`]),
            `c${batch}`,
          ),
        );
      }
      await writer.finish({ expectedRows: null, minimumShare: null });
    });
    expect(read(file, 'SELECT count(*) FROM _millrace_rejects')).toEqual([[10_000n]]);
    // The first ones: they have waited longest.
    expect(read(file, "SELECT count(*) FROM _millrace_rejects WHERE row LIKE '%0.0%'")).not.toEqual([[0n]]);
    expect(read(file, 'SELECT rejects_unkept FROM _millrace_cursors')).toEqual([[2_000n]]);
    expect(read(file, 'SELECT rejects FROM _millrace_loads')).toEqual([[12_000n]]);
  });
});

describe('what is kept about runs', () => {
  it('is bounded: the newest thousand of a stream', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf({ name: 'other' })), [[1, 'a']]);
    write(
      file,
      `WITH RECURSIVE n(i) AS (VALUES (10000) UNION ALL SELECT i + 1 FROM n LIMIT 1500)
       INSERT INTO _millrace_loads (run_id, connector, stream, rows_read, rows_written, rows_deleted, rejects, bytes_read, first_at, last_at)
       SELECT 'run' || i, 'shop', 'orders', 1, 1, 0, 0, 1, '', '' FROM n`,
    );
    await land(file, requestOf(streamOf(), { runId: 'run20000' }), [[1, 'a']]);
    expect(
      read(
        file,
        'SELECT stream, count(*), min(run_id), max(run_id) FROM _millrace_loads GROUP BY stream ORDER BY stream',
      ),
    ).toEqual([
      ['orders', 1000n, 'run10501', 'run20000'],
      ['other', 1n, 'run1', 'run1'],
    ]);
  });
});

describe('the fence', () => {
  it('refuses an older epoch at the door and a stale one at the commit, and writes nothing', async () => {
    const file = freshFile();
    await using destination = openSqliteDestination(file);
    await using old = await destination.writer(requestOf(streamOf(), { epoch: 1 }));
    await old.commit(batchOf([[1, 'a']], 'c1'));
    await using other = openSqliteDestination(file);
    await using young = await other.writer(requestOf(streamOf(), { epoch: 2, runId: 'run2' }));
    expect(young.cursor).toBe('c1');
    for (const work of [
      old.commit(batchOf([[2, 'zombie']], 'c2')),
      old.markDeleted(1),
      old.finish({ expectedRows: null, minimumShare: null }),
      destination.writer(requestOf(streamOf(), { epoch: 1 })),
    ]) {
      expect(await failure(work)).toMatchObject({ code: 'run_lost' });
    }
    await young.commit(batchOf([[3, 'c']], 'c3'));
    expect(read(file, orders)).toEqual([
      [1n, 'a', 'run1'],
      [3n, 'c', 'run2'],
    ]);
    expect(read(file, 'SELECT cursor FROM _millrace_cursors')).toEqual([['c3']]);
  });

  it('shuts a rebuild out as well', async () => {
    const file = freshFile();
    const stream = streamOf({ mode: 'replace' });
    await land(file, requestOf(stream), [[1, 'a']]);
    await using destination = openSqliteDestination(file);
    await using old = await destination.writer(requestOf(stream, { epoch: 2 }));
    await old.commit(
      batchOf(
        [
          [1, 'zombie'],
          [2, 'zombie'],
        ],
        'z',
      ),
    );
    await land(file, requestOf(stream, { epoch: 3, runId: 'run3' }), [
      [1, 'b'],
      [9, 'c'],
    ]);
    expect(await failure(old.commit(batchOf([[3, 'zombie']], 'z')))).toMatchObject({ code: 'run_lost' });
    expect(await failure(old.finish({ expectedRows: null, minimumShare: null }))).toMatchObject({
      code: 'run_lost',
    });
    expect(read(file, orders)).toEqual([
      [1n, 'b', 'run3'],
      [9n, 'c', 'run3'],
    ]);
  });
});

describe('a file that cannot be used', () => {
  it.each([
    [
      'is no database',
      (file: string) =>
        writeFileSync(
          file,
          'hello, this is a text file, and long enough to be read as a header of a database'.repeat(3),
        ),
      /not a SQLite database|damaged/,
    ],
    ['belongs to a newer version', (file: string) => write(file, 'PRAGMA user_version = 99'), /newer/],
    ['is a folder', (file: string) => mkdirSync(file), /cannot be opened/],
    ['lies in what is no folder', (file: string) => writeFileSync(`${file}x`, ''), /./],
  ])('%s: says so, and leaves it', async (_, spoil, message) => {
    const file = freshFile();
    spoil(file);
    const error = await failure(
      (async () => {
        await using destination = openSqliteDestination(
          _ === 'lies in what is no folder' ? `${file}x/warehouse.db` : file,
        );
        await destination.writer(requestOf(streamOf()));
      })(),
    );
    expect(['data_dir_unusable', 'destination_failed']).toContain(error.code);
    expect(error.message).toMatch(message);
    expect(error.hint.length).toBeGreaterThan(20);
  });
});
