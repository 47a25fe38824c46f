import type { CursorCandidate } from '../../core/model.ts';
import { type CandidateColumn, candidateScore, saysChange } from './candidates.ts';

/** What a catalogue and its statistics know about a column, in words that fit every SQL database. */
export interface ColumnFacts extends CandidateColumn {
  readonly notNull: boolean;
  /** Leads an index over all rows. */
  readonly indexed: boolean;
  readonly unique: boolean;
  /** What in the database sets it on UPDATE, as a clause: `trigger "touch" sets it on UPDATE`. */
  readonly keptBy: string | null;
  /** What else speaks for it, such as what fills it in new rows, as clauses. */
  readonly merits: readonly string[];
  /** Share of NULLs, 0 to 1; null when nobody has counted. */
  readonly nullShare: number | null;
  /** About how many values there are; null when nobody has counted. */
  readonly distinct: number | null;
  /** What its type means for order, as clauses. */
  readonly caveats: readonly string[];
}

export interface TableFacts {
  readonly estimatedRows: number | null;
  /** Columns whose newest value is ahead of the server's clock. */
  readonly future: ReadonlySet<string>;
  readonly isTable: boolean;
  /** There may be triggers that the login is not shown. */
  readonly triggersHidden?: boolean;
}

const candidatesMax = 3;

/** The columns that could be a cursor, best first, each with what speaks for it and against it. */
export function cursorCandidates(
  columns: readonly ColumnFacts[],
  table: TableFacts,
): readonly CursorCandidate[] {
  return columns
    .map((column) => ({
      column,
      score:
        candidateScore(column) * 4 +
        (column.keptBy === null ? 0 : 2) +
        (column.indexed ? 1 : 0) -
        (column.nullShare ?? 0) * 8,
    }))
    .filter(({ column, score }) => candidateScore(column) > 0 && score > 0)
    .sort((a, b) => b.score - a.score)
    .slice(0, candidatesMax)
    .map(({ column }) => ({ column: column.name, reasons: reasons(column), risks: risks(column, table) }));
}

/**
 * The cursor to suggest: one that follows changes where a key can merge them; for rows that have no key and no
 * sign of ever changing, one that follows new rows. Null: reading it whole is slower and never wrong.
 */
export function suggestedCursor(columns: readonly ColumnFacts[], key: readonly string[]): string | null {
  const usable = columns.filter(({ nullShare }) => (nullShare ?? 0) < 1);
  const follows =
    usable.find(({ kind, follows }) => kind === 'time' && follows === true) ??
    usable.find((column) => candidateScore(column) === 3);
  if (key.length > 0 || follows) return key.length > 0 ? (follows?.name ?? null) : null;
  return usable.find((column) => candidateScore(column) === 2)?.name ?? null;
}

function reasons(column: ColumnFacts): readonly string[] {
  const found: string[] = [];
  const score = candidateScore(column);
  if (score === 3 && saysChange(column.name)) found.push('its name says that it follows every change');
  if (score === 2) found.push('a time that new rows get');
  if (score === 1) found.push('a number that grows with new rows');
  if (column.keptBy !== null) found.push(column.keptBy);
  found.push(...column.merits);
  if (column.indexed) found.push('indexed');
  if (column.unique) found.push('unique');
  if (column.notNull) found.push('never NULL');
  return found;
}

function risks(column: ColumnFacts, table: TableFacts): readonly string[] {
  const { estimatedRows, future, isTable } = table;
  const found: string[] = [];
  const score = candidateScore(column);
  if (score < 3) found.push('changes of existing rows are not seen by it');
  else if (column.keptBy === null && isTable)
    found.push(
      `nothing ${table.triggersHidden ? 'that this login can see' : 'in the database'} keeps it current: every program that updates rows must set it`,
    );
  if (!column.indexed && isTable) found.push('not indexed: every run scans the whole table');
  if (column.nullShare !== null && column.nullShare > 0)
    found.push(`about ${percent(column.nullShare)} of the rows have NULL in it`);
  else if (column.nullShare === null && !column.notNull) found.push('may hold NULL');
  if (column.distinct !== null && estimatedRows !== null && estimatedRows > 1_000) {
    const each = estimatedRows / Math.max(1, column.distinct);
    if (each > 100)
      found.push(
        `many rows share a value (about ${Math.round(each)} each): those tied with the newest are read again in every run`,
      );
  }
  if (future.has(column.name)) found.push('its newest value lies in the future');
  found.push(...column.caveats);
  return found;
}

function percent(share: number): string {
  return share < 0.01 ? 'under 1%' : `${Math.round(share * 100)}%`;
}
