/** What types and catalogue entries of PostgreSQL say about a column that could be a cursor. */

import type { CandidateKind } from '../sql/candidates.ts';
import type { ColumnFacts } from '../sql/cursor-candidates.ts';
import { plain } from '../sql/names.ts';

/** What a column of this type could follow. */
export function candidateKind(typeName: string): CandidateKind {
  if (/^(timestamp|date\b)/.test(typeName)) return 'time';
  return /^(bigint|integer)/.test(typeName) ? 'integer' : 'other';
}

/** A column as the catalogue and pg_stats describe it. */
export interface CatalogueColumn {
  readonly name: string;
  readonly typeName: string;
  readonly notNull: boolean;
  /** Its default as SQL, or `identity`. */
  readonly fill: string;
  readonly indexed: boolean;
  readonly unique: boolean;
  /** A trigger on UPDATE that speaks of it. */
  readonly trigger: string | null;
  /** Null before the first ANALYZE. */
  readonly nullShare: number | null;
  /** As in pg_stats: a count, or when negative a share of the rows; 0 or null when not known. */
  readonly distinct: number | null;
}

/** The same in words that fit every SQL database. */
export function columnFacts(column: CatalogueColumn, estimatedRows: number | null): ColumnFacts {
  const { name, typeName, notNull, fill, indexed, unique, trigger, nullShare, distinct } = column;
  return {
    name,
    kind: candidateKind(typeName),
    notNull,
    indexed,
    unique,
    keptBy: trigger === null ? null : `trigger "${plain(trigger, 63)}" sets it on UPDATE`,
    merits: filledBy(fill),
    nullShare,
    distinct: distinctValues(distinct, estimatedRows),
    caveats: /^timestamp( without|\(\d\) without|$)/.test(typeName)
      ? ['has no time zone: two writers in different zones disagree about order']
      : [],
  };
}

const clock = /\b(now|clock_timestamp|statement_timestamp|transaction_timestamp)\(\)|CURRENT_TIMESTAMP/i;

function filledBy(fill: string): readonly string[] {
  if (clock.test(fill)) return ["filled from the server's clock by default"];
  return fill === 'identity' || /^nextval\(/.test(fill) ? ['filled from a sequence'] : [];
}

function distinctValues(distinct: number | null, rows: number | null): number | null {
  if (distinct === null || distinct === 0) return null;
  if (distinct > 0) return distinct;
  return rows === null ? null : -distinct * rows;
}
