import {
  CLIENT_CAPABILITIES_META_KEY,
  type McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { z } from 'zod';

/** The extension by which a client takes a task for an answer. */
export const TASKS = 'io.modelcontextprotocol/tasks';

/** What the client of a call can do with an answer. */
export interface ClientAbilities {
  /** Shows a person a form. */
  readonly form: boolean;
  /** Follows tasks. */
  readonly tasks: boolean;
  /** Knows links to resources among the contents of a result. */
  readonly links: boolean;
}

/** The first revision with resource links. Revisions are dates and compare as texts. */
const linksSince = '2025-06-18';

const capabilities = z.object({
  elicitation: z.record(z.string(), z.unknown()).optional(),
  extensions: z.record(z.string(), z.unknown()).optional(),
});

/** Clients of 2026 say it in every request, earlier ones once, when they connect. */
export function abilitiesOf(server: McpServer, context: ServerContext): ClientAbilities {
  const envelope: Readonly<Record<string, unknown>> = context.mcpReq.envelope ?? {};
  const own = envelope[CLIENT_CAPABILITIES_META_KEY];
  const known = capabilities.safeParse(own ?? server.server.getClientCapabilities()).data;
  const elicitation = known?.elicitation;
  return {
    // Without a mode it means forms: they came first.
    form: elicitation !== undefined && ('form' in elicitation || !('url' in elicitation)),
    // Earlier revisions have no such result, whatever a client calls itself able to do.
    tasks: own !== undefined && known?.extensions?.[TASKS] !== undefined,
    links: (server.server.getNegotiatedProtocolVersion() ?? '') >= linksSince,
  };
}
