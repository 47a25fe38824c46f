import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Run, Stream } from '../../src/core/model.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';

/** The source's tables change between runs and during them: said, followed, and never garbage. */

let database: TestDatabase;
let millrace: MillraceProcess;
const directory = temporaryDirectory();
let count = 0;

beforeAll(async () => {
  database = await freshDatabase();
  await database.query('CREATE SEQUENCE clock');
  millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: { runs: { attempts: 20, backoffMs: [10, 80] } },
  });
});

afterAll(async () => {
  await millrace?.kill();
  await database?.drop();
  directory[Symbol.dispose]();
});

/** Moves the cursor of the rows the condition names, so that the next run reads them. */
const touch = (table: string, where = 'true'): string =>
  `UPDATE ${table} SET c = nextval('clock') WHERE ${where}`;

test('a column that was added is added here, and rows read since hold its values', async () => {
  const { name, table, landed, sync } = await start();
  await database.query(`ALTER TABLE ${table} ADD extra text DEFAULT 'preset'; ${touch(table, 'id <= 3')};
    UPDATE ${table} SET extra = 'own' WHERE id = 1; INSERT INTO ${table} VALUES (11, nextval('clock'), 'eleven', 'new')`);
  const run = await sync();
  expect(run).toMatchObject({ status: 'succeeded' });
  expect(said(run)).toMatch(/extra/);
  const rows = landed('id, extra');
  expect(rows.filter((row) => Number(row['id']) <= 3 || row['id'] === 11)).toEqual([
    { id: 1, extra: 'own' },
    { id: 2, extra: 'preset' },
    { id: 3, extra: 'preset' },
    { id: 11, extra: 'new' },
  ]);
  // Rows that nobody touched have the default at the source only; a full refresh brings it.
  await sync({ full_refresh: true });
  expect(landed('id, extra').filter((row) => row['extra'] === null)).toEqual([]);
  expect(await described(name)).toContain('extra');
});

test('a column that was dropped stays here with what it held, and that is said', async () => {
  const { table, landed, sync } = await start();
  await database.query(
    `ALTER TABLE ${table} DROP note; ${touch(table, 'id = 2')}; INSERT INTO ${table} VALUES (11, nextval('clock'))`,
  );
  const run = await sync();
  expect(run).toMatchObject({ status: 'succeeded' });
  expect(said(run)).toMatch(/note/);
  const rows = landed('id, note');
  expect(rows[0]).toEqual({ id: 1, note: 'n1' });
  expect(rows[10]).toEqual({ id: 11, note: null });
  await sync({ full_refresh: true });
  expect(() => landed('note')).toThrow(/no such column/);
});

test('a column that was renamed is one dropped and one added', async () => {
  const { table, landed, sync } = await start();
  await database.query(`ALTER TABLE ${table} RENAME note TO remark; ${touch(table, 'id = 2')}`);
  const run = await sync();
  expect(run).toMatchObject({ status: 'succeeded' });
  expect(said(run)).toMatch(/note/);
  expect(said(run)).toMatch(/remark/);
  expect(landed('id, note, remark').slice(0, 2)).toEqual([
    { id: 1, note: 'n1', remark: null },
    { id: 2, note: 'n2', remark: 'n2' },
  ]);
});

interface TypeChange {
  readonly from: string;
  readonly to: string;
  /** Values before, kept by the landed rows that nobody touches. */
  readonly before: string;
  readonly using?: string;
  /** A value only the new type holds, and the text it lands as. */
  readonly fresh: string;
  readonly lands: string;
  /** How the old value reads here afterwards. */
  readonly keeps: string;
}

const changes: readonly TypeChange[] = [
  {
    from: 'int',
    to: 'bigint',
    before: '7',
    fresh: '9007199254740993',
    lands: '9007199254740993',
    keeps: '7',
  },
  { from: 'int', to: 'numeric', before: '7', fresh: '1.10', lands: '1.10', keeps: '7' },
  {
    from: 'bigint',
    to: 'text',
    before: '9007199254740993',
    fresh: `'seven'`,
    lands: 'seven',
    keeps: '9007199254740993',
  },
  { from: 'int', to: 'double precision', before: '7', fresh: '1.5', lands: '1.5', keeps: '7' },
  { from: 'double precision', to: 'numeric', before: '1.5', fresh: '0.1000', lands: '0.1000', keeps: '1.5' },
  { from: 'double precision', to: 'text', before: '1.5', fresh: `'x'`, lands: 'x', keeps: '1.5' },
  { from: 'boolean', to: 'text', before: 'true', fresh: `'maybe'`, lands: 'maybe', keeps: 'true' },
  { from: 'varchar(4)', to: 'text', before: `'abcd'`, fresh: `'abcdefgh'`, lands: 'abcdefgh', keeps: 'abcd' },
  {
    from: 'date',
    to: 'timestamp',
    before: `'2026-01-02'`,
    fresh: `'2026-01-02 03:04:05.000006'`,
    lands: '2026-01-02T03:04:05.000006',
    keeps: '2026-01-02',
  },
  { from: 'text', to: 'int', before: `'7'`, using: 'v::int', fresh: '8', lands: '8', keeps: '7' },
  { from: 'numeric', to: 'int', before: '7', using: 'v::int', fresh: '8', lands: '8', keeps: '7' },
];

for (const { from, to, before, using, fresh, lands, keeps } of changes) {
  test(`${from} becomes ${to}: what is here keeps its value, what comes is exact`, async () => {
    const { table, landed, sync } = await start(`v ${from}`, before);
    await database.query(`ALTER TABLE ${table} ALTER v TYPE ${to}${using ? ` USING ${using}` : ''};
      UPDATE ${table} SET v = ${fresh}, c = nextval('clock') WHERE id = 2`);
    const run = await sync();
    expect(run, JSON.stringify(run)).toMatchObject({ status: 'succeeded', totals: { rejects: 0 } });
    const rows = landed(`id, CAST(v AS TEXT) AS v`);
    expect(rows[1]).toEqual({ id: 2, v: lands });
    expect(normal(rows[0]?.['v'])).toBe(keeps);
    await sync({ full_refresh: true });
    expect(landed('id, CAST(v AS TEXT) AS v')[1]).toEqual({ id: 2, v: lands });
  });
}

test('types that cannot meet exactly: every row is stored or a reject with its reason, and a full refresh mends it', async () => {
  const { table, landed, sync } = await start('v text', `'words'`);
  await database.query(
    `ALTER TABLE ${table} ALTER v TYPE bytea USING '\\x00ff'::bytea; ${touch(table, 'id <= 5')}`,
  );
  const run = await sync();
  const [stream] = run.streams;
  if (run.status === 'succeeded') {
    const stored = landed('v').filter((row) => Buffer.isBuffer(row['v'])).length;
    expect(stored + (stream?.rejects ?? 0)).toBe(stream?.rows_read);
  } else expect(stream?.error?.hint).toContain('full_refresh');
  expect(await sync({ full_refresh: true })).toMatchObject({ status: 'succeeded', totals: { rejects: 0 } });
  expect(
    landed('v').every((row) => Buffer.isBuffer(row['v']) && row['v'].equals(Buffer.from([0, 0xff]))),
  ).toBe(true);
});

test('another primary key: the stream means something else now, is read anew, and that is said', async () => {
  const { table, landed, sync } = await start();
  await database.query(`ALTER TABLE ${table} DROP CONSTRAINT ${table}_pkey; ALTER TABLE ${table} ADD PRIMARY KEY (id, note);
    INSERT INTO ${table} VALUES (1, nextval('clock'), 'another one')`);
  const run = await sync();
  expect(run, JSON.stringify(run)).toMatchObject({ status: 'succeeded' });
  expect(said(run)).toMatch(/anew/);
  expect(landed('id, note').slice(0, 2)).toEqual([
    { id: 1, note: 'another one' },
    { id: 1, note: 'n1' },
  ]);
  expect(landed('id')).toHaveLength(11);
});

test('a table that was emptied is not taken for deletions; a full refresh accepts it', async () => {
  const { table, landed, sync } = await start('v int', '1', 500);
  await database.query(`TRUNCATE ${table}`);
  const run = await sync();
  expect(run.streams[0]).toMatchObject({ status: 'failed', error: { code: 'shrink_refused' } });
  expect(landed('id').length).toBe(500);
  expect(run.streams[0]?.error?.hint).toContain('full_refresh');
  expect(await sync({ full_refresh: true })).toMatchObject({ status: 'succeeded' });
  expect(landed('id')).toEqual([]);
});

test('dropped and made again under the same name, with another shape', async () => {
  const { table, landed, sync } = await start();
  await database.query(`DROP TABLE ${table}; CREATE TABLE ${table} (note text, id int PRIMARY KEY, c bigint);
    INSERT INTO ${table} SELECT 'again' || n, n, nextval('clock') FROM generate_series(1, 10) n`);
  expect(await sync()).toMatchObject({ status: 'succeeded' });
  expect(landed('id, note').slice(0, 2)).toEqual([
    { id: 1, note: 'again1' },
    { id: 2, note: 'again2' },
  ]);
});

test('the shape changes again and again while runs go on: no run leaves garbage', {
  timeout: 90_000,
}, async () => {
  const { table, landed, sync } = await start('v int', '1', 3_000);
  let stop = false;
  const alter = async (): Promise<void> => {
    for (let turn = 0; !stop; turn += 1) {
      await database.query(`ALTER TABLE ${table} ADD extra${turn} int DEFAULT ${turn}`);
      await database.query(`ALTER TABLE ${table} ALTER v TYPE ${turn % 2 === 0 ? 'bigint' : 'int'}`);
      await database.query(touch(table, `id % 7 = ${turn % 7}`));
      await sleep(60 + (turn % 5) * 30);
      await database.query(`ALTER TABLE ${table} DROP extra${turn}`);
    }
  };
  const altering = alter();
  const runs: Run[] = [];
  for (let turn = 0; turn < 10; turn += 1)
    runs.push(await sync(turn % 3 === 2 ? { full_refresh: true } : {}));
  stop = true;
  await altering;
  expect(runs.map((run) => run.error ?? run.status)).toEqual(runs.map(() => 'succeeded'));
  await sync();
  const there = await database.query(`SELECT id, c::int AS c, note, v::int AS v FROM ${table} ORDER BY id`);
  expect(landed('id, c, note, v')).toEqual(there);
});

interface Started {
  readonly name: string;
  readonly table: string;
  landed(columns: string): Record<string, unknown>[];
  readonly sync: (input?: object) => Promise<Run>;
}

/** A table of its own with a merge stream over it, synced once. */
async function start(column = '', value = '', rows = 10): Promise<Started> {
  const table = `changing${++count}`;
  await database.query(`CREATE TABLE ${table} (id int PRIMARY KEY, c bigint, note text${column ? `, ${column}` : ''});
    INSERT INTO ${table} SELECT n, nextval('clock'), 'n' || n${value ? `, ${value}` : ''} FROM generate_series(1, ${rows}) n`);
  const stream: Stream = { name: 't', table: `public.${table}`, mode: 'merge', cursor: 'c' };
  await millrace.must('register_connector', {
    name: table,
    type: 'postgresql',
    config: database.config,
    streams: [stream],
    test: false,
  });
  const sync = (input: object = {}): Promise<Run> => syncToEnd(millrace, { connector: table, ...input });
  expect(await sync()).toMatchObject({ status: 'succeeded', totals: { rows_written: rows } });
  return {
    name: table,
    table,
    sync,
    landed(columns) {
      const warehouse = new Database(join(directory.dataDir, 'warehouse.db'), { readonly: true });
      try {
        return warehouse
          .prepare(`SELECT ${columns} FROM "${table}__t" WHERE _mr_deleted_at IS NULL ORDER BY id`)
          .all() as Record<string, unknown>[];
      } finally {
        warehouse.close();
      }
    },
  };
}

/** Everything a run says in sentences. */
function said(run: Run): string {
  return run.streams.flatMap((stream) => stream.warnings ?? []).join('\n');
}

async function described(connector: string): Promise<string> {
  return JSON.stringify(await millrace.must('describe_data', { table: `${connector}__t` }));
}

/** `7.0` and `7` are the same number; `1` is how a boolean is kept. */
function normal(value: unknown): string {
  return String(value).replace(/^(\d+)\.0$/, '$1');
}
