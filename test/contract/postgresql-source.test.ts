import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import type { Source } from '../../src/connectors/connector.ts';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Stream } from '../../src/core/model.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { testTls } from '../support/postgres-tls.ts';
import { calm, openSource, readAll } from './postgresql-support.ts';

let database: TestDatabase;
let source: Source;

beforeAll(async () => {
  database = await freshDatabase();
  source = openSource(database.config);
});

afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await database.drop();
});

const failure = async (work: Promise<unknown>): Promise<MillraceError> =>
  work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: MillraceError) => error,
  );

describe('resolve', () => {
  beforeAll(async () => {
    await database.query(`
      CREATE TABLE people (id int PRIMARY KEY, "Name" text, updated_at timestamptz, j json, empty timestamptz);
      INSERT INTO people VALUES (1, 'a', now(), '{}', NULL), (2, 'b', now(), '{}', NULL);
      CREATE TABLE uniq (a int NOT NULL, b int NOT NULL, c int, UNIQUE (a, b)); CREATE UNIQUE INDEX ON uniq (c); CREATE UNIQUE INDEX ON uniq (a) WHERE a > 5;
      CREATE TABLE dup (k int, l int, at timestamptz DEFAULT now()); INSERT INTO dup VALUES (1, 1), (1, 2), (2, 3), (2, 3), (3, 4);
      CREATE TABLE holes (k int, at timestamptz DEFAULT now()); INSERT INTO holes VALUES (1), (NULL);
      CREATE TABLE cached (id int PRIMARY KEY, n bigint); CREATE SEQUENCE cached_n CACHE 20 OWNED BY cached.n; INSERT INTO cached VALUES (1, 1);
      CREATE TABLE parent (id int PRIMARY KEY, at timestamptz DEFAULT now()); CREATE TABLE child () INHERITS (parent); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);
      CREATE TABLE parts (id int, at timestamptz DEFAULT now(), PRIMARY KEY (id)) PARTITION BY RANGE (id);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200); INSERT INTO parts SELECT generate_series(1, 150);
      CREATE MATERIALIZED VIEW mat AS SELECT id, updated_at FROM people; CREATE SEQUENCE some_sequence`);
  });

  test.each([
    { stream: { table: 'people', cursor: 'updated_at' }, mode: 'merge', key: ['id'] },
    { stream: { table: 'people' }, mode: 'replace', key: ['id'] },
    { stream: { table: 'dup', cursor: 'at' }, mode: 'append', key: [] },
    { stream: { table: 'uniq', mode: 'merge' }, mode: 'merge', key: ['a', 'b'] },
    { stream: { table: 'parts', cursor: 'at' }, mode: 'merge', key: ['id'] },
    { stream: { table: 'mat', cursor: 'updated_at', primary_key: ['id'] }, mode: 'merge', key: ['id'] },
    { stream: { table: 'parent', cursor: 'at' }, mode: 'append', key: [] },
    {
      stream: { table: 'people', cursor: 'updated_at', deletes: 'ignore' },
      mode: 'merge',
      key: ['id'],
      detect: false,
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
  });

  test('what was chosen and what to watch is said', async () => {
    const notes = async (stream: Omit<Stream, 'name'>): Promise<string> =>
      (await source.resolve({ name: 's', ...stream }, calm)).notes.join(' ');
    expect(await notes({ table: 'people' })).toContain('candidates: "updated_at"');
    expect(await notes({ table: 'uniq', mode: 'merge' })).toContain('unique index on (a, b)');
    expect(await notes({ table: 'cached', cursor: 'n' })).toContain('CACHE 20');
    expect(await notes({ table: 'parent', cursor: 'at' })).toContain('child tables');
    expect(await notes({ table: 'people', cursor: 'Name' })).toContain('sorts behind all earlier ones');
    expect(await notes({ table: 'people', cursor: 'updated_at', columns: { include: ['Name'] } })).toContain(
      '"id", "updated_at"',
    );
  });

  test.each([
    [{ table: 'poeple' }, 'not_found_at_source', /"people"/],
    [{ table: 'public.PEOPLE_' }, 'not_found_at_source', /"people"/],
    [{ table: 'nowhere.people' }, 'not_found_at_source', /"people"/],
    [{ table: 'some_sequence' }, 'not_found_at_source', /discover_streams/],
    [{ table: 'a..b' }, 'not_found_at_source', /double quotes/],
    [{ table: 'x; DROP TABLE people' }, 'not_found_at_source', /double quotes/],
    [{ table: 'people', cursor: 'update_at' }, 'not_found_at_source', /"updated_at"/],
    [{ table: 'people', cursor: 'name' }, 'not_found_at_source', /"Name"/],
    [{ table: 'people', primary_key: ['idd'] }, 'not_found_at_source', /"id"/],
    [{ table: 'people', primary_key: ['id', 'id'] }, 'invalid_config', /once/],
    [{ table: 'people', columns: { include: ['nmae'] } }, 'not_found_at_source', /"Name"/],
    [
      { table: 'people', columns: { include: ['id'], exclude: ['id'] }, mode: 'replace' },
      'invalid_config',
      /columns/,
    ],
    [{ table: 'people', cursor: 'j' }, 'cursor_invalid', /timestamp/],
    [{ table: 'people', cursor: 'empty' }, 'cursor_invalid', /"updated_at"/],
    [{ table: 'people', mode: 'append' }, 'invalid_config', /"replace"/],
    [{ table: 'dup', mode: 'merge' }, 'invalid_config', /primary_key/],
    [{ table: 'dup', cursor: 'at', primary_key: ['k'] }, 'key_not_unique', /primary_key/],
    [{ table: 'dup', cursor: 'at', primary_key: ['k', 'l'] }, 'key_not_unique', /primary_key/],
    [{ table: 'holes', cursor: 'at', primary_key: ['k'] }, 'key_not_unique', /`where`/],
    [{ table: 'parent', cursor: 'at', primary_key: ['id'] }, 'key_not_unique', /primary_key/],
    [{ table: 'people', cursor: 'updated_at', lookback: 5 }, 'invalid_config', /"5m"/],
    [{ table: 'people', cursor: 'id', lookback: '5m' }, 'invalid_config', /1000/],
    [{ table: 'people', lookback: '5m' }, 'invalid_config', /duration/],
    [{ table: 'people', where: 'idd > 1' }, 'not_found_at_source', /discover_streams|Perhaps/],
    [{ table: 'people', where: 'id >' }, 'invalid_config', /one SELECT/],
    [{ query: 'SELEC 1' }, 'invalid_config', /one SELECT/],
    [{ query: 'SELECT 1 AS a; SELECT 2 AS b' }, 'invalid_config', /one SELECT/],
    [{ query: 'SELECT 1 AS a, 2 AS a' }, 'invalid_config', /name of its own/],
    [{ query: 'SELECT 1 AS a WHERE 1 > $1' }, 'invalid_config', /Write the value itself/],
    [{ query: 'SELECT * FROM nowhere' }, 'not_found_at_source', /discover_streams/],
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
      '4 rows of public.dup share 2 values of the declared key (k), for example (1).',
    );
  });

  test('a missing grant is named exactly, and mends it; columns alone can be granted', async () => {
    await database.query(
      'CREATE SCHEMA closed; CREATE TABLE closed."T x" (id int PRIMARY KEY, open text, secret text); INSERT INTO closed."T x" VALUES (1, \'o\', \'s\')',
    );
    const { username, password } = await database.role();
    await using reader = openSource({ ...database.config, username, password });
    const stream: Stream = { name: 's', table: 'closed."T x"' };
    const apply = async (error: MillraceError): Promise<void> => {
      expect(error.code).toBe('permission_denied');
      const grant = /GRANT [^;]+;/.exec(error.hint)?.[0] ?? '';
      await database.query(grant);
    };
    await apply(await failure(reader.resolve(stream, calm)));
    const table = await failure(reader.resolve(stream, calm));
    await database.query(`GRANT SELECT (id, open) ON closed."T x" TO ${username}`);
    const partial = await failure(reader.resolve(stream, calm));
    expect(partial.hint).toContain('{"include": ["id","open"]}');
    expect((await readAll(reader, { ...stream, columns: { include: ['id', 'open'] } })).rows).toEqual([
      [1, 'o'],
    ]);
    await apply(table);
    expect((await readAll(reader, stream)).rows).toEqual([[1, 'o', 's']]);
  });

  test('schemas: unqualified names are looked for there, and others are not reached', async () => {
    await database.query('CREATE SCHEMA s1; CREATE TABLE s1.inside (id int PRIMARY KEY)');
    await using narrow = openSource({ ...database.config, schemas: ['s1'] });
    expect((await narrow.resolve({ name: 's', table: 'inside' }, calm)).primaryKey).toEqual(['id']);
    const error = await failure(narrow.resolve({ name: 's', table: 'public.people' }, calm));
    expect(error).toMatchObject({
      code: 'not_found_at_source',
      hint: expect.stringContaining('Add "public" to `schemas`'),
    });
  });
});

describe('check', () => {
  test('a working connector, stream by stream', async () => {
    const report = await source.check(
      [
        { name: 'people', table: 'people', cursor: 'updated_at' },
        { name: 'gone', table: 'gone' },
      ],
      calm,
    );
    expect(report.checks.map(({ name, ok }) => [name, ok])).toEqual([
      ['reach', true],
      ['tls', true],
      ['login', true],
      ['version', true],
      ['stream people', true],
      ['stream gone', false],
    ]);
    expect(report).toMatchObject({
      ok: false,
      server_version: expect.stringMatching(/^\d+/),
      error: { code: 'not_found_at_source' },
    });
    expect(report.latency_ms).toBeLessThan(1_000);
    expect(report.warnings.join(' ')).toContain('superuser');
  });

  test('an ordinary login: what it could change and what it does not see', async () => {
    const { username, password } = await database.role();
    await database.query(`CREATE TABLE rls (id int PRIMARY KEY); ALTER TABLE rls ENABLE ROW LEVEL SECURITY; CREATE TABLE mine (id int PRIMARY KEY);
      GRANT SELECT ON rls TO ${username}; GRANT SELECT, UPDATE ON mine TO ${username}`);
    await using reader = openSource({ ...database.config, username, password });
    const report = await reader.check(
      [
        { name: 'rls', table: 'rls' },
        { name: 'mine', table: 'mine' },
      ],
      calm,
    );
    expect(report.ok).toBe(true);
    expect(report.warnings).toEqual([
      expect.stringMatching(/may also change mine;/),
      expect.stringMatching(/Row-level security.* rls /),
    ]);
    await database.query(`DROP OWNED BY ${username}`);
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
    const report = await broken.check([{ name: 'people', table: 'people' }], calm);
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

  test('something that is no PostgreSQL is said to be none', async () => {
    const other = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((settle) => other.listen(0, '127.0.0.1', settle));
    const { port } = other.address() as { port: number };
    for (const ssl of ['disable', 'prefer', 'require'] as const) {
      await using wrong = openSource({ ...database.config, port, ssl, connect_timeout_ms: 1_000 });
      const report = await wrong.check([], calm);
      expect(report.ok).toBe(false);
      expect(report.error?.code).not.toBe('internal');
    }
    other.close();
  });

  test('hosts outside network.allow are not even asked', async () => {
    await using refused = openSource(database.config, {
      assertHost: () => {
        throw Object.assign(new Error('no'), { code: 'never seen' });
      },
    });
    expect((await refused.check([], calm)).ok).toBe(false);
  });

  test('nothing of the environment gets into a connection', async () => {
    const before = { ...process.env };
    Object.assign(process.env, {
      PGPASSWORD: database.config.password,
      PGOPTIONS: '-c application_name=leaked',
      PGSSLMODE: 'verify-full',
      PGHOST: '10.255.255.1',
    });
    try {
      await using bare = openSource({ ...database.config, password: undefined });
      expect((await bare.check([], calm)).error?.code).toBe('auth_failed');
      await using whole = openSource(database.config);
      const shown = await readAll(whole, {
        name: 'e',
        query: "SELECT current_setting('application_name') AS a",
        mode: 'replace',
      });
      expect(shown.rows).toEqual([['millrace (reading)']]);
    } finally {
      for (const name of ['PGPASSWORD', 'PGOPTIONS', 'PGSSLMODE', 'PGHOST']) delete process.env[name];
      Object.assign(process.env, before);
    }
  });
});

describe('TLS', () => {
  const hasTls = async (ssl: string, more: object = {}): Promise<unknown> => {
    await using secure = openSource({ ...database.config, ssl, ...more });
    const report = await secure.check([], calm);
    return report.ok ? report.checks.find(({ name }) => name === 'tls')?.detail : report.error?.code;
  };

  test.each([
    ['disable', {}, 'the connection is not encrypted'],
    ['prefer', {}, 'the connection is encrypted'],
    ['require', {}, 'the connection is encrypted'],
    ['require', { ca: testTls.ca }, 'the connection is encrypted'],
    ['require', { ca: testTls.cert }, 'tls_failed'],
    ['verify-full', { ca: testTls.ca }, 'the connection is encrypted'],
    ['verify-full', { ca: testTls.ca, host: 'localhost' }, 'the connection is encrypted'],
    ['verify-full', {}, 'tls_failed'],
    ['verify-full', { ca: 'nonsense' }, 'tls_failed'],
  ])('ssl %s with %j', async (ssl, more, outcome) => {
    expect(await hasTls(ssl, more)).toBe(outcome);
  });

  describe('a server with other rules', () => {
    let server: EmbeddedPostgres;
    beforeAll(async () => {
      server = await startEmbeddedPostgres();
    });
    afterAll(() => server.stop());
    const config = (): object => ({
      host: server.host,
      port: server.port,
      database: 'postgres',
      username: server.user,
      password: server.password,
    });

    test('without TLS: prefer goes without, require says so', async () => {
      await using prefer = openSource({ ...config(), ssl: 'prefer' });
      expect((await prefer.check([], calm)).ok).toBe(true);
      await using require = openSource({ ...config(), ssl: 'require' });
      expect((await require.check([], calm)).error).toMatchObject({
        code: 'tls_failed',
        hint: expect.stringContaining('"ssl": "disable"'),
      });
    });

    test('that insists on TLS: the hint names it', async () => {
      writeFileSync(join(server.dataDir, 'server.crt'), testTls.cert, { mode: 0o600 });
      const hba = `hostssl all all 127.0.0.1/32 scram-sha-256\n`;
      writeFileSync(join(server.dataDir, 'pg_hba.conf'), hba);
      await server.restart('fast');
      await using plainly = openSource({ ...config(), ssl: 'disable' });
      expect((await plainly.check([], calm)).error).toMatchObject({
        code: 'tls_failed',
        hint: expect.stringContaining('"ssl": "require"'),
      });
    });
  });

  test('reads over TLS, with cells far larger than a TLS record', async () => {
    await using secure = openSource({ ...database.config, ssl: 'require' });
    const { rows } = await readAll(secure, {
      name: 't',
      query: "SELECT i AS id, repeat('x', i * 500000) AS t FROM generate_series(1, 12) i",
      mode: 'replace',
    });
    expect(rows.map(([, t]) => (t as string).length)).toEqual(
      Array.from({ length: 12 }, (_, i) => (i + 1) * 500_000),
    );
  });
});

describe('discover', () => {
  let shop: TestDatabase;
  let discovering: Source;

  beforeAll(async () => {
    shop = await freshDatabase();
    discovering = openSource(shop.config);
    await shop.query(`
      CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric(12,2), note varchar(20), created_at timestamptz DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
      CREATE INDEX ON orders (updated_at);
      CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.updated_at := now(); RETURN new; END $$;
      CREATE TRIGGER "touch it" BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
      INSERT INTO orders (total) SELECT i FROM generate_series(1, 3000) i;
      CREATE TABLE "Weird.Name" (a int, "b""c" text, modified timestamp);
      INSERT INTO "Weird.Name" SELECT 1, 'x', CASE WHEN i % 4 = 0 THEN timestamp '2024-01-01' END FROM generate_series(1, 4000) i;
      CREATE TABLE future (id int PRIMARY KEY, updated_at timestamptz); CREATE INDEX ON future (updated_at); INSERT INTO future VALUES (1, '2099-01-01');
      CREATE SCHEMA sales; CREATE TABLE sales.log (at timestamptz, what text);
      CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000); INSERT INTO parts SELECT generate_series(1, 500);
      CREATE VIEW open_orders AS SELECT * FROM orders; CREATE MATERIALIZED VIEW totals AS SELECT sum(total) AS total FROM orders;
      CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE far (line text) SERVER files OPTIONS (filename '/dev/null');
      CREATE TABLE "evil\u202E\u0007name" (id int PRIMARY KEY); CREATE TEMP TABLE hidden (a int); CREATE SEQUENCE s`);
    await shop.query('ANALYZE');
  });

  afterAll(async () => {
    await discovering[Symbol.asyncDispose]();
    await shop.drop();
  });

  test('every kind of table once, partitions as their one table, and each can be read as suggested', async () => {
    const { items, next_cursor } = await discovering.discover({ limit: 100 }, calm);
    expect(next_cursor).toBeUndefined();
    expect(items.map(({ table, kind }) => [table, kind])).toEqual([
      ['public."Weird.Name"', 'table'],
      ['public."evil\u202E\u0007name"', 'table'],
      ['public.far', 'foreign_table'],
      ['public.future', 'table'],
      ['public.open_orders', 'view'],
      ['public.orders', 'table'],
      ['public.parts', 'partitioned_table'],
      ['public.totals', 'materialized_view'],
      ['sales.log', 'table'],
    ]);
    expect(new Set(items.map(({ name }) => name)).size).toBe(items.length);
    for (const item of items) {
      expect(item.name).toMatch(/^[a-z][a-z0-9_]{0,62}$/);
      const resolved = await discovering.resolve(item.suggested, calm);
      expect(resolved.columns.map(({ name, type, sourceType }) => ({ name, type, sourceType }))).toEqual(
        item.columns.map(({ name, type, source_type }) => ({ name, type, sourceType: source_type })),
      );
      expect(item.primary_key).toEqual(resolved.primaryKey);
    }
    const { name, suggested } = items.find(({ table }) => table === 'sales.log') ?? {
      name: '',
      suggested: {},
    };
    expect(name).toBe('sales_log');
    expect(suggested).toEqual({ name: 'sales_log', table: 'sales.log', cursor: 'at' });
  });

  test('columns with exact types, keys, estimates, and candidates with what speaks for and against them', async () => {
    const { items } = await discovering.discover({ limit: 10, search: 'public.orders' }, calm);
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({
      name: 'orders',
      primary_key: ['id'],
      estimated_rows: 3000,
      suggested: { name: 'orders', table: 'public.orders', cursor: 'updated_at' },
      columns: [
        { name: 'id', type: 'integer', source_type: 'bigint', nullable: false },
        { name: 'total', type: 'decimal', source_type: 'numeric(12,2)', nullable: true },
        { name: 'note', type: 'text', source_type: 'character varying(20)', nullable: true },
        { name: 'created_at' },
        { name: 'updated_at', type: 'timestamptz', source_type: 'timestamp with time zone', nullable: false },
      ],
    });
    expect(items[0]?.cursor_candidates.map(({ column }) => column)).toEqual([
      'updated_at',
      'created_at',
      'id',
    ]);
    expect(items[0]?.cursor_candidates[0]).toEqual({
      column: 'updated_at',
      reasons: [
        'its name says that it follows every change',
        'trigger "touch it" sets it on UPDATE',
        "filled from the server's clock by default",
        'indexed',
        'never NULL',
      ],
      risks: [expect.stringContaining('many rows share a value (about 3000 each)')],
    });
    expect(items[0]?.cursor_candidates[1]?.risks).toContainEqual(
      expect.stringContaining('changes of existing rows'),
    );
  });

  test('NULLs, missing indexes, zones and values in the future are risks', async () => {
    const risks = async (search: string): Promise<string> => {
      const { items } = await discovering.discover({ limit: 1, search }, calm);
      return items[0]?.cursor_candidates[0]?.risks.join(' | ') ?? '';
    };
    expect(await risks('Weird')).toMatch(
      /nothing in the database keeps it current.*not indexed.*about 75% of the rows have NULL.*no time zone/,
    );
    expect(await risks('future')).toContain('lies in the future');
  });

  test('search finds schemas, tables and columns, as a plain substring', async () => {
    const names = async (search: string): Promise<readonly string[]> =>
      (await discovering.discover({ limit: 100, search }, calm)).items.map(({ table }) => table);
    expect(await names('SALES')).toEqual(['sales.log']);
    expect(await names('b"c')).toEqual(['public."Weird.Name"']);
    expect(await names('open_or')).toEqual(['public.open_orders']);
    expect(await names('o%r')).toEqual([]);
    expect(await names("'; DROP TABLE orders; --")).toEqual([]);
  });

  test('pages meet without a gap, also while tables come and go', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await discovering.discover(
        { limit: 2, ...(cursor === undefined ? {} : { cursor }) },
        calm,
      );
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map(({ table }) => table));
      cursor = page.next_cursor;
      await shop.query('CREATE TABLE IF NOT EXISTS aaa (a int)');
    } while (cursor !== undefined);
    expect(seen).toHaveLength(9);
    await shop.query('DROP TABLE aaa');
    expect(await failure(discovering.discover({ limit: 2, cursor: 'bm9uc2Vuc2U' }, calm))).toMatchObject({
      code: 'invalid_config',
    });
  });

  test('only what the login may read', async () => {
    const { username, password } = await shop.role();
    await shop.query(
      `GRANT SELECT ON orders TO ${username}; GRANT SELECT (id) ON future TO ${username}; GRANT SELECT ON sales.log TO ${username}`,
    );
    await using reader = openSource({ ...shop.config, username, password });
    const { items } = await reader.discover({ limit: 100 }, calm);
    expect(items.map(({ table, columns }) => [table, columns.length])).toEqual([
      ['public.future', 1],
      ['public.orders', 5],
    ]);
    await shop.query(`DROP OWNED BY ${username}`);
  });

  test('ten thousand tables: a page in under a second', { timeout: 60_000 }, async () => {
    await using many = await freshDatabase();
    for (let i = 0; i < 100; i++) {
      await many.query(
        Array.from(
          { length: 100 },
          (_, j) =>
            `CREATE TABLE t${i}_${j} (id int PRIMARY KEY, a int, b int, c int, d int, created_at timestamptz, updated_at timestamptz)`,
        ).join(';'),
      );
    }
    await using wide = openSource(many.config);
    await wide.discover({ limit: 1 }, calm);
    for (const request of [
      { limit: 20 },
      { limit: 100 },
      { limit: 20, search: 't77_' },
      { limit: 20, search: 'updated' },
      { limit: 20, search: 'nothing like it' },
    ]) {
      const startedAt = performance.now();
      const page = await wide.discover(request, calm);
      expect(page.items.length, JSON.stringify(request)).toBe(
        request.search === 'nothing like it' ? 0 : request.limit,
      );
      expect(performance.now() - startedAt, JSON.stringify(request)).toBeLessThan(1_000);
    }
  });
});
