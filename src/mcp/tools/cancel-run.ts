import { z } from 'zod';
import { runIdArgument, runSummary } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const cancelRun = defineTool({
  name: 'cancel_run',
  title: 'Cancel run',
  description:
    'Stops a queued or running run. Rows already committed stay, and the next sync goes on behind them. A run that has ended is answered as it is.',
  input: z.strictObject({ run_id: runIdArgument }),
  output: z.object({ run: runSummary }),
  effects: { mutates: true, idempotent: true },
  rest: 'get_run shows the run.',
  run: async (services, { run_id }, context) => ({ run: await services.runs.cancel(run_id, context.caller) }),
});
