import type { ServerKind } from '../support/dialects.ts';
import type { Expectations, RefusedStream, WrongConfig } from './connector-expecting.ts';

/** What each server says in words of its own, and has of its own. Forgetting one is a type error. */

const wrongAnywhere: readonly WrongConfig[] = [
  { what: 'nothing listens', config: { port: 1 }, code: 'host_unreachable', stages: ['reach'] },
  {
    what: 'no such host',
    config: { host: 'no-such-host.invalid' },
    code: 'host_unreachable',
    stages: ['reach'],
  },
  { what: 'link-local', config: { host: '169.254.169.254' }, code: 'host_not_allowed', stages: ['reach'] },
  {
    what: 'a wrong password',
    config: { password: 'wrong' },
    code: 'auth_failed',
    stages: ['reach', 'tls', 'login'],
  },
  {
    what: 'no password',
    config: { password: undefined },
    code: 'auth_failed',
    stages: ['reach', 'tls', 'login'],
  },
  {
    what: 'no such login',
    config: { username: 'nobody_here' },
    code: 'auth_failed',
    stages: ['reach', 'tls', 'login'],
  },
];

const refusedAnywhere: readonly RefusedStream[] = [
  { stream: { table: 'poeple' }, code: 'not_found_at_source', hint: /people/ },
  { stream: { table: 'nowhere.people' }, code: 'not_found_at_source', hint: /people/ },
  { stream: { table: 'x; DROP TABLE people' }, code: 'not_found_at_source', hint: /\w/ },
  { stream: { table: 'people', cursor: 'empty' }, code: 'cursor_invalid', hint: /updated_at/ },
  {
    stream: { table: 'holes', cursor: 'at', primary_key: ['k'] },
    code: 'key_not_unique',
    hint: /`where`/,
  },
  {
    stream: { table: 'people', where: 'idd > 1' },
    code: 'not_found_at_source',
    hint: /discover_streams|Perhaps/,
  },
  { stream: { table: 'people', where: 'id >' }, code: 'invalid_config', hint: /one SELECT/ },
  { stream: { query: 'SELEC 1' }, code: 'invalid_config', hint: /one SELECT/ },
  { stream: { query: 'SELECT 1 AS a; SELECT 2 AS b' }, code: 'invalid_config', hint: /one SELECT/ },
  { stream: { query: 'SELECT 1 AS a, 2 AS a' }, code: 'invalid_config', hint: /name of its own/ },
  { stream: { query: 'SELECT * FROM nowhere' }, code: 'not_found_at_source', hint: /discover_streams/ },
];

const database = {
  has: {
    sql: true,
    grants: true,
    transactions: true,
    catalogue: true,
    counts: true,
    'null cursors': true,
    decimals: true,
  },
  check: {
    version: /\d+\.\d+/,
    stages: ['reach', 'tls', 'login', 'version'],
    missing: [
      ['reach', true],
      ['tls', true],
      ['login', true],
      ['version', true],
      ['stream gone', false],
      ['stream people', true],
    ],
    warned: [],
  },
  detectsDeletes: true,
  types: {
    integer: 'integer',
    big: 'integer',
    decimal: 'decimal',
    name: 'text',
    text: 'text',
    stamp: 'timestamptz',
    moment: 'timestamp',
    day: 'date',
    bytes: 'bytes',
    unordered: 'json',
  },
  columns: 'told',
  behindMicros: 0,
  again: 0,
  // Two values of the cursor: the last one read whole, and the one that is being read.
  remembered: 14,
  deaf: {
    config: { connect_timeout_ms: 200 },
    code: 'host_unreachable',
    setting: 'connect_timeout_ms',
    withinMs: 1_500,
  },
  strangers: (['disable', 'prefer', 'require'] as const).map((ssl) => ({
    what: `HTTP, asked with ssl ${ssl}`,
    says: 'HTTP/1.1 400 Bad Request\r\n\r\n',
    config: { ssl, connect_timeout_ms: 1_000 },
  })),
  impatient: { config: { statement_timeout_ms: 300 }, withinMs: 8_000 },
  crowd: { pool: { min: 0, max: 4 } },
  refused: refusedAnywhere,
  shared: /^4 rows of .*dup share 2 values of the declared key \(k\), for example \(1\)\.$/,
  cut: 'connection_lost',
  closed: 'connection_lost',
} as const satisfies Partial<Expectations>;

const mysqlFamily = {
  ...database,
  guard: 'open transactions (innodb_trx)',
  // Names are stored in three bytes a character at most.
  oddName: 'é€ß中',
  wrong: [
    ...wrongAnywhere,
    // Which databases there are is not told to a login that may see none of them.
    {
      what: 'no such database',
      config: { database: 'nothing_here' },
      code: 'permission_denied',
      stages: ['reach', 'tls', 'login'],
    },
  ],
  keys: [
    ['int', 'n'],
    ['int unsigned', '4294967295 - n'],
    ['bigint', '9007199254740990 + n'],
    ['bigint unsigned', '18446744073709551615 - n'],
    [
      'decimal(65,30)',
      `cast(concat('12345678901234567890123456789012345.', lpad(n, 30, '0')) AS decimal(65,30))`,
    ],
    ['varchar(40) COLLATE utf8mb4_general_ci', `concat(char(65 + n % 26 + (n % 2) * 32), '''\\\\', n)`],
    ['varchar(40) CHARACTER SET latin1', `concat(convert('é' USING latin1), n)`],
    ['char(8)', 'n'],
    ['binary(8)', `unhex(lpad(hex(n), 16, '0'))`],
    ['varbinary(8)', `unhex(if(length(hex(n)) % 2, concat('0', hex(n)), hex(n)))`],
    ['date', `date '1000-01-01' + interval n day`],
    ['datetime(6)', `timestamp '2024-01-01 00:00:00' + interval n microsecond`],
    ['timestamp(6)', `timestamp '2024-10-27 00:30:00' + interval n second`],
    ['time(6)', `sec_to_time(n * 1800 - 2970000)`],
    ['double', 'n / 3.0'],
    ['bit(40)', 'n * 16777216'],
  ],
  hostile: [
    { stream: { query: 'DELETE FROM victim' } },
    { stream: { query: 'WITH gone AS (SELECT 1) DELETE FROM victim' } },
    { stream: { query: 'INSERT INTO victim VALUES (3)' } },
    { stream: { query: 'REPLACE INTO victim VALUES (1)' } },
    { stream: { query: 'TRUNCATE victim' } },
    { stream: { query: 'DROP TABLE victim' } },
    { stream: { query: 'ALTER TABLE victim ADD x int' } },
    { stream: { query: 'CREATE TABLE copied AS SELECT 1 AS a' } },
    { stream: { query: 'SELECT 1 AS a; DELETE FROM victim' } },
    { stream: { query: 'SELECT 1 AS a FROM victim) AS q; DROP TABLE victim; -- ' } },
    { stream: { query: 'COMMIT' } },
    { stream: { query: 'SET SESSION TRANSACTION READ WRITE' } },
    { stream: { query: `SELECT 1 AS a INTO OUTFILE '/tmp/millrace-never'` } },
    { stream: { query: 'SELECT id INTO @a FROM victim LIMIT 1' } },
    { stream: { query: 'CALL something()' } },
    { stream: { where: '1 = 1); DROP TABLE victim; -- ' } },
    { stream: { where: '1 = 1; DELETE FROM victim' } },
    { stream: { where: `1 = 1 INTO OUTFILE '/tmp/millrace-never'` } },
  ],
  failing: 'invalid_config',
} as const satisfies Omit<Expectations, 'questions'>;

export const expectations: Readonly<Record<ServerKind, Expectations>> = {
  postgresql: {
    ...database,
    questions: 99,
    guard: 'open transactions (pg_locks)',
    oddName: 'é€😀',
    wrong: [
      ...wrongAnywhere,
      {
        what: 'no such database',
        config: { database: 'nothing_here' },
        code: 'not_found_at_source',
        stages: ['reach', 'tls', 'login'],
      },
    ],
    keys: [
      ['int', 'n'],
      ['bigint', '9007199254740990 + n'],
      ['numeric', "(n || '.' || repeat('0', n % 3))::numeric"],
      ['text', "chr(65 + n % 60) || '''\\' || n"],
      ['character(8)', 'n::text'],
      ['uuid', 'md5(n::text)::uuid'],
      ['timestamptz', "'2024-01-01'::timestamptz + n * interval '1 us'"],
      ['timestamp', "'0100-01-01 BC'::timestamp + n * interval '40 days'"],
      ['date', "'9999-12-01'::date + n"],
      ['bytea', "decode(lpad(to_hex(n), 8, '0'), 'hex')"],
      ['inet', "'10.0.0.0'::inet + n"],
      ['double precision', 'n / 3.0::float8'],
      ['real', 'n / 3.0::real'],
      ['int[]', 'ARRAY[n % 7, n]'],
      ['interval', "n * interval '1 minute'"],
      ['int4range', 'int4range(n, n + 1)'],
      ['time', "'00:00'::time + n * interval '1 s'"],
    ],
    hostile: [
      { stream: { where: 'true) TO STDOUT; COMMIT; DROP TABLE victim; COPY (SELECT 1 WHERE (true' } },
      { stream: { where: 'true); DROP TABLE victim; --' } },
      { stream: { where: 'true) OR (SELECT true FROM victim); DELETE FROM victim' } },
      { stream: { query: 'SELECT 1 AS a) TO STDOUT; COMMIT; DROP TABLE victim; COPY (SELECT 1 AS a' } },
      { stream: { query: 'DELETE FROM victim RETURNING id' } },
      { stream: { query: 'WITH gone AS (DELETE FROM victim RETURNING id) SELECT * FROM gone' } },
      { stream: { query: 'SELECT 1 AS a FROM victim) AS q; DROP TABLE victim; --' } },
      { stream: { query: 'SELECT id INTO copied FROM victim' } },
      { stream: { query: 'COMMIT' } },
      { stream: { query: 'SELECT lo_create(4711) AS a' } },
      {
        stream: {
          query:
            "SELECT set_config('default_transaction_read_only', 'off', false) AS a, (SELECT count(*) FROM victim) AS n",
        },
        harmless: true,
      },
    ],
    failing: 'response_invalid',
  },
  mysql: {
    ...mysqlFamily,
    questions: 99,
    keys: [...mysqlFamily.keys, [`varchar(40) COLLATE utf8mb4_0900_ai_ci`, `concat('Ä', n)`]],
  },
  mariadb: {
    ...mysqlFamily,
    questions: 100,
    // Its own sql_mode lets them in.
    check: {
      ...database.check,
      warned: [/lets dates be stored that no calendar has.*"zero_dates" is "text"/],
    },
    keys: [
      ...mysqlFamily.keys,
      ['uuid', `concat(lpad(hex(n * 7919), 8, '0'), '-1234-4abc-8def-', lpad(hex(n), 12, '0'))`],
      ['inet6', `concat('2001:db8::', hex(n))`],
    ],
  },
};
