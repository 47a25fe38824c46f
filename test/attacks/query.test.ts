import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freshDatabaseOn, type ServerDatabase } from '../support/databases.ts';
import {
  type MillraceProcess,
  startMillrace,
  syncToEnd,
  type ToolReply,
  temporaryDirectory,
} from '../support/millrace-process.ts';
import { stateOf } from './damage.ts';
import { boundedQueries, type QueryCase, refusedQueries } from './query-cases.ts';

/**
 * The attack corpus on `query_data`, through the real program, on a warehouse that landed from PostgreSQL and MySQL: each
 * case is refused or bounded, nothing is damaged or told, and the server answers meanwhile.
 */

const CANARY = 'Kanarienvogel-5f8e';
const REPLY_CHARS_MAX = 25_000;
const lanes = 2;

const directory = temporaryDirectory();
const paths = {
  STORE: join(directory.dataDir, 'store.db'),
  KEY: join(directory.dataDir, 'master.key'),
  CANARY: join(directory.path, 'canary.txt'),
  OUT: join(directory.path, 'out'),
};
let millrace: MillraceProcess;
let databases: readonly ServerDatabase[];
let before: ReturnType<typeof stateOf>;

beforeAll(async () => {
  writeFileSync(paths.CANARY, CANARY);
  databases = await Promise.all((['postgresql', 'mysql'] as const).map(freshDatabaseOn));
  millrace = await startMillrace({
    dataDir: directory.dataDir,
    // Short, so that what does not end takes no time, and long enough for a process to start on a busy machine.
    config: { query: { timeoutMs: 1_000 }, scheduler: { healthCheck: 'off' } },
  });
  for (const [index, database] of databases.entries()) {
    await database.run(
      'CREATE TABLE orders (id int PRIMARY KEY, note varchar(100))',
      `INSERT INTO orders SELECT n, concat('note ', n) FROM ${database.dialect.series(300)}`,
    );
    const login = await database.login({ password: CANARY, reads: true });
    await millrace.must('register_connector', {
      name: ['shop', 'other'][index],
      type: database.dialect.connector,
      config: { ...database.config, ...login },
      streams: [{ name: 'orders', table: 'orders' }],
    });
    expect(await syncToEnd(millrace, { connector: ['shop', 'other'][index] })).toMatchObject({
      status: 'succeeded',
    });
  }
  before = stateOf(directory.dataDir);
  // The process that runs queries is there, so that no refusal comes too late.
  for (let tries = 0; tries < 20; tries += 1)
    if (!(await millrace.call('query_data', { sql: 'SELECT 1' })).isError) break;
}, 120_000);

afterAll(async () => {
  await millrace?.kill();
  await Promise.all((databases ?? []).map((database) => database.drop()));
  directory[Symbol.dispose]();
});

interface Answered {
  readonly what: string;
  readonly given: string;
  readonly reply: ToolReply;
}

/** All cases, a few at a time, while somebody else asks how it is going. */
async function allOf(cases: readonly QueryCase[]): Promise<readonly Answered[]> {
  const replies: Answered[] = [];
  const waiting = [...cases];
  let over = false;
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [what, sql] = next;
      const given = sql.replaceAll(/STORE|KEY|CANARY|OUT\b/g, (name) => paths[name as keyof typeof paths]);
      replies.push({
        what: `${what}: ${sql.slice(0, 80)}`,
        given,
        reply: await millrace.call('query_data', { sql: given }),
      });
    }
  };
  const meanwhile = (async (): Promise<number> => {
    let answers = 0;
    while (!over) {
      // Gives up after half a minute: a server that hangs is found here.
      if ((await millrace.call('get_health')).isError) return 0;
      if (!over) answers += 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return answers;
  })();
  await Promise.all(Array.from({ length: lanes }, lane));
  over = true;
  // Whoever had to wait for the queries would have had one answer before them or none.
  expect(await meanwhile).toBeGreaterThan(1);
  return replies;
}

/** What is wrong with a reply: nothing, mostly. What stood in the question may stand in the answer. */
function wrongWith({ what, given, reply: { text } }: Answered, ending: RegExp): readonly string[] {
  const secrets = [CANARY, directory.path, 'Kanarien'].filter((secret) => !given.includes(secret));
  const told = secrets.filter((secret) => text.includes(secret));
  return [
    ...(ending.test(text) ? [] : [`${what} → ${text.slice(0, 150)}`]),
    ...(text.length > REPLY_CHARS_MAX ? [`${what} → ${text.length} characters`] : []),
    ...told.map((secret) => `${what} → tells ${secret}`),
    ...(/(?![\t\n])[\p{Cc}\p{Bidi_Control}\u200b\ufeff]/u.test(text) ? [`${what} → unseen characters`] : []),
  ];
}

describe('query_data', () => {
  test(`${refusedQueries.length} queries are refused, and the reply helps`, {
    timeout: 120_000,
  }, async () => {
    const refused = /^(query_rejected|invalid_config): .+\nHint: .{20}/;
    const replies = await allOf(refusedQueries);
    expect(replies.flatMap((reply) => wrongWith(reply, refused))).toEqual([]);
    expect(stateOf(directory.dataDir)).toEqual(before);
  });

  test(`${boundedQueries.length} queries are bounded`, { timeout: 120_000 }, async () => {
    const bounded = /^(\{"columns":|(query_rejected|query_timeout): .+\nHint: .{20})/;
    const replies = await allOf(boundedQueries);
    expect(replies.flatMap((reply) => wrongWith(reply, bounded))).toEqual([]);
    expect(stateOf(directory.dataDir)).toEqual(before);
  });

  test('and what it is for still works', async () => {
    const sql = 'SELECT count(*) FROM shop__orders JOIN other__orders USING (id, note)';
    expect(await millrace.must('query_data', { sql })).toMatchObject({ rows: [[300]] });
    expect(await millrace.must('query_data', { sql: "SELECT 'pragma and pragma_x' AS a" })).toMatchObject({
      rows: [['pragma and pragma_x']],
    });
  });
});
