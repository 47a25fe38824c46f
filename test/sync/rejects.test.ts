import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { KeptReject, Run, StreamResult } from '../../src/core/model.ts';
import { freshDatabaseOn, type ServerDatabase } from '../support/databases.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshMysql, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { createRng, testSeed } from '../support/rng.ts';

/** Rows that stand aside: seen, landed after what kept them back was mended, and never over what is newer. */

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
    expect((after.streams[0]?.warnings ?? []).join()).not.toMatch(/full_refresh|older/);
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
  let database: ServerDatabase;
  const people = 3_000;

  beforeEach(async () => {
    database = await freshDatabaseOn('postgresql');
    await database.query('CREATE TABLE people (id int PRIMARY KEY, email text, at timestamptz NOT NULL)');
    await database.query(
      `INSERT INTO people SELECT n, 'one@example.com', now() FROM generate_series(1, ${people}) n`,
    );
    return () => database.drop();
  });

  /** Lands one row, refuses all others. */
  const refuse = async (connector: string): Promise<void> => {
    await millrace.must('register_connector', {
      name: connector,
      type: 'postgresql',
      config: database.config,
      streams: [{ name: 'people', table: 'public.people', cursor: 'at' }],
    });
    await database.query("UPDATE people SET at = at - interval '1 day' WHERE id = 1");
    await millrace.must('update_connector', {
      connector,
      streams: [{ name: 'people', table: 'public.people', cursor: 'at', where: 'id = 1' }],
    });
    await syncToEnd(millrace, { connector });
    warehouse((db) => db.exec(`CREATE UNIQUE INDEX ${connector}_email ON ${connector}__people (email)`));
    await millrace.must('update_connector', {
      connector,
      streams: [{ name: 'people', table: 'public.people', cursor: 'at', where: 'id > 0' }],
    });
  };

  test('placeholder', async () => {
    await refuse('pg_a');
    console.log(JSON.stringify(await syncToEnd(millrace, { connector: 'pg_a' })));
    void createRng;
    void testSeed;
  });
});
