import type { ResolvedStream } from '../core/model.ts';
import type { Destination } from './destination.ts';
import { openSqliteDestination } from './sqlite/destination.ts';
import { createTable, freshLayout } from './sqlite/layout.ts';
import { openSqliteWarehouse } from './sqlite/warehouse.ts';
import type { Warehouse } from './warehouse.ts';

export { openSqliteDestination };

/** The destination at a warehouse file. */
export function openDestination(warehouseFile: string): Destination {
  return openSqliteDestination(warehouseFile);
}

/** What has landed at a warehouse file, which need not exist yet. */
export function openWarehouse(warehouseFile: string): Warehouse {
  return openSqliteWarehouse(warehouseFile);
}

/** The table a stream would land in, without making it. */
export function describeTable(
  connector: string,
  stream: ResolvedStream,
): { readonly table: string; readonly ddl: string } {
  const layout = freshLayout(connector, stream);
  return { table: layout.table, ddl: createTable(layout) };
}
