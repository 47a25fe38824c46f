import type { Column, Value } from '../../core/types.ts';
import type { Database } from './driver.ts';
import { type Layout, quote, rowidName } from './layout.ts';
import { rowHasher } from './row-hash.ts';

/**
 * Rows of an `append` that may be read again, and landed when the stream had other columns: the hash of all their values
 * says nothing any more. Each is known by a hash of the columns that stayed what they were, and by its place in the
 * table; the row that is read in its stead takes that place. So it does not matter which of several rows that are alike
 * in those columns comes first: when all have come by, the table holds each as often as the source does. All come by or
 * none, because they are alike in the cursor, too.
 */
export interface ChangedRows {
  /** How many rows may come again and were not found in the table, or cannot be. */
  readonly missed: number;
  /** Whether there are any; false for most streams, which then pay nothing. */
  readonly any: boolean;
  /**
   * What a row of the present columns is, `hash` over all its values: the place it takes in the table; true when it
   * stands there just so; false when it is none of these.
   */
  take(values: readonly Value[], hash: Buffer): Place | boolean;
  /** Whether a row of the present columns is one of these. */
  has(values: readonly Value[]): boolean;
  /** None of them can come again. */
  forget(): void;
  /** Called when the transaction went back: what is in memory has to be read again. */
  reload(): void;
}

/** A rowid. */
export type Place = number | bigint;

export interface ChangedRowsOptions {
  readonly connector: string;
  readonly stream: string;
  readonly cursor: string | null;
  readonly columns: readonly Column[];
  /** Of the table that the rows are in. */
  readonly layout: Layout;
  /** The part of `_millrace_overlap` with the rows that this read has to recognise by all their values. */
  readonly part: number;
}

type KnownColumn = Pick<Column, 'name' | 'type' | 'sourceType'>;
type Row = (column: string) => Value;

/**
 * Compares the columns with those that the remembered rows had. Where they differ, the rows are looked for in the table,
 * the newest first. Must be called, and used, inside a transaction.
 */
export function createChangedRows(db: Database, options: ChangedRowsOptions): ChangedRows {
  const { cursor, layout, part } = options;
  const owner = [options.connector, options.stream] as const;
  const statements = prepare(db);
  const state = statements.columns.get(...owner) as {
    readonly overlap_columns: string | null;
    readonly stayed_columns: string | null;
  };
  const now = options.columns.map(known);
  const before = parsed(state.overlap_columns) ?? now;
  let stayed = parsed(state.stayed_columns) ?? [];
  const table: { rows?: LandedRows | null } = {};
  /** Prepared when they are needed: most streams have no such rows. */
  const landed = (): LandedRows | null => {
    if (table.rows === undefined) table.rows = landedRows(db, layout);
    return table.rows;
  };
  let left = 0;

  const reload = (): void => {
    left = (statements.count.get(...owner) as { readonly n: number }).n;
  };
  const forget = (): void => {
    if (left > 0) statements.forget.run(...owner);
    left = 0;
  };
  const wholeLeft = (): number => (statements.whole.get(...owner, part) as { readonly n: number }).n;
  /** False when it is here already. */
  const keep = (key: Buffer, place: Place): boolean => statements.keep.run(...owner, key, place).changes > 0;

  /** Rows that changed before: fewer of their columns are still what they were. */
  const narrow = (rows: LandedRows, to: readonly KnownColumn[]): void => {
    const [keyBefore, keyNow] = [keyBy(stayed), keyBy(to)];
    let after: Place = -(2n ** 63n);
    for (;;) {
      const entries = statements.next.all(...owner, after) as Entry[];
      for (const { hash, place } of entries) {
        const row = rows.at(place);
        if (row !== null && keyBefore(row).equals(hash)) statements.rehash.run(keyNow(row), ...owner, place);
        else statements.forgetOne.run(...owner, place);
      }
      if (entries.length < stepRows) return;
      after = entries.at(-1)?.place ?? 0;
    }
  };
  /** Rows that are known by all their values. */
  const find = (rows: LandedRows, to: readonly KnownColumn[]): void => {
    const [whole, keyNow] = [keyBy(before), keyBy(to)];
    let wanted = wholeLeft();
    for (const { place, row } of wanted > 0 ? rows.newestFirst() : []) {
      const hash = whole(row);
      if (statements.isWhole.get(...owner, part, hash) === undefined) continue;
      // One that is here already is not the one that is looked for, but one like it.
      if (!keep(keyNow(row), place)) continue;
      statements.takeWhole.run(...owner, part, hash);
      wanted -= 1;
      if (wanted === 0) return;
    }
  };
  const follow = (): number => {
    const both = (left > 0 ? stayed : before).filter((column) =>
      [before, now].every((those) => those.some((one) => isSame(one, column))),
    );
    // Where the cursor is another one, rows that are alike in the rest may be far apart.
    const isKnown = both.length > 0 && (cursor === null || both.some(({ name }) => name === cursor));
    const rows = isKnown ? landed() : null;
    const lost = rows === null ? left : 0;
    if (rows === null) forget();
    else {
      narrow(rows, both);
      find(rows, both);
    }
    stayed = both;
    statements.keepStayed.run(JSON.stringify(both), ...owner);
    return wholeLeft() + lost;
  };

  reload();
  const missed = isSame(before, now) ? 0 : follow();
  statements.keepColumns.run(JSON.stringify(now), ...owner);
  reload();

  const [keyOf, keyOfAll] = [keyBy(stayed), keyBy(now)];
  const places = stayed.map(({ name }) => now.findIndex((column) => column.name === name));
  const keyOfValues = (values: readonly Value[]): Buffer => {
    const byName = new Map(stayed.map(({ name }, at) => [name, values[places[at] ?? -1] ?? null]));
    return keyOf((column) => byName.get(column) ?? null);
  };
  /** Another tool may have changed the row or moved it: VACUUM gives tables without a key new rowids. */
  const rowAt = (place: Place, key: Buffer): Row | null => {
    const row = landed()?.at(place) ?? null;
    return row !== null && keyOf(row).equals(key) ? row : null;
  };

  return {
    missed,
    get any() {
      return left > 0;
    },
    take(values, hash) {
      if (left === 0) return false;
      const key = keyOfValues(values);
      for (;;) {
        const entry = statements.one.get(...owner, key) as { readonly place: Place } | undefined;
        if (entry === undefined) return false;
        statements.forgetOne.run(...owner, entry.place);
        left -= 1;
        const row = rowAt(entry.place, key);
        if (row !== null) return keyOfAll(row).equals(hash) ? true : entry.place;
      }
    },
    has(values) {
      if (left === 0) return false;
      const key = keyOfValues(values);
      const entries = statements.one.all(...owner, key) as { readonly place: Place }[];
      return entries.some(({ place }) => rowAt(place, key) !== null);
    },
    forget,
    reload,
  };
}

/** What is known of a table that is gone says nothing about the one in its place, whose remembered rows have these columns. */
export function forgetChangedRows(
  db: Database,
  { connector, stream }: { readonly connector: string; readonly stream: string },
  columns: readonly Column[],
): void {
  const statements = prepare(db);
  statements.forget.run(connector, stream);
  statements.keepColumns.run(JSON.stringify(columns.map(known)), connector, stream);
}

function known({ name, type, sourceType }: Column): KnownColumn {
  return { name, type, sourceType };
}

function parsed(columns: string | null): readonly KnownColumn[] | null {
  return columns === null ? null : (JSON.parse(columns) as KnownColumn[]);
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

type Key = (row: Row) => Buffer;

/** What a row is known by among those that are told apart by these columns. */
function keyBy(columns: readonly KnownColumn[]): Key {
  const hash = rowHasher(columns.map(({ name }) => name));
  return (row) =>
    hash(columns.map(({ name, type }) => (type === 'boolean' ? asBoolean(row(name)) : row(name))));
}

/** A boolean lands as 1 and 0, or as its text where the column holds texts too (`converterFor`). */
function asBoolean(value: Value): Value {
  if (value === '1' || value === 'true') return true;
  return value === '0' || value === 'false' ? false : value;
}

interface Entry {
  readonly hash: Uint8Array;
  readonly place: Place;
}

interface LandedRows {
  /** The row at a place, as the source had it; null when there is none any more. */
  at(place: Place): Row | null;
  newestFirst(): Generator<{ readonly place: Place; readonly row: Row }, void, void>;
}

/** So many rows are read at a time. */
const stepRows = 500;

/** The rows of a table without a key; null when the source's columns have taken every name of the rowid. */
function landedRows(db: Database, layout: Layout): LandedRows | null {
  const rowid = rowidName(layout);
  if (rowid === null) return null;
  const index = new Map(layout.columns.map(({ name }, at) => [name, at]));
  const values = layout.columns.map(({ landedAs }, at) => {
    const column = quote(landedAs);
    // As text: a driver's number does not hold every integer.
    return `CASE typeof(${column}) WHEN 'integer' THEN CAST(${column} AS TEXT) ELSE ${column} END AS c${at}`;
  });
  const select = `SELECT ${[`${rowid} AS place`, ...values].join(', ')} FROM ${quote(layout.table)} WHERE ${rowid}`;
  const [one, before] = [
    db.prepare(`${select} = ?`),
    db.prepare(`${select} < ? ORDER BY ${rowid} DESC LIMIT ${stepRows}`),
  ];
  type Found = Readonly<Record<string, Value>> & { readonly place: Place };
  const rowOf =
    (found: Found): Row =>
    (column) =>
      found[`c${index.get(column)}`] ?? null;
  return {
    at(place) {
      const found = one.get(place) as Found | undefined;
      return found === undefined ? null : rowOf(found);
    },
    *newestFirst() {
      let below: Place = 2n ** 63n - 1n;
      for (;;) {
        const rows = before.all(below) as Found[];
        for (const found of rows) yield { place: found.place, row: rowOf(found) };
        if (rows.length < stepRows) return;
        below = rows.at(-1)?.place ?? 0;
      }
    },
  };
}

function prepare(db: Database) {
  const own = 'connector = ? AND stream = ?';
  return {
    columns: db.prepare(`SELECT overlap_columns, stayed_columns FROM _millrace_cursors WHERE ${own}`),
    keepColumns: db.prepare(`UPDATE _millrace_cursors SET overlap_columns = ? WHERE ${own}`),
    keepStayed: db.prepare(`UPDATE _millrace_cursors SET stayed_columns = ? WHERE ${own}`),
    whole: db.prepare(`SELECT coalesce(sum(n), 0) AS n FROM _millrace_overlap WHERE ${own} AND part = ?`),
    isWhole: db.prepare(`SELECT 1 FROM _millrace_overlap WHERE ${own} AND part = ? AND hash = ? AND n > 0`),
    takeWhole: db.prepare(`UPDATE _millrace_overlap SET n = n - 1 WHERE ${own} AND part = ? AND hash = ?`),
    count: db.prepare(`SELECT count(*) AS n FROM _millrace_changed_rows WHERE ${own}`),
    next: db.prepare(
      `SELECT hash, place FROM _millrace_changed_rows WHERE ${own} AND place > ? ORDER BY place LIMIT ${stepRows}`,
    ),
    rehash: db.prepare(`UPDATE _millrace_changed_rows SET hash = ? WHERE ${own} AND place = ?`),
    one: db.prepare(`SELECT place FROM _millrace_changed_rows WHERE ${own} AND hash = ?`),
    keep: db.prepare(
      'INSERT INTO _millrace_changed_rows (connector, stream, hash, place) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
    ),
    forget: db.prepare(`DELETE FROM _millrace_changed_rows WHERE ${own}`),
    forgetOne: db.prepare(`DELETE FROM _millrace_changed_rows WHERE ${own} AND place = ?`),
  };
}
