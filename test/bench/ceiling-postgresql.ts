import Database from 'better-sqlite3';
import pg from 'pg';
import { copyBinary, DECODERS } from './copy-binary.ts';
import { SQLITE_COLUMNS, type TableName } from './tables.ts';

/**
 * The ceiling: what one thread can do with nothing else to do. `COPY (FORMAT binary)`, a hand parser,
 * better-sqlite3, one transaction; no cursor, no checks, no keys looked at, nothing to resume. A process of
 * its own, as Millrace is. Prints one line of JSON. `node ceiling-postgresql.ts TABLE FILE`, PostgreSQL's URL in BENCH_URL.
 */
const table = process.argv[2] as TableName;
const db = new Database(process.argv[3]);
db.exec(`CREATE TABLE ${table} (${SQLITE_COLUMNS[table]})`);
const decoders = DECODERS[table];
const columns = decoders.length;
const insert = db.prepare(`INSERT INTO ${table} VALUES (${decoders.map(() => '?').join()})`);

const client = new pg.Client({ connectionString: process.env['BENCH_URL'] });
await client.connect();
const began = performance.now();
let total = 0;
db.exec('BEGIN');
// Spread arguments bind faster than an array (258k against 160k wide rows/s from memory, better-sqlite3 13).
await copyBinary(
  client,
  `COPY ${table} TO STDOUT (FORMAT binary)`,
  { decoders, rows: 100 },
  (values, rows) => {
    for (let i = 0; i < rows; i++) insert.run(...values.slice(i * columns, (i + 1) * columns));
    total += rows;
  },
);
db.exec('COMMIT');
const ms = performance.now() - began;
await client.end();
db.close();
console.log(JSON.stringify({ rows: total, ms }));
