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

const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

/** How much a connection insists on TLS. */
export type SslMode = (typeof sslModes)[number];

const zeroDatePolicies = ['text', 'null', 'reject'] as const;

/** What becomes of a date that no calendar has: `0000-00-00`, `2024-00-15`, `2024-02-31`. */
export type ZeroDatePolicy = (typeof zeroDatePolicies)[number];

const urlKind = {
  schemes: ['mysql', 'mariadb'],
  port: 3306,
  example: 'mysql://user:password@host:3306/database?ssl-mode=require',
} as const;

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
    password: sharedFields.password,
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
    ca: sharedFields.ca,
    schemas: z
      .array(z.string().min(1).max(64))
      .max(1_000)
      .optional()
      .describe('Databases that may be read besides `database`; none when absent.'),
    pool: sharedFields.pool,
    statement_timeout_ms: sharedFields.statement_timeout_ms,
    connect_timeout_ms: sharedFields.connect_timeout_ms,
    zero_dates: z
      .enum(zeroDatePolicies)
      .optional()
      .describe(
        'What becomes of dates that no calendar has, such as 0000-00-00 and 2024-00-15: "text" (default) lands them as the server writes them, "null" as NULL, "reject" keeps the row aside with the reason. Each run says how many there were.',
      ),
  })
  .superRefine(checkFields);

/** A validated config, secrets in clear. */
export type MysqlConfig = z.infer<typeof mysqlConfig>;

/** Where and how to connect, with nothing left open. Times in milliseconds. */
export interface Settings extends Address {
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
    zeroDates: config.zero_dates ?? 'text',
  };
}

interface Target extends Address {
  readonly ssl?: SslMode;
  readonly connectTimeoutMs?: number;
}

/** The URL that clients of MySQL share. What we do not follow is refused: an option that is silently dropped is a wrong connection. */
function fromUrl(text: string): Target {
  const { address, options } = urlAddress(text, urlKind);
  return { ...address, ...urlOptions(options) };
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
      if (mode === undefined) throw badUrl(`ssl-mode is one of ${sslModes.join(', ')}`, urlKind);
      found.ssl = mode;
    } else if (name === 'ssl' || name === 'usessl') {
      found.ssl = value === 'false' || value === '0' ? 'disable' : 'require';
    } else if (name === 'connect_timeout' || name === 'connect-timeout') {
      const timeoutMs = urlTimeoutMs(value);
      if (timeoutMs !== undefined) found.connectTimeoutMs = timeoutMs;
    } else if (!harmless.has(name)) {
      const near = suggestion(given, ['ssl-mode', 'connect_timeout']);
      throw badUrl(
        `option "${given.slice(0, 40)}" is not supported. ${near} A certificate authority goes into the field "ca"`,
        urlKind,
      );
    }
  }
  return found;
}
