import { describe, expect, test } from 'vitest';
import { classify } from '../../src/connectors/postgresql/classify.ts';
import { type ErrorCode, MillraceError } from '../../src/core/errors.ts';

const where = { host: 'db.example.com', port: 5432, database: 'shop', username: 'reader' };

function failure(fields: {
  readonly code?: string;
  readonly message?: string;
  readonly severity?: string;
  readonly hint?: string;
}): Error {
  const { message = 'said', ...rest } = fields;
  return Object.assign(new Error(message), rest);
}

const server = (code: string, message = 'said'): Error => failure({ code, message, severity: 'ERROR' });

/** What is thrown, what it becomes, and a word that its hint must hold. */
const table: readonly (readonly [string, Error, ErrorCode, RegExp])[] = [
  [
    'refused',
    failure({ code: 'ECONNREFUSED' }),
    'host_unreachable',
    /Nothing listens at db\.example\.com:5432/,
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
  ["the driver's connect timeout", failure({ message: 'timeout expired' }), 'host_unreachable', /firewall/],
  [
    'every address of a name',
    new AggregateError([failure({ code: 'ECONNREFUSED' })]),
    'host_unreachable',
    /Nothing listens/,
  ],
  ['reset', failure({ code: 'ECONNRESET' }), 'connection_lost', /last stored position/],
  ['reset by the network', failure({ code: 'ENETRESET' }), 'connection_lost', /last stored position/],
  ['broken pipe', failure({ code: 'EPIPE' }), 'connection_lost', /last stored position/],
  [
    'driver: ended',
    failure({ message: 'Connection terminated unexpectedly' }),
    'connection_lost',
    /last stored position/,
  ],
  [
    'driver: ended by us',
    failure({ message: 'Connection terminated' }),
    'connection_lost',
    /last stored position/,
  ],
  [
    'driver: not usable',
    failure({ message: 'Client has encountered a connection error and is not queryable' }),
    'connection_lost',
    /again/,
  ],
  ['self-signed', failure({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }), 'tls_failed', /"ca"/],
  ['unknown authority', failure({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' }), 'tls_failed', /"ca"/],
  ['expired', failure({ code: 'CERT_HAS_EXPIRED' }), 'tls_failed', /renew/],
  ['wrong name', failure({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' }), 'tls_failed', /host name/],
  ['protocol', failure({ code: 'EPROTO' }), 'tls_failed', /"ca"/],
  ['OpenSSL', failure({ code: 'ERR_SSL_WRONG_VERSION_NUMBER' }), 'tls_failed', /"ca"/],
  [
    'no TLS there',
    failure({ message: 'The server does not support SSL connections' }),
    'tls_failed',
    /"ssl": "disable"/,
  ],
  [
    'password',
    server('28P01', 'password authentication failed for user "reader"'),
    'auth_failed',
    /ALTER ROLE "reader" PASSWORD/,
  ],
  [
    'no such role',
    server('28000', 'role "reader" does not exist'),
    'auth_failed',
    /CREATE ROLE "reader" LOGIN/,
  ],
  [
    'empty password',
    failure({ message: 'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a non-empty string' }),
    'auth_failed',
    /Check username and password/,
  ],
  [
    'pg_hba, plain',
    server('28000', 'no pg_hba.conf entry for host "1.2.3.4", user "reader", database "shop", no encryption'),
    'tls_failed',
    /"ssl": "require"/,
  ],
  [
    'pg_hba, encrypted',
    server(
      '28000',
      'no pg_hba.conf entry for host "1.2.3.4", user "reader", database "shop", SSL encryption',
    ),
    'tls_failed',
    /host shop reader ADDRESS\/32/,
  ],
  [
    'no such database',
    server('3D000', 'database "shop" does not exist'),
    'not_found_at_source',
    /SELECT datname FROM pg_database/,
  ],
  [
    'no grant on a table',
    server('42501', 'permission denied for table orders'),
    'permission_denied',
    /GRANT SELECT ON "orders" TO "reader"/,
  ],
  [
    'no grant on a schema',
    server('42501', 'permission denied for schema sales'),
    'permission_denied',
    /GRANT USAGE ON SCHEMA "sales" TO "reader"/,
  ],
  [
    'may not connect',
    server('42501', 'permission denied for database "shop"'),
    'permission_denied',
    /GRANT CONNECT ON DATABASE "shop" TO "reader"/,
  ],
  ['another grant', server('42501', 'permission denied for function f'), 'permission_denied', /GRANT SELECT/],
  [
    'no such table',
    server('42P01', 'relation "x" does not exist'),
    'not_found_at_source',
    /discover_streams/,
  ],
  ['no such column', server('42703', 'column "x" does not exist'), 'not_found_at_source', /discover_streams/],
  ['no such schema', server('3F000'), 'not_found_at_source', /discover_streams/],
  ['no such function', server('42883'), 'not_found_at_source', /discover_streams/],
  [
    'statement timeout',
    server('57014', 'canceling statement due to statement timeout'),
    'timeout',
    /statement_timeout_ms/,
  ],
  ['lock timeout', server('55P03'), 'timeout', /pg_locks/],
  ['terminated', server('57P01'), 'connection_lost', /again/],
  ['crashed', server('57P02'), 'connection_lost', /again/],
  ['starting up', server('57P03'), 'connection_lost', /again/],
  ['idle too long', server('57P05'), 'connection_lost', /again/],
  ['idle in a transaction too long', server('25P03'), 'connection_lost', /again/],
  ['a transaction too long', server('25P04'), 'connection_lost', /again/],
  ['snapshot too old', server('72000', 'snapshot too old'), 'connection_lost', /again/],
  ['protocol violation', server('08P01'), 'connection_lost', /again/],
  [
    'a parameter',
    server('08P01', 'bind message supplies 0 parameters, but prepared statement "" requires 1'),
    'invalid_config',
    /Write the value itself/,
  ],
  ['connection failure', server('08006'), 'connection_lost', /again/],
  ['serialization', server('40001', 'could not serialize access'), 'connection_lost', /again/],
  ['deadlock', server('40P01'), 'connection_lost', /again/],
  ['too many connections', server('53300'), 'rate_limited', /max_connections/],
  ['out of memory', server('53200'), 'connection_lost', /memory/],
  ['syntax', server('42601', 'syntax error at or near "FORM"'), 'invalid_config', /one SELECT/],
  [
    'two statements',
    server('42601', 'cannot insert multiple commands into a prepared statement'),
    'invalid_config',
    /semicolon/,
  ],
  ['a function that writes', server('25006'), 'query_rejected', /only reads/],
  ['a transaction made writable', server('25001'), 'query_rejected', /only reads/],
  [
    'a CTE that writes',
    server('0A000', 'WITH clause containing a data-modifying statement must be at the top level'),
    'query_rejected',
    /one SELECT/,
  ],
  ['another feature the server lacks', server('0A000'), 'response_invalid', /psql/],
  ['division by zero', server('22012'), 'response_invalid', /psql/],
  [
    'a hint of the server',
    failure({ code: '22P05', severity: 'ERROR', hint: 'Try this.' }),
    'response_invalid',
    /Try this/,
  ],
];

describe('classify', () => {
  test.each(table)('%s', (_, error, code, hint) => {
    const found = classify(error, where);
    expect(found).toMatchObject({ code });
    expect(found?.hint).toMatch(hint);
    expect(found?.cause).toBe(error);
    // Sentences, and nothing undefined in them.
    expect(found?.message).toMatch(/^[A-Z].*\.$/);
    expect(`${found?.message} ${found?.hint}`).not.toMatch(/undefined|\[object/);
    // Without knowing where it went, the same code.
    expect(classify(error)).toMatchObject({ code });
  });

  test("what is ours passes through, and what is nobody's is null", () => {
    const own = new MillraceError('row_invalid', 'x', { hint: 'y' });
    expect(classify(own)).toBe(own);
    for (const foreign of [
      new TypeError('x is not a function'),
      'text',
      null,
      undefined,
      42,
      failure({ code: 'ERR_INVALID_ARG_TYPE' }),
    ]) {
      expect(classify(foreign)).toBeNull();
    }
  });

  test('words of a server are data: one line, no control or bidirectional characters, bounded', () => {
    const found = classify(
      server('42P01', `relation "a\u202Eb\n\u0007${'x'.repeat(5000)}" does not exist`),
      where,
    );
    expect(found?.message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(found?.message.length).toBeLessThan(400);
  });
});
