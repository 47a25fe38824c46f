export type TableName = 'narrow' | 'wide';

export const TABLE_NAMES: readonly TableName[] = ['narrow', 'wide'];

/**
 * A narrow table as event logs are, and a wide one with a column of every kind that costs something to decode: the
 * same from every source. This is how SQLite holds them, for the contenders that do not make their own; every source
 * makes each row from its number alone, so that every run of the benchmark reads the same data.
 */
export const SQLITE_COLUMNS: Readonly<Record<TableName, string>> = {
  narrow: 'id INTEGER PRIMARY KEY, n INTEGER, label TEXT, updated_at TEXT',
  wide: `id INTEGER PRIMARY KEY, uid TEXT, name TEXT, amount TEXT, flag INTEGER, updated_at TEXT, doc TEXT,
      numbers TEXT, day TEXT, bin BLOB, optional INTEGER, status TEXT, small INTEGER`,
};
