import { MillraceError } from '../../core/errors.ts';
import type { Stream, StreamKind } from '../../core/model.ts';
import { nearest, suggestion } from '../../core/nearest.ts';
import { plain } from '../sql/names.ts';
import {
  type CatalogueColumn,
  type CatalogueTable,
  catalogueColumns,
  catalogueTables,
  readableTypes,
} from './catalogue.ts';
import type { Settings } from './config.ts';
import { identifier, type ServerFacts, type Session } from './session.ts';
import { tableNames, writtenName } from './table-name.ts';
import { fieldType, type SourceType } from './types.ts';

/** A table or view, as the catalogue has it. */
export interface Relation {
  readonly schema: string;
  readonly name: string;
  /** Database and name as SQL, quoted. */
  readonly sql: string;
  readonly kind: StreamKind;
  /** MariaDB keeps the earlier versions of its rows, which are not read. */
  readonly versioned: boolean;
  /** `InnoDB`, `MyISAM`, …; empty for a view. */
  readonly engine: string;
  /** Columns of which the login is told but which it may not read. */
  readonly unreadable: readonly string[];
}

export interface SourceColumn {
  readonly name: string;
  /** As SQL, qualified. */
  readonly ref: string;
  readonly type: SourceType;
  /** As the server writes it, e.g. `decimal(12,2)`. */
  readonly typeName: string;
  readonly notNull: boolean;
  /** What the catalogue says besides; null for a column of a query. */
  readonly catalogue: CatalogueColumn | null;
}

/** What a declared stream is at the source, right now. */
export interface Shape {
  /** What stands behind FROM. */
  readonly from: string;
  /** The stream's own condition as SQL, with its WHERE; empty when there is none. */
  readonly where: string;
  /** Null for a query. */
  readonly relation: Relation | null;
  /** SQL of the user's own stands in it: it may call functions, and they may do anything the login may. */
  readonly carriesSql: boolean;
  /** Those that the login may read, invisible and generated ones among them. */
  readonly columns: readonly SourceColumn[];
}

export interface ShapeContext {
  readonly session: Session;
  /** Databases that may be read: the connector's own first. */
  readonly databases: readonly string[];
  readonly signal: AbortSignal;
}

/** The databases a connector may read, as the server knows them: its own, and those of `schemas`. */
export function databasesOf({ database, schemas }: Settings, server: ServerFacts): readonly string[] {
  const names = [database, ...schemas];
  return [...new Set(server.lowerCaseTableNames === 1 ? names.map((name) => name.toLowerCase()) : names)];
}

/** Asks the catalogue, or for a query the server's own preparation, what the stream is. */
export async function loadShape(context: ShapeContext, stream: Stream): Promise<Shape> {
  const where = stream.where === undefined ? '' : ` WHERE (\n${stream.where}\n)`;
  if (stream.table !== undefined) {
    const { relation, columns } = await loadTable(context, stream.table);
    return { from: relation.sql, where, relation, carriesSql: carriesSql(stream), columns };
  }
  const from = `(\n${(stream.query ?? '').replace(/[;\s]+$/, '')}\n) AS q`;
  const columns = await queryColumns(context, from);
  return { from, where, relation: null, carriesSql: true, columns };
}

/** Whether the stream brings SQL of its own. */
export function carriesSql(stream: Stream): boolean {
  return stream.query !== undefined || stream.where !== undefined;
}

async function loadTable(
  context: ShapeContext,
  written: string,
): Promise<{ readonly relation: Relation; readonly columns: readonly SourceColumn[] }> {
  const { session, signal } = context;
  const table = await findTable(context, written);
  const known = await catalogueColumns(context, { schema: table.schema, names: [table.name] });
  const all = known.get(table.name) ?? [];
  const columns = all.filter(({ mayRead }) => mayRead);
  // A broken view has no columns, and a login without any grant on columns sees none: the server says which it is.
  if (columns.length === 0) await session.query(`SELECT * FROM ${table.sql} LIMIT 0`, [], { signal });
  return {
    relation: {
      schema: table.schema,
      name: table.name,
      sql: table.sql,
      kind: table.kind,
      versioned: table.versioned,
      engine: table.engine,
      unreadable: all.filter(({ mayRead }) => !mayRead).map(({ name }) => name),
    },
    columns: columns.map((column) => ({
      name: column.name,
      ref: `${table.sql}.${identifier(column.name)}`,
      type: column.type,
      typeName: column.type.sql,
      notNull: column.notNull,
      catalogue: column,
    })),
  };
}

async function findTable(context: ShapeContext, written: string): Promise<CatalogueTable> {
  const { session, databases } = context;
  const { fold } = folding(session.server);
  const [first, second] = tableNames(written) ?? [];
  if (first === undefined) throw await notFound(context, written);
  const tries =
    second === undefined
      ? databases.map((schema) => [schema, first] as const)
      : [[databases.find((schema) => fold(schema) === fold(first)) ?? null, second] as const];
  for (const [schema, name] of tries) {
    if (schema === null) throw await outsideDatabases(context, written, first);
    const found = await lookUp(context, schema, name);
    if (found) return found;
  }
  throw await notFound(context, written);
}

/** How names of databases and tables are compared: exactly, or without case where the server keeps none. */
function folding({ lowerCaseTableNames }: ServerFacts): { readonly fold: (name: string) => string } {
  return { fold: lowerCaseTableNames === 0 ? (name) => name : (name) => name.toLowerCase() };
}

async function lookUp(context: ShapeContext, schema: string, name: string): Promise<CatalogueTable | null> {
  const { session, signal } = context;
  const { lowerCaseTableNames: rule } = session.server;
  const { fold } = folding(session.server);
  // With 1 the server has lower case only; with 2 it keeps what was written and the catalogue has to be asked for it.
  const rows = await session.query(
    `SELECT table_schema, table_name FROM information_schema.tables
     WHERE ${rule === 2 ? 'LOWER(table_schema) = ? AND LOWER(table_name) = ?' : 'table_schema = ? AND table_name = ?'}`,
    [fold(schema), fold(name)],
    { signal },
  );
  for (const [foundSchema, foundName] of rows) {
    if (!foundSchema || !foundName) continue;
    if (fold(foundSchema) !== fold(schema) || fold(foundName) !== fold(name)) continue;
    const tables = await catalogueTables(context, { schema: foundSchema, names: [foundName] });
    const table = tables.get(foundName);
    if (!table) throw notReadable(name);
    return table;
  }
  return null;
}

function notReadable(name: string): MillraceError {
  return new MillraceError(
    'not_found_at_source',
    `"${plain(name, 150)}" is a sequence or a temporary table; rows can be read from tables and views.`,
    {
      hint: 'discover_streams shows what can become a stream.',
    },
  );
}

async function outsideDatabases(
  context: ShapeContext,
  written: string,
  schema: string,
): Promise<MillraceError> {
  const { session, signal } = context;
  const rows = await session.query(
    'SELECT schema_name FROM information_schema.schemata WHERE schema_name = ?',
    [schema],
    { signal },
  );
  if (!rows.some(([name]) => name === schema)) return await notFound(context, written);
  return new MillraceError(
    'not_found_at_source',
    `"${plain(written, 150)}" lies in database "${plain(schema, 64)}", which this connector does not use.`,
    {
      hint: `Add "${plain(schema, 64)}" to \`schemas\` in the connector's config, which lists the databases that may be read besides \`database\`.`,
    },
  );
}

const namesMax = 20_000;

/** What is said of a table that the login is not shown: it is not there, or it is closed to the login. */
async function notFound(context: ShapeContext, written: string): Promise<MillraceError> {
  const { session, databases, signal } = context;
  const rows = await session.query(
    `SELECT table_schema, table_name FROM information_schema.tables
     WHERE table_schema IN (${databases.map(() => '?').join(', ')})
       AND table_type IN (${readableTypes.map((type) => `'${type}'`).join(', ')}) LIMIT ${namesMax}`,
    [...databases],
    { signal },
  );
  const names = rows.map(([schema, name]) =>
    plain(schema === databases[0] ? writtenName(name ?? '') : writtenName(schema ?? '', name ?? ''), 150),
  );
  const refused = await closed(context, written);
  if (refused && nearest(written, names).length === 0) return refused;
  const near =
    names.length === 0
      ? 'The login sees no table at all there.'
      : suggestion(written.replaceAll(/[`"]/g, ''), names);
  const rights = refused ? ` If it is there, the login may not read it. ${refused.hint}` : '';
  const cased =
    session.server.lowerCaseTableNames === 0
      ? ' Names of tables differ by upper and lower case on this server.'
      : '';
  return new MillraceError('not_found_at_source', `The source has no table "${plain(written, 150)}".`, {
    hint: `${near}${rights}${cased} Names with dots, spaces or odd characters are written in backticks, as in SQL. discover_streams lists them all.`,
  });
}

/** The server's refusal; null when it says that there is no such table. It refuses as well what is not there. */
async function closed(
  { session, databases, signal }: ShapeContext,
  written: string,
): Promise<MillraceError | null> {
  const [first, second] = tableNames(written) ?? [];
  if (first === undefined) return null;
  const table = second === undefined ? [databases[0] ?? '', first] : [first, second];
  try {
    await session.query(`SELECT 1 FROM ${table.map(identifier).join('.')} LIMIT 0`, [], { signal });
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'permission_denied') return error;
    if (!session.usable || signal.aborted) throw error;
  }
  return null;
}

async function queryColumns(
  { session, signal }: ShapeContext,
  from: string,
): Promise<readonly SourceColumn[]> {
  const { fields } = await session.describe(`SELECT * FROM ${from} LIMIT 0`, { signal });
  return fields.map((field): SourceColumn => {
    const type = fieldType(field);
    return {
      name: field.name,
      ref: `q.${identifier(field.name)}`,
      type,
      typeName: type.sql,
      notNull: false,
      catalogue: null,
    };
  });
}
