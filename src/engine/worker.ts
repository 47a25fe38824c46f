/** The thread a job lives in: it opens the source, answers one question or syncs, and closes everything again. */

import { constants, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import type { OpenOptions, Source } from '../connectors/connector.ts';
import { discreet } from '../connectors/discreet.ts';
import { findConnectorType } from '../connectors/index.ts';
import { asMillraceError, type ErrorCode, faultOf, MillraceError } from '../core/errors.ts';
import type { StreamResult } from '../core/model.ts';
import { createHostRules } from '../core/network.ts';
import { withReferences } from '../core/redact.ts';
import { validate } from '../core/validate.ts';
import { describeTable } from '../destinations/index.ts';
import { hostOf, type RemoteHost } from './host-calls.ts';
import { createLanding, type Landing } from './landing.ts';
import type {
  Answers,
  FromThread,
  Job,
  ProbeJob,
  ReplayJob,
  SourceSpec,
  SyncJob,
  ThreadData,
  ToThread,
} from './messages.ts';
import { replayRejects } from './replay.ts';
import { syncStream } from './sync.ts';

if ((workerData as ThreadData).standsBack) standBack();
/** Begun with this thread, whatever its first job is: starting two threads one after the other would cost a sync 80 ms. */
const landing = createLanding((detail) => post({ type: 'fault', detail }));
let host: RemoteHost | undefined;
let stop: AbortController | undefined;

parentPort?.on('message', (message: ToThread) => {
  if (message.type === 'cancel') stop?.abort(MillraceError.fromView(message.error));
  else if (message.type === 'host') host?.hear(message.answer);
  else void carryOut(message.job);
});

/**
 * Where cores are short, who asks something comes before who moves rows: on Linux a priority is a thread's, 0 names the
 * one that calls, and the threads that it starts have it too (setpriority(2), "C library/kernel differences");
 * elsewhere it would be the whole process's.
 */
function standBack(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(0, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // A sandbox that forbids it: as it would be without.
  }
}

async function carryOut(job: Job): Promise<void> {
  stop = new AbortController();
  using services = hostOf((message) => post({ type: 'host', message }));
  host = services;
  try {
    post({ type: 'done', value: await work(job, stop.signal) });
  } catch (error) {
    const known = asMillraceError(
      stop.signal.aborted && stop.signal.reason instanceof MillraceError ? stop.signal.reason : error,
    );
    if (known.code === 'internal') post({ type: 'fault', detail: faultOf(error) });
    post({ type: 'failed', error: known.toView() });
  }
}

async function work(job: Job, signal: AbortSignal): Promise<unknown> {
  switch (job.kind) {
    case 'sync':
      return await withWarehouse(job, (parts) => syncAll(job, parts, signal));
    case 'replay':
      return await withWarehouse(job, (parts) =>
        replayRejects(
          { ...job, connector: job.source.connector, sourceDefinition: definedBy(job.source) },
          parts,
          signal,
        ),
      );
    case 'probe':
      return await probe(job, signal);
    default:
      throw job satisfies never;
  }
}

interface Parts {
  readonly source: Source;
  readonly landing: Landing;
}

async function withWarehouse<T>(job: SyncJob | ReplayJob, run: (parts: Parts) => Promise<T>): Promise<T> {
  clearTimeout(closing);
  const begun = landing.begin(job.warehouseFile);
  begun.catch(() => undefined);
  let source: Source | undefined;
  try {
    source = await openSource(job.source);
    await begun;
    return await run({ source, landing });
  } finally {
    // Not waited for: a session says goodbye in its own time.
    void close(source);
    closing = setTimeout(
      () => landing.end().catch((error: unknown) => post({ type: 'fault', detail: faultOf(error) })),
      closeAfterMs,
    );
  }
}

/**
 * Closing the warehouse moves the write-ahead log into it, which keeps the disk busy for a tenth of a second after a large
 * load. By then the main thread has written that the run is done: its commits wait for the disk too, and with them
 * whoever asks for health. A run that comes at once finds the file open.
 */
const closeAfterMs = 100;
let closing: NodeJS.Timeout | undefined;

async function close(source: Source | undefined): Promise<void> {
  try {
    await source?.[Symbol.asyncDispose]();
  } catch (error) {
    post({ type: 'fault', detail: faultOf(error) });
  }
}

/** What of the config belongs to a stream's definition. */
function definedBy({ type: name, config }: SourceSpec): string {
  const type = findConnectorType(name);
  return type.definition(validate(type.config, config, `The ${name} config`));
}

async function syncAll(job: SyncJob, parts: Parts, signal: AbortSignal): Promise<readonly StreamResult[]> {
  const before = new Map(job.earlier.map((result) => [result.stream, result]));
  const begun = job.streams.map(({ name }) => begin(name, before.get(name)));
  const results = [...begun];
  const shown = throttle(() => post({ type: 'progress', streams: results }));
  const sourceDefinition = definedBy(job.source);
  const tools = {
    ...parts,
    showCursor: findConnectorType(job.source.type).showCursor,
    now: () => performance.now(),
    onFault: (detail: string) => post({ type: 'fault', detail }),
  };
  let unreachable: StreamResult['error'];
  for (const [index, stream] of job.streams.entries()) {
    const earlier = begun[index] ?? begin(stream.name, undefined);
    if (unreachable !== undefined) {
      results[index] = { ...earlier, status: 'failed', error: unreachable };
      continue;
    }
    const task = {
      connector: job.source.connector,
      stream,
      runId: job.runId,
      epoch: job.epoch,
      fullRefresh: job.fullRefresh,
      sourceDefinition,
      earlier,
    };
    const onProgress = (result: () => StreamResult): void =>
      shown.update(() => {
        results[index] = result();
      });
    const result = await syncStream(task, { ...tools, onProgress }, signal);
    shown.forget();
    results[index] = result;
    post({ type: 'progress', streams: results });
    post({ type: 'log', level: result.status === 'succeeded' ? 'info' : 'error', message: sentence(result) });
    if (result.error !== undefined && wholeSource.has(result.error.code)) unreachable = result.error;
    if (result.status === 'cancelled') break;
  }
  return results.map((result) => (result.status === 'pending' ? { ...result, status: 'cancelled' } : result));
}

/** What is wrong with the whole source need not be found out once for each stream, nor count as many failed logins. */
const wholeSource: ReadonlySet<ErrorCode> = new Set([
  'host_unreachable',
  'host_not_allowed',
  'tls_failed',
  'auth_failed',
  'secret_missing',
  'run_lost',
  'disk_full',
]);

/** A stream that this attempt has not come to: as earlier ones left it, since what they committed is still there. */
function begin(stream: string, earlier: StreamResult | undefined): StreamResult {
  const nothing = { rows_read: 0, rows_written: 0, rows_deleted: 0, rejects: 0, bytes_read: 0 };
  const { error: _error, ...left }: Partial<StreamResult> = earlier ?? {};
  return { ...nothing, ...left, stream, status: 'pending', ms: {} };
}

function sentence(result: StreamResult): string {
  const counts = `${result.rows_read} rows read, ${result.rows_written} written, ${result.rows_deleted} marked deleted, ${result.rejects} rejects`;
  const guard = result.guard === undefined ? '' : `; guard: ${result.guard}`;
  return `${result.stream}: ${result.status}; ${counts}${guard}${result.error === undefined ? '' : `; ${result.error.code}: ${result.error.message}`}`;
}

async function probe(job: ProbeJob, signal: AbortSignal): Promise<Answers[keyof Answers]> {
  await using source = await openSource(job.source, { answerWithinMs: job.withinMs });
  const { question } = job;
  switch (question.ask) {
    case 'check':
      return await source.check(question.streams, signal);
    case 'discover':
      return await source.discover(question.request, signal);
    case 'resolve':
      return await source.resolve(question.stream, signal);
    case 'preview': {
      const stream = await source.resolve(question.stream, signal);
      const rows = await source.preview(stream, question.limit, signal);
      const remarks = source.remarks?.(stream) ?? [];
      return { stream, rows, remarks, ...describeTable(job.source.connector, stream) };
    }
    default:
      throw question satisfies never;
  }
}

async function openSource(spec: SourceSpec, more: Pick<OpenOptions, 'answerWithinMs'> = {}): Promise<Source> {
  const type = findConnectorType(spec.type);
  const config = validate(type.config, spec.config, `The ${spec.type} config`);
  const source = await type.open(config, {
    streams: spec.declared,
    assertHost: createHostRules(spec.network.allow),
    network: spec.network,
    ...more,
    ...(host === undefined ? {} : { host }),
  } satisfies OpenOptions);
  return spec.revealed.length === 0
    ? source
    : discreet(source, (text) => withReferences(text, spec.revealed));
}

const showEveryMs = 200;

interface Throttle {
  update(change: () => void): void;
  /** What waits is out of date: it is not shown any more. */
  forget(): void;
}

/**
 * Shows at most five times a second; the work it is given happens only then. The last change is always shown,
 * a little later: a source that falls silent calls nobody again, and what was read before would stay unseen.
 */
function throttle(show: () => void): Throttle {
  let last = 0;
  let latest: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  const showNow = (): void => {
    timer = undefined;
    last = performance.now();
    latest?.();
    latest = undefined;
    show();
  };
  return {
    update(change) {
      latest = change;
      if (timer !== undefined) return;
      const wait = last + showEveryMs - performance.now();
      if (wait <= 0) showNow();
      else timer = setTimeout(showNow, wait);
    },
    forget() {
      clearTimeout(timer);
      timer = undefined;
      latest = undefined;
    },
  };
}

function post(message: FromThread): void {
  parentPort?.postMessage(message);
}
