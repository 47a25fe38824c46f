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
import { byNumber, type Where } from './server-errors.ts';

export type { Where } from './server-errors.ts';

/**
 * A driver's or server's error in, ours out; null when it is not ours to explain. Pure: judged by the server's error
 * number and by system error codes, and by words only where the driver gives nothing else.
 */
export function classify(error: unknown, where?: Where): MillraceError | null {
  if (error instanceof MillraceError) return error;
  if (!(error instanceof Error)) return null;
  const found =
    byServer(error, where) ?? byDriver(error) ?? bySystem(error, { words, where }) ?? byWords(error);
  if (!found) return null;
  return new MillraceError(found.code, found.message, { hint: found.hint, cause: error });
}

const words: ServerWords = {
  server: 'MySQL',
  refused:
    'Check the port (3306 is usual), that the server runs, and that bind-address in its my.cnf covers this address and skip-networking is off.',
  otherListener: 'something else than MySQL listens there',
  socket: {
    why: 'there is no such socket, or it may not be used',
    hint: 'SELECT @@socket on the server shows its path; or give host and port instead.',
  },
  otherName: '"ssl": "verify-ca" to check who signed it without comparing the name',
  authority: "the server's own is in its data folder as ca.pem",
};

/** The server's own errors carry a number and an SQLSTATE; system errors carry a negative number and none. */
function byServer(error: Error, where: Where | undefined): Found | null {
  const { errno, sqlState } = error as { errno?: unknown; sqlState?: unknown };
  if (typeof errno !== 'number' || errno <= 0) return null;
  const said = plain(error.message, 300);
  const known = byNumber(errno, said, where);
  if (known) return known;
  const state = typeof sqlState === 'string' && sqlState !== '' ? `, SQLSTATE ${sqlState}` : '';
  return {
    code: 'response_invalid',
    message: `The server answered with an error (${errno}${state}): ${said}.`,
    hint: 'Run the same SELECT with the mysql client as the same login to see it there; preview_stream shows whether a smaller `where` or fewer columns help.',
  };
}

/** Codes that the driver makes up (mysql2 3.24). */
function byDriver(error: Error): Found | null {
  switch (codeOf(error)) {
    case 'PROTOCOL_CONNECTION_LOST':
      return connectionLost('the server closed the connection');
    case 'HANDSHAKE_NO_SSL_SUPPORT':
      return {
        code: 'tls_failed',
        message: 'The server does not offer TLS.',
        hint: 'Set "ssl": "disable" if the network in between is trusted, or have the administrator give the server a certificate: ssl_cert and ssl_key in its my.cnf.',
      };
    case 'HANDSHAKE_SSL_ERROR': {
      // The driver writes its own code over the socket's: ours has kept that as the cause.
      const { cause } = error;
      return byTls(cause instanceof Error ? cause : error, words);
    }
    case 'AUTH_SWITCH_PLUGIN_ERROR':
    case 'MYSQL_CLEAR_PASSWORD_NOT_ENABLED':
      return authPlugin(error);
    case 'HANDSHAKE_UNKNOWN_ERROR':
    case 'PROTOCOL_ERROR':
    case 'PROTOCOL_UNEXPECTED_PACKET':
    case 'MILLRACE_NOT_MYSQL':
      return {
        code: 'response_invalid',
        message: `What answered does not follow the protocol of MySQL: ${plain(error.message, 200)}.`,
        hint: 'Check host and port: another service, the X protocol (33060) or a proxy that is not one of MySQL may listen there.',
      };
    default:
      return null;
  }
}

function authPlugin(error: Error): Found {
  const plugin = /plugin (\w+)/.exec(error.message)?.[1] ?? '';
  if (/unknown plugin|mysql_clear_password/.test(error.message)) {
    const name = plugin === '' ? 'mysql_clear_password' : plugin;
    return {
      code: 'auth_failed',
      message: `The login is set up for a way of checking passwords that Millrace does not speak (${name}).`,
      hint: "Give it one of caching_sha2_password (MySQL) or mysql_native_password (MariaDB). As an administrator of the server: ALTER USER … IDENTIFIED WITH caching_sha2_password BY '…'; on MariaDB: ALTER USER … IDENTIFIED VIA mysql_native_password USING PASSWORD('…');",
    };
  }
  return {
    code: 'auth_failed',
    message: 'The password exchange with the server failed.',
    hint: 'Without TLS, caching_sha2_password needs the server\'s RSA key, and something between us and the server may answer in its place. Set "ssl": "require", and check username and password.',
  };
}

/** Exact sentences of the driver, which has no code for them (mysql2 3.24). */
function byWords(error: Error): Found | null {
  if (/^Can't (add new command when connection is|write) in closed state/.test(error.message))
    return connectionLost('the connection ended in the middle of its work');
  return null;
}
