import { z } from 'zod';
import { defineTool, given } from '../tool.ts';

export const queryData = defineTool({
  name: 'query_data',
  title: 'Query data',
  description:
    'Runs one SQLite SELECT over the landed tables, e.g. "select status, count(*) from shop__orders group by 1". Read-only, stopped after a time limit. decimal columns are text: cast(x as real) or sum over cents. Times are ISO 8601 text. Aggregate instead of fetching many rows: truncated says when rows are missing.',
  input: z.strictObject({
    sql: z.string().max(20_000).describe('One SELECT; tables from describe_data'),
    limit: z.int().min(1).max(10_000).optional().describe('Rows at most, e.g. 100'),
  }),
  output: z.object({
    columns: z.array(z.string()),
    rows: z.array(z.array(z.unknown())),
    row_count: z.number(),
    truncated: z.boolean(),
    elapsed_ms: z.number(),
  }),
  effects: { mutates: false },
  // The warehouse has counted what it answered; the reply may show fewer.
  whenCut(shown) {
    const rows = Array.isArray(shown['rows']) ? shown['rows'].length : 0;
    return rows === shown['row_count'] ? shown : { ...shown, row_count: rows, truncated: true };
  },
  rest: 'Aggregate, choose columns, or page with LIMIT and OFFSET.',
  run: (services, input, context) => services.data.query(given(input), context.signal),
});
