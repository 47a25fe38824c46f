import { MillraceError, type NextAction } from '../core/errors.ts';
import type { Connector, Run, RunStatus, StreamResult } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import type { ActiveRun } from '../store/store.ts';
import { assertMay, type Context } from './context.ts';
import type { Joined, RunOptions, RunService, SyncRequest, WaitOptions } from './services.ts';

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
      const queued = await enqueue(context, request, options);
      runner.wake();
      return withActions(
        await waitFor(context, { runId: queued.run_id, seconds: request.wait_seconds ?? 10 }, options),
      );
    },

    join: (request, options) => join(context, request, options),

    async get(request, options) {
      const run = await waitFor(
        context,
        { runId: request.run_id, seconds: request.wait_seconds ?? 0 },
        options,
      );
      const log = request.include_log === true ? { log: await runs.readLog(run.run_id, logLines) } : {};
      const shown = withActions(run);
      return { ...shown, streams: await withSamples(context, run), ...log };
    },

    async list(filter) {
      const { limit, cursor, ...rest } = filter;
      const page = await runs.list(rest, {
        limit: limit ?? 20,
        ...(cursor === undefined ? {} : { cursor }),
      });
      return { ...page, items: page.items.map(withReplay) };
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

async function enqueue(
  context: Context,
  { connector: name, streams, full_refresh = false }: SyncRequest,
  { caller, trigger }: Pick<RunOptions, 'caller' | 'trigger'>,
): Promise<Run> {
  assertMay(context, caller, 'operate');
  const connector = await context.connectors.get(name);
  assertStreams(connector, streams);
  const asked = streams === undefined ? {} : { streams };
  const queued = await context.runs.enqueue({
    connector: connector.name,
    trigger,
    ...asked,
    fullRefresh: full_refresh,
  });
  await context.audit.append({
    actor: caller.actor,
    action: 'sync_connector',
    subject: connector.name,
    detail: { run_id: queued.run_id, ...asked, full_refresh },
  });
  return queued;
}

async function join(
  context: Context,
  request: SyncRequest,
  options: Pick<RunOptions, 'caller' | 'trigger'>,
): Promise<Joined> {
  const { connector } = request;
  for (;;) {
    try {
      return { run: await enqueue(context, request, options), as: 'own' };
    } catch (error) {
      if (!isInProgress(error)) throw error;
    }
    const active = await context.runs.active(connector);
    // It has ended since: the next turn begins one.
    if (active === null) continue;
    const { run, streams, fullRefresh } = active;
    const as = doesAll(active, request) ? 'same' : 'other';
    if (run.retry_at === undefined) return { run, as };
    try {
      const asked = { connector, ...(streams === undefined ? {} : { streams }), fullRefresh };
      return { run: await context.runs.enqueue({ ...asked, trigger: options.trigger }), as };
    } catch (error) {
      // Its attempt has begun meanwhile, or it is no more.
      if (!isInProgress(error)) throw error;
    }
  }
}

function isInProgress(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'run_in_progress';
}

/** Whether all that is asked for has been done when the run has ended. */
function doesAll(
  { run, streams, fullRefresh }: ActiveRun,
  { streams: asked, full_refresh = false }: SyncRequest,
): boolean {
  if (full_refresh && !fullRefresh) return false;
  if (streams !== undefined && asked?.every((name) => streams.includes(name)) !== true) return false;
  // Whoever asks may have mended what that run will not try again.
  return !run.streams.some(
    ({ stream, error }) => error?.retryable === false && (asked?.includes(stream) ?? true),
  );
}

/** Throws `invalid_config` when the connector has no streams, or none of a name that was asked for. */
export function assertStreams(
  { name: connector, streams }: Pick<Connector, 'name' | 'streams'>,
  asked: readonly string[] | undefined,
): void {
  const known = streams.map((stream) => stream.name);
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

/** So many rejects of a stream are shown, of so many streams; list_rejects has the others. */
const sampleRows = 3;
const sampledStreams = 10;

/** The streams, those with rejects with some of them: as far as no later run has met the same. */
async function withSamples({ warehouse }: Context, run: Run): Promise<readonly StreamResult[]> {
  const sampled = new Set(run.streams.filter(({ rejects }) => rejects > 0).slice(0, sampledStreams));
  return await Promise.all(
    run.streams.map(async (stream) => {
      if (!sampled.has(stream)) return stream;
      const filter = { connector: run.connector, stream: stream.stream, run_id: run.run_id };
      const { items } = await warehouse.rejects(filter, { limit: sampleRows });
      return items.length === 0
        ? stream
        : { ...stream, reject_sample: items.map(({ id, reason, row }) => ({ id, reason, row })) };
    }),
  );
}

/** What to do next, from how the run stands. */
function withActions(run: Run): Run {
  const actions = [...nextActions(run), ...aboutRejects(run)];
  return actions.length === 0 ? run : { ...run, next_actions: actions };
}

function aboutRejects({ connector, run_id, totals }: Run): readonly NextAction[] {
  if (totals.rejects === 0) return [];
  return [
    { tool: 'list_rejects', arguments: { connector, run_id }, why: 'shows the rows kept aside, and why' },
  ];
}

function nextActions(run: Run): readonly NextAction[] {
  // Nobody stopped it: what was in the way says what helps.
  if (run.skipped) return run.error?.next_actions ?? [];
  switch (run.status) {
    case 'queued':
    case 'running':
      return [
        {
          tool: 'get_run',
          arguments: { run_id: run.run_id, wait_seconds: 20 },
          why: 'waits for the end and shows progress',
        },
        ...(run.retry_at === undefined
          ? []
          : [{ ...replay(run), why: `tries again now, not only at ${run.retry_at}` }]),
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
        replay(run),
        {
          tool: 'get_run',
          arguments: { run_id: run.run_id, include_log: true },
          why: 'shows each stream and what happened when',
        },
      ];
    }
    case 'cancelled':
      return [replay(run)];
    default:
      return run.status satisfies never;
  }
}

/** In a list a failed run says at once how it is done again; get_run has the rest. */
function withReplay(run: Run): Run {
  return run.status === 'failed' ? { ...run, next_actions: [replay(run)] } : run;
}

/** A run does again what it was asked for, of which what was committed is not read again. */
function replay({ connector, error }: Run): NextAction {
  const first = error === undefined || error.retryable ? '' : 'once that is mended: ';
  return {
    tool: 'sync_connector',
    arguments: { connector },
    why: `${first}goes on from the last committed batch`,
  };
}
