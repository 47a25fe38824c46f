import { createConnection, type ResultSetHeader } from 'mysql2/promise';
import { unpackedPackage, unpackedProgram } from '../../src/cli/debian-packages.ts';
import { startEmbeddedMysql } from '../../src/cli/embedded-mysql.ts';
import { type MysqlKind, mysqlName } from '../../src/cli/embedded-mysql-binaries.ts';
import { missingTools } from './processes.ts';
import type { BenchSource } from './source.ts';
import type { TableName } from './tables.ts';

const DATABASE = 'bench';

/**
 * As the tables of PostgreSQL, in the types that MySQL has for the same things: a uuid is a text, an array is json. Made
 * of SHA2, since MySQL 9.6 has no MD5 any more.
 */
const COLUMNS: Readonly<Record<TableName, string>> = {
  narrow: `id int PRIMARY KEY, n int NOT NULL, label varchar(40) NOT NULL, updated_at timestamp(6) NOT NULL`,
  wide: `id bigint PRIMARY KEY, uid char(36) NOT NULL, name varchar(60) NOT NULL, amount decimal(12,2), flag tinyint(1),
      updated_at timestamp(6) NOT NULL, doc json, numbers json, day date, bin varbinary(16), optional int,
      status enum('new', 'paid', 'shipped', 'returned') NOT NULL, small int`,
};

const AT = "TIMESTAMP '2026-01-01 00:00:00.000000' + INTERVAL i * 1000123 MICROSECOND";
const ROW: Readonly<Record<TableName, string>> = {
  narrow: `i, i * 7919 % 1000003, CONCAT('label ', i % 5000), ${AT}`,
  wide: `i, INSERT(INSERT(INSERT(INSERT(LEFT(SHA2(i, 256), 32), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-'),
      CONCAT('Customer Näme ', i), ((i * 104729) % 10000000000) / 100, i % 3 = 0, ${AT},
      IF(i % 10 > 0, JSON_OBJECT('id', i, 'tags', JSON_ARRAY('a', 'b'), 'note', CONCAT('text ', i % 100)), NULL),
      IF(i % 7 > 0, JSON_ARRAY(i, i % 100, -i), NULL), DATE '2020-01-01' + INTERVAL i % 2000 DAY,
      IF(i % 5 > 0, UNHEX(LEFT(SHA2(i, 256), 32)), NULL), IF(i % 5 = 0, i, NULL),
      ELT(i % 4 + 1, 'new', 'paid', 'shipped', 'returned'), i % 100`,
};

/** A MySQL or MariaDB of the benchmark's own. */
export async function mysqlSource(kind: MysqlKind, note: (text: string) => void): Promise<BenchSource> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(
    await startEmbeddedMysql({
      kind,
      databases: [DATABASE],
      // The tables fit, as PostgreSQL's do: this is about moving rows, not about the server's disk.
      settings: { 'innodb-buffer-pool-size': '1G' },
      notify: note,
    }),
  );
  const login = { host: server.host, port: server.port, user: server.user, password: server.password };
  const client = cleanup.adopt(
    await createConnection({ ...login, database: DATABASE, charset: 'utf8mb4' }),
    (open) => open.end(),
  );
  const limit = kind === 'mysql' ? 'cte_max_recursion_depth' : 'max_recursive_iterations';
  await client.query(`SET SESSION ${limit} = 100000000`);
  const { pipe, missing } = await pipeOf(note);
  const env = { BENCH_URL: server.url };
  const resources = cleanup.move();
  return {
    title: `${mysqlName(kind)} ${server.version.replace(/-.*/, '')}`,
    type: 'mysql',
    config: {
      host: login.host,
      port: login.port,
      database: DATABASE,
      username: login.user,
      password: login.password,
      ssl: 'disable',
    },
    stream: (table) => ({ table: `${DATABASE}.${table}` }),
    async fill(table, rows) {
      await client.query(`DROP TABLE IF EXISTS ${table}`);
      await client.query(`CREATE TABLE ${table} (${COLUMNS[table]}) CHARACTER SET utf8mb4`);
      await client.query(
        `INSERT INTO ${table} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
         SELECT ${ROW[table]} FROM n`,
      );
      await client.query(`CREATE INDEX by_updated_at ON ${table} (updated_at)`);
      await client.query(`ANALYZE TABLE ${table}`);
    },
    async changeOnePercent(table) {
      const column = table === 'narrow' ? 'n' : 'small';
      const [changed] = await client.query<ResultSetHeader>(
        `UPDATE ${table} SET ${column} = ${column} + 1, updated_at = NOW(6) WHERE id % 100 = 0`,
      );
      return changed.affectedRows;
    },
    drop: async (table) => {
      await client.query(`DROP TABLE ${table}`);
    },
    // Neither has a checkpoint to ask for; what is dirty would be written while the first contender reads.
    settle: async () => {
      await client.query('SET GLOBAL innodb_max_dirty_pages_pct = 0');
      for (let dirty = 1; dirty > 0; ) {
        await client.query('DO SLEEP(0.1)');
        const [rows] = await client.query("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'");
        dirty = Number((rows as readonly { readonly Value?: unknown }[])[0]?.Value ?? 0);
      }
      await client.query('SET GLOBAL innodb_max_dirty_pages_pct = 90');
    },
    ceiling: { run: 'ceiling-mysql.ts', env },
    pipe: {
      title: 'mariadb -B | sqlite3 .import',
      shell:
        pipe === null
          ? null
          : {
              run: pipe,
              env: {
                BENCH_HOST: login.host,
                BENCH_PORT: String(login.port),
                BENCH_USER: login.user,
                MYSQL_PWD: login.password,
                BENCH_DATABASE: DATABASE,
              },
            },
      missing: `no ${missing.join(' and no ')} here. Debian: apt-get install mariadb-client sqlite3`,
    },
    wanted: { ofCeiling: { narrow: 0.75, wide: 0.75 }, ofPipe: null, nothingMs: null },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** What a person would type; on Debian the client is fetched as the server is. */
async function pipeOf(
  note: (text: string) => void,
): Promise<{ readonly pipe: string | null; readonly missing: readonly string[] }> {
  if (missingTools(['sqlite3']).length > 0) return { pipe: null, missing: ['sqlite3'] };
  const client = missingTools(['mariadb']).length === 0 ? ['mariadb', '--no-defaults'] : await fetched(note);
  if (client === null) return { pipe: null, missing: ['mariadb'] };
  const login = '-h "$BENCH_HOST" -P "$BENCH_PORT" -u "$BENCH_USER" "$BENCH_DATABASE"';
  const read = `${client.map(quoted).join(' ')} --quick -B -N ${login} -e "SELECT * FROM $BENCH_TABLE"`;
  return {
    // `-ascii` with these separators: `-tabs` would take quotation marks in json for quoting.
    pipe: `${read} | sqlite3 -ascii -separator $'\\t' -newline $'\\n' "$BENCH_FILE" ".import /dev/stdin $BENCH_TABLE"`,
    missing: [],
  };
}

async function fetched(note: (text: string) => void): Promise<readonly string[] | null> {
  try {
    const root = await unpackedPackage({ name: 'mariadb-client-core', release: 'own' }, note);
    const program = root === null ? null : unpackedProgram(root, 'usr/bin/mariadb');
    // MySQL's own logins are a plugin of the client.
    const plugins = `${root}/usr/lib/x86_64-linux-gnu/libmariadb3/plugin`;
    return program && [...program, '--no-defaults', `--plugin-dir=${plugins}`];
  } catch (error) {
    note(String(error));
    return null;
  }
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
