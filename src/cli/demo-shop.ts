/** The shop that the demo connects: a source that somebody might have, with the types that usually go wrong. */

import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';

/** A shop's database on a server of the demo's own. */
export interface Shop extends AsyncDisposable {
  /** What the server is called. */
  readonly server: string;
  /** The config that a connector of the type `type` reaches it with; the password is given apart. */
  readonly type: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Of the login in `config`, which can read and nothing else: what a connector should be given. */
  readonly password: string;
  /** A day of business: orders come in, some change, some are deleted, invoices are written. Returns what was done. */
  trade(): Promise<{ readonly inserted: number; readonly updated: number; readonly deleted: number }>;
  /** Rows and SHA-256 over every row of a table in key order, as the source has it. */
  fingerprint(table: ShopTable): Promise<Fingerprint>;
}

export interface Fingerprint {
  readonly rows: number;
  readonly sha256: string;
}

export const SHOP_TABLES = ['customers', 'orders', 'invoices'] as const;
export type ShopTable = (typeof SHOP_TABLES)[number];

/** Who the connector logs in as. */
export const SHOP_READER = 'millrace';

/** The same fingerprint of a landed table; rows marked as deleted are left out. */
export function landedFingerprint(warehouseFile: string, connector: string, table: ShopTable): Fingerprint {
  const db = new Database(warehouseFile, { readonly: true });
  try {
    const columns = LANDED_COLUMNS[table].join(', ');
    const rows = db
      .prepare(`SELECT ${columns} FROM "${connector}__${table}" WHERE "_mr_deleted_at" IS NULL ORDER BY id`)
      .raw()
      .all();
    return digest(rows as unknown[][]);
  } finally {
    db.close();
  }
}

/** Every value as text, so that a number and the driver's text for it are the same; NULL stays apart from ''. */
export function digest(rows: readonly (readonly unknown[])[]): Fingerprint {
  const hash = createHash('sha256');
  for (const row of rows)
    hash.update(`${JSON.stringify(row.map((value) => (value === null ? null : String(value))))}\n`);
  return { rows: rows.length, sha256: hash.digest('hex') };
}

const LANDED_COLUMNS: Readonly<Record<ShopTable, readonly string[]>> = {
  customers: ['id', 'name', 'email', 'country', 'joined', 'updated_at'],
  orders: ['id', 'customer_id', 'status', 'total', 'items', 'express', 'note', 'updated_at'],
  invoices: ['id', 'order_id', 'amount', 'updated_at'],
};
