import { describe, expect, test } from 'vitest';
import { classify } from '../../src/connectors/mysql/classify.ts';
import { type ErrorCode, MillraceError } from '../../src/core/errors.ts';

const where = { host: 'db.example.com', port: 3306, database: 'shop', username: 'reader' };
const known = { ...where, account: 'reader@10.%' };

function failure(fields: {
  readonly code?: string;
  readonly message?: string;
  readonly cause?: unknown;
}): Error {
  const { message = 'said', cause, ...rest } = fields;
  return Object.assign(new Error(message, { cause }), rest);
}

const server = (errno: number, message = 'said'): Error =>
  Object.assign(new Error(message), { errno, code: 'ER_X', sqlState: 'HY000' });

/** What is thrown, what it becomes, and a word that its hint must hold. */
const table: readonly (readonly [string, Error, ErrorCode, RegExp])[] = [
  [
    'refused',
    failure({ code: 'ECONNREFUSED' }),
    'host_unreachable',
    /Nothing listens at db\.example\.com:3306.*bind-address/,
  ],
  ['unknown name', failure({ code: 'ENOTFOUND' }), 'host_unreachable', /getent hosts db\.example\.com/],
  ['name server away', failure({ code: 'EAI_AGAIN' }), 'host_unreachable', /spelling/],
  ['no route', failure({ code: 'EHOSTUNREACH' }), 'host_unreachable', /VPN/],
  ['no network', failure({ code: 'ENETDOWN' }), 'host_unreachable', /VPN/],
  ['host down', failure({ code: 'EHOSTDOWN' }), 'host_unreachable', /VPN/],
  ['no local port', failure({ code: 'EADDRNOTAVAIL' }), 'host_unreachable', /ss -s/],
  ['no file free', failure({ code: 'EMFILE' }), 'host_unreachable', /ulimit -n/],
  ['no file free anywhere', failure({ code: 'ENFILE' }), 'host_unreachable', /ulimit -n/],
  ['no answer', failure({ code: 'ETIMEDOUT' }), 'host_unreachable', /connect_timeout_ms/],
  ['our connect timeout', failure({ code: 'MILLRACE_CONNECT_TIMEOUT' }), 'host_unreachable', /firewall/],
  [
    'every address of a name',
    new AggregateError([failure({ code: 'ECONNREFUSED' })]),
    'host_unreachable',
    /Nothing listens/,
  ],
  ['reset', failure({ code: 'ECONNRESET' }), 'connection_lost', /last stored position/],
  ['reset by the network', failure({ code: 'ENETRESET' }), 'connection_lost', /last stored position/],
  ['broken pipe', failure({ code: 'EPIPE' }), 'connection_lost', /last stored position/],
  ['driver: lost', failure({ code: 'PROTOCOL_CONNECTION_LOST' }), 'connection_lost', /last stored position/],
  [
    'driver: closed',
    failure({ message: "Can't add new command when connection is in closed state" }),
    'connection_lost',
    /again/,
  ],
  [
    'driver: closed for writing',
    failure({ message: "Can't write in closed state" }),
    'connection_lost',
    /again/,
  ],
  ['no TLS there', failure({ code: 'HANDSHAKE_NO_SSL_SUPPORT' }), 'tls_failed', /"ssl": "disable".*ssl_cert/],
  ['self-signed', tls('DEPTH_ZERO_SELF_SIGNED_CERT'), 'tls_failed', /"ca"/],
  ['unknown authority', tls('UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'tls_failed', /"ca".*ca\.pem/],
  ['expired certificate', tls('CERT_HAS_EXPIRED'), 'tls_failed', /renew/],
  ['wrong name', tls('ERR_TLS_CERT_ALTNAME_INVALID'), 'tls_failed', /host name.*verify-ca/],
  ['protocol', tls('EPROTO'), 'tls_failed', /"ca"/],
  ['OpenSSL', failure({ code: 'ERR_SSL_WRONG_VERSION_NUMBER' }), 'tls_failed', /"ca"/],
  ['TLS without a reason', failure({ code: 'HANDSHAKE_SSL_ERROR' }), 'tls_failed', /"ca"/],
  ['cut while TLS was agreed', tls('ECONNRESET'), 'connection_lost', /again/],
  [
    'unknown plugin',
    failure({
      code: 'AUTH_SWITCH_PLUGIN_ERROR',
      message: 'Server requests authentication using unknown plugin client_ed25519. See',
    }),
    'auth_failed',
    /caching_sha2_password.*mysql_native_password/,
  ],
  [
    'clear text asked for',
    failure({
      code: 'MYSQL_CLEAR_PASSWORD_NOT_ENABLED',
      message: 'Server requested authentication using mysql_clear_password',
    }),
    'auth_failed',
    /caching_sha2_password/,
  ],
  [
    'no RSA key',
    failure({ code: 'AUTH_SWITCH_PLUGIN_ERROR', message: 'error:1E08010C:DECODER routines::unsupported' }),
    'auth_failed',
    /"ssl": "require"/,
  ],
  ['another protocol', failure({ code: 'MILLRACE_NOT_MYSQL' }), 'response_invalid', /33060/],
  ['packets without order', failure({ code: 'PROTOCOL_UNEXPECTED_PACKET' }), 'response_invalid', /proxy/],
  ['wrong password', server(1045), 'auth_failed', /ALTER USER 'reader'@'%' IDENTIFIED BY.*REQUIRE SSL/],
  ['socket login', server(1698), 'auth_failed', /ALTER USER/],
  [
    'no right on the database',
    server(1044),
    'permission_denied',
    /GRANT SELECT ON `shop`\.\* TO 'reader'@'%';/,
  ],
  [
    'no right on the table',
    server(1142, "SELECT command denied to user 'reader'@'10.0.0.5' for table 'orders'"),
    'permission_denied',
    /GRANT SELECT ON `shop`\.`orders` TO 'reader'@'%';/,
  ],
  [
    'no right on the table, MariaDB',
    server(1142, "SELECT command denied to user 'reader'@'10.0.0.5' for table `shop`.`orders`"),
    'permission_denied',
    /GRANT SELECT ON `shop`\.`orders` TO/,
  ],
  [
    'no right on the column',
    server(1143, "SELECT command denied to user 'reader'@'h' for column 'pay' in table 'staff'"),
    'permission_denied',
    /GRANT SELECT \(`pay`\) ON `shop`\.`staff` TO/,
  ],
  [
    'no right on the function',
    server(1370, "execute command denied to user 'reader'@'%' for routine 'shop.f'"),
    'permission_denied',
    /GRANT EXECUTE ON FUNCTION `shop`\.`f` TO/,
  ],
  [
    'no privilege',
    server(1227, 'Access denied; you need (at least one of) the PROCESS privilege(s) for this operation'),
    'permission_denied',
    /GRANT PROCESS ON \*\.\* TO/,
  ],
  [
    'no privilege of two',
    server(
      1227,
      'Access denied; you need (at least one of) the SUPER, REPLICATION CLIENT privilege(s) for this operation',
    ),
    'permission_denied',
    /GRANT SUPER ON/,
  ],
  ['no such database', server(1049, "Unknown database 'shop'"), 'not_found_at_source', /SHOW DATABASES/],
  ['no such table', server(1146), 'not_found_at_source', /discover_streams/],
  ['no such column', server(1054), 'not_found_at_source', /discover_streams/],
  ['no such function', server(1305), 'not_found_at_source', /discover_streams/],
  ['broken view', server(1356), 'not_found_at_source', /SHOW CREATE VIEW/],
  ['definer gone', server(1449), 'not_found_at_source', /DEFINER/],
  ['syntax', server(1064), 'invalid_config', /one SELECT/],
  ['column twice', server(1060), 'invalid_config', /name of its own/],
  ['writes', server(1792), 'query_rejected', /one SELECT without/],
  [
    'secure-file-priv',
    server(
      1290,
      'The MySQL server is running with the --secure-file-priv option so it cannot execute this statement',
    ),
    'query_rejected',
    /one SELECT/,
  ],
  [
    'failed over',
    server(
      1290,
      'The MySQL server is running with the --read-only option so it cannot execute this statement',
    ),
    'connection_lost',
    /last stored position/,
  ],
  ['read-only mode', server(1836, 'Running in read-only mode'), 'connection_lost', /last stored position/],
  ['statement timeout, MySQL', server(3024), 'timeout', /statement_timeout_ms/],
  ['statement timeout, MariaDB', server(1969), 'timeout', /statement_timeout_ms/],
  ['lock wait', server(1205), 'timeout', /SHOW FULL PROCESSLIST/],
  ['deadlock', server(1213), 'connection_lost', /again/],
  ['KILL QUERY', server(1317), 'connection_lost', /again/],
  ['KILL, MariaDB', server(1927), 'connection_lost', /again/],
  ['KILL, MySQL', server(3169), 'connection_lost', /again/],
  ['wait_timeout', server(4031), 'connection_lost', /again/],
  ['shutdown', server(1053), 'connection_lost', /again/],
  ['net_write_timeout', server(1160), 'connection_lost', /again/],
  [
    'cluster node not ready',
    server(1047, 'WSREP has not yet prepared node for application use'),
    'connection_lost',
    /again/,
  ],
  ['too many connections', server(1040), 'rate_limited', /pool\.max.*max_connections/],
  ['too many of this user', server(1203), 'rate_limited', /MAX_USER_CONNECTIONS/],
  ['too many prepared', server(1461), 'rate_limited', /max_prepared_stmt_count/],
  ['disk full there', server(1021), 'connection_lost', /memory or disk/],
  ['host blocked', server(1129), 'host_unreachable', /FLUSH HOSTS/],
  [
    'host not allowed',
    server(1130, "Host '10.0.0.5' is not allowed to connect to this MySQL server"),
    'auth_failed',
    /CREATE USER 'reader'@'%'/,
  ],
  ['insecure transport', server(3159), 'tls_failed', /"ssl": "require"/],
  ['old authentication', server(1251), 'auth_failed', /IDENTIFIED WITH caching_sha2_password/],
  [
    'plugin not loaded',
    server(1524, "Plugin 'mysql_native_password' is not loaded"),
    'auth_failed',
    /IDENTIFIED WITH caching_sha2_password/,
  ],
  ['password expired', server(1862), 'auth_failed', /PASSWORD EXPIRE NEVER/],
  ['password must be changed', server(1820), 'auth_failed', /PASSWORD EXPIRE NEVER/],
  ['account locked, MySQL', server(3118), 'auth_failed', /ACCOUNT UNLOCK/],
  ['account locked, MariaDB', server(4151), 'auth_failed', /ACCOUNT UNLOCK/],
  ['packet too big', server(1153), 'response_invalid', /SET GLOBAL max_allowed_packet/],
  ['result too big', server(1301), 'response_invalid', /max_allowed_packet/],
  ['definition changed', server(1412), 'schema_changed', /new shape/],
  ['statement must be prepared again', server(1615), 'schema_changed', /new shape/],
  ['crashed table', server(1194), 'response_invalid', /CHECK TABLE/],
  [
    'anything else the server says',
    server(1999, 'Something of tomorrow'),
    'response_invalid',
    /mysql client/,
  ],
];

function tls(code: string): Error {
  return failure({ code: 'HANDSHAKE_SSL_ERROR', cause: failure({ code }) });
}

describe('classify', () => {
  test.each(table)('%s', (_, error, code, hint) => {
    const found = classify(error, where);
    expect(found?.code).toBe(code);
    expect(found?.hint).toMatch(hint);
    expect(found?.message).toMatch(/\.$/);
    expect(found?.cause).toBe(error);
  });

  test('a wrong password is never tried again', () => {
    expect(classify(server(1045), where)?.retryable).toBe(false);
  });

  test('once the account is known, grants name it', () => {
    expect(classify(server(1044), known)?.hint).toContain("TO 'reader'@'10.%';");
  });

  test('names with quotes stay names in what is to be executed', () => {
    const odd = { ...where, database: 'a`b', username: "o'r" };
    expect(classify(server(1044), odd)?.hint).toContain("GRANT SELECT ON `a``b`.* TO 'o''r'@'%';");
  });

  test('a socket that is not there', () => {
    const local = { ...where, host: '/run/mysqld/mysqld.sock' };
    expect(classify(failure({ code: 'ENOENT' }), local)).toMatchObject({ code: 'host_unreachable' });
    expect(classify(failure({ code: 'ENOENT' }), where)).toBeNull();
  });

  test('what is not the driver’s or the server’s is not explained', () => {
    expect(classify(new TypeError('x is not a function'))).toBeNull();
    expect(classify('text')).toBeNull();
    const ours = new MillraceError('timeout', 'x', { hint: 'y' });
    expect(classify(ours)).toBe(ours);
  });

  test('control characters of the server do not get into sentences', () => {
    expect(classify(server(1064, 'near \u001b[31m\u202ex\n'), where)?.message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });
});
