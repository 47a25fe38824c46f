import { candidateScore } from '../sql/candidates.ts';
import type { ColumnFacts } from '../sql/cursor-candidates.ts';
import type { DiscoveredTable } from './discover.ts';
import { identifier, literal, type ShapeContext } from './shape.ts';

/** A look that must never wait: neither for a lock nor for a scan. */
const lookMs = 1_000;
const lockMs = 100;

/**
 * Which time columns hold a value ahead of the server's clock: asked only where an index answers at once. What
 * cannot be told in time is not said.
 */
export async function newestInFuture(
  { session, signal }: ShapeContext,
  tables: readonly DiscoveredTable[],
  facts: ReadonlyMap<number, readonly ColumnFacts[]>,
): Promise<ReadonlyMap<number, ReadonlySet<string>>> {
  const found = new Map<number, Set<string>>();
  const questions = tables.flatMap((table) => {
    const column = (facts.get(table.oid) ?? []).find((fact) => fact.indexed && candidateScore(fact) >= 2);
    if (!column || table.kind !== 'table') return [];
    const name = identifier(column.name);
    const later = `SELECT ${name}::timestamptz > pg_catalog.now() + interval '1 day' FROM ${table.sql} WHERE ${name} IS NOT NULL ORDER BY ${name} DESC LIMIT 1`;
    return [`SELECT ${table.oid}, ${literal(column.name)} WHERE (${later})`];
  });
  if (questions.length === 0) return found;
  await session.command(
    `BEGIN READ ONLY; SET LOCAL lock_timeout = ${lockMs}; SET LOCAL statement_timeout = ${lookMs}`,
    { signal },
  );
  const rows = await session.query(questions.join(' UNION ALL '), [], { signal }).catch((error: unknown) => {
    if (!session.usable || signal.aborted) throw error;
    return [];
  });
  await session.command('ROLLBACK', { signal });
  for (const [oid, column] of rows) {
    const known = found.get(Number(oid));
    if (known) known.add(column ?? '');
    else found.set(Number(oid), new Set([column ?? '']));
  }
  return found;
}
