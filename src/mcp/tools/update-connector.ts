import { z } from 'zod';
import { askView, connectorArgument, connectorView, streamObjects } from '../shapes.ts';
import { defineTool, uncheckedArguments } from '../tool.ts';

/** Lists what `connectors.update` checks. */
export const updateConnector = defineTool({
  name: 'update_connector',
  title: 'Update connector',
  description:
    'Changes a connector; what is not given stays. config fields replace those of the same name (null removes one), and a changed config is tested. Landed tables are never touched: full_refresh of sync_connector loads again.',
  input: uncheckedArguments,
  listed: z.strictObject({
    connector: connectorArgument,
    config: z.record(z.string(), z.unknown()).optional().describe('e.g. {"host":"db2.example.com"}'),
    add_streams: streamObjects.optional().describe('As in register_connector'),
    remove_streams: z.array(z.string().max(63)).max(1_000).optional().describe('e.g. ["orders"]'),
    streams: streamObjects.optional().describe('Replaces all streams'),
    schedule: z.string().max(100).optional().describe('Cron; "" removes it'),
    timezone: z.string().max(60).optional().describe('e.g. "Europe/Berlin"'),
    enabled: z.boolean().optional().describe('false: no scheduled runs'),
    description: z.string().max(500).optional().describe('e.g. "Web shop"'),
  }),
  output: z.object({
    connector: connectorView,
    changes: z.array(z.string()),
    ask: askView,
    warnings: z.array(z.string()),
  }),
  effects: { mutates: true, destructive: true, idempotent: true, openWorld: true },
  run: (services, input, context) => services.connectors.update(input, context.caller, context.signal),
});
