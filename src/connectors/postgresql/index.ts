import type { ConnectorType } from '../connector.ts';
import { readPosition } from '../sql/position.ts';
import { type PostgresConfig, postgresConfig, settingsOf } from './config.ts';

/** PostgreSQL 12 and later, and what speaks like it. The driver is loaded when a connector is opened. */
export const postgresql: ConnectorType<PostgresConfig> = {
  type: 'postgresql',
  title: 'PostgreSQL',
  description:
    'Tables, views and queries of a PostgreSQL database (12 or later), read incrementally by a cursor column or whole. It only reads: a login that may do no more than SELECT is enough.',
  config: postgresConfig,
  secrets: ['password', 'url'],
  boundTo: ['host', 'url'],
  boundFrom: 'worked',
  async open(config, options) {
    const { openPostgres } = await import('./source.ts');
    return openPostgres(config, options);
  },
  definition: (config) => settingsOf(config).database,
  showCursor(cursor) {
    const position = readPosition(cursor);
    if (position === null || !('of' in position)) return null;
    return position.phase === 'settled' || position.phase === 'appended' || position.phase === 'inc'
      ? position.mark
      : null;
  },
};
