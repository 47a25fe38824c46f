import Database from 'better-sqlite3';
import type { Stream } from '../../src/core/model.ts';
import type { ServerDatabase } from './databases.ts';
import type { Dialect } from './dialects.ts';

/** As much of a database as moving its tables takes. */
export type MovingDatabase = Pick<ServerDatabase, 'dialect' | 'run'>;

/**
 * Four tables that the fault suites move, one for each way of reading, and the comparison of what landed with
 * what the source holds. Cursor values are heavily tied: a tenth of a second, or one value for five numbers
 * drawn from a counter.
 */
export interface MovingTable {
  readonly stream: Stream;
  /** SQL of the whole row as one text in the landed form, for the source and for the warehouse. */
  readonly source: (dialect: Dialect) => string;
  readonly landed: string;
  /** How far behind its mark the stream has to be read where nothing guards it but a look-back. */
  readonly window: string | number | null;
}

export const movingTables = {
  /** merge over moments */
  orders: {
    stream: { name: 'orders', table: 'orders', mode: 'merge', cursor: 'at' },
    source: ({ stampText }) =>
      `SELECT concat_ws('|', id, note, amount, ${stampText('at')}) AS moved FROM orders`,
    landed: `SELECT concat_ws('|', id, note, amount, at) FROM {table} WHERE _mr_deleted_at IS NULL`,
    window: '30s',
  },
  /** merge over a counter, text key of two columns, some cursors NULL */
  stock: {
    stream: {
      name: 'stock',
      table: 'stock',
      mode: 'merge',
      cursor: 'version',
      primary_key: ['place', 'item'],
    },
    source: () =>
      `SELECT concat_ws('|', place, item, amount, CASE WHEN version IS NULL THEN '∅' ELSE concat(version) END) AS moved FROM stock`,
    landed: `SELECT concat_ws('|', place, item, amount, coalesce(version, '∅')) FROM {table} WHERE _mr_deleted_at IS NULL`,
    window: 1_000,
  },
  /** append without a key: equal rows exist and each of them counts */
  events: {
    stream: { name: 'events', table: 'events', mode: 'append', cursor: 'seq' },
    source: () => `SELECT concat_ws('|', seq, kind, body) AS moved FROM events`,
    landed: `SELECT concat_ws('|', seq, kind, body) FROM {table}`,
    window: 1_000,
  },
  /** replace */
  prices: {
    stream: { name: 'prices', table: 'prices', mode: 'replace' },
    source: ({ stampText }) => `SELECT concat_ws('|', id, price, ${stampText('at')}) AS moved FROM prices`,
    landed: `SELECT concat_ws('|', id, price, at) FROM {table}`,
    window: null,
  },
} as const satisfies Record<string, MovingTable>;

export type MovingName = keyof typeof movingTables;
export const movingNames = Object.keys(movingTables) as readonly MovingName[];

/** The stream of a table; `windowed` for a login that may not see who is open: a look-back has to do then. */
export function movingStream(name: MovingName, { windowed }: { readonly windowed: boolean }): Stream {
  const { stream, window } = movingTables[name];
  return windowed && window !== null ? { ...stream, lookback: window } : stream;
}

/** The counter that all of them draw from. */
export const NUMBERS = 'numbers';

/** Creates the four tables with that many rows each, a day old. */
export async function createMovingTables({ dialect, run }: MovingDatabase, rows: number): Promise<void> {
  const { types, series, over, counter, tenth, ago, now, analyze } = dialect;
  await run(
    counter.create(NUMBERS),
    `CREATE TABLE orders (id bigint PRIMARY KEY, note ${types.text}, amount decimal(12,2), at ${types.stamp} NOT NULL)`,
    'CREATE INDEX orders_at ON orders (at)',
    `INSERT INTO orders SELECT n, concat(repeat('note ', 6), n), n / 7.0, ${tenth(ago('86400 - n * 0.013'))} FROM ${series(rows)}`,
    `CREATE TABLE stock (place ${types.name} NOT NULL, item int NOT NULL, amount int, version bigint, PRIMARY KEY (place, item))`,
    'CREATE INDEX stock_version ON stock (version)',
    `INSERT INTO stock SELECT concat('p', n % 7), n, n % 100, CASE WHEN n % 500 = 0 THEN NULL ELSE ${over('n', 5)} END FROM ${series(rows)}`,
    `CREATE TABLE events (seq bigint NOT NULL, kind ${types.text}, body ${types.text})`,
    'CREATE INDEX events_seq ON events (seq)',
    `INSERT INTO events SELECT ${over(`n + ${rows}`, 5)}, concat('k', n % 3), repeat('x', n % 40) FROM ${series(rows)}`,
    `CREATE TABLE prices (id int PRIMARY KEY, price decimal(12,4), at ${types.stamp} NULL)`,
    `INSERT INTO prices SELECT n, n / 3.0, ${now} FROM ${series(rows)}`,
    counter.set(NUMBERS, 2 * rows + 1),
    analyze(movingNames),
  );
}

/** Changes a fifth of everything at once, so that the next incremental runs have much to do. Nobody else may write. */
export async function churnMovingTables(
  { dialect, run }: MovingDatabase,
  { rows, part }: { readonly rows: number; readonly part: number },
): Promise<void> {
  const { series, over, counter, tenth, now } = dialect;
  const [drawn] = await run(...counter.draw(NUMBERS));
  const next = Number(drawn?.['n']);
  await run(
    `UPDATE orders SET amount = amount + 1, at = ${tenth(now)} WHERE id % 5 = ${part}`,
    `UPDATE stock SET amount = amount + 1, version = ${over(`${next} + item % ${rows}`, 5)} WHERE item % 5 = ${part}`,
    `INSERT INTO events SELECT ${over(`${next + rows} + n`, 5)}, 'churn', 'row' FROM ${series(rows / 5)}`,
    counter.set(NUMBERS, next + 2 * rows),
  );
}

/** What differs between source and warehouse; empty lists when nothing does. */
export interface Difference {
  readonly table: string;
  readonly source: number;
  readonly landed: number;
  /** The first few rows (with how many times too few or too many) of each kind. */
  readonly lost: readonly string[];
  readonly doubled: readonly string[];
}

/** Compares every row of the named tables as text, as multisets. */
export async function compareMoving(request: {
  readonly database: MovingDatabase;
  readonly warehouse: string;
  readonly connector: string;
  readonly names?: readonly MovingName[];
}): Promise<readonly Difference[]> {
  const { database } = request;
  const warehouse = new Database(request.warehouse, { readonly: true });
  try {
    const differences: Difference[] = [];
    for (const name of request.names ?? movingNames) {
      const table = movingTables[name];
      const rows = await database.run(table.source(database.dialect));
      const source = rows.map((row) => String(row['moved']));
      const landedTable = `"${request.connector}__${name}"`;
      const landed = warehouse
        .prepare(table.landed.replace('{table}', landedTable))
        .pluck()
        .all() as string[];
      differences.push(compareRows(name, source, landed));
    }
    return differences;
  } finally {
    warehouse.close();
  }
}

/** True when nothing was lost and nothing doubled. */
export function isEqual(difference: Difference): boolean {
  return (
    difference.lost.length === 0 && difference.doubled.length === 0 && difference.source === difference.landed
  );
}

/** Compares rows as texts, as multisets. */
export function compareRows(table: string, source: readonly string[], landed: readonly string[]): Difference {
  const balance = new Map<string, number>();
  for (const row of source) balance.set(row, (balance.get(row) ?? 0) + 1);
  for (const row of landed) balance.set(row, (balance.get(row) ?? 0) - 1);
  const lost: string[] = [];
  const doubled: string[] = [];
  for (const [row, count] of balance) {
    if (count > 0 && lost.length < SHOWN) lost.push(`${row} (${count})`);
    if (count < 0 && doubled.length < SHOWN) doubled.push(`${row} (${-count})`);
  }
  return { table, source: source.length, landed: landed.length, lost, doubled };
}

const SHOWN = 5;
