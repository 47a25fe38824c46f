import { z } from 'zod';
import { columnView, connectorArgument } from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

export const previewStream = defineTool({
  name: 'preview_stream',
  title: 'Preview stream',
  description:
    'Reads the first rows of a stream at the source and shows which table a sync would write; of an API also what was found by looking and the next request. Use it before adding or syncing a stream. Moves no cursor, stores nothing. For landed rows use query_data.',
  input: z.strictObject({
    connector: connectorArgument,
    stream: z
      .union([z.string().max(63), z.record(z.string(), z.unknown())])
      .describe('A registered name, or a stream, e.g. {"name":"orders","table":"public.orders"}'),
    limit: z.int().min(1).max(50).optional().describe('Rows, e.g. 5 (default)'),
  }),
  output: z.object({
    columns: z.array(columnView),
    rows: z.array(z.array(z.unknown())),
    would_write: z.object({ table: z.string(), mode: z.string(), ddl: z.string() }),
    warnings: z.array(z.string()),
  }),
  effects: { mutates: false, openWorld: true },
  rest: 'Choose columns with columns.include of the stream, or a smaller limit.',
  run: (services, input, context) => services.streams.preview(given(input), context.signal),
});
