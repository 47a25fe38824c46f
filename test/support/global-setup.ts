import type { TestProject } from 'vitest/node';
import { fetchMysql, mysqlStarters } from './mysql.ts';
import { setupPostgres } from './postgres.ts';
import { setupStarters } from './starter.ts';

/** One server of each kind for the whole run; every test makes a database of its own in it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [stopPostgres, stopStarted] = await Promise.all([
    setupPostgres(project),
    setupStarters(project, mysqlStarters),
    fetchMysql(),
  ]);
  return async () => {
    await Promise.all([stopPostgres(), stopStarted()]);
  };
}
