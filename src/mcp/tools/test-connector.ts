import { z } from 'zod';
import { checkReport, connectorArgument } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const testConnector = defineTool({
  name: 'test_connector',
  title: 'Test connector',
  description:
    'Connects and checks reach, TLS, login and the streams; an API by one request, explained: status, format, pagination, limits. Use it after register_connector or when a run failed. Moves and writes nothing. A source that does not work is ok: false with the error and its hint.',
  input: z.strictObject({ connector: connectorArgument }),
  output: z.object(checkReport),
  effects: { mutates: false, openWorld: true },
  run: (services, { connector }, context) => services.connectors.test(connector, context.signal),
});
