import { createChangeService } from './changes.ts';
import { createConnectorService } from './connectors.ts';
import type { Context } from './context.ts';
import { createDataService } from './data.ts';
import { createHealthService } from './health.ts';
import { createRunService } from './runs.ts';
import { createSecretService } from './secrets.ts';
import type { Services } from './services.ts';
import { createStreamService } from './streams.ts';

/** The use cases over their parts. */
export function createServices(context: Context): Services {
  const health = createHealthService(context);
  return {
    connectors: createConnectorService(context),
    streams: createStreamService(context),
    runs: createRunService(context),
    data: createDataService(context),
    health,
    audit: { list: (page) => context.audit.list(page) },
    changes: createChangeService(context, health),
    secrets: createSecretService(context),
  };
}
