import { MillraceError } from '../../../core/errors.ts';
import type { HostServices } from '../../connector.ts';
import { createAuthenticator } from '../auth/authenticator.ts';
import type { TokenFetch } from '../auth/oauth.ts';
import { createAddressRules, type Resolve } from './addresses.ts';
import { isEchoed, withoutParams } from './bare.ts';
import { createCleaner } from './clean.ts';
import type { ClientSettings, HttpClient, HttpRequest, RateLimits, StatusRule } from './client.ts';
import { deliver, type Parcel, type Postman } from './deliver.ts';
import { createDispatcher } from './dispatcher.ts';
import { createProxyRule } from './proxy.ts';
import type { OpenResponse } from './response.ts';
import { RETRIES } from './retries.ts';
import type { Road } from './route.ts';

/** A whole answer may take so many times as long as it may be silent. */
const BODY_TIMES = 20;
const CONNECT_MS = 10_000;
/** A token endpoint answers with a few hundred bytes. */
const TOKEN_BYTES_MAX = 1_000_000;

/** The client over its parts. `resolve`: how names become addresses. */
export function createClient(settings: ClientSettings, host: HostServices, resolve?: Resolve): HttpClient {
  const closing = new AbortController();
  const notices = new Set<string>();
  let limits: RateLimits | null = null;
  const cleaner = createCleaner(proxyPassword(settings));
  cleaner.addHeaders(settings.headers);
  const rules = createAddressRules(settings.network, resolve);
  const dispatcher = createDispatcher({
    rules,
    connectMs: Math.min(CONNECT_MS, settings.timeoutMs),
    proxyFor: createProxyRule(settings.proxy, process.env),
    ca: settings.ca,
  });
  const road: Road = {
    dispatcher,
    rules,
    cleaner,
    turn: host.turn,
    rateLimit: settings.rateLimit,
    patienceMs: () => (settings.answerBy ?? Number.POSITIVE_INFINITY) - performance.now(),
    limits: {
      silenceMs: settings.timeoutMs,
      bodyMs: settings.timeoutMs * BODY_TIMES,
      maxBytes: settings.maxPageBytes,
    },
    notice: (sentence) => void notices.add(sentence),
  };
  const postman: Postman = {
    road,
    retries: { ...RETRIES, ...settings.retries },
    onLimits: (said) => {
      limits = said;
    },
  };
  const auth = createAuthenticator(settings.auth, {
    tokenFetch: createTokenFetch(postman),
    secrets: host.secrets,
    cleaner,
    now: Date.now,
  });
  const home = settings.baseUrl.origin;
  const keyParam =
    settings.auth.type === 'api_key' && settings.auth.in === 'query' ? settings.auth.name : null;

  const carry = <T>(request: HttpRequest, use: Parcel<T>['use'], signal: AbortSignal): Promise<T> =>
    deliver(
      { request, home, headers: settings.headers, auth, use },
      postman,
      AbortSignal.any([signal, closing.signal]),
    );

  return {
    send: (request, signal) => carry(request, async (response) => response, signal),
    ask: (request, use, signal) =>
      carry(
        request,
        async (response) => {
          await using open = response;
          return await use(open);
        },
        signal,
      ),
    clean: cleaner.clean,
    withoutCredentials: (url) =>
      withoutParams(url, (name, value) => name === keyParam || isEchoed(cleaner, name, value)),
    get limits() {
      return limits;
    },
    notices: () => [...notices],
    async [Symbol.asyncDispose]() {
      closing.abort(closed());
      await dispatcher.destroy();
    },
  };
}

/** Token requests go as all others do, but carry what they need themselves and are not sent on. */
function createTokenFetch(postman: Postman): TokenFetch {
  const limits = { ...postman.road.limits, maxBytes: TOKEN_BYTES_MAX };
  const road = { ...postman.road, limits };
  return async (request, signal) => {
    const use = async (response: OpenResponse): Promise<Response> => {
      const text = await response.text(TOKEN_BYTES_MAX);
      const type = response.headers.get('content-type') ?? '';
      return new Response(text, { status: response.status, headers: { 'content-type': type } });
    };
    const post = { ...request, method: 'POST', onStatus: tokenRule };
    return await deliver(
      { request: post, home: null, headers: {}, auth: null, use },
      { ...postman, road },
      signal,
    );
  };
}

/** What a token endpoint refuses it explains in the body. Where it asks for patience, nothing has been spent. */
function tokenRule(status: number): StatusRule | undefined {
  if (status === 429) return 'retry';
  return status >= 500 ? undefined : 'return';
}

function proxyPassword({ proxy }: ClientSettings): readonly string[] {
  const password = proxy === undefined ? undefined : URL.parse(proxy)?.password;
  return password ? [password, decodeURIComponent(password)] : [];
}

function closed(): MillraceError {
  return new MillraceError('cancelled', 'The connector was closed.', {
    hint: 'Call again to start it anew.',
  });
}
