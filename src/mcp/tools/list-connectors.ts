import { z } from 'zod';
import { fittingPage, pageMarks } from '../page.ts';
import { breakerView, brief, cursorArgument, limitArgument, pageFields } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

const preset = 50;

export const listConnectors = defineTool({
  name: 'list_connectors',
  title: 'List connectors',
  description:
    'Lists registered connectors with health, last run and stream names. For the settings of one use get_connector.',
  input: z.strictObject({
    type: z.string().max(40).optional().describe('e.g. "postgresql"'),
    enabled: z.boolean().optional().describe('true: only those that are, false: only the others'),
    limit: limitArgument(200, preset),
    cursor: cursorArgument,
  }),
  output: z.object({
    connectors: z.array(
      z.object({
        name: z.string(),
        type: z.string(),
        enabled: z.boolean(),
        health: z.enum(['healthy', 'degraded', 'failing', 'unknown']),
        breaker: breakerView.optional(),
        last_run: z.object({ run_id: z.string(), status: z.string() }).meta(brief).optional(),
        next_run_at: z.string().optional(),
        streams: z.array(z.string()),
      }),
    ),
    ...pageFields,
  }),
  effects: { mutates: false },
  rest: 'get_connector shows one in full.',
  async run(services, { limit, ...filter }) {
    const page = await fittingPage(limit ?? preset, (size) =>
      services.connectors.list(given({ ...filter, limit: size })),
    );
    return { connectors: page.items, ...pageMarks(page) };
  },
});
