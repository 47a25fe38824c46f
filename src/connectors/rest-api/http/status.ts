import { type ErrorCode, MillraceError } from '../../../core/errors.ts';

export interface Refusal {
  readonly status: number;
  /** Method and URL as they may be shown. */
  readonly place: string;
  /** The beginning of the body, cleaned. */
  readonly said: string;
  readonly rateLimited: boolean;
  /** What `Retry-After` asked for, in ms; null: nothing. */
  readonly retryAfterMs: number | null;
  /** False when a redirect or link led to where credentials do not go. */
  readonly atHome: boolean;
}

/** A status of 400 and above as an error. Pure. */
export function refusalOf(refusal: Refusal): MillraceError {
  const { status, place, said, atHome } = refusal;
  const entry = entryFor(refusal);
  const { code } = entry;
  const hint = `${askedToWait(refusal)}${entry.hint}`;
  const quoted = said === '' ? '' : `: ${said}`;
  const lost = 'Credentials go to the origin of base_url only, and this is another one: set base_url to it.';
  return new MillraceError(code, `${place} was answered with status ${status}${quoted}`, {
    hint: atHome || (status !== 401 && status !== 403) ? hint : lost,
  });
}

interface Entry {
  readonly code: ErrorCode;
  readonly hint: string;
}

function askedToWait({ retryAfterMs }: Refusal): string {
  return retryAfterMs === null ? '' : `The API asks to wait ${Math.ceil(retryAfterMs / 1000)} s. `;
}

function entryFor({ status, rateLimited }: Refusal): Entry {
  if (rateLimited) {
    return {
      code: 'rate_limited',
      hint: `The API asks for fewer requests. Set rate_limit.requests_per_second of the connector to what its documentation grants.`,
    };
  }
  return BY_STATUS[status] ?? (status >= 500 ? FAULT : MISTAKE);
}

const FAULT: Entry = {
  code: 'source_failed',
  hint: 'The API has a fault of its own; the next run goes on from the last checkpoint. If it stays, ask its makers, or ask for smaller pages.',
};

const MISTAKE: Entry = {
  code: 'invalid_config',
  hint: 'The API does not take the request: compare path, method, params and body of the stream with its documentation.',
};

const GONE: Entry = {
  code: 'not_found_at_source',
  hint: 'Check base_url and the path of the stream. Some APIs answer so where the credentials may not look.',
};

const BY_STATUS: Readonly<Record<number, Entry>> = {
  401: {
    code: 'auth_failed',
    hint: 'Correct `auth` of the connector with `update_connector`; test_connector shows whether it holds.',
  },
  403: {
    code: 'permission_denied',
    hint: 'Grant the credentials the right (scope, role) to read this at the API.',
  },
  404: GONE,
  410: GONE,
  407: { code: 'auth_failed', hint: 'The proxy wants credentials: http://user:password@proxy:3128.' },
  408: { code: 'timeout', hint: 'Ask for smaller pages.' },
};
