import { live, type ResourceKind } from './resource.ts';

export const healthResource: ResourceKind = {
  uri: 'millrace://health',
  name: 'health',
  title: 'Health',
  description:
    'One word first, then why: connectors, scheduler, runs, storage, next actions. Announces its changes to subscribers.',
  mimeType: 'application/json',
  rest: 'get_health and list_connectors show the parts.',
  completes: {},
  async read(services) {
    return { data: { ...(await services.health.get()) }, cache: live };
  },
};
