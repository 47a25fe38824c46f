import { type AlertState, type Change, decide } from '../core/alerts.ts';
import { judge, type Verdict } from '../core/health.ts';
import { installationFindings } from '../core/health-whole.ts';
import type { Context } from './context.ts';
import { installationFacts } from './health.ts';
import type { Verdicts } from './verdicts.ts';

/** Sees changes of health and puts what people are to hear of into the outbox. */
export interface AlertLooks {
  look(): Promise<void>;
}

export interface AlertOptions {
  /** How long every look has to see a state before it is told. */
  readonly holdMs: number;
  /** The machine's name, so that whoever hears of it knows where to go. */
  readonly server: string;
}

/** More changes than this in one look are one cause, and one alert. */
const singlyMax = 20;
const said = { reasons: 5, actions: 6, names: 10 };

/** The installation's own name among the subjects; no connector has it. */
const installation = '';

/** Over all connectors, and the installation as a subject of its own. */
export function createAlertLooks(
  context: Context,
  verdicts: Verdicts,
  { holdMs, server }: AlertOptions,
): AlertLooks {
  const told = (change: Change, verdict: Verdict): Told => ({ change, verdict });

  return {
    async look() {
      const known = new Map((await context.alerts.states()).map((state) => [state.subject, state]));
      const states: AlertState[] = [];
      const changes: Told[] = [];
      const see = (subject: string, verdict: Verdict): void => {
        const at = context.now().getTime();
        const { state, change } = decide(known.get(subject), { subject, health: verdict.health, at }, holdMs);
        if (state !== undefined) states.push(state);
        if (change !== undefined) changes.push(told(change, verdict));
        known.delete(subject);
      };
      see(installation, judge(installationFindings(await installationFacts(context))));
      for await (const verdict of verdicts.all()) see(verdict.name, verdict);
      if (known.size > 0) await context.alerts.forget();
      if (states.length === 0) return;
      const alerts = changes.length > singlyMax ? [together(changes)] : changes.map(single);
      await context.alerts.remember(
        states,
        alerts.map(({ subject, data }) => ({
          subject,
          id: `msg_${context.randomToken()}`,
          body: { type: 'health.changed', timestamp: context.now().toISOString(), data: { server, ...data } },
        })),
      );
    },
  };
}

interface Told {
  readonly change: Change;
  readonly verdict: Verdict;
}

interface Alert {
  readonly subject: string;
  readonly data: object;
}

function single({ change, verdict }: Told): Alert {
  const { subject, from, to, since } = change;
  return {
    subject,
    data: {
      what: subject === installation ? 'the installation' : `connector ${subject}`,
      ...(subject === installation ? {} : { connector: subject }),
      from,
      to,
      since: new Date(since).toISOString(),
      why: verdict.reasons.slice(0, said.reasons),
      next_actions: verdict.next_actions.slice(0, said.actions),
    },
  };
}

/** Twenty alerts at once are read as one at best, and a network that is down can be a thousand. */
function together(changes: readonly Told[]): Alert {
  const groups = Map.groupBy(changes, ({ change }) => `from ${change.from} to ${change.to}`);
  const words = (['failing', 'degraded'] as const).filter((word) =>
    changes.some(({ change }) => change.to === word),
  );
  return {
    subject: `at once, ${new Date(Math.max(...changes.map(({ change }) => change.since))).toISOString()}`,
    data: {
      what: `${changes.length} connectors at once`,
      from: 'various',
      to: words[0] ?? 'healthy',
      since: new Date(Math.min(...changes.map(({ change }) => change.since))).toISOString(),
      why: [...groups].map(([words, group]) => `${group.length} ${words}: ${named(group)}`),
      next_actions: [{ tool: 'get_health', arguments: {}, why: 'shows the worst of them with reasons' }],
    },
  };
}

function named(group: readonly Told[]): string {
  const names = group.map(({ change }) => change.subject || 'the installation');
  const more = names.length > said.names ? ` and ${names.length - said.names} more` : '';
  return `${names.slice(0, said.names).join(', ')}${more}`;
}
