import { describe, expect, it } from 'vitest';
import type { LogicalType, Value } from '../../src/core/types.ts';
import { openWarehouse } from '../../src/destinations/index.ts';
import {
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

/** Values of every logical type, the awkward ones among them. */
const samples: Readonly<Record<LogicalType, readonly Value[]>> = {
  boolean: [true, false],
  integer: [5, -1, 0, 9007199254740993n, -9223372036854775808n],
  float: [0.1, 5, 1e300, 5e-324, 123456789.12345679, 'NaN', '-Infinity'],
  decimal: ['5', '5.00', '12345678901234567890.123456789', 'NaN'],
  text: ['5', '5.0', '007', ' 5 ', '', '1e3', 'é😀'],
  date: ['2026-01-02', 'infinity'],
  timestamp: ['2026-01-02T03:04:05.000006'],
  timestamptz: ['2026-01-02T03:04:05.000006Z'],
  json: ['5', '"5"', '{"a":12345678901234567890}', 'true'],
  bytes: [new Uint8Array([0x35]), new Uint8Array(), new Uint8Array([0, 255])],
};
const types = Object.keys(samples) as LogicalType[];

describe('a column whose type changes at the source', () => {
  it.each(types.flatMap((before) => types.map((after) => [before, after] as const)))(
    '%s to %s: no value is another one afterwards',
    async (before, after) => {
      const file = freshFile();
      const was = streamOf({ columns: [column('id', 'integer'), column('v', before)] });
      const is = streamOf({ columns: [column('id', 'integer'), column('v', after)] });
      const old = [...samples[before], null].map((value, id) => [id, value]);
      const fresh = [...samples[after], null].map((value, id) => [100 + id, value]);

      await land(file, requestOf(was), old);
      const { written, rejects, changes } = await land(file, requestOf(is, { epoch: 2 }), fresh);

      expect(written + rejects).toBe(fresh.length);
      expect(rejects).toBe(0);
      if (before === after) expect(changes).toEqual([]);
      else expect(changes.join()).toContain('"v"');
      const landed = new Map(
        read(file, 'SELECT id, v FROM shop__orders').map(([id, value]) => [Number(id), value]),
      );
      for (const [id, value] of [...old, ...fresh] as [number, Value][]) {
        expect(shownAs(value), `${before} ${String(value)}`).toContain(shown(landed.get(id)));
      }
      // Read again, nothing has changed: what was converted compares equal to itself.
      expect(await land(file, requestOf(is, { epoch: 3 }), fresh)).toMatchObject({ written: 0, rejects: 0 });
      // And back.
      await land(file, requestOf(was, { epoch: 4 }), old);
      for (const [id, value] of read(file, 'SELECT id, v FROM shop__orders WHERE id < 100')) {
        expect(shownAs(old[Number(id)]?.[1] ?? null)).toContain(shown(value));
      }
      expect(await land(file, requestOf(was, { epoch: 5 }), old)).toMatchObject({ written: 0, rejects: 0 });
    },
  );

  it('is described as what it is here, not as what it is there', async () => {
    const file = freshFile();
    const typed = (type: LogicalType) => streamOf({ columns: [column('id', 'integer'), column('v', type)] });
    await land(file, requestOf(typed('integer')), [[1, 9007199254740993n]]);
    await land(file, requestOf(typed('float'), { epoch: 2 }), [[2, 0.5]]);
    await using warehouse = openWarehouse(file);
    expect(warehouse.tables({})[0]?.columns).toEqual([
      { name: 'id', type: 'integer', source_type: 'integer' },
      { name: 'v', type: 'text', source_type: 'float' },
    ]);
  });

  it('takes views and indexes that somebody made along, and the key', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), [
      [1, 'a'],
      [2, 'b'],
    ]);
    write(file, 'CREATE VIEW latest AS SELECT max(length(v)) AS n FROM shop__orders');
    write(file, 'CREATE INDEX by_v ON shop__orders (v)');
    await land(
      file,
      requestOf(streamOf({ columns: [column('id', 'text'), column('v', 'text')] }), { epoch: 2 }),
      [['x', 'long']],
    );
    expect(read(file, 'SELECT n FROM latest')).toEqual([[4n]]);
    expect(read(file, 'SELECT id, v FROM shop__orders ORDER BY id')).toEqual([
      ['1', 'a'],
      ['2', 'b'],
      ['x', 'long'],
    ]);
    expect(read(file, "SELECT name FROM sqlite_schema WHERE type = 'index' AND name = 'by_v'")).toHaveLength(
      1,
    );
    expect(
      await land(
        file,
        requestOf(streamOf({ columns: [column('id', 'text'), column('v', 'text')] }), {
          epoch: 3,
          runId: 'run3',
        }),
        [
          ['1', 'A'],
          ['3', 'c'],
        ],
      ),
    ).toMatchObject({ written: 2 });
    expect(read(file, 'SELECT count(*) FROM shop__orders')).toEqual([[4n]]);
  });
});

describe('columns that come and go', () => {
  const base = [column('id', 'integer'), column('v', 'text')];

  it('are added, kept when they are gone, and found again when they come back', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), [[1, 'a']]);
    const wider = streamOf({ columns: [column('n', 'integer'), ...base, column('V', 'text')] });
    const added = await land(file, requestOf(wider, { epoch: 2 }), [[7, 2, 'b', 'B']]);
    expect(added.changes.join('\n')).toMatch(/"n".*added/);
    expect(added.changes.join('\n')).toMatch(/"V" lands as "V_2"/);
    const gone = await land(file, requestOf(streamOf(), { epoch: 3 }), [[3, 'c']]);
    expect(gone.changes.join('\n')).toMatch(/"n".*gone/);
    expect((await land(file, requestOf(streamOf(), { epoch: 4 }), [])).changes).toEqual([]);
    await land(file, requestOf(wider, { epoch: 5 }), [[9, 4, 'd', 'D']]);
    expect(read(file, 'SELECT id, v, n, V_2 FROM shop__orders ORDER BY id')).toEqual([
      [1n, 'a', null, null],
      [2n, 'b', 7n, 'B'],
      [3n, 'c', null, null],
      [4n, 'd', 9n, 'D'],
    ]);
  });

  it('keep what a gone column held when its row is updated', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf({ columns: [...base, column('n', 'integer')] })), [[1, 'a', 7]]);
    expect(await land(file, requestOf(streamOf(), { epoch: 2 }), [[1, 'a']])).toMatchObject({ written: 0 });
    await land(file, requestOf(streamOf(), { epoch: 3 }), [[1, 'b']]);
    expect(read(file, 'SELECT v, n FROM shop__orders')).toEqual([['b', 7n]]);
  });

  it('may be so many that a table is full, which is said and mended by a full refresh', async () => {
    const file = freshFile();
    const many = (prefix: string) =>
      streamOf({
        columns: [
          column('id', 'integer'),
          ...Array.from({ length: 1500 }, (_, index) => column(`${prefix}${index}`, 'text')),
        ],
      });
    const row = [1, ...Array(1500).fill('x')];
    await land(file, requestOf(many('a')), [row]);
    const error = await failure(land(file, requestOf(many('b'), { epoch: 2 }), [row]));
    expect(error.hint).toContain('full_refresh');
    expect(read(file, 'SELECT count(*) FROM shop__orders WHERE a7 = ?', 'x')).toEqual([[1n]]);
    await land(file, requestOf(many('b'), { epoch: 3, rebuild: true }), [row]);
    expect(read(file, 'SELECT count(*) FROM shop__orders WHERE b7 = ?', 'x')).toEqual([[1n]]);
  });

  it('change nothing when the process ends before the transaction does', async () => {
    const file = freshFile();
    await land(file, requestOf(streamOf()), [[1, 'a']]);
    const before = read(file, 'SELECT * FROM _millrace_columns');
    await failure(
      withWriter(
        file,
        requestOf(streamOf({ columns: [column('id', 'integer'), column('w', 'text')], key: ['w'] }), {
          epoch: 2,
        }),
        async () => undefined,
      ),
    );
    expect(read(file, 'SELECT * FROM _millrace_columns')).toEqual(before);
    expect(read(file, 'SELECT id, v FROM shop__orders')).toEqual([[1n, 'a']]);
  });
});

/** What a landed value may look like as text without being another value. */
function shownAs(value: Value): readonly string[] {
  if (typeof value === 'boolean') return value ? ['true', '1'] : ['false', '0'];
  return [shown(value)];
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return 'NULL';
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString('hex')}`;
  return String(value);
}
