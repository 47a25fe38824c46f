import type { Prompt } from './prompt.ts';

export const diagnoseRun: Prompt = {
  name: 'diagnose_run',
  title: 'Diagnose a run',
  description: 'Finds out why a run failed, was partial or slow, and mends what can be mended.',
  needs: 'get_run',
  arguments: [
    {
      name: 'run_id',
      description: 'The run; else the newest that failed',
      required: false,
      completes: 'run',
    },
    { name: 'connector', description: 'Its connector', required: false, completes: 'connector' },
  ],
  task: ({ run_id, connector }) => {
    const whose = connector === undefined ? '' : ` of the connector "${connector}"`;
    return run_id === undefined
      ? `Diagnose the newest run${whose} that did not succeed.`
      : `Diagnose the run ${run_id}${whose}.`;
  },
  steps: ({ run_id, connector }) => {
    const one = connector === undefined ? {} : { connector };
    const name = connector ?? '<connector>';
    return [
      ...(run_id === undefined
        ? [
            {
              tool: 'list_runs',
              arguments: { ...one, status: 'failed' },
              say: 'find it; without any, look at status "partial".',
            },
          ]
        : []),
      {
        tool: 'get_run',
        arguments: { run_id: run_id ?? '<run_id>', include_log: true },
        say: 'error, hint, each stream, times per stage, the log. Who has to act stands in `who`.',
      },
      {
        tool: 'get_connector',
        arguments: { connector: name },
        say: 'is it new, or does it fail again and again? What changed before it?',
      },
      { tool: 'test_connector', arguments: { connector: name }, say: 'what is wrong with the source now.' },
      {
        tool: 'update_connector',
        arguments: { connector: name },
        say: 'only if the configuration is at fault, and after asking me.',
      },
      {
        tool: 'sync_connector',
        arguments: { connector: name },
        say: 'once the cause is mended: it goes on from the last committed batch.',
      },
    ];
  },
  answer:
    'Then tell me: what happened, why, what data are missing or late because of it, what was mended, and what somebody else has to do, as an exact command or grant. millrace://guides/troubleshooting explains each code.',
};
