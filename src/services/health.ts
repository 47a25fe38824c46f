import { type Health, judge } from '../core/health.ts';
import { type InstallationFacts, installationFindings } from '../core/health-whole.ts';
import type { Context } from './context.ts';
import { schedulerState } from './scheduler-state.ts';
import type { HealthReport, HealthService } from './services.ts';
import type { ConnectorVerdict, Verdicts } from './verdicts.ts';

/** The most connectors, reasons and calls that a report names; it counts the others. */
const shownMax = { connectors: 100, reasons: 20, actions: 20 };

/** How everything is, in one word first. */
export function createHealthService(context: Context, verdicts: Verdicts): HealthService {
  return {
    async get() {
      const { counts, worst, total } = await survey(verdicts);
      const { store_bytes, free_bytes, disk_bytes } = context.storage();
      const facts = await installationFacts(context);
      const own = judge(installationFindings(facts));
      const reasons = [
        ...own.reasons,
        ...worst.flatMap((one) =>
          isSound(one) ? [] : one.reasons.map((reason) => `${one.name}: ${reason}`),
        ),
      ];
      const unsound = counts.failing + counts.degraded;
      const untold = unsound - worst.filter((one) => !isSound(one)).length;
      return {
        status: statusOf([
          own.health,
          ...(Object.keys(counts) as Health[]).filter((word) => counts[word] > 0),
        ]),
        reasons: atMost(reasons, shownMax.reasons, untold),
        by_health: counts,
        connectors: worst.map(({ name, health, reasons: why, error }) => ({
          name,
          health,
          ...(why.length === 0 ? {} : { reason: why.join('; ') }),
          ...(error === undefined ? {} : { error }),
        })),
        ...(total > worst.length ? { connectors_left_out: total - worst.length } : {}),
        resting: [...(await context.breakers.all()).values()].filter(({ open }) => open !== undefined).length,
        scheduler: facts.scheduler,
        runs: await context.runs.counts(),
        storage: {
          data_dir: context.settings.dataDir,
          store_bytes,
          warehouse_bytes: context.warehouse.sizeBytes(),
          free_bytes,
          disk_bytes,
        },
        next_actions: [...own.next_actions, ...worst.flatMap((one) => one.next_actions)].slice(
          0,
          shownMax.actions,
        ),
      };
    },
  };
}

/** What the installation's own health follows from. */
export async function installationFacts(context: Context): Promise<InstallationFacts> {
  const { store_bytes, free_bytes, disk_bytes } = context.storage();
  const unreadable = await context.warehouse.unreadable();
  return {
    freeBytes: free_bytes,
    diskBytes: disk_bytes,
    storeBytes: store_bytes,
    ...(unreadable === null ? {} : { unreadable }),
    scheduled: await context.health.scheduled(),
    scheduler: await schedulerState(context),
    undelivered: await context.alerts.undelivered(),
  };
}

interface Survey {
  readonly counts: Record<Health, number>;
  /** The worst first, and then by name. */
  readonly worst: readonly ConnectorVerdict[];
  readonly total: number;
}

const order: Readonly<Record<Health, number>> = { failing: 0, degraded: 1, unknown: 2, healthy: 3 };

/** All are counted, and only those that are shown are kept. */
async function survey(verdicts: Verdicts): Promise<Survey> {
  const counts = { failing: 0, degraded: 0, unknown: 0, healthy: 0 };
  const kept: Record<Health, ConnectorVerdict[]> = { failing: [], degraded: [], unknown: [], healthy: [] };
  for await (const verdict of verdicts.all()) {
    counts[verdict.health] += 1;
    if (kept[verdict.health].length < shownMax.connectors) kept[verdict.health].push(verdict);
  }
  const worst = Object.values(kept)
    .flat()
    .toSorted((a, b) => order[a.health] - order[b.health])
    .slice(0, shownMax.connectors);
  return { counts, worst, total: Object.values(counts).reduce((sum, n) => sum + n, 0) };
}

function isSound({ health }: { readonly health: Health }): boolean {
  return health === 'healthy' || health === 'unknown';
}

function statusOf(words: readonly Health[]): HealthReport['status'] {
  if (words.includes('failing')) return 'failing';
  return words.includes('degraded') ? 'degraded' : 'healthy';
}

function atMost(reasons: readonly string[], max: number, untold: number): readonly string[] {
  const shown = reasons.slice(0, max);
  const left = reasons.length - shown.length;
  if (left === 0 && untold === 0) return shown;
  const more = [
    ...(left === 0 ? [] : [`${left} more reasons`]),
    ...(untold === 0 ? [] : [`${untold} more connectors that are degraded or failing`]),
  ];
  return [...shown, `and ${more.join(' and ')}: list_connectors shows the health of each`];
}
