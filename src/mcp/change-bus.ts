import { InMemoryServerEventBus, type ServerEventBus } from '@modelcontextprotocol/server';
import type { Change, Services } from '../services/services.ts';
import { auditResource } from './resources/audit.ts';
import { connectorResource, connectorsResource, schemaResource } from './resources/connectors.ts';
import { healthResource } from './resources/health.ts';
import { uriOf } from './resources/resource.ts';
import { runLogResource, runResource, runsResource } from './resources/runs.ts';

/**
 * What changed, as the SDK's bus of events: for `createMcpHandler` over HTTP as it is, and for what follows resources
 * over stdio. The store is looked at only while somebody is subscribed.
 */
export function createChangeBus({ changes }: Pick<Services, 'changes'>): ServerEventBus {
  const published = new InMemoryServerEventBus();
  return {
    publish: (event) => published.publish(event),
    subscribe(listener) {
      const unsubscribe = published.subscribe(listener);
      const stop = changes.onChange((found) => {
        const uris = new Set(found.flatMap(urisOf));
        for (const uri of uris) listener({ kind: 'resource_updated', uri });
      });
      return () => {
        unsubscribe();
        stop();
      };
    },
  };
}

/** The addresses of everything that reads otherwise after a change. */
function urisOf(change: Change): readonly string[] {
  switch (change.kind) {
    case 'run': {
      const { run_id, connector } = change;
      const own = [runResource, runLogResource].map((kind) => uriOf(kind, { run_id }));
      return change.status ? [...own, runsResource.uri, ...urisOfConnector(connector)] : own;
    }
    case 'connector':
      return urisOfConnector(change.connector);
    case 'audit':
      return [auditResource.uri];
    case 'health':
      return [healthResource.uri];
    default:
      return change satisfies never;
  }
}

function urisOfConnector(connector: string): readonly string[] {
  const kinds = [connectorResource, schemaResource];
  return [connectorsResource.uri, ...kinds.map((kind) => uriOf(kind, { connector }))];
}
