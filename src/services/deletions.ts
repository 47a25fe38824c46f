import { MillraceError } from '../core/errors.ts';
import { assertMay, type Context } from './context.ts';
import { hasEnded } from './runs.ts';
import type { ConnectorService } from './services.ts';

const validMs = 10 * 60_000;

interface Plan {
  readonly connector: string;
  /** Who was shown it: a token that another got to see does nothing in their hands. */
  readonly actor: string;
  readonly keepData: boolean;
  /** The record and the rows as they were when the plan was shown: another state is another plan. */
  readonly fingerprint: string;
  readonly until: number;
}

/**
 * Deleting takes two calls: the first shows what would go and mints a token for exactly that, the second brings
 * it back. An argument like `confirm: true` would be preset by a model; a token it has not seen cannot be.
 */
export function createDeletions(context: Context): Pick<ConnectorService, 'delete'> {
  const plans = new Map<string, Plan>();

  return {
    async delete(input, caller) {
      assertMay(context, caller, 'admin');
      const record = await context.connectors.get(input.connector);
      const keepData = input.keep_data ?? true;
      const tables = context.warehouse
        .tables({ connector: record.name })
        .map((info) => ({ table: info.table, rows: info.rows }));
      const shown = { connector: record.name, keep_data: keepData, tables };
      const fingerprint = JSON.stringify([record.updated_at, tables]);
      const now = context.now().getTime();
      for (const [token, plan] of plans) if (plan.until <= now) plans.delete(token);

      if (input.confirmation === undefined) {
        const confirmation = context.randomToken();
        const { actor } = caller;
        const plan = { connector: record.name, actor, keepData, fingerprint, until: now + validMs };
        plans.set(confirmation, plan);
        return { ...shown, deleted: false, confirmation };
      }
      const plan = plans.get(input.confirmation);
      if (
        plan === undefined ||
        plan.connector !== record.name ||
        plan.actor !== caller.actor ||
        plan.keepData !== keepData ||
        plan.fingerprint !== fingerprint
      )
        throw notThisPlan(record.name, keepData);
      await assertIdle(context, record.name);
      plans.delete(input.confirmation);
      const alone = new AbortController();
      await context.alone(
        record.name,
        async () => {
          // The data first: if they cannot be dropped, they still have a connector by which it can be tried again.
          if (!keepData) await context.warehouse.drop(record.name);
          await context.connectors.remove(record.name);
        },
        alone.signal,
      );
      await context.audit.append({
        actor: caller.actor,
        action: 'delete_connector',
        subject: record.name,
        detail: { keep_data: keepData, tables: tables.length },
      });
      return { ...shown, deleted: true };
    },
  };
}

async function assertIdle(context: Context, connector: string): Promise<void> {
  const [last] = (await context.runs.list({ connector }, { limit: 1 })).items;
  if (last === undefined || hasEnded(last)) return;
  throw new MillraceError('run_in_progress', `"${connector}" is syncing (run ${last.run_id}).`, {
    hint: 'Cancel the run or wait for its end, then delete.',
    nextActions: [
      { tool: 'cancel_run', arguments: { run_id: last.run_id }, why: 'stops it at its next batch' },
    ],
  });
}

function notThisPlan(connector: string, keepData: boolean): MillraceError {
  return new MillraceError(
    'confirmation_invalid',
    'The confirmation belongs to another plan or another caller, was used, or is older than ten minutes.',
    {
      hint: 'Call delete_connector without a confirmation to see the plan as it is now, and bring its token back with the same arguments.',
      nextActions: [
        {
          tool: 'delete_connector',
          arguments: { connector, keep_data: keepData },
          why: 'shows the plan and mints a token for it',
        },
      ],
    },
  );
}
