/** What the configs of the SQL databases share: fields with the same bounds and words, and the way a URL is taken apart. */

import { z } from 'zod';
import { MillraceError } from '../../core/errors.ts';

/** Fields that mean the same for every server. The others say the server's own words. */
export const sharedFields = {
  password: z
    .string()
    .max(10_000)
    .optional()
    .describe('Its password, best as a reference: "${env:SHOP_DB_PASSWORD}".'),
  ca: z
    .string()
    .max(200_000)
    .optional()
    .describe('PEM text of the authority that signed the server certificate.'),
  pool: z
    .strictObject({
      min: z
        .number()
        .int()
        .min(0)
        .max(100)
        .optional()
        .describe('Connections kept open between two questions; 2 when absent, or "max" where that is less.'),
      max: z.number().int().min(1).max(100).default(10).describe('Connections at most at one time.'),
    })
    .transform(({ min, max }) => ({ min: min ?? Math.min(2, max), max }))
    .optional()
    .describe('How many connections one sync may hold.'),
  statement_timeout_ms: z
    .number()
    .int()
    .min(100)
    .max(86_400_000)
    .optional()
    .describe('Longest wait for a statement, and for the next rows of a table; 300000 when absent.'),
  connect_timeout_ms: z
    .number()
    .int()
    .min(100)
    .max(600_000)
    .optional()
    .describe('Longest wait for a connection; 10000 when absent.'),
} as const;

/** TCP port. */
export const port = z.number().int().min(1).max(65_535);

/** What is checked of a config as a whole. */
export interface GivenFields {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly database?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly url?: string | undefined;
  readonly pool?: { readonly min: number; readonly max: number } | undefined;
}

/** A URL or fields, not both; of fields the ones that are needed; a pool that can be. */
export function checkFields(config: GivenFields, context: z.RefinementCtx): void {
  const refuse = (path: string[], message: string): void =>
    context.addIssue({ code: 'custom', path, message });
  if (config.url !== undefined) {
    for (const field of ['host', 'port', 'database', 'username', 'password'] as const) {
      if (config[field] !== undefined)
        refuse([field], 'belongs into "url" when "url" is given; use one or the other');
    }
  } else {
    for (const field of ['host', 'database', 'username'] as const) {
      if (config[field] === undefined) refuse([field], 'is needed when there is no "url"');
    }
  }
  if (config.pool && config.pool.min > config.pool.max) refuse(['pool', 'min'], 'may not be above "max"');
}

/** Where to connect, and as whom. */
export interface Address {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
}

/** The address in fields that have been checked. */
export function fieldAddress(config: GivenFields, defaultPort: number): Address {
  return {
    host: config.host ?? '',
    port: config.port ?? defaultPort,
    database: config.database ?? '',
    username: config.username ?? '',
    password: config.password ?? '',
  };
}

/** A kind of connection URL. */
export interface UrlKind {
  /** Without the colon; the first is the one to write. */
  readonly schemes: readonly string[];
  readonly port: number;
  /** A whole one, for the hint. */
  readonly example: string;
}

/** Takes a URL apart. Throws `invalid_config`, never with a part of the URL's secrets. */
export function urlAddress(
  text: string,
  kind: UrlKind,
): { readonly address: Address; readonly options: URLSearchParams } {
  const url = parsed(text, kind);
  if (!kind.schemes.includes(url.protocol.replace(/:$/, '')))
    throw badUrl(`it begins with ${kind.schemes.map((scheme) => `${scheme}://`).join(' or ')}`, kind);
  const database = decoded(url.pathname.replace(/^\//, ''), kind);
  if (url.hostname === '' || database === '' || url.username === '')
    throw badUrl('it names a user, a host and a database', kind);
  if (url.hostname.includes(',')) throw badUrl('it names one host', kind);
  const address = {
    host: decoded(url.hostname, kind).replace(/^\[|\]$/g, ''),
    port: url.port === '' ? kind.port : Number(url.port),
    database,
    username: decoded(url.username, kind),
    password: decoded(url.password, kind),
  };
  return { address, options: url.searchParams };
}

/** What a URL's `connect_timeout`, in seconds, means in milliseconds; undefined where it means nothing. */
export function urlTimeoutMs(value: string): number | undefined {
  const seconds = Number(value);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(600_000, seconds * 1000) : undefined;
}

/** `invalid_config` that says which rule the URL breaks. */
export function badUrl(rule: string, { example }: UrlKind): MillraceError {
  return new MillraceError('invalid_config', `The connection URL cannot be used: ${rule}.`, {
    hint: `Write it as "${example}", or give host, port, database, username and password as fields.`,
  });
}

function parsed(text: string, kind: UrlKind): URL {
  try {
    return new URL(text);
  } catch {
    throw badUrl(
      'characters such as @ : / # in the user or password are percent-encoded, and there is one host',
      kind,
    );
  }
}

function decoded(part: string, kind: UrlKind): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw badUrl('a % in it begins a percent-encoded character, or is written %25', kind);
  }
}
