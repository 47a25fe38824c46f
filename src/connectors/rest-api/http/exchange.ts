import type { Agent, Dispatcher } from 'undici';
import { ACCEPT_ENCODING, assertLength, readBody } from './body.ts';
import type { Place } from './clean.ts';
import { classify } from './failures.ts';

/** One request to one URL: no redirect followed, nothing sent again. */
export interface Exchange {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** The URL as an error may show it. */
  readonly place: Place;
}

export interface ExchangeLimits {
  /** Until the answer begins, and between two pieces of it. */
  readonly silenceMs: number;
  /** For the whole body, the time its reader takes not counted. */
  readonly bodyMs: number;
  readonly maxBytes: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Decompressed and bounded; read once, and to its end or to `return`. */
  readonly body: AsyncGenerator<Uint8Array, void, void>;
  /** Ends the body unread; its connection with it, unless there was nothing to come. */
  discard(): void;
}

/** Sends it and waits for the head of the answer. Throws what undici throws, or the reason of the signal. */
export async function exchange(
  dispatcher: Agent,
  { url, method, headers, body, place }: Exchange,
  limits: ExchangeLimits,
  signal: AbortSignal,
): Promise<Answer> {
  signal.throwIfAborted();
  const answer = await dispatcher.request({
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method: method as Dispatcher.HttpMethod,
    headers: { 'accept-encoding': ACCEPT_ENCODING, ...headers },
    body: body ?? null,
    signal,
    headersTimeout: limits.silenceMs,
    bodyTimeout: limits.silenceMs,
  });
  // Listened to from now on: a body that breaks while nobody reads it yet would end the process.
  answer.body.on('error', () => undefined);
  const head = toHeaders(answer.headers);
  const options = { maxBytes: limits.maxBytes, place };
  const hasBody = method !== 'HEAD';
  try {
    if (hasBody) assertLength(head.get('content-length'), options);
  } catch (error) {
    answer.body.destroy();
    throw classify(error, place);
  }
  return {
    status: answer.statusCode,
    headers: head,
    body: readBody(answer.body, {
      ...options,
      encoding: hasBody ? head.get('content-encoding') : null,
      waitMs: limits.bodyMs,
    }),
    discard: () => void answer.body.dump({ limit: DISCARD_BYTES }).catch(() => undefined),
  };
}

/** So much is read off a connection so that it can be used again; what is longer costs more than a new one. */
const DISCARD_BYTES = 65_536;

function toHeaders(raw: Readonly<Record<string, string | string[] | undefined>>): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(raw))
    for (const one of typeof value === 'string' ? [value] : (value ?? [])) headers.append(name, one);
  return headers;
}
