import { z } from 'zod';
import { fittingPage, pageMarks } from '../page.ts';
import { cursorArgument, limitArgument, pageFields, RUN_STATUSES, runSummary } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

const preset = 10;

export const listRuns = defineTool({
  name: 'list_runs',
  title: 'List runs',
  description: 'Lists runs, newest first, e.g. to find failures or a run id. For the log of one use get_run.',
  input: z.strictObject({
    connector: z.string().max(100).optional().describe('e.g. "shop"'),
    status: z.enum(RUN_STATUSES).optional(),
    since: z.string().max(40).optional().describe('e.g. "2026-11-01T00:00:00Z"'),
    limit: limitArgument(100, preset),
    cursor: cursorArgument,
  }),
  output: z.object({ runs: z.array(runSummary), ...pageFields }),
  effects: { mutates: false },
  rest: 'get_run shows one in full.',
  async run(services, { limit, ...filter }) {
    const page = await fittingPage(limit ?? preset, (size) =>
      services.runs.list(given({ ...filter, limit: size })),
    );
    return { runs: page.items, ...pageMarks(page) };
  },
});
