import Database from 'better-sqlite3';
import { request } from 'undici';
import type { TableName } from './tables.ts';

/**
 * The ceiling: what one thread can do with nothing else to do. undici, JSON.parse, better-sqlite3, one transaction;
 * fields that are known beforehand, no digit looked at, no keys, nothing to resume. A process of its own, as Millrace
 * is. Prints one line of JSON. `node ceiling-rest.ts TABLE FILE`, the API's URL in BENCH_URL.
 */
const table = process.argv[2] as TableName;

interface Row {
  readonly [field: string]: unknown;
}

const COLUMNS: Readonly<Record<TableName, string>> = {
  narrow: 'id INTEGER PRIMARY KEY, n INTEGER, label TEXT, updated_at TEXT',
  wide: `id INTEGER PRIMARY KEY, uid TEXT, name TEXT, amount REAL, flag INTEGER, updated_at TEXT, doc TEXT,
      numbers TEXT, day TEXT, bin TEXT, optional INTEGER, status TEXT, small INTEGER`,
};
const db = new Database(process.argv[3]);
db.exec(`CREATE TABLE ${table} (${COLUMNS[table]})`);
const insert = db.prepare(
  `INSERT INTO ${table} VALUES (${new Array(COLUMNS[table].split(',').length).fill('?').join()})`,
);
const LAND: Readonly<Record<TableName, (row: Row) => unknown>> = {
  narrow: (r) => insert.run(r['id'], r['n'], r['label'], r['updated_at']),
  wide: (r) =>
    insert.run(
      ...[r['id'], r['uid'], r['name'], r['amount'], r['flag'] ? 1 : 0, r['updated_at'], text(r['doc'])],
      ...[text(r['numbers']), r['day'], r['bin'], r['optional'], r['status'], r['small']],
    ),
};
const land = LAND[table];

const began = performance.now();
let total = 0;
let next: string | null = '0';
db.exec('BEGIN');
while (next !== null) {
  const { body } = await request(`${process.env['BENCH_URL']}/${table}?after=${next}`);
  const page = JSON.parse(await body.text()) as {
    readonly data: readonly Row[];
    readonly next: string | null;
  };
  for (const row of page.data) land(row);
  total += page.data.length;
  next = page.next;
}
db.exec('COMMIT');
const ms = performance.now() - began;
db.close();
console.log(JSON.stringify({ rows: total, ms }));

function text(value: unknown): string | null {
  return value === null ? null : JSON.stringify(value);
}
