import { z } from 'zod';
import { checkReport, connectorArgument } from '../shapes.ts';
import { defineTool } from '../tool.ts';

export const rotateSecret = defineTool({
  name: 'rotate_secret',
  title: 'Rotate secret',
  description:
    'Puts a new credential in the place of an old one: tested at the source first, switched to only when that works; else rotated is false, test says why, and the old one stays.',
  input: z.strictObject({
    connector: connectorArgument,
    field: z.string().min(1).max(300).describe('e.g. "password", "auth.token"'),
    value: z.string().min(1).max(10_000).describe('A reference, e.g. "${env:MILLRACE_SHOP_NEW}"'),
  }),
  output: z.object({ rotated: z.boolean(), test: z.object(checkReport), warnings: z.array(z.string()) }),
  effects: { mutates: true, destructive: true, idempotent: true, openWorld: true },
  run: (services, input, { caller, signal }) => services.secrets.rotate(input, caller, signal),
});
