import { asMillraceError, type ErrorCode, MillraceError } from '../../core/errors.ts';
import type { Check, CheckReport, Stream } from '../../core/model.ts';
import { plain } from '../sql/names.ts';
import { addressOf, type RestSettings } from './config.ts';
import type { HttpClient } from './http/client.ts';
import { expression } from './jmespath.ts';
import { planStream, type StreamPlan } from './plan.ts';
import { type ResolvedRest, resolveRest, shownPagination } from './resolve.ts';
import type { RestContext } from './sample.ts';

/**
 * Makes one cheap request and says what it showed: the first page of the first stream that needs no other, or of `test_path`
 * while there is none. What is wrong with the API is the report; only a cancelled check throws. Moves no cursor.
 */
export async function checkRest(
  context: RestContext,
  streams: readonly Stream[],
  signal: AbortSignal,
): Promise<CheckReport> {
  const startedAt = performance.now();
  const asked = streams.find((stream) => stream.rest?.parent === undefined) ?? streams[0];
  try {
    if (asked === undefined) return await checkBase(context, startedAt, signal);
    const found = await resolveRest(context, asked, signal);
    return works(context, { found, others: streams.filter((stream) => stream !== asked), startedAt });
  } catch (error) {
    if (signal.aborted) throw error;
    return fails(context, asMillraceError(error), { asked, ms: performance.now() - startedAt });
  }
}

interface Worked {
  readonly found: ResolvedRest;
  readonly others: readonly Stream[];
  readonly startedAt: number;
}

function works({ settings, client }: RestContext, { found, others, startedAt }: Worked): CheckReport {
  const { stream, plan, sample } = found;
  const took = Math.round(performance.now() - startedAt);
  const kind = sample.contentType === null ? 'no content type' : plain(sample.contentType, 80);
  const place = plan.records === null ? 'the page itself' : plan.records;
  const checks: Check[] = [
    passed('reach', `${settings.baseUrl.host} answers`, took),
    passed('tls', tlsDetail(settings)),
    passed('auth', `${authDetail(settings)}; status ${sample.status}`),
    passed(
      'format',
      `${plan.format} (${kind}), ${sample.bytes} bytes; ${sample.records} records in ${plain(place, 80)}`,
    ),
    passed(
      'pagination',
      `${shownPagination(plan.pagination)}; ${sample.next === null ? 'nothing follows the first page' : `next: ${plain(sample.next, 300)}`}`,
    ),
    passed('rate limits', limitsDetail(settings, client)),
    passed(`stream ${stream.name}`, `${stream.columns.length} columns, mode ${stream.mode}`),
    ...others.map((other) => declared(settings, other)),
  ];
  const error = others.map((other) => problemOf(settings, other)).find((problem) => problem !== null);
  return {
    ok: error === undefined,
    checks,
    latency_ms: Math.round(sample.ms * 10) / 10,
    ...(sample.skewMs === null ? {} : { clock_skew_ms: sample.skewMs }),
    warnings: [...warnings(settings), ...client.notices(), ...stream.notes],
    ...(error ? { error: error.toView() } : {}),
  };
}

/** Nothing is declared yet: whether the API answers at all, and lets us in. */
async function checkBase(
  { settings, client }: RestContext,
  startedAt: number,
  signal: AbortSignal,
): Promise<CheckReport> {
  const path = settings.testPath ?? '/';
  const url = settings.testPath === null ? settings.baseUrl : addressOf(settings.baseUrl, path);
  const request = { method: 'GET', url, headers: {}, idempotent: true } as const;
  // At the bare base address "not found" is a usual answer, and it shows that somebody is there.
  const onStatus = (status: number): 'return' | undefined =>
    settings.testPath === null && [400, 404, 405, 406, 410].includes(status) ? 'return' : undefined;
  await using response = await client.send({ ...request, onStatus }, signal);
  const ms = Math.round((performance.now() - startedAt) * 10) / 10;
  const { status } = response;
  const type = response.headers.get('content-type');
  const judged = status < 400;
  return {
    ok: true,
    checks: [
      passed('reach', `${settings.baseUrl.host} answers`, ms),
      passed('tls', tlsDetail(settings)),
      passed(
        'auth',
        judged
          ? `${authDetail(settings)}; status ${status} at ${plain(url.pathname, 100)}`
          : `not judged: status ${status} at ${plain(url.pathname, 100)}, which is usual for a base address; a stream or test_path shows it`,
      ),
      passed('format', type === null ? 'the answer names no content type' : plain(type, 80)),
      passed('rate limits', limitsDetail(settings, client)),
    ],
    latency_ms: ms,
    warnings: [...warnings(settings), ...client.notices()],
  };
}

/** How far it came, told by the failure's code. */
const stages: readonly { readonly name: string; readonly codes: readonly ErrorCode[] }[] = [
  {
    name: 'reach',
    codes: ['host_unreachable', 'host_not_allowed', 'timeout', 'connection_lost', 'internal'],
  },
  { name: 'tls', codes: ['tls_failed'] },
  { name: 'auth', codes: ['auth_failed', 'permission_denied', 'secret_missing', 'secret_refused'] },
  { name: 'rate limits', codes: ['rate_limited'] },
  { name: 'path', codes: ['not_found_at_source'] },
  { name: 'answer', codes: ['source_failed', 'response_invalid', 'pagination_loop'] },
];

function fails(
  { settings, client }: RestContext,
  error: MillraceError,
  { asked, ms }: { readonly asked: Stream | undefined; readonly ms: number },
): CheckReport {
  const failedAt = stages.findIndex(({ codes }) => codes.includes(error.code));
  const stage = stages[failedAt];
  const passedStages: Readonly<Record<string, string>> = {
    reach: `${settings.baseUrl.host} answers`,
    tls: tlsDetail(settings),
    auth: authDetail(settings),
  };
  const before = stages
    .slice(0, failedAt === -1 ? stages.length : failedAt)
    .flatMap(({ name }) => (passedStages[name] === undefined ? [] : [passed(name, passedStages[name])]));
  const name = stage?.name ?? (asked === undefined ? 'request' : `stream ${asked.name}`);
  return {
    ok: false,
    checks: [...before, { name, ok: false, detail: error.message, ms: Math.round(ms) }],
    warnings: [...warnings(settings), ...client.notices()],
    error: error.toView(),
  };
}

function declared(settings: RestSettings, stream: Stream): Check {
  const problem = problemOf(settings, stream);
  const detail =
    problem?.message ??
    (stream.rest?.parent === undefined
      ? 'declared; preview_stream asks for it'
      : `declared; asked for once for each row of ${stream.rest.parent.stream}`);
  return { name: `stream ${stream.name}`, ok: problem === null, detail, ms: 0 };
}

/** What can be wrong with a declaration that nobody asked the API about. */
function problemOf(settings: RestSettings, stream: Stream): MillraceError | null {
  try {
    const plan = planStream(settings, stream);
    addressOf(settings.baseUrl, plan.path);
    for (const text of expressionsOf(plan)) expression(text);
    return null;
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
}

function expressionsOf({ records, pagination, responses }: StreamPlan): readonly string[] {
  const texts = [
    records,
    ...('next' in pagination ? [pagination.next] : []),
    ...('has_more' in pagination ? [pagination.has_more] : []),
    ...responses.flatMap(({ when, message }) => [when, message]),
  ];
  return texts.filter((text) => typeof text === 'string');
}

function passed(name: string, detail: string, ms = 0): Check {
  return { name, ok: true, detail, ms: Math.round(ms) };
}

function tlsDetail({ baseUrl }: RestSettings): string {
  return baseUrl.protocol === 'https:' ? 'the connection is encrypted' : 'the connection is not encrypted';
}

function authDetail({ auth }: RestSettings): string {
  switch (auth.type) {
    case 'none':
      return 'no credentials are sent, and none were asked for';
    case 'bearer':
      return 'the bearer token was accepted';
    case 'api_key':
      return `the key in ${auth.in === 'header' ? 'header' : 'parameter'} "${plain(auth.name, 60)}" was accepted`;
    case 'basic':
      return 'user and password were accepted';
    case 'headers':
      return `the headers ${Object.keys(auth.headers)
        .map((name) => plain(name, 40))
        .join(', ')} were accepted`;
    case 'oauth2_client_credentials':
    case 'oauth2_refresh_token':
      return 'a token was fetched and accepted';
    default:
      throw auth satisfies never;
  }
}

function limitsDetail({ rateLimit }: RestSettings, client: HttpClient): string {
  const own =
    rateLimit.requestsPerSecond === undefined
      ? `${rateLimit.concurrency} requests at one time, as fast as they are answered`
      : `${rateLimit.requestsPerSecond} requests a second, ${rateLimit.concurrency} at one time`;
  const said = client.limits;
  if (said === null) return `${own}; the API says nothing of its own limits`;
  const parts = [
    ...(said.limit === undefined ? [] : [`limit ${said.limit}`]),
    ...(said.remaining === undefined ? [] : [`${said.remaining} left`]),
    ...(said.resetSeconds === undefined ? [] : [`new ones in ${Math.ceil(said.resetSeconds)} s`]),
  ];
  return `${own}; the API says: ${parts.join(', ')}`;
}

function warnings({ baseUrl, auth }: RestSettings): readonly string[] {
  if (baseUrl.protocol === 'https:' || auth.type === 'none') return [];
  return ['Credentials travel unencrypted: base_url begins with http://. Use https:// where the API has it.'];
}
