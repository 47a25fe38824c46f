import type { TestProject } from 'vitest/node';
import { mysqlStarters } from './mysql.ts';
import { setupPostgres } from './postgres.ts';
import { setupStarters } from './starter.ts';

/** One server of each kind for the whole run; every test makes a database of its own in it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stops = [await setupPostgres(project), await setupStarters(project, mysqlStarters)];
  return async () => {
    await Promise.all(stops.map((stop) => stop()));
  };
}
