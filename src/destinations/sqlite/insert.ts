import type { Reject } from '../../core/model.ts';
import { rejectOf } from '../../core/row-text.ts';
import type { Value } from '../../core/types.ts';
import { sqliteCode } from '../../sqlite.ts';
import { type Database, defineFunction, isAboutOneRow, type Statement } from './driver.ts';
import { type LandedColumn, type Layout, quote, rowidName } from './layout.ts';
import { converterFor } from './table.ts';

/** Puts rows into one table. Must be used inside a transaction. */
export interface Inserter {
  /** `values` is row-major, in the order of the stream's columns. `placed`: rows to be written over those that stand there. */
  insert(values: readonly Value[], rows: number, placed?: readonly PlacedRow[]): Inserted;
}

/** A row of a table without a key, and the rowid where it belongs. */
export interface PlacedRow {
  readonly place: number | bigint;
  readonly values: readonly Value[];
}

export interface Inserted {
  /** Rows the table has more than before. */
  readonly added: number;
  /** Rows that were there and are different now. */
  readonly changed: number;
  /** Of these, rows that this run had written already: counted with `counts`, else 0. */
  readonly again: number;
  readonly rejects: readonly Reject[];
}

/** Statements of so many values measured best: 13 columns by 10 rows 1.20 µs a row, by 5 1.27, by 20 1.37; 4 columns by 30 rows 0.46, by 10 0.50. */
const valuesPerStatement = 130;

/** Sees the run that wrote a row last; called for the rows that are updated and no others. */
const metFunction = 'mr_met';

export interface InserterOptions {
  readonly table: string;
  readonly layout: Layout;
  /** Source names of the values' columns, in order. */
  readonly columns: readonly string[];
  readonly runId: string;
  /** False: a row whose key is there is left alone, whatever it holds. */
  readonly updates?: boolean;
  /** Whether `again` is to be known; by one inserter of a handle at a time. */
  readonly counts?: boolean;
}

/**
 * Prepares the statements for a table. With a key a row that is there is updated, and only when something differs:
 * a row read again unchanged writes nothing and counts nothing.
 */
export function createInserter(
  db: Database,
  { table, layout, columns, runId, updates = true, counts = false }: InserterOptions,
): Inserter {
  let met = 0;
  if (counts && layout.key.length > 0)
    defineFunction(db, metFunction, (before) => {
      if (before === runId) met += 1;
      return runId;
    });
  const bySource = new Map(
    layout.columns.filter((column) => !column.dropped).map((column) => [column.name, column]),
  );
  const landed = columns.flatMap((name) => bySource.get(name) ?? []);
  const width = landed.length;
  const converters = landed.flatMap((column, index) => {
    const convert = converterFor(column);
    return convert === null ? [] : [{ index, convert }];
  });
  const keyAt = layout.key.map((key) => landed.findIndex((column) => column.landedAs === key));
  const many = Math.max(1, Math.floor(valuesPerStatement / Math.max(1, width)));
  const statements = prepare(db, {
    table,
    layout,
    names: landed.map((column) => column.landedAs),
    runId,
    many,
    updates,
    counts,
  });

  const reject = (values: readonly Value[], at: number, reason: string): Reject =>
    rejectOf(columns, values.slice(at, at + width), reason);

  let allNew = layout.key.length > 0;
  /** False, and from then on not tried again, when a key is there already: a first load never comes to that. */
  const putNew = (fresh: Statement, slice: readonly Value[]): boolean => {
    try {
      fresh.run(...slice);
      return true;
    } catch (error) {
      if (!isAboutOneRow(error)) throw error;
      allNew = false;
      return false;
    }
  };

  /** Rows from `at` to `end`, in one statement; row by row when that one fails because of a row. */
  const put = (values: readonly Value[], at: number, end: number): Inserted => {
    const rows = (end - at) / width;
    const slice = values.slice(at, end);
    let added = 0;
    met = 0;
    try {
      const { fresh, insert, update } = rows === many ? statements.many : statements.one;
      if (allNew && putNew(fresh, slice)) return { added: rows, changed: 0, again: 0, rejects: [] };
      added = insert.run(...slice).changes;
      const changed = added === rows || update === null ? 0 : update.run(...slice).changes;
      return { added, changed, again: met, rejects: [] };
    } catch (error) {
      if (!isAboutOneRow(error)) throw error;
      if (rows === 1)
        return { added: 0, changed: 0, again: 0, rejects: [reject(values, at, reasonOf(error))] };
      const each = total(
        Array.from({ length: rows }, (_, row) => put(values, at + row * width, at + (row + 1) * width)),
      );
      // What the slice had added before its update failed is there already: one by one it is not added again.
      return { ...each, added: each.added + added };
    }
  };

  let overwrite: Statement | null = null;
  const putAt = ({ place, values }: PlacedRow): Inserted => {
    overwrite ??= db.prepare(overwriteText({ table, layout, landed, runId }));
    try {
      overwrite.run(...converted(values, width, converters), place);
      return { added: 0, changed: 1, again: 0, rejects: [] };
    } catch (error) {
      if (!isAboutOneRow(error)) throw error;
      return { added: 0, changed: 0, again: 0, rejects: [reject(values, 0, reasonOf(error))] };
    }
  };

  return {
    insert(given, rows, placed = []) {
      const rejects: Reject[] = [];
      if (width === 0) {
        if (rows > 0) rejects.push({ row: '{}', reason: 'the stream has no columns' });
        return { added: 0, changed: 0, again: 0, rejects };
      }
      let values = given;
      if (converters.length > 0) values = converted(given, width, converters);
      if (keyAt.length > 0) values = withoutNullKeys(values, { width, keyAt, columns, rejects });
      const end = values.length;
      let added = 0;
      let changed = 0;
      let again = 0;
      const step = width * many;
      let at = 0;
      for (; at + step <= end; at += step) {
        const one = put(values, at, at + step);
        added += one.added;
        changed += one.changed;
        again += one.again;
        if (one.rejects.length > 0) rejects.push(...one.rejects);
      }
      for (; at < end; at += width) {
        const one = put(values, at, at + width);
        added += one.added;
        changed += one.changed;
        again += one.again;
        rejects.push(...one.rejects);
      }
      const over = total(placed.map(putAt));
      return { added, changed: changed + over.changed, again, rejects: [...rejects, ...over.rejects] };
    },
  };
}

interface Statements {
  /** Fails when a key is there. */
  readonly fresh: Statement;
  /** Leaves rows alone whose key is there. */
  readonly insert: Statement;
  readonly update: Statement | null;
}

interface StatementOptions {
  readonly table: string;
  readonly layout: Layout;
  readonly names: readonly string[];
  readonly runId: string;
  readonly many: number;
  readonly updates: boolean;
  readonly counts: boolean;
}

function prepare(
  db: Database,
  options: StatementOptions,
): { readonly one: Statements; readonly many: Statements } {
  const one = pair(db, options, 1);
  return { one, many: options.many === 1 ? one : pair(db, options, options.many) };
}

/**
 * The insert that leaves rows alone whose key is there, and the one that updates them. Two statements, because only so
 * SQLite's own count tells new rows from changed ones; a first load needs neither, and saves 5% without the conflict clause.
 */
function pair(
  db: Database,
  { table, layout, names, runId, updates, counts }: StatementOptions,
  rows: number,
): Statements {
  const run = quoted(runId);
  const row = `(${[...names.map(() => '?'), run].join(', ')})`;
  const head = `INSERT INTO ${quote(table)} (${[...names, '_mr_run'].map(quote).join(', ')}) VALUES ${Array(rows).fill(row).join(', ')}`;
  const fresh = db.prepare(head);
  if (layout.key.length === 0) return { fresh, insert: fresh, update: null };
  const target = `ON CONFLICT (${layout.key.map(quote).join(', ')})`;
  const others = names.filter((name) => !layout.key.includes(name));
  const set = others.map((name) => `${quote(name)} = excluded.${quote(name)}`);
  set.push(`"_mr_run" = ${counts ? `${metFunction}(${quote(table)}."_mr_run")` : 'excluded."_mr_run"'}`);
  const differs = others.map((name) => `${quote(table)}.${quote(name)} IS NOT excluded.${quote(name)}`);
  if (layout.marksDeletions) {
    set.push('"_mr_deleted_at" = NULL');
    differs.push(`${quote(table)}."_mr_deleted_at" IS NOT NULL`);
  }
  return {
    fresh,
    insert: db.prepare(`${head} ${target} DO NOTHING`),
    update:
      differs.length === 0 || !updates
        ? null
        : db.prepare(`${head} ${target} DO UPDATE SET ${set.join(', ')} WHERE ${balanced(differs)}`),
  };
}

/** A text as SQL has it. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Writes a row over the one with a rowid; columns that are gone at the source keep what they held. */
function overwriteText({
  table,
  layout,
  landed,
  runId,
}: {
  readonly table: string;
  readonly layout: Layout;
  readonly landed: readonly LandedColumn[];
  readonly runId: string;
}): string {
  const set = [...landed.map(({ landedAs }) => `${quote(landedAs)} = ?`), `"_mr_run" = ${quoted(runId)}`];
  return `UPDATE ${quote(table)} SET ${set.join(', ')} WHERE ${rowidName(layout)} = ?`;
}

/** `a OR b OR …` as a balanced tree: SQLite's expression depth ends at 1,000 and a table may have 1,600 columns. */
function balanced(terms: readonly string[]): string {
  if (terms.length <= 2) return terms.join(' OR ');
  const middle = terms.length >> 1;
  return `(${balanced(terms.slice(0, middle))}) OR (${balanced(terms.slice(middle))})`;
}

type Converter = { readonly index: number; readonly convert: (value: Value) => Value };

function converted(
  given: readonly Value[],
  width: number,
  converters: readonly Converter[],
): readonly Value[] {
  const values = given.slice();
  for (const { index, convert } of converters) {
    for (let at = index; at < values.length; at += width) values[at] = convert(values[at] ?? null);
  }
  return values;
}

interface KeyCheck {
  readonly width: number;
  readonly keyAt: readonly number[];
  readonly columns: readonly string[];
  readonly rejects: Reject[];
}

/** SQLite would make up a key for NULL in an INTEGER PRIMARY KEY. */
function withoutNullKeys(
  values: readonly Value[],
  { width, keyAt, columns, rejects }: KeyCheck,
): readonly Value[] {
  const bad: number[] = [];
  for (const key of keyAt) {
    for (let at = 0; at < values.length; at += width) {
      if ((values[at + key] ?? null) === null) bad.push(at);
    }
  }
  if (bad.length === 0) return values;
  const gone = new Set(bad);
  for (const at of gone)
    rejects.push(rejectOf(columns, values.slice(at, at + width), 'a column of the primary key is NULL'));
  return values.filter((_, index) => !gone.has(index - (index % width)));
}

function total(parts: readonly Inserted[]): Inserted {
  return {
    added: parts.reduce((sum, part) => sum + part.added, 0),
    changed: parts.reduce((sum, part) => sum + part.changed, 0),
    again: parts.reduce((sum, part) => sum + part.again, 0),
    rejects: parts.flatMap((part) => part.rejects),
  };
}

function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return sqliteCode(error) === 'SQLITE_TOOBIG' || error instanceof RangeError || error instanceof TypeError
    ? 'a value is too big for SQLite (one row holds at most 1,000,000,000 bytes, one integer 64 bit)'
    : message.slice(0, 300);
}
