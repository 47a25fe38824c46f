import type pg from 'pg';

export type TableName = 'narrow' | 'wide';

interface TableSpec {
  /** Columns in PostgreSQL. */
  readonly source: string;
  /** One row, made from the number `i` alone: every run of the benchmark reads the same data. */
  readonly row: string;
  /** The same table in SQLite, for the contenders that do not make their own. */
  readonly sqlite: string;
}

/** A narrow table as event logs are, and a wide one with a column of every kind that costs something to decode. */
export const TABLES: Readonly<Record<TableName, TableSpec>> = {
  narrow: {
    source:
      'id integer PRIMARY KEY, n integer NOT NULL, label text NOT NULL, updated_at timestamptz NOT NULL',
    row: `i, (i::bigint * 7919 % 1000003)::integer, 'label ' || i % 5000,
      '2026-01-01 00:00:00Z'::timestamptz + i * interval '1.000123 seconds'`,
    sqlite: 'id INTEGER PRIMARY KEY, n INTEGER, label TEXT, updated_at TEXT',
  },
  wide: {
    source: `id bigint PRIMARY KEY, uid uuid NOT NULL, name text NOT NULL, amount numeric(12,2), flag boolean,
      updated_at timestamptz NOT NULL, doc jsonb, numbers integer[], day date, bin bytea, optional integer,
      status text NOT NULL, small integer`,
    row: `i, md5(i::text)::uuid, 'Customer Näme ' || i, ((i::bigint * 104729) % 10000000000) / 100.0, i % 3 = 0,
      '2026-01-01 00:00:00Z'::timestamptz + i * interval '1.000123 seconds',
      CASE WHEN i % 10 > 0 THEN jsonb_build_object('id', i, 'tags', jsonb_build_array('a', 'b'), 'note', 'text ' || i % 100) END,
      CASE WHEN i % 7 > 0 THEN ARRAY[i, i % 100, -i] END, '2020-01-01'::date + i % 2000,
      CASE WHEN i % 5 > 0 THEN decode(md5(i::text), 'hex') END, CASE WHEN i % 5 = 0 THEN i END,
      (ARRAY['new', 'paid', 'shipped', 'returned'])[i % 4 + 1], i % 100`,
    sqlite: `id INTEGER PRIMARY KEY, uid TEXT, name TEXT, amount TEXT, flag INTEGER, updated_at TEXT, doc TEXT,
      numbers TEXT, day TEXT, bin BLOB, optional INTEGER, status TEXT, small INTEGER`,
  },
};

/** Makes the table with that many rows, an index on its cursor, and statistics. */
export async function fillTable(client: pg.Client, table: TableName, rows: number): Promise<void> {
  const { source, row } = TABLES[table];
  await client.query(`DROP TABLE IF EXISTS ${table}; CREATE TABLE ${table} (${source})`);
  await client.query(`INSERT INTO ${table} SELECT ${row} FROM generate_series(1, ${rows}) AS i`);
  await client.query(`CREATE INDEX ON ${table} (updated_at)`);
  await client.query(`VACUUM (ANALYZE) ${table}`);
}

/** Touches every hundredth row as an application would. Returns how many. */
export async function changeOnePercent(client: pg.Client, table: TableName): Promise<number> {
  const column = table === 'narrow' ? 'n' : 'small';
  const changed = await client.query(
    `UPDATE ${table} SET ${column} = ${column} + 1, updated_at = clock_timestamp() WHERE id % 100 = 0`,
  );
  return changed.rowCount ?? 0;
}
