import type { Database } from './driver.ts';
import type { Layout } from './layout.ts';
import { replaceTable } from './replace-table.ts';
import { indexDeleted, rememberColumns } from './table.ts';

/**
 * Puts a table that was built aside in the place of the one that readers see, with everything kept about its columns and
 * rejects. Called inside a transaction. Returns what could not be taken along, as sentences.
 */
export function swapIn(
  db: Database,
  { layout, build }: { readonly layout: Layout; readonly build: string },
  owner: { readonly connector: string; readonly stream: string },
): readonly string[] {
  const lost = replaceTable(db, layout.table, build);
  indexDeleted(db, layout);
  rememberColumns(db, owner, layout.columns);
  db.prepare('DELETE FROM _millrace_rejects WHERE connector = ? AND stream = ? AND of_build = 0').run(
    owner.connector,
    owner.stream,
  );
  db.prepare('UPDATE _millrace_rejects SET of_build = 0 WHERE connector = ? AND stream = ?').run(
    owner.connector,
    owner.stream,
  );
  return lost;
}
