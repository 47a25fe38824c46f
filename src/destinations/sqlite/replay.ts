import { MillraceError } from '../../core/errors.ts';
import type { Value } from '../../core/types.ts';
import type { JudgedRow, KeptRow, Replayed, Replayer, ReplayRequest, WriterRequest } from '../destination.ts';
import { type Database, guarded, transaction } from './driver.ts';
import { createFence } from './fence.ts';
import { createInserter, type Inserted, type Inserter } from './insert.ts';
import { columnsOf, type Opened, openStream } from './open-stream.ts';
import { createOverlap, type Overlap } from './overlap.ts';
import { isKeyed } from './reject-identity.ts';

/** What one step reads and lands: a transaction of some milliseconds. Rows are looked at in slices of so many bytes. */
const stepRows = 500;
const stepBytes = 2 * 1024 * 1024;

interface RejectRow extends KeptRow {
  readonly run_id: string;
  readonly identity: string;
  readonly of_source: number;
}

/** Opens the rejects of a stream for landing them; see `Destination.replayer`. */
export function openReplay(
  { db, file }: { readonly db: Database; readonly file: string },
  request: ReplayRequest,
): Replayer {
  const { connector, stream, ids } = request;
  const writing = { ...request, runId: '', rebuild: false };
  const { opened, overlap } = guarded(file, () => transaction(db, () => openParts(db, writing)));
  const columns = columnsOf(writing, opened.layout);
  const names = columns.map(({ name }) => name);
  const fence = createFence({ db, file }, request);
  const statements = prepare(db);
  const inserters = new Map<string, Inserter>();
  let after = 0;

  /** A row lands as of the run that met it; over a row of its key only when it is known to be the newer one. */
  const inserterOf = ({ run_id, identity }: RejectRow): Inserter => {
    const updates = isKeyed(identity);
    const name = `${run_id} ${updates}`;
    const inserter =
      inserters.get(name) ??
      createInserter(db, {
        table: opened.layout.table,
        layout: opened.layout,
        columns: names,
        runId: run_id,
        updates,
      });
    inserters.set(name, inserter);
    return inserter;
  };

  /** Why the row cannot land, or null when it has. */
  const landed = (reject: RejectRow, values: readonly Value[]): { added: number; reason: string | null } => {
    if (overlap !== null && !mayLand(overlap, reject, values)) return { added: 0, reason: null };
    const done = inserterOf(reject).insert(values, 1);
    return { added: done.added, reason: refusal(done, reject, opened) };
  };

  const land = (judged: readonly JudgedRow[]): Replayed => {
    let added = 0;
    let still = 0;
    let replayed = 0;
    for (const row of judged) {
      const reject = statements.one.get(row.id) as RejectRow | undefined;
      // Somebody has emptied the table meanwhile.
      if (reject === undefined) continue;
      const outcome = 'values' in row ? landed(reject, row.values) : { added: 0, reason: row.reason };
      added += outcome.added;
      if (outcome.reason === null) {
        statements.forget.run(row.id);
        replayed += 1;
      } else {
        statements.still.run(outcome.reason, row.id);
        still += 1;
      }
    }
    statements.rows.run(added, connector, stream.name);
    return { replayed, still_rejected: still };
  };

  return {
    columns,
    async next() {
      return guarded(file, () => {
        const found = (
          ids === undefined
            ? statements.next.all(connector, stream.name, after)
            : statements.nextOf.all(connector, stream.name, after, JSON.stringify(ids))
        ) as KeptRow[];
        const rows = withinBytes(found);
        after = rows.at(-1)?.id ?? after;
        return rows.map(({ id, row, cut, reason }) => ({ id, row, reason, cut: Boolean(cut) }));
      });
    },
    async land(judged) {
      try {
        return fence(() => land(judged));
      } catch (error) {
        overlap?.reload();
        throw error;
      }
    },
    async [Symbol.asyncDispose]() {
      inserters.clear();
    },
  };
}

function openParts(
  db: Database,
  request: WriterRequest,
): { readonly opened: Opened; readonly overlap: Overlap | null } {
  const { connector, stream } = request;
  const owner = { connector, stream: stream.name };
  const opened = openStream(db, request);
  if (opened.building || !opened.landed) throw nothingToLandIn(owner);
  const { layout } = opened;
  const columns = columnsOf(request, layout);
  return {
    opened,
    overlap:
      stream.mode === 'append'
        ? createOverlap(db, { connector, stream, columns, layout, building: false })
        : null,
  };
}

/**
 * Whether an appended row is still to land. One that the source kept back may have been read again since it was mended,
 * and is then among those that may come again; one that lands now has to be recognised when it is read again.
 */
function mayLand(overlap: Overlap, { of_source }: RejectRow, values: readonly Value[]): boolean {
  if (overlap.remembers(values)) return of_source === 0;
  overlap.remember(values);
  return true;
}

function refusal(
  { added, changed, rejects }: Inserted,
  { identity }: RejectRow,
  { layout }: Opened,
): string | null {
  const [refused] = rejects;
  if (refused !== undefined) return refused.reason;
  if (added + changed > 0 || isKeyed(identity) || layout.key.length === 0) return null;
  return 'another version of the row has landed, and which of the two is newer is not known; full_refresh reads it anew';
}

function withinBytes(rows: readonly KeptRow[]): readonly KeptRow[] {
  let bytes = 0;
  const over = rows.findIndex(({ row }) => {
    bytes += row.length;
    return bytes > stepBytes;
  });
  return over === -1 ? rows : rows.slice(0, Math.max(1, over));
}

function prepare(db: Database) {
  const next =
    'SELECT id, row, reason, cut FROM _millrace_rejects WHERE connector = ? AND stream = ? AND of_build = 0 AND id > ?';
  const order = `ORDER BY id LIMIT ${stepRows}`;
  return {
    next: db.prepare(`${next} ${order}`),
    nextOf: db.prepare(`${next} AND id IN (SELECT value FROM json_each(?)) ${order}`),
    one: db.prepare('SELECT id, run_id, identity, of_source FROM _millrace_rejects WHERE id = ?'),
    forget: db.prepare('DELETE FROM _millrace_rejects WHERE id = ?'),
    still: db.prepare('UPDATE _millrace_rejects SET reason = ? WHERE id = ?'),
    rows: db.prepare(
      'UPDATE _millrace_cursors SET row_count = row_count + ? WHERE connector = ? AND stream = ?',
    ),
  };
}

function nothingToLandIn({
  connector,
  stream,
}: {
  readonly connector: string;
  readonly stream: string;
}): MillraceError {
  return new MillraceError(
    'invalid_config',
    `"${stream}" is defined otherwise than when its rows were kept aside, or has not landed: they belong to another table.`,
    {
      hint: 'Run sync_connector: the stream is read anew, and with it the rows that were kept aside.',
      nextActions: [
        {
          tool: 'sync_connector',
          arguments: { connector, streams: [stream] },
          why: 'reads the stream anew',
        },
      ],
    },
  );
}
