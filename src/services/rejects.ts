import type { Connector, Stream } from '../core/model.ts';
import type { Replayed } from '../destinations/destination.ts';
import { assertMay, type Context, sourceSpec, withinTime } from './context.ts';
import { assertStreams } from './runs.ts';
import type { RejectService, Replay, ReplayRequest } from './services.ts';

/** Rows that stand aside: looking at them, and landing them after what kept them back was mended. */
export function createRejectService(context: Context): RejectService {
  const { connectors, warehouse } = context;

  return {
    async list({ limit, cursor, ...filter }) {
      const connector = await connectors.get(filter.connector);
      const page = await warehouse.rejects(filter, {
        limit: limit ?? 10,
        ...(cursor === undefined ? {} : { cursor }),
      });
      // One that is not declared any more may still have some; a name that never was is better told.
      if (page.items.length === 0 && filter.stream !== undefined) assertStreams(connector, [filter.stream]);
      const counts = (await warehouse.rejectCounts(connector.name)).filter(
        ({ stream }) => (filter.stream ?? stream) === stream,
      );
      return { ...page, not_kept: counts.reduce((sum, { not_kept }) => sum + not_kept, 0) };
    },

    async replay(request, caller, signal) {
      assertMay(context, caller, 'operate');
      const connector = await connectors.get(request.connector);
      assertStreams(connector, [request.stream]);
      const done = await withinTime(connector.name, { signal }, (inTime) =>
        context.alone(
          connector.name,
          (epoch, held) => land(context, { connector, request, epoch }, held),
          inTime,
        ),
      );
      await context.audit.append({
        actor: caller.actor,
        action: 'replay_rejects',
        subject: connector.name,
        detail: { ...request, ...done },
      });
      return replayOf(request, done);
    },
  };
}

interface Landing {
  readonly connector: Connector;
  readonly request: ReplayRequest;
  readonly epoch: number;
}

async function land(
  context: Context,
  { connector, request, epoch }: Landing,
  signal: AbortSignal,
): Promise<Replayed> {
  const job = {
    kind: 'replay',
    source: await sourceSpec(context, connector),
    warehouseFile: context.settings.warehouseFile,
    epoch,
    stream: connector.streams.find(({ name }) => name === request.stream) as Stream,
    ...(request.reject_ids === undefined ? {} : { ids: request.reject_ids }),
  } as const;
  return (await context.threads.run(job, {}, signal)) as Replayed;
}

/** What came of it, and of the ids that were asked for: how many are rejects no more, because their rows have landed since. */
function replayOf({ connector, stream, reject_ids: ids }: ReplayRequest, done: Replayed): Replay {
  const gone = ids === undefined ? 0 : new Set(ids).size - done.replayed - done.still_rejected;
  return {
    ...done,
    ...(gone > 0 ? { not_found: gone } : {}),
    ...(done.still_rejected === 0
      ? {}
      : {
          next_actions: [
            {
              tool: 'list_rejects',
              arguments: { connector, stream },
              why: 'shows why each still cannot land',
            },
          ],
        }),
  };
}
