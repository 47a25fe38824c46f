import { MillraceError } from '../../core/errors.ts';
import {
  bySystem,
  byTls,
  codeOf,
  connectionLost,
  type Found,
  type ServerWords,
} from '../sql/connection-errors.ts';
import { plain } from '../sql/names.ts';

/** Where the failing connection went, for sentences and hints. Nothing secret. */
export interface Where {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
}

/**
 * A driver's or server's error in, ours out; null when it is not ours to explain. Pure: judged by SQLSTATE and
 * system error code, and by words only where the driver gives nothing else.
 */
export function classify(error: unknown, where?: Where): MillraceError | null {
  if (error instanceof MillraceError) return error;
  if (!(error instanceof Error)) return null;
  const found =
    bySystem(error, { words, where }) ?? byState(codeOf(error), error, where) ?? byWords(error, where);
  if (!found) return null;
  return new MillraceError(found.code, found.message, { hint: found.hint, cause: error });
}

const words: ServerWords = {
  server: 'PostgreSQL',
  refused:
    'Check the port (5432 is usual), that the server runs, and that listen_addresses in its postgresql.conf covers this address.',
  socket: {
    why: 'there is no such socket, or it may not be used',
    hint: 'Check unix_socket_directories of the server, or give host and port instead.',
  },
  otherName: '"ssl": "require" to encrypt without checking the name',
};

function byState(code: string, error: Error, where: Where | undefined): Found | null {
  const said = plain(error.message, 300);
  const role = where?.username ?? 'the role';
  switch (code) {
    case '28P01':
      return {
        code: 'auth_failed',
        message: `The server refused the login of "${role}".`,
        hint: `Check username and password. As an administrator of the server: ALTER ROLE ${quoted(role)} PASSWORD '…'; then give the new one.`,
      };
    case '28000':
      if (/pg_hba\.conf|no encryption|SSL/i.test(error.message)) return noHbaEntry(said, where);
      return {
        code: 'auth_failed',
        message: `The server refused the login: ${said}.`,
        hint: `Check that the role exists and may log in: CREATE ROLE ${quoted(role)} LOGIN PASSWORD '…'; or ALTER ROLE ${quoted(role)} LOGIN;`,
      };
    case '3D000':
      return {
        code: 'not_found_at_source',
        message: `The server has no database "${where?.database ?? ''}".`,
        hint: 'Database names are case-sensitive; SELECT datname FROM pg_database shows them (the database "postgres" is there on most servers, to look from).',
      };
    case '42501':
      return {
        code: 'permission_denied',
        message: `The login "${role}" may not do that: ${said}.`,
        hint: grantHint(error.message, role),
      };
    case '42P01':
    case '42703':
    case '3F000':
    case '42883':
    case '42704':
      return {
        code: 'not_found_at_source',
        message: `The source has no such thing: ${said}.`,
        hint:
          hintOf(error) ??
          'discover_streams shows the tables and columns that are there; names with upper case or odd characters need double quotes.',
      };
    case '57014':
      return {
        code: 'timeout',
        message: 'The server stopped a statement that took too long.',
        hint: 'Raise statement_timeout_ms of the connector, index the cursor column, or narrow the stream with `where`.',
      };
    case '55P03':
      return {
        code: 'timeout',
        message: 'A table stayed locked by somebody else.',
        hint: 'Another session holds an exclusive lock (ALTER TABLE, VACUUM FULL, …); try again when it is done. SELECT * FROM pg_locks WHERE NOT granted shows who waits.',
      };
    case '57P01':
    case '57P02':
    case '57P05':
      return connectionLost('the server ended the session');
    case '57P03':
      return connectionLost('the server is starting up or shutting down');
    case '25P03':
    case '25P04':
    case '72000':
    case '40001':
    case '40P01':
      return connectionLost(`the server gave up the transaction (${said})`);
    case '53300':
    case '53400':
      return {
        code: 'rate_limited',
        message: 'The server has no connection free.',
        hint: 'Lower pool.max of the connector, or ask the administrator to raise max_connections (or the CONNECTION LIMIT of the role).',
      };
    case '53100':
    case '53200':
    case '53000':
    case '58030':
      return {
        code: 'connection_lost',
        message: `The server ran out of something: ${said}.`,
        hint: 'The server lacks memory or disk for this; its administrator must look. Millrace tries again.',
      };
    case '42601':
    case '42P02':
    case '42804':
    case '42702':
    case '42602':
    case '22007':
    case '22P02':
      return {
        code: 'invalid_config',
        message: `The server cannot make sense of the SQL: ${said}.`,
        hint:
          hintOf(error) ??
          "Check `query`, `where` and `table` of the stream: one SELECT, without a semicolon, in PostgreSQL's own syntax.",
      };
    case '25001':
    case '25006':
      return writes(said);
    default:
      if (code === '08P01' && /bind message supplies/.test(error.message)) return unfilled;
      if (code === '0A000' && /data-modifying/.test(error.message)) return writes(said);
      if (/^08/.test(code)) return connectionLost(said);
      return byClass(code, said, error);
  }
}

const unfilled: Found = {
  code: 'invalid_config',
  message: 'The SQL has a parameter such as $1, and nothing fills it.',
  hint: "Write the value itself into `query` or `where`; what changed since the last run is found by the stream's `cursor`, which needs no parameter.",
};

function writes(said: string): Found {
  return {
    code: 'query_rejected',
    message: `The SQL would change something at the source: ${said}.`,
    hint: 'A stream only reads. Write its `query` as one SELECT without INSERT, UPDATE, DELETE, FOR UPDATE, nextval() or another function that writes.',
  };
}

/** Any other SQLSTATE: the server did answer, so it is its sentence that helps. */
function byClass(code: string, said: string, error: Error): Found | null {
  if (!/^[0-9A-Z]{5}$/.test(code) || !('severity' in error)) return null;
  return {
    code: 'response_invalid',
    message: `The server answered with an error (SQLSTATE ${code}): ${said}.`,
    hint:
      hintOf(error) ??
      'Run the same SELECT with psql as the same role to see it there; preview_stream shows whether a smaller `where` or fewer columns help.',
  };
}

/** The driver has no codes of its own; these are its exact sentences (pg 8.23, pg-protocol 1.16). */
function byWords(error: Error, where: Where | undefined): Found | null {
  const { message } = error;
  if (/server does not support SSL connections/.test(message)) {
    return {
      code: 'tls_failed',
      message: 'The server does not offer TLS.',
      hint: 'Set "ssl": "disable" if the network in between is trusted, or have ssl = on set in its postgresql.conf.',
    };
  }
  if (/error establishing an SSL connection/.test(message)) return byTls(error, words);
  if (/^timeout expired$|timeout exceeded when trying to connect/.test(message))
    return bySystem(error, { words, where, code: 'MILLRACE_CONNECT_TIMEOUT' });
  if (
    /^Connection terminated|Client has encountered a connection error|Connection ended unexpectedly|not queryable/.test(
      message,
    )
  ) {
    return connectionLost('the connection ended in the middle of its work');
  }
  if (/SASL|SCRAM|password must be a string/i.test(message)) {
    return {
      code: 'auth_failed',
      message: 'The password exchange with the server failed.',
      hint: 'A password is missing or empty, or something between us and the server answers in its place. Check username and password.',
    };
  }
  return null;
}

function noHbaEntry(said: string, where: Where | undefined): Found {
  const wantsTls = /no encryption|SSL off/i.test(said);
  const line = `${wantsTls ? 'hostssl' : 'host'} ${where?.database ?? 'all'} ${where?.username ?? 'all'} ADDRESS/32 scram-sha-256`;
  return {
    code: 'tls_failed',
    message: `The server's pg_hba.conf has no line for this connection: ${said}.`,
    hint: wantsTls
      ? `It may ask for TLS: set "ssl": "require". Otherwise its administrator adds a line such as \`${line.replace('hostssl', 'host')}\` to pg_hba.conf and reloads.`
      : `Its administrator adds a line such as \`${line}\` to pg_hba.conf and runs SELECT pg_reload_conf().`,
  };
}

function grantHint(message: string, role: string): string {
  const schema = /permission denied for schema (.+)$/.exec(message)?.[1];
  if (schema)
    return `As an administrator of the server: GRANT USAGE ON SCHEMA ${quoted(schema)} TO ${quoted(role)};`;
  const table = /permission denied for (?:table|view|relation|materialized view|foreign table) (.+)$/.exec(
    message,
  )?.[1];
  if (table) return `As an administrator of the server: GRANT SELECT ON ${quoted(table)} TO ${quoted(role)};`;
  const database = /permission denied for database (.+)$/.exec(message)?.[1];
  if (database)
    return `As an administrator of the server: GRANT CONNECT ON DATABASE ${quoted(database.replaceAll('"', ''))} TO ${quoted(role)};`;
  return `As an administrator of the server: GRANT SELECT ON the tables that are read TO ${quoted(role)}; GRANT USAGE ON their SCHEMA TO ${quoted(role)};`;
}

function hintOf(error: Error): string | null {
  const { hint } = error as { hint?: unknown };
  return typeof hint === 'string' && hint !== '' ? plain(hint, 300) : null;
}

function quoted(name: string): string {
  return `"${plain(name, 200).replaceAll('"', '""')}"`;
}
