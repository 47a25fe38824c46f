import { MillraceError } from '../../core/errors.ts';
import type { Stream, StreamKind } from '../../core/model.ts';
import { suggestion } from '../../core/nearest.ts';
import { plain } from '../sql/names.ts';
import type { Session } from './session.ts';
import { learnTypes, type TypeCache } from './types.ts';

/** A table, view or the like, as the catalogue has it. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Schema and name as SQL, quoted. */
  readonly sql: string;
  readonly kind: StreamKind;
  readonly mayRead: boolean;
  /** An old-style parent: its key says nothing about the rows of its children. */
  readonly hasChildren: boolean;
}

export interface SourceColumn {
  readonly name: string;
  /** As SQL, qualified: a bare name in ORDER BY would mean the output column, which may be its text. */
  readonly ref: string;
  readonly type: number;
  /** As the server writes it, e.g. `numeric(12,2)`. */
  readonly typeName: string;
  readonly notNull: boolean;
  readonly mayRead: boolean;
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
  readonly columns: readonly SourceColumn[];
}

export interface ShapeContext {
  readonly session: Session;
  readonly types: TypeCache;
  readonly schemas: readonly string[];
  readonly signal: AbortSignal;
}

/** Asks the catalogue, or for a query the planner, what the stream is. Learns every type in it. */
export async function loadShape(context: ShapeContext, stream: Stream): Promise<Shape> {
  const where = stream.where === undefined ? '' : ` WHERE (\n${stream.where}\n)`;
  if (stream.table !== undefined) {
    const relation = await findRelation(context, stream.table);
    const columns = await relationColumns(context, relation);
    await learnTypes(
      context.session,
      columns.map((column) => column.type),
      context.types,
    );
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

/** Any name as SQL. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Any text as SQL; the session has standard_conforming_strings on. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const kinds: Readonly<Record<string, StreamKind>> = {
  r: 'table',
  v: 'view',
  m: 'materialized_view',
  p: 'partitioned_table',
  f: 'foreign_table',
};
const otherKinds: Readonly<Record<string, string>> = {
  S: 'a sequence',
  i: 'an index',
  I: 'an index',
  c: 'a composite type',
  t: 'a TOAST table',
};

/** The server reads the name itself, by its own rules and search path. */
const findSql = `
SELECT c.oid, n.nspname, c.relname, c.relkind, pg_catalog.has_table_privilege(c.oid, 'SELECT'), c.relhassubclass
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass($1)`;

async function findRelation(context: ShapeContext, table: string): Promise<Relation> {
  const { session, schemas, signal } = context;
  const tries =
    schemas.length > 0 && isUnqualified(table)
      ? schemas.map((schema) => `${identifier(schema)}.${table}`)
      : [table];
  for (const name of tries) {
    const [row] = await session.query(findSql, [name], { signal });
    if (!row) continue;
    const [oid, schema, relname, kind, mayRead, hasChildren] = row as string[];
    if (!oid || !schema || !relname || !kind) continue;
    const known = kinds[kind];
    if (!known) throw notReadable(table, otherKinds[kind] ?? 'no table');
    if (schemas.length > 0 && !schemas.includes(schema)) throw outsideSchemas(table, schema);
    return {
      oid: Number(oid),
      schema,
      name: relname,
      sql: `${identifier(schema)}.${identifier(relname)}`,
      kind: known,
      mayRead: mayRead === 't',
      hasChildren: known === 'table' && hasChildren === 't',
    };
  }
  throw await notFound(context, table);
}

/** Whether a table is named without its schema. */
export function isUnqualified(table: string): boolean {
  return !table.replaceAll(/"(?:[^"]|"")*"/g, 'x').includes('.');
}

function notReadable(table: string, what: string): MillraceError {
  return new MillraceError(
    'not_found_at_source',
    `"${plain(table, 150)}" is ${what}; rows can be read from tables and views.`,
    {
      hint: 'discover_streams shows what can become a stream.',
    },
  );
}

function outsideSchemas(table: string, schema: string): MillraceError {
  return new MillraceError(
    'not_found_at_source',
    `"${plain(table, 150)}" lies in schema "${plain(schema, 63)}", which this connector does not use.`,
    {
      hint: `Add "${plain(schema, 63)}" to \`schemas\` in the connector's config, or leave \`schemas\` out.`,
    },
  );
}

const namesMax = 20_000;

async function notFound({ session, schemas, signal }: ShapeContext, table: string): Promise<MillraceError> {
  const rows = await session.query(
    `SELECT CASE WHEN n.nspname = 'public' THEN '' ELSE pg_catalog.quote_ident(n.nspname) || '.' END || pg_catalog.quote_ident(c.relname)
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_t'
       AND ($1::text[] = '{}' OR n.nspname = ANY ($1::text[])) AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') LIMIT ${namesMax}`,
    [`{${schemas.map((schema) => `"${schema.replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`],
    { signal },
  );
  const names = rows.map(([name]) => plain(name ?? '', 130));
  const near =
    names.length === 0
      ? 'The login sees no table at all: it may lack USAGE on the schema.'
      : suggestion(table.replaceAll('"', ''), names);
  return new MillraceError('not_found_at_source', `The source has no table "${plain(table, 150)}".`, {
    hint: `${near} Names with upper case, dots or odd characters are written in double quotes, as in SQL. discover_streams lists them all.`,
  });
}

async function relationColumns(
  { session, signal }: ShapeContext,
  relation: Relation,
): Promise<readonly SourceColumn[]> {
  const rows = await session.query(
    `SELECT a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [String(relation.oid)],
    { signal },
  );
  return rows.map(([name, type, typeName, notNull, mayRead]) => ({
    name: name ?? '',
    ref: `${relation.sql}.${identifier(name ?? '')}`,
    type: Number(type),
    typeName: typeName ?? '',
    notNull: notNull === 't',
    mayRead: mayRead === 't',
  }));
}

async function queryColumns(
  { session, types, signal }: ShapeContext,
  from: string,
): Promise<readonly SourceColumn[]> {
  const { fields } = await session.describe(`SELECT * FROM ${from} LIMIT 0`, [], { signal });
  const names = new Set<string>();
  for (const { name } of fields) {
    if (names.has(name)) {
      throw new MillraceError('invalid_config', `The query has more than one column "${plain(name, 63)}".`, {
        hint: `Give each column of the query a name of its own, e.g. SELECT a.id AS ${plain(name, 40)}_2.`,
      });
    }
    names.add(name);
  }
  await learnTypes(
    session,
    fields.map((field) => field.type),
    types,
  );
  const rows = await session.query(
    'SELECT pg_catalog.format_type(u.t, u.m) FROM ROWS FROM (unnest($1::oid[]), unnest($2::int4[])) WITH ORDINALITY AS u(t, m, n) ORDER BY u.n',
    [
      `{${fields.map((field) => field.type).join(',')}}`,
      `{${fields.map((field) => field.modifier).join(',')}}`,
    ],
    { signal },
  );
  return fields.map((field, i) => ({
    name: field.name,
    ref: `q.${identifier(field.name)}`,
    type: field.type,
    typeName: rows[i]?.[0] ?? '',
    notNull: false,
    mayRead: true,
  }));
}
