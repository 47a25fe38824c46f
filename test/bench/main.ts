import { parseArgs } from 'node:util';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import { measureTable, type TableResult } from './measure.ts';
import { missingTools } from './processes.ts';
import { reportText } from './report.ts';
import { fillTable, type TableName } from './tables.ts';

/**
 * `npm run bench -- [--rows 1000000[,5000000]] [--rounds 3] [--tables narrow,wide] [--json]`
 *
 * PostgreSQL to SQLite, full and incremental, beside (a) the ceiling of one bare thread and (b) `psql | sqlite3`,
 * all in one run and in turns, medians. Notes go to stderr, the result to stdout. Run it on a quiet machine.
 */
const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '3' },
    tables: { type: 'string', default: 'narrow,wide' },
    json: { type: 'boolean', default: false },
  },
});
const note = (text: string): void => console.error(text);
const sizes = values.rows.split(',').map((text) => positive('--rows', text));
const rounds = positive('--rounds', values.rounds);
const tables = values.tables.split(',').map(tableName);

const missing = missingTools();
if (missing.length > 0) {
  note(
    `(b) is left out: no ${missing.join(' and no ')} here. Debian: apt-get install postgresql-client sqlite3`,
  );
}

await using stack = new AsyncDisposableStack();
const source = stack.use(
  await startEmbeddedPostgres({
    settings: { shared_buffers: '256MB', max_wal_size: '4GB', autovacuum: 'off' },
  }),
);
const client = stack.adopt(new pg.Client({ connectionString: source.url }), (open) => open.end());
await client.connect();
const server = String((await client.query('SHOW server_version')).rows[0]?.server_version);
const results: TableResult[] = [];
for (const rows of sizes) {
  for (const table of tables) {
    note(`${table}: making ${rows.toLocaleString('en-US')} rows`);
    const fill = (): Promise<void> => fillTable(client, table, rows);
    results.push(await measureTable(source, table, { rows, rounds, pipe: missing.length === 0, fill, note }));
    await client.query(`DROP TABLE ${table}`);
  }
}
console.log(values.json ? JSON.stringify(results, null, 2) : reportText(results, server));

function positive(option: string, text: string): number {
  const value = Number(text.replaceAll('_', ''));
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`${option} takes whole numbers above 0, not "${text}".`);
}

function tableName(text: string): TableName {
  if (text === 'narrow' || text === 'wide') return text;
  throw new Error(`--tables takes narrow and wide, not "${text}".`);
}
