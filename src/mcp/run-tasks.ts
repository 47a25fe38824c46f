import { type CallToolResult, ProtocolError, ProtocolErrorCode } from '@modelcontextprotocol/server';
import { asMillraceError } from '../core/errors.ts';
import type { Run } from '../core/model.ts';
import type { Services } from '../services/services.ts';
import { cleanText } from './clean.ts';
import { describeRun } from './progress.ts';
import type { Task, Tasks } from './tasks.ts';

/** A task may be asked about for as long as this at least; its run stays in the history much longer. */
const ttlMs = 24 * 60 * 60 * 1_000;
const pollIntervalMs = 1_000;

export interface RunTasksOptions {
  readonly services: Pick<Services, 'runs'>;
  /** What the tool answers about a run. */
  readonly resultOf: (run: Run) => CallToolResult;
}

/** Runs as tasks: a run's id is its task's, so that whoever lost the one can go on with get_run (contract §4). */
export function runTasks({ services: { runs }, resultOf }: RunTasksOptions): Tasks {
  const get = async (run_id: string): Promise<Run> =>
    await runs.get({ run_id }, { signal: new AbortController().signal }).catch(refused);
  return {
    async get(taskId) {
      const run = await get(taskId);
      const task = taskOf(run);
      return task.status === 'completed' ? { ...task, status: 'completed', result: resultOf(run) } : task;
    },
    // A run never waits for input: there is nothing to pass on, and the protocol has it acknowledged all the same.
    async update(taskId) {
      await get(taskId);
    },
    async cancel(taskId, caller) {
      await runs.cancel(taskId, caller).catch(refused);
    },
  };
}

/** A failed run is a completed task whose result says so: `failed` is for mistakes in the protocol. */
export function taskOf(run: Run): Task<'working' | 'completed' | 'cancelled'> {
  return {
    taskId: run.run_id,
    status: statusOf(run),
    statusMessage: cleanText(describeRun(run)),
    createdAt: run.queued_at,
    lastUpdatedAt: run.finished_at ?? run.started_at ?? run.queued_at,
    ttlMs,
    pollIntervalMs,
  };
}

function statusOf({ status }: Run): 'working' | 'completed' | 'cancelled' {
  if (status === 'queued' || status === 'running') return 'working';
  return status === 'cancelled' ? 'cancelled' : 'completed';
}

function refused(error: unknown): never {
  const { code, message, hint } = asMillraceError(error);
  const wrong = code === 'run_not_found' || code === 'read_only' || code === 'scope_missing';
  throw new ProtocolError(
    wrong ? ProtocolErrorCode.InvalidParams : ProtocolErrorCode.InternalError,
    cleanText(`${code}: ${message} ${hint}`),
  );
}
