import { z } from 'zod';
import { askView, brief, checkReport, connectorArgument } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const rotateSecret = defineTool({
  name: 'rotate_secret',
  title: 'Rotate secret',
  description:
    'Replaces a credential: the new one is tested at the source and switched to only when it works; else rotated is false, test says why, the old one stays.',
  input: z.strictObject({
    connector: connectorArgument,
    field: z.string().min(1).max(300).describe('e.g. "password", "auth.token"'),
    value: z
      .string()
      .min(1)
      .max(10_000)
      .describe('A reference, e.g. "${env:MILLRACE_SHOP_NEW}", or "${ask}"'),
  }),
  output: z.object({
    rotated: z.boolean(),
    test: z.object(checkReport).meta(brief).optional(),
    ask: askView,
    warnings: z.array(z.string()),
  }),
  effects: { mutates: true, destructive: true, idempotent: true, openWorld: true },
  run: (services, input, { caller, signal }) => services.secrets.rotate(input, caller, signal),
});
