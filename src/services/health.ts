import type { NextAction } from '../core/errors.ts';
import type { Run } from '../core/model.ts';
import type { Context } from './context.ts';
import { schedulerState } from './scheduler-state.ts';
import type { Health, HealthReport, HealthService } from './services.ts';

/** Below this much free space a sync may fail at any time. */
const lowDiskBytes = 512 * 1024 * 1024;

/** How everything is, in one word first. */
export function createHealthService(context: Context): HealthService {
  return {
    async get() {
      const connectors = await connectorStates(context);
      const { store_bytes, free_bytes } = context.storage();
      const reasons = connectors.flatMap((state) =>
        state.reason === undefined ? [] : [`${state.name}: ${state.reason}`],
      );
      if (free_bytes < lowDiskBytes)
        reasons.push(`only ${Math.round(free_bytes / 1024 / 1024)} MB are free for the data folder`);
      return {
        status: overall(connectors, free_bytes),
        reasons,
        connectors,
        scheduler: await schedulerState(context),
        runs: await context.runs.counts(),
        storage: {
          data_dir: context.settings.dataDir,
          store_bytes,
          warehouse_bytes: context.warehouse.sizeBytes(),
          free_bytes,
        },
        next_actions: connectors.flatMap(actionsFor),
      };
    },
  };
}

type State = HealthReport['connectors'][number];

async function connectorStates(context: Context): Promise<readonly State[]> {
  const names = await context.connectors.names();
  const states: State[] = [];
  for (const name of names) {
    states.push({ name, ...healthOf(await context.runs.latest(name)) });
  }
  return states;
}

/** How a connector is, from its newest run that is not a skipped time. */
export function healthOf(last: Run | null): {
  readonly health: Health;
  readonly reason?: string;
  readonly error?: NonNullable<Run['error']>;
} {
  if (last === null) return { health: 'unknown' };
  const error = last.error === undefined ? {} : { error: last.error };
  switch (last.status) {
    case 'succeeded':
    case 'cancelled':
      return { health: 'healthy' };
    case 'queued':
    case 'running':
      return last.attempt > 1 || last.retry_at !== undefined
        ? { health: 'degraded', reason: `attempt ${last.attempt} failed, trying again`, ...error }
        : { health: 'healthy' };
    case 'partial':
      return {
        health: 'degraded',
        reason: `the last run left streams behind: ${failedStreams(last)}`,
        ...error,
      };
    case 'failed':
      return {
        health: 'failing',
        reason:
          last.error === undefined ? 'the last run failed' : `${last.error.code}: ${last.error.message}`,
        ...error,
      };
    default:
      return last.status satisfies never;
  }
}

function failedStreams(run: Run): string {
  return run.streams
    .filter((stream) => stream.status === 'failed')
    .map((stream) => stream.stream)
    .join(', ');
}

function overall(connectors: readonly State[], freeBytes: number): HealthReport['status'] {
  if (connectors.some((state) => state.health === 'failing')) return 'failing';
  return connectors.some((state) => state.health === 'degraded') || freeBytes < lowDiskBytes
    ? 'degraded'
    : 'healthy';
}

function actionsFor(state: State): readonly NextAction[] {
  if (state.health !== 'failing' && state.health !== 'degraded') return [];
  return [
    {
      tool: 'test_connector',
      arguments: { connector: state.name },
      why: 'shows what is wrong with the source now',
    },
  ];
}
