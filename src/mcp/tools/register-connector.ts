import { z } from 'zod';
import { askView, checkReport, connectorView, nextActions, streamArgument } from '../shapes.ts';
import { defineTool, uncheckedArguments } from '../tool.ts';

/**
 * Lists what `connectors.register` checks. The service is the one judge of a connector, also for the config
 * file and for the older form (`table`, `query`, … on the connector itself), which stays accepted and unlisted.
 */
export const registerConnector = defineTool({
  name: 'register_connector',
  title: 'Register connector',
  description:
    'Keeps a named connection to a source and tests it. Streams may come later with update_connector. Registers nothing when the arguments do not hold; a failing test does not undo it. Give secrets as references.',
  input: uncheckedArguments,
  listed: z.strictObject({
    name: z
      .string()
      .regex(/^[a-z][a-z0-9_]{0,47}$/)
      .describe('Your name for it, e.g. "shop"'),
    type: z.string().max(40).describe('From list_connector_types, e.g. "postgresql"'),
    config: z
      .record(z.string(), z.unknown())
      .describe(
        'e.g. {"host":"db.example.com","database":"shop","username":"reader","password":"${env:MILLRACE_SHOP}"}',
      ),
    streams: z.array(streamArgument).max(1_000).optional().describe('What to sync'),
    schedule: z.string().max(100).optional().describe('Cron, e.g. "*/15 * * * *"'),
    timezone: z.string().max(60).optional().describe('e.g. "Europe/Berlin"; default UTC'),
    enabled: z.boolean().optional().describe('Default true'),
    description: z.string().max(500).optional().describe('e.g. "Web shop"'),
    test: z.boolean().optional().describe('Test it at once (default true)'),
  }),
  output: z.object({
    connector: connectorView,
    test: z.object({ ok: checkReport.ok }).optional(),
    ask: askView,
    warnings: z.array(z.string()),
    next_actions: nextActions,
  }),
  effects: { mutates: true, openWorld: true },
  run: (services, input, context) => services.connectors.register(input, context.caller, context.signal),
});
