import type { KeptReject, Page, PageRequest } from '../../core/model.ts';
import { notAPage, pageFetch, pageOf, pageStart } from '../../core/paging.ts';
import type { RejectCount, RejectFilter } from '../warehouse.ts';
import type { Database } from './driver.ts';

/** Of a long row this much is shown; all that was kept of it is in the table. */
const shownChars = 1_000;

interface Row extends Omit<KeptReject, 'cut'> {
  readonly cut: number;
}

/** What stands aside of a connector's tables, by stream and age; never of one that is still being built. */
export function readRejects(db: Database, filter: RejectFilter, page: PageRequest): Page<KeptReject> {
  const after = pageStart(page);
  const [stream, id] = after === null ? ['', 0] : placeOf(after);
  const wanted = (['stream', 'run_id'] as const).flatMap((name) =>
    filter[name] === undefined ? [] : [{ sql: `AND ${name} = ?`, value: filter[name] }],
  );
  const rows = db
    .prepare(
      `SELECT id, stream, run_id, reason, substr(row, 1, ${shownChars}) || iif(length(row) > ${shownChars}, '…', '') AS row,
         cut, first_seen, last_seen, count
       FROM _millrace_rejects WHERE connector = ? AND of_build = 0 AND (stream, id) > (?, ?) ${wanted.map(({ sql }) => sql).join(' ')}
       ORDER BY stream, id LIMIT ?`,
    )
    .all(filter.connector, stream, id, ...wanted.map(({ value }) => value), pageFetch(page)) as Row[];
  return pageOf(rows, page, {
    item: ({ cut, ...reject }) => ({ ...reject, ...(cut === 0 ? {} : { cut: true }) }),
    key: (row) => `${row.id}:${row.stream}`,
  });
}

function placeOf(key: string): readonly [stream: string, id: number] {
  const [, id, stream] = /^(\d+):(.*)$/s.exec(key) ?? [];
  if (stream === undefined) throw notAPage();
  return [stream, Number(id)];
}

/** How many rows stand aside of each stream that has any. */
export function countRejects(db: Database, connector: string | undefined): readonly RejectCount[] {
  const [of, values] = connector === undefined ? ['', []] : ['connector = ? AND', [connector]];
  return db
    .prepare(
      `SELECT connector, stream, rejects_unkept AS not_kept,
         (SELECT count(*) FROM _millrace_rejects AS r WHERE r.connector = c.connector AND r.of_build = 0 AND r.stream = c.stream) AS kept
       FROM _millrace_cursors AS c WHERE ${of} (kept > 0 OR not_kept > 0)`,
    )
    .all(...values) as unknown as RejectCount[];
}
