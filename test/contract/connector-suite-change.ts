import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import type { ErrorCode, MillraceError } from '../../src/core/errors.ts';
import type { Batch, Stream } from '../../src/core/model.ts';
import type { Expectations } from './connector-expecting.ts';
import { type Asked, numbered } from './connector-questions.ts';
import type { Change, Row, TableSpec, TestTable } from './connector-subject.ts';
import { calm, drain, failure, readAll, rowsOfAll } from './reading-support.ts';

const PAD = 'x'.repeat(230);

interface ShapeChange {
  readonly what: string;
  readonly change: Change;
  /** What a reading that was chosen before it shows after it, by how the subject knows its columns. */
  readonly meanwhile: Readonly<Record<Expectations['columns'], Meanwhile>>;
  /** The columns after it; null when the stream has to be declared anew. */
  readonly columns: readonly string[] | null;
  /** The `i`-th row after it, without its moment. */
  readonly row: (i: number) => Row;
}

/** An error's code, or the `i`-th row, without its moment. */
type Meanwhile = ErrorCode | ((i: number) => Row);

const asChosen = (i: number): Row => [i, i * 2, `${i * 3}.0000`, PAD];
/** A reading that learns its columns as it goes keeps those it has met: what went away is null, what came stands behind. */
const withoutV = (i: number): Row => [i, null, `${i * 3}.0000`, PAD];

const changes: readonly ShapeChange[] = [
  {
    what: 'a column is added',
    change: { add: 'extra', kind: 'integer', value: 7 },
    // A column more is no business of a reading that has not asked for it.
    meanwhile: { told: asChosen, learnt: (i) => [...asChosen(i), 7] },
    columns: ['id', 'v', 'd', 'at', 'pad', 'extra'],
    row: (i) => [...asChosen(i), 7],
  },
  {
    what: 'a column is dropped',
    change: { drop: 'v' },
    meanwhile: { told: 'schema_changed', learnt: withoutV },
    columns: ['id', 'd', 'at', 'pad'],
    row: (i) => [i, `${i * 3}.0000`, PAD],
  },
  {
    what: 'a column is renamed',
    change: { rename: 'v', to: 'w' },
    meanwhile: { told: 'schema_changed', learnt: (i) => [...withoutV(i), i * 2] },
    columns: ['id', 'w', 'd', 'at', 'pad'],
    row: asChosen,
  },
  {
    what: 'a column has another type',
    change: { retype: 'v', to: 'text' },
    meanwhile: { told: 'schema_changed', learnt: (i) => [i, `${i * 2}`, `${i * 3}.0000`, PAD] },
    columns: ['id', 'v', 'd', 'at', 'pad'],
    row: (i) => [i, `${i * 2}`, `${i * 3}.0000`, PAD],
  },
  {
    what: 'a column has another scale',
    change: { retype: 'd', to: 'big' },
    meanwhile: { told: 'schema_changed', learnt: (i) => [i, i * 2, `${i * 3}`, PAD] },
    columns: ['id', 'v', 'd', 'at', 'pad'],
    row: (i) => [i, i * 2, i * 3, PAD],
  },
  {
    what: 'the table is dropped',
    change: { table: 'dropped' },
    meanwhile: { told: 'not_found_at_source', learnt: 'not_found_at_source' },
    columns: null,
    row: () => [],
  },
  {
    what: 'the table is renamed',
    change: { table: 'renamed' },
    meanwhile: { told: 'not_found_at_source', learnt: 'not_found_at_source' },
    columns: null,
    row: () => [],
  },
];

/** A source's tables change when they like: between two runs, between choice and read, while rows are flowing. */
export function changeQuestions({ expects, ask, subject, source, at }: Asked): void {
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
      numbered(rows, (i) => dated(i, asChosen(i))),
    );
    return { table, stream: table.stream({ cursor: 'at' }) };
  }

  /** The `i`-th row with its moment, which stands in front of `pad`. */
  function dated(i: number, row: Row): Row {
    const place = row.indexOf(PAD);
    return [...row.slice(0, place), at(i), ...row.slice(place)];
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
    expect(whole.rows[0]).toEqual(dated(1, row(1)));
  }

  for (const change of changes) {
    ask(
      `${change.what} between two runs: the next one has the new shape, or says what is missing`,
      async () => {
        const { table, stream } = await start(10);
        const { cursor } = await readAll(source(), stream);
        await table.change(change.change);
        await goesOn(stream, cursor, change);
      },
    );

    ask(`${change.what} between the choice and the read: said, never read as something else`, async () => {
      const { table, stream } = await start(10);
      const resolved = await source().resolve(stream, calm);
      await table.change(change.change);
      // By a source that did not choose: one that did may still have the page it looked at.
      await using other = await subject().open();
      const outcome = await other
        .read(resolved, null, calm)
        .then(async (reading) => {
          await using _ = reading;
          return (await drain(reading, resolved)).rows;
        })
        .catch((error: MillraceError) => error.code);
      const meanwhile = change.meanwhile[expects.columns];
      expect(outcome).toEqual(
        typeof meanwhile === 'string' ? meanwhile : numbered(10, (i) => dated(i, meanwhile(i))),
      );
      await goesOn(stream, null, change);
    });

    ask(`${change.what} while rows are flowing: every row that came is as it was chosen`, async () => {
      const { table, stream } = await start(6000);
      const resolved = await source().resolve(stream, calm);
      const batches: Batch[] = [];
      let changing: Promise<unknown> | undefined;
      const read = async (): Promise<void> => {
        await using reading = await source().read(resolved, null, calm);
        for await (const batch of reading.batches) {
          batches.push(batch);
          // Waits for the reading, or does not: that is the server's affair.
          changing ??= table.change(change.change);
          await new Promise((settle) => setTimeout(settle, 20));
        }
      };
      const error = await read().then(
        () => undefined,
        (refused: MillraceError) => refused,
      );
      await changing;
      expectFlow(batches, resolved.columns.length, change);
      const rows = batches.reduce((sum, batch) => sum + batch.rows, 0);
      if (error === undefined) expect(rows).toBe(6000);
      else expect(error.code).toMatch(/^(schema_changed|not_found_at_source)$/);
      await goesOn(stream, batches.at(-1)?.cursor ?? null, change);
    });
  }

  /** Every row in its turn, as it was chosen or, from the change on, as such a reading shows it. */
  function expectFlow(batches: readonly Batch[], width: number, { meanwhile }: ShapeChange): void {
    const after = meanwhile[expects.columns];
    const rows = rowsOfAll(batches, width);
    const first = rows.findIndex((row, i) => !isDeepStrictEqual(row, dated(i + 1, asChosen(i + 1))));
    const before = first === -1 ? rows.length : first;
    const later = typeof after === 'string' ? asChosen : after;
    expect(rows).toEqual(numbered(rows.length, (i) => dated(i, i <= before ? asChosen(i) : later(i))));
  }

  ask('a table dropped and made again under its name: the position does not mislead', async () => {
    const { table, stream } = await start(10);
    const { cursor } = await readAll(source(), stream);
    await table.change({ table: 'dropped' });
    const again = await subject().make(
      { name: table.name, columns: { pad: 'text', id: 'integer', at: 'stamp' }, key: ['id'] },
      numbered(3, (i) => ['new', i, at(1000 + i)]),
    );
    const next = await readAll(source(), again.stream({ cursor: 'at' }), cursor);
    expect(next.rows).toEqual(numbered(3, (i) => ['new', i, at(1000 + i)]));
    expect(next.count).toBe(expects.has.counts === true ? 3 : null);
  });

  ask(
    'another primary key: the position is for another one, everything is read again, and said',
    async () => {
      const table = await subject().make(
        { name: 'rekeyed', columns: { a: 'integer', b: 'integer', at: 'stamp' } },
        numbered(10, (i) => [i, i, at(i)]),
      );
      const stream = table.stream({ cursor: 'at', mode: 'merge' });
      const first = await readAll(source(), { ...stream, primary_key: ['a'] });
      const next = await readAll(source(), { ...stream, primary_key: ['a', 'b'] }, first.cursor);
      expect(next.rows).toHaveLength(10);
      expect(next.warnings).toEqual([expect.stringContaining('everything is read again')]);
    },
  );
}
