import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run, Stream } from '../../src/core/model.ts';
import { type LoneServer, loneServer, type ServerDatabase, serverKinds } from '../support/databases.ts';
import type { ServerKind } from '../support/dialects.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';

/** The source's tables change between runs and during them: said, followed, and never garbage. */

interface TypeChange {
  readonly from: string;
  readonly to: string;
  /** Values before, kept by the landed rows that nobody touches. */
  readonly before: string;
  /** A value only the new type holds, and the text it lands as. */
  readonly fresh: string;
  readonly lands: string;
  /** How the old value reads here afterwards. */
  readonly keeps: string;
}

const BIG = '9007199254740993';
const MOMENT = { fresh: `'2026-01-02 03:04:05.000006'`, lands: '2026-01-02T03:04:05.000006' };

const changes: Readonly<Record<ServerKind, readonly TypeChange[]>> = {
  postgresql: [
    { from: 'int', to: 'bigint', before: '7', fresh: BIG, lands: BIG, keeps: '7' },
    { from: 'int', to: 'numeric', before: '7', fresh: '1.10', lands: '1.10', keeps: '7' },
    { from: 'bigint', to: 'text', before: BIG, fresh: `'seven'`, lands: 'seven', keeps: BIG },
    { from: 'int', to: 'double precision', before: '7', fresh: '1.5', lands: '1.5', keeps: '7' },
    {
      from: 'double precision',
      to: 'numeric',
      before: '1.5',
      fresh: '0.1000',
      lands: '0.1000',
      keeps: '1.5',
    },
    { from: 'double precision', to: 'text', before: '1.5', fresh: `'x'`, lands: 'x', keeps: '1.5' },
    { from: 'boolean', to: 'text', before: 'true', fresh: `'maybe'`, lands: 'maybe', keeps: 'true' },
    {
      from: 'varchar(4)',
      to: 'text',
      before: `'abcd'`,
      fresh: `'abcdefgh'`,
      lands: 'abcdefgh',
      keeps: 'abcd',
    },
    { from: 'date', to: 'timestamp', before: `'2026-01-02'`, ...MOMENT, keeps: '2026-01-02' },
    { from: 'text', to: 'int', before: `'7'`, fresh: '8', lands: '8', keeps: '7' },
    { from: 'numeric', to: 'int', before: '7', fresh: '8', lands: '8', keeps: '7' },
  ],
  mysql: changesOfMysql(),
  mariadb: [
    ...changesOfMysql(),
    {
      from: 'varchar(40)',
      to: 'uuid',
      before: `'8d2b5b2e-1111-4abc-8def-000000000001'`,
      fresh: `'8d2b5b2e-1111-4abc-8def-000000000002'`,
      lands: '8d2b5b2e-1111-4abc-8def-000000000002',
      keeps: '8d2b5b2e-1111-4abc-8def-000000000001',
    },
  ],
};

function changesOfMysql(): readonly TypeChange[] {
  return [
    { from: 'int', to: 'bigint', before: '7', fresh: BIG, lands: BIG, keeps: '7' },
    {
      from: 'bigint',
      to: 'bigint unsigned',
      before: BIG,
      fresh: '18446744073709551615',
      lands: '18446744073709551615',
      keeps: BIG,
    },
    { from: 'tinyint(1)', to: 'int', before: '127', fresh: '128', lands: '128', keeps: '127' },
    { from: 'int', to: 'decimal(10,2)', before: '7', fresh: '1.10', lands: '1.10', keeps: '7' },
    { from: 'bigint', to: 'varchar(40)', before: BIG, fresh: `'seven'`, lands: 'seven', keeps: BIG },
    { from: 'int', to: 'double', before: '7', fresh: '1.5', lands: '1.5', keeps: '7' },
    { from: 'double', to: 'decimal(12,4)', before: '1.5', fresh: '0.1000', lands: '0.1000', keeps: '1.5' },
    { from: 'double', to: 'varchar(40)', before: '1.5', fresh: `'x'`, lands: 'x', keeps: '1.5' },
    {
      from: 'varchar(4)',
      to: 'text',
      before: `'abcd'`,
      fresh: `'abcdefgh'`,
      lands: 'abcdefgh',
      keeps: 'abcd',
    },
    { from: 'date', to: 'datetime(6)', before: `'2026-01-02'`, ...MOMENT, keeps: '2026-01-02' },
    {
      from: `enum('a','b')`,
      to: `enum('a','b','c,d')`,
      before: `'a'`,
      fresh: `'c,d'`,
      lands: 'c,d',
      keeps: 'a',
    },
    { from: `enum('a','b')`, to: 'varchar(9)', before: `'a'`, fresh: `'none'`, lands: 'none', keeps: 'a' },
    { from: 'varchar(9)', to: 'int', before: `'7'`, fresh: '8', lands: '8', keeps: '7' },
    { from: 'decimal(10,0)', to: 'int', before: '7', fresh: '8', lands: '8', keeps: '7' },
  ];
}

interface Started {
  readonly name: string;
  readonly table: string;
  landed(columns: string): Record<string, unknown>[];
  readonly sync: (input?: object) => Promise<Run>;
}

describe.each(serverKinds)('%s', (kind) => {
  let database: ServerDatabase;
  let millrace: MillraceProcess;
  const directory = temporaryDirectory();
  let count = 0;
  let server: LoneServer;
  /** What cursors are made of: it only goes up. */
  let clock = 0;

  beforeAll(async () => {
    // Other suites' transactions would hold marks back, and rows be read again that this one left alone.
    server = await loneServer(kind);
    database = await server.fresh();
    millrace = await startMillrace({
      dataDir: directory.dataDir,
      config: { runs: { attempts: 20, backoffMs: [10, 80] } },
    });
  });

  afterAll(async () => {
    await millrace?.kill();
    await database?.drop();
    await server?.[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  /** Moves the cursor of the rows the condition names, so that the next run reads them. */
  const touch = (table: string, where = '1 = 1'): string =>
    `UPDATE ${table} SET c = ${++clock} WHERE ${where}`;

  test('a column that was added is added here, and rows read since hold its values', async () => {
    const { name, table, landed, sync } = await start();
    await database.run(
      `ALTER TABLE ${table} ADD extra ${database.dialect.types.name} DEFAULT 'preset'`,
      touch(table, 'id <= 3'),
      `UPDATE ${table} SET extra = 'own' WHERE id = 1`,
      `INSERT INTO ${table} VALUES (11, ${++clock}, 'eleven', 'new')`,
    );
    const run = await sync();
    expect(run).toMatchObject({ status: 'succeeded' });
    expect(said(run)).toMatch(/extra.*full_refresh/s);
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
    await database.run(
      `ALTER TABLE ${table} DROP COLUMN note`,
      touch(table, 'id = 2'),
      `INSERT INTO ${table} VALUES (11, ${++clock})`,
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

  test('a column that comes back is said, and what to do about rows read before', async () => {
    const { table, landed, sync } = await start();
    await database.run(`ALTER TABLE ${table} DROP COLUMN note`, touch(table, 'id = 2'));
    await sync();
    await database.run(
      `ALTER TABLE ${table} ADD note ${database.dialect.types.name}`,
      touch(table, 'id = 3'),
    );
    expect(said(await sync())).toMatch(/"note" is read again.*full_refresh/s);
    await sync({ full_refresh: true });
    expect(landed('note').filter(({ note }) => note !== null)).toEqual([]);
  });

  /** Each run reads the last 100 of `c` again. */
  const appended = { mode: 'append', lookback: 100 } as const;

  test.each(['added with a default', 'dropped', 'renamed', 'retyped', 'left out', 'added, then retyped'])(
    'columns that are %s under an append: rows that are read again are here once, as they read now',
    async (what) => {
      const { types, retype } = database.dialect;
      const { name, table, sync, landed } = await start('v int', '7', 10, appended);
      const alter = (text: string): Promise<unknown> => database.run(`ALTER TABLE ${table} ${text}`);
      switch (what) {
        case 'dropped':
          await alter('DROP COLUMN v');
          break;
        case 'renamed':
          await alter('RENAME COLUMN v TO w');
          break;
        case 'retyped':
          await alter(retype('v', 'decimal(10,2)'));
          break;
        case 'left out':
          await millrace.must('update_connector', {
            connector: name,
            streams: [{ name: 't', table, cursor: 'c', ...appended, columns: { exclude: ['v'] } }],
          });
          break;
        default:
          await alter(`ADD extra ${types.name} DEFAULT 'preset'`);
      }
      if (what === 'added, then retyped') {
        await sync();
        await alter(retype('v', 'decimal(10,2)'));
      }
      const values = { dropped: '', 'left out': '', renamed: ', 7', retyped: ', 7.5' }[what] ?? ", 7, 'own'";
      await database.run(
        `INSERT INTO ${table} VALUES (11, ${++clock}, 'n11'${what === 'left out' ? ', 7' : values})`,
      );
      const run = await sync();
      expect(run, JSON.stringify(run)).toMatchObject({ status: 'succeeded', totals: { rejects: 0 } });
      expect(said(run)).not.toMatch(/full_refresh/);
      const here = landed('*').map(({ _mr_run, ...row }) => row);
      expect(here.map(({ id }) => id)).toEqual(Array.from({ length: 11 }, (_, at) => at + 1));
      const [one, last] = [here[0] ?? {}, here[10] ?? {}];
      switch (what) {
        case 'dropped':
        case 'left out':
          expect([one['v'], last['v']]).toEqual([7, null]);
          break;
        case 'renamed':
          expect([one['v'], one['w'], last['v'], last['w']]).toEqual([7, 7, null, 7]);
          break;
        case 'retyped':
          expect([one['v'], last['v']]).toEqual(['7.00', '7.50']);
          break;
        default:
          expect([one['extra'], last['extra']]).toEqual(['preset', 'own']);
      }
      expect((await sync()).totals.rows_written).toBe(0);
      expect(landed('id')).toHaveLength(11);
    },
  );

  test('a cursor that reads otherwise under an append: how many rows may be here twice is said', async () => {
    const { table, sync } = await start('v int', '7', 10, appended);
    await database.run(`ALTER TABLE ${table} ${database.dialect.retype('c', 'decimal(12,2)')}`);
    const run = await sync();
    const [, most] = /up to (\d+) rows are read again/.exec(said(run)) ?? [];
    expect(Number(most), said(run)).toBeGreaterThan(0);
    expect(run.totals.rows_written).toBeLessThanOrEqual(Number(most));
    expect(said(await sync())).not.toMatch(/read again, and/);
  });

  test('a column that was renamed is one dropped and one added', async () => {
    const { table, landed, sync } = await start();
    await database.run(`ALTER TABLE ${table} RENAME COLUMN note TO remark`, touch(table, 'id = 2'));
    const run = await sync();
    expect(run).toMatchObject({ status: 'succeeded' });
    expect(said(run)).toMatch(/note/);
    expect(said(run)).toMatch(/remark/);
    expect(landed('id, note, remark').slice(0, 2)).toEqual([
      { id: 1, note: 'n1', remark: null },
      { id: 2, note: 'n2', remark: 'n2' },
    ]);
  });

  for (const { from, to, before, fresh, lands, keeps } of changes[kind]) {
    test(`${from} becomes ${to}: what is here keeps its value, what comes is exact`, async () => {
      const { table, landed, sync } = await start(`v ${from}`, before);
      await database.run(
        `ALTER TABLE ${table} ${database.dialect.retype('v', to)}`,
        `UPDATE ${table} SET v = ${fresh}, c = ${++clock} WHERE id = 2`,
      );
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
    const { types, literal, retype } = database.dialect;
    const { table, landed, sync } = await start(`v ${types.text}`, `'words'`);
    await database.run(
      `ALTER TABLE ${table} ${retype('v', types.bytes)}`,
      `UPDATE ${table} SET v = ${literal(new Uint8Array([0, 0xff]))}`,
      touch(table, 'id <= 5'),
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
    await database.run(
      `ALTER TABLE ${table} ${database.dialect.dropKey(table)}, ADD PRIMARY KEY (id, note)`,
      `INSERT INTO ${table} VALUES (1, ${++clock}, 'another one')`,
    );
    const run = await sync();
    expect(run, JSON.stringify(run)).toMatchObject({ status: 'succeeded' });
    expect(said(run)).toMatch(/anew/);
    expect(landed('id, note').slice(0, 2)).toEqual([
      { id: 1, note: 'another one' },
      { id: 1, note: 'n1' },
    ]);
    expect(landed('id')).toHaveLength(11);
  });

  test('a key whose texts change with its type: the stream is read anew, and no live row is taken for deleted', async () => {
    const { retype } = database.dialect;
    const { table, landed, sync } = await start('v int', '7');
    await database.run(
      `ALTER TABLE ${table} ${database.dialect.dropKey(table)}`,
      `ALTER TABLE ${table} ${retype('id', 'decimal(10,0)')}`,
      `ALTER TABLE ${table} ADD PRIMARY KEY (id)`,
    );
    await sync({ full_refresh: true });
    await database.run(`ALTER TABLE ${table} ${retype('id', 'decimal(10,2)')}`);
    await sync();
    await database.run(touch(table, 'id = 2'));
    const run = await sync();
    expect(run, JSON.stringify(run)).toMatchObject({ status: 'succeeded', totals: { rows_deleted: 0 } });
    const live = landed('CAST(id AS TEXT) AS id, _mr_deleted_at AS gone').filter(({ gone }) => gone === null);
    expect(live).toHaveLength(10);
    expect(live[0]).toEqual({ id: '1.00', gone: null });
  });

  test('a table that was emptied is not taken for deletions; a full refresh accepts it', async () => {
    const { table, landed, sync } = await start('v int', '1', 500);
    await database.run(`TRUNCATE TABLE ${table}`);
    const run = await sync();
    expect(run.streams[0]).toMatchObject({ status: 'failed', error: { code: 'shrink_refused' } });
    expect(landed('id').length).toBe(500);
    expect(run.streams[0]?.error?.hint).toContain('full_refresh');
    expect(await sync({ full_refresh: true })).toMatchObject({ status: 'succeeded' });
    expect(landed('id')).toEqual([]);
  });

  test('dropped and made again under the same name, with another shape', async () => {
    const { table, landed, sync } = await start();
    const { types, series } = database.dialect;
    await database.run(
      `DROP TABLE ${table}`,
      `CREATE TABLE ${table} (note ${types.text}, id int PRIMARY KEY, c bigint)`,
      `INSERT INTO ${table} SELECT concat('again', n), n, ${++clock} FROM ${series(10)}`,
    );
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
        await database.run(
          `ALTER TABLE ${table} ADD extra${turn} int DEFAULT ${turn}`,
          `ALTER TABLE ${table} ${database.dialect.retype('v', turn % 2 === 0 ? 'bigint' : 'int')}`,
          touch(table, `id % 7 = ${turn % 7}`),
        );
        await sleep(60 + (turn % 5) * 30);
        await database.run(`ALTER TABLE ${table} DROP COLUMN extra${turn}`);
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
    const there = await database.run(`SELECT id, c, note, v FROM ${table} ORDER BY id`);
    expect(landed('id, c, note, v')).toEqual(
      there.map(({ id, c, note, v }) => ({ id: Number(id), c: Number(c), note, v: Number(v) })),
    );
  });

  /** A table of its own with a merge stream over it unless told otherwise, synced once. */
  async function start(column = '', value = '', rows = 10, more: Partial<Stream> = {}): Promise<Started> {
    const table = `changing${++count}`;
    const { types, series } = database.dialect;
    await database.run(
      `CREATE TABLE ${table} (id int PRIMARY KEY, c bigint, note ${types.name}${column ? `, ${column}` : ''})`,
      `INSERT INTO ${table} SELECT n, ${clock} + n, concat('n', n)${value ? `, ${value}` : ''} FROM ${series(rows)}`,
    );
    clock += rows;
    const stream: Stream = { name: 't', table, mode: 'merge', cursor: 'c', ...more };
    const live = stream.mode === 'merge' ? 'WHERE _mr_deleted_at IS NULL' : '';
    await millrace.must('register_connector', {
      name: table,
      type: database.dialect.connector,
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
            .prepare(`SELECT ${columns} FROM "${table}__t" ${live} ORDER BY id`)
            .all() as Record<string, unknown>[];
        } finally {
          warehouse.close();
        }
      },
    };
  }

  async function described(connector: string): Promise<string> {
    return JSON.stringify(await millrace.must('describe_data', { table: `${connector}__t` }));
  }
});

/** Everything a run says in sentences. */
function said(run: Run): string {
  return run.streams.flatMap((stream) => stream.warnings ?? []).join('\n');
}

/** `7.0` and `7` are the same number; `1` is how a boolean is kept. */
function normal(value: unknown): string {
  return String(value).replace(/^(\d+)\.0$/, '$1');
}
