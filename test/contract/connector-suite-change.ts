import { expect, test } from 'vitest';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Stream } from '../../src/core/model.ts';
import { type Asked, numbered, stamp } from './connector-questions.ts';
import type { Change, Row, TableSpec, TestTable } from './connector-subject.ts';
import { calm, failure, readAll, rowsOf } from './reading-support.ts';

const PAD = 'x'.repeat(230);

interface ShapeChange {
  readonly what: string;
  readonly change: Change;
  /** Code of a reading that was chosen before it and begins after it. */
  readonly said: 'schema_changed' | 'not_found_at_source' | null;
  /** The columns after it; null when the stream has to be declared anew. */
  readonly columns: readonly string[] | null;
  /** Row 1 after it. */
  readonly row: Row;
}

const changes: readonly ShapeChange[] = [
  {
    what: 'a column is added',
    change: { add: 'extra', kind: 'integer', value: 7 },
    said: null,
    columns: ['id', 'v', 'd', 'at', 'pad', 'extra'],
    row: [1, 2, '3.0000', stamp(1), PAD, 7],
  },
  {
    what: 'a column is dropped',
    change: { drop: 'v' },
    said: 'schema_changed',
    columns: ['id', 'd', 'at', 'pad'],
    row: [1, '3.0000', stamp(1), PAD],
  },
  {
    what: 'a column is renamed',
    change: { rename: 'v', to: 'w' },
    said: 'schema_changed',
    columns: ['id', 'w', 'd', 'at', 'pad'],
    row: [1, 2, '3.0000', stamp(1), PAD],
  },
  {
    what: 'a column has another type',
    change: { retype: 'v', to: 'text' },
    said: 'schema_changed',
    columns: ['id', 'v', 'd', 'at', 'pad'],
    row: [1, '2', '3.0000', stamp(1), PAD],
  },
  {
    what: 'a column has another scale',
    change: { retype: 'd', to: 'big' },
    said: 'schema_changed',
    columns: ['id', 'v', 'd', 'at', 'pad'],
    row: [1, 2, 3, stamp(1), PAD],
  },
  {
    what: 'the table is dropped',
    change: { table: 'dropped' },
    said: 'not_found_at_source',
    columns: null,
    row: [],
  },
  {
    what: 'the table is renamed',
    change: { table: 'renamed' },
    said: 'not_found_at_source',
    columns: null,
    row: [],
  },
];

/** A source's tables change when they like: between two runs, between choice and read, while rows are flowing. */
export function changeQuestions({ subject, source }: Asked): void {
  let count = 0;

  async function start(rows: number): Promise<{ readonly table: TestTable; readonly stream: Stream }> {
    const spec: TableSpec = {
      name: `shape${++count}`,
      columns: { id: 'integer', v: 'integer', d: 'decimal', at: 'stamp', pad: 'text' },
      key: ['id'],
      indexed: ['at'],
    };
    const table = await subject().make(
      spec,
      numbered(rows, (i) => [i, i * 2, `${i * 3}.0000`, stamp(i), PAD]),
    );
    return { table, stream: { name: 'shape', table: table.ref, cursor: 'at' } };
  }

  /** The next runs, wherever the last position stands: the new shape, or what is missing, said. */
  async function goesOn(stream: Stream, from: string | null, { columns, row }: ShapeChange): Promise<void> {
    if (columns === null) {
      expect(await failure(readAll(source(), stream, from))).toMatchObject({
        code: 'not_found_at_source',
        hint: expect.stringMatching(/\w/),
      });
      return;
    }
    const rest = await readAll(source(), stream, from);
    expect(rest.stream.columns.map(({ name }) => name)).toEqual(columns);
    const whole = await readAll(source(), stream);
    expect(whole.rows[0]).toEqual(row);
  }

  test.each(changes)(
    '$what between two runs: the next one has the new shape, or says what is missing',
    async (change) => {
      const { table, stream } = await start(10);
      const { cursor } = await readAll(source(), stream);
      await table.change(change.change);
      await goesOn(stream, cursor, change);
    },
  );

  test.each(changes)(
    '$what between the choice and the read: said, never read as something else',
    async (change) => {
      const { table, stream } = await start(10);
      const resolved = await source().resolve(stream, calm);
      await table.change(change.change);
      const outcome = await source()
        .read(resolved, null, calm)
        .then(async (reading) => {
          await using _ = reading;
          const rows: Row[] = [];
          for await (const batch of reading.batches) rows.push(...rowsOf(batch, resolved.columns.length));
          return rows;
        })
        .catch((error: MillraceError) => error.code);
      // A column more is no business of a reading that has not asked for it.
      const asChosen = numbered(10, (i) => [i, i * 2, `${i * 3}.0000`, stamp(i), PAD]);
      expect(outcome).toEqual(change.said ?? asChosen);
      await goesOn(stream, null, change);
    },
  );

  test.each(changes)(
    '$what while rows are flowing: every row that came is as it was chosen',
    async (change) => {
      const { table, stream } = await start(6000);
      const resolved = await source().resolve(stream, calm);
      const rows: Row[] = [];
      let from: string | null = null;
      let changing: Promise<unknown> = Promise.resolve();
      const read = async (): Promise<void> => {
        await using reading = await source().read(resolved, null, calm);
        for await (const batch of reading.batches) {
          rows.push(...rowsOf(batch, resolved.columns.length));
          // Waits for the reading, or does not: that is the server's affair.
          if (from === null) changing = table.change(change.change);
          from = batch.cursor;
          await new Promise((settle) => setTimeout(settle, 20));
        }
      };
      const error = await read().then(
        () => undefined,
        (refused: MillraceError) => refused,
      );
      await changing;
      expect(rows).toEqual(numbered(rows.length, (i) => [i, i * 2, `${i * 3}.0000`, stamp(i), PAD]));
      if (error === undefined) expect(rows).toHaveLength(6000);
      else expect(error.code).toMatch(/^(schema_changed|not_found_at_source)$/);
      await goesOn(stream, from, change);
    },
  );

  test('a table dropped and made again under its name: the position does not mislead', async () => {
    const { table, stream } = await start(10);
    const { cursor } = await readAll(source(), stream);
    await table.change({ table: 'dropped' });
    const again = await subject().make(
      { name: table.name, columns: { pad: 'text', id: 'integer', at: 'stamp' }, key: ['id'] },
      numbered(3, (i) => ['new', i, stamp(1000 + i)]),
    );
    const next = await readAll(source(), { ...stream, table: again.ref }, cursor);
    expect(next.rows).toEqual(numbered(3, (i) => ['new', i, stamp(1000 + i)]));
    expect(next.count).toBe(3);
  });

  test('another primary key: the position is for another one, everything is read again, and said', async () => {
    const table = await subject().make(
      { name: 'rekeyed', columns: { a: 'integer', b: 'integer', at: 'stamp' } },
      numbered(10, (i) => [i, i, stamp(i)]),
    );
    const stream: Stream = { name: 's', table: table.ref, cursor: 'at', mode: 'merge' };
    const first = await readAll(source(), { ...stream, primary_key: ['a'] });
    const next = await readAll(source(), { ...stream, primary_key: ['a', 'b'] }, first.cursor);
    expect(next.rows).toHaveLength(10);
    expect(next.warnings).toEqual([expect.stringContaining('everything is read again')]);
  });
}
