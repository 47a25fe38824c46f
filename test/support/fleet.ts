import { join } from 'node:path';
import BetterSqlite from 'better-sqlite3';
import { SCHEDULER } from '../../src/engine/scheduler.ts';
import { type MillraceProcess, type StartOptions, startMillrace } from './millrace-process.ts';

/** Several processes on one data folder, of which any may be gone at any time and is replaced. */
export interface Fleet extends AsyncDisposable {
  readonly members: readonly MillraceProcess[];
  /** One that lives. */
  any(): MillraceProcess;
  /** Whoever of them starts scheduled runs by now, as the file says it; null when nobody does. */
  holder(): MillraceProcess | null;
  /** Whoever of them carries out a run of the connector by now; null when nobody does. */
  runner(connector: string): MillraceProcess | null;
  /** SIGKILL, and another in its place. */
  replace(member: MillraceProcess): Promise<void>;
}

export async function startFleet(size: number, options: StartOptions): Promise<Fleet> {
  const members: MillraceProcess[] = [];
  // One after another: the first makes the files.
  for (let at = 0; at < size; at += 1) members.push(await startMillrace(options));
  /** The living member that has the lease, as the file says it. */
  const holds = (lease: string): MillraceProcess | null => {
    const db = new BetterSqlite(join(options.dataDir, 'store.db'), { readonly: true });
    try {
      const held = db.prepare('SELECT holder FROM leases WHERE name = ? AND expires_at > 0');
      const pid = String(held.pluck().get(lease)).split(':')[1];
      return members.find((member) => member.alive() && pid === `${member.pid}`) ?? null;
    } finally {
      db.close();
    }
  };
  return {
    members,
    any() {
      const one = members.find((member) => member.alive());
      if (one === undefined) throw new Error('none of them lives');
      return one;
    },
    holder: () => holds(SCHEDULER),
    runner: (connector) => holds(`run/${connector}`),
    async replace(member) {
      await member.kill('SIGKILL');
      members[members.indexOf(member)] = await startMillrace(options);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(members.map((member) => member.kill()));
    },
  };
}
