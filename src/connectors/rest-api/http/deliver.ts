import { setTimeout as sleep } from 'node:timers/promises';
import type { MillraceError } from '../../../core/errors.ts';
import { backoffMs } from '../../../core/retry.ts';
import type { Authenticator, Credentials } from '../auth/authenticator.ts';
import type { Place } from './clean.ts';
import type { HttpRequest, RateLimits, Retries } from './client.ts';
import { classify, neverLeft } from './failures.ts';
import { createResponse, type OpenResponse } from './response.ts';
import { isPassing, isRateLimited, rateLimitsOf, retryAfterMs, SendAgain } from './retries.ts';
import { type Arrival, type Journey, type Road, travel } from './route.ts';
import { refusalOf } from './status.ts';

export interface Parcel<T> {
  readonly request: HttpRequest;
  readonly home: Journey['home'];
  readonly headers: Journey['headers'];
  /** Null: the request says itself who sends it. */
  readonly auth: Authenticator | null;
  /** Reads the answer. A body that breaks in its hands is asked for again. */
  readonly use: (response: OpenResponse) => Promise<T>;
}

export interface Postman {
  readonly road: Road;
  readonly retries: Retries;
  /** Hears what the API says of its limits. */
  readonly onLimits: (limits: RateLimits) => void;
}

/** Sends a request until its answer has been read, or no further attempt can help. */
export async function deliver<T>(parcel: Parcel<T>, postman: Postman, signal: AbortSignal): Promise<T> {
  const { retries } = postman;
  const patience: Patience = { leftMs: retries.waitMs };
  let renewed = false;
  postman.road.cleaner.addHeaders(parcel.request.headers);
  for (let failures = 0; ; ) {
    const credentials = (await parcel.auth?.credentials(signal)) ?? NOBODY;
    const outcome = await attempt(parcel, { ...postman, credentials, patience }, signal);
    if ('value' in outcome) return outcome.value;
    if (outcome.unknown && parcel.auth && !renewed) {
      renewed = true;
      if (await parcel.auth.renew(credentials, signal)) continue;
    }
    failures += 1;
    if (!outcome.again || failures > retries.times) throw outcome.error;
    // The rest that a server asked for runs meanwhile, and the turn waits for what is left of it; one that asked for none
    // gave no leave to come at once.
    await sleep(backoffMs(failures, retries.backoffMs, Math.random), undefined, { signal }).catch(() => {
      throw signal.reason;
    });
  }
}

/** All who were refused together are told the same moment: each comes back at one of its own, up to so much later. */
const JITTER_MS = 1_000;

const NOBODY: Credentials = { headers: {}, query: {} };

/** How long one request may still be made to wait by a server. */
interface Patience {
  leftMs: number;
}

interface Attempt extends Postman {
  readonly credentials: Credentials;
  readonly patience: Patience;
}

interface Failure {
  readonly error: MillraceError;
  /** Whether sending it again is safe, and may help. */
  readonly again: boolean;
  /** The server does not know these credentials. */
  readonly unknown: boolean;
}

async function attempt<T>(
  parcel: Parcel<T>,
  context: Attempt,
  signal: AbortSignal,
): Promise<{ readonly value: T } | Failure> {
  const { request, home, headers } = parcel;
  const { road, credentials } = context;
  const place = road.cleaner.place(request.method, request.url);
  let arrival: Arrival;
  try {
    arrival = await travel({ request, home, headers, credentials }, road, signal);
  } catch (error) {
    signal.throwIfAborted();
    return failed(classify(error, place), request.idempotent || neverLeft(error));
  }
  const { status } = arrival.answer;
  const rule = request.onStatus?.(status);
  if (rule === 'return' || (rule === undefined && status < 400)) {
    return await read(parcel, { arrival, context, place }, signal);
  }
  return await refused(arrival, { rule, context, request }, signal);
}

function failed(error: MillraceError, again: boolean): Failure {
  return { error, again: again && error.retryable, unknown: false };
}

async function read<T>(
  { request, use }: Parcel<T>,
  {
    arrival,
    context,
    place,
  }: { readonly arrival: Arrival; readonly context: Attempt; readonly place: Place },
  signal: AbortSignal,
): Promise<{ readonly value: T } | Failure> {
  const restUntil = performance.now() + restMs(arrival, context);
  const response = createResponse(arrival, place, () =>
    arrival.release(Math.max(0, restUntil - performance.now())),
  );
  try {
    return { value: await use(response) };
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SendAgain) return { ...failed(error.error, true), again: true };
    if (response.broken !== undefined && response.broken === error)
      return failed(classify(error, place), request.idempotent);
    throw error;
  }
}

/** An empty budget with the time when it is filled again: asking before that earns a refusal. */
function restMs({ answer }: Arrival, { road, retries, onLimits }: Attempt): number {
  const limits = rateLimitsOf(answer.headers, Date.now());
  if (limits === null) return 0;
  onLimits(limits);
  if (limits.remaining !== 0 || limits.resetSeconds === undefined) return 0;
  const askedMs = limits.resetSeconds * 1000;
  if (askedMs >= 1000) road.notice(`The API's budget of requests was used up, and its next one waited for.`);
  return Math.min(askedMs, retries.waitMs);
}

async function refused(
  arrival: Arrival,
  {
    rule,
    context,
    request,
  }: { readonly rule: string | undefined; readonly context: Attempt; readonly request: HttpRequest },
  signal: AbortSignal,
): Promise<Failure> {
  const { road, patience } = context;
  const { answer, url, atHome } = arrival;
  const { status, headers } = answer;
  const rateLimited = isRateLimited(status, headers);
  const askedMs = rateLimited || status === 503 ? waitOf(headers) : null;
  const outOfPatience = askedMs !== null && (patience.leftMs <= 0 || askedMs > road.patienceMs());
  const pauseMs =
    askedMs === null ? 0 : Math.min(askedMs + Math.round(Math.random() * JITTER_MS), patience.leftMs);
  if (askedMs !== null && askedMs > patience.leftMs) {
    road.notice(
      `${url.host} asked to wait ${Math.ceil(askedMs / 1000)} s; one request waits ${Math.ceil(context.retries.waitMs / 1000)} s at most.`,
    );
  }
  patience.leftMs -= pauseMs;
  const limits = rateLimitsOf(headers, Date.now());
  if (limits !== null) context.onLimits(limits);
  let said = '';
  try {
    said = await beginning(arrival);
  } finally {
    arrival.release(pauseMs);
  }
  signal.throwIfAborted();
  const error = refusalOf({
    status,
    place: `${request.method} ${road.cleaner.showUrl(url)}`,
    said: road.cleaner.clean(said),
    rateLimited,
    retryAfterMs: askedMs,
    atHome,
  });
  const passing = request.idempotent && (isPassing(status) || rateLimited);
  return {
    error,
    again: rule === 'retry' || (rule === undefined && passing && !outOfPatience),
    unknown: status === 401 && rule === undefined && atHome,
  };
}

function waitOf(headers: Headers): number | null {
  const asked = retryAfterMs(headers, Date.now());
  if (asked !== null) return asked;
  const limits = rateLimitsOf(headers, Date.now());
  return limits?.remaining === 0 && limits.resetSeconds !== undefined ? limits.resetSeconds * 1000 : null;
}

/** So much of a refusal is read, and so much of that is shown. */
const SAID_BYTES_MAX = 16_384;
const SAID_CHARACTERS_MAX = 300;

/** What the server says about it; a body that cannot be read says nothing. */
async function beginning({ answer }: Arrival): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer.body) {
      chunks.push(chunk);
      bytes += chunk.byteLength;
      if (bytes >= SAID_BYTES_MAX) break;
    }
  } catch {
    // The status is the answer; a body that breaks off changes nothing about it.
  }
  const text = new TextDecoder().decode(Buffer.concat(chunks)).replaceAll(/\s+/g, ' ').trim();
  return text.length > SAID_CHARACTERS_MAX ? `${text.slice(0, SAID_CHARACTERS_MAX)}…` : text;
}
