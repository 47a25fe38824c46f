import { asMillraceError } from '../core/errors.ts';
import type { CheckReport } from '../core/model.ts';
import { ask, type Context } from './context.ts';

/** Looks at the sources of connectors now and then, so that trouble is known before the next run meets it. */
export interface CheckRounds {
  /** Looks at those whose turn it is; ends early when aborted. One that does not answer is a finding, not an error. */
  round(signal: AbortSignal): Promise<void>;
}

/** Of a round: it has to be over before the next one, and is no load that anybody notices. */
const roundMax = { connectors: 200, concurrent: 2, checkMs: 30_000, totalMs: 10 * 60_000 };
/**
 * A process's first round: whom somebody has met so lately is known well enough. Less than lies between the last look of
 * a long round and the next one, or whom the process before looked at would wait for two rounds.
 */
const firstSinceMs = 5 * 60_000;

/** Over the connectors that the store names. */
export function createCheckRounds(context: Context): CheckRounds {
  let since: number | undefined;
  return {
    async round(signal) {
      const after = since ?? context.now().getTime() - firstSinceMs;
      const names = await context.checks.due(new Date(after), roundMax.connectors);
      const waiting = names.values();
      const ends = AbortSignal.any([signal, AbortSignal.timeout(roundMax.totalMs)]);
      const work = async (): Promise<void> => {
        for (const name of waiting) {
          if (ends.aborted) return;
          await look(context, name, ends);
        }
      };
      await Promise.all(Array.from({ length: roundMax.concurrent }, work));
      // Its end and not its beginning, or its own looks would count as met since. After an abort others make the rounds,
      // and theirs are not known here.
      since = signal.aborted ? undefined : context.now().getTime();
    },
  };
}

/** What a look at the source found. */
export interface Look {
  readonly report: CheckReport;
  /** The connector's breaker was open, and this look is why it no longer is. */
  readonly restEnded: boolean;
}

/** Looks at the source; what is found is kept, and a breaker that is open learns that the source answers. */
export async function checkConnector(
  context: Context,
  name: string,
  { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs?: number },
): Promise<Look> {
  const connector = await context.connectors.get(name);
  const question = { ask: 'check', streams: connector.streams } as const;
  try {
    const report = await ask(
      context,
      { connector, question, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
      signal,
    );
    return { report, restEnded: await keep(context, name, report) };
  } catch (error) {
    if (!signal.aborted) await keep(context, name, unanswered(error));
    throw error;
  }
}

async function look(context: Context, name: string, signal: AbortSignal): Promise<void> {
  try {
    await checkConnector(context, name, { signal, timeoutMs: roundMax.checkMs });
  } catch {
    // Kept as what the check found; a connector that was deleted meanwhile needs none.
  }
}

async function keep(context: Context, name: string, report: CheckReport): Promise<boolean> {
  if (context.settings.readOnly) return false;
  await context.checks.put(name, report);
  return report.ok && (await context.breakers.testPassed(name));
}

/** What a look that could not be made comes to. */
export function unanswered(error: unknown): CheckReport {
  return { ok: false, checks: [], warnings: [], error: asMillraceError(error).toView() };
}
