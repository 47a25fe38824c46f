import type { App } from '../app.ts';
import { asMillraceError } from '../core/errors.ts';
import type { Finding } from './doctor.ts';

/** What a look at the connectors may take. */
export interface LookBounds {
  readonly concurrent: number;
  /** For one source. */
  readonly checkMs: number;
  /** No look is begun after that. */
  readonly totalMs: number;
}

const usualBounds: LookBounds = { concurrent: 2, checkMs: 20_000, totalMs: 5 * 60_000 };

/** Looks at the source of every enabled connector, and says of how many it did not. */
export async function connectorFindings(
  {
    services,
    check,
  }: { readonly services: Pick<App['services'], 'connectors'>; readonly check: App['check'] },
  bounds: LookBounds = usualBounds,
): Promise<readonly Finding[]> {
  const until = performance.now() + bounds.totalMs;
  const enabled = await enabledNames(services);
  const findings = new Map<string, Finding>();
  const waiting = enabled.values();
  const work = async (): Promise<void> => {
    while (performance.now() < until) {
      const next = waiting.next();
      if (next.done === true) return;
      findings.set(next.value, await look(check, next.value, bounds.checkMs));
    }
  };
  await Promise.all(Array.from({ length: bounds.concurrent }, work));
  const disabled = (await services.connectors.names()).length - enabled.length;
  const late = enabled.length - findings.size;
  return [
    ...enabled.flatMap((name) => findings.get(name) ?? []),
    ...(disabled <= 0
      ? []
      : [{ what: 'disabled connectors', ok: true, detail: `${disabled}, not looked at` }]),
    ...(late === 0 ? [] : [notLookedAt(late, enabled.length, bounds.totalMs)]),
  ];
}

async function enabledNames({ connectors }: Pick<App['services'], 'connectors'>): Promise<readonly string[]> {
  const names: string[] = [];
  let cursor: string | undefined;
  do {
    const from = cursor === undefined ? {} : { cursor };
    const page = await connectors.list({ enabled: true, limit: 100, ...from });
    names.push(...page.items.map(({ name }) => name));
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return names;
}

async function look(check: App['check'], name: string, timeoutMs: number): Promise<Finding> {
  const what = `connector "${name}"`;
  try {
    const { report, restEnded } = await check(name, timeoutMs);
    const { ok, warnings, error } = report;
    const rested = restEnded ? ['its scheduled runs, held back after failures, go on'] : [];
    if (ok) return { what, ok, detail: ['reachable', ...warnings, ...rested].join('; ') };
    const hint = error === undefined ? {} : { hint: error.hint };
    return { what, ok, detail: `${error?.code}: ${error?.message}`, ...hint };
  } catch (error) {
    const { code, message, hint } = asMillraceError(error);
    return { what, ok: false, detail: `${code}: ${message}`, hint: code === 'timeout' ? silentHint : hint };
  }
}

/** Of the time that is given here; what a source says itself has its own. */
const silentHint =
  'Look whether the source is busy or hangs, and whether a proxy or firewall stands between: `curl -v` to its base_url, or the client of the database, shows from this machine how far a connection gets.';

function notLookedAt(late: number, all: number, totalMs: number): Finding {
  return {
    what: 'connectors',
    ok: false,
    detail: `${late} of ${all} were not looked at within ${totalMs / 1000} s`,
    hint: 'Mend those above that did not answer, and run `millrace doctor` again; a server that runs looks at all of them now and then.',
  };
}
