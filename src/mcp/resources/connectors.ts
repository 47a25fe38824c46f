import type { ResourceKind } from './resource.ts';
import { live, uriOf } from './resource.ts';

/** How many a reading shows; list_connectors pages through all. */
const shown = 200;

export const connectorsResource: ResourceKind = {
  uri: 'millrace://connectors',
  name: 'connectors',
  title: 'Connectors',
  description: 'All connectors: type, health, streams, last run.',
  mimeType: 'application/json',
  rest: 'list_connectors pages through all.',
  completes: {},
  async read(services) {
    const { items, next_cursor } = await services.connectors.list({ limit: shown });
    return { data: { connectors: items, has_more: next_cursor !== undefined }, cache: live };
  },
};

export const connectorResource: ResourceKind = {
  uri: 'millrace://connectors/{connector}',
  name: 'connector',
  title: 'One connector',
  description: 'Configuration (secrets masked), positions of its streams, health, recent runs.',
  mimeType: 'application/json',
  rest: 'get_connector and get_run show the parts.',
  completes: { connector: 'connector' },
  async list(services) {
    return (await services.connectors.names()).map((connector) => ({
      uri: uriOf(connectorResource, { connector }),
      name: `connector-${connector}`,
      title: `Connector ${connector}`,
    }));
  },
  async read(services, { connector = '' }) {
    return { data: { ...(await services.connectors.get(connector)) }, cache: live };
  },
};

export const schemaResource: ResourceKind = {
  uri: 'millrace://connectors/{connector}/schema',
  name: 'connector-schema',
  title: 'Schema of what landed',
  description:
    'Landed tables of a connector with their columns, types and rows; streams that landed nothing yet.',
  mimeType: 'application/json',
  rest: 'describe_data with a table shows one in full.',
  completes: { connector: 'connector' },
  async read(services, { connector = '' }) {
    return { data: { ...(await services.data.schema(connector)) }, cache: live };
  },
};
