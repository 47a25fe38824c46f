import type { Prompt } from './prompt.ts';

export const setUpConnector: Prompt = {
  name: 'set_up_connector',
  title: 'Set up a connector',
  description: 'Connects a database or an API and brings its first rows here.',
  needs: 'register_connector',
  arguments: [
    { name: 'type', description: 'Kind of system', required: false, completes: 'type' },
    { name: 'name', description: 'Name for the connector, e.g. "shop"', required: false },
    { name: 'purpose', description: 'What the data are wanted for', required: false },
  ],
  task: ({ type, name, purpose }) =>
    [
      `Set up a ${type === undefined ? '' : `${type} `}connector${name === undefined ? '' : ` named "${name}"`}.`,
      ...(purpose === undefined ? [] : [`What for: ${purpose}`]),
      'Ask me for what you cannot know: the address, the user, and which environment variable or stored secret holds the password. Never ask for a password itself.',
    ].join('\n'),
  steps: ({ type, name = '<name>' }) => [
    {
      tool: 'list_connector_types',
      ...(type === undefined ? {} : { arguments: { type } }),
      say: 'which config the type takes, with examples.',
    },
    {
      tool: 'register_connector',
      say: 'secrets as references, ${env:NAME} or ${secret:NAME}, or ${ask}, which answers a link to a page where the person types. It tests the connection; mend what fails as the hint says.',
    },
    {
      tool: 'discover_streams',
      arguments: { connector: name },
      say: 'choose with me what is worth having; mind the risks of each cursor.',
    },
    { tool: 'preview_stream', say: 'look at a few rows and at the table that would be written.' },
    {
      tool: 'update_connector',
      arguments: { connector: name, add_streams: ['<suggested>'] },
      say: 'add the chosen streams as they were suggested; a schedule if I want one (guide: millrace://guides/cron).',
    },
    {
      tool: 'sync_connector',
      arguments: { connector: name },
      say: 'the first load; follow it with get_run.',
    },
    { tool: 'describe_data', say: 'what has landed.' },
  ],
  answer: 'Then tell me what landed, how it stays fresh, and what to watch.',
};
