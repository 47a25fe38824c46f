import {
  type JSONRPCMessage,
  type McpServer,
  ProtocolError,
  ProtocolErrorCode,
  type ServerEventBus,
} from '@modelcontextprotocol/server';
import type { Services } from '../services/services.ts';
import { createChangeBus } from './change-bus.ts';
import { findResource } from './resources/find.ts';

/** What one connection may follow. */
const followedMax = 1_024;

/**
 * `resources/subscribe` and `resources/unsubscribe`, as clients of 2025 ask for them. Later ones send
 * `subscriptions/listen`, which the SDK answers before a server sees it.
 */
export function serveSubscriptions(server: McpServer, services: Services): void {
  const { server: inner } = server;
  const followed = follow(createChangeBus(services), (uri) => sendUpdated(server, uri));
  inner.registerCapabilities({ resources: { subscribe: true } });
  inner.setRequestHandler('resources/subscribe', async ({ params: { uri } }) => {
    await findResource(services, uri);
    if (!followed.add(uri, [uri]))
      throw new ProtocolError(
        ProtocolErrorCode.InvalidParams,
        `A connection may follow ${followedMax} resources at most. Unsubscribe from some first.`,
      );
    return {};
  });
  inner.setRequestHandler('resources/unsubscribe', ({ params: { uri } }) => {
    followed.remove(uri);
    return {};
  });
  const onclose = inner.onclose;
  inner.onclose = () => {
    followed.close();
    onclose?.();
  };
}

/** Follows what the `subscriptions/listen` requests of a stdio connection name; the SDK passes on what is sent. */
export function followListens(
  services: Services,
  server: () => McpServer | undefined,
): { came(message: JSONRPCMessage): void; close(): void } {
  const followed = follow(createChangeBus(services), (uri) => {
    const current = server();
    if (current !== undefined) sendUpdated(current, uri);
  });
  return {
    came(message) {
      if (!('method' in message)) return;
      if ('id' in message && message.method === 'subscriptions/listen')
        followed.add(message.id, urisAsked(message.params));
      if (message.method === 'notifications/cancelled') followed.remove(message.params?.['requestId']);
    },
    close: () => followed.close(),
  };
}

function urisAsked(params: Readonly<Record<string, unknown>> | undefined): readonly string[] {
  const filter = params?.['notifications'];
  if (typeof filter !== 'object' || filter === null || !('resourceSubscriptions' in filter)) return [];
  const asked = filter.resourceSubscriptions;
  return Array.isArray(asked) ? asked.filter((uri) => typeof uri === 'string') : [];
}

/** A client that has gone hears nothing; that it has gone is noticed elsewhere. */
function sendUpdated(server: McpServer, uri: string): void {
  server.server.sendResourceUpdated({ uri }).catch(() => undefined);
}

/** Passes on the changes of what is followed, each once; listens to the bus only while anything is. */
function follow(
  bus: Pick<ServerEventBus, 'subscribe'>,
  send: (uri: string) => void,
): {
  /** False when it would be too many. */
  add(key: unknown, uris: readonly string[]): boolean;
  remove(key: unknown): void;
  close(): void;
} {
  const followed = new Map<unknown, ReadonlySet<string>>();
  let stop: (() => void) | undefined;
  const remove = (key: unknown): void => {
    followed.delete(key);
    if (followed.size > 0) return;
    stop?.();
    stop = undefined;
  };
  return {
    add(key, uris) {
      if (uris.length === 0) return true;
      if (followed.size >= followedMax && !followed.has(key)) return false;
      followed.set(key, new Set(uris));
      stop ??= bus.subscribe((event) => {
        if (event.kind !== 'resource_updated') return;
        if ([...followed.values()].some((uris) => uris.has(event.uri))) send(event.uri);
      });
      return true;
    },
    remove,
    close() {
      for (const key of followed.keys()) remove(key);
    },
  };
}
