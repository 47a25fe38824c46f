import type { CursorCandidate, Stream, StreamInfo } from '../../../core/model.ts';
import type { ParamValue, RestStream } from '../../../core/rest.ts';
import { candidateScore, saysChange } from '../../sql/candidates.ts';
import { streamName } from '../../sql/names.ts';
import { isListName } from '../hidden-lists.ts';
import { jmesPathOf } from '../records-found.ts';
import type { ApiDocument, Operation, Parameter, Schema } from './document.ts';
import { isPaging, pagingOf } from './paging.ts';

/** An operation that answers with a list. */
interface Listing {
  readonly operation: Operation;
  /** Below base_url. */
  readonly path: string;
  readonly records: string | null;
  readonly item: Schema;
}

/**
 * The lists of a document as streams: a path each, and for a path with one `{parameter}` the stream whose rows fill it.
 * What needs more than one of them, or a parameter that no list here gives, is left out.
 */
export function streamsOf(document: ApiDocument, basePath: string): readonly StreamInfo[] {
  const prefix = prefixOf(document.serverPath, basePath);
  const listings = document.operations.flatMap((operation) => listingOf(operation, prefix));
  const taken = new Set<string>();
  const roots = new Map<string, StreamInfo>();
  for (const listing of listings) {
    if (listing.path.includes('{')) continue;
    const name = streamName(lastWord(listing.path), taken);
    taken.add(name);
    roots.set(listing.path, infoOf(listing, name, {}));
  }
  const children = listings.flatMap((listing) => {
    const place = /^(.*)\/\{([^{}]+)\}(\/.*)?$/.exec(listing.path);
    const parent = roots.get(place?.[1] ?? '');
    const param = place?.[2];
    if (parent === undefined || param === undefined) return [];
    const field = fieldFor(param, parent);
    if (field === null) return [];
    const name = streamName(`${parent.name}_${lastWord(listing.path)}`, taken);
    taken.add(name);
    return [infoOf(listing, name, { parent: { stream: parent.name, field, param } })];
  });
  return [...roots.values(), ...children];
}

/** Paths of the document stand below its server's path; the connector's base may hold all of that path or a part. */
function prefixOf(serverPath: string, basePath: string): string {
  const base = basePath.replace(/\/+$/, '');
  return serverPath.startsWith(`${base}/`) ? serverPath.slice(base.length) : '';
}

function listingOf(operation: Operation, prefix: string): Listing[] {
  const found = listIn(operation.answer);
  if (found === null) return [];
  return [{ operation, path: `${prefix}${operation.path}`, ...found }];
}

function listIn(schema: Schema): Pick<Listing, 'records' | 'item'> | null {
  if (schema.items !== null) {
    const item = schema.items();
    return item.properties.size > 0 || item.type === null ? { records: null, item } : null;
  }
  if (schema.properties.has('id')) return null;
  const lists = listsOf(schema, [], 0);
  const named = lists.filter(({ path }) => isListName(path.at(-1) ?? ''));
  const list = named.length === 1 ? named[0] : lists.length === 1 ? lists[0] : undefined;
  return list === undefined ? null : { records: jmesPathOf(list.path), item: list.item };
}

interface ListAt {
  readonly path: readonly string[];
  readonly item: Schema;
}

function listsOf(schema: Schema, path: readonly string[], depth: number): readonly ListAt[] {
  return [...schema.properties].flatMap(([name, of]) => {
    const inner = of();
    const here = [...path, name];
    if (inner.items !== null) {
      const item = inner.items();
      return item.properties.size > 0 ? [{ path: here, item }] : [];
    }
    return depth < 2 ? listsOf(inner, here, depth + 1) : [];
  });
}

function infoOf(listing: Listing, name: string, more: Pick<RestStream, 'parent'>): StreamInfo {
  const { operation, path, records, item } = listing;
  const paging = pagingOf(operation, item);
  const properties = [...item.properties].map(([column, of]) => ({ column, schema: of() }));
  const key = keyOf(item, name);
  const since = key === null ? null : changedSince(operation.parameters, properties);
  const rest: RestStream = {
    ...(records === null ? {} : { records }),
    ...withParams({ ...neededParams(operation.parameters), ...paging.params }),
    ...(paging.pagination === null ? {} : { pagination: paging.pagination }),
    ...(since === null ? {} : { cursor_param: since.param, cursor_format: since.format }),
    ...more,
  };
  const parentColumn = more.parent === undefined ? [] : [`${more.parent.stream}_${more.parent.field}`];
  const primaryKey = key === null ? [] : [...parentColumn, key];
  const suggested: Stream = {
    name,
    path,
    ...(primaryKey.length === 0 ? {} : { primary_key: primaryKey }),
    ...(since === null ? {} : { cursor: since.column }),
    ...(Object.keys(rest).length === 0 ? {} : { rest }),
  };
  return {
    name,
    table: path,
    kind: 'endpoint',
    columns: properties.map(({ column, schema }) => columnOf(column, schema, item)),
    primary_key: primaryKey,
    cursor_candidates: properties.flatMap(({ column, schema }) => candidateOf(column, schema, since)),
    suggested,
  };
}

function withParams(params: Readonly<Record<string, ParamValue>>): Pick<RestStream, 'params'> {
  return Object.keys(params).length === 0 ? {} : { params };
}

/** Parameters that have to be sent and do not page, as far as the document has a value for them. */
function neededParams(parameters: readonly Parameter[]): Readonly<Record<string, ParamValue>> {
  return Object.fromEntries(
    parameters
      .filter(({ in: place, required, name }) => place === 'query' && required && !isPaging(name))
      .flatMap(({ name, schema }) => (schema.sample === null ? [] : [[name, schema.sample]])),
  );
}

function keyOf(item: Schema, stream: string): string | null {
  const singular = stream.replace(/ies$/, 'y').replace(/s$/, '');
  const known = ['id', '_id', 'uuid', 'guid', `${singular}_id`, `${singular}Id`, 'key'];
  return known.find((name) => item.properties.has(name)) ?? null;
}

type Properties = readonly { readonly column: string; readonly schema: Schema }[];

interface Since {
  readonly param: string;
  readonly column: string;
  readonly format: string;
}

const sinceNames =
  /^(last)?(updated|modified|changed|edited)(at|on|time|date)?(since|after|from|min|gte|gt|start)$|^since$/;

/** The parameter that asks for what changed since, and the field it is about. */
function changedSince(parameters: readonly Parameter[], properties: Properties): Since | null {
  const changes = properties.find(({ column, schema }) => saysChange(column) && isTime(schema));
  const parameter = parameters.find(
    ({ name, in: place }) =>
      place === 'query' && sinceNames.test(name.toLowerCase().replaceAll(/[^a-z]/g, '')),
  );
  if (changes === undefined || parameter === undefined) return null;
  const { type, format } = parameter.schema;
  const written = type === 'integer' ? 'epoch_s' : format === 'date' ? 'date' : 'value';
  return { param: parameter.name, column: changes.column, format: written };
}

function candidateOf(column: string, schema: Schema, since: Since | null): CursorCandidate[] {
  const score = candidateScore({ name: column, kind: isTime(schema) ? 'time' : 'other' });
  if (score === 0) return [];
  const asked = since?.column === column;
  return [
    {
      column,
      reasons: [
        score === 3 ? 'its name says that it follows every change' : 'a time that new rows get',
        ...(asked ? [`the API answers with what changed since "${since.param}"`] : []),
      ],
      risks: [
        ...(asked ? [] : ['no parameter is known that asks for newer ones: every run would read all pages']),
        ...(score === 3 ? [] : ['changes of existing rows are not seen by it']),
      ],
    },
  ];
}

function isTime({ type, format }: Schema): boolean {
  return (type === 'string' || type === null) && (format === 'date-time' || format === 'date');
}

function columnOf(name: string, schema: Schema, item: Schema): StreamInfo['columns'][number] {
  const source = [schema.type ?? 'any', ...(schema.format === null ? [] : [schema.format])].join(' ');
  return {
    name,
    type: typeOf(schema),
    source_type: source,
    nullable: schema.nullable || !item.required.has(name),
  };
}

function typeOf(schema: Schema): string {
  if (schema.type === 'integer' || schema.type === 'boolean') return schema.type;
  if (schema.type === 'number') return 'decimal';
  if (schema.type === 'array' || schema.type === 'object') return 'json';
  return schema.format === 'date-time' ? 'timestamptz' : schema.format === 'date' ? 'date' : 'text';
}

/** The parent's field that fills `{param}`: `id` for `{order_id}`, else the one of that very name. */
function fieldFor(param: string, parent: StreamInfo): string | null {
  const columns = new Set(parent.columns.map(({ name }) => name));
  if (columns.has(param)) return param;
  return ['id', '_id', 'uuid', 'key', 'slug', 'name'].find((name) => columns.has(name)) ?? null;
}

function lastWord(path: string): string {
  return (
    path
      .split('/')
      .filter((part) => part !== '' && !part.includes('{'))
      .at(-1) ?? 'records'
  );
}
