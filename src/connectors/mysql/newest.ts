import { candidateScore } from '../sql/candidates.ts';
import type { ColumnFacts } from '../sql/cursor-candidates.ts';
import type { Asking, CatalogueTable } from './catalogue.ts';
import { identifier } from './session.ts';

/** A look that must never wait: neither for a lock nor for a scan. */
const lookMs = 1_000;

/** A table and what is known of its columns. */
export interface LookedAt {
  readonly table: CatalogueTable;
  readonly facts: readonly ColumnFacts[];
}

/**
 * Which time columns hold a value ahead of the server's clock, by table: asked only where an index answers at once.
 * What cannot be told in time is not said. A day of grace, since a datetime may be of any time zone.
 */
export async function newestInFuture(
  { session, signal }: Asking,
  looked: readonly LookedAt[],
): Promise<ReadonlyMap<CatalogueTable, ReadonlySet<string>>> {
  const asked = looked.flatMap(({ table, facts }) => {
    const column = facts.find((fact) => fact.indexed && candidateScore(fact) >= 2);
    return column && table.kind !== 'view' ? [{ table, column: column.name }] : [];
  });
  if (asked.length === 0) return new Map();
  const later = asked.map(
    ({ table, column }) =>
      `(SELECT MAX(${identifier(column)}) FROM ${table.sql}) > UTC_TIMESTAMP() + INTERVAL 1 DAY`,
  );
  const [row = []] = await session
    .query(`SELECT ${later.join(', ')}`, [], { signal, timeoutMs: lookMs })
    .catch((error: unknown) => {
      if (!session.usable || signal.aborted) throw error;
      return [];
    });
  return new Map(
    asked.flatMap(({ table, column }, i) => (row[i] === '1' ? [[table, new Set([column])] as const] : [])),
  );
}
