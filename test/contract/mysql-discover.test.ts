import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/connectors/connector.ts';
import type { StreamInfo } from '../../src/core/model.ts';
import { freshMysql, mysqlKinds, type TestMysql } from '../support/mysql.ts';
import { openMysqlSource as openSource } from './mysql-support.ts';
import { calm, failure, readAll } from './reading-support.ts';

describe.each(mysqlKinds)('%s', (kind) => {
  let shop: TestMysql;
  let sales: TestMysql;
  let source: Source;

  beforeAll(async () => {
    shop = await freshMysql(kind);
    sales = await freshMysql(kind);
    source = openSource({ ...shop.config, schemas: [sales.name] });
    await shop.query(`
      CREATE TABLE orders (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, total decimal(12,2), note varchar(20), j json, tiny tinyint(1),
        kind enum('a','b,c'), created_at datetime DEFAULT now(), updated_at timestamp(6) NOT NULL DEFAULT now(6) ON UPDATE now(6), KEY (updated_at)) ENGINE=InnoDB;
      INSERT INTO orders (total) VALUES (1);
      ${'INSERT INTO orders (total) SELECT total FROM orders;'.repeat(12)}
      UPDATE orders SET updated_at = '2024-01-01', created_at = '2024-01-01';
      CREATE TABLE \`Weird.Name\` (a int, \`b"c\` text, modified datetime);
      CREATE TABLE touched (id int PRIMARY KEY, ts datetime(6), changed_at datetime(6), seen timestamp NULL ON UPDATE now());
      CREATE TRIGGER \`touch it\` BEFORE UPDATE ON touched FOR EACH ROW SET NEW.changed_at = now(6);
      CREATE TABLE future (id int PRIMARY KEY, updated_at timestamp(6) NULL, KEY (updated_at)); INSERT INTO future VALUES (1, '2037-01-01');
      CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 4; INSERT INTO parts VALUES (1), (2), (3);
      CREATE TABLE uniq (a int NOT NULL, b int NOT NULL, c int, e varchar(9) NOT NULL, UNIQUE pair (a, b), UNIQUE nullable (c), UNIQUE start (e(3)));
      CREATE TABLE days (id int PRIMARY KEY, d date, created date);
      CREATE TABLE \`evil\u202Ename\` (id int PRIMARY KEY);
      CREATE VIEW open_orders AS SELECT id, updated_at FROM orders;
      CREATE TABLE gone (a int); CREATE VIEW broken AS SELECT a FROM gone; DROP TABLE gone;
      ANALYZE TABLE orders, parts`);
    await sales.query('CREATE TABLE log (at timestamp(6) NULL, what text)');
    if (kind === 'mariadb') {
      await shop.query(`CREATE SEQUENCE numbers;
        CREATE TABLE versions (id int PRIMARY KEY, a int, since timestamp(6) AS ROW START, till timestamp(6) AS ROW END, PERIOD FOR SYSTEM_TIME (since, till)) WITH SYSTEM VERSIONING;
        CREATE TABLE quiet (id int PRIMARY KEY, a int) WITH SYSTEM VERSIONING;
        INSERT INTO quiet VALUES (1, 1); UPDATE quiet SET a = 2; INSERT INTO versions (id, a) VALUES (1, 1); UPDATE versions SET a = 2;
        CREATE TABLE documents (id int PRIMARY KEY, d json, t longtext, c longtext CHECK (json_valid(c) AND c <> ''))`);
    } else {
      await shop.query(`SET SESSION sql_generate_invisible_primary_key = 1; CREATE TABLE keyed (a int);
        CREATE TABLE hidden_index (id int PRIMARY KEY, updated_at timestamp(6) NULL, n int, KEY at (updated_at) INVISIBLE, UNIQUE twice ((n + 1)))`);
    }
  }, 120_000);

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await shop.drop();
    await sales.drop();
  });

  const find = async (search: string): Promise<StreamInfo> => {
    const { items } = await source.discover({ limit: 1, search }, calm);
    expect(items).toHaveLength(1);
    return items[0] as StreamInfo;
  };

  test('every table and view once, none that cannot be read, and each can be read as suggested', async () => {
    const { items, next_cursor } = await source.discover({ limit: 100 }, calm);
    expect(next_cursor).toBeUndefined();
    const own = items.filter(({ table }) => !table.startsWith(`${sales.name}.`));
    expect(own.map(({ table, kind: found }) => [table, found])).toEqual([
      ['`Weird.Name`', 'table'],
      ['days', 'table'],
      ...(kind === 'mariadb' ? [['documents', 'table']] : []),
      ['`evil\u202Ename`', 'table'],
      ['future', 'table'],
      ...(kind === 'mysql'
        ? [
            ['hidden_index', 'table'],
            ['keyed', 'table'],
          ]
        : []),
      ['open_orders', 'view'],
      ['orders', 'table'],
      ['parts', 'partitioned_table'],
      ...(kind === 'mariadb' ? [['quiet', 'table']] : []),
      ['touched', 'table'],
      ['uniq', 'table'],
      ...(kind === 'mariadb' ? [['versions', 'table']] : []),
    ]);
    expect(new Set(items.map(({ name }) => name)).size).toBe(items.length);
    for (const item of items) {
      expect(item.name).toMatch(/^[a-z][a-z0-9_]{0,62}$/);
      const resolved = await source.resolve(item.suggested, calm);
      expect(resolved.columns.map(({ name, type, sourceType }) => ({ name, type, sourceType }))).toEqual(
        item.columns.map(({ name, type, source_type }) => ({ name, type, sourceType: source_type })),
      );
      expect(item.primary_key, item.name).toEqual(resolved.primaryKey);
    }
    const log = items.find(({ table }) => table === `${sales.name}.log`);
    expect(log?.suggested).toEqual({ name: `${sales.name}_log`, table: `${sales.name}.log`, cursor: 'at' });
  });

  test('columns with exact types, keys, estimates, and candidates with what speaks for and against them', async () => {
    const orders = await find(`${shop.name}.orders`);
    const display = kind === 'mysql' ? '' : '(20)';
    expect(orders).toMatchObject({
      name: 'orders',
      primary_key: ['id'],
      suggested: { name: 'orders', table: 'orders', cursor: 'updated_at' },
      columns: [
        { name: 'id', type: 'decimal', source_type: `bigint${display} unsigned`, nullable: false },
        { name: 'total', type: 'decimal', source_type: 'decimal(12,2)', nullable: true },
        { name: 'note', type: 'text', source_type: 'varchar(20)', nullable: true },
        { name: 'j', type: 'json', source_type: 'json', nullable: true },
        { name: 'tiny', type: 'integer', source_type: 'tinyint(1)', nullable: true },
        { name: 'kind', type: 'text', source_type: "enum('a','b,c')" },
        { name: 'created_at', type: 'timestamp', source_type: 'datetime' },
        { name: 'updated_at', type: 'timestamptz', source_type: 'timestamp(6)', nullable: false },
      ],
    });
    expect(orders.estimated_rows).toBeGreaterThan(3_000);
    expect(orders.estimated_rows).toBeLessThan(5_000);
    expect(orders.cursor_candidates).toEqual([
      {
        column: 'updated_at',
        reasons: [
          'its name says that it follows every change',
          'ON UPDATE CURRENT_TIMESTAMP keeps it current',
          "filled from the server's clock by default",
          'kept in UTC: one order for writers in every time zone',
          'indexed',
          'never NULL',
        ],
        risks: [expect.stringMatching(/many rows share a value \(about \d{4} each\)/)],
      },
      {
        column: 'created_at',
        reasons: ['a time that new rows get', "filled from the server's clock by default"],
        risks: [
          'changes of existing rows are not seen by it',
          'not indexed: every run scans the whole table',
          'may hold NULL',
          expect.stringContaining('keeps whole seconds'),
          expect.stringContaining('has no time zone'),
        ],
      },
      {
        column: 'id',
        reasons: [
          'a number that grows with new rows',
          'auto_increment fills it',
          'indexed',
          'unique',
          'never NULL',
        ],
        risks: ['changes of existing rows are not seen by it'],
      },
    ]);
  });

  test('what keeps a column current is known, whatever the column is called', async () => {
    const { cursor_candidates: found, suggested } = await find('touched');
    expect(found.map(({ column }) => column).sort()).toEqual(['changed_at', 'seen', 'ts']);
    const of = (column: string): string => {
      const candidate = found.find((entry) => entry.column === column);
      return [...(candidate?.reasons ?? []), '/', ...(candidate?.risks ?? [])].join(' | ');
    };
    expect(of('seen')).toMatch(/^ON UPDATE CURRENT_TIMESTAMP keeps it current \|/);
    expect(of('changed_at')).toContain('trigger "touch it" sets it on UPDATE');
    expect(of('ts')).toContain('changes of existing rows are not seen');
    expect(suggested.cursor).toBe('seen');
    const { username, password } = await shop.user();
    await using reader = openSource({ ...shop.config, username, password });
    const [blind] = (await reader.discover({ limit: 1, search: 'touched' }, calm)).items;
    expect(JSON.stringify(blind?.cursor_candidates)).toContain(
      'nothing that this login can see keeps it current',
    );
  });

  test('missing indexes, zones, days and values in the future are risks', async () => {
    const risks = async (search: string): Promise<string> =>
      (await find(search)).cursor_candidates[0]?.risks.join(' | ') ?? '';
    expect(await risks('Weird')).toMatch(
      /nothing that this login can see keeps it current.*not indexed.*may hold NULL.*whole seconds.*no time zone/,
    );
    expect(await risks('future')).toContain('lies in the future');
    expect(await risks('.days')).toContain('keeps days only');
  });

  test('without a primary key the best unique one serves, and a prefix, NULLs and expressions are judged', async () => {
    expect((await find('uniq')).primary_key).toEqual(['a', 'b']);
    if (kind === 'mysql') {
      const hidden = await find('hidden_index');
      expect(hidden.primary_key).toEqual(['id']);
      expect(hidden.cursor_candidates[0]?.risks.join()).toContain('not indexed');
      const keyed = await find('keyed');
      expect(keyed.primary_key).toEqual(['my_row_id']);
      expect(keyed.columns.map(({ name }) => name)).toContain('my_row_id');
    }
  });

  if (kind === 'mariadb') {
    test('versions: the key without their end, current rows only, their start a cursor', async () => {
      const versions = await find('versions');
      expect(versions.primary_key).toEqual(['id']);
      expect(versions.suggested.cursor).toBe('since');
      expect(versions.cursor_candidates[0]?.reasons[0]).toBe('system versioning sets it with every change');
      for (const table of ['versions', 'quiet']) {
        const { rows, stream } = await readAll(source, { name: 'v', table });
        expect(rows.map((row) => row.slice(0, 2))).toEqual([[1, 2]]);
        expect(stream.notes.join(' ')).toContain('its current rows are read');
      }
      expect(await failure(source.resolve({ name: 's', table: 'numbers' }, calm))).toMatchObject({
        code: 'not_found_at_source',
        message: expect.stringContaining('sequence'),
      });
    });
  }

  if (kind === 'mariadb') {
    test('json is known by its check, also to a login that is not shown it', async () => {
      const { username, password } = await shop.user();
      await using reader = openSource({ ...shop.config, username, password });
      for (const asking of [source, reader]) {
        const [documents] = (await asking.discover({ limit: 1, search: 'documents' }, calm)).items;
        expect(documents?.columns.map(({ type }) => type)).toEqual(['integer', 'json', 'text', 'json']);
      }
    });
  }

  test('search finds databases, tables and columns, as a plain substring without case', async () => {
    const names = async (search: string): Promise<readonly string[]> =>
      (await source.discover({ limit: 100, search }, calm)).items.map(({ table }) => table);
    expect(await names(sales.name.toUpperCase())).toEqual([`${sales.name}.log`]);
    expect(await names('B"C')).toEqual(['`Weird.Name`']);
    expect(await names('OPEN_or')).toEqual(['open_orders']);
    expect(await names('o%r')).toEqual([]);
    expect(await names('a|b')).toEqual([]);
    expect(await names("'; DROP TABLE orders; -- \\")).toEqual([]);
  });

  test('pages meet without a gap, also while tables come and go', async () => {
    const whole = (await source.discover({ limit: 100 }, calm)).items.map(({ table }) => table);
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await source.discover({ limit: 2, ...(cursor === undefined ? {} : { cursor }) }, calm);
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map(({ table }) => table));
      cursor = page.next_cursor;
      await shop.query('CREATE TABLE IF NOT EXISTS `0` (a int)');
    } while (cursor !== undefined);
    expect(seen).toEqual(whole);
    await shop.query('DROP TABLE `0`');
    expect(await failure(source.discover({ limit: 2, cursor: 'bm9uc2Vuc2U' }, calm))).toMatchObject({
      code: 'invalid_config',
    });
  });

  test('a locked table holds nothing up for long, and says no less', async () => {
    const connection = await shop.pool.getConnection();
    await connection.query('LOCK TABLES future WRITE');
    try {
      const startedAt = performance.now();
      const { items } = await source.discover({ limit: 1, search: 'future' }, calm);
      expect(performance.now() - startedAt).toBeLessThan(3_000);
      expect(items[0]?.primary_key).toEqual(['id']);
    } finally {
      await connection.query('UNLOCK TABLES');
      connection.release();
    }
  });

  // Of MEMORY, since ten thousand of InnoDB take a minute to make; asked of those, both servers are as quick.
  test('ten thousand tables: a page in under a second', { timeout: 180_000 }, async () => {
    await using many = await freshMysql(kind);
    for (let i = 0; i < 100; i++) {
      await many.query(
        Array.from(
          { length: 100 },
          (_, j) =>
            `CREATE TABLE t${i}_${j} (id int PRIMARY KEY, a int, b int, c int, d int, created_at timestamp NULL, updated_at timestamp NULL) ENGINE=MEMORY`,
        ).join(';'),
      );
    }
    const { username, password } = await many.user();
    for (const login of [{}, { username, password }]) {
      await using wide = openSource({ ...many.config, ...login });
      await wide.discover({ limit: 1 }, calm);
      for (const request of [
        { limit: 20 },
        { limit: 100 },
        { limit: 20, search: 't77_' },
        { limit: 20, search: 'updated' },
        { limit: 20, search: 'nothing like it' },
      ]) {
        // The best of three: other test files keep both cores busy.
        const ms: number[] = [];
        for (let i = 0; i < 3; i++) {
          const startedAt = performance.now();
          const page = await wide.discover(request, calm);
          ms.push(performance.now() - startedAt);
          expect(page.items.length, JSON.stringify(request)).toBe(
            request.search === 'nothing like it' ? 0 : request.limit,
          );
        }
        expect(Math.min(...ms), JSON.stringify({ ...request, ...login })).toBeLessThan(1_000);
      }
    }
  });
});
