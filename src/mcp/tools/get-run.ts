import { z } from 'zod';
import { runLogLinks } from '../resources/runs.ts';
import { runIdArgument, runView } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

const logLine = z.object({ at: z.string(), level: z.string(), message: z.string() });

export const getRun = defineTool({
  name: 'get_run',
  title: 'Get run',
  description:
    'Shows one run: status, counts and result per stream, error and next actions. With wait_seconds it waits for the end first; use that to follow a run.',
  input: z.strictObject({
    run_id: runIdArgument,
    wait_seconds: z.int().min(0).max(25).optional().describe('e.g. 20; default 0'),
    include_log: z.boolean().optional().describe('true adds the last log lines'),
  }),
  output: z.object({ run: runView.extend({ log: z.array(logLine).optional() }) }),
  effects: { mutates: false },
  rest: 'Leave include_log out, or sync fewer streams per run.',
  links: ({ run }) => runLogLinks(run.run_id),
  async run(services, input, { signal, onRun }) {
    const progress = onRun === undefined ? {} : { onProgress: onRun };
    return { run: await services.runs.get(given(input), { signal, ...progress }) };
  },
});
