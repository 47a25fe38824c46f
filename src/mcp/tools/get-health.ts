import { z } from 'zod';
import { brief, errorView, nextActions } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const getHealth = defineTool({
  name: 'get_health',
  title: 'Get health',
  description:
    'Says whether everything works, and if not why and what to do: connectors, scheduler, runs, disk. Answers at once.',
  input: z.strictObject({}),
  output: z.object({
    status: z.enum(['healthy', 'degraded', 'failing']),
    reasons: z.array(z.string()),
    connectors: z.array(
      z.object({
        name: z.string(),
        health: z.string(),
        reason: z.string().optional(),
        error: errorView.optional(),
      }),
    ),
    scheduler: z.object({ enabled: z.boolean(), detail: z.string() }).meta(brief),
    runs: z.record(z.string(), z.number()),
    storage: z
      .object({
        data_dir: z.string(),
        store_bytes: z.number(),
        warehouse_bytes: z.number(),
        free_bytes: z.number(),
        disk_bytes: z.number(),
      })
      .meta(brief),
    next_actions: nextActions,
  }),
  effects: { mutates: false },
  rest: 'list_connectors pages through the connectors.',
  run: (services) => services.health.get(),
});
