import { hostname } from 'node:os';
import type { Config } from '../config.ts';
import { parseCron } from '../core/cron.ts';
import { MillraceError } from '../core/errors.ts';
import { type Chore, every } from '../engine/chores.ts';
import { createDeliveries, type Target } from '../engine/deliveries.ts';
import type { Log } from '../log.ts';
import { SERVER } from '../vault/references.ts';
import { createAlertLooks } from './alerts.ts';
import { createCheckRounds } from './checks.ts';
import type { Context } from './context.ts';
import type { Verdicts } from './verdicts.ts';

export interface HealthChoresParts {
  readonly context: Context;
  readonly verdicts: Verdicts;
  readonly config: Pick<Config, 'alerts' | 'scheduler'>;
  readonly random: () => number;
  readonly log: Log;
}

/** Looks come at least this often, however long a state has to hold. */
const lookMsMax = 60_000;
const deliverMs = 1_000;

/** What is done for health without anybody asking: looks at sources, and alerts. */
export function healthChores(parts: HealthChoresParts): readonly Chore[] {
  const { healthCheck } = parts.config.scheduler;
  return [
    ...(healthCheck === 'off' ? [] : [checkChore(parts, healthCheck)]),
    ...(parts.config.alerts.webhook === null ? [] : alertChores(parts)),
  ];
}

function checkChore({ context, config }: HealthChoresParts, schedule: string): Chore {
  const times = parseCron(schedule, config.scheduler.timezone);
  const rounds = createCheckRounds(context);
  return {
    name: 'health check',
    due: (now, last) => last > now || (times.nextAfter(last) ?? Number.POSITIVE_INFINITY) <= now,
    run: rounds.round,
  };
}

function alertChores({ context, verdicts, config, random, log }: HealthChoresParts): readonly Chore[] {
  const { holdMs } = config.alerts;
  const looks = createAlertLooks(context, verdicts, { holdMs, server: hostname() });
  const deliveries = createDeliveries({
    alerts: context.alerts,
    target: () => targetOf(context, config.alerts),
    now: context.now,
    random,
    onAttempt: ({ outcome, ...attempt }) => {
      if (outcome === 'delivered') log.info({ event: 'alert_delivered', ...attempt }, 'alert delivered');
      else if (outcome === 'postponed')
        log.warn({ event: 'alert_postponed', ...attempt }, 'alert not taken yet');
      else log.error({ event: 'alert_given_up', ...attempt }, 'alert given up');
    },
  });
  return [
    { name: 'alerts', due: every(Math.min(holdMs, lookMsMax)), run: looks.look },
    { name: 'alert delivery', due: every(deliverMs), run: deliveries.deliver },
  ];
}

/** Throws `secret_missing`, `secret_refused`, `invalid_config`. */
async function targetOf({ secrets }: Context, { webhook, secret }: Config['alerts']): Promise<Target> {
  const clear = await secrets.reveal(SERVER, { url: webhook, secret }, ['secret']);
  const url = String(clear['url']);
  if (/^https?:\/\/./i.test(url) && URL.canParse(url)) return { url, secret: String(clear['secret']) };
  throw new MillraceError('invalid_config', 'alerts.webhook does not name an address of HTTP.', {
    hint: 'Give it as "https://…", or as a reference to where that stands: "${env:MILLRACE_ALERT_URL}".',
    who: 'person',
  });
}
