import { live, type ResourceKind } from './resource.ts';

const shown = 100;

export const auditResource: ResourceKind = {
  uri: 'millrace://audit',
  name: 'audit',
  title: 'Audit log',
  description: 'Who changed what, newest first: actor, action, subject, details without secrets.',
  mimeType: 'application/json',
  rest: 'store.db holds every entry, in its table audit.',
  completes: {},
  async read(services) {
    const { items, next_cursor } = await services.audit.list({ limit: shown });
    return { data: { entries: items, has_more: next_cursor !== undefined }, cache: live };
  },
};
