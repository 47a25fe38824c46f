import { MillraceError, type NextAction } from '../core/errors.ts';
import type { Run, RunStatus } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import { assertMay, type Context } from './context.ts';
import type { RunService, WaitOptions } from './services.ts';

const ended: ReadonlySet<RunStatus> = new Set(['succeeded', 'partial', 'failed', 'cancelled']);
/** Runs held by another process change without telling us. */
const pollMs = 250;
const logLines = 200;

/** True when the run will not change any more. */
export function hasEnded(run: Run): boolean {
  return ended.has(run.status);
}

/** Starting, following and stopping runs. */
export function createRunService(context: Context): RunService {
  const { runs, runner } = context;

  return {
    async sync(request, options) {
      assertMay(context, options.caller, 'operate');
      const connector = await context.connectors.get(request.connector);
      assertStreams(
        connector.name,
        connector.streams.map((stream) => stream.name),
        request.streams,
      );
      const queued = await runs.enqueue({
        connector: connector.name,
        trigger: options.trigger,
        ...(request.streams === undefined ? {} : { streams: request.streams }),
        fullRefresh: request.full_refresh ?? false,
      });
      await context.audit.append({
        actor: options.caller.actor,
        action: 'sync_connector',
        subject: connector.name,
        detail: {
          run_id: queued.run_id,
          ...(request.streams === undefined ? {} : { streams: request.streams }),
          full_refresh: request.full_refresh ?? false,
        },
      });
      runner.wake();
      return withActions(
        await waitFor(context, { runId: queued.run_id, seconds: request.wait_seconds ?? 10 }, options),
      );
    },

    async get(request, options) {
      const run = await waitFor(
        context,
        { runId: request.run_id, seconds: request.wait_seconds ?? 0 },
        options,
      );
      const log = request.include_log === true ? { log: await runs.readLog(run.run_id, logLines) } : {};
      return { ...withActions(run), ...log };
    },

    async list(filter) {
      const { limit, cursor, ...rest } = filter;
      return await runs.list(rest, { limit: limit ?? 20, ...(cursor === undefined ? {} : { cursor }) });
    },

    async log(runId) {
      const { run_id } = await runs.get(runId);
      return await runs.readLog(run_id, Number.MAX_SAFE_INTEGER);
    },

    onEnded(listener) {
      return runner.onChange((runId, left) => {
        if (!left) return;
        const tell = (run: Run): void => {
          if (hasEnded(run)) listener(run);
        };
        // A store that cannot be read now: the run is in the history all the same, only uncounted.
        runs.get(runId).then(tell, () => undefined);
      });
    },

    async cancel(runId, caller) {
      assertMay(context, caller, 'operate');
      const run = await runs.cancel(runId);
      if (hasEnded(run)) return withActions(run);
      await context.audit.append({ actor: caller.actor, action: 'cancel_run', subject: runId, detail: {} });
      runner.cancel(runId);
      return withActions(
        await waitFor(context, { runId, seconds: 5 }, { signal: new AbortController().signal }),
      );
    },
  };
}

function assertStreams(
  connector: string,
  known: readonly string[],
  asked: readonly string[] | undefined,
): void {
  if (known.length === 0) {
    throw new MillraceError('invalid_config', `"${connector}" has no streams to sync.`, {
      hint: 'Add streams with update_connector; discover_streams shows what there is, ready to be used.',
      nextActions: [
        { tool: 'discover_streams', arguments: { connector }, why: 'shows tables with suggested streams' },
      ],
    });
  }
  for (const name of asked ?? []) {
    if (known.includes(name)) continue;
    throw new MillraceError('invalid_config', `"${connector}" has no stream "${name}".`, {
      hint: suggestion(name, known),
      nextActions: [{ tool: 'get_connector', arguments: { connector }, why: 'shows its streams' }],
    });
  }
}

/** The run when it has ended or the time is up, whichever comes first; giving up waiting never stops the run. */
async function waitFor(
  context: Context,
  wanted: { readonly runId: string; readonly seconds: number },
  options: WaitOptions,
): Promise<Run> {
  const until = context.now().getTime() + wanted.seconds * 1_000;
  let wake: () => void = () => undefined;
  const unsubscribe = context.runner.onChange((runId) => {
    if (runId === wanted.runId) wake();
  });
  const onAbort = (): void => wake();
  options.signal.addEventListener('abort', onAbort);
  try {
    for (;;) {
      const run = await context.runs.get(wanted.runId);
      const left = until - context.now().getTime();
      const error = hasEnded(run) ? undefined : context.runner.unwritten(run.run_id);
      // It will not change before somebody acts: that is the answer, and waiting longer would hide it.
      if (error !== undefined) return { ...run, error };
      if (hasEnded(run) || left <= 0 || options.signal.aborted) return run;
      options.onProgress?.(run);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, pollMs));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  } finally {
    unsubscribe();
    options.signal.removeEventListener('abort', onAbort);
  }
}

/** What to do next, from how the run stands. */
function withActions(run: Run): Run {
  const actions = nextActions(run);
  return actions.length === 0 ? run : { ...run, next_actions: actions };
}

function nextActions(run: Run): readonly NextAction[] {
  switch (run.status) {
    case 'queued':
    case 'running':
      return [
        {
          tool: 'get_run',
          arguments: { run_id: run.run_id, wait_seconds: 20 },
          why: 'waits for the end and shows progress',
        },
      ];
    case 'succeeded':
      return run.totals.rows_written > 0
        ? [{ tool: 'describe_data', arguments: {}, why: 'shows the landed tables, ready for query_data' }]
        : [];
    case 'partial':
    case 'failed': {
      const own = (run.error?.next_actions ?? []).slice(0, 2);
      return [
        ...own,
        {
          tool: 'get_run',
          arguments: { run_id: run.run_id, include_log: true },
          why: 'shows each stream and what happened when',
        },
      ];
    }
    case 'cancelled':
      return [
        {
          tool: 'sync_connector',
          arguments: { connector: run.connector },
          why: 'goes on from the last committed batch',
        },
      ];
    default:
      return run.status satisfies never;
  }
}
