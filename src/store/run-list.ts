import { type AliasedRawBuilder, type Kysely, type SelectQueryBuilder, sql } from 'kysely';
import { MillraceError } from '../core/errors.ts';
import type { Database, RunRow } from './database.ts';
import { runIdFloor } from './run-id.ts';
import type { RunFilter } from './store.ts';

/**
 * Newest first, so that a page is the end of an index whatever is filtered by: `since` becomes a range of ids, which every
 * index ends with.
 */
export function matching(
  db: Kysely<Database>,
  { connector, status, since }: RunFilter,
  before: string | null,
): SelectQueryBuilder<{ readonly runs: RunRow }, 'runs', RunRow> {
  let query = db.selectFrom(runsBy({ connector, status })).selectAll().orderBy('run_id', 'desc');
  if (connector !== undefined) query = query.where('connector', '=', connector);
  if (status !== undefined) query = query.where('status', '=', status);
  if (since !== undefined) query = query.where('run_id', '>=', runIdFloor(sinceDate(since)));
  if (before !== null) query = query.where('run_id', '<', before);
  return query;
}

/**
 * By both, the index is named: between two bounds on the id SQLite takes all to be equally good, and would read every
 * failed run there is to find those of one connector.
 */
function runsBy({
  connector,
  status,
}: {
  readonly connector: string | undefined;
  readonly status: string | undefined;
}): AliasedRawBuilder<RunRow, 'runs'> {
  const both = connector !== undefined && status !== undefined;
  return sql<RunRow>`runs`.as<'runs'>(both ? sql`runs indexed by runs_by_connector_status` : sql`runs`);
}

function sinceDate(since: string): Date {
  const at = new Date(since);
  if (!Number.isNaN(at.getTime())) return at;
  throw new MillraceError('invalid_config', '`since` is not a time.', {
    hint: 'Give it as ISO 8601, e.g. "2026-11-02T08:00:00Z".',
  });
}
