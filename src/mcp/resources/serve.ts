import {
  type McpServer,
  ProtocolError,
  ProtocolErrorCode,
  type Resource,
  type ResourceTemplateType,
} from '@modelcontextprotocol/server';
import type { Services } from '../../services/services.ts';
import { textOf } from './contents.ts';
import { findResource } from './find.ts';
import { resourceKinds } from './kinds.ts';
import { fixed, isSingle, type Listed, live, type ResourceKind } from './resource.ts';

/** How many a page of the list holds: with ten thousand connectors a client would rather not have all at once. */
const pageSize = 200;
const annotations: NonNullable<Resource['annotations']> = { audience: ['assistant'] };

/** Serves what Millrace knows as resources (contract §5). */
export function serveResources(server: McpServer, services: Services): void {
  server.server.registerCapabilities({ resources: {} });
  server.server.setRequestHandler('resources/list', async (request) => {
    const { at, next } = pageOf(await listed(services), request.params?.cursor);
    return { resources: [...at], ...next, ...live };
  });
  server.server.setRequestHandler('resources/templates/list', () => ({
    resourceTemplates: resourceKinds.filter((kind) => !isSingle(kind)).map(templateOf),
    ...fixed,
  }));
  server.server.setRequestHandler('resources/read', async ({ params: { uri } }) => {
    const { kind, contents } = await findResource(services, uri);
    const text = textOf(kind, contents);
    return { contents: [{ uri, mimeType: kind.mimeType, text }], ...contents.cache };
  });
}

function templateOf({ uri, name, title, description, mimeType }: ResourceKind): ResourceTemplateType {
  return { uriTemplate: uri, name, title, description, mimeType, annotations };
}

async function listed(services: Services): Promise<readonly Resource[]> {
  const all = await Promise.all(
    resourceKinds.map(async (kind) => {
      const found = isSingle(kind) ? [kind] : ((await kind.list?.(services)) ?? []);
      return found.map((one) => resourceOf(kind, one));
    }),
  );
  return all.flat();
}

function resourceOf({ description, mimeType }: ResourceKind, listed: Listed): Resource {
  const { uri, name, title, size } = listed;
  const measured = size === undefined ? {} : { size };
  return { uri, name, title, description, mimeType, ...measured, annotations };
}

/** The cursor is the address after which the page begins, so that what comes and goes meanwhile moves nothing. */
function pageOf(
  all: readonly Resource[],
  cursor: string | undefined,
): { readonly at: readonly Resource[]; readonly next: { readonly nextCursor?: string } } {
  const from = cursor === undefined ? 0 : all.findIndex(({ uri }) => uri === cursor) + 1;
  if (cursor !== undefined && from === 0)
    throw new ProtocolError(
      ProtocolErrorCode.InvalidParams,
      'The cursor is not one that an earlier page returned, or what it stood on is gone. List again without it.',
    );
  const at = all.slice(from, from + pageSize);
  const last = at.at(-1);
  return { at, next: from + pageSize < all.length && last ? { nextCursor: last.uri } : {} };
}
