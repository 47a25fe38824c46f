import type { ErrorCode } from '../../core/errors.ts';
import { plain } from './names.ts';

/** What became of a driver's or server's error: the parts of ours. */
export interface Found {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}

/** What one kind of server says differently of a connection that cannot be made or kept. */
export interface ServerWords {
  readonly server: string;
  /** Of a refused connection: the usual port, and which setting of the server may not cover this address. */
  readonly refused: string;
  /** Of no answer, before what there is to do: what may listen there instead. */
  readonly otherListener?: string;
  readonly socket: { readonly why: string; readonly hint: string };
  /** When the certificate is for another name: how to live with that. */
  readonly otherName: string;
  /** Where a server keeps its own authority, behind "a reference such as …". */
  readonly authority?: string;
}

/** Where the failing connection went; undefined before that is known. */
interface Address {
  readonly host: string;
  readonly port: number;
}

/** The code a driver or Node gives an error; empty without one. */
export function codeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string') return code;
  // Node tries every address of a name and gathers what each of them said.
  if (error instanceof AggregateError) {
    const inner: unknown = error.errors[0];
    return inner instanceof Error ? codeOf(inner) : '';
  }
  return '';
}

/** The work broke off and may be taken up again. */
export function connectionLost(why: string): Found {
  return {
    code: 'connection_lost',
    message: `The work with the server broke off: ${plain(why, 300)}.`,
    hint: 'Millrace tries again and goes on from the last stored position. If it keeps happening, look at the server log and the network in between.',
  };
}

/**
 * What the operating system or OpenSSL says of a connection; null for any other code. `code` is for a driver that says
 * the same in words.
 */
export function bySystem(
  error: Error,
  { words, where, code = codeOf(error) }: { words: ServerWords; where: Address | undefined; code?: string },
): Found | null {
  const at = where === undefined ? 'the server' : addressOf(where);
  const unreachable = (why: string, hint: string): Found => ({
    code: 'host_unreachable',
    message: `${words.server} at ${at} cannot be reached: ${why}.`,
    hint,
  });
  switch (code) {
    case 'ECONNREFUSED':
      return unreachable('the connection was refused', `Nothing listens at ${at}. ${words.refused}`);
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
    case 'MILLRACE_CONNECT_TIMEOUT': {
      const other = words.otherListener;
      return unreachable(
        'no answer came in time',
        `A firewall may drop the packets${other ? `, or ${other}` : ''}: open ${at} for this machine, ${other ? 'check the port, ' : ''}or raise connect_timeout_ms for a slow link.`,
      );
    }
    case 'ECONNRESET':
    case 'ENETRESET':
    case 'EPIPE':
    case 'ECONNABORTED':
      return connectionLost('the connection was cut');
    case 'ENOENT':
    case 'EACCES':
      return where?.host.startsWith('/') ? unreachable(words.socket.why, words.socket.hint) : null;
    default:
      return tlsCodes.test(code) ? byTls(error, words) : null;
  }
}

const tlsCodes =
  /^(ERR_SSL_|ERR_TLS_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|INVALID_CA$|HOSTNAME_MISMATCH$|PATH_LENGTH_EXCEEDED$)/;

/** What went wrong while TLS was agreed. */
export function byTls(error: Error, words: ServerWords): Found {
  const code = codeOf(error);
  if (code === 'ECONNRESET' || code === 'EPIPE')
    return connectionLost('the connection was cut while TLS was agreed');
  return {
    code: 'tls_failed',
    message: `No secure connection could be agreed: ${plain(error.message, 200)}.`,
    hint: tlsHint(code, words),
  };
}

function tlsHint(code: string, { otherName, authority }: ServerWords): string {
  switch (code) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
    case 'HOSTNAME_MISMATCH':
      return `Use the host name that the certificate was issued for, or ${otherName}.`;
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return 'The server\'s certificate is out of date: its administrator must renew it. "ssl": "require" encrypts without checking it.';
    default:
      return `Put the PEM text of the authority that signed the server certificate into "ca" (a reference such as "\${file:/etc/ssl/db-ca.pem}"${authority ? `; ${authority}` : ''}), or use "ssl": "require" to encrypt without checking it.`;
  }
}

function addressOf({ host, port }: Address): string {
  return host.startsWith('/') ? host : `${host}:${port}`;
}
