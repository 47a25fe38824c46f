import { auditResource } from './audit.ts';
import { connectorResource, connectorsResource, schemaResource } from './connectors.ts';
import { guideResource } from './guides.ts';
import { healthResource } from './health.ts';
import type { ResourceKind } from './resource.ts';
import { runLogResource, runResource, runsResource } from './runs.ts';

/** Every kind of resource (contract §5), in the order in which they are listed. */
export const resourceKinds: readonly ResourceKind[] = [
  healthResource,
  connectorsResource,
  runsResource,
  auditResource,
  guideResource,
  connectorResource,
  schemaResource,
  runResource,
  runLogResource,
];
