import type { TestProject } from 'vitest/node';
import { setupPostgres } from './postgres.ts';

/** One PostgreSQL for the whole run; every test makes a database of its own in it. */
export default function setup(project: TestProject): Promise<() => Promise<void>> {
  return setupPostgres(project);
}
