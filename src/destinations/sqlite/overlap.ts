import { createHash } from 'node:crypto';
import type { Batch } from '../../core/model.ts';
import type { Value } from '../../core/types.ts';
import type { Database } from './driver.ts';

/**
 * Rows without a key that may be read again. A closed bound reads the rows at the boundary twice; each is recognised by
 * a hash of its values, as a multiset, because two equal rows are two rows. Kept as rows in `_millrace_overlap`, so that
 * a million ties take no memory: part 0 is what earlier reads remembered and has not come by yet, part 1 what this one
 * remembers, 2 the same for a table that is being built. A recognised row that may come again moves from 0 to 1, so that
 * every landed row that can still come is in exactly one of them, also after a crash, until the source says that nothing
 * of it can (`reset`). Happens in the batch's transaction.
 */
export interface Overlap {
  /** The batch without the rows that have landed before; remembers those that may come again. */
  filter(batch: Batch): { readonly values: readonly Value[]; readonly rows: number };
  /** Whether a row like this one has landed, or was refused by the table, and may be read again. */
  remembers(row: readonly Value[]): boolean;
  /** A row that lands apart from a batch, and may be read again. */
  remember(row: readonly Value[]): void;
  /** Called when the transaction went back: what is in memory has to be read again. */
  reload(): void;
  /**
   * The stream was read to its end: what was remembered for a table built aside is now remembered for the table. What
   * has not come by stays remembered: a read that was resumed began behind it, and the next one may begin before it.
   */
  finish(): void;
}

export interface OverlapOptions {
  readonly connector: string;
  readonly stream: string;
  /** Names of the batch's columns, in order. */
  readonly columns: readonly string[];
  /** Whether the rows go into a table built aside: nothing of that has been read before. */
  readonly building: boolean;
}

const earlier = 0;
const current = 1;
const built = 2;

/**
 * Must be called, and used, inside a transaction: it moves what the last read remembered to what this one has to
 * recognise.
 */
export function createOverlap(
  db: Database,
  { connector, stream, columns, building }: OverlapOptions,
): Overlap {
  const part = building ? built : current;
  let hash = rowHasher(columns);
  let width = columns.length;
  const own = 'connector = ? AND stream = ? AND part';
  const remember = db.prepare(
    'INSERT INTO _millrace_overlap (connector, stream, part, hash, n) VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1',
  );
  const find = db.prepare(
    `SELECT 1 FROM _millrace_overlap WHERE ${own} IN (${earlier}, ${part}) AND hash = ? AND n > 0`,
  );
  const takeOne = db.prepare(
    `UPDATE _millrace_overlap SET n = n - 1 WHERE ${own} = ${earlier} AND hash = ? AND n > 0`,
  );
  const forget = db.prepare(`DELETE FROM _millrace_overlap WHERE ${own} = ?`);
  const count = db.prepare(
    `SELECT coalesce(sum(n), 0) AS rows FROM _millrace_overlap WHERE ${own} = ${earlier}`,
  );
  /** How many rows are still to be recognised; 0 for most batches, which then cost nothing. */
  let left = 0;

  const reload = (): void => {
    left = building ? 0 : (count.get(connector, stream) as { readonly rows: number }).rows;
  };
  if (building) forget.run(connector, stream, built);
  else {
    // What the last read remembered is what this one has to recognise.
    db.prepare(
      `INSERT INTO _millrace_overlap (connector, stream, part, hash, n)
       SELECT connector, stream, ${earlier}, hash, n FROM _millrace_overlap WHERE ${own} = ${current}
       ON CONFLICT DO UPDATE SET n = n + excluded.n`,
    ).run(connector, stream);
    forget.run(connector, stream, current);
  }
  reload();

  const recognise = (key: Buffer): boolean => {
    if (left === 0 || takeOne.run(connector, stream, key).changes === 0) return false;
    left -= 1;
    return true;
  };

  /** Parts 0 and 1 belong to the table that readers see, part 2 to the one that is built aside. */
  const forgetAll = (of: number = part): void => {
    for (const one of of === built ? [built] : [earlier, current]) forget.run(connector, stream, one);
    left = 0;
  };

  const keysOf = (batch: Batch, first: number): readonly (Buffer | null)[] =>
    Array.from({ length: batch.rows }, (_, row) =>
      row < first ? null : hash(batch.values.slice(row * width, (row + 1) * width)),
    );

  return {
    filter(batch) {
      const { overlap } = batch;
      if (batch.columns !== undefined) {
        hash = rowHasher(batch.columns.map((column) => column.name));
        width = batch.columns.length;
      }
      const from = overlap?.from ?? batch.rows;
      const keys = keysOf(batch, left > 0 ? 0 : from);
      const known = keys.map((key) => key !== null && recognise(key));
      // Only now: rows of this very batch may be among what is forgotten.
      if (overlap?.reset === true) forgetAll();
      if (overlap?.complete === true && !building) {
        forget.run(connector, stream, earlier);
        left = 0;
      }
      for (const key of keys.slice(from)) if (key !== null) remember.run(connector, stream, part, key);
      if (!known.includes(true)) return batch;
      const kept = batch.values.filter((_, at) => known[Math.floor(at / width)] !== true);
      return { values: kept, rows: kept.length / width };
    },
    remembers: (row) => find.get(connector, stream, hash(row)) !== undefined,
    remember: (row) => void remember.run(connector, stream, part, hash(row)),
    reload,
    finish() {
      if (!building) return;
      forgetAll(current);
      db.prepare(`UPDATE _millrace_overlap SET part = ${current} WHERE ${own} = ${built}`).run(
        connector,
        stream,
      );
    },
  };
}

/**
 * 128 bits of SHA-256 over the row's values, each with its column's name and its length so that no two rows write the
 * same text. NULLs are left out and 5 and '5' are the same: a row read again after a column was added or widened is
 * still the row that landed. A column that was dropped, renamed or added with a default makes it another one.
 */
function rowHasher(columns: readonly string[]): (values: readonly Value[]) => Buffer {
  const names = columns.map((name) => `${name.length}:${name}`);
  return (values) => {
    const hash = createHash('sha256');
    let text = '';
    for (const [index, value] of values.entries()) {
      if (value === null) continue;
      if (value instanceof Uint8Array) {
        hash.update(`${text}${names[index]}b${value.length}:`).update(value);
        text = '';
      } else {
        const shown = String(value);
        text += `${names[index]}t${shown.length}:${shown}`;
      }
    }
    return hash.update(text).digest().subarray(0, 16);
  };
}
