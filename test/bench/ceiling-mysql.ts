import Database from 'better-sqlite3';
import { createConnection } from 'mysql2';
import { SQLITE_COLUMNS, type TableName } from './tables.ts';

/**
 * The ceiling: what one thread can do with nothing else to do. mysql2 as it comes, its `result` events (its streams
 * are a third slower on narrow rows), better-sqlite3, one transaction; no cursor, no checks, no keys looked at,
 * nothing to resume. A process of its own, as Millrace is. Prints one line of JSON. `node ceiling-mysql.ts TABLE
 * FILE`, the server's URL in BENCH_URL.
 */
const table = process.argv[2] as TableName;
const db = new Database(process.argv[3]);
db.exec(`CREATE TABLE ${table} (${SQLITE_COLUMNS[table]})`);
const columns = SQLITE_COLUMNS[table].split(',').length;
const insert = db.prepare(`INSERT INTO ${table} VALUES (${new Array(columns).fill('?').join()})`);
/** Where `updated_at` stands. */
const instant = table === 'narrow' ? 3 : 5;

// Dates as text, or their microseconds are lost; json as text, or its integers are.
const connection = createConnection({
  uri: process.env['BENCH_URL'] ?? '',
  charset: 'utf8mb4',
  dateStrings: true,
  jsonStrings: true,
});
await new Promise<void>((settle, fail) =>
  connection.query("SET time_zone = '+00:00'", (error) => (error ? fail(error) : settle())),
);
const began = performance.now();
let total = 0;
db.exec('BEGIN');
await new Promise<void>((settle, fail) => {
  connection
    .query({ sql: `SELECT * FROM ${table}`, rowsAsArray: true })
    .on('error', fail)
    // An insert takes no turn of the event loop, so the socket is not read while rows are written: no memory grows.
    .on('result', (row: unknown) => {
      const values = row as unknown[];
      const at = values[instant] as string;
      values[instant] = `${at.slice(0, 10)}T${at.slice(11)}Z`;
      insert.run(...values);
      total++;
    })
    .on('end', settle);
});
db.exec('COMMIT');
const ms = performance.now() - began;
connection.destroy();
db.close();
console.log(JSON.stringify({ rows: total, ms }));
