/** Where nobody shows who is about to commit: a window behind the mark, and what would be better. */

import type { GuardResult } from '../sql/guard.ts';
import { type Lookback, shownLookback } from '../sql/lookback.ts';
import { plain } from '../sql/names.ts';
import type { Engine } from './engine.ts';
import { cursorKind, isInteger, type PlannedColumn } from './plan.ts';
import { type Standing, standingOf } from './replica.ts';
import { accountSql } from './server-warnings.ts';
import type { Session } from './session.ts';

/** Why open transactions cannot be seen. */
export interface Unseen {
  /** A clause. */
  readonly reason: string;
  /** What makes them visible, as an order; null when nothing does. */
  readonly mend: string | null;
  readonly warnings: readonly string[];
}

/** The login may not see other people's transactions. */
export function notGranted(session: Session): Unseen {
  return {
    reason: 'PROCESS is not granted',
    mend: `GRANT PROCESS ON *.* TO ${accountSql(session)}`,
    warnings: [],
  };
}

/** InnoDB's list is made anew only when nobody has asked for it for a tenth of a second. */
export const askedTooOften: Unseen = {
  reason: 'somebody asks for innodb_trx without a pause, so that it is never up to date',
  mend: null,
  warnings: [],
};

interface Asking {
  readonly session: Session;
  readonly signal: AbortSignal;
}

/** Why those who write this table are not seen on this server; null when they are, if the login may look. */
export async function whyUnseen(asking: Asking, engine: Engine): Promise<Unseen | null> {
  const standing = await standingOf(asking);
  const warnings = lagWarnings(standing);
  const unseen = (reason: string): Unseen => ({ reason, mend: null, warnings });
  switch (standing.role) {
    case 'replica':
      return unseen("a replica does not show the primary's transactions");
    case 'member':
      return unseen('the other members of a cluster take writes that are not seen here');
    case 'unknown':
      return unseen('the server is read-only, and may be a replica');
    case 'primary':
      return engine.transactions === 'other'
        ? unseen(`the engine ${plain(engine.name, 40)} shows its transactions to nobody`)
        : null;
    default:
      throw standing.role satisfies never;
  }
}

function lagWarnings({ lagSeconds, stopped }: Standing): readonly string[] {
  if (stopped !== null)
    return [
      `The server is a replica, and ${stopped}: what was written since is not there yet. SHOW REPLICA STATUS says why.`,
    ];
  if (lagSeconds === null || lagSeconds < 1) return [];
  return [
    `The server is a replica, ${lagSeconds} s behind its primary: what was written there since comes with a later run.`,
  ];
}

/** Longer than any transaction of a web application; reports and imports take longer, and need a declared one. */
const usualTime: Lookback = { kind: 'time', ms: 300_000 };
/** So many numbers may be given out while a transaction with an older one is open. */
const usualNumbers: Lookback = { kind: 'number', by: '10000' };

function usualWindow({ type }: PlannedColumn): Lookback | null {
  if (cursorKind(type) === 'time') return usualTime;
  return isInteger(type) ? usualNumbers : null;
}

/** No list of open transactions: a window behind the mark, the declared one or the usual one. */
export function withWindow(
  { cursor, lookback: declared }: { readonly cursor: PlannedColumn; readonly lookback: Lookback | null },
  { reason, mend, warnings: seen }: Unseen,
  found: { readonly mark: string | null; readonly warnings: readonly string[] },
): GuardResult {
  const bound = { mark: found.mark, held: [] };
  const warnings = [...found.warnings, ...seen];
  const lookback = declared ?? usualWindow(cursor);
  const better = mend === null ? '' : `; ${mend} lets Millrace see them`;
  if (lookback === null) {
    const none = `No guard against late commits is possible here (${reason}): give the stream a \`lookback\`${better}.`;
    return { bound, guard: `none: ${reason}`, warnings: [...warnings, none], lookback };
  }
  if (declared === null && lookback.kind === 'number') {
    warnings.push(
      `Only the last ${lookback.by} numbers of "${plain(cursor.name, 63)}" are read again in each run (${reason}): a transaction that is open while more are given out can be missed. Give the stream a larger \`lookback\`${better}.`,
    );
  }
  return { bound, guard: `lookback ${shownLookback(lookback)}: ${reason}`, warnings, lookback };
}
