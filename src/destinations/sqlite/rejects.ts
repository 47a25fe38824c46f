import type { Reject } from '../../core/model.ts';
import type { Column, Value } from '../../core/types.ts';
import type { Database } from './driver.ts';
import { contentIdentity, isKeyed, keyIdentity, rejectIdentity } from './reject-identity.ts';

/** Different rejects kept for a stream. The oldest stay, because they have waited longest; further ones are only counted. */
const rejectsKept = 10_000;

/**
 * The rejects of a stream while it is written. One that is kept is the newest version of its row that was read: it goes
 * when a row of its key lands, when a newer version is rejected in its place, and when the source has the key no more.
 * So a replay can land it without looking, and never overwrites what is newer.
 */
export interface Rejects {
  /** What a batch brought: its rows, and those of it that did not land. Called inside its transaction. */
  commit(batch: Landed): { readonly unkept: number };
  /** Keys that the source still has, for `forgetUnseen`. */
  see(keys: readonly Value[], rows: number): void;
  /** Forgets rejects whose key was not seen: their rows are gone at the source. Called inside a transaction. */
  forgetUnseen(): void;
  /** Called when a transaction went back: what is in memory has to be read again. */
  reload(): void;
}

export interface Landed {
  readonly values: readonly Value[];
  readonly rows: number;
  readonly columns: readonly Column[];
  /** Those that the source kept back; they are not among the rows. */
  readonly given: readonly Reject[];
  /** Those among the rows that the table refused. */
  readonly refused: readonly Reject[];
}

export interface RejectsOptions {
  readonly connector: string;
  readonly stream: string;
  readonly runId: string;
  /** Source names of the key's columns; empty without one. */
  readonly key: readonly string[];
  /** Whether the rows go into a table built aside. */
  readonly building: boolean;
  readonly now: () => Date;
}

/** The rejects of one stream, or of the table that is built aside for it; the `_millrace_*` tables must be current. */
export function createRejects(db: Database, options: RejectsOptions): Rejects {
  const { key, building, now } = options;
  const own = [options.connector, options.stream, building ? 1 : 0] as const;
  const statements = prepare(db, building);
  /** Of kept rejects, those known by their row's key. */
  let pending = new Set<string>();
  let kept = 0;
  const seen = new Set<string>();

  const reload = (): void => {
    const identities = statements.identities.all(...own) as { readonly identity: string }[];
    pending = new Set(identities.map(({ identity }) => identity));
    kept = (statements.count.get(...own) as { readonly n: number }).n;
  };
  reload();

  const forget = (identity: string): void => {
    pending.delete(identity);
    kept -= statements.forget.run(...own, identity).changes;
  };

  /** False when there is no room for one more. */
  const keep = (reject: Reject, identity: string, ofSource: boolean): boolean => {
    const at = now().toISOString();
    const { reason, row, cut = false } = reject;
    const fields = [options.runId, reason, at, cut ? 1 : 0, ofSource ? 1 : 0, row] as const;
    if (statements.again.run(...fields, ...own, identity).changes > 0) return true;
    if (kept >= rejectsKept) return false;
    statements.keep.run(...fields, at, ...own, identity);
    kept += 1;
    if (isKeyed(identity)) pending.add(identity);
    return true;
  };

  return {
    commit(batch) {
      const { given, refused } = batch;
      if (pending.size === 0 && given.length === 0 && refused.length === 0) return { unkept: 0 };
      const known = [...given, ...refused].map((reject) => rejectIdentity(reject, key));
      const fresh = new Set(known);
      const landed = landedAmong((identity) => pending.has(identity) || fresh.has(identity), batch, {
        key,
        refused: known.slice(given.length),
      });
      for (const identity of landed) if (pending.has(identity)) forget(identity);
      let unkept = 0;
      for (const [at, reject] of [...given, ...refused].entries()) {
        const identity = known[at] ?? '';
        // Two versions of one row in one batch: which of them is newer is not known, so it has no claim on the key.
        const kept = landed.has(identity) ? contentIdentity(`${reject.reason}\0${reject.row}`) : identity;
        if (!keep(reject, kept, at < given.length)) unkept += 1;
      }
      if (unkept > 0) statements.unkept.run(unkept, options.connector, options.stream);
      return { unkept };
    },
    see(keys, rows) {
      if (pending.size === 0) return;
      const width = key.length;
      for (let row = 0; row < rows; row += 1) {
        const identity = keyIdentity(keys.slice(row * width, (row + 1) * width));
        if (pending.has(identity)) seen.add(identity);
      }
    },
    forgetUnseen() {
      for (const identity of [...pending]) if (!seen.has(identity)) forget(identity);
      seen.clear();
    },
    reload,
  };
}

/** Which of these identities belong to a row of the batch that landed: it has more rows of that key than were refused. */
function landedAmong(
  wanted: (identity: string) => boolean,
  { values, rows, columns }: Landed,
  { key, refused }: { readonly key: readonly string[]; readonly refused: readonly string[] },
): ReadonlySet<string> {
  const width = columns.length;
  const keyAt = key.map((name) => columns.findIndex((column) => column.name === name));
  if (keyAt.length === 0 || keyAt.includes(-1)) return new Set();
  const met = new Map<string, number>();
  for (let row = 0; row < rows; row += 1) {
    const identity = keyIdentity(keyAt.map((at) => values[row * width + at] ?? null));
    if (wanted(identity)) met.set(identity, (met.get(identity) ?? 0) + 1);
  }
  for (const identity of refused) met.set(identity, (met.get(identity) ?? 0) - 1);
  return new Set([...met].filter(([, count]) => count > 0).map(([identity]) => identity));
}

function prepare(db: Database, building: boolean) {
  const own = 'connector = ? AND stream = ? AND of_build = ?';
  const unkept = building ? 'build_unkept' : 'rejects_unkept';
  return {
    identities: db.prepare(`SELECT identity FROM _millrace_rejects WHERE ${own} AND identity GLOB 'k*'`),
    count: db.prepare(`SELECT count(*) AS n FROM _millrace_rejects WHERE ${own}`),
    forget: db.prepare(`DELETE FROM _millrace_rejects WHERE ${own} AND identity = ?`),
    again: db.prepare(
      `UPDATE _millrace_rejects SET run_id = ?, reason = ?, last_seen = ?, cut = ?, of_source = ?, row = ?, count = count + 1
       WHERE ${own} AND identity = ?`,
    ),
    keep: db.prepare(
      `INSERT INTO _millrace_rejects (run_id, reason, last_seen, cut, of_source, row, first_seen, connector, stream, of_build, identity, count)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)`,
    ),
    unkept: db.prepare(
      `UPDATE _millrace_cursors SET ${unkept} = ${unkept} + ? WHERE connector = ? AND stream = ?`,
    ),
  };
}
