import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Run, Stream } from '../../src/core/model.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshMysql, mysqlKinds, type TestMysql } from '../support/mysql.ts';

/** Dates that no calendar has, from the source to the table: nothing is lost, and each run says how many there were. */

let millrace: MillraceProcess;
const directory = temporaryDirectory();

beforeAll(async () => {
  millrace = await startMillrace({ dataDir: directory.dataDir });
});

afterAll(async () => {
  await millrace?.kill();
  directory[Symbol.dispose]();
});

function landed(sql: string): readonly Record<string, unknown>[] {
  const db = new Database(join(directory.dataDir, 'warehouse.db'), { readonly: true });
  try {
    return db.prepare(sql).all() as Record<string, unknown>[];
  } finally {
    db.close();
  }
}

describe.each(mysqlKinds)('%s', (kind) => {
  let database: TestMysql;

  beforeAll(async () => {
    database = await freshMysql(kind);
    await database.query(`
      SET sql_mode = 'ALLOW_INVALID_DATES';
      CREATE TABLE visits (id int PRIMARY KEY, day date, at datetime(3) NOT NULL, KEY (at));
      INSERT INTO visits VALUES (1, '2024-01-31', '2024-01-31 01:02:03'), (2, '0000-00-00', '0000-00-00 00:00:00'),
        (3, '2024-00-15', '2024-02-01 00:00:00'), (4, NULL, '2024-02-02 00:00:00.5'), (5, '2024-02-30', '2024-02-03 00:00:00')`);
  });

  afterAll(() => database.drop());

  const register = async (policy: string, stream: Partial<Stream>): Promise<string> => {
    const connector = `${kind}_${policy}_${stream.mode}_${stream.name ?? 'visits'}`;
    await millrace.must('register_connector', {
      name: connector,
      type: 'mysql',
      config: { ...database.config, zero_dates: policy },
      streams: [{ name: 'visits', table: 'visits', ...stream }],
    });
    return connector;
  };
  const warnings = (run: Run): string => (run.streams[0]?.warnings ?? []).join('\n');

  test('"text": every row lands, by a cursor that begins with a zero date, and the rest comes with the next run', async () => {
    const connector = await register('text', { mode: 'merge', cursor: 'at' });
    const run = await syncToEnd(millrace, { connector });
    expect(run.streams[0]).toMatchObject({ status: 'succeeded', rows_read: 5, rows_written: 5, rejects: 0 });
    expect(warnings(run)).toMatch(/3 values of "day"/);
    expect(warnings(run)).toMatch(
      /1 value of "at" is a date that no calendar has.*landed as the server writes them/,
    );
    expect(landed(`SELECT id, day, at FROM ${connector}__visits ORDER BY id`)).toEqual([
      { id: 1, day: '2024-01-31', at: '2024-01-31T01:02:03.000000' },
      { id: 2, day: '0000-00-00', at: '0000-00-00 00:00:00.000' },
      { id: 3, day: '2024-00-15', at: '2024-02-01T00:00:00.000000' },
      { id: 4, day: null, at: '2024-02-02T00:00:00.500000' },
      { id: 5, day: '2024-02-30', at: '2024-02-03T00:00:00.000000' },
    ]);
    await database.query("INSERT INTO visits VALUES (6, '2024-03-01', '2024-03-01 00:00:00')");
    expect((await syncToEnd(millrace, { connector })).streams[0]).toMatchObject({ rows_written: 1 });
    await database.query('DELETE FROM visits WHERE id = 6');
    expect((await syncToEnd(millrace, { connector })).streams[0]).toMatchObject({ rows_deleted: 1 });
  });

  test('"null": NULL in their place, said', async () => {
    const connector = await register('null', { mode: 'replace' });
    const run = await syncToEnd(millrace, { connector });
    expect(run.streams[0]).toMatchObject({ status: 'succeeded', rows_read: 5, rows_written: 5, rejects: 0 });
    expect(warnings(run)).toMatch(
      /3 values of "day" are dates that no calendar has.*landed as NULL \(zero_dates is "null"\)/,
    );
    expect(
      landed(`SELECT id FROM ${connector}__visits WHERE day IS NULL ORDER BY id`).map(({ id }) => id),
    ).toEqual([2, 3, 4, 5]);
  });

  test.each(['merge', 'replace', 'append'] as const)(
    '"reject", %s: kept aside with the reason, counted, and nothing missing',
    async (mode) => {
      const connector = await register('reject', { mode, ...(mode === 'replace' ? {} : { cursor: 'at' }) });
      const run = await syncToEnd(millrace, { connector });
      expect(run.streams[0]).toMatchObject({
        status: 'succeeded',
        rows_read: 5,
        rows_written: 2,
        rejects: 3,
      });
      expect(warnings(run)).toMatch(/3 values of "day".*kept aside as rejects/);
      expect(warnings(run)).not.toMatch(/full_refresh/);
      expect(landed(`SELECT id FROM ${connector}__visits ORDER BY id`).map(({ id }) => id)).toEqual([1, 4]);
      const rejects = landed(
        `SELECT row, reason FROM _millrace_rejects WHERE connector = '${connector}' ORDER BY id`,
      );
      expect(rejects.map(({ row }) => JSON.parse(String(row)) as unknown)).toContainEqual({
        id: 3,
        day: '2024-00-15',
        at: '2024-02-01T00:00:00.000000',
      });
      expect(rejects.map(({ reason }) => reason)).toContain(
        'no calendar has the date 2024-00-15 in "day" (zero_dates is "reject")',
      );
      if (mode !== 'merge') return;
      // Though the table holds fewer rows than the source, what goes there goes here.
      await database.query('DELETE FROM visits WHERE id = 4');
      try {
        const next = await syncToEnd(millrace, { connector });
        expect(next.streams[0]).toMatchObject({ status: 'succeeded', rows_deleted: 1 });
        expect(warnings(next)).not.toMatch(/full_refresh/);
      } finally {
        await database.query("INSERT INTO visits VALUES (4, NULL, '2024-02-02 00:00:00.5')");
      }
    },
  );

  test('"reject", such a date in the key: the row stays kept aside while the source has it, and goes with it', async () => {
    await database.query(`
      SET sql_mode = 'ALLOW_INVALID_DATES';
      CREATE TABLE stays (id int, day date, at datetime, seq int NOT NULL, PRIMARY KEY (id, day, at), KEY (seq));
      INSERT INTO stays VALUES (1, '2024-01-31', '2024-01-31 01:02:03', 1), (2, '0000-00-00', '2024-02-01', 2), (3, '2024-02-01', '2024-02-31 10:00:00', 3)`);
    const connector = await register('reject', {
      mode: 'merge',
      name: 'stays',
      table: 'stays',
      cursor: 'seq',
    });
    const kept = (): readonly unknown[] =>
      landed(
        `SELECT row FROM _millrace_rejects WHERE connector = '${connector}' AND stream = 'stays' ORDER BY id`,
      ).map(({ row }) => (JSON.parse(String(row)) as { id: unknown }).id);
    const run = await syncToEnd(millrace, { connector });
    expect(run.streams[0]).toMatchObject({
      status: 'succeeded',
      rows_written: 1,
      rejects: 2,
      rows_deleted: 0,
    });
    expect(kept()).toEqual([2, 3]);
    await database.query('DELETE FROM stays WHERE id = 3');
    await syncToEnd(millrace, { connector });
    expect(kept()).toEqual([2]);
  });
});
