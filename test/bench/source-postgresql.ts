import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/cli/embedded-postgres.ts';
import { missingTools } from './processes.ts';
import type { BenchSource } from './source.ts';
import type { TableName } from './tables.ts';

const COLUMNS: Readonly<Record<TableName, string>> = {
  narrow: 'id integer PRIMARY KEY, n integer NOT NULL, label text NOT NULL, updated_at timestamptz NOT NULL',
  wide: `id bigint PRIMARY KEY, uid uuid NOT NULL, name text NOT NULL, amount numeric(12,2), flag boolean,
      updated_at timestamptz NOT NULL, doc jsonb, numbers integer[], day date, bin bytea, optional integer,
      status text NOT NULL, small integer`,
};

const ROW: Readonly<Record<TableName, string>> = {
  narrow: `i, (i::bigint * 7919 % 1000003)::integer, 'label ' || i % 5000,
      '2026-01-01 00:00:00Z'::timestamptz + i * interval '1.000123 seconds'`,
  wide: `i, md5(i::text)::uuid, 'Customer Näme ' || i, ((i::bigint * 104729) % 10000000000) / 100.0, i % 3 = 0,
      '2026-01-01 00:00:00Z'::timestamptz + i * interval '1.000123 seconds',
      CASE WHEN i % 10 > 0 THEN jsonb_build_object('id', i, 'tags', jsonb_build_array('a', 'b'), 'note', 'text ' || i % 100) END,
      CASE WHEN i % 7 > 0 THEN ARRAY[i, i % 100, -i] END, '2020-01-01'::date + i % 2000,
      CASE WHEN i % 5 > 0 THEN decode(md5(i::text), 'hex') END, CASE WHEN i % 5 = 0 THEN i END,
      (ARRAY['new', 'paid', 'shipped', 'returned'])[i % 4 + 1], i % 100`,
};

/** A PostgreSQL of the benchmark's own. */
export async function postgresqlSource(): Promise<BenchSource> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(
    await startEmbeddedPostgres({
      settings: { shared_buffers: '256MB', max_wal_size: '4GB', autovacuum: 'off' },
    }),
  );
  const client = cleanup.adopt(new pg.Client({ connectionString: server.url }), (open) => open.end());
  await client.connect();
  const version = String((await client.query('SHOW server_version')).rows[0]?.server_version);
  const missing = missingTools(['psql', 'sqlite3']);
  const env = { BENCH_URL: server.url };
  const resources = cleanup.move();
  return {
    title: `PostgreSQL ${version}`,
    type: 'postgresql',
    config: {
      host: server.host,
      port: server.port,
      database: server.database,
      username: server.user,
      password: server.password,
      ssl: 'disable',
    },
    stream: (table) => ({ table: `public.${table}` }),
    async fill(table, rows) {
      await client.query(`DROP TABLE IF EXISTS ${table}; CREATE TABLE ${table} (${COLUMNS[table]})`);
      await client.query(`INSERT INTO ${table} SELECT ${ROW[table]} FROM generate_series(1, ${rows}) AS i`);
      await client.query(`CREATE INDEX ON ${table} (updated_at)`);
      await client.query(`VACUUM (ANALYZE) ${table}`);
    },
    async changeOnePercent(table) {
      const column = table === 'narrow' ? 'n' : 'small';
      const changed = await client.query(
        `UPDATE ${table} SET ${column} = ${column} + 1, updated_at = clock_timestamp() WHERE id % 100 = 0`,
      );
      return changed.rowCount ?? 0;
    },
    drop: async (table) => {
      await client.query(`DROP TABLE ${table}`);
    },
    settle: async () => {
      await client.query('CHECKPOINT');
    },
    ceiling: { run: 'ceiling-postgresql.ts', env },
    pipe: {
      title: 'psql | sqlite3 .import',
      shell:
        missing.length > 0
          ? null
          : {
              run: `psql "$BENCH_URL" -qc "COPY $BENCH_TABLE TO STDOUT (FORMAT csv)" | sqlite3 -csv "$BENCH_FILE" ".import /dev/stdin $BENCH_TABLE"`,
              env,
            },
      missing: `no ${missing.join(' and no ')} here. Debian: apt-get install postgresql-client sqlite3`,
    },
    wanted: { ofCeiling: { narrow: 0.8, wide: 0.8 }, ofPipe: { narrow: 1, wide: 0.9 }, nothingMs: 100 },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
