import type { Source } from '../../src/connectors/connector.ts';
import { findConnectorType } from '../../src/connectors/index.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import { type Client, loneServer, type ServerDatabase } from '../support/databases.ts';
import { type ColumnKind, type Dialect, dialects, type ServerKind } from '../support/dialects.ts';

/**
 * What the battery of questions is put to: something that holds tables, can change them, and has a connector that
 * reads them. Rows go in as the values that must come out. What one kind cannot do, or says in words of its own,
 * is declared here as data; the battery asks nobody who they are.
 */
export interface SubjectKind {
  readonly title: string;
  /** The connector type under test. */
  readonly connector: string;
  readonly expects: Expectations;
  /** A place for subjects, where nobody else is at work. */
  place(): Promise<SubjectPlace>;
}

export interface SubjectPlace extends AsyncDisposable {
  /** A new, empty one. */
  fresh(): Promise<Subject>;
}

export interface Expectations {
  /** The guard of a reading while nobody writes. */
  readonly guard: string;
  /** What `check` warns of although all is as it should be: a sentence each. */
  readonly warned: readonly RegExp[];
  /** Characters that this kind allows in a name and that are likely to be mangled. */
  readonly oddName: string;
  /** Configs that cannot work, and what each is. */
  readonly wrong: readonly WrongConfig[];
  /** Keys whose text, order or literal is awkward: a type, and the SQL that makes the `n`-th value of it. */
  readonly keys: readonly (readonly [type: string, value: string])[];
  /** SQL of a user that would change something if it were let; `victim` is a table with an `id`. */
  readonly hostile: readonly HostileSql[];
  /** A query whose rows go wrong behind the row with id `at`, over the table `items`, and what it is then. */
  readonly failing: { readonly query: (at: number) => string; readonly code: ErrorCode };
}

export interface WrongConfig {
  readonly what: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly code: ErrorCode;
  /** What `check` got to, the last of it failed. */
  readonly stages: readonly string[];
}

export interface HostileSql {
  readonly stream: Pick<Stream, 'query' | 'where'>;
  /** It is one SELECT that changes nothing, whatever it tries: read like any other. */
  readonly harmless?: boolean;
}

export type Row = readonly Value[];

export interface TableSpec {
  readonly name: string;
  readonly columns: Readonly<Record<string, ColumnKind>>;
  /** The primary key; none when absent. */
  readonly key?: readonly string[];
  /** Never NULL, besides the key. */
  readonly required?: readonly string[];
  readonly indexed?: readonly string[];
  /** Another spelling of a column's type than its kind's, with the same values. */
  readonly types?: Readonly<Record<string, string>>;
}

/** One change of a table's shape. */
export type Change =
  | { readonly add: string; readonly kind: ColumnKind; readonly value?: Value }
  | { readonly drop: string }
  | { readonly rename: string; readonly to: string }
  | { readonly retype: string; readonly to: ColumnKind }
  | { readonly table: 'dropped' | 'renamed' };

export interface TestTable {
  readonly name: string;
  /** What to write into `Stream.table`. */
  readonly ref: string;
  insert(rows: readonly Row[]): Promise<void>;
  /** Sets columns of the rows whose `by` (the first column of the key when absent) is one of these. */
  update(set: Readonly<Record<string, Value>>, keys: readonly Value[], by?: string): Promise<void>;
  remove(keys: readonly Value[], by?: string): Promise<void>;
  empty(): Promise<void>;
  change(change: Change): Promise<void>;
}

/** A transaction somebody else has open. */
export interface OpenTransaction {
  /** Now, as a transaction stamps its rows; landed text of a `stamp`. */
  now(): Promise<string>;
  insert(table: TestTable, rows: readonly Row[]): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

export interface Subject extends AsyncDisposable {
  /** The connector, opened by a login that may only read, or with a config changed in places. */
  open(changes?: Readonly<Record<string, unknown>>): Promise<Source>;
  readonly config: Readonly<Record<string, unknown>>;
  /** The connector again under a login of its own, whose sessions can be counted apart. */
  isolated(): Promise<Pick<Subject, 'open' | 'sessions'>>;
  make(spec: TableSpec, rows?: readonly Row[]): Promise<TestTable>;
  /** A view that shows one row of two columns, `one` = 1 and `none` = NULL. */
  makeView(name: string): Promise<string>;
  /** A table with rows 1 to `count`: `id` of that type, made by that SQL, `n`, and `pad` of 230 characters. */
  makeKeyed(
    name: string,
    key: { readonly type: string; readonly value: string; readonly count: number },
  ): Promise<string>;
  begin(): Promise<OpenTransaction>;
  /** Now at the server, as landed text of a `stamp`. */
  now(): Promise<string>;
  /** A login that may see nothing yet, as changes of the config. */
  stranger(): Promise<{ readonly username: string; readonly password: string }>;
  /** A login that may do everything. */
  administrator(): Promise<{ readonly username: string; readonly password: string }>;
  /** Does what a hint told an administrator to do. */
  administrate(statement: string): Promise<void>;
  /** A name as a query of a user spells it. */
  quote(name: string): string;
  /** A query of one row that says nothing for so long first. */
  silence(seconds: number): string;
  /** Sessions that the connector has at the server, and how many of them are at work. */
  sessions(): Promise<{ readonly open: number; readonly busy: number }>;
  endSessions(): Promise<void>;
  /** Everything that these tables hold, as one text. */
  fingerprint(tables: readonly TestTable[]): Promise<string>;
}

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
  const now = async (client: Pick<Client, 'query'>): Promise<string> => {
    const [row] = await client.query(`SELECT ${dialect.stampText(dialect.now)} AS now`);
    return String(row?.['now']);
  };
  return {
    config,
    open: openAs({}),
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
    async makeView(name) {
      await run(`CREATE VIEW ${dialect.quote(name)} AS SELECT 1 AS one, NULLIF('x', 'x') AS none`);
      return dialect.quote(name);
    },
    async makeKeyed(name, { type: keyType, value, count }) {
      const table = dialect.quote(name);
      await run(
        `CREATE TABLE ${table} (id ${keyType} NOT NULL PRIMARY KEY, n int, pad ${dialect.types.text})`,
        `INSERT INTO ${table} SELECT ${value}, n, repeat('x', 230) FROM ${dialect.series(count)}`,
      );
      return table;
    },
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
    silence: dialect.silence,
    sessions: () => sessionsOf(login.username),
    endSessions: () => database.endSessions(login.username),
    async fingerprint(tables) {
      const all = [];
      for (const { name } of tables) all.push(await run(`SELECT * FROM ${dialect.quote(name)} ORDER BY 1`));
      return JSON.stringify(all);
    },
    [Symbol.asyncDispose]: () => database.drop(),
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
    ref: table,
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
