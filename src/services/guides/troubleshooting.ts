import { ERROR_CODES, type Recovery, type Who } from '../../core/errors.ts';
import type { GuideView } from '../services.ts';

const after: Readonly<Record<Recovery, string>> = {
  retry: 'the run tries again by itself',
  abort: 'the run ends; nothing is tried again',
  reject: 'the row is kept aside, the run goes on',
};

const acts: Readonly<Record<Who, string>> = {
  assistant: 'you, by another call',
  person: 'the person: something outside has to change',
  administrator: 'whoever runs the server or grants rights',
};

const intro = `# Troubleshooting

An error has \`code\`, \`message\`, \`hint\`, \`retryable\`, \`who\`, and often \`next_actions\`: calls that can be made as they stand. Do what the hint says before trying variations; when \`who\` is not the assistant, pass the hint on word for word.

1. What failed, and why: get_run {"run_id": "…", "include_log": true}, or the resource millrace://runs/{run_id}/log.
2. Does the source answer now: test_connector.
3. Is it this connector or everything: get_health.
4. After mending: sync_connector goes on from the last committed batch. What was committed stays, whatever happened.

On the machine, \`millrace doctor\` checks the installation.`;

/** Made from the table of codes: a code that is added is explained. */
export const troubleshootingGuide: GuideView = {
  topic: 'troubleshooting',
  title: 'Errors by code: what they mean, who acts, what happens by itself',
  text: [intro, table()].join('\n\n'),
};

function table(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, { meaning, recovery, who }]) =>
      `| \`${code}\` | ${meaning} | ${after[recovery]} | ${acts[who]} |`,
  );
  return ['| code | what it means | then | who acts |', '|---|---|---|---|', ...rows].join('\n');
}
