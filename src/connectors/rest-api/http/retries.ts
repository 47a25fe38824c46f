import type { MillraceError } from '../../../core/errors.ts';
import type { RateLimits, Retries } from './client.ts';

/** Thrown by who reads an answer that says "not now" in its body: the request is sent again, and fails as `error` in the end. */
export class SendAgain extends Error {
  override readonly name = 'SendAgain';
  readonly error: MillraceError;

  constructor(error: MillraceError) {
    super(error.message);
    this.error = error;
  }
}

/** Three more attempts, over a few seconds, and five minutes where the server says when to come back. */
export const RETRIES: Retries = { times: 3, backoffMs: [500, 30_000], waitMs: 300_000 };

/** Statuses that another attempt may not get. 501 and 505 will not change; 52x are those of proxies before an origin. */
export function isPassing(status: number): boolean {
  return (
    status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505)
  );
}

/** Whether the server counts requests and has had enough: some say so with 403 and an empty budget. */
export function isRateLimited(status: number, headers: Headers): boolean {
  if (status === 429) return true;
  return status === 403 && (headers.has('retry-after') || rateLimitsOf(headers, 0)?.remaining === 0);
}

/** When an answer was written, by the clock of who wrote it, which is that of all dates in it; `now` where it does not say. */
export function serverTime(headers: Pick<Headers, 'get'>, now: number): number {
  const said = Date.parse(headers.get('date') ?? '');
  return Number.isNaN(said) ? now : said;
}

/** How long `Retry-After` asks to wait, in milliseconds: seconds or a date; null when it says nothing readable. */
export function retryAfterMs(headers: Headers, now: number): number | null {
  const text = headers.get('retry-after')?.trim() ?? '';
  if (/^\d{1,10}(\.\d+)?$/.test(text)) return Math.ceil(Number(text) * 1000);
  // Only what looks like a date: `Date.parse` takes "-5" for May 2001.
  const at = /[a-z]{3}/i.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, at - serverTime(headers, now));
}

/** `RateLimit: "default";r=5;t=30`, `RateLimit-Remaining` and its `X-` forms; null when there is none. `now` in ms. */
export function rateLimitsOf(headers: Headers, now: number): RateLimits | null {
  if (![...headers.keys()].some((name) => name.includes('rate'))) return null;
  const combined = headers.get('ratelimit') ?? '';
  const policy = headers.get('ratelimit-policy') ?? '';
  const limit = first(headers, 'limit') ?? parameter(policy, 'q') ?? parameter(combined, 'limit');
  const remaining =
    first(headers, 'remaining') ?? parameter(combined, 'r') ?? parameter(combined, 'remaining');
  const reset = first(headers, 'reset') ?? parameter(combined, 't') ?? parameter(combined, 'reset');
  if (limit === null && remaining === null && reset === null) return null;
  return {
    ...(limit === null ? {} : { limit }),
    ...(remaining === null ? {} : { remaining }),
    ...(reset === null ? {} : { resetSeconds: secondsUntil(reset, serverTime(headers, now)) }),
  };
}

/** Seconds from now in the standard, but many send a time: in seconds or milliseconds since 1970. */
function secondsUntil(reset: number, now: number): number {
  if (reset > 1e11) return Math.max(0, (reset - now) / 1000);
  if (reset > 1e9) return Math.max(0, reset - now / 1000);
  return Math.max(0, reset);
}

function first(headers: Headers, name: string): number | null {
  for (const prefix of ['ratelimit-', 'x-ratelimit-', 'x-rate-limit-']) {
    const text = headers.get(`${prefix}${name}`);
    const match = text === null ? null : /^\s*(\d{1,15}(?:\.\d+)?)/.exec(text);
    if (match) return Number(match[1]);
  }
  return null;
}

function parameter(text: string, name: string): number | null {
  const match = new RegExp(`(?:^|[;,\\s])${name}=(\\d{1,15})`).exec(text);
  return match ? Number(match[1]) : null;
}
