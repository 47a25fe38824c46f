import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { styleText } from 'node:util';
import { MillraceError } from '../core/errors.ts';
import type { Run } from '../core/model.ts';
import { answer } from './answer.ts';
import { type Conversation, connectToSelf } from './demo-client.ts';
import { type Fingerprint, landedFingerprint, SHOP_TABLES, type Shop } from './demo-shop.ts';
import { openMysqlShop } from './demo-shop-mysql.ts';
import { openPostgresqlShop } from './demo-shop-postgresql.ts';
import type { CommandLine } from './options.ts';
import type { Environment } from './program.ts';

const PASSWORD = 'MILLRACE_SHOP_PASSWORD';

/** What `--source` takes: how the server is called, and how to get a shop on one. */
const SOURCES: Readonly<
  Record<string, { readonly name: string; readonly open: (orders: number) => Promise<Shop> }>
> = {
  postgresql: { name: 'PostgreSQL', open: openPostgresqlShop },
  mysql: { name: 'MySQL', open: (orders) => openMysqlShop('mysql', orders, note) },
  mariadb: { name: 'MariaDB', open: (orders) => openMysqlShop('mariadb', orders, note) },
};

/**
 * The main job as a conversation, nothing played: a server of its own, a real MCP client, and this very program as
 * the server it launches over stdio. Exit code 1 when source and landed rows differ.
 */
export async function demo(line: CommandLine, env: Environment): Promise<number> {
  const orders = rowsOf(line.own['rows']);
  const source = sourceOf(line.own['source']);
  await using cleanup = new AsyncDisposableStack();
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-demo-'));
  cleanup.defer(() => rm(dataDir, { recursive: true, force: true }));

  heading('Millrace demo', `a shop database with ${count(orders)} orders, on a ${source.name} of its own`);
  const begun = performance.now();
  const shop = cleanup.use(await source.open(orders));
  note(`${shop.server} is up and filled after ${seconds(begun)}`);
  const talk = cleanup.use(
    await connectToSelf({ dataDir, env: { ...env, [PASSWORD]: shop.password }, show: showCall }),
  );
  note(
    `an MCP client has launched the server: ${talk.server}, protocol ${talk.protocol}, ${talk.tools} tools`,
  );

  await register(talk, shop);
  await look(talk);
  await firstSync(talk);
  await changesAndSecondSync(talk, shop);
  await question(talk);
  return await compare(shop, join(dataDir, 'warehouse.db'));
}

async function register(talk: Conversation, shop: Shop): Promise<void> {
  said('Connect our shop database. The password is in the environment.');
  const { ssl, ...rest } = shop.config;
  const config = { ...rest, password: `\${env:${PASSWORD}}`, ssl };
  const registered = await talk.call('register_connector', { name: 'shop', type: shop.type, config });
  const test = registered['test'] as {
    ok: boolean;
    server_version: string;
    latency_ms: number;
    warnings: string[];
  };
  came(
    `${test.ok ? 'connected' : 'not connected'} to ${shop.server} ${test.server_version}, round trip ${test.latency_ms} ms`,
  );
  for (const warning of test.warnings) came(`warning: ${warning}`);
}

async function look(talk: Conversation): Promise<void> {
  said('What is in it, and how would you keep it fresh?');
  const found = await talk.call('discover_streams', { connector: 'shop' });
  const streams = found['streams'] as {
    table: string;
    estimated_rows?: number;
    columns: unknown[];
    suggested: Record<string, unknown>;
  }[];
  for (const stream of streams) {
    const { cursor } = stream.suggested;
    came(
      `${stream.table}: about ${count(stream.estimated_rows ?? 0)} rows, ${stream.columns.length} columns; ${cursor ? `kept fresh by ${String(cursor)}` : 'read anew each time'}`,
    );
  }
  await talk.call('update_connector', {
    connector: 'shop',
    add_streams: streams.map((stream) => stream.suggested),
  });
  const preview = await talk.call('preview_stream', { connector: 'shop', stream: 'orders', limit: 1 });
  const columns = preview['columns'] as { name: string; type: string; source_type: string }[];
  came(`orders would land as ${columns.map((column) => `${column.name} ${column.type}`).join(', ')}`);
}

async function firstSync(talk: Conversation): Promise<void> {
  said('Good. Bring it here.');
  showRun(await finished(talk, await talk.call('sync_connector', { connector: 'shop', wait_seconds: 25 })));
}

async function changesAndSecondSync(talk: Conversation, shop: Shop): Promise<void> {
  const done = await shop.trade();
  note(
    `meanwhile at the shop: ${done.inserted} rows inserted, ${done.updated} changed, ${done.deleted} deleted`,
  );
  said('Is it still current?');
  showRun(await finished(talk, await talk.call('sync_connector', { connector: 'shop', wait_seconds: 25 })));
}

async function question(talk: Conversation): Promise<void> {
  said('Which orders were never invoiced?');
  const sql = `SELECT o.status, count(*) AS orders, printf('%.2f', sum(CAST(o.total AS REAL))) AS total
FROM shop__orders o LEFT JOIN shop__invoices i ON i.order_id = o.id AND i._mr_deleted_at IS NULL
WHERE i.id IS NULL AND o.status <> 'new' AND o._mr_deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC`;
  const result = await talk.call('query_data', { sql });
  const rows = result['rows'] as (string | number)[][];
  for (const [status, orders, total] of rows)
    came(`${String(status).padEnd(8)} ${String(orders).padStart(6)} orders   ${String(total).padStart(14)}`);
  came(`${rows.length} groups in ${String(result['elapsed_ms'])} ms`);
}

async function compare(shop: Shop, warehouseFile: string): Promise<number> {
  answer('');
  answer(styleText('bold', 'Is it the same? Every column of every row, source against landed:'));
  let equal = true;
  for (const table of SHOP_TABLES) {
    const source = await shop.fingerprint(table);
    const landed = landedFingerprint(warehouseFile, 'shop', table);
    equal &&= same(source, landed);
    const verdict = same(source, landed) ? styleText('green', 'equal') : styleText('red', 'DIFFERENT');
    answer(
      `  ${table.padEnd(10)} ${count(source.rows).padStart(9)} | ${count(landed.rows).padStart(9)} rows   sha256 ${source.sha256.slice(0, 12)} | ${landed.sha256.slice(0, 12)}   ${verdict}`,
    );
  }
  answer('');
  answer(
    equal
      ? 'Nothing was lost and nothing doubled. Next: connect your own client, as the README says.'
      : 'Source and landed rows differ: please report this with the lines above.',
  );
  return equal ? 0 : 1;
}

function same(a: Fingerprint, b: Fingerprint): boolean {
  return a.rows === b.rows && a.sha256 === b.sha256;
}

async function finished(talk: Conversation, first: Record<string, unknown>): Promise<Run> {
  let run = first['run'] as Run;
  while (run.finished_at === undefined)
    run = (await talk.call('get_run', { run_id: run.run_id, wait_seconds: 20 }))['run'] as Run;
  return run;
}

function showRun(run: Run): void {
  for (const stream of run.streams) {
    const spent = Object.values(stream.ms).reduce((sum, ms) => sum + ms, 0);
    const rate =
      stream.rows_read > 1_000 && spent > 0
        ? `, ${count(Math.round((stream.rows_read / spent) * 1000))} rows/s`
        : '';
    const deleted = stream.rows_deleted > 0 ? `, ${count(stream.rows_deleted)} marked deleted` : '';
    came(
      `${stream.stream}: ${count(stream.rows_read)} read, ${count(stream.rows_written)} written${deleted} in ${spent} ms${rate}${stream.error === undefined ? '' : ` — ${stream.error.code}: ${stream.error.message}`}`,
    );
  }
  came(`run ${run.run_id} ${run.status} after ${run.duration_ms ?? 0} ms`);
}

function rowsOf(given: unknown): number {
  const rows = given === undefined ? 200_000 : Number(given);
  if (Number.isSafeInteger(rows) && rows >= 2_000 && rows <= 20_000_000) return rows;
  throw new MillraceError('invalid_config', `--rows ${String(given)} is not a number of orders.`, {
    hint: 'Give a whole number from 2000 to 20000000, e.g. --rows 200000.',
  });
}

function sourceOf(given: unknown): (typeof SOURCES)[string] {
  const name = given === undefined ? 'postgresql' : String(given);
  const source = Object.hasOwn(SOURCES, name) ? SOURCES[name] : undefined;
  if (source) return source;
  throw new MillraceError(
    'invalid_config',
    `--source ${String(given)} is no server that the demo can start.`,
    {
      hint: `Give one of ${Object.keys(SOURCES).join(', ')}, e.g. --source mysql.`,
    },
  );
}

function heading(title: string, text: string): void {
  answer(`${styleText('bold', title)}: ${text}`);
}

function note(text: string): void {
  answer(styleText('dim', `  · ${text}`));
}

function said(text: string): void {
  answer('');
  answer(`${styleText(['bold', 'cyan'], 'you')}       ${text}`);
}

function showCall(tool: string, args: Readonly<Record<string, unknown>>): void {
  const shown = JSON.stringify(args);
  answer(
    `${styleText('yellow', 'assistant')} ${tool} ${styleText('dim', shown.length > 220 ? `${shown.slice(0, 217)}…` : shown)}`,
  );
}

function came(text: string): void {
  answer(`${styleText('green', 'millrace')}  ${text}`);
}

function count(number: number): string {
  return number.toLocaleString('en');
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}
