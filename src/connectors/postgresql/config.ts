import { z } from 'zod';
import { suggestion } from '../../core/nearest.ts';
import {
  type Address,
  badUrl,
  checkFields,
  fieldAddress,
  port,
  sharedFields,
  urlAddress,
  urlTimeoutMs,
} from '../sql/config.ts';

const sslModes = ['disable', 'prefer', 'require', 'verify-full'] as const;

/** How much a connection insists on TLS; `verify-ca` can only be said in a URL. */
export type SslMode = (typeof sslModes)[number] | 'verify-ca';

const urlKind = {
  schemes: ['postgresql', 'postgres'],
  port: 5432,
  example: 'postgresql://user:password@host:5432/database?sslmode=require',
} as const;

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
    password: sharedFields.password,
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
    ca: sharedFields.ca,
    schemas: z
      .array(z.string().min(1).max(63))
      .max(1_000)
      .optional()
      .describe('Schemas to look for tables in; all that the login may use when absent.'),
    pool: sharedFields.pool,
    statement_timeout_ms: sharedFields.statement_timeout_ms,
    connect_timeout_ms: sharedFields.connect_timeout_ms,
  })
  .superRefine(checkFields);

/** A validated config, secrets in clear. */
export type PostgresConfig = z.infer<typeof postgresConfig>;

/** Where and how to connect, with nothing left open. Times in milliseconds. */
export interface Settings extends Address {
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
  const target: Target = config.url === undefined ? fieldAddress(config, urlKind.port) : fromUrl(config.url);
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

interface Target extends Address {
  readonly ssl?: SslMode;
  readonly connectTimeoutMs?: number;
}

/** libpq's URL. What we do not follow is refused: an option that is silently dropped is a wrong connection. */
function fromUrl(text: string): Target {
  const { address, options } = urlAddress(text, urlKind);
  return { ...address, ...urlOptions(options) };
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
      if (mode === undefined) throw badUrl(`sslmode is one of ${Object.keys(urlSsl).join(', ')}`, urlKind);
      found.ssl = mode;
    } else if (name === 'ssl') {
      found.ssl = value === 'false' || value === '0' ? 'disable' : 'require';
    } else if (name === 'connect_timeout') {
      const timeoutMs = urlTimeoutMs(value);
      if (timeoutMs !== undefined) found.connectTimeoutMs = timeoutMs;
    } else if (!harmless.has(name)) {
      const near = suggestion(name, ['sslmode', 'connect_timeout']);
      throw badUrl(
        `option "${name.slice(0, 40)}" is not supported. ${near} A certificate authority goes into the field "ca"`,
        urlKind,
      );
    }
  }
  return found;
}
