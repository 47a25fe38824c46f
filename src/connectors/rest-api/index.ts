import type { ConnectorType } from '../connector.ts';
import { type RestConfig, restBoundTo, restConfig, restSecrets, settingsOf } from './config.ts';
import { restGuide } from './guide.ts';

/** APIs over HTTP that answer with lists of records. The HTTP library is loaded when a connector is opened. */
export const restApi: ConnectorType<RestConfig> = {
  type: 'rest_api',
  title: 'REST API',
  description:
    'Any HTTP API that answers with records in JSON, NDJSON, CSV or XML: declared, not coded. Streams name a path; how pages, records, keys and changes are found is declared or found by looking. Read the guide millrace://guides/rest for examples.',
  config: restConfig,
  secrets: restSecrets,
  boundTo: restBoundTo,
  streamsBy: ['path'],
  guide: restGuide,
  async open(config, options) {
    const { openRest } = await import('./source.ts');
    return openRest(config, options);
  },
  definition(config) {
    const { baseUrl } = settingsOf(config);
    return `${baseUrl.origin}${baseUrl.pathname}`;
  },
  showCursor: (cursor) => showPosition(cursor),
};

/** The position's `mark`, which is what a person knows the cursor by; null while none is settled. */
function showPosition(cursor: string): string | null {
  try {
    const { mark } = JSON.parse(cursor) as { readonly mark?: unknown };
    return typeof mark === 'string' || typeof mark === 'number' ? String(mark) : null;
  } catch {
    return null;
  }
}
