import type { ConnectorType } from '../connector.ts';
import { readPosition } from '../sql/position.ts';
import { type MysqlConfig, mysqlConfig, settingsOf } from './config.ts';

/** MySQL 8 and later, MariaDB 10.6 and later, and what speaks like them. The driver is loaded when a connector is opened. */
export const mysql: ConnectorType<MysqlConfig> = {
  type: 'mysql',
  title: 'MySQL and MariaDB',
  description:
    'Tables, views and queries of a MySQL (8.0 or later) or MariaDB (10.6 or later) database, read incrementally by a cursor column or whole. It only reads: a login that may do no more than SELECT is enough.',
  config: mysqlConfig,
  secrets: ['password', 'url'],
  boundTo: ['host', 'url'],
  boundFrom: 'worked',
  async open(config, options) {
    const { openMysql } = await import('./source.ts');
    return openMysql(config, options);
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
