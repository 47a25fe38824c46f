import type { Stream } from '../../core/model.ts';
import type {
  CsvConfig,
  ExplodeConfig,
  PaginationConfig,
  ParamValue,
  ParentConfig,
  ResponseFormat,
  ResponseRule,
} from '../../core/rest.ts';
import { type Lookback, parseLookback } from '../sql/lookback.ts';
import type { RestSettings } from './config.ts';
import { assertWindows } from './windows.ts';

/** How one stream is read: what was declared, what the connector says for all, and what looking at a page chose. */
export interface StreamPlan {
  readonly path: string;
  readonly method: 'GET' | 'POST';
  /** The connector's and the stream's; the stream's win. */
  readonly params: Readonly<Record<string, ParamValue>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Readonly<Record<string, unknown>> | null;
  /** JMESPath to the records; null where the page itself is the list, or the one record. */
  readonly records: string | null;
  /** True while nobody looked where the records are. */
  readonly recordsOpen: boolean;
  readonly format: ResponseFormat;
  readonly charset: string | null;
  readonly csv: CsvConfig;
  readonly pagination: PaginationConfig;
  readonly cursorParam: string | null;
  readonly cursorFormat: string;
  readonly cursorEndParam: string | null;
  readonly cursorStart: string | number | null;
  readonly windowMs: number | null;
  readonly lookback: Lookback | null;
  readonly order: 'asc' | 'desc' | 'none' | null;
  readonly parent:
    | (ParentConfig & { readonly in: 'path' | 'query' | 'body'; readonly column: string })
    | null;
  readonly explode: ExplodeConfig | null;
  readonly flatten: number;
  /** The stream's rules, then the connector's. */
  readonly responses: readonly ResponseRule[];
  readonly maxPages: number;
  /** Whether a request may be sent again: every GET, and a POST that says so. */
  readonly repeatable: boolean;
}

const maxPages = 1_000_000;

/**
 * The plan as far as the declaration tells it. Pure; `auto` pagination and format and open records are left to a look.
 * Throws `invalid_config` for what could not work.
 */
export function planStream(settings: RestSettings, stream: Stream): StreamPlan {
  const rest = stream.rest ?? {};
  const method = rest.method ?? 'GET';
  const plan: StreamPlan = {
    path: stream.path ?? '/',
    method,
    params: { ...settings.params, ...rest.params },
    headers: withHeaders(settings.headers, rest.headers ?? {}),
    body: rest.body ?? null,
    records: rest.records ?? null,
    recordsOpen: rest.records === undefined,
    format: rest.format ?? 'auto',
    charset: rest.charset ?? null,
    csv: rest.csv ?? {},
    pagination: rest.pagination ?? settings.pagination,
    cursorParam: rest.cursor_param ?? null,
    cursorFormat: rest.cursor_format ?? 'value',
    cursorEndParam: rest.cursor_end_param ?? null,
    cursorStart: rest.cursor_start ?? null,
    windowMs: rest.window === undefined ? null : windowMs(rest.window),
    lookback: stream.lookback === undefined ? null : parseLookback(stream.lookback),
    order: rest.order ?? null,
    parent: rest.parent === undefined ? null : parentOf(rest.parent, stream.path ?? '/'),
    explode: rest.explode ?? null,
    flatten: rest.flatten ?? 0,
    responses: [...(rest.responses ?? []), ...settings.responses],
    maxPages: rest.max_pages ?? maxPages,
    repeatable: method === 'GET' || rest.repeatable === true,
  };
  assertWindows(plan);
  return plan;
}

/** Names of headers are one whatever their case. */
function withHeaders(
  all: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const kept = new Map(Object.entries(all).map(([name, value]) => [name.toLowerCase(), value]));
  for (const [name, value] of Object.entries(own)) kept.set(name.toLowerCase(), value);
  return Object.fromEntries(kept);
}

function windowMs(window: string): number {
  const parsed = parseLookback(window);
  return parsed.kind === 'time' ? parsed.ms : Number(parsed.by);
}

function parentOf(parent: ParentConfig, path: string): NonNullable<StreamPlan['parent']> {
  const place = parent.in ?? (path.includes(`{${parent.param}}`) ? 'path' : 'query');
  return { ...parent, in: place, column: parent.column ?? `${parent.stream}_${parent.field}` };
}
