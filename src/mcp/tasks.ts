import {
  type CallToolResult,
  type McpServer,
  MissingRequiredClientCapabilityError,
  ProtocolError,
  ProtocolErrorCode,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import { asMillraceError } from '../core/errors.ts';
import type { Run } from '../core/model.ts';
import type { Caller, Services } from '../services/services.ts';
import { cleanText } from './clean.ts';
import { abilitiesOf, TASKS } from './client-abilities.ts';
import { describeRun } from './progress.ts';

/** A task may be asked about for as long as this at least; its run stays in the history much longer. */
const ttlMs = 24 * 60 * 60 * 1_000;
const pollIntervalMs = 1_000;

/** A run is a task, and its id the task's: whoever lost the one can go on with get_run (contract §4). */
export interface Task {
  readonly taskId: string;
  readonly status: 'working' | 'completed' | 'cancelled';
  readonly statusMessage: string;
  readonly createdAt: string;
  readonly lastUpdatedAt: string;
  readonly ttlMs: number;
  readonly pollIntervalMs: number;
}

/** Answered in place of a tool's result, to a client that follows tasks. */
export function taskResult(run: Run): CallToolResult {
  // The SDK types results without extensions, and passes on what an extension defines.
  return { resultType: 'task', ...taskOf(run) } as unknown as CallToolResult;
}

export interface TaskOptions {
  readonly services: Services;
  /** What the tool answers about a run. */
  readonly resultOf: (run: Run) => CallToolResult;
  readonly callerOf: (context: Parameters<typeof abilitiesOf>[1]) => Caller;
}

const taskParams = z.looseObject({ taskId: z.string().max(200) });

/** Serves `tasks/get`, `tasks/update` and `tasks/cancel` over the runs. */
export function serveTasks(server: McpServer, { services, resultOf, callerOf }: TaskOptions): void {
  const { server: inner } = server;
  inner.registerCapabilities({ extensions: { [TASKS]: {} } });
  const get = async (run_id: string): Promise<Run> =>
    await services.runs.get({ run_id }, { signal: new AbortController().signal });

  const serve = (
    method: 'tasks/get' | 'tasks/update' | 'tasks/cancel',
    answer: (taskId: string, caller: Caller) => Promise<Readonly<Record<string, unknown>>>,
  ): void =>
    inner.setRequestHandler(method, { params: taskParams }, async ({ taskId }, context) => {
      if (!abilitiesOf(server, context).tasks)
        throw new MissingRequiredClientCapabilityError(
          { requiredCapabilities: { extensions: { [TASKS]: {} } } },
          `${method} is for clients that declare the extension ${TASKS}; get_run and cancel_run do the same.`,
        );
      return await answer(taskId, callerOf(context)).catch((error: unknown) => {
        throw asProtocolError(error);
      });
    });

  serve('tasks/get', async (taskId) => {
    const run = await get(taskId);
    const task = taskOf(run);
    // The SDK says what kind of result it is on the outermost one only.
    const result = { ...resultOf(run), resultType: 'complete' };
    return task.status === 'completed' ? { ...task, result } : { ...task };
  });
  // A run never waits for input: there is nothing to pass on, and the protocol has it acknowledged all the same.
  serve('tasks/update', async (taskId) => {
    await get(taskId);
    return {};
  });
  serve('tasks/cancel', async (taskId, caller) => {
    await services.runs.cancel(taskId, caller);
    return {};
  });
}

/** A failed run is a completed task whose result says so: `failed` is for mistakes in the protocol. */
function taskOf(run: Run): Task {
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

function statusOf({ status }: Run): Task['status'] {
  if (status === 'queued' || status === 'running') return 'working';
  return status === 'cancelled' ? 'cancelled' : 'completed';
}

function asProtocolError(error: unknown): ProtocolError {
  const { code, message, hint } = asMillraceError(error);
  const wrong = code === 'run_not_found' || code === 'read_only';
  return new ProtocolError(
    wrong ? ProtocolErrorCode.InvalidParams : ProtocolErrorCode.InternalError,
    cleanText(`${code}: ${message} ${hint}`),
  );
}
