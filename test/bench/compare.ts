import Database from 'better-sqlite3';
import type { TableName } from './tables.ts';

/** Throws unless both files hold the same rows in the same forms: a ceiling that lands less is no ceiling. */
export function compareLanded(table: TableName, ceilingFile: string, warehouseFile: string): void {
  const db = new Database(ceilingFile);
  try {
    db.prepare('ATTACH ? AS landed').run(warehouseFile);
    const columns = db.prepare(`SELECT name FROM pragma_table_info('${table}')`).pluck().all() as string[];
    // IS, with the storage class beside it: 1 and '1' are not the same form.
    const differ = columns.map(
      (name) => `a.${name} IS NOT b.${name} OR typeof(a.${name}) <> typeof(b.${name})`,
    );
    const found = db
      .prepare(
        `SELECT a.id FROM main.${table} AS a LEFT JOIN landed.bench__${table} AS b ON b.id = a.id
         WHERE b.id IS NULL OR ${differ.join(' OR ')} LIMIT 1`,
      )
      .get() as { readonly id: number } | undefined;
    if (!found) return;
    const pair = [`main.${table}`, `landed.bench__${table}`].map((name) =>
      db.prepare(`SELECT * FROM ${name} WHERE id = ?`).get(found.id),
    );
    throw new Error(`The ceiling and Millrace land different rows: ${JSON.stringify(pair)}`);
  } finally {
    db.close();
  }
}
