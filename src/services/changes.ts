import type { Context } from './context.ts';
import { watchRuns } from './run-watch.ts';
import type { Change, ChangeService, HealthService } from './services.ts';

/** How often the store is looked at for what other processes did. */
const pollMs = 1_000;
/** A run held here changes with every batch; nobody reads faster than this. */
const soonMs = 200;
/** Health is asked for less often, and never for more than a twentieth of the time. */
const healthMs = 5_000;
const healthCostFactor = 20;
const auditLooked = 50;

interface Parts extends Pick<Context, 'now'> {
  readonly runs: Pick<Context['runs'], 'list' | 'get'>;
  readonly audit: Pick<Context['audit'], 'list'>;
  readonly runner: Pick<Context['runner'], 'onChange'>;
}

/**
 * Says what changed, by comparing the store with what it held a moment ago: so a listener hears of what it can read,
 * whichever process did it. The runner's own notices only make the next look come sooner. Nothing is looked at
 * while nobody listens.
 */
export function createChangeService(context: Parts, health: HealthService): ChangeService {
  const listeners = new Set<(changes: readonly Change[]) => void>();
  let stop: (() => void) | undefined;
  const tell = (changes: readonly Change[]): void => {
    for (const listener of listeners) listener(changes);
  };
  return {
    onChange(listener) {
      const own: typeof listener = (changes) => listener(changes);
      listeners.add(own);
      stop ??= watch(context, health, tell);
      return () => {
        if (!listeners.delete(own) || listeners.size > 0) return;
        stop?.();
        stop = undefined;
      };
    },
  };
}

/** Looks until it is stopped. What is there at the first look is no change. */
function watch(
  context: Parts,
  health: HealthService,
  tell: (changes: readonly Change[]) => void,
): () => void {
  const looks = [watchRuns(context.runs), watchAudit(context), watchHealth(context, health)];
  let timer: NodeJS.Timeout | undefined;
  let due = Number.POSITIVE_INFINITY;
  let stopped = false;
  let looking = false;
  let next = pollMs;

  const look = async (): Promise<void> => {
    looking = true;
    due = Number.POSITIVE_INFINITY;
    const found: Change[] = [];
    // A store that cannot be read just now says so to whoever asks it something; the next look sees the same change.
    for (const one of looks) found.push(...(await one(found).catch(() => [])));
    looking = false;
    if (stopped) return;
    if (found.length > 0) tell(found);
    const ms = next;
    next = pollMs;
    within(ms);
  };
  const within = (ms: number): void => {
    if (looking) next = Math.min(next, ms);
    const at = performance.now() + ms;
    if (looking || stopped || at >= due) return;
    due = at;
    clearTimeout(timer);
    timer = setTimeout(() => void look(), ms).unref();
  };
  const unsubscribe = context.runner.onChange(() => within(soonMs));
  void look();
  return () => {
    stopped = true;
    clearTimeout(timer);
    unsubscribe();
  };
}

/** What one look finds; `found` is what the looks before it found in the same turn. */
type Look = (found: readonly Change[]) => Promise<readonly Change[]>;

/** The audit log names every connector that was registered, changed or deleted, whichever process did it. */
function watchAudit({ audit }: Parts): Look {
  let newest: string | undefined;
  return async () => {
    const entries = (await audit.list({ limit: auditLooked })).items;
    const texts = entries.map((entry) => JSON.stringify(entry));
    const before = newest;
    newest = texts[0] ?? '';
    if (before === undefined || before === newest) return [];
    const known = texts.indexOf(before);
    const fresh = known === -1 ? entries : entries.slice(0, known);
    const names = new Set(
      fresh.filter(({ action }) => action.endsWith('_connector')).map(({ subject }) => subject),
    );
    return [{ kind: 'audit' }, ...[...names].map((connector) => ({ kind: 'connector', connector }) as const)];
  };
}

/** Looked at again early when a run's status changed: that is what health is made of. */
function watchHealth({ now }: Parts, health: HealthService): Look {
  let before: string | undefined;
  let notBefore = 0;
  let earliest = 0;
  return async (found) => {
    const began = now().getTime();
    const hint = found.some((change) => change.kind === 'run' && change.status);
    if (began < (hint ? earliest : notBefore)) return [];
    const { status, reasons, connectors } = await health.get();
    const cost = (now().getTime() - began) * healthCostFactor;
    earliest = began + cost;
    notBefore = began + Math.max(healthMs, cost);
    // An age or a size in a reason moves with every look, and is no news.
    const words = reasons.map((reason) => reason.replaceAll(/\d+/g, '#'));
    const seen = JSON.stringify([status, words, connectors.map(({ name, health }) => [name, health])]);
    const changed = before !== undefined && before !== seen;
    before = seen;
    return changed ? [{ kind: 'health' }] : [];
  };
}
