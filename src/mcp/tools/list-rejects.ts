import { z } from 'zod';
import { fittingPage, pageMarks } from '../page.ts';
import { connectorArgument, cursorArgument, limitArgument, pageFields } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

const preset = 10;

export const listRejects = defineTool({
  name: 'list_rejects',
  title: 'List rejects',
  description:
    'Lists rows that could not land and stand aside: reason, row, how often and when met. Mend the cause (update_connector), then replay_rejects.',
  input: z.strictObject({
    connector: connectorArgument,
    stream: z.string().max(100).optional().describe('e.g. "orders"'),
    run_id: z.string().max(100).optional().describe('Met last by this run'),
    limit: limitArgument(100, preset),
    cursor: cursorArgument,
  }),
  output: z.object({
    rejects: z.array(
      z.object({
        id: z.number(),
        stream: z.string(),
        reason: z.string(),
        row: z.string(),
        count: z.number(),
      }),
    ),
    not_kept: z.number(),
    ...pageFields,
  }),
  effects: { mutates: false },
  rest: 'Name a stream, or use a smaller limit.',
  async run(services, { limit, ...filter }) {
    let notKept = 0;
    const page = await fittingPage(limit ?? preset, async (size) => {
      const found = await services.rejects.list(given({ ...filter, limit: size }));
      notKept = found.not_kept;
      return found;
    });
    return { rejects: page.items, not_kept: notKept, ...pageMarks(page) };
  },
});
