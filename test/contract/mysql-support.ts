import type { Source } from '../../src/connectors/connector.ts';
import { mysqlConfig } from '../../src/connectors/mysql/config.ts';
import { type MysqlSourceOptions, openMysql } from '../../src/connectors/mysql/source.ts';

/** A source as a run would open it, its config validated first. */
export function openMysqlSource(config: unknown, options: MysqlSourceOptions = {}): Source {
  return openMysql(mysqlConfig.parse(config), options);
}
