import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cachedFolder, type Workplace } from '../../src/cli/cache.ts';
import { unpackedPackage } from '../../src/cli/debian-packages.ts';

/**
 * Databases that nobody here made: fetched when a test wants them, kept in `.cache`, never committed.
 *
 * - sakila, MySQL's own sample of a film rental (BSD licence): from the collection at github.com/datacharmer/test_db,
 *   by git, at one commit.
 * - world, MySQL's older sample of countries and cities, and the tables of TPC-H as MariaDB's own tests have them
 *   (both in the Debian package mariadb-test-data, GPL): from where the servers come from.
 */
export type SampleName = 'sakila' | 'world and TPC-H';

/** Statements to be sent one after the other on one session with multiple statements allowed. */
export type SampleSql = readonly string[];

/** The sample as SQL; or why it cannot be had here. */
export async function sampleSql(name: SampleName): Promise<SampleSql | { readonly missing: string }> {
  try {
    return name === 'sakila' ? await sakila() : await worldAndTpch();
  } catch (error) {
    return { missing: `${name} cannot be had here: ${(error as Error).message}` };
  }
}

const COLLECTION = 'https://github.com/datacharmer/test_db';
const COMMIT = '3c7fa05e04b4c339d91a43b7029a210212d48e6c';
const SAKILA_FILES = ['sakila-mv-schema.sql', 'sakila-mv-data.sql'] as const;
const FETCH_TIMEOUT_MS = 120_000;

const run = promisify(execFile);

async function sakila(): Promise<SampleSql> {
  const place = await cachedFolder(`samples/sakila-${COMMIT.slice(0, 12)}`, fetchSakila);
  return SAKILA_FILES.flatMap((file) =>
    // Some names say the database, which here is called otherwise.
    statementsOf(readFileSync(join(place, file), 'utf8').replaceAll('sakila.', '')),
  );
}

/** Only the two files: the collection's other database is 160 MB. Git itself makes sure that they are those of the commit. */
async function fetchSakila({ into, scratch }: Workplace): Promise<void> {
  const git = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await run('git', args, {
      cwd: scratch,
      env: { ...process.env, GIT_TERMINAL_PROMPT: '0' },
      timeout: FETCH_TIMEOUT_MS,
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout;
  };
  await git('init', '-q', '.');
  await git('remote', 'add', 'origin', COLLECTION);
  await git('fetch', '-q', '--depth', '1', '--filter=blob:none', 'origin', COMMIT);
  for (const file of SAKILA_FILES)
    await writeFile(join(into, file), await git('show', `${COMMIT}:sakila/${file}`));
}

async function worldAndTpch(): Promise<SampleSql> {
  const root = await unpackedPackage({ name: 'mariadb-test-data', release: 'own', only: '*/include/*.inc' });
  if (root === null) throw new Error('it comes as a package of Debian, and this is none');
  return ['world_schema_utf8', 'world', 'dbt3_s001'].flatMap((name) => {
    const file = globSync(`usr/share/*/*/include/${name}.inc`, { cwd: root })[0];
    if (file === undefined) throw new Error(`${name}.inc is not in ${root}`);
    return statementsOf(readFileSync(join(root, file), 'utf8'));
  });
}

/**
 * As the client of MySQL reads a script: `DELIMITER` is its own word. What makes and chooses a database is left out,
 * for the test has one.
 */
function statementsOf(script: string): SampleSql {
  const parts: { readonly delimiter: string; text: string }[] = [{ delimiter: ';', text: '' }];
  for (const line of script.split('\n')) {
    if (/^(DROP SCHEMA|CREATE SCHEMA|USE) /i.test(line)) continue;
    const delimiter = /^DELIMITER (\S+)/i.exec(line)?.[1];
    if (delimiter !== undefined) parts.push({ delimiter, text: '' });
    else (parts.at(-1) ?? { text: '' }).text += `${line}\n`;
  }
  return parts
    .flatMap(({ delimiter, text }) => (delimiter === ';' ? [text] : text.split(delimiter)))
    .filter((text) => text.replaceAll(/^\s*(#|--).*$/gm, '').trim() !== '');
}
