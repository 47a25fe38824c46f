import { z } from 'zod';
import { connectorArgument } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

export const deleteConnector = defineTool({
  name: 'delete_connector',
  title: 'Delete connector',
  description:
    'Deletes a connector in two calls. The first changes nothing and answers the plan and a confirmation token; show the person the plan, then repeat the call with the token. A client with forms asks the person instead. To pause one, use update_connector with enabled false.',
  input: z.strictObject({
    connector: connectorArgument,
    keep_data: z.boolean().optional().describe('false also drops its landed tables (default true)'),
    confirmation: z.string().max(200).optional().describe('Token of the plan'),
  }),
  output: z.object({
    connector: z.string(),
    keep_data: z.boolean(),
    tables: z.array(z.object({ table: z.string(), rows: z.number() })),
    deleted: z.boolean(),
    confirmation: z.string().optional(),
    declined: z.boolean().optional(),
  }),
  effects: { mutates: true, destructive: true },
  question: ({ connector, keep_data, tables }) => {
    const rows = tables.reduce((sum, table) => sum + table.rows, 0).toLocaleString('en');
    const landed = `${tables.length} landed ${tables.length === 1 ? 'table' : 'tables'} (${rows} rows)`;
    if (tables.length === 0) return `Delete the connector "${connector}"? Nothing of it has landed.`;
    return keep_data
      ? `Delete the connector "${connector}"? Its ${landed} stay.`
      : `Delete the connector "${connector}" and drop its ${landed}? This cannot be undone.`;
  },
  run: (services, input, context) => services.connectors.delete(given(input), context.caller),
});
