import { MillraceError } from '../../core/errors.ts';
import { plain } from '../sql/names.ts';
import { byNumber, connectionLost, type Found, type Where } from './server-errors.ts';

export type { Where } from './server-errors.ts';

/**
 * A driver's or server's error in, ours out; null when it is not ours to explain. Pure: judged by the server's error
 * number and by system error codes, and by words only where the driver gives nothing else.
 */
export function classify(error: unknown, where?: Where): MillraceError | null {
  if (error instanceof MillraceError) return error;
  if (!(error instanceof Error)) return null;
  const found = byServer(error, where) ?? bySystem(codeOf(error), error, where) ?? byWords(error);
  if (!found) return null;
  return new MillraceError(found.code, found.message, { hint: found.hint, cause: error });
}

function codeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string') return code;
  // Node tries every address of a name and gathers what each of them said.
  if (error instanceof AggregateError) {
    const inner: unknown = error.errors[0];
    return inner instanceof Error ? codeOf(inner) : '';
  }
  return '';
}

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

function bySystem(code: string, error: Error, where: Where | undefined): Found | null {
  const at = where === undefined ? 'the server' : addressOf(where);
  const unreachable = (why: string, hint: string): Found => ({
    code: 'host_unreachable',
    message: `MySQL at ${at} cannot be reached: ${why}.`,
    hint,
  });
  switch (code) {
    case 'ECONNREFUSED':
      return unreachable(
        'the connection was refused',
        `Nothing listens at ${at}. Check the port (3306 is usual), that the server runs, and that bind-address in its my.cnf covers this address and skip-networking is off.`,
      );
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return unreachable(
        'the name does not resolve',
        `Check the spelling of the host; \`getent hosts ${where?.host ?? 'HOST'}\` on this machine shows what it resolves to.`,
      );
    case 'EHOSTUNREACH':
    case 'EHOSTDOWN':
    case 'ENETUNREACH':
    case 'ENETDOWN':
      return unreachable(
        'no route leads there',
        'Check that this machine is in the right network or VPN, and the firewall between the two.',
      );
    case 'EADDRNOTAVAIL':
      return unreachable(
        'this machine has no address or port left to connect from',
        '`ss -s` on this machine counts its connections: too many may be open or just closed, or its network may be down.',
      );
    case 'EMFILE':
    case 'ENFILE':
      return unreachable(
        'no more files and connections may be open at a time',
        'Raise the limit of open files (`ulimit -n` shows it; LimitNOFILE= in a unit of systemd), or lower runs.concurrent and pool.max.',
      );
    case 'ETIMEDOUT':
    case 'MILLRACE_CONNECT_TIMEOUT':
      return unreachable(
        'no answer came in time',
        `A firewall may drop the packets, or something else than MySQL listens there: open ${at} for this machine, check the port, or raise connect_timeout_ms for a slow link.`,
      );
    case 'ECONNRESET':
    case 'ENETRESET':
    case 'EPIPE':
    case 'ECONNABORTED':
      return connectionLost('the connection was cut');
    case 'PROTOCOL_CONNECTION_LOST':
      return connectionLost('the server closed the connection');
    case 'ENOENT':
    case 'EACCES':
      return where?.host.startsWith('/')
        ? unreachable(
            'there is no such socket, or it may not be used',
            'SELECT @@socket on the server shows its path; or give host and port instead.',
          )
        : null;
    default:
      return byDriver(code, error) ?? (tlsCodes.test(code) ? tls(error, code) : null);
  }
}

/** Codes that the driver makes up (mysql2 3.24). */
function byDriver(code: string, error: Error): Found | null {
  switch (code) {
    case 'HANDSHAKE_NO_SSL_SUPPORT':
      return {
        code: 'tls_failed',
        message: 'The server does not offer TLS.',
        hint: 'Set "ssl": "disable" if the network in between is trusted, or have the administrator give the server a certificate: ssl_cert and ssl_key in its my.cnf.',
      };
    case 'HANDSHAKE_SSL_ERROR': {
      // The driver writes its own code over the socket's: ours has kept that as the cause.
      const { cause } = error;
      return cause instanceof Error ? tls(cause, codeOf(cause)) : tls(error, '');
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

const tlsCodes =
  /^(ERR_SSL_|ERR_TLS_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_CA$|HOSTNAME_MISMATCH$|PATH_LENGTH_EXCEEDED$)/;

function tls(error: Error, code: string): Found {
  const message = `No secure connection could be agreed: ${plain(error.message, 200)}.`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID' || code === 'HOSTNAME_MISMATCH') {
    return {
      code: 'tls_failed',
      message,
      hint: 'Use the host name that the certificate was issued for, or "ssl": "verify-ca" to check who signed it without comparing the name.',
    };
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    return {
      code: 'tls_failed',
      message,
      hint: 'The server\'s certificate is out of date: its administrator must renew it. "ssl": "require" encrypts without checking it.',
    };
  }
  if (code === 'ECONNRESET' || code === 'EPIPE')
    return connectionLost('the connection was cut while TLS was agreed');
  return {
    code: 'tls_failed',
    message,
    hint: 'Put the PEM text of the authority that signed the server certificate into "ca" (a reference such as "${file:/etc/ssl/db-ca.pem}"; the server\'s own is in its data folder as ca.pem), or use "ssl": "require" to encrypt without checking it.',
  };
}

/** Exact sentences of the driver, which has no code for them (mysql2 3.24). */
function byWords(error: Error): Found | null {
  if (/^Can't (add new command when connection is|write) in closed state/.test(error.message))
    return connectionLost('the connection ended in the middle of its work');
  return null;
}

function addressOf({ host, port }: Where): string {
  return host.startsWith('/') ? host : `${host}:${port}`;
}
