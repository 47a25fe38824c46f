import type { Value } from '../../src/core/types.ts';
import type { ColumnKind } from './dialects.ts';

/** One list of an API: its records, their shape, and pages of them in an order that changes with them. */
export interface ApiTable {
  insert(rows: readonly (readonly Value[])[]): void;
  update(set: Readonly<Record<string, Value>>, keys: readonly Value[], by: string): void;
  remove(keys: readonly Value[], by: string): void;
  empty(): void;
  add(column: string, kind: ColumnKind, value: Value): void;
  drop(column: string): void;
  rename(column: string, to: string): void;
  retype(column: string, to: ColumnKind): void;
  page(asked: PageAsked): {
    /** Records as JSON texts. */
    readonly texts: readonly string[];
    /** What asks for those behind them; null at the end. */
    readonly next: string | null;
    /** Where in the whole order the last of them stands. */
    readonly seen: number;
  };
  schema(): object;
  readonly rows: readonly (readonly Value[])[];
}

export interface TableShape {
  readonly columns: Readonly<Record<string, ColumnKind>>;
  readonly key: readonly string[];
}

interface PageAsked {
  readonly by: string | null;
  readonly since: string | null;
  readonly after: string | null;
  readonly limit: number;
}

interface Entry {
  values: Value[];
  /** Tells equal records apart. */
  readonly serial: number;
  /** As it is answered; null since it changed. */
  text: string | null;
}

interface Column {
  name: string;
  kind: ColumnKind;
}

/** A record's place in an order. */
type Place = readonly Value[];

export function createTable(shape: TableShape): ApiTable {
  return new Table(shape);
}

class Table implements ApiTable {
  readonly #columns: Column[];
  readonly #key: readonly string[];
  #entries: Entry[] = [];
  #serial = 0;
  /** Orders that still hold: a page is asked for more often than a record changes. */
  readonly #orders = new Map<string | null, readonly Entry[]>();
  /** What the tokens that were given out stand for. */
  readonly #places = new Map<string, Place>();

  constructor({ columns, key }: TableShape) {
    this.#columns = Object.entries(columns).map(([name, kind]) => ({ name, kind }));
    this.#key = key;
  }

  get rows(): readonly (readonly Value[])[] {
    return this.#entries.map(({ values }) => values);
  }

  insert(rows: readonly (readonly Value[])[]): void {
    for (const row of rows) this.#entries.push({ values: [...row], serial: ++this.#serial, text: null });
    this.#orders.clear();
  }

  update(set: Readonly<Record<string, Value>>, keys: readonly Value[], by: string): void {
    const among = this.#among(keys, by);
    const changed = this.#entries.filter(among);
    for (const { values } of changed)
      for (const [column, value] of Object.entries(set)) values[this.#at(column)] = value;
    this.#changed(changed);
  }

  remove(keys: readonly Value[], by: string): void {
    const among = this.#among(keys, by);
    this.#entries = this.#entries.filter((entry) => !among(entry));
    this.#orders.clear();
  }

  empty(): void {
    this.#entries = [];
    this.#orders.clear();
  }

  add(name: string, kind: ColumnKind, value: Value): void {
    this.#columns.push({ name, kind });
    for (const { values } of this.#entries) values.push(value);
    this.#changed();
  }

  drop(column: string): void {
    const at = this.#at(column);
    this.#columns.splice(at, 1);
    for (const { values } of this.#entries) values.splice(at, 1);
    this.#changed();
  }

  rename(column: string, to: string): void {
    const renamed = this.#columns[this.#at(column)];
    if (renamed !== undefined) renamed.name = to;
    this.#changed();
  }

  retype(column: string, to: ColumnKind): void {
    const at = this.#at(column);
    this.#columns[at] = { name: column, kind: to };
    for (const entry of this.#entries) entry.values[at] = converted(entry.values[at] ?? null, to);
    this.#changed();
  }

  page({ by, since, after, limit }: PageAsked): ReturnType<ApiTable['page']> {
    const order = this.#order(by);
    const behind = after === null ? null : (this.#places.get(after) ?? null);
    const first =
      behind === null ? 0 : firstOf(order, (entry) => compare(this.#place(entry, by), behind) > 0);
    const least = by === null || since === null ? null : parsed(since, this.#kind(by));
    const begins =
      least === null
        ? 0
        : firstOf(order, (entry) => compareValues(entry.values[this.#at(by ?? '')] ?? null, least) >= 0);
    const from = Math.max(first, begins);
    const entries = order.slice(from, from + limit);
    const last = entries.at(-1);
    const names = this.#columns.map(({ name }) => JSON.stringify(name));
    const seen = from + entries.length;
    return {
      texts: entries.map((entry) => {
        entry.text ??= this.#text(entry.values, names);
        return entry.text;
      }),
      next: last === undefined || seen >= order.length ? null : this.#token(this.#place(last, by)),
      seen,
    };
  }

  schema(): object {
    const properties = this.#columns.map(({ name, kind }) => [name, schemas[kind]]);
    return { type: 'object', properties: Object.fromEntries(properties) };
  }

  #changed(entries: readonly Entry[] = this.#entries): void {
    for (const entry of entries) entry.text = null;
    this.#orders.clear();
  }

  #at(column: string): number {
    return this.#columns.findIndex(({ name }) => name === column);
  }

  #kind(column: string): ColumnKind {
    return this.#columns[this.#at(column)]?.kind ?? 'text';
  }

  #among(keys: readonly Value[], by: string): (entry: Entry) => boolean {
    const wanted = new Set(keys);
    const at = this.#at(by);
    return ({ values }) => wanted.has(values[at] ?? null);
  }

  #order(by: string | null): readonly Entry[] {
    const known = this.#orders.get(by);
    if (known !== undefined) return known;
    const places = new Map(this.#entries.map((entry) => [entry, this.#place(entry, by)]));
    const order = this.#entries.toSorted((a, b) => compare(places.get(a) ?? [], places.get(b) ?? []));
    this.#orders.set(by, order);
    return order;
  }

  #place({ values, serial }: Entry, by: string | null): Place {
    const columns = by === null ? this.#key : [by, ...this.#key];
    return [...columns.map((name) => values[this.#at(name)] ?? null), serial];
  }

  #token(place: Place): string {
    const token = JSON.stringify(place, (_, value: unknown) =>
      typeof value === 'bigint' ? `${value}n` : value,
    );
    this.#places.set(token, place);
    return token;
  }

  #text(values: readonly Value[], names: readonly string[]): string {
    return `{${values.map((value, at) => `${names[at]}:${wire(value, this.#columns[at]?.kind)}`).join(',')}}`;
  }
}

/** The first of an order from which on something holds. */
function firstOf(order: readonly Entry[], holds: (entry: Entry) => boolean): number {
  let [from, to] = [0, order.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    const entry = order[middle];
    if (entry !== undefined && holds(entry)) to = middle;
    else from = middle + 1;
  }
  return from;
}

function compare(one: Place, other: Place): number {
  for (const [at, value] of one.entries()) {
    const step = compareValues(value, other[at] ?? null);
    if (step !== 0) return step;
  }
  return 0;
}

/** NULL first; numbers of either kind by what they are worth; texts by their characters. */
function compareValues(one: Value, other: Value): number {
  if (one === null || other === null) return Number(one !== null) - Number(other !== null);
  return one < other ? -1 : one > other ? 1 : 0;
}

/** A parameter's text as a value of its column: moments are compared as moments, however many digits were written. */
function parsed(text: string, kind: ColumnKind): Value {
  if (kind === 'integer' || kind === 'big') return BigInt(text);
  if (kind !== 'stamp' && kind !== 'moment') return text;
  return text.replace(
    /^([^.Z]*)(?:\.(\d+))?(Z?)$/,
    (_, whole: string, digits: string | undefined, zone: string) =>
      `${whole}.${(digits ?? '').padEnd(6, '0')}${zone}`,
  );
}

function converted(value: Value, to: ColumnKind): Value {
  if (value === null) return null;
  return to === 'integer' || to === 'big' ? Number(value) : String(value);
}

/** Decimals are texts here, as in many an API: no reader rounds those. What has no order is an object, and never null. */
function wire(value: Value, kind: ColumnKind | undefined): string {
  if (kind === 'unordered') return '{}';
  return typeof value === 'bigint' ? value.toString() : JSON.stringify(value);
}

const schemas: Readonly<Record<ColumnKind, object>> = {
  integer: { type: 'integer' },
  big: { type: 'integer', format: 'int64' },
  decimal: { type: 'string' },
  name: { type: 'string' },
  text: { type: 'string' },
  stamp: { type: 'string', format: 'date-time' },
  moment: { type: 'string' },
  day: { type: 'string', format: 'date' },
  bytes: { type: 'string' },
  unordered: { type: 'object' },
};
