import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { streamSchema } from '../../src/core/schema.ts';
import { freshDatabaseOn, type ServerDatabase, serverKinds } from '../support/databases.ts';
import type { ServerKind } from '../support/dialects.ts';
import { startMillrace, syncToEnd, temporaryDirectory } from '../support/millrace-process.ts';
import { hostileStreams } from './source-cases.ts';

/**
 * Streams that mean harm, previewed and synced by the real program with an administrator's login, the worst case: nothing
 * at the source has changed afterwards, no session and no lock is left, and nothing was written beside it.
 */

const setUp: Readonly<Record<ServerKind, readonly string[]>> = {
  postgresql: [
    `CREATE FUNCTION harm() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM victim; RETURN 1; END $$`,
    'CREATE SEQUENCE victim_seq',
  ],
  mysql: [
    'CREATE FUNCTION harm() RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN DELETE FROM victim; RETURN 1; END',
  ],
  mariadb: [
    'CREATE FUNCTION harm() RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN DELETE FROM victim; RETURN 1; END',
    'CREATE SEQUENCE victim_seq',
  ],
};

/** Everything there is in the database, and what a session could have left. */
async function stateOf(database: ServerDatabase): Promise<unknown> {
  const catalogue: Readonly<Record<ServerKind, string>> = {
    postgresql: `SELECT relname AS name, relkind::text AS kind FROM pg_class WHERE relnamespace = 'public'::regnamespace
      UNION ALL SELECT 'lock ' || locktype, mode FROM pg_locks WHERE locktype = 'advisory'
      UNION ALL SELECT 'large ' || oid, '' FROM pg_largeobject_metadata
      UNION ALL SELECT 'next ' || last_value, is_called::text FROM victim_seq ORDER BY 1, 2`,
    mysql: `SELECT table_name AS name, table_type AS kind FROM information_schema.tables WHERE table_schema = database()
      UNION ALL SELECT 'lock', concat('', is_used_lock(0x61)) ORDER BY 1, 2`,
    mariadb: `SELECT table_name AS name, table_type AS kind FROM information_schema.tables WHERE table_schema = database()
      UNION ALL SELECT 'lock', concat('', is_used_lock(0x61))
      UNION ALL SELECT 'next', concat('', next_not_cached_value) FROM victim_seq ORDER BY 1, 2`,
  };
  return {
    rows: await database.run('SELECT * FROM victim ORDER BY id'),
    catalogue: await database.run(catalogue[database.kind]),
    written: existsSync('/tmp/millrace-never'),
  };
}

describe.each(serverKinds)('%s', (kind) => {
  const cases = hostileStreams[kind];

  test(`${cases.length} streams do no harm`, { timeout: 120_000 }, async () => {
    await using database = await freshDatabaseOn(kind);
    using directory = temporaryDirectory();
    await database.run(
      'CREATE TABLE victim (id int PRIMARY KEY, v int)',
      'INSERT INTO victim VALUES (1, 10), (2, 20)',
      ...setUp[kind],
    );
    const before = await stateOf(database);
    await using millrace = await startMillrace({
      dataDir: directory.dataDir,
      config: { runs: { attempts: 1 }, scheduler: { healthCheck: 'off' } },
    });
    await millrace.must('register_connector', {
      name: 'c',
      type: database.dialect.connector,
      config: database.config,
    });

    const streams = cases.map((hostile, index) => ({ name: `s${index}`, ...hostile }));
    const accepted = streams.filter((stream) => streamSchema.safeParse(stream).success);
    expect(accepted.length).toBeGreaterThan(cases.length / 2);
    // Each look at a source begins a thread, a quarter of a second's work: one stream in eight, and a run of them all.
    const looked = streams.filter((stream, index) => index % 8 === 0 || !accepted.includes(stream));
    const replies: { readonly text: string; readonly said: string }[] = [];
    for (const stream of looked) {
      const { text } = await millrace.call('preview_stream', { connector: 'c', stream });
      replies.push({ text, said: `${JSON.stringify(stream)} → ${text.slice(0, 200)}` });
    }
    const coded = /^(?!internal)[a-z_]+: .+\nHint: .{10}|^\{"columns":/;
    expect(
      replies.filter(({ text }) => !coded.test(text) || /root:x:0:0/.test(text)).map(({ said }) => said),
    ).toEqual([]);
    expect(await stateOf(database)).toEqual(before);

    // What was not refused before is refused, or harmless, in a run.
    await millrace.must('update_connector', { connector: 'c', add_streams: accepted });
    // Not more at once than one reply can show.
    for (let from = 0; from < accepted.length; from += 30) {
      const some = accepted.slice(from, from + 30).map(({ name }) => name);
      const run = await syncToEnd(millrace, { connector: 'c', streams: some });
      expect(run.streams.map(({ stream }) => stream)).toEqual(some);
      expect(run.streams.map(({ error }) => error?.code)).not.toContain('internal');
    }
    expect(await stateOf(database)).toEqual(before);
    await expect
      .poll(async () => (await database.sessions(database.config.username)).filter(({ busy }) => busy).length)
      .toBeLessThanOrEqual(1);
  });
});
