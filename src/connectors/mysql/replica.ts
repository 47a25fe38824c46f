/** Whether a server is where the writing happens: if not, it does not show the transactions that are open elsewhere. */

import { MillraceError } from '../../core/errors.ts';
import type { Session, TextRow } from './session.ts';

/** A server's place among others. */
export interface Standing {
  /**
   * `primary`: writers work here, or nothing suggests otherwise. `replica`: their transactions come from another server
   * after they were committed there. `member`: of a cluster whose other members take writes as well. `unknown`: it is
   * read-only and the login may not ask why.
   */
  readonly role: 'primary' | 'replica' | 'member' | 'unknown';
  /** Of a replica: how far it is behind; null when it does not say, as when replication stands still. */
  readonly lagSeconds: number | null;
  /** Of a replica: what stands still, as a clause; null when all of it runs or it cannot be told. */
  readonly stopped: string | null;
  /** Whether the login was allowed to ask; false: `replica` was seen by its threads, and its lag was not. */
  readonly asked: boolean;
}

interface Asking {
  readonly session: Session;
  readonly signal: AbortSignal;
}

/** Asks where the server stands. Needs REPLICATION CLIENT (MariaDB: SLAVE MONITOR) to be sure. */
export async function standingOf(asking: Asking): Promise<Standing> {
  const rows = await replication(asking);
  if (rows !== null && rows.length > 0)
    return replicaOf(rows.map((row) => row.slice(offsetOf(asking.session))));
  const [member, readOnly] = await variables(asking);
  const asked = rows !== null;
  if (member) return { role: 'member', lagSeconds: null, stopped: null, asked };
  if (asked) return plainly('primary', true);
  if (await hasReplicaThreads(asking)) return plainly('replica', false);
  return plainly(readOnly ? 'unknown' : 'primary', false);
}

function plainly(role: Standing['role'], asked: boolean): Standing {
  return { role, lagSeconds: null, stopped: null, asked };
}

/** The rows of SHOW REPLICA STATUS, one a channel; null when the login may not ask. */
async function replication({ session, signal }: Asking): Promise<readonly TextRow[] | null> {
  try {
    return await session.query(statusSql(session), [], { signal });
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'permission_denied') return null;
    throw error;
  }
}

function statusSql({ server }: Session): string {
  if (server.kind === 'mariadb') return 'SHOW ALL SLAVES STATUS';
  return server.number >= 80_022 ? 'SHOW REPLICA STATUS' : 'SHOW SLAVE STATUS';
}

/** MariaDB's statement for all channels has the channel's name and a state in front. */
function offsetOf({ server }: Session): number {
  return server.kind === 'mariadb' ? 2 : 0;
}

/**
 * By place, since the names differ between servers and versions (`Seconds_Behind_Master`, `Seconds_Behind_Source`) while
 * the places have not moved since MySQL 5.0; new columns were put behind.
 */
const at = { receiver: 10, applier: 11, lag: 32 } as const;

function replicaOf(channels: readonly TextRow[]): Standing {
  const lags = channels.map((row) => row[at.lag]).filter((lag) => lag !== null && lag !== undefined);
  const receiving = channels.every((row) => row[at.receiver] === 'Yes');
  const applying = channels.every((row) => row[at.applier] === 'Yes');
  return {
    role: 'replica',
    lagSeconds: lags.length < channels.length ? null : Math.max(...lags.map(Number)),
    stopped: !applying
      ? 'it does not apply what it receives'
      : !receiving
        ? 'it has no connection to its primary'
        : null,
    asked: true,
  };
}

/** Whether it is in a Galera cluster or a replication group; whether it is read-only. */
async function variables({ session, signal }: Asking): Promise<readonly [boolean, boolean]> {
  const rows = await session.query(
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('wsrep_on', 'group_replication_group_name', 'read_only')",
    [],
    { signal },
  );
  const value = new Map(rows.map(([name, text]) => [name, text ?? '']));
  const grouped = (value.get('group_replication_group_name') ?? '') !== '';
  return [value.get('wsrep_on') === 'ON' || grouped, value.get('read_only') !== 'OFF'];
}

/** The threads of replication, which PROCESS shows; without it only the login's own are shown, and none is found. */
async function hasReplicaThreads({ session, signal }: Asking): Promise<boolean> {
  const rows = await session.query(
    `SELECT 1 FROM information_schema.processlist
     WHERE user = 'system user' AND command IN ('Connect', 'Query', 'Slave_IO', 'Slave_SQL', 'Slave_worker') LIMIT 1`,
    [],
    { signal },
  );
  return rows.length > 0;
}
