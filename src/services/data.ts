import { MillraceError } from '../core/errors.ts';
import { suggestion } from '../core/nearest.ts';
import type { Context } from './context.ts';
import type { DataService } from './services.ts';

/** What has landed: its tables, and questions about them. */
export function createDataService(context: Context): DataService {
  const { warehouse, settings } = context;
  return {
    async describe(table) {
      const tables = warehouse.tables(table === undefined ? {} : { table });
      if (table !== undefined && tables.length === 0) {
        const known = warehouse.tables({}).map((info) => info.table);
        throw new MillraceError('invalid_config', `There is no landed table "${table}".`, {
          hint:
            known.length === 0
              ? 'Nothing has landed yet: run sync_connector first.'
              : `${suggestion(table, known)} The table of a stream that has not landed, or that another program dropped, comes with the stream's next run.`,
          nextActions: [{ tool: 'describe_data', arguments: {}, why: 'lists the landed tables' }],
        });
      }
      return tables;
    },

    async schema(connector) {
      const record = await context.connectors.get(connector);
      const tables = warehouse.tables({ connector: record.name });
      const landed = new Set(tables.map(({ stream }) => stream));
      const streams = record.streams.map(({ name }) => name);
      return { connector: record.name, tables, not_landed: streams.filter((name) => !landed.has(name)) };
    },

    async query(request, signal) {
      const caps = {
        ...settings.query,
        maxRows: Math.min(request.limit ?? settings.query.maxRows, settings.query.maxRows),
      };
      return await warehouse.query(request.sql, caps, signal);
    },
  };
}
