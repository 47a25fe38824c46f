import type { Source } from '../../src/connectors/connector.ts';
import type { Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import type { ColumnKind } from '../support/dialects.ts';
import type { Expectations } from './connector-expecting.ts';

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

/** A stream but for what it is a stream of; its name is the table's when absent. */
export type Declared = Partial<Omit<Stream, 'table' | 'query' | 'path' | 'rest'>>;

export interface TestTable {
  readonly name: string;
  /** The table as a stream, declared as its user would: what a catalogue tells, nobody writes down. */
  stream(more?: Declared): Stream;
  insert(rows: readonly Row[]): Promise<void>;
  /** Sets columns of the rows whose `by` (the first column of the key when absent) is one of these. */
  update(set: Readonly<Record<string, Value>>, keys: readonly Value[], by?: string): Promise<void>;
  remove(keys: readonly Value[], by?: string): Promise<void>;
  empty(): Promise<void>;
  change(change: Change): Promise<void>;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Subject extends AsyncDisposable {
  /** The connector, opened by a login that may only read, or with a config changed in places. */
  open(changes?: Readonly<Record<string, unknown>>): Promise<Source>;
  /** What nobody may be shown. */
  readonly secret: string;
  readonly address: Address;
  /** The config's changes that send the connector there instead. */
  at(address: Address): Readonly<Record<string, unknown>>;
  /** The connector again under a login of its own, whose sessions can be counted apart. */
  isolated(): Promise<Pick<Subject, 'open' | 'sessions'>>;
  make(spec: TableSpec, rows?: readonly Row[]): Promise<TestTable>;
  /** Whatever stands under that name, if anything does. */
  named(name: string): Stream;
  /** Shows one row of two columns, `one` = 1 and `none` = NULL, and is no table. */
  makeView(name: string): Promise<Stream>;
  /** A table with rows 1 to `count`: `id` made by one of `Expectations.keys`, `n`, and `pad` of 230 characters. */
  makeKeyed(
    name: string,
    key: { readonly type: string; readonly value: string; readonly count: number },
  ): Promise<Stream>;
  /** What falls silent in the middle of its answer, once told to, and for so long. */
  silence(seconds: number): Promise<Silence>;
  /** 50,000 rows, of which those from the `at`-th on cannot be read. */
  failing(at: number): Promise<Stream>;
  /** Sessions that the connector has at the server, and how many of them are at work. */
  sessions(): Promise<{ readonly open: number; readonly busy: number }>;
  endSessions(): Promise<void>;
  /** Everything that these tables hold, as one text. */
  fingerprint(tables: readonly TestTable[]): Promise<string>;
  /** What takes an SQL server; asked for by questions with such a need alone. */
  readonly sql?: SqlPowers;
}

export interface Silence {
  readonly stream: Stream;
  /** Before that it may be asked what it is. */
  begin(): void;
}

export interface SqlPowers {
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
}

/** A transaction somebody else has open. */
export interface OpenTransaction {
  /** Now, as a transaction stamps its rows; landed text of a `stamp`. */
  now(): Promise<string>;
  insert(table: TestTable, rows: readonly Row[]): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}
