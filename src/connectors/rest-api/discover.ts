import { MillraceError } from '../../core/errors.ts';
import type { Page, PageRequest, StreamInfo } from '../../core/model.ts';
import { addressOf } from './config.ts';
import { streamsOf } from './openapi/streams.ts';
import type { RestContext } from './sample.ts';

/** The documents of the largest APIs have about 15 MB. */
const documentBytesMax = 40_000_000;

const accept = 'application/json, application/yaml;q=0.9, text/yaml;q=0.9, */*;q=0.5';

/** The lists that the API's OpenAPI document describes, as streams. Throws `invalid_config` where the connector names none. */
export async function discoverRest(
  context: RestContext,
  request: PageRequest & { readonly search?: string },
  signal: AbortSignal,
): Promise<Page<StreamInfo>> {
  const text = await documentText(context, signal);
  // With a parser of YAML, which nothing else here needs.
  const { readDocument } = await import('./openapi/document.ts');
  const wanted = request.search?.trim().toLowerCase() ?? '';
  const found = streamsOf(readDocument(text), context.settings.baseUrl.pathname).filter(
    ({ name, table }) => name.includes(wanted) || table.toLowerCase().includes(wanted),
  );
  const from = Math.max(0, Math.floor(Number(request.cursor ?? 0)) || 0);
  const items = found.slice(from, from + request.limit);
  const next = from + items.length;
  return next < found.length ? { items, next_cursor: String(next) } : { items };
}

async function documentText({ settings, client }: RestContext, signal: AbortSignal): Promise<string> {
  const { openapi, baseUrl } = settings;
  if (openapi === null) throw noDocument();
  const url = openapi.startsWith('/') ? addressOf(baseUrl, openapi) : absolute(openapi);
  if (url === null) return openapi;
  const request = { method: 'GET', url, headers: { accept }, idempotent: true };
  return await client.ask(request, (response) => response.text(documentBytesMax), signal);
}

/** Null for what is the document itself. */
function absolute(openapi: string): URL | null {
  return /^https?:\/\//i.test(openapi) ? URL.parse(openapi) : null;
}

function noDocument(): MillraceError {
  return new MillraceError('invalid_config', 'The connector names no OpenAPI document to find streams in.', {
    hint: 'If the API has one (often /openapi.json), name it: update_connector with config {"openapi": "/openapi.json"}. Else declare streams by the paths of the API\'s documentation, {"name": "orders", "path": "/v1/orders"}, and look at them with preview_stream; millrace://guides/rest has examples.',
  });
}
