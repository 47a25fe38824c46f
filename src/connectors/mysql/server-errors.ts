/** What the servers' own errors mean, by number: both servers share them up to 1880 or so, and differ beyond. */

import { connectionLost, type Found } from '../sql/connection-errors.ts';
import { plain } from '../sql/names.ts';

/** Where the failing connection went, for sentences and hints. Nothing secret. */
export interface Where {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  /** The account the server found for the login, as `CURRENT_USER()` says: `app@10.%`. Absent before the login. */
  readonly account?: string | undefined;
}

type Explain = (said: string, where: Where | undefined) => Found;

/** The meaning of a server's error; null for a number without one of its own. */
export function byNumber(errno: number, said: string, where: Where | undefined): Found | null {
  return meanings.get(errno)?.(said, where) ?? null;
}

const lost =
  (why: string): Explain =>
  () =>
    connectionLost(why);

const loginRefused: Explain = (_, where) => ({
  code: 'auth_failed',
  message: `The server refused the login of "${where?.username ?? ''}".`,
  hint: `Check username and password, and that the account may log in from this machine (SELECT user, host FROM mysql.user). As an administrator of the server: ALTER USER ${account(where)} IDENTIFIED BY '…'; then give the new password. An account made with REQUIRE SSL needs "ssl": "require".`,
});

const databaseDenied: Explain = (_, where) => ({
  code: 'permission_denied',
  message: `The login "${where?.username ?? ''}" may not use the database "${where?.database ?? ''}".`,
  hint: `As an administrator of the server: GRANT SELECT ON ${quoted(where?.database ?? '')}.* TO ${account(where)};`,
});

const denied: Explain = (said, where) => ({
  code: 'permission_denied',
  message: `The login "${where?.username ?? ''}" may not do that: ${said}.`,
  hint: `As an administrator of the server: ${grantFor(said, where)}`,
});

const notThere: Explain = (said) => ({
  code: 'not_found_at_source',
  message: `The source has no such thing: ${said}.`,
  hint: 'discover_streams shows the tables and columns that are there; names with odd characters need backticks, and on most servers tables differ by upper and lower case.',
});

const badSql: Explain = (said) => ({
  code: 'invalid_config',
  message: `The server cannot make sense of the SQL: ${said}.`,
  hint: "Check `query`, `where` and `table` of the stream: one SELECT, without a semicolon, in the server's own syntax; every column of a `query` needs a name of its own.",
});

const writes: Explain = (said) => ({
  code: 'query_rejected',
  message: `The SQL would change something at the source: ${said}.`,
  hint: 'A stream only reads. Write its `query` as one SELECT without INTO, FOR UPDATE, or a function that writes.',
});

const readOnlyServer: Explain = (said, where) =>
  /read.only/i.test(said)
    ? connectionLost(`the server has become read-only, as in a failover (${said})`)
    : writes(said, where);

const tooLong: Explain = () => ({
  code: 'timeout',
  message: 'The server stopped a statement that took too long.',
  hint: 'Raise statement_timeout_ms of the connector, index the cursor column, or narrow the stream with `where`.',
});

const locked: Explain = () => ({
  code: 'timeout',
  message: 'A table stayed locked by somebody else.',
  hint: 'Another session holds a lock (ALTER TABLE, LOCK TABLES, …); try again when it is done. SHOW FULL PROCESSLIST shows who waits and for what.',
});

const full: Explain = (_, where) => ({
  code: 'rate_limited',
  message: 'The server has no connection free.',
  hint: `Lower pool.max of the connector, or ask the administrator: SET GLOBAL max_connections = …; or, for this login, ALTER USER ${account(where)} WITH MAX_USER_CONNECTIONS 0;`,
});

const preparedFull: Explain = () => ({
  code: 'rate_limited',
  message: 'The server prepares no more statements: max_prepared_stmt_count is reached.',
  hint: 'Another program prepares statements without closing them. As an administrator of the server: SET GLOBAL max_prepared_stmt_count = 65536;',
});

const lacking: Explain = (said) => ({
  code: 'connection_lost',
  message: `The server ran out of something: ${said}.`,
  hint: 'The server lacks memory or disk for this; its administrator must look. Millrace tries again.',
});

const insecure: Explain = () => ({
  code: 'tls_failed',
  message: 'The server takes secure connections only.',
  hint: 'Set "ssl": "require" (or "verify-full" with "ca").',
});

const authMode: Explain = (said, where) => ({
  code: 'auth_failed',
  message: `The login cannot be checked: ${said}.`,
  hint: `The account uses a way of checking passwords that the server or Millrace does not have. As an administrator of a MySQL server: ALTER USER ${account(where)} IDENTIFIED WITH caching_sha2_password BY '…'; of a MariaDB server: ALTER USER ${account(where)} IDENTIFIED VIA mysql_native_password USING PASSWORD('…');`,
});

const expired: Explain = (_, where) => ({
  code: 'auth_failed',
  message: `The password of "${where?.username ?? ''}" has expired.`,
  hint: `As an administrator of the server: ALTER USER ${account(where)} IDENTIFIED BY '…' PASSWORD EXPIRE NEVER; then give the new password.`,
});

const lockedAccount: Explain = (_, where) => ({
  code: 'auth_failed',
  message: `The account of "${where?.username ?? ''}" is locked.`,
  hint: `As an administrator of the server: ALTER USER ${account(where)} ACCOUNT UNLOCK;`,
});

const hostBlocked: Explain = () => ({
  code: 'host_unreachable',
  message: 'The server has blocked this machine after too many broken connections.',
  hint: 'As an administrator of the server: FLUSH HOSTS; (MySQL 8.0.23 and later: TRUNCATE TABLE performance_schema.host_cache;), and look what cuts connections in between.',
});

const hostRefused: Explain = (said, where) => ({
  code: 'auth_failed',
  message: `The server takes no logins from this machine: ${said}.`,
  hint: `As an administrator of the server: CREATE USER ${account(where)} IDENTIFIED BY '…'; GRANT SELECT ON ${quoted(where?.database ?? '')}.* TO ${account(where)};`,
});

const noDatabase: Explain = (_, where) => ({
  code: 'not_found_at_source',
  message: `The server has no database "${where?.database ?? ''}".`,
  hint: 'Check `database`: SHOW DATABASES shows those that the login may see; on most servers upper and lower case differ.',
});

const tooBig: Explain = (said) => ({
  code: 'response_invalid',
  message: `A value is larger than the server passes on: ${said}.`,
  hint: 'As an administrator of the server: SET GLOBAL max_allowed_packet = 1073741824; (it counts for new connections). Or leave the column out with `columns`: { "exclude": […] }.',
});

const changed: Explain = (said) => ({
  code: 'schema_changed',
  message: `The source changed while it was being looked at: ${said}.`,
  hint: 'Millrace tries again with the new shape by itself.',
});

const brokenView: Explain = (said) => ({
  code: 'not_found_at_source',
  message: `The view cannot be read: ${said}.`,
  hint: 'What it selects from is gone, or its DEFINER is or lacks a right: SHOW CREATE VIEW shows both. Its owner must mend it, or read the tables themselves.',
});

const damaged: Explain = (said) => ({
  code: 'response_invalid',
  message: `The server cannot read its own data: ${said}.`,
  hint: 'Its administrator should run CHECK TABLE on the table and look into the server log.',
});

const meanings: ReadonlyMap<number, Explain> = new Map(
  (
    [
      [loginRefused, [1045, 1698]],
      [databaseDenied, [1044]],
      [denied, [1142, 1143, 1227, 1370]],
      [notThere, [1051, 1054, 1109, 1146, 1176, 1193, 1305, 1932]],
      [noDatabase, [1046, 1049]],
      [
        badSql,
        [
          1052, 1055, 1056, 1060, 1064, 1065, 1066, 1104, 1111, 1115, 1140, 1149, 1166, 1191, 1210, 1221,
          1222, 1235, 1241, 1242, 1247, 1248, 1250, 1253, 1267, 1270, 1271, 1273, 1292, 1295, 1318, 1365,
          1411, 1415, 1426, 1525, 1582, 1583, 1630, 1690, 3064, 3065, 3140, 3141, 3143, 3593, 3685, 4078,
          4079,
        ],
      ],
      [writes, [1792, 1223]],
      [readOnlyServer, [1290, 1836]],
      [tooLong, [1969, 3024]],
      [locked, [1205, 3572]],
      [full, [1040, 1203, 1226]],
      [preparedFull, [1461]],
      [lacking, [3, 1021, 1028, 1037, 1038, 1041, 1114, 1135, 1206]],
      [insecure, [3159]],
      [authMode, [1251, 1275, 1524, 2059]],
      [expired, [1820, 1862]],
      [lockedAccount, [3118, 3955, 4151]],
      [hostBlocked, [1129]],
      [hostRefused, [1130]],
      [tooBig, [1153, 1162, 1301, 2020]],
      [changed, [1412, 1615]],
      [brokenView, [1356, 1449]],
      [damaged, [1030, 1033, 1034, 1035, 1194, 1195, 1712, 1815]],
      [lost('the server ended the session'), [1152, 1184, 1927, 2006, 2013, 3169, 4031]],
      [lost('somebody stopped the statement (KILL QUERY)'), [1317]],
      [lost('the server is shutting down'), [1053, 1077, 1079, 3168]],
      [lost('the server cannot work now, as a cluster node that has not joined'), [1047]],
      [lost('the network broke off'), [1043, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161]],
      [lost('the server gave up the transaction to end a deadlock'), [1213]],
    ] satisfies readonly (readonly [Explain, readonly number[]])[]
  ).flatMap(([explain, numbers]) => numbers.map((number) => [number, explain] as const)),
);

/** The GRANT for what the server says was refused. */
function grantFor(said: string, where: Where | undefined): string {
  const to = account(where);
  const column = /for column '(.+?)' in table '(.+?)'/.exec(said);
  if (column)
    return `GRANT SELECT (${quoted(column[1] ?? '')}) ON ${tableOf(column[2] ?? '', where)} TO ${to};`;
  const table = /for table (?:'(.+?)'|(`.+`))$/.exec(said);
  if (table) return `GRANT SELECT ON ${table[2] ?? tableOf(table[1] ?? '', where)} TO ${to};`;
  const routine = /for routine '(.+?)'/.exec(said)?.[1];
  if (routine)
    return `GRANT EXECUTE ON ${/^procedure/i.test(said) ? 'PROCEDURE' : 'FUNCTION'} ${routine.split('.').map(quoted).join('.')} TO ${to};`;
  const privilege = /you need \(at least one of\) the (.+?) privilege/.exec(said)?.[1];
  if (privilege) return `GRANT ${privilege.split(/,| or /)[0]?.trim() ?? privilege} ON *.* TO ${to};`;
  return `GRANT SELECT ON ${quoted(where?.database ?? '')}.* TO ${to};`;
}

function tableOf(name: string, where: Where | undefined): string {
  return `${quoted(where?.database ?? '')}.${quoted(name)}`;
}

/** The account as SQL writes it. Before the login nobody knows which of its hosts the server will choose. */
function account(where: Where | undefined): string {
  const known = where?.account ?? `${where?.username ?? ''}@%`;
  const at = known.lastIndexOf('@');
  return `${text(known.slice(0, at))}@${text(known.slice(at + 1))}`;
}

function text(value: string): string {
  return `'${plain(value, 200).replaceAll("'", "''")}'`;
}

function quoted(name: string): string {
  return `\`${plain(name, 200).replaceAll('`', '``')}\``;
}
