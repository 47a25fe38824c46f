import { findConnectorType } from '../../src/connectors/index.ts';
import type { Stream } from '../../src/core/model.ts';
import type { Value } from '../../src/core/types.ts';
import type { ColumnKind } from '../support/dialects.ts';
import { type Door, serveTables, type TablesApi } from '../support/rest-tables.ts';
import type { Expectations } from './connector-expecting.ts';
import { numbered } from './connector-questions.ts';
import type { Change, Declared, Subject, SubjectKind, TableSpec, TestTable } from './connector-subject.ts';

const token = 'the-token-of-this-reader';

/** A subject that is an API over HTTP: a list for each table, paged by opaque tokens, and asked for what is newer. */
export function restSubject(expects: Expectations): SubjectKind {
  return {
    title: 'REST API',
    connector: 'rest_api',
    expects,
    place: async () => ({ fresh: freshApi, [Symbol.asyncDispose]: async () => undefined }),
  };
}

async function freshApi(): Promise<Subject> {
  const api = serveTables({ token, barred: 'barred' });
  const door = await api.door();
  const made = { silences: 0 };
  return {
    open: opener(door),
    secret: token,
    address: door,
    at: baseOf,
    async isolated() {
      const other = await api.door();
      return { open: opener(other), sessions: async () => other.sessions() };
    },
    async make(spec, rows = []) {
      api.make(spec.name, { columns: spec.columns, key: spec.key ?? [] }).insert(rows);
      return tableOf(api, spec);
    },
    named: (name) => streamOf({ name, columns: {} }, {}),
    async makeView(name) {
      api.make(name, { columns: { one: 'integer', none: 'text' }, key: [] }).insert([[1, null]]);
      return streamOf({ name, columns: {} }, {});
    },
    async makeKeyed(name, { value, count }) {
      const spec = { name, columns: { id: 'text', n: 'integer', pad: 'text' }, key: ['id'] } as const;
      const pad = 'x'.repeat(230);
      api.make(name, spec).insert(numbered(count, (n) => [keyOf(value, n), n, pad]));
      return streamOf(spec, {});
    },
    async silence() {
      const name = `silent${++made.silences}`;
      api.make(name, { columns: { a: 'integer' }, key: [] }).insert([[1]]);
      return {
        stream: streamOf({ name, columns: {} }, { mode: 'replace' }),
        begin: () => void api.silent.add(name),
      };
    },
    async failing(at) {
      const spec = { name: 'items', columns: { id: 'integer' }, key: ['id'] } as const;
      api.make(spec.name, spec).insert(numbered(50_000, (n) => [n]));
      api.broken.set(spec.name, at);
      return streamOf(spec, { mode: 'replace' });
    },
    sessions: async () => door.sessions(),
    endSessions: async () => door.cut(),
    fingerprint: async (tables) =>
      JSON.stringify(tables.map(({ name }) => api.tables.get(name)?.rows.map((row) => row.map(String)))),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}

function baseOf({ host, port }: Pick<Door, 'host' | 'port'>): { readonly base_url: string } {
  return { base_url: `http://${host}:${port}` };
}

function opener(door: Door): Subject['open'] {
  const type = findConnectorType('rest_api');
  const config = { ...baseOf(door), auth: { type: 'bearer', token }, openapi: '/openapi.json' };
  const network = { allow: [], allowPrivateHttp: ['127.0.0.1'] };
  return async (changes = {}) => await type.open(type.config.parse({ ...config, ...changes }), { network });
}

/** A list as its reader would declare it: what pages and newer records are asked by, and the key, which no API tells. */
function streamOf(spec: TableSpec, more: Declared): Stream {
  const { name, key } = spec;
  const kind = more.cursor === undefined ? undefined : spec.columns[more.cursor];
  return {
    name,
    path: `/${encodeURIComponent(name)}`,
    ...(key === undefined ? {} : { primary_key: key }),
    ...more,
    rest: {
      records: 'data',
      pagination: { type: 'cursor', cursor_param: 'page', next: 'next' },
      ...(more.cursor === undefined ? {} : { cursor_param: 'since', params: { by: more.cursor } }),
      // A number says nothing of when it was given out: its mark moves where the API is known to sort by it.
      ...(isNumber(kind) ? { order: 'asc' } : {}),
    },
  };
}

function isNumber(kind: ColumnKind | undefined): boolean {
  return kind === 'integer' || kind === 'big';
}

/** JSON in which `#` stands for the number. */
function keyOf(template: string, n: number): Value {
  const text = template.replaceAll('#', String(n));
  return /^-?\d+$/.test(text) ? BigInt(text) : (JSON.parse(text) as Value);
}

function tableOf(api: TablesApi, spec: TableSpec): TestTable {
  const { name, columns, key } = spec;
  const first = key?.[0] ?? Object.keys(columns)[0] ?? '';
  const table = api.tables.get(name);
  if (table === undefined) throw new Error(`there is no list "${name}"`);
  return {
    name,
    stream: (more = {}) => streamOf(spec, more),
    insert: async (rows) => table.insert(rows),
    update: async (set, keys, by = first) => table.update(set, keys, by),
    remove: async (keys, by = first) => table.remove(keys, by),
    empty: async () => table.empty(),
    change: async (change) => changeShape(api, name, change),
  };
}

function changeShape(api: TablesApi, name: string, change: Change): void {
  const table = api.tables.get(name);
  if (table === undefined) throw new Error(`there is no list "${name}"`);
  if ('add' in change) table.add(change.add, change.kind, change.value ?? null);
  else if ('drop' in change) table.drop(change.drop);
  else if ('rename' in change) table.rename(change.rename, change.to);
  else if ('retype' in change) table.retype(change.retype, change.to);
  else {
    api.tables.delete(name);
    if (change.table === 'renamed') api.tables.set(`${name} renamed`, table);
  }
}
