import { hash } from 'node:crypto';
import type { Batch } from '../../core/model.ts';
import type { Value } from '../../core/types.ts';
import type { Database } from './driver.ts';

/**
 * Rows without a key that may be read again. A closed bound reads the rows at the boundary twice; each is recognised by
 * a hash of all its values, as a multiset, because two equal rows are two rows. Kept as rows in `_millrace_overlap`:
 * part 0 is what earlier reads remembered and has not come by yet, part 1 what this one remembers, 2 the same for a
 * table that is being built. Everything here happens inside the transaction of the batch.
 */
export interface Overlap {
  /** The batch without the rows that have landed before; remembers those that may come again. */
  filter(batch: Batch, width: number): { readonly values: readonly Value[]; readonly rows: number };
  /** Called when the transaction went back: what is in memory has to be read again. */
  reload(): void;
  /** The stream was read to its end: what has not come by by now has changed or gone at the source. */
  finish(): void;
}

const earlier = 0;
const current = 1;
const built = 2;

/** The overlap of one stream; called inside a transaction. `building`: for a table that is built aside. */
export function createOverlap(
  db: Database,
  owner: { readonly connector: string; readonly stream: string },
  building: boolean,
): Overlap {
  const { connector, stream } = owner;
  const part = building ? built : current;
  const add = db.prepare(
    'INSERT INTO _millrace_overlap (connector, stream, part, hash, n) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n',
  );
  const takeOne = db.prepare(
    `UPDATE _millrace_overlap SET n = n - 1 WHERE connector = ? AND stream = ? AND part = ${earlier} AND hash = ?`,
  );
  const forget = db.prepare('DELETE FROM _millrace_overlap WHERE connector = ? AND stream = ? AND part = ?');
  const all = db.prepare(
    `SELECT hash, n FROM _millrace_overlap WHERE connector = ? AND stream = ? AND part = ${earlier} AND n > 0`,
  );
  let known = new Map<string, number>();

  const load = (): void => {
    known = new Map(
      (all.all(connector, stream) as { hash: Buffer; n: number }[]).map((row) => [
        row.hash.toString('base64'),
        row.n,
      ]),
    );
  };
  if (building) forget.run(connector, stream, built);
  else {
    // What the last read remembered is what this one has to recognise.
    for (const row of db
      .prepare(
        `SELECT hash, n FROM _millrace_overlap WHERE connector = ? AND stream = ? AND part = ${current}`,
      )
      .all(connector, stream) as { hash: Buffer; n: number }[]) {
      add.run(connector, stream, earlier, row.hash, row.n);
    }
    forget.run(connector, stream, current);
    load();
  }

  return {
    filter(batch, width) {
      const { overlap } = batch;
      if (overlap?.reset === true) forget.run(connector, stream, part);
      if (known.size === 0 && (overlap === undefined || overlap.from >= batch.rows))
        return { values: batch.values, rows: batch.rows };
      const kept: Value[] = [];
      let rows = 0;
      for (let row = 0; row < batch.rows; row += 1) {
        const remember = overlap !== undefined && row >= overlap.from;
        const values = batch.values.slice(row * width, (row + 1) * width);
        const key = remember || known.size > 0 ? rowHash(values) : null;
        if (remember && key !== null) add.run(connector, stream, part, key, 1);
        if (key !== null && recognise(key)) continue;
        for (const value of values) kept.push(value);
        rows += 1;
      }
      return { values: kept, rows };
    },
    reload: load,
    finish() {
      known.clear();
      forget.run(connector, stream, earlier);
      if (!building) return;
      forget.run(connector, stream, current);
      db.prepare(
        `UPDATE _millrace_overlap SET part = ${current} WHERE connector = ? AND stream = ? AND part = ${built}`,
      ).run(connector, stream);
    },
  };

  function recognise(key: Buffer): boolean {
    const text = key.toString('base64');
    const left = known.get(text);
    if (left === undefined) return false;
    if (left === 1) known.delete(text);
    else known.set(text, left - 1);
    takeOne.run(connector, stream, key);
    return true;
  }
}

/** 128 bits of SHA-256 over the row's values, each with its type and length so that no two rows write the same text. */
function rowHash(values: readonly Value[]): Buffer {
  let text = '';
  for (const value of values) {
    const shown =
      value === null
        ? ''
        : value instanceof Uint8Array
          ? Buffer.from(value).toString('base64')
          : String(value);
    text += `${value === null ? 'null' : value instanceof Uint8Array ? 'bytes' : typeof value === 'bigint' ? 'number' : typeof value}:${shown.length}:${shown};`;
  }
  return hash('sha256', text, 'buffer').subarray(0, 16);
}
