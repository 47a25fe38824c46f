import { z } from 'zod';
import { brief } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const listConnectorTypes = defineTool({
  name: 'list_connector_types',
  title: 'List connector types',
  description:
    'Shows which kinds of systems can be connected, with the JSON Schema of the config of each. Name one type to get the schema of its streams and complete examples too. Call it before register_connector.',
  input: z.strictObject({
    type: z.string().max(40).optional().describe('Only this type, e.g. "rest_api"'),
  }),
  output: z.object({
    types: z.array(
      z.object({
        type: z.string(),
        title: z.string(),
        description: z.string(),
        config_schema: z.record(z.string(), z.unknown()),
        stream_schema: z.record(z.string(), z.unknown()).optional(),
        examples: z.array(z.record(z.string(), z.unknown()).meta(brief)).optional(),
      }),
    ),
  }),
  effects: { mutates: false },
  rest: 'Name one type to get its schema whole.',
  run: async (services, { type }) => ({ types: services.connectors.types(type) }),
});
