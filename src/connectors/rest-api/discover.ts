import { MillraceError } from '../../core/errors.ts';
import type { Page, PageRequest, StreamInfo } from '../../core/model.ts';
import { decodePageCursor, encodePageCursor } from '../sql/page-cursor.ts';
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
  const found = streamsOf(readDocument(text), context.settings.baseUrl.pathname).filter((stream) =>
    namesOf(stream).some((name) => name.toLowerCase().includes(wanted)),
  );
  const from = placeBehind(found, decodePageCursor(request.cursor));
  const items = found.slice(from, from + request.limit);
  const last = items.at(-1);
  const next = from + items.length;
  return last !== undefined && next < found.length
    ? { items, next_cursor: encodePageCursor(last.table, String(next)) }
    : { items };
}

function namesOf({ name, table, columns }: StreamInfo): readonly string[] {
  return [name, table, ...columns.map((column) => column.name)];
}

/** Behind the path at which the page before ended, wherever it stands now; where it stood, if it is gone. */
function placeBehind(
  found: readonly StreamInfo[],
  ended: readonly [path: string, place: string] | null,
): number {
  if (ended === null) return 0;
  const [path, place] = ended;
  const at = found.findIndex(({ table }) => table === path);
  return at === -1 ? Math.max(0, Math.floor(Number(place)) - 1 || 0) : at + 1;
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
