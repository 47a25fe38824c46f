import { z } from 'zod';
import { MillraceError } from '../../core/errors.ts';
import { suggestion } from '../../core/nearest.ts';

const sslModes = ['disable', 'prefer', 'require', 'verify-full'] as const;

/** How much a connection insists on TLS; `verify-ca` can only be said in a URL. */
export type SslMode = (typeof sslModes)[number] | 'verify-ca';

const port = z.number().int().min(1).max(65_535);

/** The `config` of a connector of type `postgresql` (contract §3). */
export const postgresConfig = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe('Name or address of the server, e.g. "db.example.com".'),
    port: port.optional().describe('TCP port; 5432 when absent.'),
    database: z.string().min(1).max(63).optional().describe('Database to read, e.g. "shop".'),
    username: z.string().min(1).max(63).optional().describe('Login role; one that may only SELECT is best.'),
    password: z
      .string()
      .max(10_000)
      .optional()
      .describe('Its password, best as a reference: "${env:SHOP_DB_PASSWORD}".'),
    url: z
      .string()
      .min(1)
      .max(10_000)
      .optional()
      .describe(
        'Instead of the fields above: "postgresql://user:password@host:5432/database?sslmode=require".',
      ),
    ssl: z
      .enum(sslModes)
      .optional()
      .describe(
        '"prefer" (default): TLS when the server has it; "require": always; "verify-full": and check its certificate.',
      ),
    ca: z
      .string()
      .max(200_000)
      .optional()
      .describe('PEM text of the authority that signed the server certificate.'),
    schemas: z
      .array(z.string().min(1).max(63))
      .max(1_000)
      .optional()
      .describe('Schemas to look for tables in; all that the login may use when absent.'),
    pool: z
      .strictObject({
        min: z
          .number()
          .int()
          .min(0)
          .max(100)
          .default(2)
          .describe('Connections kept open between two questions.'),
        max: z.number().int().min(1).max(100).default(10).describe('Connections at most at one time.'),
      })
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
  })
  .superRefine((config, context) => {
    const fields = (['host', 'port', 'database', 'username', 'password'] as const).filter(
      (key) => config[key] !== undefined,
    );
    if (config.url !== undefined) {
      for (const field of fields) {
        context.addIssue({
          code: 'custom',
          path: [field],
          message: 'belongs into "url" when "url" is given; use one or the other',
        });
      }
      return;
    }
    for (const field of ['host', 'database', 'username'] as const) {
      if (config[field] === undefined)
        context.addIssue({ code: 'custom', path: [field], message: 'is needed when there is no "url"' });
    }
    if (config.pool && config.pool.min > config.pool.max) {
      context.addIssue({ code: 'custom', path: ['pool', 'min'], message: 'may not be above "max"' });
    }
  });

/** A validated config, secrets in clear. */
export type PostgresConfig = z.infer<typeof postgresConfig>;

/** Where and how to connect, with nothing left open. Times in milliseconds. */
export interface Settings {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
  readonly ssl: SslMode;
  readonly ca: string | undefined;
  readonly schemas: readonly string[];
  readonly poolMin: number;
  readonly poolMax: number;
  readonly statementTimeoutMs: number;
  readonly connectTimeoutMs: number;
}

/** Fills what was left open, and takes a URL apart. Throws `invalid_config`, never with a part of the URL's secrets. */
export function settingsOf(config: PostgresConfig): Settings {
  const target = config.url === undefined ? fromFields(config) : fromUrl(config.url);
  return {
    ...target,
    ssl: config.ssl ?? target.ssl ?? 'prefer',
    ca: config.ca,
    schemas: config.schemas ?? [],
    poolMin: config.pool?.min ?? 2,
    poolMax: config.pool?.max ?? 10,
    statementTimeoutMs: config.statement_timeout_ms ?? 300_000,
    connectTimeoutMs: config.connect_timeout_ms ?? target.connectTimeoutMs ?? 10_000,
  };
}

interface Target {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
  readonly ssl?: SslMode;
  readonly connectTimeoutMs?: number;
}

function fromFields(config: PostgresConfig): Target {
  return {
    host: config.host ?? '',
    port: config.port ?? 5432,
    database: config.database ?? '',
    username: config.username ?? '',
    password: config.password ?? '',
  };
}

/** libpq's URL. What we do not follow is refused: an option that is silently dropped is a wrong connection. */
function fromUrl(text: string): Target {
  const url = parsed(text);
  if (url.protocol !== 'postgresql:' && url.protocol !== 'postgres:')
    throw badUrl('it begins with postgresql:// or postgres://');
  const database = decoded(url.pathname.replace(/^\//, ''));
  if (url.hostname === '' || database === '' || url.username === '')
    throw badUrl('it names a user, a host and a database');
  if (url.hostname.includes(',')) throw badUrl('it names one host');
  return {
    host: decoded(url.hostname).replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 5432 : Number(url.port),
    database,
    username: decoded(url.username),
    password: decoded(url.password),
    ...urlOptions(url.searchParams),
  };
}

/** Understood because they ask for nothing we do not do anyway. */
const harmless = new Set([
  'application_name',
  'fallback_application_name',
  'client_encoding',
  'gssencmode',
  'target_session_attrs',
]);
const urlSsl: Readonly<Record<string, SslMode>> = {
  disable: 'disable',
  allow: 'prefer',
  prefer: 'prefer',
  require: 'require',
  'verify-ca': 'verify-ca',
  'verify-full': 'verify-full',
};

function urlOptions(options: URLSearchParams): { ssl?: SslMode; connectTimeoutMs?: number } {
  const found: { ssl?: SslMode; connectTimeoutMs?: number } = {};
  for (const [name, value] of options) {
    if (name === 'sslmode') {
      const mode = urlSsl[value];
      if (mode === undefined) throw badUrl(`sslmode is one of ${Object.keys(urlSsl).join(', ')}`);
      found.ssl = mode;
    } else if (name === 'ssl') {
      found.ssl = value === 'false' || value === '0' ? 'disable' : 'require';
    } else if (name === 'connect_timeout') {
      const seconds = Number(value);
      if (Number.isFinite(seconds) && seconds > 0) found.connectTimeoutMs = Math.min(600_000, seconds * 1000);
    } else if (!harmless.has(name)) {
      const near = suggestion(name, ['sslmode', 'connect_timeout']);
      throw badUrl(
        `option "${name.slice(0, 40)}" is not supported. ${near} A certificate authority goes into the field "ca"`,
      );
    }
  }
  return found;
}

function parsed(text: string): URL {
  try {
    return new URL(text);
  } catch {
    throw badUrl(
      'characters such as @ : / # in the user or password are percent-encoded, and there is one host',
    );
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw badUrl('a % in it begins a percent-encoded character, or is written %25');
  }
}

function badUrl(rule: string): MillraceError {
  return new MillraceError('invalid_config', `The connection URL cannot be used: ${rule}.`, {
    hint: 'Write it as "postgresql://user:password@host:5432/database?sslmode=require", or give host, port, database, username and password as fields.',
  });
}
