import { z } from 'zod';
import { runLogLinks } from '../resources/runs.ts';
import { connectorArgument, runView } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

/** Not destructive: what it writes is a copy of the source, and a load that shrank is refused. */
export const syncConnector = defineTool({
  name: 'sync_connector',
  title: 'Sync connector',
  description:
    'Starts a run that brings new and changed rows here, and waits a while. It goes on when the wait or the call ends: follow it with get_run, stop it with cancel_run. One run per connector at a time; one that waits to try again starts now. Afterwards: describe_data, query_data.',
  input: z.strictObject({
    connector: connectorArgument,
    streams: z.array(z.string().max(63)).min(1).max(1_000).optional().describe('Only these, e.g. ["orders"]'),
    full_refresh: z.boolean().optional().describe('true: forget positions, load all again'),
    wait_seconds: z.int().min(0).max(25).optional().describe('e.g. 10 (default)'),
  }),
  output: z.object({ run: runView }),
  effects: { mutates: true, openWorld: true },
  rest: 'Name some of the streams to see each.',
  links: ({ run }) => runLogLinks(run.run_id),
  start: (services, input, { caller, signal }) =>
    services.runs.sync({ ...given(input), wait_seconds: 0 }, { caller, trigger: 'manual', signal }),
  async run(services, input, { caller, signal, onRun }) {
    const progress = onRun === undefined ? {} : { onProgress: onRun };
    return {
      run: await services.runs.sync(given(input), { caller, trigger: 'manual', signal, ...progress }),
    };
  },
});
