import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { Stream } from '../../src/core/model.ts';
import { freshMysql, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { testTls } from '../support/postgres-tls.ts';
import { openMysqlSource as openSource } from './mysql-support.ts';
import { calm, failure, readAll } from './reading-support.ts';

describe.each(mysqlKinds)('%s', (kind) => {
  let database: TestMysql;
  let source: Source;

  beforeAll(async () => {
    database = await freshMysql(kind);
    source = openSource(database.config);
  }, 120_000);

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await database.drop();
  });

  /** The login as the server knows it, for a GRANT of the test's own. */
  const grant = (rights: string, on: string, username: string): Promise<unknown> =>
    database.query(`GRANT ${rights} ON ${on} TO '${username}'`);

  describe('resolve', () => {
    beforeAll(async () => {
      await database.query(`
        CREATE TABLE people (id int PRIMARY KEY, \`Name\` varchar(50), updated_at timestamp(6) NULL, j json, blank datetime, f float, e enum('b','a'));
        INSERT INTO people VALUES (1, 'a', now(6), '{}', NULL, 1, 'a'), (2, 'b', now(6), '{}', NULL, 2, 'b');
        CREATE TABLE uniq (a int NOT NULL, b int NOT NULL, c int, d varchar(300) NOT NULL, UNIQUE (a, b), UNIQUE (c), UNIQUE (d(10)));
        CREATE TABLE dup (k int, l int, at datetime(6) DEFAULT now(6)); INSERT INTO dup (k, l) VALUES (1, 1), (1, 2), (2, 3), (2, 3), (3, 4);
        CREATE TABLE holes (k int, at datetime(6) DEFAULT now(6)); INSERT INTO holes (k) VALUES (1), (NULL);
        CREATE TABLE zero (d date NOT NULL, at datetime(6) DEFAULT now(6)); SET SESSION sql_mode = ''; INSERT INTO zero (d) VALUES ('0000-00-00'), ('2024-01-01');
        CREATE TABLE parts (id int, at datetime(6) DEFAULT now(6), PRIMARY KEY (id)) PARTITION BY RANGE (id) (PARTITION p1 VALUES LESS THAN (100), PARTITION p2 VALUES LESS THAN (200));
        CREATE TABLE parent (id int PRIMARY KEY) ENGINE=InnoDB;
        CREATE TABLE child (id int PRIMARY KEY, parent int, updated_at timestamp(6) NULL ON UPDATE now(6), CONSTRAINT follows FOREIGN KEY (parent) REFERENCES parent (id) ON UPDATE CASCADE ON DELETE SET NULL) ENGINE=InnoDB;
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1, now(6));
        CREATE TABLE made (id int PRIMARY KEY, a int, twice int AS (a * 2) VIRTUAL, thrice int AS (a * 3) STORED, hidden int INVISIBLE);
        INSERT INTO made (id, a, hidden) VALUES (1, 5, 7);
        CREATE TABLE old (id int PRIMARY KEY, at datetime) ENGINE=MyISAM;
        CREATE VIEW vw AS SELECT id, updated_at FROM people;
        CREATE TABLE gone (a int); CREATE VIEW broken AS SELECT a FROM gone; DROP TABLE gone`);
    });

    test.each([
      { stream: { table: 'people', cursor: 'updated_at' }, mode: 'merge', key: ['id'] },
      { stream: { table: 'people' }, mode: 'replace', key: ['id'] },
      { stream: { table: 'dup', cursor: 'at' }, mode: 'append', key: [] },
      { stream: { table: 'uniq', mode: 'merge' }, mode: 'merge', key: ['a', 'b'] },
      { stream: { table: 'parts', cursor: 'at' }, mode: 'merge', key: ['id'] },
      { stream: { table: 'vw', cursor: 'updated_at', primary_key: ['id'] }, mode: 'merge', key: ['id'] },
      { stream: { table: 'zero', cursor: 'at', primary_key: ['d'] }, mode: 'merge', key: ['d'] },
      {
        stream: { table: 'people', cursor: 'UPDATED_AT', primary_key: ['ID'] },
        mode: 'merge',
        key: ['id'],
      },
      {
        stream: { table: 'people', cursor: 'updated_at', deletes: 'ignore' },
        mode: 'merge',
        key: ['id'],
        detect: false,
      },
      {
        stream: { query: 'SELECT id, updated_at FROM people', cursor: 'updated_at' },
        mode: 'append',
        key: [],
      },
    ] as readonly {
      readonly stream: Omit<Stream, 'name'>;
      readonly mode: string;
      readonly key: readonly string[];
      readonly detect?: boolean;
    }[])('chooses $mode for $stream', async ({ stream, mode, key, detect = mode === 'merge' }) => {
      const resolved = await source.resolve({ name: 's', ...stream }, calm);
      expect(resolved).toMatchObject({ mode, primaryKey: key, detectDeletes: detect });
      if (stream.mode === undefined) expect(resolved.notes.join(' ')).toContain(`Mode "${mode}" was chosen`);
      if (stream.cursor) expect(resolved.cursor).toBe(stream.cursor.toLowerCase());
    });

    test('what was chosen and what to watch is said', async () => {
      const notes = async (stream: Omit<Stream, 'name'>): Promise<string> =>
        (await source.resolve({ name: 's', ...stream }, calm)).notes.join(' ');
      expect(await notes({ table: 'people' })).toContain('candidates: "updated_at"');
      expect(await notes({ table: 'uniq', mode: 'merge' })).toContain('unique index on (a, b)');
      expect(await notes({ table: 'people', cursor: 'Name' })).toContain('sorts behind all earlier ones');
      expect(
        await notes({ table: 'people', cursor: 'updated_at', columns: { include: ['Name'] } }),
      ).toContain('"id", "updated_at"');
      expect(await notes({ table: 'made' })).toMatch(
        /Generated columns land.*"twice", "thrice"\. Invisible columns.*"hidden"/,
      );
      expect(await notes({ table: 'old', cursor: 'at' })).toMatch(/MyISAM, which has no snapshots/);
      expect(await notes({ table: 'child', cursor: 'updated_at' })).toContain(
        '("follows" ON UPDATE CASCADE ON DELETE SET NULL)',
      );
      expect(await notes({ table: 'child', mode: 'replace' })).not.toContain('CASCADE');
    });

    test('foreign keys change rows without their ON UPDATE CURRENT_TIMESTAMP, as the note says', async () => {
      const at = async (): Promise<unknown> =>
        (await database.query('SELECT parent, updated_at FROM child WHERE id = 1'))[0];
      const before = (await at()) as { readonly updated_at: unknown };
      await database.query('UPDATE parent SET id = 2');
      expect(await at()).toEqual({ parent: 2, updated_at: before.updated_at });
    });

    test('generated and invisible columns land', async () => {
      const { rows, stream } = await readAll(source, { name: 'm', table: 'made' });
      expect(stream.columns.map(({ name }) => name)).toEqual(['id', 'a', 'twice', 'thrice', 'hidden']);
      expect(rows).toEqual([[1, 5, 10, 15, 7]]);
    });

    test.each([
      [{ table: 'poeple' }, 'not_found_at_source', /"people"/],
      [{ table: 'nowhere.people' }, 'not_found_at_source', /"people"/],
      [{ table: 'mysql.user' }, 'not_found_at_source', /Add "mysql" to `schemas`/],
      [{ table: 'a..b' }, 'not_found_at_source', /backticks/],
      [{ table: 'a.b.c' }, 'not_found_at_source', /backticks/],
      [{ table: 'x`; DROP TABLE people' }, 'not_found_at_source', /backticks/],
      [{ table: '🙂' }, 'not_found_at_source', /backticks/],
      [{ table: 'broken' }, 'not_found_at_source', /SHOW CREATE VIEW/],
      [{ table: 'people', cursor: 'update_at' }, 'not_found_at_source', /"updated_at"/],
      [{ table: 'people', primary_key: ['idd'] }, 'not_found_at_source', /"id"/],
      [{ table: 'people', primary_key: ['id', 'ID'] }, 'invalid_config', /once/],
      [{ table: 'people', columns: { include: ['nmae'] } }, 'not_found_at_source', /"Name"/],
      [
        { table: 'people', columns: { include: ['id'], exclude: ['id'] }, mode: 'replace' },
        'invalid_config',
        /columns/,
      ],
      [{ table: 'people', cursor: 'j' }, 'cursor_invalid', /"updated_at"/],
      [{ table: 'people', cursor: 'f' }, 'cursor_invalid', /double/],
      [{ table: 'people', cursor: 'blank' }, 'cursor_invalid', /"updated_at"/],
      [{ table: 'people', mode: 'append' }, 'invalid_config', /"replace"/],
      [{ table: 'dup', mode: 'merge' }, 'invalid_config', /primary_key/],
      [{ table: 'dup', cursor: 'at', primary_key: ['k'] }, 'key_not_unique', /primary_key/],
      [{ table: 'dup', cursor: 'at', primary_key: ['k', 'l'] }, 'key_not_unique', /primary_key/],
      [{ table: 'holes', cursor: 'at', primary_key: ['k'] }, 'key_not_unique', /`where`/],
      [{ table: 'people', cursor: 'updated_at', lookback: 5 }, 'invalid_config', /"5m"/],
      [{ table: 'people', cursor: 'id', lookback: '5m' }, 'invalid_config', /1000/],
      [{ table: 'people', lookback: '5m' }, 'invalid_config', /duration/],
      [{ table: 'people', where: 'idd > 1' }, 'not_found_at_source', /discover_streams|Perhaps/],
      [{ table: 'people', where: 'id >' }, 'invalid_config', /one SELECT/],
      [{ table: 'people', where: 'id > ?' }, 'invalid_config', /\?/],
      [{ query: 'SELEC 1' }, 'invalid_config', /one SELECT/],
      [{ query: 'SELECT 1 AS a; SELECT 2 AS b' }, 'invalid_config', /one SELECT/],
      [{ query: 'SELECT 1 AS a, 2 AS A' }, 'invalid_config', /name of its own/],
      [{ query: 'SELECT * FROM nowhere' }, 'not_found_at_source', /discover_streams/],
      [{ query: 'DELETE FROM people' }, 'invalid_config', /one SELECT/],
    ] as readonly (readonly [Omit<Stream, 'name'>, string, RegExp])[])(
      '%j is %s',
      async (stream, code, hint) => {
        const error = await failure(source.resolve({ name: 's', ...stream }, calm));
        expect(error).toMatchObject({ code });
        expect(error.hint).toMatch(hint);
      },
    );

    test('the count and a sample of rows that share a key are named', async () => {
      const error = await failure(
        source.resolve({ name: 's', table: 'dup', cursor: 'at', primary_key: ['k'] }, calm),
      );
      expect(error.message).toBe(
        `4 rows of ${database.name}.dup share 2 values of the declared key (k), for example (1).`,
      );
    });

    test('a date that no calendar has lands as NULL in a column that is NOT NULL, when that is the policy', async () => {
      const nullable = async (zero_dates: string): Promise<unknown> => {
        await using other = openSource({ ...database.config, zero_dates });
        return (await other.resolve({ name: 's', table: 'zero' }, calm)).columns[0]?.nullable;
      };
      expect(await nullable('text')).toBe(false);
      expect(await nullable('null')).toBe(true);
    });

    test('names of every kind, written as SQL writes them', async () => {
      const names = ['☃ x.y`z"q', 'größe', '2024', 'select', ' lead', "it's", '❤', 'UPPER'];
      for (const [i, name] of names.entries()) {
        const sql = `\`${name.replaceAll('`', '``')}\``;
        await database.query(
          `CREATE TABLE ${sql} (\`${i} .c\` int PRIMARY KEY, \`ä"b\` int); INSERT INTO ${sql} VALUES (${i}, 1)`,
        );
      }
      await using other = openSource(database.config);
      const { items } = await other.discover({ limit: 200 }, calm);
      for (const [i, name] of names.entries()) {
        const found = items.find(({ columns }) => columns.some((column) => column.name === `${i} .c`));
        expect(found?.primary_key, name).toEqual([`${i} .c`]);
        const { rows } = await readAll(other, { name: 's', table: found?.table ?? '' });
        expect(rows, name).toEqual([[i, 1]]);
        const quoted = `"${name.replaceAll('"', '""')}"`;
        const resolved = await other.resolve({ name: 's', table: `${database.name}.${quoted}` }, calm);
        expect(resolved.columns[0]?.name).toBe(`${i} .c`);
        await database.query(`DROP TABLE \`${name.replaceAll('`', '``')}\``);
      }
    });

    test('tables that differ by case only are two', async () => {
      await database.query(
        'CREATE TABLE `Case` (upper_one int PRIMARY KEY); CREATE TABLE `case` (lower_one int PRIMARY KEY)',
      );
      const key = async (table: string): Promise<unknown> =>
        (await source.resolve({ name: 's', table }, calm)).primaryKey;
      expect(await key('Case')).toEqual(['upper_one']);
      expect(await key('case')).toEqual(['lower_one']);
      expect((await failure(source.resolve({ name: 's', table: 'CASE' }, calm))).hint).toMatch(
        /"(Case|case)".*upper and lower case/,
      );
      await database.query('DROP TABLE `Case`, `case`');
    });

    test('schemas: other databases are reached only when they are named', async () => {
      await using second = await freshMysql(kind);
      await second.query(
        'CREATE TABLE inside (id int PRIMARY KEY); CREATE TABLE people (other int PRIMARY KEY)',
      );
      const error = await failure(source.resolve({ name: 's', table: `${second.name}.inside` }, calm));
      expect(error).toMatchObject({
        code: 'not_found_at_source',
        hint: expect.stringContaining(`Add "${second.name}" to \`schemas\``),
      });
      await using both = openSource({ ...database.config, schemas: [second.name] });
      const key = async (table: string): Promise<unknown> =>
        (await both.resolve({ name: 's', table }, calm)).primaryKey;
      expect(await key(`${second.name}.inside`)).toEqual(['id']);
      expect(await key('inside')).toEqual(['id']);
      expect(await key('people')).toEqual(['id']);
      expect(await key(`\`${second.name}\`.people`)).toEqual(['other']);
    });

    describe('grants', () => {
      beforeAll(async () => {
        await database.query(
          "CREATE TABLE `T x` (id int PRIMARY KEY, open varchar(9), secret varchar(9)); INSERT INTO `T x` VALUES (1, 'o', 's')",
        );
      });

      const asked = /GRANT [^;]+;/;

      test('a missing grant is named exactly, and mends it', async () => {
        const { username, password } = await database.user({ grants: 'none' });
        await using reader = openSource({ ...database.config, username, password });
        // Without any right there the server does not let the login in.
        const outside = await failure(reader.resolve({ name: 's', table: '`T x`' }, calm));
        expect(outside.code).toBe('permission_denied');
        await database.query('CREATE TABLE IF NOT EXISTS zzz (a int)');
        await grant('SELECT', `${database.name}.zzz`, username);
        const error = await failure(reader.resolve({ name: 's', table: '`T x`' }, calm));
        expect(error.code).toBe('permission_denied');
        await database.query(asked.exec(error.hint)?.[0] ?? '');
        expect((await readAll(reader, { name: 's', table: '`T x`' })).rows).toEqual([[1, 'o', 's']]);
      });

      test('of a table whose columns are granted one by one, those are read and the rest is said', async () => {
        const { username, password } = await database.user({ grants: 'none' });
        await grant('SELECT (id, open), INSERT (secret)', `${database.name}.\`T x\``, username);
        await using reader = openSource({ ...database.config, username, password });
        const { rows, stream } = await readAll(reader, {
          name: 's',
          table: '`T x`',
          columns: { exclude: ['secret', 'unheard_of'] },
        });
        expect(rows).toEqual([[1, 'o']]);
        const note = stream.notes.find((text) => text.includes('only some columns')) ?? '';
        expect(note).toContain('others ("secret") do not land');
        const closed = await failure(reader.resolve({ name: 's', table: '`T x`', cursor: 'secret' }, calm));
        expect(closed.code).toBe('permission_denied');
        expect(asked.exec(closed.hint)?.[0]).toBe(asked.exec(note)?.[0]);
        await database.query(asked.exec(closed.hint)?.[0] ?? '');
        expect((await readAll(reader, { name: 's', table: '`T x`' })).rows).toEqual([[1, 'o', 's']]);
      });

      test('discovery shows only what the login may read', async () => {
        const { username, password } = await database.user({ grants: 'none' });
        await grant('SELECT (id, open)', `${database.name}.\`T x\``, username);
        await grant('SELECT', `${database.name}.vw`, username);
        await grant('INSERT', `${database.name}.people`, username);
        await using reader = openSource({ ...database.config, username, password });
        const { items } = await reader.discover({ limit: 100 }, calm);
        expect(items.map(({ table, columns }) => [table, columns.map(({ name }) => name)])).toEqual([
          ['`T x`', ['id', 'open']],
          ['vw', ['id', 'updated_at']],
        ]);
      });
    });
  });

  describe('preview', () => {
    test('the first rows, long values cut, nothing moved', async () => {
      await database.query(`
        CREATE TABLE long_ones (id int PRIMARY KEY, t longtext, b longblob, j json, l text CHARACTER SET latin1, d decimal(65,30), g point);
        INSERT INTO long_ones VALUES (1, REPEAT('ä', 100000), REPEAT('x', 100000), CONCAT('["', REPEAT('y', 100000), '"]'), REPEAT('é', 5000), 1.5, POINT(1, 2)), (2, 'a', 'b', '[1]', NULL, 2, NULL)`);
      const stream = await source.resolve({ name: 'p', table: 'long_ones' }, calm);
      const rows = await source.preview(stream, 10, calm);
      const bytes = (value: unknown): number => (value as Uint8Array).byteLength;
      expect(rows).toHaveLength(2);
      expect(rows[0]?.[1]).toBe('ä'.repeat(2_000));
      expect(bytes(rows[0]?.[2])).toBe(2_000);
      expect(String(rows[0]?.[3])).toMatch(/^\["y+$/);
      expect(rows[0]?.[4]).toBe('é'.repeat(2_000));
      expect(rows[0]?.[5]).toBe(`1.5${'0'.repeat(29)}`);
      expect(bytes(rows[0]?.[6])).toBe(25);
      expect(await source.preview(stream, 1, calm)).toHaveLength(1);
      expect(await source.preview(stream, 0, calm)).toHaveLength(0);
    });
  });

  describe('check', () => {
    beforeAll(async () => {
      await database.query(`
        CREATE TABLE fine (id int PRIMARY KEY, updated_at timestamp(6) NULL);
        CREATE TABLE keyless (a int, d date); CREATE TABLE aria (id int PRIMARY KEY) ENGINE=MyISAM`);
    });

    test('a working connector, stream by stream', async () => {
      const report = await source.check(
        [
          { name: 'fine', table: 'fine', cursor: 'updated_at' },
          { name: 'gone', table: 'gone' },
        ],
        calm,
      );
      expect(report.checks.map(({ name, ok }) => [name, ok])).toEqual([
        ['reach', true],
        ['tls', true],
        ['login', true],
        ['version', true],
        ['stream fine', true],
        ['stream gone', false],
      ]);
      expect(report).toMatchObject({
        ok: false,
        server_version: expect.stringMatching(/^\d+/),
        error: { code: 'not_found_at_source' },
      });
      expect(report.checks[3]?.detail).toMatch(kind === 'mysql' ? /^MySQL \d/ : /^MariaDB \d+\.\d+\.\d+ /);
      expect(report.latency_ms).toBeLessThan(1_000);
      expect(report.warnings.join(' ')).toContain('may administer the server');
    });

    test('a login that may only read, and see transactions, is warned of nothing', async () => {
      const { username, password } = await database.user({ process: true });
      await using reader = openSource({ ...database.config, username, password });
      const report = await reader.check(
        [{ name: 'fine', table: 'fine', columns: { include: ['id'] } }],
        calm,
      );
      expect(report).toMatchObject({ ok: true, warnings: [] });
    });

    test('without PROCESS the report says what guards instead, and the GRANT it names mends it', async () => {
      const { username, password } = await database.user({ grants: 'select' });
      await using reader = openSource({ ...database.config, username, password });
      const [warning = '', ...others] = (await reader.check([], calm)).warnings;
      expect(others).toEqual([]);
      expect(warning).toContain('look-back window');
      await database.query(/GRANT PROCESS [^;]+;/.exec(warning)?.[0] ?? '');
      await using again = openSource({ ...database.config, username, password });
      expect((await again.check([], calm)).warnings).toEqual([]);
    });

    test('a right that comes with a role counts', async () => {
      const { username, password } = await database.user();
      const role = `role_${username}`;
      await database.query(
        `CREATE ROLE ${role}; GRANT PROCESS, UPDATE ON *.* TO ${role}; GRANT ${role} TO ${username};
         SET DEFAULT ROLE ${role} ${kind === 'mysql' ? 'TO' : 'FOR'} ${username}`,
      );
      await using reader = openSource({ ...database.config, username, password });
      const { warnings } = await reader.check([{ name: 'aria', table: 'aria' }], calm);
      expect(warnings).toEqual([
        expect.stringContaining('may change every database'),
        expect.stringMatching(/may also change .*\.aria;/),
        expect.stringContaining('No snapshots'),
      ]);
      await database.query(`DROP ROLE ${role}`);
    });

    test('tables without a key and tables without snapshots', async () => {
      const { username, password } = await database.user({ process: true });
      await using reader = openSource({ ...database.config, username, password });
      const streams = [
        { name: 'keyless', table: 'keyless', columns: { include: ['a'] } },
        { name: 'aria', table: 'aria' },
      ];
      expect((await reader.check(streams, calm)).warnings).toEqual([
        expect.stringMatching(/No snapshots can be had of \w+\.aria, .* \(the engine is MyISAM\)/),
        expect.stringMatching(/There is no key in \w+\.keyless:/),
      ]);
    });

    test.each([
      ['nothing listens', { port: 1 }, 'host_unreachable', ['reach']],
      ['no such host', { host: 'no-such-host.invalid' }, 'host_unreachable', ['reach']],
      ['link-local', { host: '169.254.169.254' }, 'host_not_allowed', ['reach']],
      ['a wrong password', { password: 'wrong' }, 'auth_failed', ['reach', 'tls', 'login']],
      ['no password', { password: undefined }, 'auth_failed', ['reach', 'tls', 'login']],
      ['no such user', { username: 'nobody_here' }, 'auth_failed', ['reach', 'tls', 'login']],
      ['no such database', { database: 'nothing_here' }, 'not_found_at_source', ['reach', 'tls', 'login']],
    ])('%s', async (_, wrong, code, stages) => {
      await using broken = openSource({ ...database.config, ...wrong });
      const report = await broken.check([{ name: 'fine', table: 'fine' }], calm);
      expect(report).toMatchObject({ ok: false, error: { code } });
      expect(report.checks.map(({ name }) => name)).toEqual(stages);
      expect(report.checks.at(-1)).toMatchObject({ ok: false });
      expect(JSON.stringify(report)).not.toContain(database.config.password);
    });

    test('a server that accepts and says nothing is unreachable after connect_timeout_ms', async () => {
      const silent = createServer(() => {});
      await new Promise<void>((settle) => silent.listen(0, '127.0.0.1', settle));
      const { port } = silent.address() as { port: number };
      await using stuck = openSource({ ...database.config, port, connect_timeout_ms: 200 });
      const startedAt = performance.now();
      const report = await stuck.check([], calm);
      expect(report).toMatchObject({
        ok: false,
        error: { code: 'host_unreachable', hint: expect.stringContaining('connect_timeout_ms') },
      });
      expect(performance.now() - startedAt).toBeLessThan(1_500);
      silent.close();
    });

    test('something that is no MySQL is said to be none', async () => {
      for (const greeting of ['HTTP/1.1 400 Bad Request\r\n\r\n', 'SSH-2.0-OpenSSH_9.2\r\n', '']) {
        const other = createServer((socket) => socket.end(greeting));
        await new Promise<void>((settle) => other.listen(0, '127.0.0.1', settle));
        const { port } = other.address() as { port: number };
        for (const ssl of ['disable', 'prefer', 'require'] as const) {
          await using wrong = openSource({ ...database.config, port, ssl, connect_timeout_ms: 1_000 });
          const report = await wrong.check([], calm);
          expect(report.ok).toBe(false);
          expect(report.error?.code, `${greeting} ${ssl}`).not.toBe('internal');
        }
        other.close();
      }
    });

    test('hosts outside network.allow are not even asked', async () => {
      await using refused = openSource(database.config, {
        assertHost: () => {
          throw Object.assign(new Error('no'), { code: 'never seen' });
        },
      });
      expect((await refused.check([], calm)).ok).toBe(false);
    });

    test.each([
      ['disable', {}, /^the connection is not encrypted$/],
      ['prefer', {}, /^the connection is encrypted \(TLSv1\.[23]\); .*"prefer" would go on without/],
      ['require', {}, /^the connection is encrypted \(TLSv1\.[23]\); who answers is not checked/],
      ['verify-ca', { ca: testTls.ca }, /^the connection is encrypted .* its host name is not$/],
      ['verify-full', { ca: testTls.ca }, /^the connection is encrypted .*; who answers is checked$/],
      ['verify-full', {}, /^tls_failed$/],
    ])('ssl %s with %j', async (ssl, more, outcome) => {
      await using secure = openSource({ ...database.config, ssl, ...more });
      const report = await secure.check([], calm);
      expect(
        report.ok ? report.checks.find(({ name }) => name === 'tls')?.detail : report.error?.code,
      ).toMatch(outcome);
    });
  });
});
