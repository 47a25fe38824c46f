import { expect } from 'vitest';
import type { Batch, Cursor, Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import { createRng, testSeed } from '../support/rng.ts';
import { type Asked, numbered } from './connector-questions.ts';
import type { Row } from './connector-subject.ts';
import { calm, type Landed, readAll, rowsOf } from './reading-support.ts';

/** Makes a batch end after about a thousand rows, by its bytes. */
const PAD = 'x'.repeat(230);

/** A run that ends after any batch goes on exactly behind it. */
export function resumeQuestions({ expects, ask, subject, source, at }: Asked): void {
  /**
   * Goes on from each of these positions: what is left is what the whole reading had behind it, and before that no more
   * of what it had read than was declared.
   */
  async function goesOn(stream: Stream, whole: Landed): Promise<void> {
    let seen = 0;
    for (const batch of whole.batches.slice(0, -1)) {
      seen += batch.rows;
      const rest = await readAll(source(), stream, batch.cursor);
      expect(rest.resumed).toBe(true);
      const again = rest.rows.length - (whole.rows.length - seen);
      expect(again).toBeGreaterThanOrEqual(0);
      expect(again).toBeLessThanOrEqual(expects.again);
      expect(rest.rows).toEqual(whole.rows.slice(seen - again));
      expect(rest.cursor).toBe(whole.cursor);
    }
  }

  for (const [type, value] of expects.keys) {
    ask(`a first load by a key of ${type}`, async () => {
      const name = `k_${type.replaceAll(/\W+/g, '_').toLowerCase()}`;
      const keyed = await subject().makeKeyed(name, { type, value, count: 3300 });
      const stream: Stream = { ...keyed, mode: 'merge' };
      const whole = await readAll(source(), stream);
      expect(whole.rows).toHaveLength(3300);
      expect(whole.batches.filter(({ rows }) => rows > 0).length).toBeGreaterThanOrEqual(4);
      expect(new Set(whole.rows.map(([, n]) => n)).size).toBe(3300);
      await goesOn(stream, whole);
    });
  }

  ask('a first load with a cursor: the mark of its beginning is kept through every crash', async () => {
    const table = await subject().make(
      { name: 'loaded', columns: { id: 'integer', at: 'stamp', pad: 'text' }, key: ['id'] },
      numbered(3300, (i) => [i, at(i), PAD]),
    );
    const stream = table.stream({ cursor: 'at' });
    const whole = await readAll(source(), stream);
    await goesOn(stream, whole);
    // What changes behind the load's back while it rests comes with the run after it.
    const rested = whole.batches[1]?.cursor ?? null;
    await table.update({ at: at(5_000_000) }, [3, 3299]);
    const rest = await readAll(source(), stream, rested);
    const next = await readAll(source(), stream, rest.cursor);
    expect(next.rows.map(([id]) => id)).toEqual(expect.arrayContaining([3, 3299]));
  });

  ask('an incremental run, its ties larger than a batch, rows without a cursor before them', async () => {
    const table = await subject().make(
      {
        name: 'ties',
        columns: { a: 'integer', b: 'name', at: 'stamp', pad: 'text' },
        key: ['b', 'a'],
        indexed: ['at'],
      },
      numbered(6000, (i) => [i, `b${i % 2}`, i % 10 > 0 ? at(Math.floor(i / 2500)) : null, PAD]),
    );
    const stream = table.stream({ cursor: 'at' });
    const { cursor } = await readAll(source(), stream);
    const settled = JSON.stringify({ ...JSON.parse(cursor), mark: null });
    const whole = await readAll(source(), stream, settled);
    expect(whole.rows).toHaveLength(6000);
    expect(whole.batches.filter(({ rows }) => rows > 0).length).toBeGreaterThanOrEqual(6);
    await goesOn(stream, whole);
  });

  ask('append: rows that may come again are known at every position', async () => {
    const table = await subject().make(
      { name: 'added', columns: { v: 'integer', c: 'big', pad: 'text' }, indexed: ['c'] },
      numbered(4000, (i) => [i, Math.floor(i / 7), PAD]),
    );
    const stream = table.stream({ cursor: 'c' });
    const whole = await readAll(source(), stream);
    for (let k = 0; k < whole.batches.length - 1; k += 1) {
      const before = whole.batches.slice(0, k + 1);
      const rest = await readAll(source(), stream, whole.batches[k]?.cursor ?? null);
      const again = remembered(before, 3);
      const rows = [...before.flatMap((batch) => rowsOf(batch, 3)), ...rest.rows];
      expect(unique(rows)).toEqual(unique(whole.rows));
      // Whatever came twice was announced, and is no more than was declared.
      expect(rows.length - 4000).toBeLessThanOrEqual(again.length);
      expect(again.length).toBeLessThanOrEqual(expects.remembered);
      for (const row of rest.rows.slice(0, rows.length - 4000)) expect(again).toContainEqual(row);
    }
  });

  const histories = async (): Promise<void> => {
    const seed = testSeed();
    const rng = createRng(seed);
    const table = await subject().make({
      name: 'life',
      columns: { id: 'integer', v: 'integer', seq: 'big' },
      key: ['id'],
      indexed: ['seq'],
    });
    const truth = new Map<Value, Row>();
    let drawn = 0;
    const change = async (): Promise<void> => {
      const from = rng.int(1, 6000);
      const rows = numbered(rng.int(1, 2500), (i) => {
        drawn += 1;
        return [from + i, rng.int(0, 1e6), 1 + Math.floor(drawn / 700)];
      });
      await table.remove(rows.map(([id]) => id ?? null));
      await table.insert(rows);
      for (const row of rows) truth.set(row[0] ?? null, row);
    };
    const copy = new Map<Value, Row>();
    let cursor: Cursor | null = null;
    const stream = table.stream({ cursor: 'seq' });
    await change();
    for (let turn = 0; turn < 40; turn += 1) {
      if (rng.chance(0.6)) await change();
      const resolved = await source().resolve(stream, calm);
      await using reading = await source().read(resolved, cursor, calm);
      let left = rng.chance(0.5) ? rng.int(0, 5) : Number.POSITIVE_INFINITY;
      for await (const batch of reading.batches) {
        if (left-- <= 0) break;
        for (const row of rowsOf(batch, 3)) copy.set(row[0] ?? null, row);
        cursor = batch.cursor;
        if (rng.chance(0.1)) await change();
      }
    }
    for (let turn = 0; turn < 2; turn += 1) {
      const last = await readAll(source(), stream, cursor);
      for (const row of last.rows) copy.set(row[0] ?? null, row);
      cursor = last.cursor;
    }
    expect(byId(copy), `seed ${seed}`).toEqual(byId(truth));
  };
  ask('random histories of changes and crashes: the merged copy equals the source', histories, {
    timeout: 90_000,
  });
}

/** The rows that a destination has to recognise when it goes on behind these batches. */
function remembered(batches: readonly Batch[], width: number): readonly Row[] {
  let rows: Row[] = [];
  for (const batch of batches) {
    if (batch.overlap?.reset) rows = [];
    if (batch.overlap) rows.push(...rowsOf(batch, width).slice(batch.overlap.from));
  }
  return rows;
}

function unique(rows: readonly Row[]): readonly string[] {
  return [...new Set(rows.map((row) => JSON.stringify(row)))].toSorted();
}

function byId(rows: ReadonlyMap<Value, Row>): readonly Row[] {
  return [...rows.values()].toSorted((a, b) => Number(a[0]) - Number(b[0]));
}
