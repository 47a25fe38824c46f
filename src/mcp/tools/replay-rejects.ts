import { z } from 'zod';
import { connectorArgument, nextActions } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

export const replayRejects = defineTool({
  name: 'replay_rejects',
  title: 'Replay rejects',
  description:
    'Lands rows that stand aside as the connector is configured now, once what kept them back was mended. Never overwrites a newer version of a row. Not while a run of the connector is under way.',
  input: z.strictObject({
    connector: connectorArgument,
    stream: z.string().max(100).describe('e.g. "orders"'),
    reject_ids: z.array(z.int().min(1)).max(1_000).optional().describe('From list_rejects; default all'),
  }),
  output: z.object({
    replayed: z.number(),
    still_rejected: z.number(),
    not_found: z.number().optional(),
    next_actions: nextActions.optional(),
  }),
  effects: { mutates: true, idempotent: true, openWorld: true },
  run: (services, input, { caller, signal }) => services.rejects.replay(given(input), caller, signal),
});
