import { MillraceError } from '../../../core/errors.ts';
import type { Place } from './clean.ts';

/** Something between us and the answer broke. `place` is the URL as it may be shown. Pure. */
export function classify(error: unknown, place: Place): MillraceError {
  if (error instanceof MillraceError) return error;
  const codes = codesOf(error);
  const known = NETWORK.find(({ pattern }) => codes.some((code) => pattern.test(code)));
  const { code, said, hint } = known ?? UNKNOWN;
  return new MillraceError(code, `${place}: ${said}${codes[0] === undefined ? '' : ` (${codes[0]})`}.`, {
    hint,
    cause: error,
  });
}

/** Whether the request cannot have reached the server, so that sending it again does nothing twice. */
export function neverLeft(error: unknown): boolean {
  return codesOf(error).some((code) =>
    /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|UND_ERR_CONNECT_TIMEOUT)$/.test(code),
  );
}

interface Entry {
  readonly pattern: RegExp;
  readonly code: 'timeout' | 'host_unreachable' | 'connection_lost' | 'tls_failed' | 'response_invalid';
  readonly said: string;
  readonly hint: string;
}

const broken =
  'The run goes on from its last checkpoint. If it comes again and again, ask for smaller pages.';

const NETWORK: readonly Entry[] = [
  {
    pattern: /^UND_ERR_CONNECT_TIMEOUT$|^ETIMEDOUT$/,
    code: 'host_unreachable',
    said: 'no connection could be made in time',
    hint: 'Check host and port in base_url, and whether a firewall or a proxy (HTTPS_PROXY) stands between.',
  },
  {
    pattern: /^UND_ERR_(HEADERS|BODY)_TIMEOUT$|^TimeoutError$/,
    code: 'timeout',
    said: 'the server fell silent',
    hint: 'Raise timeout_ms of the connector, or ask for smaller pages.',
  },
  {
    pattern: /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|EADDRNOTAVAIL)$/,
    code: 'host_unreachable',
    said: 'nothing answers there',
    hint: 'Check host and port in base_url, and that the service runs and can be reached from this machine.',
  },
  {
    pattern: /CERT|SELF_SIGNED|UNABLE_TO_|^ERR_TLS|^ERR_SSL|^EPROTO$/,
    code: 'tls_failed',
    said: 'no secure connection could be agreed',
    hint: 'If its certificate comes from an authority of your own, give its PEM text as `ca`, or set NODE_EXTRA_CA_CERTS.',
  },
  {
    pattern: /^HPE_|^UND_ERR_(HEADERS_OVERFLOW|RES_|RESPONSE|INVALID)|^ERR_HTTP2_(PROTOCOL|INVALID)/,
    code: 'response_invalid',
    said: 'the answer is not HTTP as it should be',
    hint: 'See what stands between: a proxy, or another service on that port.',
  },
  {
    pattern: /^(Z_DATA_ERROR|Z_NEED_DICT|ERR_BROTLI|ERR_ZSTD|ZSTD_|ERR__ERROR|ERR_PADDING)/,
    code: 'response_invalid',
    said: 'the body is not in the encoding that its header names',
    hint: 'Add the header "accept-encoding": "identity" to the connector, and tell the API\'s makers.',
  },
  {
    pattern:
      /^(ECONNRESET|EPIPE|ECONNABORTED|UND_ERR_SOCKET|UND_ERR_CLOSED|UND_ERR_DESTROYED|UND_ERR_REQ_CONTENT|ERR_HTTP2_|ERR_STREAM_PREMATURE_CLOSE|Z_BUF_ERROR)/,
    code: 'connection_lost',
    said: 'the connection broke before the whole answer was there',
    hint: broken,
  },
];

const UNKNOWN: Omit<Entry, 'pattern'> = {
  code: 'connection_lost',
  said: 'the exchange failed',
  hint: broken,
};

/** The codes of an error and all that caused it: happy eyeballs collect theirs, undici wraps those of sockets. */
function codesOf(error: unknown, depth = 0): readonly string[] {
  if (!(error instanceof Error) || depth > 4) return [];
  const { code } = error as { code?: unknown };
  const inside = error instanceof AggregateError ? error.errors : [];
  return [
    ...(typeof code === 'string' ? [code] : error.name === 'TimeoutError' ? [error.name] : []),
    ...[...inside, error.cause].flatMap((cause) => codesOf(cause, depth + 1)),
  ];
}
