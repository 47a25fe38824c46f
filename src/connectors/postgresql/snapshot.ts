/**
 * The snapshot that a reading is made in.
 *
 * A table that was emptied or rewritten behind a snapshot (TRUNCATE, most forms of ALTER TABLE) is empty in that
 * snapshot (manual, "Caveats" of concurrency control), for the count as well. And under REPEATABLE READ a SELECT fixes
 * the snapshot first and then waits for its tables: who fills one anew in one transaction takes all rows from the
 * reading that waits for him. So:
 *
 *   1. the stream's own table or view is locked before there is a snapshot. LOCK TABLE needs none, and locks the
 *      partitions, the children and what stands under a view as well;
 *   2. then the snapshot is taken, and the stream's SELECT locks whatever else stands in it;
 *   3. everything locked by then must lie where the snapshot's catalogue says. Functions of the catalogue answer with
 *      what is there now, not in the snapshot: where the two differ, there must be another snapshot.
 *
 * Step 1 alone would not do: LOCK TABLE takes no materialized views and no columns, and does not know what SQL of the
 * stream's own names. Nor would step 3: rows that were moved between tables that stay, by a transaction that also
 * redefined a view or took a child from its parent, leave no trace there. In SQL of the stream's own that remains
 * unseen, as do tables that only functions read.
 */

import { MillraceError } from '../../core/errors.ts';
import { plain } from '../sql/names.ts';
import { schemaChanged } from '../sql/plan.ts';
import { readerName } from './guard.ts';
import { fromWhere, type ReadPlan } from './plan.ts';
import { type Session, textSettings, transactionTimeoutSince } from './session.ts';

/** Each of them may wait for a lock. Nobody rewrites a table that often, except to no end. */
const attemptsMax = 5;

/**
 * Begins the transaction of a reading: REPEATABLE READ, READ ONLY, its tables locked against changes of their
 * columns. Throws `schema_changed` when the columns are no longer those of the plan.
 */
export async function beginSnapshot(session: Session, plan: ReadPlan, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    await session.command(beginSql(session.version), { signal });
    await holdShape(session, plan, signal);
    if (!(await isBehind(session, signal))) return;
    await session.command('ROLLBACK', { signal });
  }
  throw schemaChanged(`a table was rewritten or emptied at each of ${attemptsMax} attempts to read it`);
}

/** COPY runs for hours: its silence is watched here, not by the server's clock. */
function beginSql(version: number): string {
  return [
    'BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY',
    `SET LOCAL application_name = '${readerName}'`,
    'SET LOCAL statement_timeout = 0',
    ...(version >= transactionTimeoutSince ? ['SET LOCAL transaction_timeout = 0'] : []),
    ...textSettings.map((setting) => `SET LOCAL ${setting}`),
  ].join('; ');
}

/**
 * The first SELECT of the snapshot: it refuses whatever is not one SELECT (the same words go into COPY later, where
 * nothing would), and shows the types that will come: of a domain, what it stands on.
 */
async function holdShape(session: Session, plan: ReadPlan, signal: AbortSignal): Promise<void> {
  const list = plan.columns.map((column) => column.ref).join(', ');
  let fields: Awaited<ReturnType<Session['describe']>>['fields'];
  try {
    await lockRelation(session, plan, signal);
    ({ fields } = await session.describe(`SELECT ${list}${fromWhere(plan.shape)} LIMIT 0`, [], { signal }));
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'not_found_at_source')
      throw schemaChanged('a column or the table is gone', error);
    throw error;
  }
  for (const [i, column] of plan.columns.entries()) {
    if (fields[i]?.type !== column.base)
      throw schemaChanged(`column "${plain(column.name, 63)}" has another type`);
  }
}

async function lockRelation(session: Session, plan: ReadPlan, signal: AbortSignal): Promise<void> {
  const { relation } = plan.shape;
  // Whoever may read some columns only may not lock.
  if (!relation?.mayRead || !['table', 'partitioned_table', 'view'].includes(relation.kind)) return;
  await unlessRefused(session, signal, () =>
    session.query(`LOCK TABLE ${relation.sql} IN ACCESS SHARE MODE`, [], { signal }),
  );
}

/**
 * Step 3, of what is locked and of its partitions and children as the snapshot knows them. A table that the snapshot
 * does not know has all its rows from behind it.
 */
const behindSql = `
WITH RECURSIVE held (oid) AS (
  SELECT l.relation FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_catalog.pg_backend_pid()
  UNION SELECT i.inhrelid FROM held JOIN pg_catalog.pg_inherits i ON i.inhparent = held.oid
)
SELECT EXISTS (
  SELECT FROM held LEFT JOIN pg_catalog.pg_class c ON c.oid = held.oid
  WHERE c.oid IS NULL
    OR c.relkind IN ('r', 'm') AND c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)
    OR c.relkind IN ('r', 'p', 'f') AND c.relispartition AND pg_catalog.pg_partition_root(c.oid) IS NULL
)`;

/** Whether a table was replaced, emptied or rewritten behind the snapshot. */
async function isBehind(session: Session, signal: AbortSignal): Promise<boolean> {
  const rows = await unlessRefused(session, signal, () => session.query(behindSql, [], { signal }));
  return rows?.[0]?.[0] === 't';
}

/**
 * What work gives, or null when the server refuses it to this login or for this kind of relation (12 wants a grant on
 * each partition that is locked); the transaction goes on.
 */
async function unlessRefused<T>(
  session: Session,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T | null> {
  await session.command('SAVEPOINT before', { signal });
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof MillraceError) || !['permission_denied', 'response_invalid'].includes(error.code))
      throw error;
    await session.command('ROLLBACK TO SAVEPOINT before', { signal });
    return null;
  }
}
