import type { HostServices, NetworkRules, TurnLimits } from '../../connector.ts';
import type { AuthConfig } from '../auth/config.ts';
import { createClient } from './conversation.ts';

/**
 * One API as its connector describes it: every request goes to an address that may be reached, says who sends it, waits
 * its turn and is sent again when that can help. Closing it ends all that is under way.
 */
export interface HttpClient extends AsyncDisposable {
  /**
   * Sends one request. A final status of 400 and above is a MillraceError unless `onStatus` takes it. What breaks while
   * the body is read is an error of the body: it is not sent again, for rows of it may have been passed on.
   * Credentials and the connector's headers go to the origin of `baseUrl` and nowhere else, also with a `next` link.
   */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse>;
  /**
   * Sends, and has the answer read by `use`; a body that breaks on the way is asked for again, whole. Throw
   * `SendAgain` in `use` when the body itself asks for that.
   */
  ask<T>(request: HttpRequest, use: (response: HttpResponse) => Promise<T>, signal: AbortSignal): Promise<T>;
  /** The text without any credential of this client: for what a server said and a person will read. */
  clean(text: string): string;
  /** An address that the API has named, as it may be stored: whoever asks for it is told again. */
  withoutCredentials(url: URL): URL;
  /** What the API last said of its limits; null when it said nothing. */
  readonly limits: RateLimits | null;
  /** What a run should tell: waits the server asked for, redirects. Sentences, each once. */
  notices(): readonly string[];
}

export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  /** The stream's own: they go to the origin of `baseUrl` only. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Whether sending it twice does no more than sending it once. Others are never sent again once they left. */
  readonly idempotent: boolean;
  /** The stream's response rules on a status: `return` gives even an error to the caller. Undefined: the usual. */
  readonly onStatus?: (status: number) => StatusRule | undefined;
}

export type StatusRule = 'retry' | 'return' | 'fail';

/** The answer. Dispose it, or read it to the end: until then it holds one of the host's turns. */
export interface HttpResponse extends AsyncDisposable {
  readonly status: number;
  /** Where it came from, after redirects. */
  readonly url: URL;
  readonly headers: { get(name: string): string | null };
  /** Decompressed, and at most `maxPageBytes` of it. Read once. */
  readonly body: AsyncIterable<Uint8Array>;
  /** The whole body, in the charset of its type; above so many bytes `response_invalid`. */
  text(maxBytes: number): Promise<string>;
}

/** What `RateLimit-*`, `X-RateLimit-*` said. */
export interface RateLimits {
  readonly limit?: number;
  readonly remaining?: number;
  /** Seconds until there are more. */
  readonly resetSeconds?: number;
}

export interface ClientSettings {
  readonly baseUrl: URL;
  readonly auth: AuthConfig;
  readonly headers: Readonly<Record<string, string>>;
  readonly rateLimit: TurnLimits;
  /** Longest wait for an answer to begin, and for each next piece of it. */
  readonly timeoutMs: number;
  readonly maxPageBytes: number;
  readonly network: NetworkRules;
  /** `http://proxy:3128`; absent: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the environment. */
  readonly proxy?: string | undefined;
  /** PEM text of authorities trusted besides the system's. */
  readonly ca?: string | undefined;
  readonly retries?: Partial<Retries> | undefined;
  /** Nobody waits for an answer after this moment of `performance.now()`. Absent: however long it takes. */
  readonly answerBy?: number | undefined;
}

export interface Retries {
  /** How often a request is sent again. */
  readonly times: number;
  /** First and longest wait, before jitter. */
  readonly backoffMs: readonly [number, number];
  /** The most one request waits in all because a server asked for it. */
  readonly waitMs: number;
}

/** The client of one opened connector; nothing connects before the first request. */
export function openClient(settings: ClientSettings, host: HostServices): HttpClient {
  return createClient(settings, host);
}
