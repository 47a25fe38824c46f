import type { CursorCandidate } from '../../core/model.ts';
import { plain } from '../sql/names.ts';
import { candidateScore } from './candidates.ts';

/** What the catalogue and its statistics know about a column. */
export interface ColumnFacts {
  readonly name: string;
  readonly type: number;
  readonly typeName: string;
  readonly notNull: boolean;
  /** Its default as SQL, or `identity`. */
  readonly fill: string;
  /** Leads an index over all rows. */
  readonly indexed: boolean;
  readonly unique: boolean;
  /** A trigger on UPDATE that speaks of it. */
  readonly trigger: string | null;
  /** Share of NULLs, 0 to 1; null before the first ANALYZE. */
  readonly nullShare: number | null;
  /** As in pg_stats: a count, or when negative a share of the rows. */
  readonly distinct: number | null;
  readonly correlation: number | null;
}

export interface TableFacts {
  readonly estimatedRows: number | null;
  /** Columns whose newest value is ahead of the server's clock. */
  readonly future: ReadonlySet<string>;
  readonly isTable: boolean;
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
        (column.trigger === null ? 0 : 2) +
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
  const follows = usable.find((column) => candidateScore(column) === 3);
  if (key.length > 0 || follows) return key.length > 0 ? (follows?.name ?? null) : null;
  return usable.find((column) => candidateScore(column) === 2)?.name ?? null;
}

function reasons(column: ColumnFacts): readonly string[] {
  const found: string[] = [];
  const score = candidateScore(column);
  if (score === 3) found.push('its name says that it follows every change');
  if (score === 2) found.push('a time that new rows get');
  if (score === 1) found.push('a number that grows with new rows');
  if (column.trigger !== null) found.push(`trigger "${plain(column.trigger, 63)}" sets it on UPDATE`);
  if (
    /\b(now|clock_timestamp|statement_timestamp|transaction_timestamp)\(\)|CURRENT_TIMESTAMP/i.test(
      column.fill,
    )
  )
    found.push("filled from the server's clock by default");
  if (column.fill === 'identity' || /^nextval\(/.test(column.fill)) found.push('filled from a sequence');
  if (column.indexed) found.push('indexed');
  if (column.unique) found.push('unique');
  if (column.notNull) found.push('never NULL');
  return found;
}

function risks(column: ColumnFacts, { estimatedRows, future, isTable }: TableFacts): readonly string[] {
  const found: string[] = [];
  const score = candidateScore(column);
  if (score < 3) found.push('changes of existing rows are not seen by it');
  else if (column.trigger === null && isTable)
    found.push('nothing in the database keeps it current: every program that updates rows must set it');
  if (!column.indexed && isTable) found.push('not indexed: every run scans the whole table');
  if (column.nullShare !== null && column.nullShare > 0)
    found.push(`about ${percent(column.nullShare)} of the rows have NULL in it`);
  else if (column.nullShare === null && !column.notNull) found.push('may hold NULL');
  const values = distinctValues(column.distinct, estimatedRows);
  if (
    values !== null &&
    estimatedRows !== null &&
    estimatedRows > 1_000 &&
    estimatedRows / Math.max(1, values) > 100
  ) {
    found.push(
      `many rows share a value (about ${Math.round(estimatedRows / Math.max(1, values))} each): those tied with the newest are read again in every run`,
    );
  }
  if (future.has(column.name)) found.push('its newest value lies in the future');
  if (/^timestamp( without|\(\d\) without|$)/.test(column.typeName))
    found.push('has no time zone: two writers in different zones disagree about order');
  return found;
}

function distinctValues(distinct: number | null, rows: number | null): number | null {
  if (distinct === null || distinct === 0) return null;
  if (distinct > 0) return distinct;
  return rows === null ? null : -distinct * rows;
}

function percent(share: number): string {
  return share < 0.01 ? 'under 1%' : `${Math.round(share * 100)}%`;
}
