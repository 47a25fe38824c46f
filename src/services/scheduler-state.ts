import { holderParts } from '../engine/holder.ts';
import { SCHEDULER } from '../engine/scheduler.ts';
import type { Context } from './context.ts';
import type { HealthReport } from './services.ts';

/** Who starts scheduled runs, and what is due next. */
export async function schedulerState(context: Context): Promise<HealthReport['scheduler']> {
  const { settings } = context;
  const other = await otherHolder(context);
  const next = await context.schedules.nextDue();
  const due =
    next !== null
      ? `Next: ${next.connector} at ${next.dueAt.toISOString()}.`
      : (await context.schedules.nextStart()) === null
        ? 'Nothing is scheduled.'
        : 'Nothing is planned yet.';
  if (context.schedulesHere()) return { enabled: true, detail: `This process starts scheduled runs. ${due}` };
  if (other !== null) return { enabled: true, detail: `Scheduled runs are started by ${other}. ${due}` };
  if (settings.readOnly)
    return { enabled: false, detail: 'This server is read-only and starts no runs, and no other is there.' };
  if (!settings.scheduler.enabled)
    return {
      enabled: false,
      detail:
        'scheduler.enabled is false in the config file of this server, and no other starts scheduled runs.',
    };
  return { enabled: true, detail: `This process is about to take over from one that is gone. ${due}` };
}

async function otherHolder({ leases }: Context): Promise<string | null> {
  const holder = (await leases.look(SCHEDULER))?.holder ?? null;
  if (holder === null) return null;
  const { host, pid } = holderParts(holder);
  return `the process ${pid ?? 'unknown'} on ${host}`;
}
