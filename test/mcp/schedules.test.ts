import { expect, test } from 'vitest';
import { startMillrace, temporaryDirectory } from '../support/millrace-process.ts';

const shop = {
  type: 'postgresql',
  config: { host: '127.0.0.1', port: 1, database: 'shop', username: 'reader' },
  streams: [{ name: 'orders', table: 'public.orders' }],
  test: false,
};

interface Shown {
  readonly schedule?: { readonly next_runs: readonly string[]; readonly notes: readonly string[] };
}

test('a schedule is explained where it is set and where it is looked at', { timeout: 60_000 }, async () => {
  using folder = temporaryDirectory();
  await using millrace = await startMillrace({
    dataDir: folder.dataDir,
    config: { scheduler: { timezone: 'Asia/Tokyo' } },
  });
  const daily = { ...shop, name: 'daily', schedule: '30 2 * * *', timezone: 'Europe/Berlin' };
  const { warnings } = await millrace.must<{ warnings: string[] }>('register_connector', daily);
  expect(warnings[0]).toMatch(/^Scheduled in Europe\/Berlin: the next run is at \d{4}-.+Z\.$/);
  expect(warnings.join(' ')).toContain('02:30 is not there that day, and one run comes at 03:00 instead');

  await millrace.must('register_connector', {
    ...shop,
    name: 'other',
    schedule: '30 2 * * *',
    timezone: 'Europe/Berlin',
  });
  await expect
    .poll(async () => (await millrace.must<Shown>('get_connector', { connector: 'daily' })).schedule?.notes, {
      timeout: 20_000,
    })
    .toContain('Due in the same minute as its next run: other.');
  const { schedule } = await millrace.must<Shown>('get_connector', { connector: 'daily' });
  expect(schedule?.next_runs).toHaveLength(5);
  expect(schedule?.next_runs).toEqual(schedule?.next_runs.toSorted());
  const { connectors } = await millrace.must<{ connectors: { name: string; next_run_at?: string }[] }>(
    'list_connectors',
  );
  expect(connectors.find(({ name }) => name === 'daily')?.next_run_at).toBe(schedule?.next_runs[0]);

  await millrace.must('update_connector', { connector: 'daily', timezone: '', schedule: '0 12 * * *' });
  const moved = await millrace.must<Shown>('get_connector', { connector: 'daily' });
  expect(moved.schedule?.next_runs[0]).toMatch(/T03:00:00\.000Z$/); // noon in Tokyo
  expect(moved.schedule?.notes).toEqual([]);
  await millrace.must('update_connector', { connector: 'daily', schedule: '' });
  expect((await millrace.must<Shown>('get_connector', { connector: 'daily' })).schedule).toBeUndefined();
});

test('one that cannot be read is refused, with one that can', { timeout: 60_000 }, async () => {
  using folder = temporaryDirectory();
  await using millrace = await startMillrace({ dataDir: folder.dataDir });
  const refused = await millrace.fails('register_connector', {
    ...shop,
    name: 'shop',
    schedule: 'every morning',
  });
  expect(refused).toMatchObject({ code: 'invalid_config', hint: expect.stringContaining('"*/15 * * * *"') });
  await millrace.must('register_connector', { ...shop, name: 'shop' });
  const zone = await millrace.fails('update_connector', { connector: 'shop', timezone: 'Europe/Berln' });
  expect(zone.hint).toContain('"Europe/Berlin"');
  const never = await millrace.fails('update_connector', { connector: 'shop', schedule: '0 0 31 2 *' });
  expect(never.message).toContain('never comes');
});
