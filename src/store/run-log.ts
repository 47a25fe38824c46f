import type { Kysely, Transaction } from 'kysely';
import type { LogLine } from '../core/model.ts';
import { scrub } from '../core/redact.ts';
import type { Database } from './database.ts';
import { lightly } from './driver.ts';
import type { RunStore } from './store.ts';

/** Lines kept of one run: enough to see what happened, and a run that complains for ever fills no disk. */
const LOG_LINES_MAX = 500;
/** Characters kept of one line. */
const LOG_CHARACTERS_MAX = 2_000;

/** What a run said while it ran. */
export function logStore(db: Kysely<Database>, now: () => Date): Pick<RunStore, 'log' | 'readLog'> {
  return {
    log: (runId, level, message) => lightly(db, (trx) => addLine(trx, { runId, level, message, at: now() })),

    readLog: async (runId, limit) => {
      const rows = await db
        .selectFrom('run_log')
        .select(['at', 'level', 'message'])
        .where('run_id', '=', runId)
        .orderBy('line', 'desc')
        .limit(Math.max(0, Math.min(limit, LOG_LINES_MAX)))
        .execute();
      return rows.reverse().map(({ at, level, message }) => ({
        at: new Date(at).toISOString(),
        level: level as LogLine['level'],
        message,
      }));
    },
  };
}

interface Said extends Pick<LogLine, 'level' | 'message'> {
  readonly runId: string;
  readonly at: Date;
}

/** One more line of a run, and the oldest goes when there are too many. */
export async function addLine(trx: Transaction<Database>, said: Said): Promise<void> {
  const { runId, level, message, at } = said;
  const { last } = await trx
    .selectFrom('run_log')
    .select(({ fn }) => fn.max('line').as('last'))
    .where('run_id', '=', runId)
    .executeTakeFirstOrThrow();
  const line = ((last as number | null) ?? 0) + 1;
  const text = scrub(message).slice(0, LOG_CHARACTERS_MAX);
  await trx
    .insertInto('run_log')
    .values({ run_id: runId, line, at: at.getTime(), level, message: text })
    .execute();
  await trx
    .deleteFrom('run_log')
    .where('run_id', '=', runId)
    .where('line', '<=', line - LOG_LINES_MAX)
    .execute();
}
