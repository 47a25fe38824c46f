import { z } from 'zod';
import { MillraceError } from '../../core/errors.ts';
import { isSecretName } from '../../core/redact.ts';
import type { PaginationConfig, ParamValue, ResponseRule } from '../../core/rest.ts';
import {
  headersSchema,
  headerValue,
  oneNext,
  paginationSchema,
  paramsSchema,
  responsesSchema,
  secretInQuery,
} from '../../core/rest-schema.ts';
import type { TurnLimits } from '../connector.ts';

const secret = z.string().min(1).max(20_000);
const text = z.string().min(1).max(2_000);

/** An address without credentials. One made of references is judged once they are filled in. */
const address = z
  .string()
  .min(1)
  .max(2_000)
  .superRefine((given, context) => {
    const problem = given.includes('${') ? credentialIn(given) : addressProblem(given);
    if (problem !== null) context.addIssue({ code: 'custom', message: problem });
  });

const oauthClient = {
  token_url: address.describe('Where tokens come from, e.g. "https://auth.example.com/oauth/token"'),
  client_id: text,
  scope: z.string().max(2_000).optional().describe('e.g. "invoices.read"'),
  client_auth: z
    .enum(['basic', 'post'])
    .optional()
    .describe('How the client proves itself at token_url: HTTP basic (default) or fields of the form.'),
};

const auth = z
  .discriminatedUnion('type', [
    z.strictObject({ type: z.literal('none') }),
    z
      .strictObject({ type: z.literal('bearer'), token: secret })
      .describe('Authorization: Bearer <token>; token best as "${env:MILLRACE_API_TOKEN}"'),
    z
      .strictObject({
        type: z.literal('api_key'),
        name: z.string().min(1).max(100).describe('e.g. "X-Api-Key" or "api_key"'),
        value: secret,
        in: z.enum(['header', 'query']),
      })
      .describe('One header or one parameter that carries a key'),
    z
      .strictObject({
        type: z.literal('basic'),
        username: z.string().max(20_000),
        password: z.string().max(20_000),
      })
      .describe('HTTP basic; some APIs want the key as username and "" as password'),
    z
      .strictObject({
        type: z.literal('headers'),
        headers: z.record(z.string().min(1).max(100), headerValue),
      })
      .describe('Headers that are credentials: {"Authorization": "Token ${env:MILLRACE_TOKEN}"}'),
    z
      .strictObject({
        type: z.literal('oauth2_client_credentials'),
        ...oauthClient,
        client_secret: secret,
        audience: text.optional(),
      })
      .describe('A token is fetched, kept and renewed'),
    z
      .strictObject({
        type: z.literal('oauth2_refresh_token'),
        ...oauthClient,
        client_secret: secret.optional(),
        refresh_token: secret,
      })
      .describe('Access tokens from a refresh token; a rotated one is kept'),
  ])
  .describe('How requests prove who sends them. Secrets as references: "${env:MILLRACE_API_TOKEN}".');

/** The `config` of a connector of type `rest_api` (contract §3). */
export const restConfig = z
  .strictObject({
    base_url: address.describe('Where paths begin, e.g. "https://api.example.com/v2". No credentials in it.'),
    auth: auth.optional(),
    headers: headersSchema
      .optional()
      .describe('Sent with every request, e.g. {"Accept": "application/vnd.github+json"}.'),
    params: paramsSchema.optional().describe('In the query string of every request, e.g. {"version": 2}.'),
    pagination: paginationSchema.optional().describe('For streams that declare none; "auto" when absent.'),
    rate_limit: z
      .strictObject({
        requests_per_second: z.number().min(0.001).max(10_000).optional(),
        concurrency: z.int().min(1).max(100).optional(),
      })
      .optional()
      .describe(
        'Shared by all runs; 4 requests at one time when absent, as fast as they are answered. What the API says about its limits is heeded anyway.',
      ),
    timeout_ms: z
      .int()
      .min(100)
      .max(3_600_000)
      .optional()
      .describe('Longest wait for an answer to begin, and for more of it to come; 30000 when absent.'),
    max_page_bytes: z
      .int()
      .min(1_024)
      .max(1_000_000_000_000)
      .optional()
      .describe('Bytes of one answer at most, unpacked; 1073741824 when absent.'),
    responses: responsesSchema.optional(),
    test_path: z
      .string()
      .max(2_000)
      .regex(/^\/(?![/\\])[^\\#\s]*$/, 'begins with one "/", e.g. "/v2/me"')
      .optional()
      .describe('What test_connector asks for while there are no streams; "/" of base_url when absent.'),
    openapi: z
      .string()
      .min(1)
      .max(2_000_000)
      .optional()
      .describe(
        'An OpenAPI 3 document for discover_streams: its URL, a path such as "/openapi.json", or its text, in JSON or YAML.',
      ),
    ca: z
      .string()
      .max(200_000)
      .optional()
      .describe(
        'PEM text of the authority that signed the server certificate, when the system does not know it.',
      ),
    proxy_url: z
      .string()
      .min(1)
      .max(2_000)
      .optional()
      .describe(
        'HTTP proxy, e.g. "http://proxy.example.com:3128"; that of the environment (HTTPS_PROXY) when absent.',
      ),
  })
  .superRefine((config, context) => {
    const refuse = (path: readonly string[], message: string): void =>
      context.addIssue({ code: 'custom', path: [...path], message });
    if (config.pagination?.type === 'cursor') oneNext(config.pagination, refuse);
    for (const name of Object.keys(config.params ?? {})) {
      if (isSecretName(name)) refuse(['params', name], `is a credential: ${asQueryKey(name)}`);
    }
    if (config.openapi !== undefined && /^[a-z]+:\/\//i.test(config.openapi)) {
      const problem = credentialIn(config.openapi);
      if (problem !== null) refuse(['openapi'], problem);
    }
  });

/** A validated config, secrets in clear. */
export type RestConfig = z.infer<typeof restConfig>;

/** `auth`, secrets in clear. */
export type AuthConfig = NonNullable<RestConfig['auth']>;

/** The fields that hold credentials. A basic username is one: many APIs take their key there, with an empty password. */
export const restSecrets: readonly string[] = [
  'auth.token',
  'auth.value',
  'auth.username',
  'auth.password',
  'auth.client_secret',
  'auth.refresh_token',
  'auth.headers.*',
];

/** The addresses that credentials are sent to, a proxy's among them: another one asks for them again. */
export const restBoundTo: readonly string[] = ['base_url', 'auth.token_url', 'proxy_url'];

/** How to speak to the API, with nothing left open. Times in milliseconds. */
export interface RestSettings {
  /** Without query, fragment and credentials; its path ends without a slash, `/` alone aside. */
  readonly baseUrl: URL;
  readonly auth: AuthConfig;
  readonly headers: Readonly<Record<string, string>>;
  readonly params: Readonly<Record<string, ParamValue>>;
  /** For streams that declare none. */
  readonly pagination: PaginationConfig;
  readonly rateLimit: TurnLimits;
  readonly timeoutMs: number;
  readonly maxPageBytes: number;
  readonly responses: readonly ResponseRule[];
  readonly testPath: string | null;
  readonly openapi: string | null;
  readonly proxy: string | undefined;
  /** PEM text of an authority trusted besides the system's. */
  readonly ca: string | undefined;
}

/** Fills what was left open. Throws `invalid_config`, never with a part of a credential. */
export function settingsOf(config: RestConfig): RestSettings {
  if (config.auth !== undefined && 'token_url' in config.auth)
    urlField('auth.token_url', config.auth.token_url);
  return {
    baseUrl: urlField('base_url', config.base_url),
    auth: config.auth ?? { type: 'none' },
    headers: config.headers ?? {},
    params: (config.params ?? {}) as Readonly<Record<string, ParamValue>>,
    pagination: config.pagination ?? { type: 'auto' },
    rateLimit: limitsOf(config.rate_limit ?? {}),
    timeoutMs: config.timeout_ms ?? 30_000,
    maxPageBytes: config.max_page_bytes ?? 1_073_741_824,
    responses: config.responses ?? [],
    testPath: config.test_path ?? null,
    openapi: config.openapi ?? null,
    proxy: config.proxy_url === undefined ? undefined : proxyOf(config.proxy_url),
    ca: config.ca,
  };
}

/**
 * The address of a path below the base: joined as text, so that `/orders` below `https://api.example.com/v2` is
 * `/v2/orders`. Throws `invalid_config` when the path would lead to another host.
 */
export function addressOf(baseUrl: URL, path: string): URL {
  const url = URL.parse(`${baseUrl.origin}${baseUrl.pathname.replace(/\/$/, '')}${path}`);
  if (url !== null && url.origin === baseUrl.origin && path.startsWith('/')) return url;
  throw new MillraceError('invalid_config', 'The path does not stand below base_url.', {
    hint: 'Write it as "/v1/orders"; the host comes from base_url alone.',
  });
}

function urlField(field: string, given: string): URL {
  const problem = addressProblem(given);
  const url = problem === null ? URL.parse(given) : null;
  if (url !== null) {
    if (url.pathname !== '/') url.pathname = url.pathname.replace(/\/+$/, '');
    return url;
  }
  throw new MillraceError('invalid_config', `"${field}" cannot be used: it ${problem ?? 'is no URL'}.`, {
    hint: 'Write it as "https://api.example.com/v2"; credentials go into "auth", parameters into "params".',
  });
}

/** What is wrong with an address, as a clause; null when nothing is. Says nothing of what it holds. */
function addressProblem(given: string): string | null {
  const url = URL.parse(given);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.hostname === '')
    return 'is no address such as "https://api.example.com/v2"';
  const held = credentialIn(given);
  if (held !== null) return held;
  if (url.search !== '' || url.hash !== '')
    return 'ends before "?" and "#"; parameters go into "params" of the connector or "rest.params" of a stream';
  return null;
}

/** Credentials in a URL end in logs, histories and Referer headers of others: refused, with the way to do it. */
function credentialIn(given: string): string | null {
  const authority = /^[a-z][a-z0-9+.-]*:[/\\]{2}([^/?#\\]*)/i.exec(given)?.[1] ?? '';
  if (authority.includes('@'))
    return 'holds a credential before "@": write {"auth": {"type": "basic", "username": "…", "password": "${env:MILLRACE_API_PASSWORD}"}} instead';
  if (!secretInQuery(given)) return null;
  const name = [...(URL.parse(given)?.searchParams.keys() ?? [])].find(isSecretName) ?? 'api_key';
  return `holds a credential: ${asQueryKey(name)}`;
}

function asQueryKey(name: string): string {
  return `write {"auth": {"type": "api_key", "in": "query", "name": ${JSON.stringify(name.slice(0, 60))}, "value": "\${env:MILLRACE_API_KEY}"}} instead`;
}

function limitsOf(given: NonNullable<RestConfig['rate_limit']>): TurnLimits {
  const { requests_per_second: perSecond, concurrency = 4 } = given;
  return { ...(perSecond === undefined ? {} : { requestsPerSecond: perSecond }), concurrency };
}

function proxyOf(given: string): string {
  const url = URL.parse(given);
  if (url !== null && (url.protocol === 'http:' || url.protocol === 'https:')) return url.href;
  throw new MillraceError('invalid_config', '"proxy_url" is no address of an HTTP proxy.', {
    hint: 'Write it as "http://proxy.example.com:3128".',
  });
}
