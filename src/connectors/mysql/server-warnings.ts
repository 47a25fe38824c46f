import type { Stream } from '../../core/model.ts';
import { clockSkewMs } from '../sql/check-report.ts';
import { plain } from '../sql/names.ts';
import type { Asking } from './catalogue.ts';
import { type Standing, standingOf } from './replica.ts';
import type { Session } from './session.ts';
import { carriesSql } from './shape.ts';

const oldest = { mysql: 80_000, mariadb: 100_600 } as const;
const oldestName = { mysql: 'MySQL 8.0', mariadb: 'MariaDB 10.6' } as const;
/** Below that a destination's pause of a minute would end a connection, if the server did not let us ask for more. */
const waitTimeoutMin = 60;

/** What to know about the server and the login before the first run. */
export async function serverWarnings(asking: Asking, streams: readonly Stream[]): Promise<readonly string[]> {
  const { session, signal } = asking;
  const rights = globalRights(await session.query('SHOW GRANTS', [], { signal }));
  const standing = await standingOf(asking);
  return [
    ...versionWarnings(session),
    ...rightsWarnings(session, rights),
    ...standingWarnings(session, standing),
    ...guardWarnings(session, rights, standing),
    ...(await settingWarnings(asking, streams)),
  ];
}

/** The account as SQL writes it, for a GRANT. */
export function accountSql({ server }: Session): string {
  const at = server.account.lastIndexOf('@');
  const quoted = (text: string): string => `'${plain(text, 200).replaceAll("'", "''")}'`;
  return `${quoted(server.account.slice(0, at))}@${quoted(server.account.slice(at + 1))}`;
}

function versionWarnings({ server }: Session): readonly string[] {
  const { kind, number, version } = server;
  if (number >= oldest[kind]) return [];
  return [
    `${plain(version, 60)} is older than what Millrace is tested with (${oldestName[kind]} and later).`,
  ];
}

/** Rights on everything, those of roles that are in force among them. Nothing else of these lines is kept: they may hold a password's hash. */
function globalRights(grants: readonly (readonly (string | null)[])[]): ReadonlySet<string> {
  const found = grants.flatMap(([line]) => {
    const [, list] = /^GRANT (.+?) ON \*\.\* TO /.exec(line ?? '') ?? [];
    return list === undefined ? [] : list.split(/,\s*/);
  });
  return new Set(found.map((right) => right.toUpperCase()));
}

const mightyRights = ['ALL PRIVILEGES', 'SUPER', 'CREATE USER', 'SYSTEM_USER', 'SHUTDOWN'];
const writingRights = ['INSERT', 'UPDATE', 'DELETE', 'DROP', 'ALTER', 'CREATE'];

function rightsWarnings(session: Session, rights: ReadonlySet<string>): readonly string[] {
  const login = `"${plain(session.server.account, 100)}"`;
  if (mightyRights.some((right) => rights.has(right))) {
    return [
      `${login} may administer the server. Millrace only reads, but a login that can only read is safer: CREATE USER 'millrace'@'%' IDENTIFIED BY '…'; GRANT SELECT ON \`database\`.* TO 'millrace'@'%'; GRANT PROCESS ON *.* TO 'millrace'@'%';`,
    ];
  }
  if (writingRights.some((right) => rights.has(right)))
    return [`${login} may change every database of the server; reading needs no more than SELECT.`];
  if (rights.has('FILE'))
    return [
      `${login} may read and write files of the server (FILE); reading tables needs no more than SELECT.`,
    ];
  return [];
}

function standingWarnings(session: Session, standing: Standing): readonly string[] {
  const { role, lagSeconds, stopped, asked } = standing;
  const instead = 'so a look-back window guards against late commits instead.';
  const mayAsk = `GRANT ${session.server.kind === 'mariadb' ? 'SLAVE MONITOR' : 'REPLICATION CLIENT'} ON *.* TO ${accountSql(session)};`;
  switch (role) {
    case 'primary':
      return [];
    case 'member':
      return [
        `This server is a member of a cluster: it does not show transactions that are open on the others, ${instead}`,
      ];
    case 'unknown':
      return [
        `This server is read-only, and the login may not ask whether it is a replica: ${mayAsk} If it is one, a run sees what has arrived here only.`,
      ];
    case 'replica': {
      const lag = !asked
        ? ` How far it is behind the login may not ask: ${mayAsk}`
        : stopped !== null
          ? ` It stands still (${stopped}): what was written since is missing. SHOW REPLICA STATUS says why.`
          : lagSeconds === null
            ? ' It does not say how far it is behind.'
            : lagSeconds > 0
              ? ` It is ${lagSeconds} s behind: what was written since comes with a later run.`
              : '';
      return [
        `This server is a replica: it does not show open transactions of its primary, ${instead}${lag}`,
      ];
    }
    default:
      throw role satisfies never;
  }
}

/** Without PROCESS nobody can see who has not committed yet. */
function guardWarnings(session: Session, rights: ReadonlySet<string>, { role }: Standing): readonly string[] {
  if (rights.has('PROCESS') || rights.has('ALL PRIVILEGES') || role === 'replica' || role === 'member')
    return [];
  return [
    `The login may not see open transactions: a look-back window guards against late commits instead, and one that stays open for longer than that is missed. As an administrator of the server: GRANT PROCESS ON *.* TO ${accountSql(session)};`,
  ];
}

/** How far the server's clock is ahead of this machine's. */
export async function clockSkewOf({ session, signal }: Asking): Promise<number> {
  const askedAt = Date.now();
  const [row] = await session.query('SELECT UNIX_TIMESTAMP(SYSDATE(6)) * 1000', [], { signal });
  return clockSkewMs(Number(row?.[0]), askedAt, Date.now());
}

/** Modes under which SQL means something else than most people think. */
const oddModes: Readonly<Record<string, string>> = {
  ANSI_QUOTES: 'a text in double quotes is a name',
  PIPES_AS_CONCAT: '|| joins texts',
  NO_BACKSLASH_ESCAPES: 'a backslash in a text is only that',
  HIGH_NOT_PRECEDENCE: 'NOT binds tighter',
  EMPTY_STRING_IS_NULL: "'' is NULL",
  ORACLE: "Oracle's syntax is understood",
};

async function settingWarnings(
  { session, signal }: Asking,
  streams: readonly Stream[],
): Promise<readonly string[]> {
  const found: string[] = [];
  const [row] = await session.query('SELECT @@SESSION.wait_timeout', [], { signal });
  const waits = Number(row?.[0]);
  if (waits < waitTimeoutMin) {
    found.push(
      `The server ends a connection that is idle for ${waits} s: a slow destination costs reconnects. As its administrator: SET GLOBAL wait_timeout = 28800;`,
    );
  }
  const odd = Object.keys(oddModes).filter((mode) => session.server.sqlMode.has(mode));
  if (odd.length > 0 && streams.some(carriesSql)) {
    const meanings = odd.map((mode) => `${mode} (${oddModes[mode]})`).join(', ');
    found.push(`The SQL of the streams is read under the server's own sql_mode: ${meanings}.`);
  }
  return found;
}
