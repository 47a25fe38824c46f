import { z } from 'zod';
import { columnView } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const describeData = defineTool({
  name: 'describe_data',
  title: 'Describe data',
  description:
    'Lists the landed tables with columns, row counts and time of the last sync. Call it before query_data. For tables at the source use discover_streams.',
  input: z.strictObject({
    table: z.string().max(200).optional().describe('e.g. "shop__orders"'),
  }),
  output: z.object({
    tables: z.array(
      z.object({
        table: z.string(),
        connector: z.string(),
        stream: z.string(),
        rows: z.number(),
        columns: z.array(columnView),
        last_synced_at: z.string().optional(),
      }),
    ),
  }),
  effects: { mutates: false },
  rest: 'Name one table to see it alone.',
  run: async (services, { table }) => ({ tables: await services.data.describe(table) }),
});
