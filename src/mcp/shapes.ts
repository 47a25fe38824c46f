import { z } from 'zod';

/** Parts that the schemas of several tools share. Those of answers are described only where a name does not say it. */

/** Not held to the form of a name: a wrong one is answered with the names that are near. */
export const connectorArgument = z.string().max(100).describe('Name, e.g. "shop"');

export const runIdArgument = z.string().max(100).describe('Run id from sync_connector or list_runs');

export const cursorArgument = z.string().max(2_000).optional().describe('next_cursor of the last page');

/** How many items a page holds at most. */
export function limitArgument(max: number, preset: number): z.ZodOptional<z.ZodInt> {
  return z.int().min(1).max(max).optional().describe(`Default ${preset}`);
}

export const RUN_STATUSES = ['queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled'] as const;

export const pageFields = { has_more: z.boolean(), next_cursor: z.string().optional() };

/** Listed as an object and no more; `instructions` says what an error and a next action hold. */
export const brief = { brief: true } as const;

/** Fields common to every error (contract §4). */
export const errorView = z
  .object({
    code: z.string(),
    message: z.string(),
    hint: z.string(),
    retryable: z.boolean(),
    who: z.enum(['assistant', 'person', 'administrator']),
  })
  .meta(brief);

export const nextActions = z.array(
  z.object({ tool: z.string(), arguments: z.record(z.string(), z.unknown()), why: z.string() }).meta(brief),
);

/** How failures hold a connector's schedule back; absent after a success. */
export const breakerView = z
  .object({ state: z.enum(['closed', 'open', 'half_open']), open_until: z.string().optional() })
  .meta(brief);

/** A stream of a connector in an answer; what else it has is what register_connector takes. */
export const streamView = z.object({ name: z.string() }).meta(brief);

export const connectorView = z.object({
  name: z.string(),
  type: z.string(),
  config: z.record(z.string(), z.unknown()),
  streams: z.array(streamView),
  enabled: z.boolean(),
});

/** Where a person types a secret; `next_step` says what to do with it. */
export const askView = z
  .object({ url: z.string(), fields: z.array(z.string()), expires_at: z.string(), next_step: z.string() })
  .meta(brief)
  .optional();

export const checkReport = {
  ok: z.boolean(),
  checks: z.array(z.object({ name: z.string(), ok: z.boolean(), detail: z.string(), ms: z.number() })),
  server_version: z.string().optional(),
  latency_ms: z.number().optional(),
  warnings: z.array(z.string()),
  error: errorView.optional(),
};

const counts = {
  rows_read: z.number(),
  rows_written: z.number(),
  rows_deleted: z.number(),
  rejects: z.number(),
  bytes_read: z.number(),
};

const streamResult = z
  .object({
    stream: z.string(),
    status: z.enum(['pending', 'running', 'succeeded', 'failed', 'cancelled']),
    rows_read: z.number(),
    rows_written: z.number(),
    rows_deleted: z.number(),
    rejects: z.number(),
    ms: z.record(z.string(), z.number()),
    error: errorView.optional(),
  })
  .meta(brief);

/** A run in full. `rows_written`: rows that the landed table holds because of this run. */
export const runView = z.object({
  run_id: z.string(),
  connector: z.string(),
  status: z.enum(RUN_STATUSES),
  attempt: z.number(),
  queued_at: z.string(),
  finished_at: z.string().optional(),
  duration_ms: z.number().optional(),
  retry_at: z.string().optional(),
  totals: z.object(counts),
  streams: z.array(streamResult),
  error: errorView.optional(),
  next_actions: nextActions.optional(),
});

/** A run inside a list: get_run has the rest. */
export const runSummary = z
  .object({ run_id: z.string(), status: z.enum(RUN_STATUSES), totals: z.object(counts) })
  .meta(brief);

export const columnView = z.object({ name: z.string(), type: z.string(), source_type: z.string() });

/** A column's exact description is in the connector's type; this is what a stream takes. */
export const streamArgument = z.strictObject({
  name: z.string().max(63).describe('e.g. "orders": table <connector>__orders'),
  table: z.string().max(300).optional().describe('e.g. "public.orders"; this or query'),
  query: z.string().max(20_000).optional().describe('One SELECT, no semicolon'),
  path: z.string().max(2_000).optional().describe('Of an API instead, e.g. "/v1/orders"'),
  rest: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('How the API is asked: see list_connector_types {"type":"rest_api"}'),
  mode: z.enum(['merge', 'append', 'replace']).optional().describe('Chosen for you when absent'),
  cursor: z.string().max(255).optional().describe('Column that grows with every change, e.g. "updated_at"'),
  primary_key: z.array(z.string().max(255)).max(32).optional().describe('e.g. ["id"]'),
  lookback: z
    .union([z.string().max(20), z.number().min(0)])
    .optional()
    .describe('Read again this far behind, e.g. "5m"'),
  columns: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('include or exclude, e.g. {"exclude":["notes"]}'),
  where: z.string().max(4_000).optional().describe('SQL condition, e.g. "region = \'EU\'"'),
  deletes: z.enum(['detect', 'ignore']).optional().describe('Look for deleted rows'),
});

/** Streams where the shape stands in register_connector already. */
export const streamObjects = z.array(z.record(z.string(), z.unknown())).max(1_000);
