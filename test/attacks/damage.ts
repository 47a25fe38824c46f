import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';

/** Leases, checks and the log of runs go on by themselves, and are not among what an attack must leave as it was. */
const STORE_TABLES = ['connectors', 'streams', 'secrets', 'retired_keys'] as const;

/** What an attack must leave as it was, as one text a thing: files, rows and schema of the warehouse, the store. */
export function stateOf(dataDir: string): Readonly<Record<string, string>> {
  return {
    key: hash(readFileSync(join(dataDir, 'master.key'))),
    files: [...names(dataDir), ...names(dirname(dataDir)), ...names('/tmp', /^evil|millrace-never/)].join(
      ' ',
    ),
    warehouse: warehouseOf(join(dataDir, 'warehouse.db')),
    ...storeOf(join(dataDir, 'store.db')),
  };
}

function warehouseOf(file: string): string {
  return reading(file, (db) => {
    const schema = db.prepare('SELECT * FROM sqlite_schema ORDER BY name').all() as {
      name: string;
      type: string;
    }[];
    const tables = schema.filter(({ type }) => type === 'table').map(({ name }) => name);
    const rows = tables.map((name) => db.prepare(`SELECT * FROM "${name}"`).raw().all());
    const facts = [
      'user_version',
      'application_id',
      'journal_mode',
      'encoding',
      'page_size',
      'integrity_check',
    ];
    return hash(JSON.stringify([schema, rows, facts.map((fact) => db.pragma(fact, { simple: true }))]));
  });
}

function storeOf(file: string): Readonly<Record<string, string>> {
  return reading(file, (db) =>
    Object.fromEntries(
      STORE_TABLES.map((table) => [table, hash(JSON.stringify(db.prepare(`SELECT * FROM ${table}`).all()))]),
    ),
  );
}

function reading<T>(file: string, work: (db: Database.Database) => T): T {
  const db = new Database(file, { readonly: true });
  try {
    return work(db.defaultSafeIntegers(false));
  } finally {
    db.close();
  }
}

/** Without SQLite's own companions of an open file. */
function names(folder: string, which = /^(?!.*-(?:wal|shm|journal)$)/): readonly string[] {
  return readdirSync(folder)
    .filter((name) => which.test(name))
    .toSorted();
}

function hash(what: string | Uint8Array): string {
  return createHash('sha256').update(what).digest('hex').slice(0, 16);
}
