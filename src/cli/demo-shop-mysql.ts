import { randomBytes } from 'node:crypto';
import { type Connection, createConnection, type ResultSetHeader } from 'mysql2/promise';
import { digest, SHOP_READER, type Shop, type ShopTable } from './demo-shop.ts';
import { startEmbeddedMysql } from './embedded-mysql.ts';
import { type MysqlKind, mysqlName } from './embedded-mysql-binaries.ts';

/** Starts a MySQL or MariaDB, makes the shop's tables in it and fills them with `orders` orders. */
export async function openMysqlShop(
  kind: MysqlKind,
  orders: number,
  notify: (words: string) => void,
): Promise<Shop> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startEmbeddedMysql({ kind, databases: ['shop'], notify }));
  const client = await createConnection({
    host: server.host,
    port: server.port,
    user: server.user,
    password: server.password,
    database: 'shop',
    charset: 'utf8mb4',
    multipleStatements: true,
  });
  cleanup.defer(() => client.end());
  const customers = Math.max(10, Math.round(orders / 10));
  const password = randomBytes(12).toString('base64url');
  await client.query(SCHEMA);
  await client.query(
    `CREATE USER ${SHOP_READER} IDENTIFIED BY '${password}'; GRANT SELECT ON shop.* TO ${SHOP_READER}; GRANT PROCESS ON *.* TO ${SHOP_READER}`,
  );
  // Both refuse to count further than a thousand unless told.
  const limit = kind === 'mysql' ? 'cte_max_recursion_depth' : 'max_recursive_iterations';
  await client.query(`SET SESSION ${limit} = 100000000`);
  await client.query(CUSTOMERS, [customers]);
  await client.query(ORDERS, [orders, customers]);
  await client.query(INVOICES);
  await client.query('ANALYZE TABLE customers, orders, invoices');
  const resources = cleanup.move();
  return {
    server: mysqlName(kind),
    type: 'mysql',
    config: { host: server.host, port: server.port, database: 'shop', username: SHOP_READER, ssl: 'disable' },
    password,
    async trade() {
      const inserted = (await run(client, NEW_ORDERS)) + (await run(client, NEW_INVOICES));
      const updated = await run(client, CHANGED_ORDERS);
      const deleted = (await run(client, DELETED_INVOICES)) + (await run(client, DELETED_ORDERS));
      return { inserted, updated, deleted };
    },
    async fingerprint(table) {
      const [rows] = await client.query({
        sql: `SELECT ${AS_LANDED[table].join(', ')} FROM ${table} ORDER BY id`,
        rowsAsArray: true,
      });
      return digest(rows as unknown as readonly (readonly unknown[])[]);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

async function run(client: Connection, sql: string): Promise<number> {
  const [result] = await client.query<ResultSetHeader>(sql);
  return result.affectedRows;
}

const SCHEMA = `
  CREATE TABLE customers (
    id bigint AUTO_INCREMENT PRIMARY KEY, name varchar(100) NOT NULL, email varchar(100) UNIQUE, country char(2) NOT NULL,
    joined date NOT NULL, updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    KEY (updated_at));
  CREATE TABLE orders (
    id bigint AUTO_INCREMENT PRIMARY KEY, customer_id bigint NOT NULL, status enum('new', 'paid', 'shipped', 'returned') NOT NULL,
    total decimal(12,2) NOT NULL, items json NOT NULL, express tinyint(1) NOT NULL, note text,
    updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    KEY (updated_at), FOREIGN KEY (customer_id) REFERENCES customers (id));
  CREATE TABLE invoices (
    id bigint AUTO_INCREMENT PRIMARY KEY, order_id bigint NOT NULL, amount decimal(12,2) NOT NULL,
    updated_at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    KEY (updated_at), FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE);
`;

const NUMBERS = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)';

const CUSTOMERS = `
  INSERT INTO customers (id, name, email, country, joined, updated_at) ${NUMBERS}
  SELECT i, CONCAT(ELT(1 + i % 8, 'Ada','Björn','Chloé','Dmitri','Ewa','Femi','Giulia','Hana'), ' ', ELT(1 + i % 7, 'Okafor','Müller','Świątek','Rossi','Nguyễn','Smith','Ōno')),
         CONCAT('c', i, '@example.com'), ELT(1 + i % 8, 'DE','PL','FR','NG','IT','VN','US','JP'), DATE '2021-01-01' + INTERVAL i % 1800 DAY,
         NOW(6) - INTERVAL 30 DAY + INTERVAL i * 1000007 MICROSECOND
  FROM n`;

const ORDERS = `
  INSERT INTO orders (id, customer_id, status, total, items, express, note, updated_at) ${NUMBERS}
  SELECT i, 1 + (i * 7919) % ?, ELT(1 + i % 4, 'new','paid','shipped','returned'), ((i * 7919) % 100000) / 100,
         JSON_ARRAY(JSON_OBJECT('sku', CONCAT('A-', i % 500), 'qty', 1 + i % 3), JSON_OBJECT('ref', 9007199254740993 + i)),
         i % 5 = 0, CASE WHEN i % 6 = 0 THEN CONCAT('Türklingel läuten ☂ #', i) END, NOW(6) - INTERVAL 29 DAY + INTERVAL i * 100003 MICROSECOND
  FROM n`;

/** Paid, shipped and returned orders have an invoice, but for one in 997: those the question is about. */
const INVOICES = `
  INSERT INTO invoices (order_id, amount, updated_at)
  SELECT id, total, updated_at + INTERVAL 1 MINUTE FROM orders WHERE status <> 'new' AND id % 997 <> 0 ORDER BY id`;

const NEW_ORDERS = `
  INSERT INTO orders (customer_id, status, total, items, express)
  SELECT id, 'new', id * 1.11, '[]', 0 FROM customers WHERE id <= 299 ORDER BY id`;
const NEW_INVOICES = `INSERT INTO invoices (order_id, amount) SELECT id, total FROM orders WHERE status = 'new' AND note IS NULL ORDER BY id LIMIT 200`;
const CHANGED_ORDERS = `UPDATE orders SET status = 'paid', total = total + 0.01 WHERE status = 'new' AND id % 100 = 4`;
const DELETED_INVOICES = `DELETE FROM invoices WHERE order_id IN (SELECT id FROM orders WHERE status = 'returned' AND id % 1000 = 3)`;
const DELETED_ORDERS = `DELETE FROM orders WHERE status = 'returned' AND id % 1000 = 3`;

const UTC = `DATE_FORMAT(updated_at, '%Y-%m-%dT%H:%i:%s.%fZ')`;

/** The server itself says what each landed form has to be; json stays the text that the server holds. */
const AS_LANDED: Readonly<Record<ShopTable, readonly string[]>> = {
  customers: ['id', 'name', 'email', 'country', 'CAST(joined AS char)', UTC],
  orders: [
    'id',
    'customer_id',
    'CAST(status AS char)',
    'CAST(total AS char)',
    'CAST(items AS char)',
    'express',
    'note',
    UTC,
  ],
  invoices: ['id', 'order_id', 'CAST(amount AS char)', UTC],
};
