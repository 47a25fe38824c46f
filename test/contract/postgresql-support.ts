import type { Source } from '../../src/connectors/connector.ts';
import { postgresConfig } from '../../src/connectors/postgresql/config.ts';
import { openPostgres, type PostgresSourceOptions } from '../../src/connectors/postgresql/source.ts';

export { calm, drain, readAll } from './reading-support.ts';

/** A source as a run would open it, its config validated first. */
export function openSource(config: unknown, options: PostgresSourceOptions = {}): Source {
  return openPostgres(postgresConfig.parse(config), options);
}
