import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { Webhook } from 'standardwebhooks';
import { expect, test } from 'vitest';
import type { NextAction } from '../../src/core/errors.ts';
import type { HealthReport } from '../../src/services/services.ts';
import { startChaosProxy } from '../support/chaos-proxy.ts';
import { serve } from '../support/http-support.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { freshMysql } from '../support/mysql.ts';
import { freshDatabase, type TestDatabase } from '../support/postgres.ts';
import { smallDisk } from '../support/small-disk.ts';

/** Each state as an assistant meets it: the word, why, and calls that are made as they stand and mend it. */

const key = `whsec_${Buffer.from('a key of twenty-four bytes or more').toString('base64')}`;
const everySecond = { healthCheck: '* * * * * *', spreadMs: 0 };
const once = { attempts: 1, backoffMs: [10, 50] };

test('a source that is down is found by looking, told to people, and mended by the calls that are advised', {
  timeout: 90_000,
}, async () => {
  using directory = temporaryDirectory();
  await using database = await shop();
  await using proxy = await startChaosProxy(database.config);
  await using receiver = await serve((_, response) => void response.writeHead(204).end());
  await using millrace = await startMillrace({
    dataDir: directory.dataDir,
    env: { MILLRACE_ALERT_KEY: key, MILLRACE_ALERT_URL: `${receiver.origin}/hook` },
    config: {
      runs: once,
      scheduler: everySecond,
      breaker: { failures: 1, openMs: 600_000 },
      alerts: { webhook: '${env:MILLRACE_ALERT_URL}', secret: '${env:MILLRACE_ALERT_KEY}', holdMs: 1_000 },
    },
  });
  await register(millrace, 'shop', { ...database.config, host: proxy.host, port: proxy.port });
  await syncToEnd(millrace, { connector: 'shop' });
  await reaches(millrace, 'healthy');

  await proxy.refuse();
  const down = await reaches(millrace, 'failing');
  expect(down.reasons.join()).toMatch(/^shop: the source did not pass the check of .*host_unreachable/);
  expect(down.connectors[0]).toMatchObject({ name: 'shop', health: 'failing' });
  const told = (): Record<string, unknown>[] =>
    receiver.seen.map(
      ({ body, headers }) =>
        (
          new Webhook(key).verify(body, headers as Record<string, string>) as {
            data: Record<string, unknown>;
          }
        ).data,
    );
  await until(() => told().some(({ to }) => to === 'failing'));
  expect(told()).toMatchObject([
    {
      connector: 'shop',
      from: expect.stringMatching(/^(healthy|unknown)$/),
      to: 'failing',
      // Not the same moment: every round looks again, and the alert is of a later one.
      why: [expect.stringMatching(/^the source did not pass the check of .*host_unreachable/)],
    },
  ]);

  // A run that meets it opens the breaker, and says so.
  expect(await syncToEnd(millrace, { connector: 'shop' })).toMatchObject({ status: 'failed' });
  const open = await reaches(
    millrace,
    'failing',
    /no scheduled run starts until .* or until test_connector passes/,
  );
  await proxy.heal();
  await follow(millrace, open, ['test_connector', 'sync_connector']);
  await reaches(millrace, 'healthy');
  await until(() => told().some(({ from, to }) => from === 'failing' && to === 'healthy'));
  expect(millrace.stderr()).not.toContain('/hook');
});

test('a wrong password is not tried again by anybody but the person, and the call that mends it is named', {
  timeout: 90_000,
}, async () => {
  using directory = temporaryDirectory();
  await using database = await shop();
  await using refusing = await startChaosProxy(database.config);
  await using other = await startChaosProxy(database.config);
  const login = await database.role('right');
  await database.query(`GRANT SELECT ON orders TO "${login.username}"`);
  await using millrace = await startMillrace({
    dataDir: directory.dataDir,
    config: { runs: once, scheduler: everySecond },
  });
  await register(millrace, 'other', { ...database.config, host: other.host, port: other.port });
  await register(millrace, 'shop', {
    ...database.config,
    ...login,
    password: 'wrong',
    host: refusing.host,
    port: refusing.port,
  });
  const failing = await reaches(millrace, 'failing', /shop: .*auth_failed/);
  // Rounds go on for the others, and none of them logs in here again.
  const logins = refusing.accepted();
  const rounds = other.accepted();
  await until(() => other.accepted() >= rounds + 2);
  expect(refusing.accepted()).toBe(logins);

  const mend = failing.next_actions.find(({ tool }) => tool === 'update_connector');
  expect(mend).toMatchObject({
    arguments: { connector: 'shop' },
    why: expect.stringContaining('auth_failed'),
  });
  await millrace.must('update_connector', { ...mend?.arguments, config: { password: 'right' } });
  await follow(millrace, failing, ['test_connector', 'sync_connector']);
  await syncToEnd(millrace, { connector: 'other' });
  await reaches(millrace, 'healthy');
});

test('data that are older than their schedule promises are stale, and whoever starts no runs says so', {
  timeout: 90_000,
}, async () => {
  using directory = temporaryDirectory();
  await using database = await shop();
  const start = (enabled: boolean): Promise<MillraceProcess> =>
    startMillrace({ dataDir: directory.dataDir, config: { scheduler: { enabled, healthCheck: 'off' } } });
  {
    await using millrace = await start(false);
    await register(millrace, 'shop', database.config, { schedule: '@hourly' });
    await syncToEnd(millrace, { connector: 'shop' });
    const store = new Database(join(directory.dataDir, 'store.db'));
    const hours = 3 * 3_600_000;
    store
      .prepare('UPDATE standings SET queued_at = queued_at - ?, finished_at = finished_at - ?')
      .run(hours, hours);
    store.prepare('UPDATE schedules SET scheduled_at = scheduled_at - ?').run(hours);
    store.close();
    const stale = await reaches(millrace, 'degraded', /shop: its data are stale: a run was due at/);
    expect(stale.reasons[0]).toMatch(
      /1 connector has a schedule and nothing starts it: scheduler.enabled is false/,
    );
    await follow(millrace, stale, ['sync_connector']);
    const { connectors } = await reaches(millrace, 'degraded');
    expect(connectors).toEqual([{ name: 'shop', health: 'healthy' }]);
  }
  await using millrace = await start(true);
  await reaches(millrace, 'healthy');
});

test('rows that stand aside are named until they have landed', { timeout: 90_000 }, async () => {
  using directory = temporaryDirectory();
  await using database = await freshMysql('mariadb');
  await database.query("SET SESSION sql_mode = ''");
  await database.query('CREATE TABLE orders (id INT PRIMARY KEY, day DATE)');
  await database.query(
    "SET STATEMENT sql_mode = '' FOR INSERT INTO orders VALUES (1, '2026-01-01'), (2, '0000-00-00')",
  );
  await using millrace = await startMillrace({ dataDir: directory.dataDir });
  await millrace.must('register_connector', {
    name: 'shop',
    type: 'mysql',
    config: { ...database.config, zero_dates: 'reject' },
    streams: [{ name: 'orders', table: 'orders' }],
  });
  await syncToEnd(millrace, { connector: 'shop' });
  const aside = await reaches(millrace, 'degraded', /shop: 1 row was kept aside as rejects \(orders: 1\)/);
  await follow(millrace, aside, ['list_rejects']);
  await millrace.must('update_connector', { connector: 'shop', config: { zero_dates: 'text' } });
  await millrace.must('replay_rejects', { connector: 'shop', stream: 'orders' });
  await reaches(millrace, 'healthy');
});

test('a disk that is nearly full is said before it is full', { timeout: 90_000 }, async () => {
  using disk = smallDisk(48 * 2 ** 20);
  await using millrace = await startMillrace({ dataDir: join(disk.path, 'data') });
  await reaches(millrace, 'healthy');
  disk.fill(3 * 2 ** 20);
  await reaches(
    millrace,
    'degraded',
    /^only \d(\.\d)? MB are free on the disk of the data folder: free space there/,
  );
  disk.fill(2 ** 19);
  await reaches(millrace, 'failing', /so that runs fail or stand still/);
  disk.free();
  await reaches(millrace, 'healthy');
});

test('what has landed cannot be read: that is said, and the rest is told nevertheless', {
  timeout: 60_000,
}, async () => {
  using directory = temporaryDirectory();
  await using database = await shop();
  await using millrace = await startMillrace({ dataDir: directory.dataDir });
  await register(millrace, 'shop', database.config);
  writeFileSync(join(directory.dataDir, 'warehouse.db'), 'no database at all '.repeat(100));
  const report = await reaches(millrace, 'failing');
  expect(report.reasons.join()).toMatch(/warehouse\.db is not a SQLite database/);
  expect(report.connectors.map(({ name }) => name)).toEqual(['shop']);
  const { connectors } = await millrace.must<{ connectors: unknown[] }>('list_connectors');
  expect(connectors).toHaveLength(1);
});

async function shop(): Promise<TestDatabase> {
  const database = await freshDatabase();
  await database.query(
    'CREATE TABLE orders (id int PRIMARY KEY, total int); INSERT INTO orders VALUES (1, 2), (2, 3)',
  );
  return database;
}

async function register(
  millrace: MillraceProcess,
  name: string,
  config: object,
  more: object = {},
): Promise<void> {
  const streams = [{ name: 'orders', table: 'public.orders' }];
  await millrace.must('register_connector', {
    name,
    type: 'postgresql',
    config,
    streams,
    test: false,
    ...more,
  });
}

/** The report once it says that word first, for that reason. */
async function reaches(
  millrace: MillraceProcess,
  status: HealthReport['status'],
  reason = /^/,
): Promise<HealthReport> {
  let report: HealthReport | undefined;
  await until(
    async () => {
      report = await millrace.must<HealthReport>('get_health');
      return report.status === status && reason.test(report.reasons.join('\n'));
    },
    () => JSON.stringify(report),
  );
  return report as HealthReport;
}

/** Makes the advised calls of these tools as they stand; each is there, and each succeeds. */
async function follow(
  millrace: MillraceProcess,
  { next_actions }: { readonly next_actions: readonly NextAction[] },
  tools: readonly string[],
): Promise<void> {
  for (const wanted of tools) {
    const action = next_actions.find(({ tool }) => tool === wanted);
    expect(action, `${wanted} among ${JSON.stringify(next_actions)}`).toBeDefined();
    const answer = await millrace.must(wanted, action?.arguments);
    if (wanted === 'test_connector') expect(answer).toMatchObject({ ok: true });
  }
}

async function until(
  condition: () => boolean | Promise<boolean>,
  seen: () => string = () => '',
): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`it did not come to that: ${seen()}`);
    await sleep(100);
  }
}
