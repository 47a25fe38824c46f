import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';
import { createConnection, type RowDataPacket } from 'mysql2/promise';
import { describe, expect, test } from 'vitest';
import type { StreamInfo } from '../../src/core/model.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshMysql, type MysqlKind, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { type SampleName, type SampleSql, sampleSql } from '../support/sample-databases.ts';

/**
 * Real databases that nobody here made, taken whole as an assistant would take them: discovered, added as suggested,
 * synced. Every table is equal by count and by a checksum over every value, which the server itself turned into text
 * without any of our code. Views by count only: sakila's say GROUP_CONCAT without an order, and a server answers such
 * a view one way now and another way later.
 */

const samples: readonly SampleName[] = ['sakila', 'world and TPC-H'];
const FEWEST_STREAMS: Readonly<Record<SampleName, number>> = { sakila: 16, 'world and TPC-H': 12 };

describe.each(mysqlKinds)('on %s', (kind) => {
  test('each sample that can be had here lands whole', { timeout: 480_000 }, async () => {
    const found = await Promise.all(samples.map(async (name) => ({ name, sql: await sampleSql(name) })));
    // One of them may be out of reach, which is said; none at all would be a suite that says nothing.
    for (const { sql } of found) if ('missing' in sql) console.warn(sql.missing);
    const had = found.flatMap(({ name, sql }) => ('missing' in sql ? [] : [{ name, sql }]));
    expect(had, 'no sample database could be had').not.toEqual([]);
    for (const { name, sql } of had) await landWhole(kind, name, sql);
  });
});

async function landWhole(kind: MysqlKind, name: SampleName, sql: SampleSql): Promise<void> {
  await using database = await freshMysql(kind);
  await load(database, sql);
  using directory = temporaryDirectory();
  await using millrace = await startMillrace({ dataDir: directory.dataDir });
  const streams = await takeWhole(millrace, database);
  expect(streams.length).toBeGreaterThanOrEqual(FEWEST_STREAMS[name]);

  const first = await syncToEnd(millrace, { connector: 'sample' });
  expect(first.streams.filter((stream) => stream.status !== 'succeeded')).toEqual([]);
  expect(first.status).toBe('succeeded');
  expect(first.totals.rejects).toBe(0);
  await compare(database, streams, directory.dataDir);

  const second = await syncToEnd(millrace, { connector: 'sample' });
  expect(second.streams.filter((stream) => stream.status !== 'succeeded')).toEqual([]);
  const merged = streams.filter((stream) => stream.suggested.mode === 'merge').map(({ name }) => name);
  for (const stream of second.streams.filter(({ stream }) => merged.includes(stream)))
    expect(stream, stream.stream).toMatchObject({ rows_written: 0, rows_deleted: 0 });
  await compare(database, streams, directory.dataDir);
}

/** Written for servers that checked less: not the order of tables, nor a default of 0000-00-00. */
async function load(database: TestMysql, sql: SampleSql): Promise<void> {
  const { host, port, username, password } = database.config;
  const login = { host, port, user: username, password, database: database.name };
  const connection = await createConnection({ ...login, charset: 'utf8mb4', multipleStatements: true });
  try {
    await connection.query("SET time_zone = '+00:00', foreign_key_checks = 0, sql_mode = ''");
    for (const text of sql) await connection.query(text);
    await connection.query('COMMIT');
  } finally {
    connection.destroy();
  }
}

async function takeWhole(millrace: MillraceProcess, database: TestMysql): Promise<readonly StreamInfo[]> {
  const login = await database.user({ process: true });
  await millrace.must('register_connector', {
    name: 'sample',
    type: 'mysql',
    config: { ...database.config, ...login },
  });
  const found: StreamInfo[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await millrace.must<{ streams: readonly StreamInfo[]; next_cursor?: string }>(
      'discover_streams',
      { connector: 'sample', limit: 5, ...(cursor === undefined ? {} : { cursor }) },
    );
    found.push(...page.streams);
    cursor = page.next_cursor;
    if (cursor === undefined) break;
  }
  await millrace.must('update_connector', {
    connector: 'sample',
    add_streams: found.map(({ suggested }) => suggested),
  });
  return found;
}

async function compare(database: TestMysql, streams: readonly StreamInfo[], dataDir: string): Promise<void> {
  const warehouse = new Database(`${dataDir}/warehouse.db`, { readonly: true });
  try {
    for (const { name, kind } of streams) {
      const columns = await columnsOf(database, name);
      const source = await sourceRows(database, columns);
      const landed = landedRows(warehouse, `sample__${name}`, columns);
      expect({ name, rows: landed.length }).toEqual({ name, rows: source.length });
      if (kind === 'view') continue;
      expect({ name, sha256: digest(landed) }, firstDifference(source, landed)).toEqual({
        name,
        sha256: digest(source),
      });
    }
  } finally {
    warehouse.close();
  }
}

interface Column {
  readonly table: string;
  readonly name: string;
  readonly type: string;
}

async function columnsOf(database: TestMysql, stream: string): Promise<readonly Column[]> {
  const rows = await database.query(
    `SELECT table_name AS t, column_name AS c, data_type AS d FROM information_schema.columns
     WHERE table_schema = ? AND LOWER(table_name) = LOWER(?) ORDER BY ordinal_position`,
    [database.name, stream],
  );
  return rows.map(({ t, c, d }) => ({ table: String(t), name: String(c), type: String(d) }));
}

const floats = new Set(['float', 'double']);

/** By the binary protocol, in which a float is its own bits; everything else the server makes into text. */
async function sourceRows(database: TestMysql, columns: readonly Column[]): Promise<readonly string[]> {
  const { host, port, username, password } = database.config;
  const connection = await createConnection({ host, port, user: username, password, charset: 'utf8mb4' });
  try {
    await connection.query("SET time_zone = '+00:00'");
    const table = `\`${database.name}\`.\`${columns[0]?.table}\``;
    const list = columns.map((column) => landedForm(column)).join(', ');
    const [rows] = await connection.execute<RowDataPacket[][]>({
      sql: `SELECT ${list} FROM ${table}`,
      rowsAsArray: true,
    });
    return rows.map((row) => asText(row, columns)).sort();
  } finally {
    connection.destroy();
  }
}

/** What the README says of each type, in the server's own words. */
function landedForm({ name, type }: Column): string {
  const ref = `\`${name}\``;
  if (floats.has(type)) return ref;
  if (type === 'timestamp') return `DATE_FORMAT(${ref}, '%Y-%m-%dT%H:%i:%s.%fZ')`;
  if (type === 'datetime') return `DATE_FORMAT(${ref}, '%Y-%m-%dT%H:%i:%s.%f')`;
  if (/blob|binary|geometry/.test(type)) return `HEX(${ref})`;
  return `CAST(${ref} AS CHAR CHARACTER SET utf8mb4)`;
}

function landedRows(
  warehouse: Database.Database,
  table: string,
  columns: readonly Column[],
): readonly string[] {
  const names = warehouse.prepare('SELECT name FROM pragma_table_info(?)').pluck().all(table) as string[];
  const list = names.filter((name) => !name.startsWith('_mr_')).map((name) => `"${name}"`);
  expect(list, table).toHaveLength(columns.length);
  const rows = warehouse
    .prepare(`SELECT ${list.join(', ')} FROM "${table}"`)
    .raw()
    .all() as unknown[][];
  return rows.map((row) => asText(row, columns)).sort();
}

/** NULL stays apart from 'null', and a FLOAT is the 32 bits that it is. */
function asText(row: readonly unknown[], columns: readonly Column[]): string {
  return JSON.stringify(
    row.map((value, i) => {
      if (value === null) return null;
      if (Buffer.isBuffer(value)) return value.toString('hex').toUpperCase();
      return columns[i]?.type === 'float' ? String(Math.fround(Number(value))) : String(value);
    }),
  );
}

function digest(rows: readonly string[]): string {
  return createHash('sha256').update(rows.join('\n')).digest('hex');
}

function firstDifference(source: readonly string[], landed: readonly string[]): string {
  const at = source.findIndex((row, i) => row !== landed[i]);
  return at < 0 ? 'equal' : `at the source ${source[at]}, landed ${landed[at]}`;
}
