import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { freshDatabaseOn, serverKinds } from '../support/databases.ts';
import { type MillraceProcess, startMillrace, temporaryDirectory } from '../support/millrace-process.ts';

/**
 * A password that must appear nowhere: not in a log, error, result, run or frame, nor in any file other than
 * sealed. It comes in on every way there is, right and wrong, through successes, failures and a kill.
 */

/** Hard to miss, and with what has to be escaped in JSON, URLs and SQL. */
const CANARY = `Kanarien"vogel'\\%40@:/?#&é`;
const CORE = 'Kanarien';

test('the canary is found by the search in each disguise', () => {
  for (const before of ['', 'x', 'xy']) {
    const bytes = Buffer.from(`${before}${CANARY}`);
    for (const form of ['utf8', 'hex', 'base64', 'base64url'] as const)
      expect(leaks(bytes.toString(form)), form).not.toEqual([]);
  }
  expect(leaks(encodeURIComponent(CANARY))).not.toEqual([]);
  expect(leaks(Buffer.from(CANARY, 'utf16le').toString('latin1'))).not.toEqual([]);
  expect(leaks('a canary of no kind')).toEqual([]);
});

test.each(serverKinds)(
  'a password of %s appears in no log, error, result, run, frame or file',
  { timeout: 90_000 },
  async (kind) => {
    using directory = temporaryDirectory();
    await using database = await freshDatabaseOn(kind);
    const { series, connector: type, quote } = database.dialect;
    const reader = await database.login({ password: CANARY });
    await database.run(
      'CREATE TABLE open_table (id int PRIMARY KEY, note varchar(9))',
      `INSERT INTO open_table SELECT n, 'n' FROM ${series(20_000)}`,
      'CREATE TABLE closed_table (id int)',
      `GRANT SELECT ON open_table TO ${quote(reader.username)}`,
    );
    const passwordFile = join(directory.path, 'password');
    writeFileSync(passwordFile, `${CANARY}\n`);
    const { host, port, database: name } = database.config;
    const config = { host, port, database: name, username: reader.username, ssl: 'disable' };
    const url = `${type}://${reader.username}:${encodeURIComponent(CANARY)}@${host}:${port}/${name}`;
    const options = {
      dataDir: directory.dataDir,
      args: ['--log-level', 'trace'],
      config: { runs: { attempts: 2, backoffMs: [10, 20] }, secrets: { files: [directory.path] } },
      env: { MILLRACE_CANARY: CANARY },
    };
    const streams = [
      { name: 'open', table: 'open_table' },
      { name: 'closed', table: 'closed_table' },
      { name: 'broken', query: 'select nothing from nowhere' },
    ];
    const configs: Readonly<Record<string, Record<string, unknown>>> = {
      literal: { ...config, password: CANARY },
      by_env: { ...config, password: `\${env:MILLRACE_CANARY}` },
      by_file: { ...config, password: `\${file:${passwordFile}}` },
      by_url: { url },
      wrong_host: { ...config, password: CANARY, host: 'no-such-place.invalid' },
      wrong_url: { url: url.replace(`:${port}/`, ':1/') },
      wrong_login: { ...config, password: `${CANARY}x` },
      wrong_database: { ...config, password: CANARY, database: 'not_there' },
      // The secret in a place where it does not belong: an error may not repeat it.
      misspelt: { ...config, pasword: CANARY },
      nested: { ...config, password: { value: CANARY } },
      both: { ...config, url, password: CANARY },
      unescaped: { url: `${type}://${reader.username}:${CANARY}@${host}:${port}/${name}` },
      bad_url: { url: `${type}://${reader.username}:${CANARY}@@@:::` },
      no_scheme: { url: `${reader.username}:${CANARY}@${host}:${port}/${name}` },
      in_query: { url: `${type}://${host}:${port}/${name}?user=${reader.username}&password=${CANARY}` },
      not_a_url: { url: CANARY },
      as_port: { ...config, password: CANARY, port: CANARY },
    };
    let seen = '';
    {
      await using millrace = await startMillrace(options);
      for (const [connector, config] of Object.entries(configs)) {
        await millrace.call('register_connector', { name: connector, type, config, streams });
        await everything(millrace, connector);
      }
      await millrace.call('update_connector', { connector: 'by_env', config: { password: CANARY } });
      await millrace.call('update_connector', { connector: 'by_env', config: { pasword: CANARY } });
      await millrace.call('query_data', { sql: `SELECT 1` });
      expect(
        childrenOf(millrace.pid).flatMap((pid) => leaks(readFileSync(`/proc/${pid}/environ`, 'latin1'))),
        'environment of child processes',
      ).toEqual([]);
      // At least these must have worked, or the search below looked at nothing.
      for (const connector of ['literal', 'by_env', 'by_file', 'by_url']) {
        expect(await millrace.must('test_connector', { connector })).toHaveProperty('server_version');
        const landed = await millrace.must('query_data', { sql: `SELECT count(*) FROM ${connector}__open` });
        expect(landed, connector).toMatchObject({ rows: [[20_000]] });
      }
      millrace
        .call('sync_connector', { connector: 'literal', full_refresh: true, wait_seconds: 0 })
        .catch(() => undefined);
      await millrace.must('get_health');
      await millrace.kill('SIGKILL');
      seen += millrace.stdout() + millrace.stderr();
    }
    {
      await using millrace = await startMillrace(options);
      await everything(millrace, 'literal');
      await millrace.kill('SIGTERM');
      seen += millrace.stdout() + millrace.stderr();
    }
    expect(seen.length).toBeGreaterThan(20_000);
    expect(leaks(seen), 'what the processes said').toEqual([]);
    const files = filesIn(directory.dataDir);
    expect(files.length).toBeGreaterThanOrEqual(3);
    for (const file of files) expect(leaks(readFileSync(file, 'latin1')), file).toEqual([]);
  },
);

/** Every tool that could show a connector's config or an error about it. */
async function everything(millrace: MillraceProcess, connector: string): Promise<void> {
  await millrace.call('get_connector', { connector });
  await millrace.call('list_connectors');
  await millrace.call('test_connector', { connector });
  await millrace.call('discover_streams', { connector });
  await millrace.call('preview_stream', { connector, stream: 'broken' });
  const reply = await millrace.call('sync_connector', { connector, wait_seconds: 15 });
  const run = reply.structured['run'] as { run_id: string } | undefined;
  if (run) await millrace.call('get_run', { run_id: run.run_id, wait_seconds: 10, include_log: true });
  await millrace.call('list_runs', { connector });
  await millrace.call('get_health');
}

/** Where and how the canary shows, as short excerpts; empty when it does not. */
function leaks(text: string): readonly string[] {
  const found: string[] = [];
  for (const disguise of disguises()) {
    const at = text.indexOf(disguise);
    if (at >= 0) found.push(text.slice(Math.max(0, at - 120), at + 20));
  }
  return found;
}

/** In clear, hex, UTF-16, and base64 at each of the three alignments. */
function disguises(): readonly string[] {
  const bytes = Buffer.from(CORE);
  const hex = bytes.toString('hex');
  const base64 = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replaceAll('=', '');
    // The first and the last characters mix with what stands around.
    return text.slice(shift === 0 ? 0 : shift + 1, Math.floor(((shift + bytes.length) * 8) / 6));
  });
  return [CORE, hex, hex.toUpperCase(), Buffer.from(CORE, 'utf16le').toString('latin1'), ...base64];
}

function childrenOf(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean),
  );
}

function filesIn(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());
}
