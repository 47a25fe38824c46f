import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { openWarehouse } from '../../src/destinations/index.ts';
import type { QueryCaps, Warehouse } from '../../src/destinations/warehouse.ts';
import { column, failure, freshFile, land, read, requestOf, streamOf, write } from './sqlite-support.ts';

const caps: QueryCaps = { timeoutMs: 10_000, maxRows: 1000, maxBytes: 25_000 };
const never = new AbortController().signal;

/** One file and one warm process for all tests that only ask. */
let shared: Awaited<ReturnType<typeof filled>>;
beforeAll(async () => {
  shared = await filled(mkdtempSync(join(tmpdir(), 'millrace-warehouse-')));
});
afterAll(async () => {
  await shared.warehouse[Symbol.asyncDispose]();
  rmSync(dirname(shared.file), { recursive: true, force: true });
});

async function filled(folder?: string): Promise<{ readonly file: string; readonly warehouse: Warehouse }> {
  const file = folder === undefined ? freshFile() : join(folder, 'warehouse.db');
  await land(
    file,
    requestOf(streamOf({ columns: [column('id', 'integer'), column('v', 'text'), column('b', 'bytes')] })),
    [
      [1, 'one', new Uint8Array([1, 255])],
      [2, 'two', null],
      [9007199254740993n, 'big', null],
    ],
  );
  const warehouse = openWarehouse(file);
  if (folder === undefined) onTestFinished(() => warehouse[Symbol.asyncDispose]());
  return { file, warehouse };
}

describe('what a query returns', () => {
  it('gives rows, big integers as text, bytes as hex, and counts', async () => {
    const { warehouse } = shared;
    const result = await warehouse.query(
      'SELECT id, v, b, 1.5 AS f, 9e999 AS inf FROM shop__orders ORDER BY id',
      caps,
      never,
    );
    expect(result.columns).toEqual(['id', 'v', 'b', 'f', 'inf']);
    expect(result.rows).toEqual([
      [1, 'one', '\\x01ff', 1.5, 'Infinity'],
      [2, 'two', null, 1.5, 'Infinity'],
      ['9007199254740993', 'big', null, 1.5, 'Infinity'],
    ]);
    expect(result).toMatchObject({ row_count: 3, truncated: false });
    expect(result.elapsed_ms).toBeGreaterThan(0);
  });

  it('stops at the cap of rows and says so; exactly that many rows are not truncated', async () => {
    const { warehouse } = shared;
    const cut = await warehouse.query('SELECT id FROM shop__orders', { ...caps, maxRows: 2 }, never);
    expect(cut).toMatchObject({ row_count: 2, truncated: true });
    const whole = await warehouse.query('SELECT id FROM shop__orders', { ...caps, maxRows: 3 }, never);
    expect(whole).toMatchObject({ row_count: 3, truncated: false });
  });

  it('never makes a result larger than the cap of bytes, counted as UTF-8 JSON', async () => {
    const { warehouse } = shared;
    const sql =
      "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n LIMIT 500) SELECT i, replace(hex(zeroblob(40)), '0', '語') FROM n";
    for (const maxBytes of [1000, 5000, 25_000]) {
      const { rows, columns, truncated } = await warehouse.query(sql, { ...caps, maxBytes }, never);
      expect(Buffer.byteLength(JSON.stringify({ columns, rows }))).toBeLessThanOrEqual(maxBytes + 30);
      expect(rows.length).toBeGreaterThan(0);
      expect(truncated).toBe(true);
    }
  });

  it('shows the first row whatever its size, long cells cut and marked with their size in bytes', async () => {
    const { warehouse } = shared;
    const { rows, columns } = await warehouse.query(
      "SELECT replace(hex(zeroblob(200000)), '00', '😀') AS t, zeroblob(300000) AS b, 7 AS n",
      { ...caps, maxBytes: 4000 },
      never,
    );
    expect(Buffer.byteLength(JSON.stringify({ columns, rows }))).toBeLessThanOrEqual(4030);
    const [text, bytes, number] = rows[0] ?? [];
    expect(text).toMatch(/^(😀)+…\[cut, 800000 bytes\]$/u);
    expect(bytes).toMatch(/^\\x(00)+…\[cut, 300000 bytes\]$/);
    expect(number).toBe(7);
  });

  it('refuses a single row that cannot fit, with what to do', async () => {
    const { warehouse } = shared;
    const many = Array.from({ length: 1500 }, (_, index) => `${index} AS a${index}`).join(', ');
    const error = await failure(warehouse.query(`SELECT ${many}`, { ...caps, maxBytes: 2000 }, never));
    expect(error).toMatchObject({ code: 'query_rejected' });
    expect(error.hint).toMatch(/fewer columns/);
  });

  it('sees what is committed by now, and a file that was replaced', async () => {
    const { file, warehouse } = await filled();
    const count = async () =>
      (await warehouse.query('SELECT count(*) FROM shop__orders', caps, never)).rows[0]?.[0];
    expect(await count()).toBe(3);
    await land(file, requestOf(streamOf()), [[4, 'four']]);
    expect(await count()).toBe(4);
  });

  it('says that nothing has landed when there is no file', async () => {
    const warehouse = openWarehouse(freshFile());
    onTestFinished(() => warehouse[Symbol.asyncDispose]());
    const error = await failure(warehouse.query('SELECT * FROM shop__orders', caps, never));
    expect(error).toMatchObject({ code: 'query_rejected' });
    expect(error.message + error.hint).toMatch(/sync_connector/);
  });
});

describe('what a query may not do', () => {
  const attacks: readonly (readonly [string, string])[] = [
    ['writes', 'DELETE FROM shop__orders'],
    ['writes and returns', 'DELETE FROM shop__orders RETURNING id'],
    ['writes behind WITH', 'WITH x AS (SELECT 1) DELETE FROM shop__orders'],
    [
      'inserts behind WITH',
      "WITH x AS (SELECT 1) INSERT INTO shop__orders(id, v) SELECT 9, 'x' RETURNING id",
    ],
    ['updates', "UPDATE shop__orders SET v = 'x'"],
    ['replaces', "REPLACE INTO shop__orders(id, v) VALUES (1, 'x')"],
    ['drops', 'DROP TABLE shop__orders'],
    ['creates', 'CREATE TABLE x(a)'],
    ['makes a temporary table', 'CREATE TEMP TABLE x AS SELECT 1'],
    ['attaches', "ATTACH 'SECRET' AS s"],
    ['attaches behind a comment', "/* SELECT */ -- x\n ATTACH 'SECRET' AS s"],
    ['attaches by name with a URI', "ATTACH 'file:SECRET?mode=ro' AS s"],
    ['detaches', 'DETACH main'],
    ['two statements', "SELECT 1; ATTACH 'SECRET' AS s"],
    ['two selects', 'SELECT 1; SELECT 2'],
    ['nothing', ''],
    ['only a comment', '-- SELECT 1'],
    ['only a semicolon', ';'],
    ['a pragma', 'PRAGMA table_info(shop__orders)'],
    ['a pragma that writes', 'PRAGMA query_only = OFF'],
    ['a pragma behind a semicolon', ';PRAGMA query_only = OFF'],
    ['a pragma behind a byte order mark', '\ufeffPRAGMA query_only = OFF'],
    ['a pragma behind EXPLAIN, which takes effect while it is compiled', 'EXPLAIN PRAGMA query_only = OFF'],
    ['a pragma behind EXPLAIN QUERY PLAN', 'EXPLAIN QUERY PLAN PRAGMA query_only = OFF'],
    ['a pragma behind EXPLAIN and comments', 'EXPLAIN /**/ PRAGMA/**/query_only=OFF'],
    ['EXPLAIN of a write', 'EXPLAIN DELETE FROM shop__orders'],
    ['a pragma as a table, which tells paths', 'SELECT * FROM pragma_database_list'],
    ['the same in brackets', 'SELECT * FROM [pragma_database_list]'],
    ['the same in quotes', 'SELECT * FROM "pragma_database_list"'],
    ['the same in backticks', 'SELECT * FROM `PRAGMA_database_list`()'],
    ['copies the file', "VACUUM INTO 'OUT'"],
    ['vacuums', 'VACUUM'],
    ['loads code', "SELECT load_extension('/tmp/x.so')"],
    ['loads code by a quoted name', `SELECT "load_extension"('/tmp/x.so')`],
    ['reads a file', "SELECT readfile('SECRET')"],
    ['writes a file', "SELECT writefile('OUT', 'x')"],
    ['begins', 'BEGIN'],
    ['a savepoint', 'SAVEPOINT x'],
    ['reindexes', 'REINDEX'],
    ['analyzes', 'ANALYZE'],
    ['a virtual table over a file', "CREATE VIRTUAL TABLE temp.c USING csv(filename='SECRET')"],
    ['parameters', 'SELECT ?'],
    ['named parameters', 'SELECT :a, @b, $c'],
    ['a NUL in the middle', 'SELECT 1\u0000; DROP TABLE shop__orders'],
  ];

  it.each(attacks)('%s', async (_, sql) => {
    const { file, warehouse } = shared;
    const directory = dirname(file);
    const secretFile = join(directory, 'store.db');
    write(secretFile, "CREATE TABLE IF NOT EXISTS secrets(v); INSERT INTO secrets VALUES ('canary-7f3a')");
    const out = join(directory, 'out');
    const before = {
      files: filesIn(directory),
      rows: read(file, 'SELECT * FROM shop__orders ORDER BY id'),
    };

    const error = await failure(
      warehouse.query(sql.replaceAll('SECRET', secretFile).replaceAll('OUT', out), caps, never),
    );

    expect(error.code).toBe('query_rejected');
    expect(error.hint.length).toBeGreaterThan(20);
    expect(JSON.stringify(error.toView())).not.toContain('canary');
    expect(JSON.stringify(error.toView())).not.toContain(directory);
    expect(filesIn(directory)).toEqual(before.files);
    expect(read(file, 'SELECT * FROM shop__orders ORDER BY id')).toEqual(before.rows);
    expect((await warehouse.query('SELECT count(*) FROM shop__orders', caps, never)).rows).toEqual([[3]]);
  });

  const allowed = [
    'SELECT 1',
    '  -- why\n/* because */ select 1',
    'SELECT 1;',
    'SELECT 1; -- done',
    'WITH x(a) AS (VALUES (1), (2)) SELECT * FROM x',
    'VALUES (1), (2)',
    'EXPLAIN QUERY PLAN SELECT * FROM shop__orders',
    'EXPLAIN SELECT 1',
    'SELECT \'ATTACH; PRAGMA -- /*\' AS "DROP TABLE"',
    "SELECT name FROM sqlite_schema WHERE type = 'table'",
    "SELECT v FROM shop__orders WHERE v <> 'it''s; load_extension'",
    "SELECT json_extract('{\"a\":1}', '$.a'), sqrt(4), percentile(id, 50) FROM shop__orders",
    'SELECT stream, rows_written FROM _millrace_loads',
  ];
  it.each(allowed)('but may: %s', async (sql) => {
    const { warehouse } = shared;
    expect((await warehouse.query(sql, caps, never)).row_count).toBeGreaterThan(0);
  });
});

describe('a query that goes wrong', () => {
  it.each([
    ['SELECT * FROM shop__order', 'shop__orders'],
    ['SELECT idd FROM shop__orders', 'id'],
    ['SELECT o.idd FROM shop__orders o', 'id'],
  ])('names what may have been meant: %s', async (sql, meant) => {
    const { warehouse } = shared;
    const error = await failure(warehouse.query(sql, caps, never));
    expect(error.code).toBe('query_rejected');
    expect(error.hint).toContain(`"${meant}"`);
    expect((await warehouse.query('SELECT v FROM "shop__orders" WHERE "id" = 1', caps, never)).rows).toEqual([
      ['one'],
    ]);
  });

  it.each([
    'SELEC 1',
    'SELECT 1 FROM',
    "SELECT json('{')",
    'SELECT abs(-9223372036854775807 - 1)',
    'SELECT nothing()',
  ])("is answered in SQLite's words, bounded: %s", async (sql) => {
    const { warehouse } = shared;
    const error = await failure(warehouse.query(`${sql} /* ${'x'.repeat(5000)} */`, caps, never));
    expect(error.code).toBe('query_rejected');
    expect(error.message.length).toBeLessThan(500);
  });

  it('on a damaged file says that the file is damaged, not that the query is wrong', async () => {
    const { file, warehouse } = await filled();
    await land(
      file,
      requestOf(streamOf({ name: 'many' })),
      Array.from({ length: 5000 }, (_, index) => [index, 'x'.repeat(50)]),
    );
    write(file, 'PRAGMA wal_checkpoint(TRUNCATE)');
    const bytes = readFileSync(file);
    bytes.fill(0xa5, 3 * 8192);
    writeFileSync(file, bytes);
    const error = await failure(warehouse.query('SELECT sum(length(v)) FROM shop__many', caps, never));
    expect(error.code).toBe('destination_failed');
    expect(error.message).toMatch(/damaged/);
  });
});

describe('a query that does not end', () => {
  const endless = 'WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n';

  it('is killed in time, and the next one is answered', async () => {
    const { warehouse } = await filled();
    await warehouse.query('SELECT 1', caps, never);
    const from = performance.now();
    const error = await failure(warehouse.query(endless, { ...caps, timeoutMs: 300 }, never));
    expect(error.code).toBe('query_timeout');
    expect(performance.now() - from).toBeLessThan(1500);
    expect((await warehouse.query('SELECT 1', caps, never)).rows).toEqual([[1]]);
  });

  it('is killed when somebody cancels, also while it waits for its turn', async () => {
    const { warehouse } = await filled();
    const first = new AbortController();
    const waiting = new AbortController();
    const running = [1, 2].map(() => failure(warehouse.query(endless, caps, first.signal)));
    const third = failure(warehouse.query('SELECT 1', caps, waiting.signal));
    await delay(200);
    const from = performance.now();
    waiting.abort();
    expect((await third).code).toBe('cancelled');
    expect(performance.now() - from).toBeLessThan(500);
    first.abort();
    expect((await Promise.all(running)).map(({ code }) => code)).toEqual(['cancelled', 'cancelled']);
    expect((await warehouse.query('SELECT 1', caps, never)).rows).toEqual([[1]]);
  });

  it('is not even started when it is cancelled before', async () => {
    const { warehouse } = await filled();
    expect((await failure(warehouse.query('SELECT 1', caps, AbortSignal.abort()))).code).toBe('cancelled');
  });

  it('waits for its turn no longer than its time', async () => {
    const { warehouse } = await filled();
    const stop = new AbortController();
    const running = [1, 2].map(() => failure(warehouse.query(endless, caps, stop.signal)));
    const error = await failure(warehouse.query('SELECT 1', { ...caps, timeoutMs: 300 }, never));
    expect(error.code).toBe('query_timeout');
    stop.abort();
    await Promise.all(running);
  });

  it.each([
    [
      'sorting without an index',
      'SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY h) AS r FROM (SELECT hex(zeroblob(20000)) || a.i AS h FROM n a, n b))',
    ],
    ['one enormous text', 'SELECT length(group_concat(hex(zeroblob(400000)))) FROM n'],
    ['many enormous cells', "SELECT group_concat(printf('%.*c', 1000000, 'x')) OVER () FROM n"],
  ])("cannot take the machine's memory: %s", async (_, sql) => {
    const { warehouse } = await filled();
    const from = performance.now();
    const error = await failure(
      warehouse.query(
        `WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n LIMIT 2000) ${sql}`,
        { ...caps, timeoutMs: 20_000 },
        never,
      ),
    );
    expect(error.code).toBe('query_rejected');
    expect(error.message).toMatch(/memory|too large/);
    expect(performance.now() - from).toBeLessThan(20_000);
  });

  it('ends with the process that asked, also when that one was killed', async () => {
    const { file } = await filled();
    const script = `
      const { openWarehouse } = await import(${JSON.stringify(new URL('../../src/destinations/index.ts', import.meta.url).href)});
      const warehouse = openWarehouse(process.argv[1]);
      warehouse.query(${JSON.stringify(endless)}, { timeoutMs: 60000, maxRows: 1, maxBytes: 1000 }, new AbortController().signal).catch(() => {});
    `;
    const asker = spawn(process.execPath, ['--input-type=module', '-e', script, file], { stdio: 'ignore' });
    onTestFinished(() => {
      asker.kill('SIGKILL');
    });
    const childOf = (): string => {
      try {
        return execFileSync('ps', ['--ppid', String(asker.pid), '-o', 'pid='], { encoding: 'utf8' }).trim();
      } catch {
        return '';
      }
    };
    const child = await until(() => childOf());
    await delay(300);
    asker.kill('SIGKILL');
    await until(() => (isRunning(child) ? '' : 'gone'));
  });
});

it('is not kept alive by an idle query process', async () => {
  const { file } = await filled();
  const script = `
    const { openWarehouse } = await import(${JSON.stringify(new URL('../../src/destinations/index.ts', import.meta.url).href)});
    const warehouse = openWarehouse(process.argv[1]);
    const { rows } = await warehouse.query('SELECT count(*) FROM shop__orders', { timeoutMs: 10000, maxRows: 1, maxBytes: 1000 }, new AbortController().signal);
    process.stdout.write(JSON.stringify(rows));
  `;
  const from = performance.now();
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script, file], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect(out).toBe('[[3]]');
  expect(performance.now() - from).toBeLessThan(10_000);
});

it('hands no environment to the process that runs queries', async () => {
  const { file } = await filled();
  const script = `
    process.env.SHOP_PASSWORD = 'canary-7f3a';
    const { openWarehouse } = await import(${JSON.stringify(new URL('../../src/destinations/index.ts', import.meta.url).href)});
    const warehouse = openWarehouse(process.argv[1]);
    await warehouse.query('SELECT 1', { timeoutMs: 10000, maxRows: 1, maxBytes: 1000 }, new AbortController().signal);
    const { execFileSync } = await import('node:child_process');
    const child = execFileSync('ps', ['--ppid', String(process.pid), '-o', 'pid=,args='], { encoding: 'utf8' }).split('\\n').find((line) => line.includes('query-worker'));
    const { readFileSync } = await import('node:fs');
    process.stdout.write('env:' + readFileSync('/proc/' + child.trim().split(' ')[0] + '/environ', 'utf8'));
  `;
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script, file], {
    encoding: 'utf8',
    env: { ...process.env, OTHER_SECRET: 'canary-9b1c' },
  });
  expect(out).toMatch(/^env:/);
  expect(out).not.toContain('canary');
});

/** False also for one that has ended and that nobody has asked about yet. */
function isRunning(pid: string): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

/** Without SQLite's own companions of an open file. */
function filesIn(folder: string): readonly string[] {
  return readdirSync(folder)
    .filter((name) => !/-(?:wal|shm)$/.test(name))
    .sort();
}

async function until(look: () => string): Promise<string> {
  for (let tries = 0; tries < 100; tries += 1) {
    const found = look();
    if (found !== '') return found;
    await delay(50);
  }
  throw new Error('it did not happen within 5 s');
}
