import type { Connection, PoolConnection } from 'mysql2/promise';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import { type Guard, latestOf } from '../../src/connectors/mysql/guard.ts';
import type { Stream } from '../../src/core/model.ts';
import { freshMysql, type MysqlKind, mysqlKinds, privateMysql, type TestMysql } from '../support/mysql.ts';
import { loadTimeZones } from '../support/mysql-time-zones.ts';
import { openMysqlSource } from './mysql-support.ts';
import { readAll } from './reading-support.ts';

const ids = (rows: readonly (readonly unknown[])[]): readonly unknown[] =>
  rows.map(([id]) => id).toSorted((a, b) => Number(a) - Number(b));
const markOf = (cursor: string): unknown => (JSON.parse(cursor) as { mark: unknown }).mark;

/** What tools do that lose rows: settle on the greatest value seen. */
const noGuard: Guard = async ({ session, shape, cursor, lookback }) => {
  const { travel, own, ref } = cursor;
  const [row] = await session.query(
    `SELECT ${travel.positionOf(own)} FROM ${shape.from} ORDER BY ${ref} DESC LIMIT 1`,
  );
  return { bound: { mark: row?.[0] ?? null, held: [] }, guard: 'off', warnings: [], lookback };
};

const inForce = 'open transactions (innodb_trx)';

/** What this kind of server can show of a transaction that has begun and touched no table. */
const showsBegun: Readonly<Record<MysqlKind, boolean>> = { mysql: true, mariadb: false };

/** Makes a server a replica of nobody, and ends that. */
const replication: Readonly<Record<MysqlKind, readonly [follow: string, forget: string]>> = {
  mysql: [
    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'nobody'",
    'RESET REPLICA ALL',
  ],
  mariadb: [
    "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'nobody'",
    'RESET SLAVE ALL',
  ],
};

// A server of their own: other suites' transactions would hold marks back here.
describe.each(mysqlKinds)('the late-commit guard on %s', (kind) => {
  let server: Awaited<ReturnType<typeof privateMysql>>;
  let database: TestMysql;
  /** By a login with PROCESS, and no more than it needs. */
  let source: Source;
  const open = new Set<PoolConnection>();

  beforeAll(async () => {
    server = await privateMysql(kind);
    database = await freshMysql(kind, server);
    const login = await database.user({ process: true });
    await database.query(
      `GRANT SELECT ON performance_schema.* TO ${login.username}; GRANT ${kind === 'mysql' ? 'REPLICATION CLIENT' : 'SLAVE MONITOR'} ON *.* TO ${login.username}`,
    );
    source = openMysqlSource({ ...database.config, ...login });
  }, 120_000);

  afterEach(async () => {
    if (open.size === 0) return;
    for (const client of open) client.destroy();
    open.clear();
    await database.query(`XA ROLLBACK '${database.name}'`).catch(() => undefined);
    await transactions('TRUE', 0);
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await database.drop();
    await server.stop();
  });

  /** InnoDB answers from a cache that is only made anew when nobody has asked for a tenth of a second. */
  async function transactions(condition: string, count: number): Promise<void> {
    const sql = `SELECT trx_id FROM information_schema.innodb_trx WHERE ${condition}`;
    await expect
      .poll(async () => (await database.query(sql)).length, { interval: 150, timeout: 5_000 })
      .toBe(count);
  }

  /** A transaction left open after these statements. */
  async function begin(sql: string): Promise<PoolConnection> {
    const client = await database.pool.getConnection();
    open.add(client);
    await client.query(`BEGIN; ${sql}`);
    return client;
  }

  async function end(client: PoolConnection, how: string): Promise<void> {
    await client.query(how);
    open.delete(client);
    client.release();
  }

  const columns = [
    { name: 'timestamp', column: 'timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (c)' },
    { name: 'datetime', column: 'datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (c)' },
    { name: 'bigint', column: 'bigint unsigned NOT NULL AUTO_INCREMENT, KEY (c)' },
  ] as const;

  describe.each(columns)('a transaction that commits late, cursor $name', ({ name, column }) => {
    const table = `late_${name}`;
    const stream: Stream = { name: table, table, cursor: 'c' };

    beforeAll(async () => {
      await database.query(
        `CREATE TABLE ${table} (id int PRIMARY KEY, c ${column}); INSERT INTO ${table} (id) VALUES (1)`,
      );
    });

    test('its row is read, whichever run it commits before', async () => {
      const first = await readAll(source, stream);
      const late = await begin(`INSERT INTO ${table} (id) VALUES (100)`);
      await database.query(`INSERT INTO ${table} (id) VALUES (2)`);
      const held = await readAll(source, stream, first.cursor);
      expect(ids(held.rows)).toContain(2);
      await database.query(`INSERT INTO ${table} (id) VALUES (3)`);
      const still = await readAll(source, stream, held.cursor);
      expect(ids(still.rows)).toContain(3);
      await end(late, 'COMMIT');
      const released = await readAll(source, stream, still.cursor);
      expect(ids(released.rows)).toContain(100);
      expect(released.guard).toBe(inForce);
      const quiet = await readAll(source, stream, released.cursor);
      expect(ids(quiet.rows)).toEqual([3]);
    });

    test('control: without the guard the row is lost', async () => {
      await using careless = openMysqlSource(database.config, { guard: noGuard });
      const first = await readAll(careless, stream);
      const late = await begin(`INSERT INTO ${table} (id) VALUES (200)`);
      await database.query(`INSERT INTO ${table} (id) VALUES (4)`);
      const second = await readAll(careless, stream, first.cursor);
      await end(late, 'COMMIT');
      const third = await readAll(careless, stream, second.cursor);
      expect(ids([...second.rows, ...third.rows])).not.toContain(200);
    });

    test('one that began before the first load holds that back too', async () => {
      const late = await begin(`INSERT INTO ${table} (id) VALUES (300)`);
      await database.query(`INSERT INTO ${table} (id) VALUES (5)`);
      const first = await readAll(source, stream);
      await end(late, 'COMMIT');
      const second = await readAll(source, stream, first.cursor);
      expect(ids(second.rows)).toContain(300);
    });

    test('a statement that has its value and is unknown to InnoDB is waited for', async () => {
      const first = await readAll(source, stream);
      const gate = await database.pool.getConnection();
      open.add(gate);
      await gate.query("SELECT GET_LOCK('gate', 0)");
      const slow = await database.pool.getConnection();
      open.add(slow);
      // Its NOW() is taken; the number of a sequence only once it gets through, and that is later and greater.
      const inserted = slow.query(
        `INSERT INTO ${table} (id${name === 'bigint' ? '' : ', c'}) SELECT 400${name === 'bigint' ? '' : ', NOW(6)'} FROM (SELECT GET_LOCK('gate', 20) AS g) AS l WHERE g = 1`,
      );
      await expect
        .poll(
          async () =>
            (await database.query("SELECT id FROM information_schema.processlist WHERE state = 'User lock'"))
              .length,
        )
        .toBe(1);
      await database.query(`INSERT INTO ${table} (id) VALUES (6)`);
      const second = await readAll(source, stream, first.cursor);
      expect(second.guard).not.toBe(inForce);
      await gate.query("SELECT RELEASE_LOCK('gate')");
      await inserted;
      const third = await readAll(source, stream, second.cursor);
      expect(ids(third.rows)).toContain(400);
    });

    test('a transaction without a row, or one that is rolled back, delays nothing for ever', async () => {
      const idle = await begin(`SELECT * FROM ${table}`);
      const first = await readAll(source, stream);
      await end(idle, 'ROLLBACK');
      const second = await readAll(source, stream, first.cursor);
      const third = await readAll(source, stream, second.cursor);
      expect(third.rows).toHaveLength(1);
    });
  });

  describe('a stamp that was put aside', () => {
    const stream: Stream = { name: 'aside', table: 'aside', cursor: 'c' };

    beforeAll(async () => {
      await database.query(
        'CREATE TABLE aside (id int PRIMARY KEY, c timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (c)); INSERT INTO aside (id) VALUES (1)',
      );
    });

    async function lateBy(
      first: string,
      id: number,
      reader: Source,
      lookback?: string,
    ): Promise<readonly unknown[]> {
      const declared = lookback === undefined ? stream : { ...stream, lookback };
      const before = await readAll(reader, declared);
      const late = await begin(first);
      await database.query(`INSERT INTO aside (id) VALUES (${id})`);
      const second = await readAll(reader, declared, before.cursor);
      await late.query(`INSERT INTO aside (id, c) VALUES (${id + 100}, @t)`);
      await end(late, 'COMMIT');
      const third = await readAll(reader, declared, second.cursor);
      return ids([...second.rows, ...third.rows]);
    }

    test('in a transaction that has touched a table', async () => {
      expect(await lateBy('SELECT NOW(6) INTO @t FROM aside LIMIT 1', 10, source)).toContain(110);
    });

    test('in one that has only begun: seen where performance_schema shows it, else a look-back covers it', async () => {
      expect((await lateBy('SELECT NOW(6) INTO @t', 20, source)).includes(120)).toBe(showsBegun[kind]);
      expect(await lateBy('SELECT NOW(6) INTO @t', 30, source, '1m')).toContain(130);
    });
  });

  test('a short transaction is waited for, within half a second', async () => {
    await database.query(
      'CREATE TABLE short (id int PRIMARY KEY, c timestamp(6) DEFAULT CURRENT_TIMESTAMP(6)); INSERT INTO short (id) VALUES (1)',
    );
    const busy = await begin('INSERT INTO short (id) VALUES (2)');
    setTimeout(() => void end(busy, 'COMMIT'), 80);
    const all = await readAll(source, { name: 'short', table: 'short', cursor: 'c' });
    expect(all.guard).toBe(inForce);
    expect(ids(all.rows)).toEqual([1, 2]);
    expect(markOf(all.cursor)).not.toBeNull();
  });

  test.each(['timestamp(6)', 'datetime(6)'])(
    '%s: while somebody is open the mark still goes to where he cannot write',
    async (type) => {
      await database.query(`DROP TABLE IF EXISTS old; CREATE TABLE old (id int PRIMARY KEY, c ${type}, KEY (c));
      INSERT INTO old VALUES (1, NOW(6) - INTERVAL 2 HOUR), (2, NOW(6) - INTERVAL 10 MINUTE), (3, NOW(6) - INTERVAL 1 MINUTE)`);
      const stream: Stream = { name: 'old', table: 'old', cursor: 'c' };
      const late = await begin('INSERT INTO old VALUES (4, NOW(6))');
      const first = await readAll(source, stream);
      expect(first.guard).toBe('oldest transaction start');
      expect(first.warnings).toEqual([]);
      await end(late, 'COMMIT');
      expect(ids((await readAll(source, stream, first.cursor)).rows)).toEqual([2, 3, 4]);
    },
  );

  test('a number: held at the previous mark, with a warning; and released by what was remembered while others stay open', async () => {
    await database.query(
      'CREATE TABLE seq (id int PRIMARY KEY, c bigint AUTO_INCREMENT, KEY (c)); INSERT INTO seq (id) VALUES (1)',
    );
    const stream: Stream = { name: 'seq', table: 'seq', cursor: 'c' };
    const first = await readAll(source, stream);
    const one = await begin('SELECT * FROM seq');
    await database.query('INSERT INTO seq (id) VALUES (2)');
    const second = await readAll(source, stream, first.cursor);
    expect(second.guard).toBe('held at the previous mark');
    expect(second.warnings).toEqual([expect.stringContaining('A transaction is still open')]);
    expect(markOf(second.cursor)).toBe('1');
    // Transactions that overlap without end: each run still gets further, to what the one before has seen.
    const two = await begin('SELECT * FROM seq');
    await end(one, 'COMMIT');
    await database.query('INSERT INTO seq (id) VALUES (3)');
    const third = await readAll(source, stream, second.cursor);
    expect(third.guard).toBe(inForce);
    expect(markOf(third.cursor)).toBe('2');
    await end(two, 'COMMIT');
    expect(markOf((await readAll(source, stream, third.cursor)).cursor)).toBe('3');
  });

  test('a prepared transaction counts as open, with its connection and without', async () => {
    await database.query(
      'CREATE TABLE prep (id int PRIMARY KEY, c bigint AUTO_INCREMENT, KEY (c)); INSERT INTO prep (id) VALUES (1)',
    );
    const stream: Stream = { name: 'prep', table: 'prep', cursor: 'c' };
    const xid = `'${database.name}'`;
    const late = await database.pool.getConnection();
    open.add(late);
    await late.query(`XA START ${xid}; SELECT * FROM prep`);
    await late.query('INSERT INTO prep (id) VALUES (2)');
    await database.query('INSERT INTO prep (id) VALUES (3)');
    const first = await readAll(source, stream);
    expect(markOf(first.cursor)).toBeNull();
    await late.query(`XA END ${xid}; XA PREPARE ${xid}`);
    const second = await readAll(source, stream, first.cursor);
    expect(markOf(second.cursor)).toBeNull();
    open.delete(late);
    late.destroy();
    await transactions('trx_mysql_thread_id = 0', 1);
    const third = await readAll(source, stream, second.cursor);
    expect(markOf(third.cursor)).toBeNull();
    await database.query(`XA COMMIT ${xid}`);
    const fourth = await readAll(source, stream, third.cursor);
    expect(ids(fourth.rows)).toEqual([1, 2, 3]);
    expect(markOf(fourth.cursor)).toBe('3');
  });

  test('readers hold nothing back: transactions begun READ ONLY, a long SELECT, our own readings', async () => {
    await database.query(
      'CREATE TABLE mine (id int PRIMARY KEY, c bigint AUTO_INCREMENT, KEY (c)); INSERT INTO mine (id) VALUES (1)',
    );
    const stream: Stream = { name: 'mine', table: 'mine', cursor: 'c' };
    const dump = await database.pool.getConnection();
    open.add(dump);
    await dump.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY; SELECT * FROM mine');
    const report = await database.pool.getConnection();
    open.add(report);
    const rows = report.query('SELECT id, SLEEP(3) FROM mine').catch(() => undefined);
    const signal = new AbortController().signal;
    const resolved = await source.resolve(stream, signal);
    await using reading = await source.read(resolved, null, signal);
    expect(reading.guard).toBe(inForce);
    const meanwhile = await readAll(source, stream);
    expect(meanwhile.guard).toBe(inForce);
    expect(markOf(meanwhile.cursor)).toBe('1');
    report.destroy();
    await rows;
  });

  test('a monitor that asks all the time gives us no old answer', { timeout: 60_000 }, async () => {
    await database.query(
      'CREATE TABLE watched (id int PRIMARY KEY, c bigint AUTO_INCREMENT, KEY (c)); INSERT INTO watched (id) VALUES (1)',
    );
    const stream: Stream = { name: 'watched', table: 'watched', cursor: 'c' };
    const monitor: Connection = await database.pool.getConnection();
    const stop = new AbortController();
    const watching = (async () => {
      while (!stop.signal.aborted) {
        await monitor.query('SELECT * FROM information_schema.innodb_trx');
        await new Promise((settle) => setTimeout(settle, 60));
      }
    })();
    let cursor: string | null = null;
    const seen = new Set<unknown>();
    try {
      for (let turn = 1; turn <= 6; turn++) {
        const late = await begin(`INSERT INTO watched (id) VALUES (${turn * 10})`);
        await database.query(`INSERT INTO watched (id) VALUES (${turn * 10 + 1})`);
        const during = await readAll(source, stream, cursor);
        expect(during.guard).toMatch(/^lookback 10000: somebody asks for innodb_trx|^held at/);
        await end(late, 'COMMIT');
        const after = await readAll(source, stream, during.cursor);
        for (const id of ids([...during.rows, ...after.rows])) seen.add(id);
        cursor = after.cursor;
      }
    } finally {
      stop.abort();
      await watching;
      monitor.destroy();
    }
    expect(seen.size).toBe(13);
  });

  describe('without the PROCESS privilege', () => {
    let stranger: Source;
    let account = '';

    beforeAll(async () => {
      const login = await database.user();
      account = login.username;
      stranger = openMysqlSource({ ...database.config, ...login });
      await database.query(`CREATE TABLE blind (id int PRIMARY KEY, c timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), n bigint unsigned NOT NULL AUTO_INCREMENT, d decimal(10,2) NOT NULL DEFAULT 1, s varchar(20) NOT NULL DEFAULT 'a', KEY (c), KEY (n));
        INSERT INTO blind (id, c) VALUES (1, NOW(6)), (2, NOW(6) - INTERVAL 4 MINUTE), (3, NOW(6) - INTERVAL 6 MINUTE)`);
    });

    afterAll(() => stranger[Symbol.asyncDispose]());

    test('times: five minutes are read again, and a late commit comes', async () => {
      const stream: Stream = { name: 'blind', table: 'blind', cursor: 'c' };
      const first = await readAll(stranger, stream);
      expect(first.guard).toBe('lookback 300 s: PROCESS is not granted');
      expect(first.warnings).toEqual([]);
      const late = await begin('INSERT INTO blind (id) VALUES (50)');
      await database.query('INSERT INTO blind (id) VALUES (51)');
      const second = await readAll(stranger, stream, first.cursor);
      expect(ids(second.rows)).toEqual([1, 2, 51]);
      await end(late, 'COMMIT');
      expect(ids((await readAll(stranger, stream, second.cursor)).rows)).toContain(50);
    });

    test('numbers: the last ten thousand, and what would be better', async () => {
      const stream: Stream = { name: 'blind', table: 'blind', cursor: 'n' };
      const first = await readAll(stranger, stream);
      expect(first.guard).toBe('lookback 10000: PROCESS is not granted');
      expect(first.warnings).toEqual([expect.stringContaining(`GRANT PROCESS ON *.* TO '${account}'@'%'`)]);
      const late = await begin('INSERT INTO blind (id) VALUES (60)');
      await database.query('INSERT INTO blind (id) VALUES (61)');
      const second = await readAll(stranger, stream, first.cursor);
      await end(late, 'COMMIT');
      expect(ids((await readAll(stranger, stream, second.cursor)).rows)).toContain(60);
    });

    test('others: none, and said; a declared one is used', async () => {
      const none = await readAll(stranger, { name: 'blind', table: 'blind', cursor: 's' });
      expect(none.guard).toBe('none: PROCESS is not granted');
      expect(none.warnings).toEqual([expect.stringContaining('lookback')]);
      const declared = await readAll(stranger, { name: 'blind', table: 'blind', cursor: 'd', lookback: 2 });
      expect(declared.guard).toBe('lookback 2: PROCESS is not granted');
    });

    test('the GRANT that the run names makes the transactions visible', async () => {
      const { warnings } = await readAll(stranger, { name: 'blind', table: 'blind', cursor: 'n' });
      const grant = /GRANT PROCESS ON \*\.\* TO \S+/.exec(warnings[0] ?? '')?.[0] ?? '';
      await database.query(grant);
      await using again = openMysqlSource({
        ...database.config,
        username: account,
        password: 'reader-password',
      });
      expect((await readAll(again, { name: 'blind', table: 'blind', cursor: 'n' })).guard).toBe(inForce);
      await database.query(`REVOKE PROCESS ON *.* FROM ${account}`);
    });
  });

  test.each(['+05:30', '-08:00', 'America/New_York'])(
    "DATETIME written in the server's zone %s: no word of the future, and late commits come",
    async (zone) => {
      const [usual] = await database.query('SELECT @@GLOBAL.time_zone AS zone');
      await database
        .query(`SET GLOBAL time_zone = '${zone}'`)
        .catch(() => database.query("SET GLOBAL time_zone = '-05:00'"));
      const writer = await database.pool.getConnection();
      try {
        await writer.query(`SET time_zone = @@GLOBAL.time_zone; DROP TABLE IF EXISTS local; CREATE TABLE local (id int PRIMARY KEY, c datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), KEY (c));
        INSERT INTO local (id) VALUES (1); INSERT INTO local VALUES (2, NOW(6) - INTERVAL 1 DAY), (3, NOW(6) - INTERVAL 2 DAY)`);
        const stream: Stream = { name: 'local', table: 'local', cursor: 'c' };
        const first = await readAll(source, stream);
        expect(first.warnings).toEqual([]);
        const late = await database.pool.getConnection();
        open.add(late);
        await late.query('SET time_zone = @@GLOBAL.time_zone; BEGIN; INSERT INTO local (id) VALUES (10)');
        await writer.query('INSERT INTO local (id) VALUES (11)');
        const second = await readAll(source, stream, first.cursor);
        await late.query('COMMIT');
        const third = await readAll(source, stream, second.cursor);
        expect(ids(third.rows)).toEqual(expect.arrayContaining([10, 11]));
        expect(ids(third.rows)).not.toContain(3);
      } finally {
        writer.destroy();
        await database.query(`SET GLOBAL time_zone = '${usual?.['zone']}'`);
      }
    },
  );

  test.each([
    ['America/New_York', '2026-10-31 00:00'],
    ['Europe/Berlin', '2026-10-24 00:00'],
    ['Australia/Lord_Howe', '2026-04-04 00:00'],
    ['Asia/Kolkata', '2026-04-04 00:00'],
  ])(
    'the clock of %s is put back: nothing is written below what could be a mark before',
    async (zone, from) => {
      const zones = await database.pool.getConnection();
      await loadTimeZones(zones);
      zones.release();
      const [usual] = await database.query('SELECT @@GLOBAL.time_zone AS zone');
      await database.query(`SET GLOBAL time_zone = '${zone}'`);
      try {
        const moments = await database.query(
          `WITH RECURSIVE m (u) AS (SELECT TIMESTAMP '${from}:00' UNION ALL SELECT u + INTERVAL 10 MINUTE FROM m WHERE u < TIMESTAMP '${from}:00' + INTERVAL 3 DAY)
         SELECT LEAST(u, CONVERT_TZ(u, '+00:00', '${zone}')) AS written, ${latestOf('datetime', 'u')} AS latest FROM m ORDER BY u`,
        );
        const times = moments.map(({ written, latest }) =>
          [String(written), String(latest)].map((at) => Date.parse(`${at}Z`)),
        );
        expect(times).toHaveLength(433);
        let least = Number.POSITIVE_INFINITY;
        for (const [written = NaN, latest = NaN] of times.toReversed()) {
          least = Math.min(least, written);
          expect(latest).toBeLessThanOrEqual(least);
          expect(latest).toBeGreaterThanOrEqual(written - 3_600_000);
        }
      } finally {
        await database.query(`SET GLOBAL time_zone = '${usual?.['zone']}'`);
      }
    },
  );

  test('a replica: what it applies was open elsewhere, so a look-back guards, and it is said that it stands still', async () => {
    const [follow, forget] = replication[kind];
    await database.query(
      'CREATE TABLE applied (id int PRIMARY KEY, c timestamp(6) NOT NULL, s varchar(9) NOT NULL); INSERT INTO applied VALUES (1, NOW(6), "a")',
    );
    await database.query(follow);
    try {
      const byTime = await readAll(source, { name: 'applied', table: 'applied', cursor: 'c' });
      expect(byTime.guard).toBe("lookback 300 s: a replica does not show the primary's transactions");
      expect(byTime.warnings).toEqual([
        expect.stringMatching(/^The server is a replica, and .*SHOW REPLICA STATUS/),
      ]);
      const byText = await readAll(source, { name: 'applied', table: 'applied', cursor: 's' });
      expect(byText.guard).toMatch(/^none: a replica/);
      expect(byText.warnings).toContainEqual(expect.stringContaining('lookback'));
    } finally {
      await database.query(forget);
    }
  });

  test.each([
    ['timestamp(6)', "'2037-01-01'"],
    ['datetime(6)', "'2099-01-01'"],
    ['datetime', "'2099-01-01'"],
    ['date', "'2099-01-01'"],
  ])('a value of %s in the future (%s) is no mark, and later rows are still read', async (type, value) => {
    const now = type === 'date' ? 'CURRENT_DATE' : 'NOW(6)';
    await database.query(`DROP TABLE IF EXISTS future; CREATE TABLE future (id int PRIMARY KEY, c ${type}, KEY (c));
      INSERT INTO future VALUES (1, ${now} - INTERVAL 1 SECOND), (2, ${value})`);
    const stream: Stream = { name: 'future', table: 'future', cursor: 'c' };
    const first = await readAll(source, stream);
    expect(first.warnings).toEqual([expect.stringContaining('lies in the future')]);
    await database.query(`INSERT INTO future VALUES (3, ${now})`);
    expect(ids((await readAll(source, stream, first.cursor)).rows)).toContain(3);
  });

  test.each([
    {
      type: 'timestamp(6)',
      top: 'NOW(6)',
      lookback: '5m',
      inside: 'NOW(6) - INTERVAL 4 MINUTE',
      outside: 'NOW(6) - INTERVAL 6 MINUTE',
    },
    {
      type: 'datetime(3)',
      top: 'NOW(3)',
      lookback: '5m',
      inside: 'NOW(3) - INTERVAL 4 MINUTE',
      outside: 'NOW(3) - INTERVAL 6 MINUTE',
    },
    {
      type: 'date',
      top: 'CURRENT_DATE',
      lookback: '2d',
      inside: 'CURRENT_DATE - INTERVAL 2 DAY',
      outside: 'CURRENT_DATE - INTERVAL 3 DAY',
    },
    {
      type: 'timestamp',
      top: "'1970-01-01 00:00:20'",
      lookback: '5m',
      inside: "'1970-01-01 00:00:01'",
      outside: null,
    },
    { type: 'bigint', top: '1000', lookback: 100, inside: '900', outside: '899' },
    { type: 'bigint unsigned', top: '50', lookback: 100, inside: '0', outside: null },
    {
      type: 'bigint unsigned',
      top: '18446744073709551615',
      lookback: 100,
      inside: '18446744073709551515',
      outside: '18446744073709551514',
    },
    { type: 'tinyint unsigned', top: '20', lookback: 100, inside: '0', outside: null },
    { type: 'smallint', top: '-32760', lookback: 100, inside: '-32768', outside: null },
    { type: 'year', top: '2024', lookback: 2000, inside: '1901', outside: null },
    { type: 'decimal(10,1)', top: '10.5', lookback: 2, inside: '8.5', outside: '8.4' },
    { type: 'double', top: '10.5', lookback: 2, inside: '8.5', outside: '8.4' },
  ])(
    'a declared look-back on $type reads behind the mark, and says so',
    async ({ type, top, lookback, inside, outside }) => {
      await database.query(
        `DROP TABLE IF EXISTS back; CREATE TABLE back (id int PRIMARY KEY, c ${type} NULL, KEY (c)); INSERT INTO back VALUES (1, ${top})`,
      );
      const stream: Stream = { name: 'back', table: 'back', cursor: 'c', lookback };
      const first = await readAll(source, stream);
      expect(first.guard).toContain('look-back of');
      await database.query(
        `INSERT INTO back VALUES (2, ${inside})${outside === null ? '' : `, (3, ${outside})`}`,
      );
      expect(ids((await readAll(source, stream, first.cursor)).rows)).toEqual([1, 2]);
    },
  );

  test('MyISAM: a statement under way is waited for, though no transaction is', async () => {
    await database.query(
      'CREATE TABLE heap (id int PRIMARY KEY, c timestamp(6) NOT NULL, KEY (c)) ENGINE=MyISAM; INSERT INTO heap VALUES (1, NOW(6))',
    );
    const stream: Stream = { name: 'heap', table: 'heap', cursor: 'c' };
    const first = await readAll(source, stream);
    const slow = await database.pool.getConnection();
    open.add(slow);
    const inserted = slow.query('INSERT INTO heap SELECT 2, NOW(6) FROM (SELECT SLEEP(1)) AS s');
    await new Promise((settle) => setTimeout(settle, 100));
    const second = await readAll(source, stream, first.cursor);
    expect(second.guard).toBe('held at the previous mark');
    await inserted;
    expect(ids((await readAll(source, stream, second.cursor)).rows)).toContain(2);
  });
});
