import { createHash } from 'node:crypto';
import * as oauth from 'oauth4webapi';
import { MillraceError } from '../../../core/errors.ts';
import type { KeptSecrets } from '../../connector.ts';
import type { Cleaner } from '../http/clean.ts';
import type { Authenticator, Credentials } from './authenticator.ts';
import type { ClientCredentials, RefreshToken } from './config.ts';
import { describeRefusal, isUnknownClient } from './refusal.ts';

/** Sends one token request by the rules of the client: judged address, no redirects, in its turn. */
export type TokenFetch = (request: TokenRequest, signal: AbortSignal) => Promise<Response>;

export interface TokenRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** A refresh token that rotates is spent by the first request that arrives: that one is never sent twice. */
  readonly idempotent: boolean;
}

interface OauthParts {
  readonly tokenFetch: TokenFetch;
  readonly secrets: KeptSecrets;
  readonly cleaner: Cleaner;
  readonly now: () => number;
}

/** What is kept, sealed, between runs and shared between processes. */
interface Tokens {
  readonly access: string;
  /** Milliseconds since 1970; null where the server did not say. */
  readonly expires: number | null;
  /** The newest refresh token; null where there is none. */
  readonly refresh: string | null;
}

/** A token is not used in its last moments, lest it end on its way: a tenth of its life, at most half a minute. */
const MARGIN = { share: 0.1, mostMs: 30_000 };
/** The longest that one token request may take with all its attempts. */
const REQUEST_MS = 60_000;

/**
 * Access tokens of OAuth 2. A new one is got by one holder of the lock at a time, in all processes, and stored before it
 * is used: of two that refresh with a rotating token each would revoke the other's (airbyte-python-cdk#1055), and one
 * that dies between use and store would have thrown the key away. Kept tokens spare a request a run, which some servers bill.
 */
export function createOauth(config: ClientCredentials | RefreshToken, parts: OauthParts): Authenticator {
  const { secrets, cleaner, now } = parts;
  const field = `oauth/${grantOf(config)}`;
  const request = createTokenRequest(config, parts);
  let tokens: Tokens | null = null;
  /** Got, and not stored because that failed: the only copy of a rotated token. */
  let unsaved: Tokens | null = null;
  let pending: { readonly work: Promise<Tokens>; readonly signal: AbortSignal } | undefined;
  cleaner.add(...secretsOf(config));

  const adopt = (found: Tokens): Tokens => {
    cleaner.add(found.access, ...(found.refresh === null ? [] : [found.refresh]));
    tokens = found;
    return found;
  };

  const kept = async (): Promise<Tokens | null> => {
    const found = parseTokens(await secrets.load(field));
    return found === null ? null : adopt(found);
  };

  /** The tokens while they hold: not ended, and not the one that the API has just refused. */
  const good = (found: Tokens | null, refused: string | null): Tokens | null =>
    found !== null && found.access !== refused && (found.expires === null || found.expires > now())
      ? found
      : null;

  const obtain = async (refused: string | null, signal: AbortSignal): Promise<Tokens> => {
    const stored = good(await kept(), refused);
    if (stored) return stored;
    const unlock = await secrets.lock(field, signal);
    try {
      if (unsaved === null) {
        // Somebody else may have been here while we waited.
        const newest = await kept();
        const meanwhile = good(newest, refused);
        if (meanwhile) return meanwhile;
        // Not ended by whoever waits for it: an answer that nobody takes would leave us with a token that is spent.
        const answer = await request(newest?.refresh ?? null, AbortSignal.timeout(REQUEST_MS));
        unsaved = toTokens(answer, { before: newest, now: now() });
      }
      const fresh = unsaved;
      await secrets.save(field, JSON.stringify(fresh));
      unsaved = null;
      return adopt(fresh);
    } finally {
      unlock();
    }
  };

  /** Requests of one job share what one of them obtains; a signal that ended it for its own caller ends it for no other. */
  const shared = async (refused: string | null, signal: AbortSignal): Promise<Tokens> => {
    for (;;) {
      signal.throwIfAborted();
      const held = good(tokens, refused);
      if (held) return held;
      const mine = pending === undefined;
      pending ??= begin(refused, signal);
      const { work, signal: theirs } = pending;
      try {
        const found = await work;
        // Our own answer is the best there is, also where it ends at once.
        if (mine || good(found, refused)) return found;
      } catch (error) {
        if (!theirs.aborted || signal.aborted) throw error;
      }
    }
  };

  const begin = (refused: string | null, signal: AbortSignal): NonNullable<typeof pending> => {
    const work = obtain(refused, signal).finally(() => {
      pending = undefined;
    });
    work.catch(() => undefined);
    return { work, signal };
  };

  return {
    async credentials(signal) {
      const { access } = await shared(null, signal);
      return { headers: { authorization: `Bearer ${access}` }, query: {} };
    },
    async renew(refused, signal) {
      await shared(bearerOf(refused), signal);
      return true;
    },
  };
}

function bearerOf({ headers }: Credentials): string {
  return (headers['authorization'] ?? '').replace(/^Bearer /, '');
}

type Ask = (refresh: string | null, signal: AbortSignal) => Promise<oauth.TokenEndpointResponse>;

/**
 * The token request of this config. The secret goes by HTTP Basic, which every server has to take (RFC 6749, 2.3.1), and
 * in the body where a server knows no client of that name that way: some take nothing else.
 */
function createTokenRequest(config: ClientCredentials | RefreshToken, parts: OauthParts): Ask {
  const url = parseTokenUrl(config.token_url);
  const server: oauth.AuthorizationServer = { issuer: url.origin, token_endpoint: url.href };
  const client: oauth.Client = { client_id: config.client_id };
  const ways = waysOf(config);
  let works = 0;

  const once: (way: oauth.ClientAuth, refresh: string | null, signal: AbortSignal) => ReturnType<Ask> =
    async (way, refresh, signal) => {
      const idempotent = config.type === 'oauth2_client_credentials';
      const options = {
        // The address rules decide about plain HTTP, and they know about private networks.
        [oauth.allowInsecureRequests]: true,
        [oauth.customFetch]: async (
          _url: string,
          init: oauth.CustomFetchOptions<'POST', URLSearchParams>,
        ) => {
          const { headers, body } = init;
          return tidied(await parts.tokenFetch({ url, headers, body: String(body), idempotent }, signal));
        },
      };
      if (config.type === 'oauth2_client_credentials') {
        const answer = await oauth.clientCredentialsGrantRequest(
          server,
          client,
          way,
          parametersOf(config),
          options,
        );
        return await oauth.processClientCredentialsResponse(server, client, answer);
      }
      const answer = await oauth.refreshTokenGrantRequest(
        server,
        client,
        way,
        refresh ?? config.refresh_token,
        {
          ...options,
          additionalParameters: parametersOf(config),
        },
      );
      return await oauth.processRefreshTokenResponse(server, client, answer);
    };

  return async (refresh, signal) => {
    for (;;) {
      const way = ways[works];
      if (way === undefined) throw new Error('no way to authenticate is left');
      try {
        return await once(way, refresh, signal);
      } catch (error) {
        if (works + 1 < ways.length && isUnknownClient(error)) works += 1;
        else
          throw describeRefusal(error, {
            place: parts.cleaner.showUrl(url),
            clean: parts.cleaner.clean,
            type: config.type,
          });
      }
    }
  };
}

function waysOf({
  client_secret: secret = '',
  client_auth: told,
}: ClientCredentials | RefreshToken): readonly oauth.ClientAuth[] {
  if (secret === '') return [oauth.None()];
  const ways = { basic: oauth.ClientSecretBasic(secret), post: oauth.ClientSecretPost(secret) };
  return told === undefined ? [ways.basic, ways.post] : [ways[told]];
}

function parametersOf(config: ClientCredentials | RefreshToken): Record<string, string> {
  const { scope } = config;
  const audience = config.type === 'oauth2_client_credentials' ? config.audience : undefined;
  return { ...(scope === undefined ? {} : { scope }), ...(audience === undefined ? {} : { audience }) };
}

/**
 * Makes an answer what the library insists on where servers commonly fall short: JSON that is called a page, no
 * `token_type` (bearer is meant), null or an empty text where a member would be left out. An ID token is for who signs
 * people in, and a scope is nothing that we use, so neither is judged: an answer that is thrown away may hold the only
 * copy of a rotated token. Everything else is left to it.
 */
async function tidied(response: Response): Promise<Response> {
  const text = await response.text();
  const body = parseObject(text);
  if (body === null) return new Response(text, response);
  const headers = { 'content-type': 'application/json' };
  if (typeof body['access_token'] !== 'string')
    return new Response(text, { status: response.status, headers });
  const { id_token: _unused, scope: _granted, ...rest } = body;
  const given = Object.entries(rest).filter(([, value]) => value !== null && value !== '');
  const told = { token_type: 'bearer', ...Object.fromEntries(given) };
  return new Response(JSON.stringify(told), { status: 200, headers });
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null; // the library says what is wrong with it
  }
}

function toTokens(
  answer: oauth.TokenEndpointResponse,
  { before, now }: { readonly before: Tokens | null; readonly now: number },
): Tokens {
  const lifeMs = answer.expires_in === undefined ? null : answer.expires_in * 1000;
  return {
    access: answer.access_token,
    expires: lifeMs === null ? null : now + lifeMs - Math.min(MARGIN.mostMs, lifeMs * MARGIN.share),
    // None in the answer means: go on using the old one (RFC 6749, 6).
    refresh: answer.refresh_token ?? before?.refresh ?? null,
  };
}

function parseTokens(text: string | null): Tokens | null {
  const value = text === null ? null : parseObject(text);
  if (value === null || typeof value['access'] !== 'string') return null;
  return {
    access: value['access'],
    expires: typeof value['expires'] === 'number' ? value['expires'] : null,
    refresh: typeof value['refresh'] === 'string' ? value['refresh'] : null,
  };
}

/** What tokens are kept under, and so bound to: those got elsewhere, or before a person signed in anew, are never found. */
function grantOf(config: ClientCredentials | RefreshToken): string {
  const parts =
    config.type === 'oauth2_client_credentials'
      ? [config.client_secret, config.scope ?? '', config.audience ?? '']
      : [config.refresh_token, config.scope ?? ''];
  const text = JSON.stringify([config.type, config.token_url, config.client_id, ...parts]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

function secretsOf(config: ClientCredentials | RefreshToken): readonly string[] {
  const { client_id, client_secret = '' } = config;
  const own = config.type === 'oauth2_refresh_token' ? [config.refresh_token] : [];
  return [client_secret, ...(client_secret === '' ? [] : [`${client_id}:${client_secret}`]), ...own];
}

function parseTokenUrl(text: string): URL {
  const url = URL.parse(text);
  if (url && (url.protocol === 'https:' || url.protocol === 'http:')) return url;
  throw new MillraceError('invalid_config', 'auth.token_url is no https:// or http:// URL.', {
    hint: 'Write it whole: "https://login.example.com/oauth/token".',
  });
}
