import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { digest, SHOP_READER, type Shop, type ShopTable } from './demo-shop.ts';
import { startEmbeddedPostgres } from './embedded-postgres.ts';

/** Starts a PostgreSQL, makes the shop's tables in it and fills them with `orders` orders. */
export async function openPostgresqlShop(orders: number): Promise<Shop> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startEmbeddedPostgres({ databases: ['shop'] }));
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  cleanup.defer(() => client.end());
  const customers = Math.max(10, Math.round(orders / 10));
  const password = randomBytes(12).toString('base64url');
  await client.query(SCHEMA);
  await client.query(
    `CREATE ROLE ${SHOP_READER} LOGIN PASSWORD '${password}'; GRANT pg_read_all_data TO ${SHOP_READER}`,
  );
  await client.query(CUSTOMERS, [customers]);
  await client.query(ORDERS, [orders, customers]);
  await client.query(INVOICES);
  await client.query('ANALYZE');
  const resources = cleanup.move();
  return {
    server: 'PostgreSQL',
    type: 'postgresql',
    config: { host: server.host, port: server.port, database: 'shop', username: SHOP_READER, ssl: 'disable' },
    password,
    async trade() {
      const inserted = (await run(client, NEW_ORDERS)) + (await run(client, NEW_INVOICES));
      const updated = await run(client, CHANGED_ORDERS);
      const deleted = (await run(client, DELETED_INVOICES)) + (await run(client, DELETED_ORDERS));
      return { inserted, updated, deleted };
    },
    async fingerprint(table) {
      const { rows } = await client.query<unknown[]>({
        text: `SELECT ${AS_LANDED[table].join(', ')} FROM ${table} ORDER BY id`,
        rowMode: 'array',
      });
      return digest(rows);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

async function run(client: pg.Client, sql: string): Promise<number> {
  return (await client.query(sql)).rowCount ?? 0;
}

const SCHEMA = `
  CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped', 'returned');
  CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, email text UNIQUE, country char(2) NOT NULL,
    joined date NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
  CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, status order_status NOT NULL,
    total numeric(12,2) NOT NULL, items jsonb NOT NULL, express boolean NOT NULL, note text, updated_at timestamptz NOT NULL DEFAULT now());
  CREATE TABLE invoices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE, amount numeric(12,2) NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now());
  CREATE INDEX ON customers (updated_at); CREATE INDEX ON orders (updated_at); CREATE INDEX ON invoices (updated_at);
  CREATE INDEX ON invoices (order_id);
`;

const CUSTOMERS = `
  INSERT INTO customers (name, email, country, joined, updated_at)
  SELECT (ARRAY['Ada','Björn','Chloé','Dmitri','Ewa','Femi','Giulia','Hana'])[1 + i % 8] || ' ' || (ARRAY['Okafor','Müller','Świątek','Rossi','Nguyễn','Smith','Ōno'])[1 + i % 7],
         'c' || i || '@example.com', (ARRAY['DE','PL','FR','NG','IT','VN','US','JP'])[1 + i % 8], date '2021-01-01' + i % 1800,
         now() - interval '30 days' + i * interval '1.000007 seconds'
  FROM generate_series(1, $1::int) i`;

const ORDERS = `
  INSERT INTO orders (customer_id, status, total, items, express, note, updated_at)
  SELECT 1 + (i::bigint * 7919) % $2::int, (ARRAY['new','paid','shipped','returned'])[1 + i % 4]::order_status, ((i::bigint * 7919) % 100000) / 100.0,
         jsonb_build_array(jsonb_build_object('sku', 'A-' || i % 500, 'qty', 1 + i % 3), jsonb_build_object('ref', 9007199254740993 + i)),
         i % 5 = 0, CASE WHEN i % 6 = 0 THEN 'Türklingel läuten ☂ #' || i END, now() - interval '29 days' + i * interval '0.100003 seconds'
  FROM generate_series(1, $1::int) i`;

/** Paid, shipped and returned orders have an invoice, but for one in 997: those the question is about. */
const INVOICES = `
  INSERT INTO invoices (order_id, amount, updated_at)
  SELECT id, total, updated_at + interval '1 minute' FROM orders WHERE status <> 'new' AND id % 997 <> 0 ORDER BY id`;

const NEW_ORDERS = `
  INSERT INTO orders (customer_id, status, total, items, express)
  SELECT 1 + i, 'new', i * 1.11, '[]', false FROM generate_series(1, 300) i WHERE i < (SELECT count(*) FROM customers)`;
const NEW_INVOICES = `INSERT INTO invoices (order_id, amount) SELECT id, total FROM orders WHERE status = 'new' AND note IS NULL ORDER BY id LIMIT 200`;
const CHANGED_ORDERS = `UPDATE orders SET status = 'paid', total = total + 0.01, updated_at = now() WHERE status = 'new' AND id % 100 = 4`;
const DELETED_INVOICES = `DELETE FROM invoices WHERE order_id IN (SELECT id FROM orders WHERE status = 'returned' AND id % 1000 = 3)`;
const DELETED_ORDERS = `DELETE FROM orders WHERE status = 'returned' AND id % 1000 = 3`;

const UTC = `to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** PostgreSQL itself says what each landed form has to be. */
const AS_LANDED: Readonly<Record<ShopTable, readonly string[]>> = {
  customers: ['id', 'name', 'email', 'country', 'joined::text', UTC],
  orders: ['id', 'customer_id', 'status::text', 'total::text', 'items::text', 'express::int', 'note', UTC],
  invoices: ['id', 'order_id', 'amount::text', UTC],
};
