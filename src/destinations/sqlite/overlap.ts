import type { Batch, ResolvedStream } from '../../core/model.ts';
import type { Column, Value } from '../../core/types.ts';
import { createChangedRows, forgetChangedRows, type Place } from './changed-rows.ts';
import type { Database } from './driver.ts';
import type { PlacedRow } from './insert.ts';
import type { Layout } from './layout.ts';
import { rowHasher } from './row-hash.ts';

/**
 * Rows without a key that may be read again. A closed bound reads the rows at the boundary twice; each is recognised by
 * a hash of its values, as a multiset, because two equal rows are two rows. Kept as rows in `_millrace_overlap`, so that
 * a million ties take no memory: part 0 is what earlier reads remembered and has not come by yet, part 1 what this one
 * remembers, 2 the same for a table that is being built, 3 what the last complete reading did not meet. A recognised row that may come again moves from 0 or 3 to 1, so that
 * every landed row that can still come is in exactly one of them, also after a crash, until the source says that nothing
 * of it can (`reset`). Happens in the batch's transaction. A column that is new, and holds NULL, changes no hash; of other
 * changes of columns changed-rows.ts takes care.
 */
export interface Overlap {
  /** What a change of the stream's columns means for rows that come again, as sentences. */
  readonly changes: readonly string[];
  /** The batch without the rows that have landed before; remembers those that may come again. */
  filter(batch: Batch): Filtered;
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

export interface Filtered {
  readonly values: readonly Value[];
  readonly rows: number;
  /** Rows that have landed under other columns, each with the place where it stands. */
  readonly again: readonly PlacedRow[];
  /** What a change of columns within the batch means, as sentences. */
  readonly changes: readonly string[];
}

export interface OverlapOptions {
  readonly connector: string;
  readonly stream: ResolvedStream;
  /** The batch's columns, in order. */
  readonly columns: readonly Column[];
  /** Of the table that readers see. */
  readonly layout: Layout;
  /** Whether the rows go into a table built aside: nothing of that has been read before. */
  readonly building: boolean;
}

const earlier = 0;
const current = 1;
const built = 2;
/** As `earlier`; the last complete reading did not meet them. */
const missed = 3;

/**
 * Must be called, and used, inside a transaction: it moves what the last read remembered to what this one has to
 * recognise.
 */
export function createOverlap(
  db: Database,
  {
    connector,
    stream: { name: stream, cursor, columnsGrow = false },
    columns: first,
    layout,
    building,
  }: OverlapOptions,
): Overlap {
  const part = building ? built : current;
  let columns = first;
  let hash = rowHasher(columns.map(({ name }) => name));
  const own = 'connector = ? AND stream = ? AND part';
  const remember = db.prepare(
    'INSERT INTO _millrace_overlap (connector, stream, part, hash, n) VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1',
  );
  const find = db.prepare(
    `SELECT 1 FROM _millrace_overlap WHERE ${own} IN (${earlier}, ${missed}, ${part}) AND hash = ? AND n > 0`,
  );
  const takeOne = db.prepare(
    `UPDATE _millrace_overlap SET n = n - 1 WHERE ${own} = ? AND hash = ? AND n > 0`,
  );
  const move = db.prepare(
    `INSERT INTO _millrace_overlap (connector, stream, part, hash, n)
     SELECT connector, stream, ?, hash, n FROM _millrace_overlap WHERE ${own} = ? AND n > 0
     ON CONFLICT DO UPDATE SET n = n + excluded.n`,
  );
  const forget = db.prepare(`DELETE FROM _millrace_overlap WHERE ${own} = ?`);
  const count = db.prepare(
    `SELECT coalesce(sum(n), 0) AS rows FROM _millrace_overlap WHERE ${own} IN (${earlier}, ${missed})`,
  );
  /** How many rows are still to be recognised by all their values; 0 for most batches, which then cost nothing. */
  let left = 0;

  const recount = (): void => {
    left = building ? 0 : (count.get(connector, stream) as { readonly rows: number }).rows;
  };
  if (building) forget.run(connector, stream, built);
  else {
    // What the last read remembered is what this one has to recognise.
    move.run(earlier, connector, stream, current);
    forget.run(connector, stream, current);
  }
  // Where columns grow while a stream is read, some rows of this read have come by already, and do not come again in it.
  const changed =
    building || columnsGrow
      ? null
      : createChangedRows(db, { connector, stream, cursor, columns, layout, part: earlier });
  recount();

  /** Whether the row has landed; the place where it stands when that was under other columns. */
  const recognise = (key: Buffer, row: () => readonly Value[]): boolean | Place => {
    const take = (of: number): boolean => takeOne.run(connector, stream, of, key).changes > 0;
    if (left > 0 && (take(earlier) || take(missed))) {
      left -= 1;
      return true;
    }
    return changed?.any === true && changed.take(row(), key);
  };

  /** Part 2 belongs to the table that is built aside, the others to the one that readers see. */
  const forgetAll = (of: number = part): void => {
    for (const one of of === built ? [built] : [earlier, missed, current]) forget.run(connector, stream, one);
    changed?.forget();
    left = 0;
  };

  const rowAt = ({ values }: Batch, row: number): readonly Value[] =>
    values.slice(row * columns.length, (row + 1) * columns.length);

  /** In a stream that grows, the same row reads otherwise when one of its columns is another type now. */
  const grow = (wider: readonly Column[]): readonly string[] => {
    const isRetyped = columns.some(({ name, type }) =>
      wider.some((column) => column.name === name && column.type !== type),
    );
    columns = wider;
    hash = rowHasher(columns.map(({ name }) => name));
    return isRetyped ? readTwice(left) : [];
  };

  return {
    changes: readTwice(changed?.missed ?? 0),
    filter(batch) {
      const { overlap } = batch;
      const changes = batch.columns === undefined ? [] : grow(batch.columns);
      const from = overlap?.from ?? batch.rows;
      const first = left > 0 || changed?.any === true ? 0 : from;
      const keys = Array.from({ length: batch.rows }, (_, row) =>
        row < first ? null : hash(rowAt(batch, row)),
      );
      const known = keys.map((key, row) => key !== null && recognise(key, () => rowAt(batch, row)));
      // Only now: rows of this very batch may be among what is forgotten.
      if (overlap?.reset === true) forgetAll();
      if (overlap?.complete === true && !building) {
        // An answer may lack a row once and bring it later: so what was missed is forgotten when it is missed again.
        forget.run(connector, stream, missed);
        move.run(missed, connector, stream, earlier);
        forget.run(connector, stream, earlier);
        changed?.forget();
        recount();
      }
      for (const key of keys.slice(from)) if (key !== null) remember.run(connector, stream, part, key);
      if (known.every((one) => one === false))
        return { values: batch.values, rows: batch.rows, again: [], changes };
      const again = known.flatMap((place, row) =>
        typeof place === 'boolean' ? [] : [{ place, values: rowAt(batch, row) }],
      );
      const values = batch.values.filter((_, at) => known[Math.floor(at / columns.length)] === false);
      return { values, rows: values.length / columns.length, again, changes };
    },
    remembers: (row) => find.get(connector, stream, hash(row)) !== undefined || changed?.has(row) === true,
    remember: (row) => void remember.run(connector, stream, part, hash(row)),
    reload() {
      recount();
      changed?.reload();
    },
    finish() {
      if (!building) return;
      forgetAll(current);
      forgetChangedRows(db, { connector, stream }, columns);
      db.prepare(`UPDATE _millrace_overlap SET part = ${current} WHERE ${own} = ${built}`).run(
        connector,
        stream,
      );
    },
  };
}

function readTwice(rows: number): readonly string[] {
  return rows === 0
    ? []
    : [
        `up to ${rows} rows are read again, and those whose values read otherwise since the change are added ` +
          'once more: full_refresh: true puts that right',
      ];
}
