import type { Agent } from 'undici';
import { MillraceError } from '../../../core/errors.ts';
import type { HostServices, Release, TurnLimits } from '../../connector.ts';
import type { Credentials } from '../auth/authenticator.ts';
import type { AddressRules } from './addresses.ts';
import { holdsKey, isEchoed, isKeyParam, withoutParams } from './bare.ts';
import type { Cleaner } from './clean.ts';
import type { HttpRequest } from './client.ts';
import { type Answer, type ExchangeLimits, exchange } from './exchange.ts';

/** What a request may take along, and how far. */
export interface Journey {
  readonly request: HttpRequest;
  /** The only origin that hears who we are; null: the request carries all it needs itself, and nothing is followed. */
  readonly home: string | null;
  /** The connector's own headers. */
  readonly headers: Readonly<Record<string, string>>;
  readonly credentials: Credentials;
}

export interface Road {
  readonly dispatcher: Agent;
  readonly rules: AddressRules;
  readonly turn: HostServices['turn'];
  readonly rateLimit: TurnLimits;
  /** How long somebody still waits for an answer. */
  readonly patienceMs: () => number;
  readonly limits: ExchangeLimits;
  readonly cleaner: Cleaner;
  readonly notice: (sentence: string) => void;
}

/** The last answer of the way there. Its turn is held. */
export interface Arrival {
  readonly answer: Answer;
  /** Without credentials in its query. */
  readonly url: URL;
  /** Whether the credentials went along to this one. */
  readonly atHome: boolean;
  readonly release: Release;
}

const HOPS_MAX = 5;

/**
 * Sends a request and follows where it is sent on to: each URL judged, each hop in its turn, credentials and the
 * connector's headers at home only. Throws what the exchange throws; `host_not_allowed`, `response_invalid`.
 */
export async function travel(journey: Journey, road: Road, signal: AbortSignal): Promise<Arrival> {
  let leg: Leg = {
    url: withoutHash(journey.request.url),
    method: journey.request.method,
    body: journey.request.body,
  };
  for (let hop = 0; ; hop += 1) {
    const arrival = await go(leg, { journey, road }, signal);
    const location = journey.home === null ? null : redirection(arrival.answer);
    if (location === null) return arrival;
    arrival.answer.discard();
    arrival.release();
    if (hop === HOPS_MAX) throw tooFar(road.cleaner.showUrl(journey.request.url));
    leg = nextLeg(leg, { location, status: arrival.answer.status, journey, road });
  }
}

interface Leg {
  readonly url: URL;
  readonly method: string;
  readonly body: string | undefined;
}

async function go(
  { url, method, body }: Leg,
  { journey, road }: { readonly journey: Journey; readonly road: Road },
  signal: AbortSignal,
): Promise<Arrival> {
  road.rules.assertUrl(url);
  const atHome = url.origin === journey.home;
  const { headers, query } = atHome ? journey.credentials : { headers: {}, query: {} };
  const own = atHome || journey.home === null ? [journey.headers, journey.request.headers] : [];
  const sent = merged([USUAL, ...own, headers]);
  if (body === undefined) delete sent['content-type'];
  const target = new URL(url);
  for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value);
  const limits = { ...road.rateLimit, withinMs: road.patienceMs() };
  const release = await road.turn(url.host, limits, signal);
  try {
    const place = road.cleaner.place(method, url);
    const exact = { url: target, method, headers: sent, body, place };
    const answer = await exchange(road.dispatcher, exact, road.limits, signal);
    return { answer, url, atHome, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** Some APIs answer nobody who does not say who asks. */
const USUAL = { 'user-agent': 'Millrace', accept: '*/*' };

/** Later ones win, in whatever case they were written. */
function merged(all: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const sent: Record<string, string> = {};
  for (const headers of all) for (const name in headers) sent[name.toLowerCase()] = headers[name] ?? '';
  return sent;
}

function redirection({ status, headers }: Answer): string | null {
  return [301, 302, 303, 307, 308].includes(status) ? headers.get('location') : null;
}

interface Onward {
  readonly location: string;
  readonly status: number;
  readonly journey: Journey;
  readonly road: Road;
}

function nextLeg({ url, method, body }: Leg, { location, status, journey, road }: Onward): Leg {
  const given = URL.parse(location, url.href);
  const from = road.cleaner.showUrl(url);
  if (given === null) {
    throw new MillraceError('response_invalid', `${from} sends on to something that is no URL.`, {
      hint: "Ask the API's makers, or correct base_url and the path of the stream.",
    });
  }
  given.hash = '';
  const isKey = given.origin === journey.home ? isKeyParam : holdsKey;
  const next = withoutParams(
    given,
    (name, value) => isKey(journey.credentials, name, value) || isEchoed(road.cleaner, name, value),
  );
  const to = road.cleaner.showUrl(next);
  if (url.protocol === 'https:' && next.protocol === 'http:') {
    throw new MillraceError('host_not_allowed', `${from} sends on to ${to}, which is not encrypted.`, {
      hint: 'If that is meant, set base_url to that address.',
      who: 'assistant',
    });
  }
  // As browsers do (Fetch standard, 4.4): what was asked with POST is got with GET, unless the server insists.
  const keeps = status === 307 || status === 308 || method === 'GET' || method === 'HEAD';
  if (next.origin !== url.origin) {
    if (keeps && body !== undefined) {
      throw new MillraceError('host_not_allowed', `${from} sends the request's body on to ${next.host}.`, {
        hint: `If that is meant, set base_url to ${next.origin}.`,
        who: 'assistant',
      });
    }
    road.notice(
      `${from} sends on to ${next.origin}; credentials do not go along. If the API has moved there, set base_url to it.`,
    );
  }
  return keeps ? { url: next, method, body } : { url: next, method: 'GET', body: undefined };
}

function withoutHash(url: URL): URL {
  const plain = new URL(url);
  plain.hash = '';
  return plain;
}

function tooFar(place: string): MillraceError {
  return new MillraceError('response_invalid', `${place} sends on more than ${HOPS_MAX} times.`, {
    hint: 'Open the URL in a browser and set base_url and path to where it ends.',
    who: 'assistant',
  });
}
