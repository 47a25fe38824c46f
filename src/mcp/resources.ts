import {
  type McpServer,
  type ReadResourceResult,
  type Resource,
  ResourceNotFoundError,
} from '@modelcontextprotocol/server';
import type { GuideView, Services } from '../services/services.ts';

const GUIDES = 'millrace://guides/';
const mimeType = 'text/markdown';

/** Serves the guides as resources. They change only with the program. */
export function serveResources(server: McpServer, services: Services): void {
  const guides = (): readonly GuideView[] => services.connectors.guides();
  server.server.registerCapabilities({ resources: {} });
  server.server.setRequestHandler('resources/list', () => ({ resources: guides().map(resourceOf) }));
  server.server.setRequestHandler('resources/templates/list', () => ({ resourceTemplates: [] }));
  server.server.setRequestHandler('resources/read', (request) => read(guides(), request.params.uri));
}

function resourceOf({ topic, title, text }: GuideView): Resource {
  return {
    uri: `${GUIDES}${topic}`,
    name: `guide-${topic}`,
    title,
    mimeType,
    size: Buffer.byteLength(text),
    annotations: { audience: ['assistant'] },
  };
}

function read(guides: readonly GuideView[], uri: string): ReadResourceResult {
  const guide = guides.find(({ topic }) => uri === `${GUIDES}${topic}`);
  if (guide === undefined) throw new ResourceNotFoundError(uri);
  return { contents: [{ uri, mimeType, text: guide.text }] };
}
