import { createChangeService } from './changes.ts';
import { createConnectorService } from './connectors.ts';
import type { Context } from './context.ts';
import { createDataService } from './data.ts';
import { createHealthService } from './health.ts';
import { createRejectService } from './rejects.ts';
import { createRunService } from './runs.ts';
import { createSecretService } from './secrets.ts';
import type { Services } from './services.ts';
import { createStreamService } from './streams.ts';
import type { Verdicts } from './verdicts.ts';

/** The use cases over their parts. */
export function createServices(context: Context, verdicts: Verdicts): Services {
  const health = createHealthService(context, verdicts);
  return {
    connectors: createConnectorService(context, verdicts),
    streams: createStreamService(context),
    runs: createRunService(context),
    rejects: createRejectService(context),
    data: createDataService(context),
    secrets: createSecretService(context),
    health,
    audit: { list: (page) => context.audit.list(page) },
    changes: createChangeService(context, health),
  };
}
