import { parseArgs } from 'node:util';
import { measureIdle } from './idle.ts';
import { measureTable, type TableResult } from './measure.ts';
import { reportText } from './report.ts';
import type { BenchSource } from './source.ts';
import { mysqlSource } from './source-mysql.ts';
import { postgresqlSource } from './source-postgresql.ts';
import { restSource } from './source-rest.ts';
import { TABLE_NAMES, type TableName } from './tables.ts';

/**
 * `npm run bench -- --idle 100,10000 [--seconds 60]`
 *
 * What so many connectors with an hourly schedule cost while none is due.
 *
 * `npm run bench -- [--source postgresql,mysql,mariadb,rest] [--rows 1000000[,5000000]] [--rounds 3]
 * [--tables narrow,wide] [--json]`
 *
 * From each source to SQLite, full and incremental, beside (a) the ceiling of one bare thread and (b) the source's own
 * client into `sqlite3`, all in one run and in turns, medians. Notes go to stderr, the result to stdout. Run it on a
 * quiet machine.
 */
const { values } = parseArgs({
  options: {
    source: { type: 'string', default: 'postgresql,mysql,rest' },
    rows: { type: 'string', default: '1000000' },
    rounds: { type: 'string', default: '3' },
    tables: { type: 'string', default: 'narrow,wide' },
    json: { type: 'boolean', default: false },
    idle: { type: 'string' },
    seconds: { type: 'string', default: '60' },
  },
});
const note = (text: string): void => console.error(text);
const SOURCES: Readonly<Record<string, () => Promise<BenchSource>>> = {
  postgresql: postgresqlSource,
  mysql: () => mysqlSource('mysql', note),
  mariadb: () => mysqlSource('mariadb', note),
  rest: restSource,
};

const sources = values.source.split(',').map(openerOf);
const sizes = values.rows.split(',').map((text) => positive('--rows', text));
const largest = Math.max(...sizes);
const rounds = positive('--rounds', values.rounds);
const tables = values.tables.split(',').map(tableName);

const told: unknown[] = [];
if (values.idle !== undefined) {
  const seconds = positive('--seconds', values.seconds);
  for (const text of values.idle.split(',')) told.push(await idle(positive('--idle', text), seconds));
} else {
  // One server at a time: the others would take memory and the processor from the one that is measured.
  for (const open of sources) told.push(await measure(open));
}
console.log(values.json ? JSON.stringify(told, null, 2) : told.join('\n\n'));

async function measure(open: () => Promise<BenchSource>): Promise<unknown> {
  await using source = await open();
  if (source.pipe?.shell === null) note(`(b) is left out: ${source.pipe.missing}`);
  const results: TableResult[] = [];
  for (const rows of sizes) {
    for (const table of tables) {
      note(`${source.title}, ${table}: ${rows.toLocaleString('en-US')} rows`);
      results.push(await measureTable(source, table, { rows, largest, rounds, note }));
      await source.drop(table);
    }
  }
  return values.json ? { source: source.title, results } : reportText(results, source);
}

async function idle(connectors: number, seconds: number): Promise<unknown> {
  note(`${connectors.toLocaleString('en-US')} connectors, idle for ${seconds} s`);
  const result = await measureIdle(connectors, seconds);
  if (values.json) return result;
  const { cpuPercent, memoryMb } = result;
  return `${connectors.toLocaleString('en-US')} connectors: ${cpuPercent.toFixed(2)} % of a core (wanted below 1), ${Math.round(memoryMb)} MB (wanted below 200)`;
}

function openerOf(text: string): () => Promise<BenchSource> {
  const open = Object.hasOwn(SOURCES, text) ? SOURCES[text] : undefined;
  if (open) return open;
  throw new Error(`--source takes ${Object.keys(SOURCES).join(', ')}, not "${text}".`);
}

function positive(option: string, text: string): number {
  const value = Number(text.replaceAll('_', ''));
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`${option} takes whole numbers above 0, not "${text}".`);
}

function tableName(text: string): TableName {
  const known = TABLE_NAMES.find((name) => name === text);
  if (known) return known;
  throw new Error(`--tables takes ${TABLE_NAMES.join(' and ')}, not "${text}".`);
}
