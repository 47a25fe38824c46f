import type { Prompt } from './prompt.ts';

export const reviewSchemaChanges: Prompt = {
  name: 'review_schema_changes',
  title: 'Review schema changes',
  description: 'Compares the tables at the source with those that landed, and says what to do about it.',
  needs: 'discover_streams',
  arguments: [
    { name: 'connector', description: 'Whose tables', required: true, completes: 'connector' },
    { name: 'stream', description: 'Only this stream', required: false, completes: 'stream' },
  ],
  task: ({ connector, stream }) =>
    `Review what changed in the schema of ${stream === undefined ? '' : `the stream "${stream}" of `}the connector "${connector}".`,
  steps: ({ connector = '', stream }) => [
    {
      tool: 'get_connector',
      arguments: { connector },
      say: 'its streams, the columns they include or exclude, and warnings of its recent runs.',
    },
    {
      tool: 'discover_streams',
      arguments: { connector, ...(stream === undefined ? {} : { search: stream }) },
      say: 'columns and keys as they are at the source now.',
    },
    {
      tool: 'describe_data',
      ...(stream === undefined ? {} : { arguments: { table: `${connector}__${stream}` } }),
      say: `columns as they landed; millrace://connectors/${connector}/schema has the same for all its tables.`,
    },
    {
      tool: 'list_runs',
      arguments: { connector, status: 'partial' },
      say: 'rejects and errors that a changed type brought.',
    },
    {
      tool: 'update_connector',
      arguments: { connector },
      say: 'change a stream only after asking me.',
    },
  ],
  answer:
    'Then list per table: columns added, dropped, changed in type, keys or cursors that no longer hold; what Millrace does by itself (it adds columns, widens types, keeps dropped ones) and what needs a decision.',
};
