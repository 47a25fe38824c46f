import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  loadQuerySqlite,
  type OpenForQuery,
  openByNode as openQueryByNode,
} from '../../src/destinations/sqlite/query-library.ts';
import { shapeRows } from '../../src/destinations/sqlite/query-rows.ts';
import { sqliteCode } from '../../src/sqlite.ts';
import { loadSqlite, type OpenSqlite, openByNode } from '../../src/store/library.ts';

/**
 * Both libraries answer the same questions the same way: the one that an install by npm has, and the one that a bundle
 * has to do with. `NODE_OPTIONS=--import=…/test/support/without-better-sqlite3.ts` runs every suite on the second.
 */
let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-library-'));
  file = join(folder, 'a.db');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const STORES: readonly (readonly [string, OpenSqlite])[] = [
  ['better-sqlite3', await loadSqlite()],
  ["Node's own", openByNode],
];

test('the first is not the second', async () => {
  expect(await loadSqlite()).not.toBe(openByNode);
  expect(await loadQuerySqlite()).not.toBe(openQueryByNode);
});

describe.each(STORES)('the store by %s', (_, open) => {
  test('values, rows and what a statement is', () => {
    const db = open(file, 100);
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, x ANY, b BLOB) STRICT');
    const insert = db.prepare('INSERT INTO t (n, x, b) VALUES (?, ?, ?)');
    expect(insert.reader).toBe(false);
    expect(Number(insert.run(1, null, Buffer.from([0, 255])).changes)).toBe(1);
    expect(Number(insert.run(Number.MAX_SAFE_INTEGER, 'ä\u0000b', null).changes)).toBe(1);
    const returning = db.prepare('UPDATE t SET n = n + 0 RETURNING id');
    expect(returning.reader).toBe(true);
    expect(returning.all()).toMatchObject([{ id: 1 }, { id: 2 }]);
    const [first, second] = db.prepare('SELECT n, x, b FROM t WHERE n >= ? ORDER BY id').all(0) as {
      b: Uint8Array | null;
    }[];
    expect({ ...first, b: [...(first?.b ?? [])] }).toEqual({ n: 1, x: null, b: [0, 255] });
    expect({ ...second }).toEqual({ n: Number.MAX_SAFE_INTEGER, x: 'ä\u0000b', b: null });
    insert.run(undefined, undefined, undefined);
    expect(db.prepare('SELECT id FROM t WHERE n IS NULL AND b IS NULL').all()).toMatchObject([{ id: 3 }]);
    db.close();
  });

  test('pragmas and transactions', () => {
    const db = open(file, 100);
    expect(db.pragma('journal_mode = WAL')).toBe('wal');
    db.pragma('user_version = 7');
    expect(db.pragma('user_version')).toBe(7);
    expect(db.inTransaction).toBe(false);
    db.exec('BEGIN IMMEDIATE');
    expect(db.inTransaction).toBe(true);
    const other = open(file, 0);
    expect(codeOf(() => other.exec('BEGIN IMMEDIATE'))).toMatch(/^SQLITE_BUSY/);
    db.exec('ROLLBACK');
    expect(db.inTransaction).toBe(false);
    other.close();
    db.close();
  });

  test('errors have the names that SQLite gives them', () => {
    const db = open(file, 100);
    db.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT; INSERT INTO t VALUES (1);
      CREATE TRIGGER k BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'key retired'); END`);
    expect(codeOf(() => db.exec('SELECT * FROM missing'))).toBe('SQLITE_ERROR');
    expect(codeOf(() => db.prepare('INSERT INTO t VALUES (1)').run())).toMatch(/^SQLITE_CONSTRAINT/);
    expect(codeOf(() => db.prepare('DELETE FROM t').run())).toBe('SQLITE_CONSTRAINT_TRIGGER');
    db.close();
    writeFileSync(join(folder, 'text.db'), 'this is no database, however long one reads it '.repeat(40));
    const text = open(join(folder, 'text.db'), 0);
    expect(codeOf(() => text.pragma('user_version'))).toBe('SQLITE_NOTADB');
    text.close();
    expect(codeOf(() => open(join(folder, 'not', 'there.db'), 0))).toMatch(/^(SQLITE_CANTOPEN)?$/);
  });
});

const QUERIES: readonly (readonly [string, OpenForQuery])[] = [
  ['better-sqlite3', await loadQuerySqlite()],
  ["Node's own", openQueryByNode],
];

const REFUSED = [
  'SELECT 1; SELECT 2',
  'SELECT 1; DROP TABLE t',
  'SELECT 1;\n-- x\n;/* y */ SELECT 2',
  'WITH x AS (SELECT 1) DELETE FROM t',
  "WITH x AS (SELECT 1) INSERT INTO t VALUES (9, 'x') RETURNING id",
  "UPDATE t SET v = 'x' RETURNING id",
  "REPLACE INTO t VALUES (1, 'x') RETURNING id",
  'PRAGMA journal_mode = DELETE',
  'PRAGMA wal_checkpoint',
  "VACUUM INTO '/tmp/never'",
  'CREATE TEMP TABLE x AS SELECT 1',
  'BEGIN',
  'SELECT ?',
  'SELECT * FROM t WHERE id = :id',
  'SELECT FROM',
  'SELECT nothing FROM t',
];

describe.each(QUERIES)('users’ queries by %s', (_, open) => {
  const answer = (sql: string): unknown => {
    const db = open(file);
    if (db === null) return null;
    try {
      const reading = db.reading(sql);
      return reading === null ? null : shapeRows(reading, { maxRows: 100, maxBytes: 10_000 });
    } finally {
      db.close();
    }
  };

  beforeEach(() => {
    using db = new DatabaseSync(file);
    db.exec(
      "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a')",
    );
  });

  test.each(REFUSED)('%s answers nothing and changes nothing', (sql) => {
    let said: unknown = null;
    try {
      said = answer(sql);
    } catch {
      // SQLite or the library refused it.
    }
    expect(said).toBeNull();
    expect(answer('SELECT * FROM t')).toMatchObject({ rows: [[1, 'a']] });
  });

  test.each([
    ['SELECT 1; -- done', [[1]]],
    [';;'.padStart(10, 'SELECT 2'), [[2]]],
    ['/* a */ SELECT 3 AS a, 4 AS a', [[3, 4]]],
    [
      "SELECT ';', '--', x'00ff', 9007199254740993, NULL, 1.5, 'a' || char(0) || 'b'",
      [[';', '--', '\\x00ff', '9007199254740993', null, 1.5, 'a\u0000b']],
    ],
    ["SELECT 'ä€😀' -- ü", [['ä€😀']]],
    [
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT * FROM n',
      [[1], [2], [3]],
    ],
    ['SELECT count(*) FROM t WHERE id IN (VALUES (1), (2))', [[1]]],
  ])('%s', (sql, rows) => expect(answer(sql)).toMatchObject({ rows }));

  test('explains', () => {
    expect(answer('EXPLAIN QUERY PLAN SELECT * FROM t')).toMatchObject({ row_count: 1 });
    expect(answer('-- why\nEXPLAIN SELECT * FROM t')).toMatchObject({ truncated: false });
  });

  test('says where a query is wrong, and that there is no file', () => {
    expect(codeOf(() => answer('SELECT id FROM missing'))).toBe('SQLITE_ERROR');
    rmSync(file);
    expect(open(file)).toBeNull();
  });
});

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return sqliteCode(error);
  }
  throw new Error('it went through');
}
