import { findConnectorType } from '../../src/connectors/index.ts';
import type { Value } from '../../src/core/types.ts';
import { type Client, loneServer, type ServerDatabase } from '../support/databases.ts';
import { type Dialect, dialects, type ServerKind } from '../support/dialects.ts';
import type { Expectations } from './connector-expecting.ts';
import type {
  Change,
  Row,
  SqlPowers,
  Subject,
  SubjectKind,
  TableSpec,
  TestTable,
} from './connector-subject.ts';

/** A subject that is one of the SQL servers. */
export function sqlSubject(kind: ServerKind, expects: Expectations): SubjectKind {
  const { title, connector } = dialects[kind];
  return {
    title,
    connector,
    expects,
    async place() {
      const server = await loneServer(kind);
      return {
        fresh: async () => await subjectOn(await server.fresh()),
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      };
    },
  };
}

async function subjectOn(database: ServerDatabase): Promise<Subject> {
  const { dialect, run } = database;
  const login = await database.login({ reads: true, watches: true });
  const config = { ...database.config, ...login };
  const type = findConnectorType(dialect.connector);
  const openAs =
    (who: object): Subject['open'] =>
    async (changes = {}) =>
      await type.open(type.config.parse({ ...config, ...who, ...changes }), {});
  const sessionsOf = async (username: string): ReturnType<Subject['sessions']> => {
    const open = await database.sessions(username);
    return { open: open.length, busy: open.filter(({ busy }) => busy).length };
  };
  return {
    open: openAs({}),
    secret: login.password,
    address: database.config,
    at: ({ host, port }) => ({ host, port }),
    async isolated() {
      const other = await database.login({ reads: true, watches: true });
      return {
        open: openAs(other),
        sessions: () => sessionsOf(other.username),
      };
    },
    async make(spec, rows = []) {
      await run(createTable(dialect, spec), ...indexes(dialect, spec));
      const table = tableOf(database, spec);
      await table.insert(rows);
      return table;
    },
    named: (name) => ({ name, table: name }),
    async makeView(name) {
      const table = dialect.quote(name);
      await run(`CREATE VIEW ${table} AS SELECT 1 AS one, NULLIF('x', 'x') AS none`);
      return { name, table };
    },
    async makeKeyed(name, { type: keyType, value, count }) {
      const table = dialect.quote(name);
      await run(
        `CREATE TABLE ${table} (id ${keyType} NOT NULL PRIMARY KEY, n int, pad ${dialect.types.text})`,
        `INSERT INTO ${table} SELECT ${value}, n, repeat('x', 230) FROM ${dialect.series(count)}`,
      );
      return { name, table };
    },
    silence: async (seconds) => ({
      stream: { name: 'silent', query: dialect.silence(seconds), mode: 'replace' },
      // A question about a query does not run it.
      begin: () => undefined,
    }),
    async failing(at) {
      const { series } = dialect;
      await run(
        'CREATE TABLE items (id int PRIMARY KEY)',
        `INSERT INTO items SELECT n FROM ${series(50_000)}`,
      );
      return { name: 'failing', query: dialect.failing(at), mode: 'replace' };
    },
    sessions: () => sessionsOf(login.username),
    endSessions: () => database.endSessions(login.username),
    async fingerprint(tables) {
      const all = [];
      for (const { name } of tables) all.push(await run(`SELECT * FROM ${dialect.quote(name)} ORDER BY 1`));
      return JSON.stringify(all);
    },
    sql: powersOf(database),
    [Symbol.asyncDispose]: () => database.drop(),
  };
}

function powersOf(database: ServerDatabase): SqlPowers {
  const { dialect, run } = database;
  const now = async (client: Pick<Client, 'query'>): Promise<string> => {
    const [row] = await client.query(`SELECT ${dialect.stampText(dialect.now)} AS now`);
    return String(row?.['now']);
  };
  return {
    async begin() {
      const client = await database.client();
      await client.query('BEGIN');
      const end = async (how: string): Promise<void> => {
        await client.query(how);
        await client.release();
      };
      return {
        now: () => now(client),
        insert: async (table, rows) => {
          for (const sql of inserts(dialect, table.name, rows)) await client.query(sql);
        },
        commit: () => end('COMMIT'),
        rollback: () => end('ROLLBACK'),
      };
    },
    now: () => now({ query: (sql) => run(sql) }),
    stranger: () => database.login(),
    administrator: async () => database.config,
    administrate: async (statement) => void (await run(statement)),
    quote: dialect.quote,
  };
}

function createTable(dialect: Dialect, spec: TableSpec): string {
  const { quote } = dialect;
  const never = new Set([...(spec.key ?? []), ...(spec.required ?? [])]);
  const columns = Object.entries(spec.columns).map(([name, kind]) => {
    const type = spec.types?.[name] ?? dialect.types[kind];
    // Said in full: older MariaDB makes a bare TIMESTAMP one that is never NULL and follows every change.
    return `${quote(name)} ${type} ${never.has(name) ? 'NOT NULL' : 'NULL'}`;
  });
  const key = spec.key ? [`PRIMARY KEY (${spec.key.map(quote).join(', ')})`] : [];
  return `CREATE TABLE ${quote(spec.name)} (${[...columns, ...key].join(', ')})`;
}

function indexes({ quote }: Dialect, { name, indexed = [] }: TableSpec): readonly string[] {
  return indexed.map(
    (column) => `CREATE INDEX ${quote(`${name} by ${column}`)} ON ${quote(name)} (${quote(column)})`,
  );
}

/** Characters a statement: less than any server's largest packet. */
const statementMax = 4_000_000;
const rowsMax = 1_000;

function* inserts({ quote, literal }: Dialect, table: string, rows: readonly Row[]): Iterable<string> {
  let values: string[] = [];
  let size = 0;
  for (const row of rows) {
    const text = `(${row.map(literal).join(', ')})`;
    if (values.length === rowsMax || (size > 0 && size + text.length > statementMax)) {
      yield `INSERT INTO ${quote(table)} VALUES ${values.join(', ')}`;
      values = [];
      size = 0;
    }
    values.push(text);
    size += text.length;
  }
  if (values.length > 0) yield `INSERT INTO ${quote(table)} VALUES ${values.join(', ')}`;
}

function tableOf({ dialect, run }: ServerDatabase, spec: TableSpec): TestTable {
  const { quote, literal } = dialect;
  const table = quote(spec.name);
  const first = spec.key?.[0] ?? Object.keys(spec.columns)[0] ?? '';
  const among = (keys: readonly Value[], by = first): string =>
    `${quote(by)} IN (${keys.map(literal).join(', ')})`;
  return {
    name: spec.name,
    stream: (more = {}) => ({ name: spec.name, table, ...more }),
    insert: async (rows) => void (await run(...inserts(dialect, spec.name, rows))),
    async update(set, keys, by) {
      const list = Object.entries(set).map(([column, value]) => `${quote(column)} = ${literal(value)}`);
      await run(`UPDATE ${table} SET ${list.join(', ')} WHERE ${among(keys, by)}`);
    },
    remove: async (keys, by) => void (await run(`DELETE FROM ${table} WHERE ${among(keys, by)}`)),
    empty: async () => void (await run(`DELETE FROM ${table}`)),
    change: async (change) => void (await run(changeSql(dialect, spec.name, change))),
  };
}

function changeSql({ quote, literal, types, retype }: Dialect, name: string, change: Change): string {
  const alter = `ALTER TABLE ${quote(name)}`;
  if ('add' in change) {
    const preset = change.value === undefined ? '' : ` DEFAULT ${literal(change.value)}`;
    return `${alter} ADD COLUMN ${quote(change.add)} ${types[change.kind]}${preset}`;
  }
  if ('drop' in change) return `${alter} DROP COLUMN ${quote(change.drop)}`;
  if ('rename' in change) return `${alter} RENAME COLUMN ${quote(change.rename)} TO ${quote(change.to)}`;
  if ('retype' in change) return `${alter} ${retype(quote(change.retype), types[change.to])}`;
  if (change.table === 'dropped') return `DROP TABLE ${quote(name)}`;
  return `${alter} RENAME TO ${quote(`${name} renamed`)}`;
}
