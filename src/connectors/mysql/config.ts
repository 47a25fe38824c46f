import { z } from 'zod';
import { MillraceError } from '../../core/errors.ts';
import { suggestion } from '../../core/nearest.ts';

const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

/** How much a connection insists on TLS. */
export type SslMode = (typeof sslModes)[number];

const zeroDatePolicies = ['text', 'null', 'reject'] as const;

/** What becomes of a date that no calendar has: `0000-00-00`, `2024-00-15`, `2024-02-31`. */
export type ZeroDatePolicy = (typeof zeroDatePolicies)[number];

const port = z.number().int().min(1).max(65_535);

/** The `config` of a connector of type `mysql` (contract §3). */
export const mysqlConfig = z
  .strictObject({
    host: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe('Name or address of the server, e.g. "db.example.com"; or the path of its Unix socket.'),
    port: port.optional().describe('TCP port; 3306 when absent.'),
    database: z.string().min(1).max(64).optional().describe('Database to read, e.g. "shop".'),
    username: z.string().min(1).max(128).optional().describe('Login; one that may only SELECT is best.'),
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
        'Instead of the fields above: "mysql://user:password@host:3306/database?ssl-mode=require"; "mariadb://" is the same.',
      ),
    ssl: z
      .enum(sslModes)
      .optional()
      .describe(
        '"prefer" (default): TLS when the server has it, its certificate unchecked, else in clear; "disable": never; "require": always; "verify-ca": and check who signed the certificate; "verify-full": and that it is for this host.',
      ),
    ca: z
      .string()
      .max(200_000)
      .optional()
      .describe('PEM text of the authority that signed the server certificate.'),
    schemas: z
      .array(z.string().min(1).max(64))
      .max(1_000)
      .optional()
      .describe('Databases that may be read besides `database`; none when absent.'),
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
    zero_dates: z
      .enum(zeroDatePolicies)
      .optional()
      .describe(
        'What becomes of dates that no calendar has, such as 0000-00-00 and 2024-00-15: "text" (default) lands them as the server writes them, "null" as NULL, "reject" keeps the row aside with the reason. Each run says how many there were.',
      ),
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
export type MysqlConfig = z.infer<typeof mysqlConfig>;

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
  readonly zeroDates: ZeroDatePolicy;
}

/** Fills what was left open, and takes a URL apart. Throws `invalid_config`, never with a part of the URL's secrets. */
export function settingsOf(config: MysqlConfig): Settings {
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
    zeroDates: config.zero_dates ?? 'text',
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

function fromFields(config: MysqlConfig): Target {
  return {
    host: config.host ?? '',
    port: config.port ?? 3306,
    database: config.database ?? '',
    username: config.username ?? '',
    password: config.password ?? '',
  };
}

/** The URL that clients of MySQL share. What we do not follow is refused: an option that is silently dropped is a wrong connection. */
function fromUrl(text: string): Target {
  const url = parsed(text);
  if (url.protocol !== 'mysql:' && url.protocol !== 'mariadb:')
    throw badUrl('it begins with mysql:// or mariadb://');
  const database = decoded(url.pathname.replace(/^\//, ''));
  if (url.hostname === '' || database === '' || url.username === '')
    throw badUrl('it names a user, a host and a database');
  if (url.hostname.includes(',')) throw badUrl('it names one host');
  return {
    host: decoded(url.hostname).replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 3306 : Number(url.port),
    database,
    username: decoded(url.username),
    password: decoded(url.password),
    ...urlOptions(url.searchParams),
  };
}

/** Understood because they ask for nothing we do not do anyway: everything comes as utf8mb4. */
const harmless = new Set(['charset', 'characterencoding', 'useunicode', 'servertimezone']);

/** Of MySQL's own clients, of its JDBC driver, and of libpq, whose words the field `ssl` has. */
const urlSsl: Readonly<Record<string, SslMode>> = {
  disable: 'disable',
  disabled: 'disable',
  prefer: 'prefer',
  preferred: 'prefer',
  require: 'require',
  required: 'require',
  'verify-ca': 'verify-ca',
  verify_ca: 'verify-ca',
  'verify-full': 'verify-full',
  verify_identity: 'verify-full',
};

function urlOptions(options: URLSearchParams): { ssl?: SslMode; connectTimeoutMs?: number } {
  const found: { ssl?: SslMode; connectTimeoutMs?: number } = {};
  for (const [given, value] of options) {
    const name = given.toLowerCase();
    if (name === 'ssl-mode' || name === 'sslmode') {
      const mode = urlSsl[value.toLowerCase()];
      if (mode === undefined) throw badUrl(`ssl-mode is one of ${sslModes.join(', ')}`);
      found.ssl = mode;
    } else if (name === 'ssl' || name === 'usessl') {
      found.ssl = value === 'false' || value === '0' ? 'disable' : 'require';
    } else if (name === 'connect_timeout' || name === 'connect-timeout') {
      const seconds = Number(value);
      if (Number.isFinite(seconds) && seconds > 0) found.connectTimeoutMs = Math.min(600_000, seconds * 1000);
    } else if (!harmless.has(name)) {
      const near = suggestion(given, ['ssl-mode', 'connect_timeout']);
      throw badUrl(
        `option "${given.slice(0, 40)}" is not supported. ${near} A certificate authority goes into the field "ca"`,
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
    hint: 'Write it as "mysql://user:password@host:3306/database?ssl-mode=require", or give host, port, database, username and password as fields.',
  });
}
