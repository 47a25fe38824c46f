import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { KeptReject, Run, StreamResult } from '../../src/core/model.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshMysql, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { createRng, testSeed } from '../support/rng.ts';

/** Rows that stand aside: seen, landed after what kept them back was mended, and never over what is newer. */

const kills = Number(process.env['MILLRACE_KILLS'] ?? 3);
const directory = temporaryDirectory();
let millrace: MillraceProcess;

beforeAll(async () => {
  millrace = await startMillrace({ dataDir: directory.dataDir });
});

afterAll(async () => {
  await millrace?.kill();
  directory[Symbol.dispose]();
});

/** The warehouse as any SQLite tool sees it. */
function warehouse<T>(work: (db: Database.Database) => T): T {
  const db = new Database(join(directory.dataDir, 'warehouse.db'));
  try {
    return work(db);
  } finally {
    db.close();
  }
}

function landed(sql: string): readonly unknown[] {
  return warehouse((db) => db.prepare(sql).all());
}

interface Rejects {
  readonly rejects: readonly KeptReject[];
  readonly not_kept: number;
  readonly has_more: boolean;
  readonly next_cursor?: string;
}

const rejectsOf = (connector: string, more = {}): Promise<Rejects> =>
  millrace.must<Rejects>('list_rejects', { connector, ...more });

const replay = (connector: string, stream: string, more = {}) =>
  millrace.must('replay_rejects', { connector, stream, ...more });

describe.each(mysqlKinds)('%s: dates that no calendar has', (kind) => {
  let database: TestMysql;

  beforeEach(async () => {
    database = await freshMysql(kind);
    await database.query(`
      SET sql_mode = 'ALLOW_INVALID_DATES';
      CREATE TABLE visits (id bigint PRIMARY KEY, day date, note varbinary(20), at datetime(3) NOT NULL, KEY (at));
      INSERT INTO visits VALUES (1, '2024-01-31', NULL, '2024-01-31 01:02:03'),
        (2, '0000-00-00', x'00ff', '2024-02-01 00:00:00'),
        (9007199254740993, '2024-00-15', NULL, '2024-02-02 00:00:00.5')`);
    return () => database.drop();
  });

  const register = async (connector: string, stream = {}): Promise<void> => {
    await millrace.must('register_connector', {
      name: connector,
      type: 'mysql',
      config: { ...database.config, zero_dates: 'reject' },
      streams: [{ name: 'visits', table: 'visits', ...stream }],
    });
  };
  const mend = (connector: string) =>
    millrace.must('update_connector', { connector, config: { zero_dates: 'text' } });

  test.each([
    ['merge', { mode: 'merge', cursor: 'at' }],
    ['replace', { mode: 'replace' }],
    ['append', { mode: 'append', cursor: 'at' }],
  ])('%s: each step is done as the replies advise, and every row is here once', async (mode, stream) => {
    const connector = `${kind}_${mode}`;
    await register(connector, stream);
    const { run_id } = await syncToEnd(millrace, { connector });
    const { run } = await millrace.must<{ run: Run }>('get_run', { run_id });
    expect(run.next_actions).toContainEqual({
      tool: 'list_rejects',
      arguments: { connector, run_id },
      why: expect.any(String),
    });
    const [result] = run.streams as [StreamResult];
    expect(result.reject_sample).toHaveLength(2);
    expect(result.reject_sample?.[0]?.reason).toMatch(/no calendar has the date 0000-00-00 in "day"/);

    const { rejects } = await rejectsOf(connector, { run_id });
    expect(rejects.map(({ row }) => row)).toEqual([
      '{"id":2,"day":"0000-00-00","note":"\\\\x00ff","at":"2024-02-01T00:00:00.000000"}',
      '{"id":9007199254740993,"day":"2024-00-15","note":null,"at":"2024-02-02T00:00:00.500000"}',
    ]);
    expect(rejects).toMatchObject([{ count: 1, stream: 'visits', run_id }, { count: 1 }]);

    // Nothing was mended: they stay.
    expect(await replay(connector, 'visits')).toMatchObject({
      replayed: 0,
      still_rejected: 2,
      next_actions: [{ tool: 'list_rejects' }],
    });
    await mend(connector);
    expect(await replay(connector, 'visits', { reject_ids: [rejects[0]?.id, 987_654] })).toEqual({
      replayed: 1,
      still_rejected: 0,
      not_found: 1,
    });
    expect(await replay(connector, 'visits')).toEqual({ replayed: 1, still_rejected: 0 });
    expect(await rejectsOf(connector)).toEqual({ rejects: [], not_kept: 0, has_more: false });
    const whole = [
      { id: '1', day: '2024-01-31', note: null, at: '2024-01-31T01:02:03.000000' },
      { id: '2', day: '0000-00-00', note: Buffer.from([0, 255]), at: '2024-02-01T00:00:00.000000' },
      { id: '9007199254740993', day: '2024-00-15', note: null, at: '2024-02-02T00:00:00.500000' },
    ];
    const rows = `SELECT CAST(id AS text) AS id, day, note, at FROM ${connector}__visits ORDER BY at`;
    expect(landed(rows)).toEqual(whole);
    expect(landed(`SELECT DISTINCT _mr_run AS run FROM ${connector}__visits`)).toEqual([{ run: run_id }]);
    const after = await syncToEnd(millrace, { connector });
    expect(after).toMatchObject({ status: 'succeeded', totals: { rejects: 0 } });
    // Tests beside this one write on the same server: that a transaction is open there may be said.
    expect((after.streams[0]?.warnings ?? []).join()).not.toMatch(/full_refresh|rows are older in/);
    expect(landed(rows)).toEqual(whole);
    expect(await millrace.must('describe_data', { table: `${connector}__visits` })).toMatchObject({
      tables: [{ rows: 3 }],
    });
  });

  test('a reject that is met again is counted, and goes when its row lands or is gone at the source', async () => {
    const connector = `${kind}_again`;
    await register(connector, { mode: 'merge', cursor: 'at' });
    await syncToEnd(millrace, { connector });
    const [first] = (await rejectsOf(connector)).rejects;
    await database.query(`SET sql_mode = 'ALLOW_INVALID_DATES';
      UPDATE visits SET day = '2024-00-16', at = '2024-03-01' WHERE id = 2`);
    const again = await syncToEnd(millrace, { connector });
    const [second] = (await rejectsOf(connector)).rejects;
    expect(second).toMatchObject({
      id: first?.id,
      count: 2,
      run_id: again.run_id,
      first_seen: first?.first_seen,
    });
    expect(second?.row).toContain('2024-00-16');

    // What is newer lands by itself; replaying what was older would be wrong, and is no longer possible.
    await database.query("UPDATE visits SET day = '2024-03-02', at = '2024-03-02' WHERE id = 2");
    await syncToEnd(millrace, { connector });
    expect((await rejectsOf(connector)).rejects.map(({ row }) => row)).toEqual([
      expect.stringContaining('9007199254740993'),
    ]);
    await mend(connector);
    expect(await replay(connector, 'visits', { reject_ids: [first?.id] })).toEqual({
      replayed: 0,
      still_rejected: 0,
      not_found: 1,
    });
    expect(landed(`SELECT day FROM ${connector}__visits WHERE id = 2`)).toEqual([{ day: '2024-03-02' }]);

    await database.query('DELETE FROM visits WHERE id > 2');
    await syncToEnd(millrace, { connector });
    expect((await rejectsOf(connector)).rejects).toEqual([]);
  });
});

describe('postgresql: an index made by hand refuses rows', () => {
  const rows = 2_000;
  let database: TestDatabase;

  beforeEach(async () => {
    database = await freshDatabase();
    await database.query('CREATE TABLE people (id int PRIMARY KEY, email text, at timestamptz NOT NULL)');
    await database.query("INSERT INTO people VALUES (1, 'one@example.com', now() - interval '1 day')");
    return () => database.drop();
  });

  /** The first person lands, all others are refused: they have the same address. */
  const refuse = async (connector: string): Promise<string> => {
    await millrace.must('register_connector', {
      name: connector,
      type: 'postgresql',
      config: database.config,
      streams: [{ name: 'people', table: 'public.people', cursor: 'at' }],
    });
    await syncToEnd(millrace, { connector });
    const index = `${connector}_one_address`;
    warehouse((db) => db.exec(`CREATE UNIQUE INDEX ${index} ON ${connector}__people (email)`));
    await database.query(
      `INSERT INTO people SELECT n, 'one@example.com', now() FROM generate_series(2, ${rows}) n`,
    );
    const run = await syncToEnd(millrace, { connector });
    expect(run).toMatchObject({ status: 'succeeded', totals: { rejects: rows - 1 } });
    return index;
  };

  test('pages through them, and lands them when it is gone', async () => {
    const index = await refuse('pages');
    const seen: number[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < 3; page += 1) {
      const found = await rejectsOf('pages', { limit: 30, ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...found.rejects.map(({ row }) => (JSON.parse(row) as { id: number }).id));
      cursor = found.next_cursor;
    }
    expect(seen).toEqual(seen.map((_, at) => at + 2));
    expect(seen.length).toBeGreaterThan(3);
    expect(await replay('pages', 'people')).toMatchObject({ replayed: 0, still_rejected: rows - 1 });
    warehouse((db) => db.exec(`DROP INDEX ${index}`));
    expect(await replay('pages', 'people')).toEqual({ replayed: rows - 1, still_rejected: 0 });
    expect(landed('SELECT count(*) AS n, count(DISTINCT id) AS ids FROM pages__people')).toEqual([
      { n: rows, ids: rows },
    ]);
  });

  test('rows are counted that land beside an update that is refused', async () => {
    const connector = 'beside';
    await millrace.must('register_connector', {
      name: connector,
      type: 'postgresql',
      config: database.config,
      streams: [{ name: 'people', table: 'public.people', cursor: 'at' }],
    });
    await database.query(
      "INSERT INTO people SELECT n, n || '@example.com', now() FROM generate_series(2, 5) n",
    );
    await syncToEnd(millrace, { connector });
    warehouse((db) => db.exec(`CREATE UNIQUE INDEX beside_one_address ON ${connector}__people (email)`));
    await database.query(
      `UPDATE people SET email = 'one@example.com', at = clock_timestamp() WHERE id = 2;
       INSERT INTO people SELECT n, n || '@example.com', clock_timestamp() FROM generate_series(6, 205) n`,
    );
    const run = await syncToEnd(millrace, { connector });
    expect(run.totals).toMatchObject({ rejects: 1, rows_written: 200 });
    expect(landed(`SELECT row_count FROM _millrace_cursors WHERE connector = '${connector}'`)).toEqual(
      landed(`SELECT count(*) AS row_count FROM ${connector}__people`),
    );
  });

  test('a page cursor of another list is refused', async () => {
    await refuse('astray');
    const cursor = Buffer.from('after:run_1').toString('base64url');
    expect(await millrace.fails('list_rejects', { connector: 'astray', cursor })).toMatchObject({
      code: 'invalid_config',
      hint: expect.stringContaining('next_cursor'),
    });
  });

  test('of a stream that is not there, or is defined otherwise by now, says what to do', async () => {
    await refuse('otherwise');
    expect(
      await millrace.fails('replay_rejects', { connector: 'otherwise', stream: 'peeple' }),
    ).toMatchObject({
      code: 'invalid_config',
      hint: expect.stringContaining('people'),
    });
    expect((await millrace.fails('list_rejects', { connector: 'otherwise', stream: 'peeple' })).code).toBe(
      'invalid_config',
    );
    await millrace.must('update_connector', {
      connector: 'otherwise',
      streams: [{ name: 'people', table: 'public.people', cursor: 'at', where: 'id < 10' }],
    });
    const error = await millrace.fails('replay_rejects', { connector: 'otherwise', stream: 'people' });
    expect(error).toMatchObject({ code: 'invalid_config', next_actions: [{ tool: 'sync_connector' }] });
    warehouse((db) => db.exec('DROP INDEX otherwise_one_address'));
    const action = error.next_actions?.[0];
    await syncToEnd(millrace, action?.arguments ?? {});
    expect(await rejectsOf('otherwise')).toMatchObject({ rejects: [] });
    expect(landed('SELECT count(*) AS n FROM otherwise__people')).toEqual([{ n: 9 }]);
  });

  test(`SIGKILL around a replay, ${kills} times: no row is lost, and none is here twice`, async () => {
    const index = await refuse('killed');
    warehouse((db) => db.exec(`DROP INDEX ${index}`));
    const rng = createRng(testSeed());
    let hit = 0;
    for (let kill = 0; kill < kills; kill += 1) {
      const victim = await startMillrace({ dataDir: directory.dataDir });
      const answer = victim.call('replay_rejects', { connector: 'killed', stream: 'people' }).then(
        ({ isError }) => !isError,
        () => false,
      );
      await sleep(rng.int(0, 400));
      await victim.kill();
      if (!(await answer)) hit += 1;
      const [left] = landed(
        `SELECT (SELECT count(*) FROM killed__people) AS landed, (SELECT count(DISTINCT id) FROM killed__people) AS ids,
           (SELECT count(*) FROM _millrace_rejects WHERE connector = 'killed') AS rejects`,
      ) as { landed: number; ids: number; rejects: number }[];
      expect(left?.landed, `seed ${rng.seed}`).toBe(left?.ids);
      expect((left?.landed ?? 0) + (left?.rejects ?? 0), `seed ${rng.seed}`).toBe(rows);
      // Again from the beginning: as rejects, with the row of the first person alone in the table.
      if (left?.rejects === 0 && kill + 1 < kills) await startOver();
    }
    expect(hit).toBeGreaterThan(0);
    // The dead one's hold on the connector is nobody's: the next replay need not wait for it.
    expect(await replay('killed', 'people')).toMatchObject({ still_rejected: 0 });
    const after = await syncToEnd(millrace, { connector: 'killed' });
    // Tests beside this one write on the same server: that a transaction is open there may be said.
    expect((after.streams[0]?.warnings ?? []).join()).not.toMatch(/full_refresh|rows are older in/);
    expect(landed('SELECT count(*) AS n FROM killed__people')).toEqual([{ n: rows }]);
  });

  const startOver = async (): Promise<void> => {
    warehouse((db) => {
      db.exec('DELETE FROM killed__people WHERE id > 1');
      db.exec("UPDATE _millrace_cursors SET row_count = 1 WHERE connector = 'killed'");
      db.exec('CREATE UNIQUE INDEX killed_one_address ON killed__people (email)');
    });
    await database.query('UPDATE people SET at = now() WHERE id > 1');
    await syncToEnd(millrace, { connector: 'killed' });
    warehouse((db) => db.exec('DROP INDEX killed_one_address'));
  };
});
