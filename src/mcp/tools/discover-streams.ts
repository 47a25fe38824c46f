import { z } from 'zod';
import { fittingPage, pageMarks } from '../page.ts';
import {
  brief,
  columnView,
  connectorArgument,
  cursorArgument,
  limitArgument,
  pageFields,
  streamView,
} from '../shapes.ts';
import { defineTool, given } from '../tool.ts';

const preset = 20;

export const discoverStreams = defineTool({
  name: 'discover_streams',
  title: 'Discover streams',
  description:
    'Lists tables and views of a database, or what the OpenAPI document of an API lists, with columns, keys, row estimates and columns fit as cursor. Each has suggested: a stream ready for add_streams of update_connector. With many use search. For landed tables use describe_data.',
  input: z.strictObject({
    connector: connectorArgument,
    search: z.string().max(200).optional().describe('Part of a name, e.g. "order"'),
    limit: limitArgument(100, preset),
    cursor: cursorArgument,
  }),
  output: z.object({
    streams: z.array(
      z.object({
        name: z.string(),
        table: z.string(),
        kind: z.string(),
        columns: z.array(columnView),
        primary_key: z.array(z.string()),
        estimated_rows: z.number().optional(),
        cursor_candidates: z.array(
          z
            .object({ column: z.string(), reasons: z.array(z.string()), risks: z.array(z.string()) })
            .meta(brief),
        ),
        suggested: streamView,
      }),
    ),
    ...pageFields,
  }),
  effects: { mutates: false, openWorld: true },
  rest: 'Search for one table; query_data on a landed table has all its columns.',
  async run(services, { limit, ...request }, context) {
    const page = await fittingPage(limit ?? preset, (size) =>
      services.streams.discover(given({ ...request, limit: size }), context.signal),
    );
    return { streams: page.items, ...pageMarks(page) };
  },
});
